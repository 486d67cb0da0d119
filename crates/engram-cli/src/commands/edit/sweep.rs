//! `engram edit sweep`: every fact edited by itself at every layer, and scored.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use engram::corpus::{counterfact, texts_of};
use engram::edits::{self, Record, Sweep};
use engram::layers::{chosen_layers, recovery};
use engram::results::STATS;
use engram::stage::Output;
use engram_core::{Row, Site, Suite, files};
use engram_corpus::CounterFact;
use engram_edit::{ChoiceSettings, Facts, of_counterfact, of_suite};
use engram_findings::{Condition, EditFindings, Settings, Study, editing};
use engram_report::editing_text;

use super::{check_model, covariances, kept_texts, method, open, settings};
use crate::args::EditSweepArgs;
use crate::commands::{look, print};
use crate::invocation::provenance;
use crate::progress::{Terminal, note};

/// What the edits of a sweep by itself are called.
const NAME: &str = "sweep";

pub fn sweep(args: &EditSweepArgs, json: bool) -> Result<()> {
    let settings = settings(&args.how)?;
    let output = Output::free(&args.out)?;
    let (suite, counterfact) = read(args)?;
    let rows = recovery(args.how.recovery.as_deref())?;
    if let (Some(folder), Some(rows)) = (&args.how.recovery, &rows) {
        check_recovery(folder, rows, &suite, &counterfact)?;
    }
    let held_out = texts_of(args.held_out.as_slice())?;
    let texts = kept_texts(&args.how)?;
    let opened = open(&args.how.model, args.how.bos)?;
    check_model(&opened, &args.how)?;
    let sweep = Sweep {
        label: "edit",
        reader: &opened.reader,
        facts: match &args.counterfact {
            Some(_) => Facts::CounterFact(&counterfact),
            None => Facts::Suite(&suite),
        },
        choosing: ChoiceSettings {
            most: args.most,
            all_facts: args.all_facts,
        },
        method: method(args.how.method),
        settings: &settings,
        held_out: match held_out.is_empty() {
            true => (&held_out, 0),
            false => (&held_out, args.held_out_tokens),
        },
        side_effects: args.side_effects,
        fluency: args.fluency,
    };
    let chosen = sweep.choose()?;
    if chosen.cases.is_empty() {
        bail!(
            "the model says the answer of none of {} facts (greedy decoding does not give it); --all-facts edits them all the same",
            chosen.facts
        );
    }
    let sets = chosen_layers(args.how.layer, &sweep, &chosen, rows.as_deref())?;
    let how = |layers: &[usize], _: &mut dyn engram::Observer| {
        covariances(&opened, &args.how, (&settings, &texts), layers)
    };
    let swept = sweep.run(&chosen, &sets, &mut Terminal::default(), how)?;
    let model = name(&args.how.model);
    let names = (NAME, model.as_str(), opened.identity.as_str());
    let record = Record::of(&sweep, names, &provenance().command, &chosen, &sets, &swept);
    let found = output.fill(|folder| {
        edits::write(folder, &swept, &record)?;
        let condition = Condition {
            name: model.clone(),
            rows: rows.unwrap_or_default(),
            ..Condition::default()
        };
        let study = Study {
            suite: &suite.pairs,
            paper_suite: &[],
            confounds: &[],
            conditions: &[condition],
            edits: &[edits::read(folder)?],
            settings: Settings {
                seed: settings.seed,
                ..Settings::default()
            },
        };
        let found: Vec<EditFindings> = editing(&study)?;
        files::write_json(&folder.join(STATS), &found)?;
        Ok(found)
    })?;
    print(json, &found, || editing_text(&found, look()))?;
    note(args.out.display());
    Ok(())
}

/// Refuses a sweep that edits could not be joined to: without `mlp_out`, or of other facts.
fn check_recovery(
    folder: &Path,
    rows: &[Row],
    suite: &Suite,
    counterfact: &[CounterFact],
) -> Result<()> {
    let at = folder.display();
    let cases = match counterfact {
        [] => of_suite(suite, &|_| true),
        facts => of_counterfact(facts),
    };
    let ids: BTreeSet<&str> = cases.iter().map(|c| c.request.id.as_str()).collect();
    let of_mlp = |row: &&Row| row.site == Site::MlpOut.name();
    if !rows.iter().any(|row| of_mlp(&row)) {
        bail!("--recovery {at}: it has no rows of mlp_out; sweep that site");
    }
    if !rows
        .iter()
        .filter(of_mlp)
        .any(|row| ids.contains(row.pair.as_str()))
    {
        bail!("--recovery {at}: it has rows of other pairs than the facts to be edited");
    }
    Ok(())
}

/// The facts' file.
fn read(args: &EditSweepArgs) -> Result<(Suite, Vec<CounterFact>)> {
    Ok(match (&args.suite, &args.counterfact) {
        (Some(path), _) => (super::suite(path)?, Vec::new()),
        (None, Some(path)) => (
            Suite::default(),
            counterfact(path, &mut Terminal::default())?,
        ),
        (None, None) => (Suite::default(), Vec::new()),
    })
}

/// A model's name: its folder's.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
