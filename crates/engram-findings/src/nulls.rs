//! Is the test between kinds calibrated on these very data? Kinds permuted over relations, again and again: of a test
//! at level α a share α rejects.

use std::collections::BTreeMap;

use engram_stats::{Proportion, mean, permute_kinds, proportion_interval};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{FindingsError, Result};
use crate::findings::Findings;
use crate::kinds::LEAST_RELATIONS;
use crate::layers::stats;
use crate::study::StudyResults;

/// What one test between kinds does where kind means nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NullRejections {
    /// The model.
    pub model: String,
    /// The site.
    pub site: String,
    /// How often kinds were permuted over relations.
    pub permuted: usize,
    /// How often the test of the difference in normalised entropy had p below the level.
    pub rejected: usize,
    /// The level.
    pub alpha: f64,
    /// The share that rejected, with its interval.
    pub share: Proportion,
}

/// Permutes kinds over relations `times` times and tests each time as [`crate::findings`] does, for every model and
/// site whose kinds were tested under the primary measure.
///
/// # Errors
/// The suite's; `times` of 0.
pub fn null_rejections(
    study: &StudyResults<'_>,
    found: &Findings,
    times: usize,
) -> Result<Vec<NullRejections>> {
    let context = Context::new(study.suite, study.settings)?;
    let alpha = study.settings.alpha();
    let mut all = Vec::new();
    for condition in &found.conditions {
        let tested = condition.kind_tests.iter();
        for test in tested.filter(|t| condition.concludes_from(&t.measure) && t.entropy.is_some()) {
            let mut relations: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
            let pairs = condition
                .localisation
                .iter()
                .filter(|l| l.measure == test.measure);
            for pair in pairs.flat_map(|l| &l.pairs) {
                let of = context.find(&pair.pair);
                if let Some((kind, relation)) =
                    of.and_then(|i| Some((&study.suite[i].kind, context.relation(i)?)))
                    && [&test.first, &test.second].contains(&kind)
                {
                    relations
                        .entry((kind, relation))
                        .or_default()
                        .push(pair.entropy);
                }
            }
            let first = relations
                .keys()
                .filter(|(kind, _)| *kind == test.first)
                .count();
            if first.min(relations.len() - first) < LEAST_RELATIONS {
                continue;
            }
            let mut means = (relations.values().map(|v| mean(v)))
                .collect::<std::result::Result<Vec<f64>, _>>()
                .map_err(|e| stats("mean of a relation".to_owned(), e))?;
            let mut draw = ChaCha8Rng::seed_from_u64(study.settings.seed);
            let mut rejected = 0;
            for turn in 0..times {
                means.shuffle(&mut draw);
                let (a, b) = means.split_at(first);
                let seed = study.settings.seed.wrapping_add(turn as u64);
                let p = permute_kinds(a, b, study.settings.permutations, seed)
                    .map_err(|e| stats("a test under the null".to_owned(), e))?
                    .p_value;
                rejected += usize::from(p < alpha);
            }
            let share =
                proportion_interval(rejected, times, study.settings.level).map_err(|source| {
                    FindingsError::Stats {
                        what: "share of rejections".to_owned(),
                        source,
                    }
                })?;
            all.push(NullRejections {
                model: condition.name.clone(),
                site: test.measure.label.clone(),
                permuted: times,
                rejected,
                alpha,
                share,
            });
        }
    }
    Ok(all)
}
