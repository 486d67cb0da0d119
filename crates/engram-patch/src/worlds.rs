//! Taps of a sweep: source values written row by row into a batch of worlds, and a watch for NaN.

use std::ops::Range;

use candle_core::Tensor;
use engram_core::{NamedSite, Site};
use engram_model::{Capture, LanguageModel, ModelError, Result, Shape, Tap};
use indexmap::IndexMap;

use crate::intervention::{Intervention, Value};
use crate::plan::PlannedCell;
use crate::term::Term;

/// A run's values at one site.
#[derive(Debug, Default)]
struct Source {
    values: Vec<f32>,
    /// Of a source run, without the batch: [pos, …], or [head, query, key] for patterns. Of a batch, [row, pos, …].
    dims: Vec<usize>,
}

impl Source {
    /// A batch's values at a position of one of its rows.
    fn row(&self, row: usize, position: usize) -> Option<&[f32]> {
        let width: usize = self.dims.get(2..)?.iter().product();
        let start = (row * self.dims[1] + position) * width;
        self.values.get(start..start + width)
    }

    /// A pattern's probabilities of a head's query.
    fn keys(&self, head: usize, query: usize) -> Option<&[f32]> {
        let (queries, keys) = (*self.dims.get(1)?, *self.dims.get(2)?);
        self.values
            .get((head * queries + query) * keys..)?
            .get(..keys)
    }
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

/// A row of the batch and what is done in it.
type Patched<'a> = (usize, &'a Intervention);

/// Changes each row of a batch by the interventions of its own cell. Rows of one world stand together.
pub(crate) struct Worlds<'a> {
    model: &'a LanguageModel,
    /// This batch's own values at the sites that some destination reads otherwise: the stream and its terms.
    own: IndexMap<(Site, Option<usize>), Source>,
    sources: &'a Sources,
    means: &'a Means,
    patches: IndexMap<(Site, Option<usize>), Vec<Patched<'a>>>,
    prompt: usize,
    shift: i64,
}

/// Some values of a site at a position.
struct Entries {
    /// Where they stand in a row of the site, or the head of a pattern's query.
    columns: Range<usize>,
    position: usize,
    /// The row of the batch.
    row: usize,
    /// The place of the position among those that are patched.
    index: usize,
    /// Values of a row of the site.
    width: usize,
}

impl<'a> Worlds<'a> {
    /// A world for each cell, `rows` rows each, over a prompt of `prompt` tokens, with values from
    /// positions `shift` further on.
    pub(crate) fn of(
        cells: &[&'a PlannedCell],
        rows: usize,
        (prompt, shift): (usize, i64),
        (model, sources, means): (&'a LanguageModel, &'a Sources, &'a Means),
    ) -> Worlds<'a> {
        let mut patches: IndexMap<_, Vec<Patched<'a>>> = IndexMap::new();
        for (world, cell) in cells.iter().enumerate() {
            for intervention in &cell.interventions {
                let key = (intervention.site, intervention.layer);
                let at = patches.entry(key).or_default();
                at.extend((world * rows..(world + 1) * rows).map(|row| (row, intervention)));
            }
        }
        let shape = model.shape();
        let readings = patches
            .values()
            .flatten()
            .flat_map(|(_, i)| match &i.value {
                Value::Reading(terms) => {
                    let terms = terms.iter().map(|term| (term.site, term.layer));
                    terms.chain([stream_of(i, &shape)]).collect()
                }
                _ => Vec::new(),
            });
        let own = readings.map(|key| (key, Source::default())).collect();
        Worlds {
            model,
            own,
            sources,
            means,
            patches,
            prompt,
            shift,
        }
    }

    /// Puts what a value makes of the present values in their place.
    fn put(
        &self,
        (value, at): (&Value, &Intervention),
        entries: &Entries,
        present: &mut [f32],
    ) -> Result<()> {
        let Entries {
            columns,
            row: _,
            position,
            index,
            width,
        } = entries;
        let key = (at.site, at.layer);
        let missing = || ModelError::Cache {
            site: NamedSite::canonical(at.site, at.layer).name,
        };
        match value {
            Value::Source => {
                let from = usize::try_from(*position as i64 + self.shift).ok();
                let source = self.sources.0.get(&key);
                let row = from.zip(source).and_then(|(from, source)| match at.site {
                    Site::Pattern => source.keys(columns.start, from),
                    _ => source
                        .values
                        .get(from * width..(from + 1) * width)?
                        .get(columns.clone()),
                });
                let row = row.ok_or_else(missing)?;
                // Keys beyond the source run's are in the future of the query, where both tables are 0.
                let shared = row.len().min(present.len());
                present[..shared].copy_from_slice(&row[..shared]);
            }
            Value::Zero => present.fill(0.0),
            Value::Mean => {
                let mean = self.means.mean(&key).ok_or_else(missing)?;
                present.copy_from_slice(&mean[columns.clone()]);
            }
            Value::Row(row) => present.copy_from_slice(&row[columns.clone()]),
            Value::Rows(rows) => {
                let row = &rows[index * width..(index + 1) * width];
                present.copy_from_slice(&row[columns.clone()]);
            }
            Value::Added { value, scale } => {
                let mut added = present.to_vec();
                self.put((value, at), entries, &mut added)?;
                let pairs = present.iter_mut().zip(added);
                pairs.for_each(|(present, added)| *present += scale * added);
            }
            Value::Function(function) => function.apply(*position, present),
            Value::Reading(terms) => self.read_otherwise(terms, at, entries, present)?,
        }
        Ok(())
    }

    /// Puts what a site computes from the residual stream with some terms replaced.
    fn read_otherwise(
        &self,
        terms: &[Term],
        at: &Intervention,
        entries: &Entries,
        present: &mut [f32],
    ) -> Result<()> {
        let missing = |site, layer| ModelError::Cache {
            site: NamedSite::canonical(site, layer).name,
        };
        let of = |site: Site, layer: Option<usize>| {
            let own = self.own.get(&(site, layer));
            let row = own.and_then(|own| own.row(entries.row, entries.position));
            row.ok_or_else(|| missing(site, layer))
        };
        let (site, layer) = stream_of(at, &self.model.shape());
        let mut stream = of(site, layer)?.to_vec();
        let d = stream.len();
        for term in terms {
            let own = of(term.site, term.layer)?;
            let heads = match term.part {
                Some(part) => part.start * d..part.end * d,
                None => 0..own.len(),
            };
            let own_part = &own[heads.clone()];
            let mut new = own_part.to_vec();
            let of_term = Entries {
                columns: heads,
                row: entries.row,
                position: entries.position,
                index: entries.index,
                width: own.len(),
            };
            self.put((&term.value, &term.at(at)), &of_term, &mut new)?;
            for (index, (new, own)) in new.iter().zip(own_part).enumerate() {
                stream[index % d] += new - own;
            }
        }
        let stream = Tensor::from_vec(stream, (1, d), self.model.device())?;
        let read = (self.model.network()).reading((at.site, at.layer), &stream)?;
        let read = read.ok_or_else(|| missing(at.site, at.layer))?;
        let read = read.flatten_all()?.to_vec1::<f32>()?;
        present.copy_from_slice(&read[entries.columns.clone()]);
        Ok(())
    }
}

/// The residual stream that a destination reads.
fn stream_of(destination: &Intervention, shape: &Shape) -> (Site, Option<usize>) {
    match destination.site {
        Site::LnFinal => (Site::ResidPost, shape.layers.checked_sub(1)),
        Site::Ln2 if !shape.parallel => (Site::ResidMid, destination.layer),
        _ => (Site::ResidPre, destination.layer),
    }
}

impl Tap for Worlds<'_> {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        let key = (site, layer);
        self.patches.contains_key(&key) || self.own.contains_key(&key)
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        let value = self.patched(site, layer, value)?;
        if let Some(own) = self.own.get_mut(&(site, layer)) {
            *own = Source {
                values: value.flatten_all()?.to_vec1::<f32>()?,
                dims: value.dims().to_vec(),
            };
        }
        Ok(value)
    }
}

impl Worlds<'_> {
    /// A site's values with the interventions of each row.
    fn patched(&self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        let Some(patches) = self.patches.get(&(site, layer)) else {
            return Ok(value);
        };
        let shape = value.shape().clone();
        let mut values = value.flatten_all()?.to_vec1::<f32>()?;
        let row_size = values.len() / shape.dims().first().copied().unwrap_or(1).max(1);
        for (row, intervention) in patches {
            let target = values.get_mut(row * row_size..(row + 1) * row_size);
            let target = target.ok_or_else(|| ModelError::Cache {
                site: NamedSite::canonical(site, layer).name,
            })?;
            let dims = &shape.dims()[1..];
            let value = (&intervention.value, *intervention);
            let places = intervention.place.range(self.prompt).enumerate();
            if site == Site::Pattern {
                let (heads, width) = (dims[0], dims[2]);
                let heads = intervention.part.map_or(0..heads, |p| p.start..p.end);
                for head in heads {
                    for (index, query) in places.clone() {
                        let table = &mut target[(head * dims[1] + query) * width..][..=query];
                        let entries = Entries {
                            columns: head..head + 1,
                            row: *row,
                            position: query,
                            index,
                            width,
                        };
                        self.put(value, &entries, table)?;
                    }
                }
                continue;
            }
            let width: usize = dims[1..].iter().product();
            // Heads stand apart in the shape, neurons do not.
            let unit: usize = dims[1..].iter().skip(1).product();
            let part = intervention.part;
            let columns = part.map_or(0..width, |p| p.start * unit..p.end * unit);
            for (index, position) in places {
                let present = &mut target[position * width..][columns.clone()];
                let entries = Entries {
                    columns: columns.clone(),
                    row: *row,
                    position,
                    index,
                    width,
                };
                self.put(value, &entries, present)?;
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
    model: &LanguageModel,
    ids: &[Vec<u32>],
    noise: Option<RowNoise>,
) -> Result<String> {
    let mut watch = Watch::default();
    model.forward(ids, &mut Noisy::of(noise, &mut watch))?;
    let site = watch.first;
    Ok(site.map_or_else(|| Site::Logits.name().to_owned(), |site| site.name))
}
