//! `engram edit request`.

use anyhow::{Context, Result, bail};
use engram::layers;
use engram::results::Machine;
use engram_core::{Lock, Score};
use engram_edit::overlay::short;
use engram_edit::tokens::continued;
use engram_edit::{Case, EditRequest, Editor, Facts, Method, Questions, Reader};
use serde::Serialize;

use super::{check_model, covariances, kept_texts, method, open, settings, suite};
use crate::args::EditRequestArgs;
use crate::progress::{Progress, Terminal, note};

/// Tokens of what the model says before and after.
const SAID: usize = 8;

#[derive(Serialize)]
struct Done {
    edit: String,
    hash: String,
    method: String,
    layers: Vec<usize>,
    requests: usize,
    loss: f64,
    /// What the model says after the first prompt, before and after.
    before: String,
    after: String,
    score_before: Option<Score>,
    score_after: Option<Score>,
    threads: usize,
}

/// Makes an edit and writes it.
pub fn request(args: &EditRequestArgs, json: bool) -> Result<()> {
    let settings = settings(&args.how)?;
    if args.out.exists() {
        bail!("{} exists; name another file", args.out.display());
    }
    let _held = Lock::beside(&args.out)?;
    let rows = layers::recovery(args.how.recovery.as_deref())?;
    let texts = kept_texts(&args.how)?;
    let opened = open(&args.how.model, args.how.bos)?;
    check_model(&opened, &args.how)?;
    let (reader, model) = (&opened.reader, opened.reader.model());
    let cases = asked(args, reader)?;
    let requests: Vec<EditRequest> = cases.iter().map(|c| c.request.clone()).collect();
    for request in &requests {
        request.check()?;
        if let Some(found) = request.locate().filter(|found| found.choices > 1) {
            let (id, subject, times) = (&request.id, &request.subject, found.choices);
            note(format!(
                "notice: {id}: the prompt has the subject \"{subject}\" {times} times, and the last is taken"
            ));
        }
    }
    let together = method(args.how.method) != Method::Rome;
    let names: Vec<&str> = requests.iter().map(|r| r.id.as_str()).collect();
    let count = model.architecture().layers();
    let sets = layers::layer_sets(args.how.layer, together, count, rows.as_deref(), &names)?;
    let [layers] = &sets[..] else {
        bail!("an edit with ROME is of one layer; give --layer N, or use `engram edit sweep`");
    };
    for request in &requests {
        refuse_present(reader, request)?;
    }
    let found = covariances(&opened, &args.how, (&settings, &texts), layers)?;
    let editor = Editor::new(reader, method(args.how.method), settings, found)?;
    let mut progress = Progress::new("edit", requests.len() as u64);
    let edited = editor.edit(&requests, layers, &mut |done| {
        progress.at(done as u64, "");
    })?;
    let loss = edited.fits.iter().map(|f| f.loss).sum::<f64>() / edited.fits.len().max(1) as f64;
    progress.finish(&format!("loss {loss:.3}"));
    let delta = editor.delta(edited, &requests, layers, &opened.base, &opened.on);
    let hash = delta.write(&args.out)?;
    let after = reader.of_edited(delta.lay_over(model)?, layers)?;
    let first = requests.first().context("no request")?;
    let done = Done {
        edit: short(&hash).to_owned(),
        method: delta.meta.method.clone(),
        layers: layers.clone(),
        requests: requests.len(),
        loss,
        before: reader.continuation(&first.prompt, SAID)?,
        after: after.continuation(&first.prompt, SAID)?,
        score_before: mean_score(reader, &cases)?,
        score_after: mean_score(&after, &cases)?,
        threads: Machine::here().threads,
        hash,
    };
    super::super::print(json, &done, || shown(&done, &first.prompt))?;
    note(args.out.display());
    Ok(())
}

fn asked(args: &EditRequestArgs, reader: &Reader) -> Result<Vec<Case>> {
    if args.suite.is_none() && args.counterfact.is_none() {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        return Ok(vec![Case {
            request: EditRequest {
                id: "request".to_owned(),
                prompt: text(&args.prompt),
                subject: text(&args.subject),
                target_new: text(&args.to),
                target_true: args.from.clone(),
                ..EditRequest::default()
            },
            ..Case::default()
        }]);
    }
    let cases = match (&args.suite, &args.counterfact) {
        (Some(path), _) => Facts::Suite(&suite(path)?).cases(reader, false)?,
        (None, Some(path)) => Facts::CounterFact(&engram::corpus::counterfact(
            path,
            &mut Terminal::default(),
        )?)
        .cases(reader, false)?,
        (None, None) => Vec::new(),
    };
    if args.fact.is_empty() {
        return Ok(cases);
    }
    let find = |name: &String| {
        let found = cases.iter().find(|c| c.request.id == *name).cloned();
        found.with_context(|| format!("--fact {name}: no fact of this name can be edited"))
    };
    args.fact.iter().map(find).collect()
}

/// A new answer that the model gives already is no edit.
fn refuse_present(reader: &Reader, request: &EditRequest) -> Result<()> {
    let asked = continued(
        reader.model().tokenizer(),
        &request.prompt,
        &request.target_new,
    )?;
    let found = reader.likelihoods(&[asked])?;
    match found.first() {
        Some(found) if found.greedy => Err(engram_edit::EditError::SameAnswer {
            request: request.id.clone(),
            answer: request.target_new.trim().to_owned(),
        }
        .into()),
        _ => Ok(()),
    }
}

fn mean_score(reader: &Reader, cases: &[Case]) -> Result<Option<Score>> {
    let mut scores = Vec::new();
    for case in cases {
        if let Some(asked) = Questions::of(reader.model().tokenizer(), case)? {
            scores.push(asked.score(reader)?);
        }
    }
    Ok((!scores.is_empty()).then(|| Score::mean(scores.iter())))
}

fn shown(done: &Done, prompt: &str) -> String {
    let layers: Vec<String> = done.layers.iter().map(usize::to_string).collect();
    let mut rows = vec![
        ["edit".to_owned(), done.edit.clone()],
        ["method".to_owned(), done.method.clone()],
        ["layers".to_owned(), layers.join(", ")],
        ["requests".to_owned(), done.requests.to_string()],
        ["loss".to_owned(), format!("{:.4}", done.loss)],
        ["prompt".to_owned(), prompt.to_owned()],
        ["said".to_owned(), done.before.replace('\n', " ")],
        ["says".to_owned(), done.after.replace('\n', " ")],
    ];
    if let (Some(before), Some(after)) = (&done.score_before, &done.score_after) {
        let parts = [
            ("efficacy", before.efficacy, after.efficacy),
            ("paraphrase", before.paraphrase, after.paraphrase),
            ("neighbourhood", before.neighbourhood, after.neighbourhood),
        ];
        for (name, before, after) in parts {
            if let (Some(before), Some(after)) = (before, after) {
                let percent = |s: f64| format!("{:.0} %", 100.0 * s);
                let text = format!("{} → {}", percent(before.score), percent(after.score));
                rows.push([name.to_owned(), text]);
            }
        }
    }
    super::super::table(["edit", ""], rows)
}
