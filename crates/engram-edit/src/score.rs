//! CounterFact's scores of an edit (Meng et al. 2022, section 3.3).

use engram_core::{Score, WinRate};
use engram_model::Tokenizer;

use crate::error::Result;
use crate::reader::{Likelihood, Reader};
use crate::request::Case;
use crate::tokens::{PromptAndAnswer, continued};

/// A case's questions, tokenised. In each, the first answer is the one that should win after the edit.
#[derive(Debug, Clone)]
pub struct Questions {
    questions: Vec<[PromptAndAnswer; 2]>,
    paraphrases: usize,
    /// For each neighbour, whether the unedited model says its answer; all of them before that is known.
    counted: Vec<bool>,
}

impl Questions {
    /// The questions of a case; `None` for a case without a true answer.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if a text cannot be tokenised.
    pub fn of(tokenizer: &Tokenizer, case: &Case) -> Result<Option<Questions>> {
        let Some(own) = &case.request.target_true else {
            return Ok(None);
        };
        let new = &case.request.target_new;
        let pair = |prompt: &str, wins: &str, loses: &str| -> Result<[PromptAndAnswer; 2]> {
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
        Ok(Some(Questions {
            questions,
            paraphrases: case.paraphrases.len(),
            counted: vec![true; case.neighbours.len()],
        }))
    }

    /// A case's prompt followed by its true answer, or by the new one if the true one is not known.
    pub(crate) fn own(tokenizer: &Tokenizer, case: &Case) -> Result<PromptAndAnswer> {
        let request = &case.request;
        let answer = request.target_true.as_ref().unwrap_or(&request.target_new);
        continued(tokenizer, &request.prompt, answer)
    }

    /// Whether each token of the true answer is the model's most probable one after the prompt, for each case.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn says(reader: &Reader, all: &[Questions]) -> Result<Vec<bool>> {
        let own: Vec<PromptAndAnswer> = all.iter().map(|a| a.questions[0][1].clone()).collect();
        Ok(reader.likelihoods(&own)?.iter().map(|l| l.greedy).collect())
    }

    /// The scores of the unedited model. What it says of the neighbours is what an edit can damage: only those neighbours
    /// count for what [`Questions::score`] finds said.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn score_unedited(&mut self, reader: &Reader) -> Result<Score> {
        let found = self.likelihoods(reader)?;
        let neighbours = &found[1 + self.paraphrases..];
        self.counted = neighbours.iter().map(|pair| pair[0].greedy).collect();
        Ok(self.score_of(&found))
    }

    /// The scores of a model.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn score(&self, reader: &Reader) -> Result<Score> {
        Ok(self.score_of(&self.likelihoods(reader)?))
    }

    /// The likelihoods of both answers to each question.
    fn likelihoods(&self, reader: &Reader) -> Result<Vec<[Likelihood; 2]>> {
        let flat: Vec<PromptAndAnswer> = self.questions.iter().flatten().cloned().collect();
        let found = reader.likelihoods(&flat)?;
        Ok(found.as_chunks::<2>().0.to_vec())
    }

    fn score_of(&self, pairs: &[[Likelihood; 2]]) -> Score {
        let (own, others) = pairs.split_at(1);
        let (paraphrases, neighbours) = others.split_at(self.paraphrases);
        Score {
            efficacy: won(own, &[true]),
            paraphrase: won(paraphrases, &vec![true; paraphrases.len()]),
            neighbourhood: won(neighbours, &self.counted),
        }
    }
}

/// `counted` are the prompts that count for what is said.
fn won(pairs: &[[Likelihood; 2]], counted: &[bool]) -> Option<WinRate> {
    let n = pairs.len() as f64;
    let difference = |p: &[Likelihood; 2]| p[0].probability() - p[1].probability();
    let counted: Vec<bool> = (pairs.iter().zip(counted))
        .filter(|(_, counts)| **counts)
        .map(|(pair, _)| pair[0].greedy)
        .collect();
    let said = counted.iter().filter(|said| **said).count() as f64;
    (!pairs.is_empty()).then(|| WinRate {
        score: pairs.iter().filter(|p| difference(p) > 0.0).count() as f64 / n,
        magnitude: pairs.iter().map(difference).sum::<f64>() / n,
        said: (!counted.is_empty()).then(|| said / counted.len() as f64),
        probability: Some(pairs.iter().map(|p| p[0].probability()).sum::<f64>() / n),
    })
}
