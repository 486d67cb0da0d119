//! Edits swept over layers, and the files that hold them: what `engram edit sweep` and a study's stages
//! `edits/NAME/MODEL` have in common.

mod editable;
pub mod effect;
pub mod recommend;
pub mod request;
pub mod sequence;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engram_core::{Pair, Row, Site, Suite, files};
use engram_corpus::CounterFact;
use engram_edit::{
    ChoiceSettings, Chosen, Covariance, EditSettings, Editor, Facts, HeldOut, Keys, Measures,
    Method, Reader, Sample, SampleSettings, SweepResults, choose, sweep,
};
use engram_findings::{Condition, EditFindings, EditResults, Settings, StudyResults, editing};
use engram_patch::{Reading, preferences};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use editable::{Editable, Kept, statistics_folder};

use crate::error::{Error, Result, Within};
use crate::observe::Observer;
use crate::results::{MANIFEST, Machine, STATS};

/// A row for each fact and set of layers.
pub const EDITS: &str = "edits.jsonl";
/// Which facts moved with which edit.
pub const EFFECTS: &str = "effects.jsonl";
/// What the model says before and after each edit.
pub const SAID: &str = "said.jsonl";
/// Perplexity and fluency of each edit.
pub const ASIDES: &str = "asides.jsonl";

/// What is edited, how, and what is measured.
pub struct EditSweep<'a> {
    /// What the progress bar says.
    pub label: &'a str,
    /// The model.
    pub reader: &'a Reader,
    /// Where facts are from.
    pub facts: Facts<'a>,
    /// Which of them.
    pub choosing: ChoiceSettings,
    /// The method.
    pub method: Method,
    /// Its settings.
    pub settings: &'a EditSettings,
    /// Keys of the facts of edits that the model has already.
    pub keys: &'a Keys,
    /// Texts for perplexity, and the most tokens of them (0: none).
    pub held_out: (&'a [String], usize),
    /// Whether every other fact is looked at.
    pub side_effects: bool,
    /// Continuations whose n-gram entropy is measured (0: none).
    pub fluency: usize,
}

/// Texts for perplexity, and what was left out of what is measured.
#[derive(Default)]
struct Held {
    texts: Vec<Vec<u32>>,
    notes: Vec<String>,
}

/// How edits came about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Version of engram.
    pub engram: String,
    /// The command line.
    pub command: String,
    /// The edits' name in the study.
    pub name: String,
    /// The model's name.
    pub model: String,
    /// SHA-256 of the checkpoint.
    pub checkpoint: String,
    /// The method.
    pub method: Method,
    /// Its settings.
    pub settings: EditSettings,
    /// The sets of layers.
    pub layers: Vec<Vec<usize>>,
    /// Facts looked at, that could be edited.
    pub facts: usize,
    /// Of these, facts whose answer the model says.
    #[serde(alias = "known")]
    pub says: usize,
    /// Of these, facts of whose answer and foil the model prefers the right one; none where facts have no corrupted
    /// prompt.
    #[serde(default)]
    pub prefers: Option<usize>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
    /// Seconds that edits and scores took (`edits_s`), and edits a minute.
    pub timing: BTreeMap<String, f64>,
    /// The machine.
    pub machine: Machine,
}

impl EditSweep<'_> {
    /// The facts to be edited; none where the model says no answer.
    ///
    /// # Errors
    /// The model's.
    pub fn choose(&self) -> Result<Chosen> {
        let mut chosen = choose(self.reader, self.facts, self.choosing)?;
        if let Facts::Suite(suite) = self.facts {
            let asked: BTreeSet<&str> = chosen.asked.iter().map(String::as_str).collect();
            let pairs = suite.pairs.iter().filter(|p| asked.contains(p.id.as_str()));
            let pairs: Vec<Pair> = pairs.cloned().collect();
            let found = preferences(self.reader.model(), &pairs, &Reading::default(), false)?;
            let prefers = found.rows.iter().map(|r| (r.pair.clone(), r.prefers()));
            chosen.prefers = prefers.collect();
        }
        Ok(chosen)
    }

    /// The editor of some layers.
    fn editor(
        &self,
        layers: &[usize],
        observer: &mut dyn Observer,
        covariances: impl FnOnce(&[usize], &mut dyn Observer) -> Result<Vec<Covariance>>,
    ) -> Result<Editor<'_>> {
        let found = match Editor::needs_covariance(self.method) {
            true => covariances(layers, observer)?,
            false => Vec::new(),
        };
        let mut editor = Editor::new(self.reader, self.method, self.settings.clone(), found)?;
        editor.preserve(self.keys);
        Ok(editor)
    }

    /// The held-out texts. Where facts are edited together, they lack the sentences that state one.
    fn held(&self, chosen: &Chosen) -> Result<Held> {
        let (texts, tokens) = self.held_out;
        let mut held = Held::default();
        if chosen.edited_too > 0 {
            held.notes.push(format!(
                "{} neighbours, which are edited too",
                chosen.edited_too
            ));
        }
        if tokens == 0 {
            return Ok(held);
        }
        let taking = SampleSettings {
            tokens,
            sentences: false,
        };
        let model = self.reader.model();
        let found;
        let texts = match self.choosing.together {
            false => texts,
            true => {
                let cases = chosen.cases.iter().map(|c| &c.case.request);
                found = HeldOut::of(texts, &cases.collect::<Vec<_>>());
                held.notes.push(format!(
                    "{} of {} held-out sentences, which state an edited fact",
                    found.left_out, found.sentences
                ));
                &found.texts[..]
            }
        };
        held.texts = Sample::of(model, texts.iter().map(String::as_str), taking)?.texts;
        Ok(held)
    }

    /// Edits the facts at every set of layers. `covariances` gives C of some layers, for methods that need it.
    ///
    /// # Errors
    /// The method's; those of `covariances`.
    pub fn run(
        &self,
        chosen: &Chosen,
        sets: &[Vec<usize>],
        observer: &mut dyn Observer,
        covariances: impl FnOnce(&[usize], &mut dyn Observer) -> Result<Vec<Covariance>>,
    ) -> Result<SweepResults> {
        if chosen.cases.is_empty() {
            return Ok(SweepResults::default());
        }
        let every: Vec<usize> = sets.iter().flatten().copied().collect();
        let editor = self.editor(&every, observer, covariances)?;
        let Held { texts, notes } = self.held(chosen)?;
        let (cases, writing) = (&chosen.cases, self.fluency);
        let measures = Measures::of(self.reader, cases, texts, self.side_effects, writing)?;
        observer.begins(self.label, (sets.len() * cases.len()) as u64);
        let mut hear = |done: usize, fact: &str| observer.at(done as u64, fact);
        let mut swept = sweep(&editor, cases, sets, &measures, &mut hear)?;
        swept.left_out.extend(notes);
        for row in &mut swept.rows {
            row.prefers = chosen.prefers.get(&row.request).copied();
        }
        observer.ends(&format!(
            "{} edits in {:.1} s",
            swept.rows.len(),
            swept.seconds
        ));
        Ok(swept)
    }
}

impl Record {
    /// Of some edits.
    pub fn of(
        sweep: &EditSweep<'_>,
        (name, model, checkpoint): (&str, &str, &str),
        command: &str,
        chosen: &Chosen,
        sets: &[Vec<usize>],
        swept: &SweepResults,
    ) -> Record {
        let mut timing = BTreeMap::from([("edits_s".to_owned(), swept.seconds)]);
        if swept.seconds > 0.0 {
            let rate = 60.0 * swept.rows.len() as f64 / swept.seconds;
            timing.insert("edits_per_minute".to_owned(), rate);
        }
        Record {
            engram: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.to_owned(),
            name: name.to_owned(),
            model: model.to_owned(),
            checkpoint: checkpoint.to_owned(),
            method: sweep.method,
            settings: sweep.settings.clone(),
            layers: sets.to_vec(),
            facts: chosen.facts,
            says: chosen.says,
            prefers: (!chosen.prefers.is_empty())
                .then(|| chosen.prefers.values().filter(|p| **p).count()),
            left_out: [&chosen.left_out[..], &swept.left_out].concat(),
            timing,
            machine: Machine::here(),
        }
    }
}

/// Reads a suite with facts that can be edited.
///
/// # Errors
/// [`Error::Corpus`] for a file that is no suite; as [`check_suite`].
pub fn read_suite(path: &Path) -> Result<Suite> {
    let suite = engram_corpus::read_suite(path)?;
    check_suite(&suite).within(|| path.display().to_string())?;
    Ok(suite)
}

/// Refuses a suite without a fact that can be edited.
///
/// # Errors
/// [`Error::Asked`].
pub fn check_suite(suite: &Suite) -> Result<()> {
    match engram_edit::of_suite(suite, &|_| true).is_empty() {
        true => Err(Error::asked(
            "the suite",
            "no pair has a text, a subject and another answer in its relation",
        )),
        false => Ok(()),
    }
}

/// Refuses rows of a sweep that edits could not be joined to: without `mlp_out`, or of other facts. `folder` is where they
/// are from.
///
/// # Errors
/// [`Error::Asked`].
pub fn check_recovery(
    folder: &Path,
    rows: &[Row],
    suite: &Suite,
    counterfact: &[CounterFact],
) -> Result<()> {
    let cases = match counterfact {
        [] => engram_edit::of_suite(suite, &|_| true),
        facts => engram_edit::of_counterfact(facts),
    };
    let ids: BTreeSet<&str> = cases.iter().map(|c| c.request.id.as_str()).collect();
    let of_mlp = rows.iter().filter(|row| row.site == Site::MlpOut);
    let pairs: BTreeSet<&str> = of_mlp.map(|row| row.pair.as_str()).collect();
    let why = if pairs.is_empty() {
        "it has no rows of mlp_out; sweep that site"
    } else if pairs.is_disjoint(&ids) {
        "it has rows of other pairs than the facts to be edited"
    } else {
        return Ok(());
    };
    let what = format!("--recovery {}", folder.display());
    Err(Error::asked(what, why))
}

/// The findings of the edits in a folder, which are written there too; `rows` are those of a sweep of the same model.
///
/// # Errors
/// As [`read`]; [`Error::Findings`]; a file that cannot be written.
pub fn write_findings(
    folder: &Path,
    suite: &Suite,
    (model, rows): (&str, Vec<Row>),
    seed: u64,
) -> Result<Vec<EditFindings>> {
    let condition = Condition {
        name: model.to_owned(),
        rows,
        ..Condition::default()
    };
    let study = StudyResults {
        suite: &suite.pairs,
        published: None,
        confounds: &[],
        conditions: &[condition],
        edits: &[read(folder)?],
        settings: Settings {
            seed,
            ..Settings::default()
        },
    };
    let found = editing(&study)?;
    files::write_json(&folder.join(STATS), &found)?;
    Ok(found)
}

/// Writes the files of some edits into a folder.
///
/// # Errors
/// The file system's.
pub fn write(folder: &Path, swept: &SweepResults, record: &Record) -> Result<()> {
    files::write_jsonl(&folder.join(EDITS), &swept.rows)?;
    files::write_jsonl(&folder.join(EFFECTS), &swept.moved)?;
    files::write_jsonl(&folder.join(SAID), &swept.said)?;
    files::write_jsonl(&folder.join(ASIDES), &swept.asides)?;
    Ok(files::write_json(&folder.join(MANIFEST), record)?)
}

/// Reads them back, for findings.
///
/// # Errors
/// A file that is missing or damaged.
pub fn read(folder: &Path) -> Result<EditResults> {
    let record: Record = files::read_json(&folder.join(MANIFEST))?;
    Ok(EditResults {
        name: record.name,
        model: record.model,
        method: record.method,
        facts: record.facts,
        says: record.says,
        prefers: record.prefers,
        rows: lines(&folder.join(EDITS))?,
        moved: lines(&folder.join(EFFECTS))?,
        said: lines(&folder.join(SAID))?,
        asides: lines(&folder.join(ASIDES))?,
    })
}

/// The lines of a file that may have none: what was not measured, or a model that says no answer.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let empty = std::fs::metadata(path).is_ok_and(|m| m.len() == 0);
    match empty {
        true => Ok(Vec::new()),
        false => Ok(files::read_jsonl(path)?),
    }
}
