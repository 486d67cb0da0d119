//! `engram cache`.

use anyhow::{Result, bail};
use engram::Opening;
use engram::activations::{Activations, Format};
use engram_core::Lock;

use super::model::{tell_blank, weights_of};
use crate::args::CacheArgs;
use crate::progress::{Terminal, note};

/// Runs `engram cache`.
///
/// # Errors
/// A suffix that names no format; any of the checkpoint's; a site that does not exist.
pub fn cache(args: &CacheArgs) -> Result<()> {
    Format::of(&args.out)?;
    let _held = Lock::beside(&args.out)?;
    if args.prompt.is_empty() {
        bail!("the prompt is empty");
    }
    tell_blank(&args.prompt);
    let opening = Opening::default().bos(args.bos);
    let model = opening.open(&args.model, &mut Terminal::default())?;
    let sites = model.resolve(&args.sites)?;
    let found = Activations::of(&model, &args.prompt, &sites);
    let found = engram::Within::of_file(found, &weights_of(&args.model))?;
    found.write(&args.out)?;
    note(format!(
        "{}: {} arrays",
        args.out.display(),
        found.arrays.len()
    ));
    Ok(())
}
