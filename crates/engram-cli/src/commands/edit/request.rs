//! `engram edit request`.

use anyhow::{Context, Result, bail};
use engram::corpus::counterfact;
use engram::edits::effect::Effect;
use engram::edits::read_suite;
use engram::edits::request::{Making, check, named};
use engram::results::Machine;
use engram::{LayerChoice, layers};
use engram_core::{Lock, Row};
use engram_corpus::{ListedEdit, read_edits};
use engram_edit::overlay::short;
use engram_edit::{Case, EditRequest, Editor, Facts, Reader, of_list};
use serde::Serialize;

use super::{kept, kept_texts, method, open, settings};
use crate::args::EditRequestArgs;
use crate::progress::{Terminal, note};

#[derive(Serialize)]
struct Done {
    /// The edit's name and hash; none where it was not written.
    edit: Option<String>,
    hash: Option<String>,
    /// Why it is not what was asked for.
    faults: Vec<String>,
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
    // Every fault of a list is told before any work.
    let list = args
        .file
        .as_ref()
        .map(|file| read_edits(file))
        .transpose()?;
    let list = list.unwrap_or_default();
    let is_rank_one = Editor::is_rank_one(method(args.how.method));
    if list.len() > 1 && is_rank_one && args.fact.len() != 1 {
        bail!(
            "{} edits one fact, and {} facts are listed; give --method memit or alphaedit, which edit many at once, or --fact ID",
            method(args.how.method).name(),
            list.len()
        );
    }
    let texts = kept_texts(&args.how)?;
    let model = open(&args.how)?;
    let cases = asked(args, list, model.reader())?;
    check(&cases, &mut terminal)?;
    model.refuse_present(&cases)?;
    let layers = match args.how.layer {
        Some(choice) => layers_of(args, choice, model.reader(), &cases, rows.as_deref())?,
        None => Vec::new(),
    };
    let mut making = Making {
        method: method(args.how.method),
        settings: &settings,
        layers: &layers,
        kept: kept(&args.how, &texts),
    };
    let recommended = match args.how.layer {
        Some(_) => None,
        None => Some(model.recommend(&cases, &making, &mut terminal)?),
    };
    if let Some(found) = &recommended {
        note(format!("notice: {}", found.sentence));
        making.layers = &found.layers;
    }
    let layers = making.layers;
    let made = model.edit(&cases, &making, &mut terminal)?;
    let effect = model.effect(&made, &cases, layers)?;
    let faults = effect.faults();
    let hash = match faults.is_empty() || args.force {
        true => Some(made.delta.write(&args.out)?),
        false => None,
    };
    let done = Done {
        edit: hash.as_deref().map(|hash| short(hash).to_owned()),
        hash,
        faults,
        method: made.delta.meta.method.to_string(),
        requests: cases.len(),
        loss: made.loss,
        effect,
        layers: layers.to_vec(),
        threads: Machine::here().threads,
    };
    let first = cases.first().context("no request")?;
    super::super::print(json, &done, || shown(&done, &first.request.prompt))?;
    for fault in &done.faults {
        note(format!("notice: {fault}"));
    }
    if done.hash.is_none() {
        bail!(
            "{} is not written, because the edit does not hold; try another --layer, a prompt with words before the subject, or another --method; --force writes it all the same",
            args.out.display()
        );
    }
    note(args.out.display());
    Ok(())
}

/// The layers that are edited together.
fn layers_of(
    args: &EditRequestArgs,
    choice: LayerChoice,
    reader: &Reader,
    cases: &[Case],
    rows: Option<&[Row]>,
) -> Result<Vec<usize>> {
    let together = !Editor::is_rank_one(method(args.how.method));
    let names: Vec<&str> = cases.iter().map(|c| c.request.id.as_str()).collect();
    let count = reader.model().architecture().layers();
    let mut sets = layers::layer_sets(choice, together, count, rows, &names)?;
    match (sets.pop(), sets.is_empty()) {
        (Some(layers), true) => Ok(layers),
        _ => bail!("an edit with ROME is of one layer; give --layer N, or use `engram edit sweep`"),
    }
}

fn asked(args: &EditRequestArgs, list: Vec<ListedEdit>, reader: &Reader) -> Result<Vec<Case>> {
    let cases = match (&args.suite, &args.counterfact) {
        _ if args.file.is_some() => of_list(list),
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
        [
            "edit".to_owned(),
            done.edit
                .clone()
                .unwrap_or_else(|| "not written".to_owned()),
        ],
        ["method".to_owned(), done.method.clone()],
        ["layers".to_owned(), layers.join(", ")],
        ["requests".to_owned(), done.requests.to_string()],
        ["loss".to_owned(), format!("{:.4}", done.loss)],
        ["prompt".to_owned(), prompt.to_owned()],
    ];
    rows.extend(effect_rows(&done.effect));
    super::super::table(["edit", ""], rows)
}

/// What an edit changes, a row each.
pub(super) fn effect_rows(effect: &Effect) -> Vec<[String; 2]> {
    let mut rows = vec![
        ["said".to_owned(), effect.before.replace('\n', " ")],
        ["says".to_owned(), effect.after.replace('\n', " ")],
    ];
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let change = |[before, after]: [f64; 2]| format!("{} → {}", percent(before), percent(after));
    let facts = &effect.facts;
    let says = |i: usize| facts.iter().filter(|f| f.says[i]).count() as f64 / facts.len() as f64;
    let p = |i: usize| facts.iter().map(|f| f.probability[i]).sum::<f64>() / facts.len() as f64;
    rows.push(["says the new answer".to_owned(), change([says(0), says(1)])]);
    rows.push([
        "p(new answer)".to_owned(),
        format!("{:.3} → {:.3}", p(0), p(1)),
    ]);
    let sampled = change(effect.sampled);
    rows.push(["sampled, it begins with it".to_owned(), sampled]);
    if let (Some(before), Some(after)) = (&effect.score_before, &effect.score_after) {
        let parts = [
            ("efficacy", "", before.efficacy, after.efficacy),
            (
                "paraphrase",
                "paraphrases say it",
                before.paraphrase,
                after.paraphrase,
            ),
            (
                "neighbourhood",
                "neighbours keep theirs",
                before.neighbourhood,
                after.neighbourhood,
            ),
        ];
        for (name, said, before, after) in parts {
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            rows.push([name.to_owned(), change([before.score, after.score])]);
            let both = before.said.zip(after.said).filter(|_| !said.is_empty());
            rows.extend(both.map(|(before, after)| [said.to_owned(), change([before, after])]));
        }
    }
    let probe = effect.probe;
    rows.push([
        "unrelated prompts".to_owned(),
        format!(
            "{} say another token, KL {:.3} nats",
            percent(probe.changed),
            probe.kl
        ),
    ]);
    rows
}
