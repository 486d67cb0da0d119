//! One training under several seeds: what does not hang on one run's luck.

use engram_stats::{Interval, friedman};
use serde::{Deserialize, Serialize};

use crate::error::{Result, if_enough};
use crate::findings::ConditionFindings;
use crate::kinds::KindOutcome;
use crate::measure::Measure;
use crate::profile::LayerProfile;
use crate::study::Condition;
use crate::words::{number, plural, site};

/// One site under several seeds of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replicates {
    /// The model whose training was repeated.
    pub model: String,
    /// The site.
    pub site: String,
    /// The kind whose values are taken first in each difference.
    pub first: String,
    /// The kind that is subtracted.
    pub second: String,
    /// Each seed, the model itself first. A model that does not pass the gate has no outcome.
    pub seeds: Vec<Replicate>,
    /// Kendall's W of the seeds' mean recovery over layers, kinds together: 1 where all seeds rank layers alike.
    pub agreement: Option<f64>,
    /// The same in words.
    pub sentence: String,
}

/// One seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replicate {
    /// The model's name.
    pub model: String,
    /// Difference of mean normalised entropies between kinds; `None` where it is not tested.
    pub difference: Option<f64>,
    /// Its bootstrap interval.
    pub interval: Option<Interval>,
    /// Its permutation p, not adjusted.
    pub p_value: Option<f64>,
    /// The same adjusted over sites, which what it says goes by.
    #[serde(default)]
    pub p_holm: Option<f64>,
    /// What it says.
    pub outcome: KindOutcome,
}

/// Every model whose training was repeated, at every site that contributions add up at.
pub(crate) fn replicates(
    conditions: &[Condition],
    found: &[ConditionFindings],
) -> Result<Vec<Replicates>> {
    let mut all = Vec::new();
    for main in found {
        let others = conditions
            .iter()
            .filter(|c| c.replicates.as_ref() == Some(&main.name));
        let named = |name: &str| found.iter().find(|f| f.name == name);
        let seeds: Vec<&ConditionFindings> = std::iter::once(main)
            .chain(others.filter_map(|c| named(&c.name)))
            .collect();
        if seeds.len() < 2 {
            continue;
        }
        let tested = main.kind_tests.iter();
        for test in tested.filter(|t| main.concludes_from(&t.measure) && t.measure.adds_up()) {
            let of = |f: &&ConditionFindings| {
                let of_pair = |t: &&crate::kinds::KindTests| {
                    t.measure == test.measure
                        && (&t.first, &t.second) == (&test.first, &test.second)
                };
                let there = f.kind_tests.iter().find(of_pair);
                let entropy = there.and_then(|t| t.entropy.as_ref());
                Replicate {
                    model: f.name.clone(),
                    difference: entropy.map(|e| e.test.statistic),
                    interval: entropy.and_then(|e| e.interval),
                    p_value: entropy.map(|e| e.test.p_value),
                    p_holm: entropy.map(|e| e.p_holm),
                    outcome: there.map_or(KindOutcome::NoVerdict, |t| t.outcome),
                }
            };
            let mut repeated = Replicates {
                model: main.name.clone(),
                site: test.measure.label.clone(),
                first: test.first.clone(),
                second: test.second.clone(),
                seeds: seeds.iter().map(of).collect(),
                agreement: agreement(&seeds, &test.measure)?,
                sentence: String::new(),
            };
            repeated.sentence = repeated.in_words();
            all.push(repeated);
        }
    }
    Ok(all)
}

/// Kendall's W over layers and kinds, seeds as blocks.
fn agreement(seeds: &[&ConditionFindings], measure: &Measure) -> Result<Option<f64>> {
    let profile = |f: &&ConditionFindings| -> Option<Vec<f64>> {
        let of_measure = f.profiles.iter().filter(|p| p.measure == *measure);
        of_measure
            .flat_map(|p: &LayerProfile| &p.layers)
            .map(|l| l.mean)
            .collect()
    };
    let blocks: Option<Vec<Vec<f64>>> = seeds.iter().map(profile).collect();
    let blocks = blocks.filter(|b| b.iter().all(|row| row.len() == b[0].len()));
    let Some(blocks) = blocks else {
        return Ok(None);
    };
    let what = || "agreement of seeds".to_owned();
    Ok(if_enough(friedman(&blocks), what)?
        .ok()
        .map(|f| f.kendall_w))
}

impl Replicates {
    /// Seeds that say that this kind is more localised.
    fn saying(&self, outcome: KindOutcome) -> usize {
        self.seeds.iter().filter(|s| s.outcome == outcome).count()
    }

    fn in_words(&self) -> String {
        let tested: Vec<f64> = self.seeds.iter().filter_map(|s| s.difference).collect();
        let parts: Vec<String> = [
            (KindOutcome::First, &self.first),
            (KindOutcome::Second, &self.second),
        ]
        .into_iter()
        .filter(|(outcome, _)| self.saying(*outcome) > 0)
        .map(|(outcome, kind)| {
            format!(
                "{} of them say that {kind} facts are more localised",
                self.saying(outcome)
            )
        })
        .collect();
        let said = match parts.is_empty() {
            true => "none of them shows a difference in localisation".to_owned(),
            false => parts.join(" and "),
        };
        let range = match (
            tested.iter().copied().reduce(f64::min),
            tested.iter().copied().reduce(f64::max),
        ) {
            (Some(least), Some(most)) => {
                format!("; the difference is {} to {}", number(least), number(most))
            }
            _ => String::new(),
        };
        let agree = self.agreement.map_or(String::new(), |w| {
            format!("; the seeds rank layers with Kendall's W = {}", number(w))
        });
        format!(
            "{}, {} under {}: {said}{range}{agree}.",
            site(&self.site),
            self.model,
            plural(self.seeds.len(), "seed")
        )
    }
}
