//! Questions, a sweep into a folder, activations and a hook: the program of docs/guide.md.
//!
//!     cargo run --release --example library

use engram::activations::Activations;
use engram::{Hooks, Model, Pair, Positions, Silent, Sweep, SweepFolder};

fn main() -> engram::Result<()> {
    let model = Model::open("assets/models/pubmed-mini")?;

    // The most probable next tokens.
    for next in model.ask("Patients with type 2", 3)? {
        println!("{:?} {:.2}", next.token, next.probability);
    }

    // A sweep into a folder, which is resumed if it was broken off.
    let pair = Pair::new(
        "A study of heart rate",
        "A study of survival rate",
        " variability",
        " of",
    );
    let sweep = Sweep::of(&model)
        .sites("resid_pre,mlp_out")?
        .positions(Positions::Each)
        .pairs([pair]);
    let result = sweep.run_in(&SweepFolder::open("runs/from-rust", true)?, &mut Silent)?;
    println!("{} rows", result.rows.len());

    // Activations of one prompt.
    let sites = model.resolve(&["resid_pre", "pattern.3"])?;
    Activations::of(&model, "A study of heart rate", &sites)?
        .write("runs/acts.safetensors".as_ref())?;

    // A function at a site: half of what attention adds in layer 3.
    let ids = model.ids("A study of heart rate")?;
    let mut hooks = Hooks::of(&model);
    hooks.on("attn_out.3", |value| value * 0.5)?;
    let logits = model.run(&ids, &mut hooks)?;
    println!("{:?}", logits.dims());
    Ok(())
}
