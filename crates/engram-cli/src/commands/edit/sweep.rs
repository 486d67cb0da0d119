//! `engram edit sweep`: every fact edited by itself at every layer, and scored.

use std::path::Path;

use anyhow::{Result, bail};
use engram::LayerChoice;
use engram::corpus::{counterfact, texts_of};
use engram::edits::recommend::candidates;
use engram::edits::{
    self, EditSweep, Editable, Record, check_recovery, read_suite, write_findings,
};
use engram::layers::{chosen_layers, recovery};
use engram::stage::Output;
use engram_core::{Row, Suite};
use engram_corpus::CounterFact;
use engram_edit::{ChoiceSettings, EditSettings, Editor, Facts};
use engram_report::editing_text;

use super::{kept, kept_texts, method, open, settings};
use crate::args::{EditFactsArgs, EditSweepArgs};
use crate::commands::{look, print};
use crate::invocation::provenance;
use crate::progress::{Terminal, note};

/// What the edits of a sweep by itself are called.
const NAME: &str = "sweep";

pub fn sweep(args: &EditSweepArgs, json: bool) -> Result<()> {
    let mut terminal = Terminal::default();
    let facts = &args.facts;
    let settings = settings(&facts.how)?;
    let output = Output::free(&facts.out)?;
    let inputs = Inputs::read(facts)?;
    let model = open(&facts.how)?;
    let mut sweep = inputs.sweep(facts, &model, &settings);
    (sweep.side_effects, sweep.fluency) = (args.side_effects, args.fluency);
    let chosen = sweep.choose()?;
    if chosen.cases.is_empty() {
        bail!(
            "the model says the answer of none of {} facts (greedy decoding does not give it); --all-facts edits them all the same",
            chosen.facts
        );
    }
    let layers = model.reader().model().architecture().layers();
    let sets = match facts.how.layer {
        Some(layer) => chosen_layers(layer, &sweep, &chosen, inputs.recovery.as_deref())?,
        None if Editor::edits_together(sweep.method) => candidates(layers, sweep.method),
        None => chosen_layers(LayerChoice::All, &sweep, &chosen, None)?,
    };
    let swept = sweep.run(&chosen, &sets, &mut terminal, |layers, observer| {
        let kept = kept(&facts.how, &inputs.texts);
        model.covariances(&settings, kept, layers, observer)
    })?;
    let name = name(&facts.how.model);
    let names = (NAME, name.as_str(), model.identity());
    let record = Record::of(&sweep, names, &provenance().command, &chosen, &sets, &swept);
    let found = output.fill(|folder| {
        edits::write(folder, &swept, &record)?;
        let rows = inputs.recovery.clone().unwrap_or_default();
        write_findings(folder, &inputs.suite, (&name, rows), settings.seed)
    })?;
    print(json, &found, || editing_text(&found, look()))?;
    note(facts.out.display());
    Ok(())
}

/// The files that a sweep of edits reads, but for the model.
pub(super) struct Inputs {
    suite: Suite,
    counterfact: Vec<CounterFact>,
    /// The rows of `--recovery`.
    pub(super) recovery: Option<Vec<Row>>,
    held_out: Vec<String>,
    pub(super) texts: Vec<String>,
}

impl Inputs {
    pub(super) fn read(args: &EditFactsArgs) -> Result<Inputs> {
        let (suite, counterfact) = read(args)?;
        let rows = recovery(args.how.recovery.as_deref())?;
        if let (Some(folder), Some(rows)) = (&args.how.recovery, &rows) {
            check_recovery(folder, rows, &suite, &counterfact)?;
        }
        Ok(Inputs {
            suite,
            counterfact,
            recovery: rows,
            held_out: texts_of(args.held_out.as_slice())?,
            texts: kept_texts(&args.how)?,
        })
    }

    pub(super) fn sweep<'a>(
        &'a self,
        args: &EditFactsArgs,
        model: &'a Editable,
        settings: &'a EditSettings,
    ) -> EditSweep<'a> {
        EditSweep {
            label: "edit",
            reader: model.reader(),
            keys: model.keys(),
            facts: match &args.counterfact {
                Some(_) => Facts::CounterFact(&self.counterfact),
                None => Facts::Suite(&self.suite),
            },
            choosing: ChoiceSettings {
                most: args.most,
                all_facts: args.all_facts,
                together: Editor::edits_together(method(args.how.method)),
            },
            method: method(args.how.method),
            settings,
            held_out: match self.held_out.is_empty() {
                true => (&self.held_out, 0),
                false => (&self.held_out, args.held_out_tokens),
            },
            side_effects: false,
            fluency: 0,
        }
    }
}

/// The facts' file.
fn read(args: &EditFactsArgs) -> Result<(Suite, Vec<CounterFact>)> {
    Ok(match (&args.suite, &args.counterfact) {
        (Some(path), _) => (read_suite(path)?, Vec::new()),
        (None, Some(path)) => (
            Suite::default(),
            counterfact(path, &mut Terminal::default())?,
        ),
        (None, None) => (Suite::default(), Vec::new()),
    })
}

/// A model's name: its folder's.
pub(super) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
