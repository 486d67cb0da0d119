//! Taps of a sweep: source values written row by row into a batch of worlds, and a watch for NaN.

use candle_core::Tensor;
use engram_core::{NamedSite, Site};
use engram_model::{Capture, Model, Result, Tap};
use indexmap::IndexMap;

use crate::plan::{Place, PlannedCell};

/// A source run's values at one site.
#[derive(Debug)]
struct Source {
    values: Vec<f32>,
    /// Without the batch: [pos, …], or [head, query, key] for patterns.
    dims: Vec<usize>,
}

/// A source run's values at the sites that a sweep writes.
#[derive(Debug, Default)]
pub(crate) struct Sources(IndexMap<(Site, Option<usize>), Source>);

impl Sources {
    /// The first row of what a run left.
    pub(crate) fn of(capture: &Capture) -> candle_core::Result<Sources> {
        let mut sources = IndexMap::new();
        for (key, value) in &capture.values {
            let Some(value) = value else { continue };
            let row = value.get(0)?;
            let dims = row.dims().to_vec();
            let values = row.flatten_all()?.to_vec1::<f32>()?;
            sources.insert(*key, Source { values, dims });
        }
        Ok(Sources(sources))
    }
}

/// A row of the batch and the positions written in it.
type Patched<'a> = (usize, &'a Place);

/// Writes into each row of a batch at that row's own cell. Rows of one world stand together.
pub(crate) struct Worlds<'a> {
    sources: &'a Sources,
    patches: IndexMap<(Site, Option<usize>), Vec<Patched<'a>>>,
    prompt: usize,
}

impl<'a> Worlds<'a> {
    /// A world for each cell, `rows` rows each, over a prompt of `prompt` tokens.
    pub(crate) fn of(
        cells: &[&'a PlannedCell],
        rows: usize,
        prompt: usize,
        sources: &'a Sources,
    ) -> Worlds<'a> {
        let mut patches: IndexMap<_, Vec<Patched<'a>>> = IndexMap::new();
        for (world, cell) in cells.iter().enumerate() {
            let at = patches.entry((cell.at.site, cell.at.layer)).or_default();
            at.extend((world * rows..(world + 1) * rows).map(|row| (row, &cell.place)));
        }
        Worlds {
            sources,
            patches,
            prompt,
        }
    }
}

impl Tap for Worlds<'_> {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        self.patches.contains_key(&(site, layer))
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        let key = (site, layer);
        let (Some(patches), Some(source)) = (self.patches.get(&key), self.sources.0.get(&key))
        else {
            return Ok(value);
        };
        let shape = value.shape().clone();
        let mut values = value.flatten_all()?.to_vec1::<f32>()?;
        let row_size = values.len() / shape.dims().first().copied().unwrap_or(1).max(1);
        for (row, place) in patches {
            let Some(target) = values.get_mut(row * row_size..(row + 1) * row_size) else {
                continue;
            };
            let positions = place.range(self.prompt);
            match site {
                Site::Pattern => write_queries(target, shape.dims()[3], source, positions),
                _ => {
                    let width: usize = source.dims[1..].iter().product();
                    let span = positions.start * width..positions.end * width;
                    target[span.clone()].copy_from_slice(&source.values[span]);
                }
            }
        }
        Ok(Tensor::from_vec(values, shape, value.device())?)
    }
}

/// Replaces rows of attention tables. Keys beyond the source run's are in the future of every query
/// written, where both tables are 0.
fn write_queries(
    target: &mut [f32],
    positions: usize,
    source: &Source,
    queries: std::ops::Range<usize>,
) {
    let (heads, keys) = (source.dims[0], source.dims[2]);
    let shared = keys.min(positions);
    for head in 0..heads {
        for query in queries.clone() {
            let to = (head * positions + query) * positions;
            let from = (head * keys + query) * keys;
            target[to..to + shared].copy_from_slice(&source.values[from..from + shared]);
        }
    }
}

/// Finds the first site at which a run is not finite.
#[derive(Default)]
struct Watch {
    first: Option<NamedSite>,
}

impl Tap for Watch {
    fn wants(&self, site: Site, _: Option<usize>) -> bool {
        // Sites that a plain run never makes would only add work.
        self.first.is_none()
            && !matches!(
                site,
                Site::Pattern
                    | Site::HeadOut
                    | Site::Ln1Scale
                    | Site::Ln2Scale
                    | Site::LnFinalScale
            )
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        let values = value.flatten_all()?.to_vec1::<f32>()?;
        if self.first.is_none() && values.iter().any(|v| !v.is_finite()) {
            self.first = Some(NamedSite::canonical(site, layer));
        }
        Ok(value)
    }
}

/// The name of the first site at which a run of `ids` is not finite; `logits` where none is seen.
pub(crate) fn first_not_finite(model: &Model, ids: &[Vec<u32>]) -> Result<String> {
    let mut watch = Watch::default();
    model.forward(ids, &mut watch)?;
    let site = watch.first;
    Ok(site.map_or_else(|| Site::Logits.name().to_owned(), |site| site.name))
}
