//! `engram edit sweep`: every fact edited by itself at every layer, and scored.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use engram_core::{Row, files};
use engram_edit::effects::{Moved, Others, fluency};
use engram_edit::likelihood::perplexity;
use engram_edit::localise::{Helps, Joined, join, regressions};
use engram_edit::tokens::subject_last;
use engram_edit::{Asked, Case, EditRow, EditSettings, Editor, Method, Sample, Score, Scored};
use engram_findings::words::p_value;
use engram_model::Model;
use engram_stats::Resampling;
use serde::Serialize;

use super::{cases, covariances, layers, method, open, settings};
use crate::args::EditSweepArgs;
use crate::progress::Progress;
use crate::results::{MANIFEST, Machine, PATCH};
use crate::stage::{must_be_free, whole_folder};

/// Resampled sets of facts behind an interval.
const RESAMPLES: usize = 2000;

/// A row for each fact and layer.
pub const EDITS: &str = "edits.jsonl";
/// Which facts moved with which edit.
pub const EFFECTS: &str = "effects.jsonl";
/// Each fact's recovery at each layer beside its edit's score there.
pub const LOCALISATION: &str = "localisation.jsonl";
/// What recovery adds to the layer in explaining the scores.
pub const HELPS: &str = "helps.json";
/// The means by layer.
pub const SUMMARY: &str = "summary.json";

/// What a set of layers came to.
#[derive(Debug, Serialize)]
struct Summary {
    layers: Vec<usize>,
    kind: Option<String>,
    edits: usize,
    before: Score,
    after: Score,
    harmonic: f64,
    loss: f64,
    perplexity: Option<[f64; 2]>,
    fluency: Option<[f64; 2]>,
    lost: Option<f64>,
}

#[derive(Serialize)]
struct Record<'a> {
    engram: &'static str,
    command: String,
    model: &'a str,
    method: Method,
    settings: &'a EditSettings,
    facts: usize,
    known: usize,
    left_out: Vec<String>,
    edits_per_minute: f64,
    seconds: f64,
    machine: Machine,
}

/// What is measured besides the scores.
struct Measures {
    held_out: Vec<Vec<u32>>,
    before: f64,
    others: Option<Others>,
    writing: usize,
}

#[derive(Default)]
struct Sums {
    perplexity: Vec<f64>,
    fluency: Vec<[f64; 2]>,
    lost: usize,
    moved: usize,
}

pub fn sweep(args: &EditSweepArgs, json: bool) -> Result<()> {
    let settings = settings(&args.how)?;
    must_be_free(&args.out)?;
    let all = cases(args.suite.as_deref(), args.counterfact.as_deref())?;
    let opened = open(&args.how.model)?;
    let model = &opened.model;
    let method = method(args.how.method);
    let (chosen, known, left_out) = choose(model, all, args)?;
    let names: Vec<&str> = chosen.iter().map(|c| c.case.request.id.as_str()).collect();
    let together = method == Method::Memit;
    let count = model.architecture().layers();
    let recovery = args.how.recovery.as_deref();
    let sets = layers::chosen(args.how.layer, together, count, recovery, &names)?;
    let every: Vec<usize> = sets.iter().flatten().copied().collect();
    let found = covariances(&opened, &args.how, &settings, &every)?;
    let editor = Editor::new(model, method, settings.clone(), found)?;
    let measures = Measures::of(model, &chosen, args)?;

    let start = Instant::now();
    let mut progress = Progress::new("edit", (sets.len() * chosen.len()) as u64);
    let (mut rows, mut effects, mut sums) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut measuring = 0f64;
    for layers in &sets {
        let sum: &mut Sums = sums.entry(layers.clone()).or_default();
        let mut measure = |row: &str, case: &[Scored], edited: &Model| -> Result<()> {
            let start = Instant::now();
            measures.take(model, edited, row, layers, case, sum, &mut effects)?;
            measuring += start.elapsed().as_secs_f64();
            Ok(())
        };
        if together {
            let before = rows.len();
            let mut hear = |done: usize| progress.at((before + done) as u64, "");
            let (found, edited) = editor.score_together(&chosen, layers, &mut hear)?;
            measure("all", &chosen, &edited)?;
            rows.extend(found);
            continue;
        }
        for case in &chosen {
            let (row, edited) = editor.score_one(case, layers)?;
            measure(&row.request, std::slice::from_ref(case), &edited)?;
            rows.push(row);
            progress.at(rows.len() as u64, &case.case.request.id);
        }
    }
    let seconds = start.elapsed().as_secs_f64() - measuring;
    progress.finish(&format!("{} edits in {seconds:.1} s", rows.len()));
    let summary = summaries(&rows, &sums, measures.before);
    let joined = match recovery {
        Some(folder) => joined(model, &chosen, &rows, folder)?,
        None => Vec::new(),
    };
    let helps = match sets.len() > 1 && !joined.is_empty() {
        true => regressions(&joined, Resampling::bca(RESAMPLES, 0.95, settings.seed))?,
        false => Vec::new(),
    };
    whole_folder(&args.out, |folder| {
        files::write_jsonl(&folder.join(EDITS), &rows)?;
        if measures.others.is_some() {
            files::write_jsonl(&folder.join(EFFECTS), &effects)?;
        }
        files::write_json(&folder.join(SUMMARY), &summary)?;
        if !joined.is_empty() {
            files::write_jsonl(&folder.join(LOCALISATION), &joined)?;
            files::write_json(&folder.join(HELPS), &helps)?;
        }
        let record = Record {
            engram: env!("CARGO_PKG_VERSION"),
            command: crate::command_line(None),
            model: &opened.identity,
            method,
            settings: &settings,
            facts: chosen.len(),
            known,
            left_out,
            edits_per_minute: 60.0 * rows.len() as f64 / seconds,
            seconds,
            machine: Machine::here(),
        };
        Ok(files::write_json(&folder.join(MANIFEST), &record)?)
    })?;
    super::super::print(json, &summary, || shown(&summary) + &told(&helps))?;
    eprintln!("{}", args.out.display());
    Ok(())
}

/// The rows joined to a sweep's recovery of `mlp_out` at each subject's last token.
fn joined(model: &Model, cases: &[Scored], rows: &[EditRow], folder: &Path) -> Result<Vec<Joined>> {
    let mut places = BTreeMap::new();
    for scored in cases {
        let request = &scored.case.request;
        let (prompt, subject) = (&request.prompt, &request.subject);
        let place = subject_last(model.tokenizer(), prompt, subject, &request.id)?;
        places.insert(request.id.clone(), place as i64);
    }
    let sweep = Row::read_parquet(&folder.join(PATCH))?;
    let joined = join(rows, &sweep, &places);
    if joined.is_empty() {
        eprintln!(
            "{}: no recovery of mlp_out of these facts; nothing to join the scores to",
            folder.join(PATCH).display()
        );
    }
    Ok(joined)
}

/// What the regressions say, a line each.
fn told(helps: &[Helps]) -> String {
    let line = |h: &Helps| {
        let e = &h.explained;
        format!(
            "\n{} ({} facts): {} adds {:.2} % to {:.2} % of the variance (95 % interval {:.2} to {:.2}; F test, errors clustered by fact: {})",
            h.score,
            h.facts,
            h.added,
            100.0 * e.gain.estimate,
            100.0 * e.reduced,
            100.0 * e.gain.lower,
            100.0 * e.gain.upper,
            p_value(e.p_value)
        )
    };
    helps.iter().map(line).collect()
}

/// The facts that are edited: those that the model knows, unless all are asked for; how many it knows, and what was
/// left out, and why.
fn choose(
    model: &Model,
    all: Vec<Case>,
    args: &EditSweepArgs,
) -> Result<(Vec<Scored>, usize, Vec<String>)> {
    const BATCH: usize = 256;
    let most = match args.most {
        0 => usize::MAX,
        most => most,
    };
    let (mut chosen, mut left_out, mut known, total) = (Vec::new(), Vec::new(), 0, all.len());
    for batch in all.chunks(BATCH) {
        let (mut cases, mut asked) = (Vec::new(), Vec::new());
        for case in batch {
            match case.request.check() {
                Ok(()) => {
                    if let Some(found) = Asked::of(model.tokenizer(), case)? {
                        cases.push(case);
                        asked.push(found);
                    }
                }
                Err(error) => left_out.push(error.to_string()),
            }
        }
        let knows = Asked::known(model, &asked)?;
        for ((case, asked), knows) in cases.into_iter().zip(asked).zip(knows) {
            known += usize::from(knows);
            if (knows || args.all_facts) && chosen.len() < most {
                chosen.push(Scored::of(model, case.clone(), asked)?);
            }
        }
        if chosen.len() >= most {
            break;
        }
    }
    match chosen.is_empty() {
        true => bail!("the model knows none of {total} facts; --all-facts edits them all the same"),
        false => Ok((chosen, known, left_out)),
    }
}

impl Measures {
    fn of(model: &Model, chosen: &[Scored], args: &EditSweepArgs) -> Result<Measures> {
        let mut held_out = Vec::new();
        if let Some(path) = &args.held_out {
            let corpus = engram_corpus::read::read(path)?;
            let texts: Vec<String> = corpus.abstracts.iter().map(|a| a.text()).collect();
            let texts = texts.iter().map(String::as_str);
            held_out = Sample::of(model, texts, args.held_out_tokens)?.texts;
        }
        Ok(Measures {
            before: perplexity(model, &held_out, args.held_out_tokens)?,
            held_out,
            others: match args.side_effects {
                true => Some(Others::of(model, chosen.iter().map(|s| &s.case))?),
                false => None,
            },
            writing: args.fluency,
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn take(
        &self,
        model: &Model,
        edited: &Model,
        request: &str,
        layers: &[usize],
        cases: &[Scored],
        sums: &mut Sums,
        effects: &mut Vec<Moved>,
    ) -> Result<()> {
        if !self.held_out.is_empty() {
            sums.perplexity
                .push(perplexity(edited, &self.held_out, usize::MAX)?);
        }
        if let Some(others) = &self.others {
            let moved = others.moved(edited, request, layers)?;
            sums.lost += moved.iter().filter(|m| m.lost).count();
            sums.moved += moved.len();
            effects.extend(moved);
        }
        if self.writing > 0 {
            // Of many facts edited at once, the first few speak for all.
            const MOST: usize = 10;
            for case in cases.iter().take(MOST) {
                let prompts = [case.case.request.prompt.as_str()];
                let of = |model| fluency(model, &prompts, self.writing, 0);
                sums.fluency.push([of(model)?, of(edited)?]);
            }
        }
        Ok(())
    }
}

fn summaries(rows: &[EditRow], sums: &BTreeMap<Vec<usize>, Sums>, before: f64) -> Vec<Summary> {
    let mut all = Vec::new();
    for (layers, sum) in sums {
        let of_layers: Vec<&EditRow> = rows.iter().filter(|r| r.layers == *layers).collect();
        let mut kinds: Vec<Option<&str>> = of_layers.iter().map(|r| r.kind.as_deref()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut sets = vec![(None, of_layers.clone())];
        if kinds.len() > 1 {
            for kind in kinds.into_iter().flatten() {
                let of_kind = of_layers.iter().filter(|r| r.kind.as_deref() == Some(kind));
                sets.push((Some(kind.to_owned()), of_kind.copied().collect()));
            }
        }
        for (kind, rows) in sets {
            let n = rows.len() as f64;
            let after = Score::mean(rows.iter().map(|r| &r.after));
            let whole = kind.is_none();
            let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
            let pairs = |i: usize| mean(&sum.fluency.iter().map(|f| f[i]).collect::<Vec<_>>());
            all.push(Summary {
                layers: layers.clone(),
                kind,
                edits: rows.len(),
                before: Score::mean(rows.iter().map(|r| &r.before)),
                harmonic: after.harmonic(),
                after,
                loss: rows.iter().map(|r| r.fit.loss).sum::<f64>() / n,
                perplexity: (whole && !sum.perplexity.is_empty())
                    .then(|| [before, mean(&sum.perplexity)]),
                fluency: (whole && !sum.fluency.is_empty()).then(|| [pairs(0), pairs(1)]),
                lost: (whole && sum.moved > 0).then(|| sum.lost as f64 / sum.moved as f64),
            });
        }
    }
    all
}

fn shown(summary: &[Summary]) -> String {
    let percent = |won: Option<engram_edit::score::Won>| {
        won.map_or("–".to_owned(), |w| format!("{:.1}", 100.0 * w.score))
    };
    let both = |pair: &Option<[f64; 2]>| {
        pair.map_or("–".to_owned(), |[a, b]| format!("{a:.2} → {b:.2}"))
    };
    let rows = summary.iter().map(|s| {
        let layers: Vec<String> = s.layers.iter().map(usize::to_string).collect();
        [
            layers.join(", "),
            s.kind.clone().unwrap_or_else(|| "all".to_owned()),
            s.edits.to_string(),
            percent(s.after.efficacy),
            percent(s.after.paraphrase),
            percent(s.after.neighbourhood),
            percent(s.before.neighbourhood),
            format!("{:.1}", 100.0 * s.harmonic),
            format!("{:.3}", s.loss),
            both(&s.perplexity),
            both(&s.fluency),
            s.lost
                .map_or("–".to_owned(), |l| format!("{:.2} %", 100.0 * l)),
        ]
    });
    let header = [
        "layers",
        "kind",
        "edits",
        "efficacy",
        "paraphrase",
        "neighbours",
        "before",
        "S",
        "loss",
        "perplexity",
        "fluency",
        "facts lost",
    ];
    super::super::table(header, rows)
}
