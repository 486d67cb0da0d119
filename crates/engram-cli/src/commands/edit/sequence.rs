//! `engram edit sequence`: facts edited one after another, or in batches, and scored on the way.

use anyhow::{Result, bail};
use engram::edits::sequence::{self, SequenceRecord, SequenceResults, UnderWay};
use engram::layers::chosen_layers;
use engram::stage::{Output, done_with_file, fingerprint};
use engram_core::{SequencePoint, WinRate, files};
use engram_edit::{Editor, SequenceSettings};
use engram_findings::words::percent;

use super::sweep::{Inputs, name};
use super::{kept, method, open, settings};
use crate::args::EditSequenceArgs;
use crate::commands::print;
use crate::invocation::provenance;
use crate::progress::{Terminal, note};

pub fn sequence(args: &EditSequenceArgs, json: bool) -> Result<()> {
    let mut terminal = Terminal::default();
    let facts = &args.facts;
    let settings = settings(&facts.how)?;
    let method = method(facts.how.method);
    if args.batch > 1 && !Editor::edits_together(method) {
        bail!(
            "--batch {}: {method} edits one fact at a time; memit and alphaedit edit batches",
            args.batch
        );
    }
    let Some(layer) = facts.how.layer else {
        bail!("--layer is needed: a sequence edits the same layers throughout");
    };
    let under_way = files::beside(&facts.out, ".partial.safetensors");
    let output = Output::resumable(&facts.out, &under_way, args.resume)?;
    let inputs = Inputs::read(facts)?;
    let model = open(&facts.how)?;
    let mut sweep = inputs.sweep(facts, &model, &settings);
    sweep.choosing.together = true;
    let chosen = sweep.choose()?;
    if chosen.cases.is_empty() {
        bail!(
            "the model says the answer of none of {} facts (greedy decoding does not give it); --all-facts edits them all the same",
            chosen.facts
        );
    }
    let mut sets = chosen_layers(layer, &sweep, &chosen, inputs.recovery.as_deref())?;
    let (Some(layers), true) = (sets.pop(), sets.is_empty()) else {
        bail!(
            "a sequence edits one set of layers; give --layer N, or N-M for methods that edit several together"
        );
    };
    let how = SequenceSettings {
        layers,
        batch: args.batch,
        at: args.at.iter().copied().collect(),
        scored: args.scored,
    };
    let made_from = sweep.identity(model.identity(), &inputs.texts, &chosen, &how);
    if output.is_made_from(&made_from, &mut terminal)? {
        note(format!("{}: it is whole", facts.out.display()));
        return Ok(());
    }
    let identity = fingerprint(&made_from)?;
    let kept_at = UnderWay {
        path: &under_way,
        inputs: &identity,
    };
    let found = sweep.sequence(&chosen, &how, kept_at, &mut terminal, |layers, observer| {
        let kept = kept(&facts.how, &inputs.texts);
        model.covariances(&settings, kept, layers, observer)
    })?;
    let name = name(&facts.how.model);
    let names = (name.as_str(), model.identity());
    let record = SequenceRecord::of(&sweep, names, &provenance().command, &how, &found);
    output.fill_from(&made_from, |folder| {
        sequence::write(folder, &found, &record)
    })?;
    done_with_file(&under_way)?;
    print(json, &found, || shown(&found))?;
    note(facts.out.display());
    Ok(())
}

fn shown(found: &SequenceResults) -> String {
    let head = [
        "edits",
        "scored",
        "efficacy",
        "says it",
        "paraphrase",
        "neighbourhood",
        "keep theirs",
        "perplexity",
        "probe changed",
    ];
    let table = crate::commands::table(head, found.points.iter().map(row));
    let end = match &found.breakdown {
        Some(found) => format!(
            "it breaks down between {} and {} edits: {}",
            found.after,
            found.edits,
            found.reasons.join("; ")
        ),
        None => "it does not break down: efficacy is at least 50 %, perplexity up by at most 20 %, and at most 25 % of the unrelated prompts say another token, at every point".to_owned(),
    };
    format!("{table}\n{end}")
}

fn row(point: &SequencePoint) -> [String; 9] {
    let none = || "–".to_owned();
    let share = |part: Option<WinRate>| part.map_or_else(none, |p| percent(p.score));
    let said = |part: Option<WinRate>| part.and_then(|p| p.said).map_or_else(none, percent);
    let (before, after) = (&point.before, &point.after);
    let perplexity = |[before, after]: [f64; 2]| format!("{before:.2} → {after:.2}");
    [
        point.edits.to_string(),
        point.scored.to_string(),
        share(after.efficacy),
        said(after.efficacy),
        share(after.paraphrase),
        format!(
            "{} → {}",
            share(before.neighbourhood),
            share(after.neighbourhood)
        ),
        said(after.neighbourhood),
        point.perplexity.map_or_else(none, perplexity),
        percent(point.probe.changed),
    ]
}
