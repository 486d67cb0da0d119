//! What findings are drawn from.

use engram_core::{Confounds, OutOfRange, Pair, PreferenceRow, Range, Row};
use serde::{Deserialize, Serialize};

use crate::editing::EditResults;

/// A suite, and what each model did on it. A single sweep is a study of one condition.
#[derive(Debug, Clone, Copy)]
pub struct StudyResults<'a> {
    /// The pairs.
    pub suite: &'a [Pair],
    /// The pairs' confounds; may be empty.
    pub confounds: &'a [Confounds],
    /// The models, in the order in which they are shown. The one called `base` is what the others
    /// are compared with.
    pub conditions: &'a [Condition],
    /// Each model's edits; may be empty.
    pub edits: &'a [EditResults],
    /// The pairs of the published protocol (question and answer), where the study asks for the published study's table.
    pub published: Option<&'a [Pair]>,
    /// How to test.
    pub settings: Settings,
}

/// One model's results.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// `base` or any other word.
    pub name: String,
    /// Whether the study trained it on texts that hold the pairs in their own wording.
    pub taught: bool,
    /// The condition that this one is another seed's training of.
    pub replicates: Option<String>,
    /// The sweep: all metrics, sites and positions.
    pub rows: Vec<Row>,
    /// Answer or foil, in the pairs' own wordings and in paraphrases. May be empty: the rows of metric
    /// `logit_diff` then say what the model prefers.
    pub preferences: Vec<PreferenceRow>,
    /// The sweep under the published protocol (`overwrite`, `logit_diff_mean`); may be empty.
    pub published: Vec<Row>,
}

/// How to test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The least clean − corrupt logit difference of a pair that enters a test.
    pub eligible_gap: f64,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Random permutations where there are too many to look at all.
    pub permutations: usize,
    /// Confidence level; 1 − level is the threshold of every test.
    pub level: f64,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            eligible_gap: 0.5,
            resamples: 2000,
            permutations: 10_000,
            level: 0.95,
            seed: 1,
        }
    }
}

impl Settings {
    /// What the numbers may be; the seed may be any.
    pub const RANGES: [(&'static str, Range); 4] = [
        ("eligible_gap", Range::real(0.0, 1000.0)),
        ("resamples", Range::whole(1, 1_000_000)),
        ("permutations", Range::whole(1, 1_000_000)),
        ("level", Range::real(0.5, 0.9999)),
    ];

    /// Checks the numbers against their ranges.
    ///
    /// # Errors
    /// [`OutOfRange`] with the first that is outside.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let values = [
            self.eligible_gap,
            self.resamples as f64,
            self.permutations as f64,
            self.level,
        ];
        for ((name, range), value) in Settings::RANGES.into_iter().zip(values) {
            range.check(&format!("stats.{name}"), value)?;
        }
        Ok(())
    }

    /// The threshold below which a p value is called significant.
    pub fn alpha(&self) -> f64 {
        // The difference of decimals is not their decimal difference: 1 − 0.95 > 0.05.
        ((1.0 - self.level) * 1e9).round() / 1e9
    }
}
