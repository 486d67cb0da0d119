//! How well an edit did: CounterFact's scores (Meng et al. 2022, section 3.3).

use engram_model::{Model, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::likelihood::{Likelihood, likelihoods};
use crate::request::Case;
use crate::tokens::{Continued, continued};

/// A share of prompts on which the right side wins, strictly, and the mean difference, with p = exp(−mean token NLL).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Won {
    /// The share.
    pub score: f64,
    /// The mean difference of p.
    pub magnitude: f64,
}

/// The scores of one case. Those that have no prompt are `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// p(new) > p(true) on the edit's own prompt.
    pub efficacy: Option<Won>,
    /// p(new) > p(true) on the paraphrases.
    pub paraphrase: Option<Won>,
    /// p(own answer) > p(new) on the neighbours.
    pub neighbourhood: Option<Won>,
}

/// A case's questions, tokenised: each with the answer that should win after the edit first.
#[derive(Debug, Clone)]
pub struct Asked {
    questions: Vec<[Continued; 2]>,
    paraphrases: usize,
}

impl Asked {
    /// Of a case that has a true answer; `None` where it has none.
    ///
    /// # Errors
    /// The tokenizer's.
    pub fn of(tokenizer: &Tokenizer, case: &Case) -> Result<Option<Asked>> {
        let Some(own) = &case.request.target_true else {
            return Ok(None);
        };
        let new = &case.request.target_new;
        let pair = |prompt: &str, wins: &str, loses: &str| -> Result<[Continued; 2]> {
            let answer = |answer| continued(tokenizer, prompt, answer);
            Ok([answer(wins)?, answer(loses)?])
        };
        let mut questions = vec![pair(&case.request.prompt, new, own)?];
        for prompt in &case.paraphrases {
            questions.push(pair(prompt, new, own)?);
        }
        for neighbour in &case.neighbours {
            questions.push(pair(&neighbour.prompt, &neighbour.answer, new)?);
        }
        Ok(Some(Asked {
            questions,
            paraphrases: case.paraphrases.len(),
        }))
    }

    /// Whether every token of the true answer is the model's most probable one after the bare prompt.
    ///
    /// # Errors
    /// The model's.
    pub fn known(model: &Model, all: &[Asked]) -> Result<Vec<bool>> {
        let own: Vec<Continued> = all.iter().map(|a| a.questions[0][1].clone()).collect();
        Ok(likelihoods(model, &own)?.iter().map(|l| l.greedy).collect())
    }

    /// The scores of a model.
    ///
    /// # Errors
    /// The model's.
    pub fn score(&self, model: &Model) -> Result<Score> {
        let flat: Vec<Continued> = self.questions.iter().flatten().cloned().collect();
        let found = likelihoods(model, &flat)?;
        let (pairs, _) = found.as_chunks::<2>();
        let (own, others) = pairs.split_at(1);
        let (paraphrases, neighbours) = others.split_at(self.paraphrases);
        Ok(Score {
            efficacy: won(own),
            paraphrase: won(paraphrases),
            neighbourhood: won(neighbours),
        })
    }
}

fn won(pairs: &[[Likelihood; 2]]) -> Option<Won> {
    let n = pairs.len() as f64;
    let difference = |p: &[Likelihood; 2]| p[0].probability() - p[1].probability();
    (!pairs.is_empty()).then(|| Won {
        score: pairs.iter().filter(|p| difference(p) > 0.0).count() as f64 / n,
        magnitude: pairs.iter().map(difference).sum::<f64>() / n,
    })
}

impl Score {
    /// The means over cases, each over those that have it.
    pub fn mean<'a>(scores: impl Iterator<Item = &'a Score> + Clone) -> Score {
        let of = |part: fn(&Score) -> Option<Won>| {
            let all: Vec<Won> = scores.clone().filter_map(part).collect();
            let n = all.len() as f64;
            (!all.is_empty()).then(|| Won {
                score: all.iter().map(|w| w.score).sum::<f64>() / n,
                magnitude: all.iter().map(|w| w.magnitude).sum::<f64>() / n,
            })
        };
        Score {
            efficacy: of(|s| s.efficacy),
            paraphrase: of(|s| s.paraphrase),
            neighbourhood: of(|s| s.neighbourhood),
        }
    }

    /// S: the harmonic mean of the three scores, 0 where one is 0; of those that there are.
    pub fn harmonic(&self) -> f64 {
        let all = [self.efficacy, self.paraphrase, self.neighbourhood];
        let all: Vec<f64> = all.iter().flatten().map(|w| w.score).collect();
        match all.is_empty() || all.contains(&0.0) {
            true => 0.0,
            false => all.len() as f64 / all.iter().map(|s| 1.0 / s).sum::<f64>(),
        }
    }
}
