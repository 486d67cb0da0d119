//! What a model prefers, says and holds, with no patch.

use candle_core::Tensor;
use engram_core::{Chats, Message, Metric, NamedSite, Pair, PreferenceRow, Wording};
use engram_model::{Capture, LanguageModel, NoTap};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::check::Fitness;
use crate::continuation::ContinuationRows;
use crate::error::{PatchError, Result};
use crate::metric::Logits;
use crate::naive::row_bytes;
use crate::prepare::{PreparedPair, Reading, prepare};
use crate::worlds::first_not_finite;

/// The most rows of one batch, and the most bytes that it may take by estimate.
const BATCH: usize = 64;
const MEMORY: u64 = 1 << 30;

/// What a model prefers on a suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Preferences {
    /// One row for each pair and wording that could be read, pairs in order, the trained wording first.
    pub rows: Vec<PreferenceRow>,
    /// Wordings that could not: the pair's id, the template, and why.
    pub left_out: Vec<(String, Option<String>, String)>,
}

/// One wording of a pair.
struct Asked {
    row: PreferenceRow,
    pair: PreparedPair,
    continuation: ContinuationRows,
}

/// A prompt with its continuation, and what it is of: index of the wording, and whether it is the
/// clean prompt.
struct Job {
    of: usize,
    clean: bool,
    rows: Vec<Vec<u32>>,
    /// How many positions of each row are read, from its end.
    positions: usize,
}

/// As [`preferences_within`], in batches of up to a gigabyte.
///
/// # Errors
/// The same.
pub fn preferences(
    model: &LanguageModel,
    pairs: &[Pair],
    reading: &Reading,
    held_back: bool,
) -> Result<Preferences> {
    preferences_within(model, pairs, reading, held_back, MEMORY)
}

/// Asks every pair in its own wording and, if `held_back`, in its paraphrases, which are held back
/// from training. Clean and corrupted prompt need not be equally long here. Batches take about `memory` bytes, or one
/// prompt where that takes more.
///
/// # Errors
/// The model's and the tokenizer's; [`PatchError::NotFinite`].
pub fn preferences_within(
    model: &LanguageModel,
    pairs: &[Pair],
    reading: &Reading,
    held_back: bool,
    memory: u64,
) -> Result<Preferences> {
    let mut found = Preferences::default();
    let mut asked = Vec::new();
    for pair in pairs {
        let paraphrases = pair.paraphrases.iter().filter(|_| held_back);
        for wording in std::iter::once(None).chain(paraphrases.map(Some)) {
            ask_pair(model, pair, wording, reading, &mut asked, &mut found)?;
        }
    }
    let mut jobs: Vec<Job> = Vec::new();
    for (of, wording) in asked.iter().enumerate() {
        for (clean, prompt) in [(true, &wording.pair.clean), (false, &wording.pair.corrupt)] {
            let continuation = &wording.continuation;
            jobs.push(Job {
                of,
                clean,
                rows: continuation.of_prompt(prompt).collect(),
                positions: 1 + continuation.appended(),
            });
        }
    }
    // Prompts of one length go together; the sort is stable, so batches are always the same.
    jobs.sort_by_key(|job| job.rows[0].len());
    let mut rest = jobs.as_slice();
    while let Some(first) = rest.first() {
        let length = first.rows[0].len();
        let bytes = row_bytes(&model.shape(), length).max(1);
        let most = BATCH.min((memory / bytes) as usize);
        let mut rows = 0;
        let fits = |job: &&Job| {
            rows += job.rows.len();
            job.rows[0].len() == length && rows <= most
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (batch, after) = rest.split_at(count);
        read_batch(model, batch, &mut asked)?;
        rest = after;
    }
    found.rows = asked.into_iter().map(|a| a.row).collect();
    Ok(found)
}

fn ask_pair(
    model: &LanguageModel,
    pair: &Pair,
    wording: Option<&Wording>,
    reading: &Reading,
    asked: &mut Vec<Asked>,
    found: &mut Preferences,
) -> Result<()> {
    let template = match wording {
        None => pair.template.clone(),
        Some(wording) => wording.template.clone(),
    };
    let reworded = match wording {
        None => pair.clone(),
        Some(wording) => Pair {
            clean: wording.clean.clone(),
            corrupt: wording.corrupt.clone(),
            messages: pair.messages.as_ref().map(|_| Chats {
                clean: vec![Message::user(&wording.clean)],
                corrupt: vec![Message::user(&wording.corrupt)],
            }),
            clean_ids: None,
            corrupt_ids: None,
            // A paraphrase may write the subject otherwise; nothing here reads it.
            subject: None,
            corrupt_subject: None,
            ..pair.clone()
        },
    };
    let Fitness {
        pair: prepared,
        mut problems,
        ..
    } = prepare(&reworded, model.tokenizer(), reading)?;
    let continuation = ContinuationRows::of(&prepared.answer, &prepared.foil, true);
    let length = prepared.clean.len().max(prepared.corrupt.len()) + continuation.appended();
    let shape = model.shape();
    if length > shape.context {
        let context = shape.context;
        problems.push(crate::check::Problem::Context { length, context });
    }
    if let Some(problem) = problems.first() {
        found
            .left_out
            .push((pair.id.clone(), template, problem.to_string()));
        return Ok(());
    }
    asked.push(Asked {
        row: PreferenceRow {
            pair: pair.id.clone(),
            kind: pair.kind.clone(),
            relation: pair.relation.clone(),
            template,
            held_back: wording.is_some(),
            ..PreferenceRow::default()
        },
        pair: prepared,
        continuation,
    });
    Ok(())
}

/// Runs jobs of one length as one batch and fills in their rows.
fn read_batch(model: &LanguageModel, batch: &[Job], asked: &mut [Asked]) -> Result<()> {
    let ids: Vec<Vec<u32>> = batch.iter().flat_map(|job| job.rows.clone()).collect();
    let length = ids.first().map_or(0, Vec::len);
    let most = batch.iter().map(|job| job.positions).max().unwrap_or(0);
    let from = length.saturating_sub(most);
    let logits = model.forward_from(&ids, from, &mut NoTap)?;
    let vocab = logits.dim(2)?;
    let mut row = 0;
    for job in batch {
        let Some(wording) = asked.get_mut(job.of) else {
            continue;
        };
        let positions = job.positions;
        let first = length - from - positions;
        let own = logits.narrow(0, row, job.rows.len())?;
        row += job.rows.len();
        let own = own.narrow(1, first, positions)?.contiguous()?;
        let own: Vec<f32> = own.flatten_all()?.to_vec1()?;
        if !own.iter().all(|v| v.is_finite()) {
            return Err(PatchError::NotFinite {
                pair: wording.pair.id.clone(),
                run: "an unpatched run".to_owned(),
                site: first_not_finite(model, &job.rows, None)?,
            });
        }
        let readout = wording.continuation.readout(&own, positions, vocab);
        let (answer, foil) = (&wording.pair.answer, &wording.pair.foil);
        let measure = |metric| readout.measure(metric, answer, foil, &[]);
        let (diff, seq) = (measure(Metric::LogitDiff), measure(Metric::LogProbSeq));
        let into = &mut wording.row;
        if job.clean {
            (into.logit_diff_clean, into.logprob_seq_clean) = (diff, seq);
            into.prob_clean = measure(Metric::Prob);
            into.says = Some(readout.says(answer));
            into.rank_clean = answer
                .first()
                .map_or(f64::NAN, |a| readout.last.rank(*a) as f64);
        } else {
            (into.logit_diff_corrupt, into.logprob_seq_corrupt) = (diff, seq);
        }
    }
    Ok(())
}

/// A next token that a model holds possible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// Its probability.
    pub probability: f64,
    /// Its logit.
    pub logit: f64,
}

/// The `top` most probable next tokens after a prompt, the most probable first (of equal ones, that of
/// the lower id).
///
/// # Errors
/// The model's and the tokenizer's.
pub fn ask(model: &LanguageModel, prompt: &[u32], top: usize) -> Result<Vec<NextToken>> {
    let end = prompt.len().saturating_sub(1);
    let ids = [prompt.to_vec()];
    let logits = model.forward_from(&ids, end, &mut NoTap)?;
    model.refuse_not_finite(&ids, [&logits])?;
    let last: Vec<f32> = logits.get(0)?.get(0)?.to_vec1()?;
    let row = Logits::new(&last);
    let mut order: Vec<u32> = (0..last.len() as u32).collect();
    order.sort_by(|a, b| row.logit(*b).total_cmp(&row.logit(*a)).then(a.cmp(b)));
    let next = |id: u32| NextToken {
        id,
        token: model.tokenizer().token(id),
        probability: row.log_prob(id).exp(),
        logit: row.logit(id),
    };
    Ok(order.into_iter().take(top).map(next).collect())
}

/// One run's activations, by the sites' names as asked: [pos, …] each, [head, query, key] for patterns.
///
/// # Errors
/// The model's.
pub fn cache(
    model: &LanguageModel,
    prompt: &[u32],
    sites: &[NamedSite],
) -> Result<IndexMap<String, Tensor>> {
    let mut capture = Capture::of(sites.iter().map(|s| (s.site, s.layer)));
    let ids = [prompt.to_vec()];
    let logits = model.forward(&ids, &mut capture)?;
    let captured = capture.values.values().flatten();
    model.refuse_not_finite(&ids, captured.chain([&logits]))?;
    let mut values = IndexMap::new();
    for site in sites {
        let value = capture.get(site.site, site.layer).ok_or_else(|| {
            engram_core::CoreError::UnknownSite {
                name: site.name.clone(),
                near: Vec::new(),
            }
        })?;
        values.insert(site.name.clone(), value.get(0)?.contiguous()?);
    }
    Ok(values)
}
