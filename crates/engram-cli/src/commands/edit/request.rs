//! `engram edit request`.

use anyhow::{Context, Result, bail};
use engram::corpus::counterfact;
use engram::edits::read_suite;
use engram::edits::request::{Effect, Making, check, named};
use engram::layers;
use engram::results::Machine;
use engram_core::{Lock, Row};
use engram_edit::overlay::short;
use engram_edit::{Case, EditRequest, Facts, Method, Reader};
use serde::Serialize;

use super::{kept, kept_texts, method, open, settings};
use crate::args::EditRequestArgs;
use crate::progress::{Terminal, note};

#[derive(Serialize)]
struct Done {
    edit: String,
    hash: String,
    method: String,
    layers: Vec<usize>,
    requests: usize,
    loss: f64,
    #[serde(flatten)]
    effect: Effect,
    threads: usize,
}

/// Makes an edit and writes it.
pub fn request(args: &EditRequestArgs, json: bool) -> Result<()> {
    let mut terminal = Terminal::default();
    let settings = settings(&args.how)?;
    if args.out.exists() {
        bail!("{} exists; name another file", args.out.display());
    }
    let _held = Lock::beside(&args.out)?;
    let rows = layers::recovery(args.how.recovery.as_deref())?;
    let texts = kept_texts(&args.how)?;
    let model = open(&args.how)?;
    let cases = asked(args, model.reader())?;
    check(&cases, &mut terminal)?;
    let layers = layers_of(args, model.reader(), &cases, rows.as_deref())?;
    model.refuse_present(&cases)?;
    let making = Making {
        method: method(args.how.method),
        settings: &settings,
        layers: &layers,
        kept: kept(&args.how, &texts),
    };
    let made = model.edit(&cases, &making, &mut terminal)?;
    let hash = made.delta.write(&args.out)?;
    let done = Done {
        edit: short(&hash).to_owned(),
        hash,
        method: made.delta.meta.method.to_string(),
        requests: cases.len(),
        loss: made.loss,
        effect: model.effect(&made, &cases, &layers)?,
        layers,
        threads: Machine::here().threads,
    };
    let first = cases.first().context("no request")?;
    super::super::print(json, &done, || shown(&done, &first.request.prompt))?;
    note(args.out.display());
    Ok(())
}

/// The layers that are edited together.
fn layers_of(
    args: &EditRequestArgs,
    reader: &Reader,
    cases: &[Case],
    rows: Option<&[Row]>,
) -> Result<Vec<usize>> {
    let together = !matches!(method(args.how.method), Method::RRome | Method::Rome);
    let names: Vec<&str> = cases.iter().map(|c| c.request.id.as_str()).collect();
    let count = reader.model().architecture().layers();
    let mut sets = layers::layer_sets(args.how.layer, together, count, rows, &names)?;
    match (sets.pop(), sets.is_empty()) {
        (Some(layers), true) => Ok(layers),
        _ => bail!("an edit with ROME is of one layer; give --layer N, or use `engram edit sweep`"),
    }
}

fn asked(args: &EditRequestArgs, reader: &Reader) -> Result<Vec<Case>> {
    let cases = match (&args.suite, &args.counterfact) {
        (Some(path), _) => Facts::Suite(&read_suite(path)?).cases(reader, false)?,
        (None, Some(path)) => {
            let facts = counterfact(path, &mut Terminal::default())?;
            Facts::CounterFact(&facts).cases(reader, false)?
        }
        (None, None) => return Ok(vec![of_arguments(args)]),
    };
    Ok(named(cases, &args.fact)?)
}

fn of_arguments(args: &EditRequestArgs) -> Case {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Case {
        request: EditRequest {
            id: "request".to_owned(),
            prompt: text(&args.prompt),
            subject: text(&args.subject),
            target_new: text(&args.to),
            target_true: args.from.clone(),
            ..EditRequest::default()
        },
        ..Case::default()
    }
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
        ["said".to_owned(), done.effect.before.replace('\n', " ")],
        ["says".to_owned(), done.effect.after.replace('\n', " ")],
    ];
    if let (Some(before), Some(after)) = (&done.effect.score_before, &done.effect.score_after) {
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
