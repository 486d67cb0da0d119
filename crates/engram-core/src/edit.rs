//! Scores of edits: one row for each edited fact, and what else the edit changed.

use serde::{Deserialize, Serialize};

use crate::setting::Method;

/// How a model does on some prompts: whether the right answer wins against the other one, with p = exp(−mean token NLL)
/// (Meng et al. 2022, section 3.3), and whether it is what the model says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// The share of prompts on which the right answer wins, strictly; 0 to 1.
    pub score: f64,
    /// The mean difference of p, −1 to 1.
    pub magnitude: f64,
    /// The share of prompts after which greedy decoding gives the right answer, 0 to 1; of neighbours, among those after
    /// which it does so in the unedited model. `None` where none counts, and in files of 0.1.
    #[serde(default)]
    pub said: Option<f64>,
    /// The mean p of the right answer, 0 to 1; `None` in files of 0.1.
    #[serde(default)]
    pub probability: Option<f64>,
}

/// CounterFact's scores of one case. A score without a prompt is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// p(new) > p(true) on the edit's own prompt.
    pub efficacy: Option<WinRate>,
    /// p(new) > p(true) on the paraphrases.
    pub paraphrase: Option<WinRate>,
    /// p(own answer) > p(new) on the neighbours.
    pub neighbourhood: Option<WinRate>,
}

impl Score {
    /// The mean of each score over the cases that have it.
    pub fn mean<'a>(scores: impl Iterator<Item = &'a Score> + Clone) -> Score {
        let of = |part: fn(&Score) -> Option<WinRate>| {
            let all: Vec<WinRate> = scores.clone().filter_map(part).collect();
            let mean = |of: fn(&WinRate) -> Option<f64>| {
                let values: Vec<f64> = all.iter().filter_map(of).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            Some(WinRate {
                score: mean(|w| Some(w.score))?,
                magnitude: mean(|w| Some(w.magnitude))?,
                said: mean(|w| w.said),
                probability: mean(|w| w.probability),
            })
        };
        Score {
            efficacy: of(|s| s.efficacy),
            paraphrase: of(|s| s.paraphrase),
            neighbourhood: of(|s| s.neighbourhood),
        }
    }

    /// S: the harmonic mean of the three shares that are present; 0 if one is 0.
    pub fn harmonic(&self) -> f64 {
        let all = [self.efficacy, self.paraphrase, self.neighbourhood];
        let all: Vec<f64> = all.iter().flatten().map(|w| w.score).collect();
        match all.is_empty() || all.contains(&0.0) {
            true => 0.0,
            false => all.len() as f64 / all.iter().map(|s| 1.0 / s).sum::<f64>(),
        }
    }
}

/// How an optimisation ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Evaluations of the loss.
    pub steps: usize,
    /// The last loss (nats).
    pub loss: f64,
    /// ‖δ‖ / ‖v₀‖.
    pub size: f64,
    /// Whether it reached what it was to stop at, and not only its last step; `None` in files of 0.1.
    #[serde(default)]
    pub converged: Option<bool>,
}

/// A fact edited at a set of layers, with its scores before and after.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EditRow {
    /// The request's name: the pair's id for a suite, otherwise `counterfact/CASE`.
    pub request: String,
    /// The fact's kind.
    pub kind: Option<String>,
    /// The fact's relation.
    pub relation: Option<String>,
    /// The method.
    pub method: Method,
    /// The edited layers, from 0.
    pub layers: Vec<usize>,
    /// Index of the subject's last token in the prompt without prefix, from 0. Rows of a sweep of the same pair are
    /// joined on it.
    #[serde(default)]
    pub position: i64,
    /// Whether the unedited model says the true answer: each of its tokens is the most probable one.
    #[serde(default)]
    pub says: Option<bool>,
    /// Whether the unedited model prefers the right one of the suite's answer and foil; `None` for a fact without a
    /// corrupted prompt.
    #[serde(default)]
    pub prefers: Option<bool>,
    /// The unedited model's scores.
    pub before: Score,
    /// The edited model's.
    pub after: Score,
    /// How the optimisation ended.
    pub fit: Fit,
}

/// How an edit changed another fact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FactChange {
    /// The edited fact, or [`TOGETHER`] if all were edited at once.
    pub request: String,
    /// The other fact.
    pub fact: String,
    /// The layers that were edited.
    pub layers: Vec<usize>,
    /// Change of the mean log-probability of its true answer's tokens (nats).
    pub change: f64,
    /// Whether every token of its answer was the most probable one before, and no longer is.
    pub lost: bool,
}

/// What the model writes after an edit's prompt: a greedy continuation of [`SAID_TOKENS`] tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Continuation {
    /// The edited fact.
    pub request: String,
    /// Its kind.
    pub kind: Option<String>,
    /// The layers that were edited.
    pub layers: Vec<usize>,
    /// The prompt.
    pub prompt: String,
    /// The original answer, where known.
    pub target_true: Option<String>,
    /// The answer that the edit asks for.
    pub target_new: String,
    /// The unedited model's continuation.
    pub before: String,
    /// The edited model's continuation.
    pub after: String,
}

/// The model's language before and after an edit. `None` if not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LanguageEffect {
    /// The edited fact, or [`TOGETHER`] if all were edited at once.
    pub request: String,
    /// Its kind.
    pub kind: Option<String>,
    /// The layers that were edited.
    pub layers: Vec<usize>,
    /// Perplexity of the held-out texts: exp(mean token NLL).
    pub perplexity: Option<[f64; 2]>,
    /// n-gram entropy of the model's continuations of the fact's prompt, in bits: (⅔H₂ + 4⁄3H₃) / 2, mean over
    /// continuations of 100 tokens (Meng et al. 2022).
    pub fluency: Option<[f64; 2]>,
    /// What changed on prompts that no edit is about; `None` in files of 0.1.
    #[serde(default)]
    pub probe: Option<ProbeEffect>,
}

/// What an edit changes in what a model says after a fixed set of prompts that no edit is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeEffect {
    /// The share of prompts after which another token is the most probable one, 0 to 1.
    pub changed: f64,
    /// KL(unedited ‖ edited) of the next token, mean over prompts (nats).
    pub kl: f64,
}

/// A model after some edits, each made on the model that the earlier ones gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SequencePoint {
    /// Edited facts so far.
    pub edits: usize,
    /// How many of these are scored, evenly spaced over all.
    pub scored: usize,
    /// The unedited model's mean scores of the same facts.
    pub before: Score,
    /// The edited model's.
    pub after: Score,
    /// Perplexity of the held-out texts, before and after; `None` if not measured.
    pub perplexity: Option<[f64; 2]>,
    /// What changed on prompts that no edit is about.
    pub probe: ProbeEffect,
}

/// The request name of an edit of all facts at once.
pub const TOGETHER: &str = "all";

/// Tokens of a continuation.
pub const SAID_TOKENS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_is_the_harmonic_mean_of_what_there_is() {
        let won = |score| {
            Some(WinRate {
                score,
                ..WinRate::default()
            })
        };
        let mut score = Score {
            efficacy: won(1.0),
            paraphrase: won(0.5),
            neighbourhood: None,
        };
        assert!((score.harmonic() - 2.0 / 3.0).abs() < 1e-15);
        score.neighbourhood = won(0.0);
        assert_eq!(score.harmonic(), 0.0);
        assert_eq!(Score::default().harmonic(), 0.0);
    }
}
