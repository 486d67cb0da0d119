//! `engram cache`.

use std::collections::BTreeMap;

use anyhow::{Error, Result, bail};
use engram_core::Lock;
use engram_core::files::write_atomic;

use super::model::{ids_of, resolve, tell_blank, weights_of};
use super::named;
use crate::args::CacheArgs;
use crate::arrays::{Array, npz, safetensors};
use crate::progress::note;
use crate::stage::checkpoint_hash;

/// The formats of a file of arrays, by suffix.
#[derive(Debug, Clone, Copy)]
enum Format {
    Safetensors,
    Npz,
}

/// Runs `engram cache`.
///
/// # Errors
/// A suffix that names no format; any of the checkpoint's; a site that does not exist.
pub fn cache(args: &CacheArgs) -> Result<()> {
    let suffix = args.out.extension().and_then(|e| e.to_str());
    let format = match suffix {
        Some("safetensors") => Format::Safetensors,
        Some("npz") => Format::Npz,
        _ => bail!(
            "--out {}: the suffix decides the format; name a file that ends in .safetensors or .npz",
            args.out.display()
        ),
    };
    let _held = Lock::beside(&args.out)?;
    if args.prompt.is_empty() {
        bail!("the prompt is empty");
    }
    tell_blank(&args.prompt);
    let (model, path) = crate::model::open(&args.model, &candle_core::Device::Cpu, args.bos)?;
    let sites = resolve(&model.sites(), &args.sites)?;
    let ids = ids_of(&model, &args.prompt)?;
    let tokens: Vec<String> = ids.iter().map(|id| model.tokenizer().token(*id)).collect();
    let mut arrays = BTreeMap::new();
    let found = engram_patch::cache(&model, &ids, &sites);
    for (name, tensor) in named(&weights_of(&args.model), found.map_err(Error::from))? {
        let (shape, values) = (tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?);
        arrays.insert(name, Array::Floats(shape, values));
    }
    let count = arrays.len();
    let hash = checkpoint_hash(&path)?;
    let bytes = match format {
        Format::Safetensors => {
            let text = |values: serde_json::Value| values.to_string();
            let about = [
                ("ids", text(ids.into())),
                ("model", hash),
                ("prompt", args.prompt.clone()),
                ("tokens", text(tokens.into())),
            ];
            safetensors(&arrays, &about)?
        }
        Format::Npz => {
            let wide = ids.iter().map(|id| i64::from(*id)).collect();
            arrays.insert("ids".to_owned(), Array::Integers(wide));
            arrays.insert("model".to_owned(), Array::Text(hash));
            arrays.insert("prompt".to_owned(), Array::Text(args.prompt.clone()));
            arrays.insert("tokens".to_owned(), Array::Texts(tokens));
            npz(&arrays)?
        }
    };
    write_atomic(&args.out, |w| std::io::Write::write_all(w, &bytes))?;
    note(format!("{}: {count} arrays", args.out.display()));
    Ok(())
}
