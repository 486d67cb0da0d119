//! Taps of a sweep: source values written row by row into a batch of worlds, and a watch for NaN.

use candle_core::Tensor;
use engram_core::{NamedSite, Site};
use engram_model::{Capture, Model, Result, Tap};
use indexmap::IndexMap;

use crate::plan::PlannedCell;

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

/// What cells are set to where that is no run's value.
pub(crate) enum Constants {
    /// Cells are set to the source run's values.
    None,
    /// 0.
    Zero,
    /// The mean over all tokens of a reference set.
    Means(Means),
}

/// Sums over tokens, by site.
#[derive(Default)]
pub(crate) struct Means(IndexMap<(Site, Option<usize>), (Vec<f64>, usize)>);

impl Means {
    /// Adds every token of a run.
    pub(crate) fn add(&mut self, capture: &Capture) -> candle_core::Result<()> {
        for (key, value) in &capture.values {
            let Some(value) = value else { continue };
            let positions = value.dim(1)?;
            let values = value.flatten_all()?.to_vec1::<f32>()?;
            let width = values.len() / positions;
            let (sums, count) = self.0.entry(*key).or_insert((vec![0.0; width], 0));
            *count += positions;
            for row in values.chunks_exact(width) {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(s, v)| *s += f64::from(*v));
            }
        }
        Ok(())
    }

    fn mean(&self, key: &(Site, Option<usize>)) -> Option<Vec<f32>> {
        let (sums, count) = self.0.get(key)?;
        Some(sums.iter().map(|s| (s / *count as f64) as f32).collect())
    }
}

/// A row of the batch and the cell written in it.
type Patched<'a> = (usize, &'a PlannedCell);

/// Writes into each row of a batch at that row's own cell. Rows of one world stand together.
pub(crate) struct Worlds<'a> {
    sources: &'a Sources,
    constants: &'a Constants,
    patches: IndexMap<(Site, Option<usize>), Vec<Patched<'a>>>,
    prompt: usize,
    shift: i64,
}

impl<'a> Worlds<'a> {
    /// A world for each cell, `rows` rows each, over a prompt of `prompt` tokens, with values from
    /// positions `shift` further on.
    pub(crate) fn of(
        cells: &[&'a PlannedCell],
        rows: usize,
        (prompt, shift): (usize, i64),
        (sources, constants): (&'a Sources, &'a Constants),
    ) -> Worlds<'a> {
        let mut patches: IndexMap<_, Vec<Patched<'a>>> = IndexMap::new();
        for (world, cell) in cells.iter().enumerate() {
            for layer in &cell.layers {
                let at = patches.entry((cell.at.site, *layer)).or_default();
                at.extend((world * rows..(world + 1) * rows).map(|row| (row, *cell)));
            }
        }
        Worlds {
            sources,
            constants,
            patches,
            prompt,
            shift,
        }
    }

    /// What is written at a site and position: a row of the site.
    fn value(
        &self,
        key: &(Site, Option<usize>),
        position: usize,
        width: usize,
    ) -> Option<Vec<f32>> {
        match self.constants {
            Constants::Zero => Some(vec![0.0; width]),
            Constants::Means(means) => means.mean(key),
            Constants::None => {
                let from = usize::try_from(position as i64 + self.shift).ok()?;
                let source = self.sources.0.get(key)?;
                source
                    .values
                    .get(from * width..(from + 1) * width)
                    .map(<[f32]>::to_vec)
            }
        }
    }
}

impl Tap for Worlds<'_> {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        self.patches.contains_key(&(site, layer))
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        let key = (site, layer);
        let Some(patches) = self.patches.get(&key) else {
            return Ok(value);
        };
        let shape = value.shape().clone();
        let mut values = value.flatten_all()?.to_vec1::<f32>()?;
        let row_size = values.len() / shape.dims().first().copied().unwrap_or(1).max(1);
        for (row, cell) in patches {
            let Some(target) = values.get_mut(row * row_size..(row + 1) * row_size) else {
                continue;
            };
            let positions = cell.place.range(self.prompt);
            if site == Site::Pattern {
                let heads = match cell.part {
                    Some(part) => part.start..part.end,
                    None => 0..shape.dims()[1],
                };
                let source = self.sources.0.get(&key);
                let source = source.filter(|_| matches!(self.constants, Constants::None));
                write_queries(target, shape.dims()[3], source, heads, positions);
                continue;
            }
            let width: usize = shape.dims()[2..].iter().product();
            // Heads stand apart in the shape, neurons do not.
            let unit: usize = shape.dims()[2..].iter().skip(1).product();
            let part = match cell.part {
                Some(part) => part.start * unit..part.end * unit,
                None => 0..width,
            };
            for position in positions {
                let Some(from) = self.value(&key, position, width) else {
                    continue;
                };
                target[position * width..][part.clone()].copy_from_slice(&from[part.clone()]);
            }
        }
        Ok(Tensor::from_vec(values, shape, value.device())?)
    }
}

/// Noise on the embeddings of a batch: number of rows, the first position, and the noise.
pub(crate) type RowNoise = (usize, usize, Vec<f32>);

/// Adds noise to the embeddings of the first rows of a batch before another tap sees them.
pub(crate) struct Noisy<'a> {
    noise: Option<RowNoise>,
    then: &'a mut dyn Tap,
}

impl<'a> Noisy<'a> {
    pub(crate) fn of(noise: Option<RowNoise>, then: &'a mut dyn Tap) -> Noisy<'a> {
        Noisy { noise, then }
    }
}

impl Tap for Noisy<'_> {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        (site == Site::Embed && self.noise.is_some()) || self.then.wants(site, layer)
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        let value = match &self.noise {
            Some((rows, first, noise)) if site == Site::Embed => {
                let (_, positions, d) = value.dims3()?;
                let mut values = value.flatten_all()?.to_vec1::<f32>()?;
                for row in values.chunks_mut(positions * d).take(*rows) {
                    for (x, noise) in row[first * d..].iter_mut().zip(noise) {
                        *x += noise;
                    }
                }
                Tensor::from_vec(values, value.shape(), value.device())?
            }
            _ => value,
        };
        match self.then.wants(site, layer) {
            true => self.then.at(site, layer, value),
            false => Ok(value),
        }
    }
}

/// Replaces rows of attention tables, by the source run's or by zeros. Keys beyond the source run's
/// are in the future of every query written, where both tables are 0.
fn write_queries(
    target: &mut [f32],
    positions: usize,
    source: Option<&Source>,
    heads: std::ops::Range<usize>,
    queries: std::ops::Range<usize>,
) {
    for head in heads {
        for query in queries.clone() {
            let to = (head * positions + query) * positions;
            let Some(source) = source else {
                target[to..to + positions].fill(0.0);
                continue;
            };
            let keys = source.dims[2];
            let shared = keys.min(positions);
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
pub(crate) fn first_not_finite(
    model: &Model,
    ids: &[Vec<u32>],
    noise: Option<RowNoise>,
) -> Result<String> {
    let mut watch = Watch::default();
    model.forward(ids, &mut Noisy::of(noise, &mut watch))?;
    let site = watch.first;
    Ok(site.map_or_else(|| Site::Logits.name().to_owned(), |site| site.name))
}
