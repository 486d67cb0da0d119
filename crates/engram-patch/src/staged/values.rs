//! Planned values as a wavefront takes them: zeros, means, rows, and what is added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engram_core::Site;
use engram_model::wavefront::{self, Run, cache_bytes};

use super::StagedEngine;
use crate::error::{PatchError, Result};
use crate::intervention::{Intervention, Value};
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::term::Term;

/// Runs whose activations stand side by side while means are taken.
const RUNS_AT_ONCE: usize = 16;

/// What cells are set to where that is no run's value.
pub(super) struct Constants {
    means: BTreeMap<(Site, Option<usize>), Arc<Vec<f32>>>,
    zeros: BTreeMap<Site, Arc<Vec<f32>>>,
}

impl StagedEngine<'_> {
    /// Zeros, and means over all tokens of all clean prompts, of the sites that are set to them.
    pub(super) fn constants(&self, plan: &Plan, schedule: &Schedule) -> Result<Constants> {
        let set_to = |value: Value| {
            let cells = plan.pairs.iter().flat_map(|p| &p.cells);
            let all = cells.flat_map(|c| c.interventions.iter().flat_map(Intervention::values));
            all.filter(move |(_, set)| *set.inner() == value)
        };
        let zeros = set_to(Value::Zero).map(|((site, _), _)| site);
        let zeros: BTreeSet<Site> = zeros.collect();
        let zero = |site| (site, Arc::new(vec![0.0; self.width(site)]));
        let mut constants = Constants {
            means: BTreeMap::new(),
            zeros: zeros.into_iter().map(zero).collect(),
        };
        let keys: BTreeSet<_> = set_to(Value::Mean).map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(constants);
        }
        let mut sums: BTreeMap<(Site, Option<usize>), Vec<f64>> = keys
            .into_iter()
            .map(|key| (key, vec![0.0; self.width(key.0)]))
            .collect();
        let mut tokens = 0;
        let longest = plan.pairs.iter().map(|p| p.pair.clean.len()).max();
        let a_run = cache_bytes(self.front.shape(), longest.unwrap_or(0)).max(1);
        let room = schedule.bytes.saturating_sub(schedule.standing) / a_run;
        for pairs in plan.pairs.chunks(RUNS_AT_ONCE.min(room as usize).max(1)) {
            let runs: Vec<Run> = pairs.iter().map(|p| plain(&p.pair.clean)).collect();
            let caches = self.front.runs(&runs)?;
            for run in 0..caches.runs() {
                tokens += caches.positions(run);
                for (key, sums) in &mut sums {
                    for position in 0..caches.positions(run) {
                        let value = self.front.value(&caches, run, *key, position);
                        let pairs = sums.iter_mut().zip(value.iter());
                        pairs.for_each(|(s, v)| *s += f64::from(*v));
                    }
                }
            }
        }
        let count = tokens.max(1) as f64;
        let mean = |sums: Vec<f64>| Arc::new(sums.iter().map(|s| (s / count) as f32).collect());
        constants.means = sums
            .into_iter()
            .map(|(key, sums)| (key, mean(sums)))
            .collect();
        Ok(constants)
    }

    /// Values of a row that a write of a site has; one for a pattern, of which all keys have the same.
    fn width(&self, site: Site) -> usize {
        self.front.width(site).unwrap_or(1)
    }

    /// Refuses what the wavefront has no values for.
    pub(super) fn check(&self, plan: &Plan) -> Result<()> {
        for pair in &plan.pairs {
            let cells = pair.cells.iter();
            let all = cells.flat_map(|c| {
                let values = c.interventions.iter().flat_map(Intervention::values);
                values.map(move |(site, value)| (c, site, value))
            });
            for (cell, (site, _), value) in all {
                let image = matches!(site, Site::HeadOut | Site::Logits);
                let own = matches!(
                    value.inner(),
                    Value::Row(_) | Value::Rows(_) | Value::Function(_)
                );
                // Capped logits are no linear image.
                let adds = matches!(value, Value::Added { .. });
                let capped = plan.shape.capped && site == Site::Logits;
                if image && (own || adds && capped) {
                    return Err(PatchError::Plan {
                        pair: pair.pair.id.clone(),
                        site: Some(cell.at.name.clone()),
                        why: format!(
                            "the staged engine writes {} from runs, zeros and means only; take the naive engine, or write {}",
                            site,
                            match site {
                                Site::Logits => "ln_final",
                                _ => "z or attn_out",
                            }
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// A planned value as the wavefront takes it; `first` is the first position, and `run` the source run.
    pub(super) fn value(
        &self,
        (value, key): (&Value, (Site, Option<usize>)),
        first: usize,
        (run, shift): (usize, i64),
        constants: &Constants,
    ) -> wavefront::WrittenValue {
        match value {
            Value::Source => wavefront::WrittenValue::Run { run, shift },
            Value::Zero => {
                let zeros = constants.zeros.get(&key.0);
                wavefront::WrittenValue::Constant(zeros.cloned().unwrap_or_default())
            }
            Value::Mean => {
                let mean = constants.means.get(&key);
                wavefront::WrittenValue::Constant(mean.cloned().unwrap_or_default())
            }
            Value::Row(row) => wavefront::WrittenValue::Constant(row.clone()),
            Value::Rows(rows) => wavefront::WrittenValue::Rows {
                first,
                rows: rows.clone(),
            },
            Value::Added { value, scale } => wavefront::WrittenValue::Added {
                value: Box::new(self.value((value, key), first, (run, shift), constants)),
                scale: *scale,
            },
            Value::Reading(terms) => {
                let written = |term: &Term| {
                    let key = (term.site, term.layer);
                    term.written(self.value((&term.value, key), first, (run, shift), constants))
                };
                wavefront::WrittenValue::Reading(
                    terms.iter().map(written).collect::<Vec<_>>().into(),
                )
            }
            Value::Function(function) => wavefront::WrittenValue::Function(function.clone()),
        }
    }
}

fn plain(prompt: &[u32]) -> Run {
    Run {
        ids: prompt.to_vec(),
        noise: None,
    }
}
