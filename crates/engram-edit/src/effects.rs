//! Side effects of an edit: on the other facts of a suite, on held-out texts, on the model's own continuations.

use engram_core::FactChange;
use engram_model::{LanguageModel, Tokenizer};

use crate::error::Result;
use crate::fluency::entropy;
use crate::prefixes::generate;
use crate::reader::Reader;
use crate::request::Case;
use crate::tokens::{PromptAndAnswer, continued};

/// The other facts that an edit may affect, with their log-probabilities under the unedited model.
#[derive(Debug)]
pub struct OtherFacts {
    names: Vec<String>,
    asked: Vec<PromptAndAnswer>,
    before: Vec<(f64, bool)>,
}

impl OtherFacts {
    /// The facts of some cases.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn of<'a>(
        reader: &Reader,
        cases: impl IntoIterator<Item = &'a Case>,
    ) -> Result<OtherFacts> {
        let (mut names, mut asked) = (Vec::new(), Vec::new());
        for case in cases {
            if let Some(own) = &case.request.target_true {
                names.push(case.request.id.clone());
                let tokenizer = reader.model().tokenizer();
                asked.push(continued(tokenizer, &case.request.prompt, own)?);
            }
        }
        let before = reader.likelihoods(&asked)?;
        Ok(OtherFacts {
            before: before.iter().map(|l| (l.mean_log, l.greedy)).collect(),
            names,
            asked,
        })
    }

    /// The change of every fact but the edited one.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn moved(
        &self,
        edited: &Reader,
        request: &str,
        layers: &[usize],
    ) -> Result<Vec<FactChange>> {
        let after = edited.likelihoods(&self.asked)?;
        let both = self.names.iter().zip(&self.before).zip(&after);
        let others = both.filter(|((name, _), _)| *name != request);
        let row = others.map(|((name, before), after)| FactChange {
            request: request.to_owned(),
            fact: name.clone(),
            layers: layers.to_vec(),
            change: after.mean_log - before.0,
            lost: before.1 && !after.greedy,
        });
        Ok(row.collect())
    }
}

/// Mean n-gram entropy over `count` continuations of 100 tokens for each prompt.
///
/// # Errors
/// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
pub fn fluency(model: &LanguageModel, prompts: &[&str], count: usize, seed: u64) -> Result<f64> {
    const TOKENS: usize = 100;
    let tokenizer: &Tokenizer = model.tokenizer();
    let mut all = Vec::new();
    for prompt in prompts {
        let ids = tokenizer.encode(prompt)?;
        for said in generate(model, &ids, count, TOKENS, seed)? {
            all.push(entropy(&format!("{prompt}{}", tokenizer.decode(&said)?)));
        }
    }
    Ok(all.iter().sum::<f64>() / all.len().max(1) as f64)
}
