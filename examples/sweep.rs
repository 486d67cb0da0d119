//! Which layer and position of the residual stream carry a fact: a map of a pair's recovery.
//!
//!     cargo run --release --example sweep [MODEL]

use engram::{Model, Pair, Silent, Sweep};

fn main() -> engram::Result<()> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/models/pubmed-mini");
    let name = std::env::args().nth(1).unwrap_or(bundled.to_owned());
    let model = Model::open(name)?;
    let (clean, corrupt) = ("A study of heart rate", "A study of survival rate");
    let pair = Pair::new(clean, corrupt, " variability", " of");
    let sweep = Sweep::of(&model).sites("resid_pre")?.pairs([pair]);
    println!("{}\n", sweep.plan()?.cost()?);
    let result = sweep.run(&mut Silent)?;
    for (layer, positions) in result.recovery(0).iter().enumerate() {
        let cells: String = positions.iter().map(|r| format!(" {r:5.2}")).collect();
        println!("layer {layer:>2} {cells}");
    }
    Ok(())
}
