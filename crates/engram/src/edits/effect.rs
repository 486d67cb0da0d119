//! What an edit changes in what a model says, and whether that is what was asked for.

use engram_core::{ProbeEffect, Score};
use engram_edit::prefixes::generate;
use engram_edit::tokens::continued;
use engram_edit::{Case, Probe, Questions, Reader};
use serde::Serialize;

use crate::error::{Error, Result};

/// Tokens of what the model says before and after.
const SAID: usize = 8;

/// Facts whose continuations are sampled, continuations of each, and tokens of each beside the answer's.
const SAMPLED: (usize, usize, usize) = (10, 5, 4);

/// The least share of facts that the edited model says.
pub const LEAST_SAID: f64 = 0.9;

/// The largest share of the probe's prompts after which the edited model says another token.
pub const MOST_CHANGED: f64 = 0.25;

/// The largest KL(unedited ‖ edited) of the next token, mean over the probe's prompts (nats).
pub const MOST_KL: f64 = 0.25;

/// The least share of neighbours that keep their answer, of those that the unedited model says.
pub const LEAST_KEPT: f64 = 0.5;

/// What an edit changes in what the model says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// What the model says after the first prompt, before the edit.
    pub before: String,
    /// And after it.
    pub after: String,
    /// The mean score of the facts before the edit; none where none has a present answer to score against.
    pub score_before: Option<Score>,
    /// And after it.
    pub score_after: Option<Score>,
    /// Each fact, in the order of the requests.
    pub facts: Vec<FactEffect>,
    /// The share of sampled continuations of the facts' prompts that begin with the new answer, before and after.
    pub sampled: [f64; 2],
    /// What changed on prompts that the edit is not about.
    pub probe: ProbeEffect,
}

/// What an edit changes for one of its facts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FactEffect {
    /// The fact's name.
    pub request: String,
    /// The new answer.
    pub target_new: String,
    /// Whether greedy decoding gives the new answer, before and after.
    pub says: [bool; 2],
    /// The probability of the new answer, before and after: exp(mean log-probability of its tokens).
    pub probability: [f64; 2],
    /// What the edited model says instead, where it does not say the new answer.
    pub instead: Option<String>,
}

impl Effect {
    /// Of an edit of some facts.
    ///
    /// # Errors
    /// The model's; [`Error::Asked`] where there is no fact.
    pub fn of(before: &Reader, after: &Reader, cases: &[Case]) -> Result<Effect> {
        let first = cases.first();
        let first = first.ok_or_else(|| Error::asked("the edit", "it is of no fact"))?;
        let prompt = &first.request.prompt;
        let mut asked = asked(before, cases)?;
        Ok(Effect {
            before: before.continuation(prompt, SAID)?,
            after: after.continuation(prompt, SAID)?,
            score_before: mean_score(&mut asked, |asked| Ok(asked.score_unedited(before)?))?,
            score_after: mean_score(&mut asked, |asked| Ok(asked.score(after)?))?,
            facts: facts(before, after, cases)?,
            sampled: [sampled(before, cases)?, sampled(after, cases)?],
            probe: Probe::of(before)?.changed(after)?,
        })
    }

    /// Why the edit is not what was asked for, a sentence each; none where it holds.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let silent: Vec<&FactEffect> = self.facts.iter().filter(|f| !f.says[1]).collect();
        let count = self.facts.len();
        if let Some(first) = silent.first()
            && ((count - silent.len()) as f64) < LEAST_SAID * count as f64
        {
            let instead = first.instead.as_deref().unwrap_or_default();
            faults.push(format!(
                "the edited model does not say the new answer of {} of {count} facts: of {} it says \"{}\" and not \"{}\", which has a probability of {:.2}",
                silent.len(),
                first.request,
                instead.trim().replace('\n', " "),
                first.target_new.trim(),
                first.probability[1]
            ));
        }
        let kept = self.score_after.and_then(|s| s.neighbourhood?.said);
        if let Some(kept) = kept.filter(|kept| *kept < LEAST_KEPT) {
            faults.push(format!(
                "of the neighbours whose answer the model said, {:.0} % keep it",
                100.0 * kept
            ));
        }
        let ProbeEffect { changed, kl } = self.probe;
        if changed > MOST_CHANGED || kl > MOST_KL {
            faults.push(format!(
                "it changes what the model says of other things: another next token after {:.0} % of {} unrelated prompts, KL {kl:.2} nats",
                100.0 * changed,
                engram_edit::probe::PROMPTS.len()
            ));
        }
        faults
    }
}

fn facts(before: &Reader, after: &Reader, cases: &[Case]) -> Result<Vec<FactEffect>> {
    let tokenizer = before.model().tokenizer();
    let asked = cases.iter().map(|case| {
        let request = &case.request;
        continued(tokenizer, &request.prompt, &request.target_new)
    });
    let asked: Vec<_> = asked.collect::<std::result::Result<_, _>>()?;
    let found = [before.likelihoods(&asked)?, after.likelihoods(&asked)?];
    let of = |(index, case): (usize, &Case)| {
        let request = &case.request;
        let says = [found[0][index].greedy, found[1][index].greedy];
        Ok(FactEffect {
            request: request.id.clone(),
            target_new: request.target_new.clone(),
            says,
            probability: [&found[0][index], &found[1][index]].map(|l| l.probability()),
            instead: match says[1] {
                true => None,
                false => Some(after.continuation(&request.prompt, SAID)?),
            },
        })
    };
    cases.iter().enumerate().map(of).collect()
}

/// The share of continuations of the first facts' prompts that begin with the new answer.
fn sampled(reader: &Reader, cases: &[Case]) -> Result<f64> {
    let (facts, count, more) = SAMPLED;
    let tokenizer = reader.model().tokenizer();
    let (mut with, mut all) = (0usize, 0usize);
    for (seed, Case { request, .. }) in cases.iter().take(facts).enumerate() {
        let asked = continued(tokenizer, &request.prompt, &request.target_new)?;
        let tokens = asked.answer().len() + more;
        let prompt = &asked.ids[..asked.from];
        for ids in generate(reader.model(), prompt, count, tokens, seed as u64)? {
            let text = tokenizer.decode(&ids)?;
            with += usize::from(text.trim_start().starts_with(request.target_new.trim()));
            all += 1;
        }
    }
    Ok(with as f64 / all.max(1) as f64)
}

fn asked(reader: &Reader, cases: &[Case]) -> Result<Vec<Questions>> {
    let of = |case: &Case| Ok(Questions::of(reader.model().tokenizer(), case)?);
    let asked: Vec<Option<Questions>> = cases.iter().map(of).collect::<Result<_>>()?;
    Ok(asked.into_iter().flatten().collect())
}

fn mean_score(
    asked: &mut [Questions],
    score: impl Fn(&mut Questions) -> Result<Score>,
) -> Result<Option<Score>> {
    let scores: Vec<Score> = asked.iter_mut().map(score).collect::<Result<_>>()?;
    Ok((!scores.is_empty()).then(|| Score::mean(scores.iter())))
}
