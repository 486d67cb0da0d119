//! Steering, a function of activations and the other run's value as cells of one sweep: the program of docs/guide.md.
//!
//!     cargo run --release --example cells

use engram::{At, Cell, Model, Pair, Silent, Sweep, Term, Value};

fn main() -> engram::Result<()> {
    let model = Model::open("assets/models/pubmed-mini")?;
    let pair = Pair::new(
        "A study of heart rate",
        "A study of survival rate",
        " variability",
        " of",
    );
    let direction = vec![0.1; model.shape().d_model];
    let steered = Cell::new("steered").with(
        model.site("resid_pre.4")?,
        At::Last,
        Value::row(direction).added(2.0),
    );
    let halved = Cell::new("halved, then restored")
        .with(
            model.site("attn_out.2")?,
            At::All,
            Value::function(|_, row| row.iter_mut().for_each(|x| *x *= 0.5)),
        )
        .with(model.site("mlp_out.5")?, At::Last, Value::Source);
    let edge = Cell::new("a1.h3->a4.h0<q>").with(
        model.site("q.4[0]")?,
        At::All,
        Value::Reading(vec![Term::head(1, 3, Value::Source)]),
    );
    let result = Sweep::of(&model)
        .cells([steered, halved, edge])
        .pairs([pair])
        .run(&mut Silent)?;
    for row in result.rows {
        println!("{} {:.3}", row.name, row.patched);
    }
    Ok(())
}
