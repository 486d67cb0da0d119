//! Runs with values that exceed float32: the error names the first site.

use candle_core::Tensor;
use engram_core::{NamedSite, Site};

use crate::error::{ModelError, Result};
use crate::model::LanguageModel;
use crate::tap::Tap;

impl LanguageModel {
    /// Fails if values of a run of `ids` are NaN or infinite. The run is repeated to find the first such site, in the
    /// order of the forward pass, and the first such position.
    ///
    /// # Errors
    /// [`ModelError::Overflow`].
    pub fn refuse_not_finite<'v>(
        &self,
        ids: &[Vec<u32>],
        values: impl IntoIterator<Item = &'v Tensor>,
    ) -> Result<()> {
        for value in values {
            if first(value)?.is_some() {
                self.forward(ids, &mut Watch)?;
                // All sites of a plain run are finite: the value belongs to a site that is computed only for taps.
                let derived = NamedSite::canonical(Site::Logits, None).name;
                return Err(overflow(derived, value)?);
            }
        }
        Ok(())
    }
}

/// The first element that is NaN or infinite, and its index.
fn first(value: &Tensor) -> Result<Option<(usize, f32)>> {
    let values = value.flatten_all()?.to_vec1::<f32>()?;
    let mut each = values.into_iter().enumerate();
    Ok(each.find(|(_, v)| !v.is_finite()))
}

fn overflow(site: String, value: &Tensor) -> Result<ModelError> {
    let (element, found) = first(value)?.unwrap_or((0, f32::NAN));
    let (positions, width) = match value.dims() {
        [_, positions, rest @ ..] => (*positions, rest.iter().product::<usize>()),
        _ => (1, 1),
    };
    Ok(ModelError::Overflow {
        site,
        position: element / width.max(1) % positions.max(1),
        value: found,
    })
}

/// A tap that stops a run at the first site with a value that is not finite. It asks only for sites of a plain run.
struct Watch;

impl Tap for Watch {
    fn wants(&self, site: Site, _: Option<usize>) -> bool {
        use Site::{HeadOut, Ln1Scale, Ln2Scale, LnFinalScale, Pattern};
        !matches!(site, Pattern | HeadOut | Ln1Scale | Ln2Scale | LnFinalScale)
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        match first(&value)? {
            Some(_) => Err(overflow(NamedSite::canonical(site, layer).name, &value)?),
            None => Ok(value),
        }
    }
}
