//! A fixed set of prompts that no edit is about: what an edit changes there, it should not have touched.

use engram_core::ProbeEffect;
use engram_model::kernels::softmax::log_probabilities;

use crate::error::Result;
use crate::reader::{Reader, most_probable, run};

/// The prompts: general English, of several lengths, each ending where something definite may follow.
pub const PROMPTS: [&str; 24] = [
    "The capital of Germany is",
    "The opposite of hot is",
    "Water freezes at a temperature of zero degrees",
    "She opened the door and walked into the",
    "Two plus two equals",
    "The sun rises in the",
    "In 1969, the first man walked on the",
    "The largest ocean on Earth is the",
    "He was born in London and speaks",
    "The results of the study suggest that",
    "A dog is a kind of",
    "Once upon a time, there was a",
    "The patient was treated with",
    "Thank you very much for your",
    "The company announced on Monday that it would",
    "The heart pumps blood through the",
    "Shakespeare wrote many famous",
    "To make bread, mix flour with",
    "The days of the week are Monday, Tuesday,",
    "If it rains tomorrow, we will stay at",
    "Mount Everest is the highest mountain in the",
    "In conclusion, further research is",
    "The colour of the sky on a clear day is",
    "Plants take in carbon dioxide and give off",
];

/// What a model says after the probe's prompts: the distribution of the next token.
#[derive(Debug)]
pub struct Probe {
    runs: Vec<Vec<u32>>,
    before: Vec<Vec<f64>>,
    said: Vec<Option<u32>>,
}

impl Probe {
    /// Of an unedited model.
    ///
    /// # Errors
    /// [`EditError::Model`](crate::EditError::Model) if the model cannot be run.
    pub fn of(reader: &Reader) -> Result<Probe> {
        let tokenizer = reader.model().tokenizer();
        let runs = PROMPTS.iter().map(|prompt| tokenizer.encode(prompt));
        let runs: Vec<Vec<u32>> = runs.collect::<std::result::Result<_, _>>()?;
        let found = next(reader, &runs)?;
        let (before, said) = found.into_iter().unzip();
        Ok(Probe { runs, before, said })
    }

    /// What an edited model says otherwise.
    ///
    /// # Errors
    /// As [`Probe::of`].
    pub fn changed(&self, edited: &Reader) -> Result<ProbeEffect> {
        let after = next(edited, &self.runs)?;
        let n = self.runs.len() as f64;
        let changed = after.iter().zip(&self.said);
        let changed = changed.filter(|((_, after), before)| after != *before);
        let divergence = |(before, (after, _)): (&Vec<f64>, &(Vec<f64>, Option<u32>))| {
            let terms = before.iter().zip(after);
            terms.map(|(b, a)| b.exp() * (b - a)).sum::<f64>()
        };
        Ok(ProbeEffect {
            changed: changed.count() as f64 / n,
            kl: self.before.iter().zip(&after).map(divergence).sum::<f64>() / n,
        })
    }
}

/// Log-probabilities of the next token after each run, and the most probable one.
fn next(reader: &Reader, runs: &[Vec<u32>]) -> Result<Vec<(Vec<f64>, Option<u32>)>> {
    let reads = runs.iter().map(|ids| (run(ids), ids.len() - 1..ids.len()));
    let rows = reader.packed().read(&reads.collect::<Vec<_>>())?;
    let logits = reader.packed().logits(&rows, reader.vocabulary());
    let rows = logits.chunks_exact(reader.vocabulary().tokens());
    Ok(rows
        .map(|row| (log_probabilities(row), most_probable(row)))
        .collect())
}
