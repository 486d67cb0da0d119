//! Any function at any site: what the model says when one block's attention is halved.
//!
//!     cargo run --release --example hooks [MODEL]

use engram::{Hooks, Model};

fn main() -> engram::Result<()> {
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/models/pubmed-mini");
    let model = Model::open(std::env::args().nth(1).unwrap_or(bundled.to_owned()))?;
    let ids = model.ids("An electroencephalogram records the electrical activity of the")?;
    for layer in 0..model.shape().layers {
        let mut hooks = Hooks::of(&model);
        hooks.on(&format!("attn_out.{layer}"), |value| value * 0.5)?;
        let logits = model.run(&ids, &mut hooks)?;
        let last = logits.get(ids.len() - 1)?;
        let top = last.argmax(0)?.to_scalar::<u32>()?;
        println!("layer {layer}: {:?}", model.tokenizer().token(top));
    }
    Ok(())
}
