//! A map of recovery by layer and position: the program of README.md.
//!
//!     cargo run --release --example readme

use engram::{Model, Pair, Silent, Sweep};

fn main() -> engram::Result<()> {
    let model = Model::open("assets/models/pubmed-mini")?;
    let pair = Pair::new(
        "A study of heart rate",
        "A study of survival rate",
        " variability",
        " of",
    );
    let result = Sweep::of(&model)
        .sites("resid_pre")?
        .pairs([pair])
        .run(&mut Silent)?;
    for (layer, positions) in result.recovery(0).iter().enumerate() {
        println!("{layer} {positions:.2?}");
    }
    Ok(())
}
