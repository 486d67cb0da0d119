//! Operations of each kind of work, and the time that they take.

use engram_core::Suite;
use engram_edit::EditSettings;
use engram_model::Shape;
use engram_train::TrainingPlan;

use crate::layers::LayerChoice;
use crate::study::Edit;

/// Share of the rate of a matrix product that each kind of work reaches, measured on the quickstart and on GPT-2 small's
/// sizes (docs/performance.md).
const TRAINING: f64 = 0.8;
const SWEEP: f64 = 0.6;
const PREFERENCES: f64 = 0.45;
const EDITING: f64 = 0.9;
/// Seconds of an abstract (MinHash, counting), of a pair (building, balancing), of a result row (tests, report).
const TEXT_S: f64 = 8e-4;
const PAIR_S: f64 = 0.01;
const ROW_S: f64 = 2e-5;
/// Seconds of tests and report that no number of rows changes.
const REPORT_S: f64 = 2.0;
/// Parameters drawn and written a second.
const DRAWN: f64 = 5e7;
/// Wordings in which a pair is asked, its own included.
const WORDINGS: f64 = 4.0;
/// Tokens of a prompt of an edit with its prefix and answer; share of its rows that an optimisation computes.
const EDIT_TOKENS: f64 = 20.0;
const SUFFIX: f64 = 0.5;
/// Share of the maximum number of steps that an optimisation takes.
const STEPS: f64 = 0.3;
/// Prompts by which an edit is scored: its own, paraphrases, neighbours, the probe.
const SCORED: f64 = 40.0;

/// Time of work on a model of some sizes.
pub struct Cost {
    shape: Shape,
    /// Operations a second of a matrix product.
    rate: f64,
}

impl Cost {
    pub fn of(shape: &Shape, rate: f64) -> Cost {
        Cost {
            shape: shape.clone(),
            rate,
        }
    }

    pub fn rate(&self) -> f64 {
        self.rate
    }

    fn seconds(&self, flops: f64, efficiency: f64) -> f64 {
        flops / (self.rate * efficiency)
    }

    /// Parameters of a block's matrices.
    fn block(&self) -> f64 {
        let (d, mlp) = (self.shape.d_model as f64, self.shape.d_mlp as f64);
        let projections = if self.shape.gated { 3.0 } else { 2.0 };
        let attention = 2.0 * (1.0 + self.shape.kv_heads as f64 / self.shape.heads as f64);
        (attention * d + projections * mlp) * d
    }

    /// Operations of a forward pass for a token: blocks, attention over `length` tokens, and where `read` its logits.
    fn token(&self, length: f64, read: bool) -> f64 {
        let (layers, d) = (self.shape.layers as f64, self.shape.d_model as f64);
        let head = if read {
            self.shape.vocab as f64 * d
        } else {
            0.0
        };
        2.0 * (layers * (self.block() + (length + 1.0) * d) + head)
    }

    pub fn texts(&self, count: usize) -> f64 {
        1.0 + TEXT_S * count as f64
    }

    pub fn pairs(&self, count: usize) -> f64 {
        1.0 + PAIR_S * count as f64
    }

    pub fn drawing(&self) -> f64 {
        self.shape.parameters as f64 / DRAWN
    }

    /// All epochs: forward and twice that backward, and a forward pass over the validation texts after each, and before the
    /// first.
    pub fn training(&self, plan: &TrainingPlan) -> f64 {
        let sequences = plan.sequences.max(1) as f64;
        let length = plan.tokens_per_epoch as f64 / sequences;
        let epochs = plan.total_steps as f64 / plan.steps_per_epoch.max(1) as f64;
        let held_out = plan.validation_sequences as f64 * length;
        let token = self.token(length, true);
        let trained = 3.0 * plan.tokens_per_epoch as f64 * epochs;
        self.seconds(token * (trained + held_out * (epochs + 1.0)), TRAINING)
    }

    pub fn sweep(&self, flops: u64) -> f64 {
        self.seconds(flops as f64, SWEEP)
    }

    pub fn preferences(&self, suite: &Suite) -> f64 {
        let tokens = suite.pairs.len() as f64 * 2.0 * WORDINGS * EDIT_TOKENS;
        self.seconds(tokens * self.token(EDIT_TOKENS, true), PREFERENCES)
    }

    /// Facts, sets of layers, and seconds.
    pub fn edits(&self, edit: &Edit, suite: &Suite) -> (usize, usize, f64) {
        let all = suite.pairs.len();
        let facts = match edit.facts {
            0 => all,
            most => {
                let mut kinds: Vec<&str> = suite.pairs.iter().map(|p| p.kind.as_str()).collect();
                kinds.sort_unstable();
                kinds.dedup();
                all.min(most * kinds.len())
            }
        };
        let sets = match edit.layer {
            LayerChoice::All => self.shape.layers,
            LayerChoice::Range(first, last) => last + 1 - first,
            LayerChoice::One(_) | LayerChoice::Auto => 1,
        };
        let settings = edit.settings().unwrap_or(EditSettings::of(edit.method));
        let prompts = 2.0 + 2.0 * settings.prefixes as f64;
        let steps = STEPS * settings.steps as f64;
        let step = 3.0 * prompts * EDIT_TOKENS * SUFFIX * self.token(EDIT_TOKENS, false)
            + 6.0 * prompts * 2.0 * self.shape.vocab as f64 * self.shape.d_model as f64;
        let others = if edit.side_effects { all as f64 } else { 0.0 };
        let scored = 2.0 * (SCORED + others) * EDIT_TOKENS * self.token(EDIT_TOKENS, false)
            + edit.held_out_tokens as f64 * self.token(200.0, true);
        let covariance = settings.sample_tokens as f64
            * (self.token(200.0, false) + 2.0 * (self.shape.d_mlp as f64).powi(2) * sets as f64);
        let edits = (facts * sets) as f64;
        let flops = edits * (steps * step + scored) + covariance;
        (facts, sets, self.seconds(flops, EDITING))
    }

    pub fn report(&self, rows: u64) -> f64 {
        REPORT_S + ROW_S * rows as f64
    }
}
