//! Edits one after another: made, kept while under way, and the files that hold them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use engram_core::{Method, SequencePoint, files};
use engram_edit::{Chosen, Covariance, EditSettings, Progress, Sequence, SequenceSettings};
use engram_findings::editing::{Breakdown, breakdown};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{EditSweep, Held};
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::results::{MANIFEST, Machine, STATS};

/// A row for each point.
pub const POINTS: &str = "points.jsonl";

/// Time between two writes of the state under way.
const EVERY: Duration = Duration::from_secs(20);

/// Where the state of a sequence under way is kept.
#[derive(Debug, Clone, Copy)]
pub struct UnderWay<'a> {
    /// The file.
    pub path: &'a Path,
    /// What identifies the sequence.
    pub inputs: &'a str,
}

/// How a sequence came about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SequenceRecord {
    /// Version of engram.
    pub engram: String,
    /// The command line.
    pub command: String,
    /// The model's name.
    pub model: String,
    /// SHA-256 of the checkpoint.
    pub checkpoint: String,
    /// The method.
    pub method: Method,
    /// Its settings.
    pub settings: EditSettings,
    /// The layers.
    pub layers: Vec<usize>,
    /// Facts edited at once.
    pub batch: usize,
    /// Facts that were edited, in order.
    pub edited: Vec<String>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
    /// Seconds of the last process, and facts that it edited a minute.
    pub timing: BTreeMap<String, f64>,
    /// The machine.
    pub machine: Machine,
}

/// The results of a sequence.
#[derive(Debug, Clone, Serialize)]
pub struct SequenceResults {
    /// A row for each point.
    pub points: Vec<SequencePoint>,
    /// Where the method breaks down.
    pub breakdown: Option<Breakdown>,
    /// Facts that were edited, in order.
    #[serde(skip)]
    pub edited: Vec<String>,
    /// What was left out, and why.
    #[serde(skip)]
    pub left_out: Vec<String>,
    /// Seconds, and facts edited in them, of this process.
    #[serde(skip)]
    pub pace: (f64, usize),
}

impl EditSweep<'_> {
    /// What a sequence depends on: what a resumed one must share.
    pub fn identity(
        &self,
        checkpoint: &str,
        texts: &[String],
        chosen: &Chosen,
        settings: &SequenceSettings,
    ) -> serde_json::Value {
        let hash = |texts: &[String]| {
            files::sha256_of_parts(
                texts
                    .iter()
                    .map(|text| files::sha256(text.as_bytes()).into()),
            )
        };
        let cases: Vec<_> = chosen.cases.iter().map(|c| &c.case).collect();
        let (held_out, tokens) = self.held_out;
        json!({
            "code": engram_edit::SOURCE,
            "checkpoint": checkpoint,
            "method": self.method,
            "settings": self.settings,
            "layers": settings.layers,
            "batch": settings.batch,
            "at": settings.at,
            "scored": settings.scored,
            "cases": cases,
            "texts": hash(texts),
            "held_out": [json!(hash(held_out)), json!(tokens)],
            "threads": Machine::here().threads,
        })
    }

    /// Edits the chosen facts one after another. What is done is kept in a file while it is under way, and gone on with if
    /// that exists.
    ///
    /// # Errors
    /// The method's; those of `covariances`; a file that cannot be written, or that is damaged.
    pub fn sequence(
        &self,
        chosen: &Chosen,
        settings: &SequenceSettings,
        under_way: UnderWay<'_>,
        observer: &mut dyn Observer,
        covariances: impl FnOnce(&[usize], &mut dyn Observer) -> Result<Vec<Covariance>>,
    ) -> Result<SequenceResults> {
        let editor = self.editor(&settings.layers, observer, covariances)?;
        let Held { texts, notes } = self.held(chosen)?;
        let (reader, cases) = (self.reader, &chosen.cases);
        let mut sequence = Sequence::of(editor, reader, cases, settings.clone(), texts)?;
        if under_way.path.exists() {
            sequence.resume(under_way.path, under_way.inputs)?;
            let done = sequence.progress().taken;
            observer.note(format!("{done} facts are done already"));
        }
        observer.begins(self.label, cases.len() as u64);
        let (start, already) = (Instant::now(), sequence.progress().edited.len());
        let mut written = Instant::now();
        while !sequence.is_done() {
            sequence.step()?;
            let Progress { taken, points, .. } = sequence.progress();
            let last = points.last().map(said).unwrap_or_default();
            observer.at(*taken as u64, &last);
            if observer.is_cancelled() {
                sequence.write(under_way.path, under_way.inputs)?;
                return Err(Error::Cancelled {
                    kept: Some(under_way.path.to_owned()),
                });
            }
            if written.elapsed() > EVERY {
                sequence.write(under_way.path, under_way.inputs)?;
                written = Instant::now();
            }
        }
        let Progress {
            edited,
            points,
            left_out,
            ..
        } = sequence.progress().clone();
        let seconds = start.elapsed().as_secs_f64();
        observer.ends(&format!(
            "{} edits in {seconds:.1} s",
            edited.len() - already
        ));
        let name = |place: &usize| cases[*place].case.request.id.clone();
        Ok(SequenceResults {
            breakdown: breakdown(&points),
            points,
            pace: (seconds, edited.len() - already),
            edited: edited.iter().map(name).collect(),
            left_out: [&chosen.left_out[..], &notes, &left_out].concat(),
        })
    }
}

fn said(point: &SequencePoint) -> String {
    let share = point.after.efficacy.map_or(0.0, |e| 100.0 * e.score);
    format!("efficacy {share:.0} % after {}", point.edits)
}

impl SequenceRecord {
    /// Of a sequence.
    pub fn of(
        sweep: &EditSweep<'_>,
        (model, checkpoint): (&str, &str),
        command: &str,
        settings: &SequenceSettings,
        found: &SequenceResults,
    ) -> SequenceRecord {
        let (seconds, edits) = found.pace;
        let mut timing = BTreeMap::from([("edits_s".to_owned(), seconds)]);
        if seconds > 0.0 {
            timing.insert("edits_per_minute".to_owned(), 60.0 * edits as f64 / seconds);
        }
        SequenceRecord {
            engram: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.to_owned(),
            model: model.to_owned(),
            checkpoint: checkpoint.to_owned(),
            method: sweep.method,
            settings: sweep.settings.clone(),
            layers: settings.layers.clone(),
            batch: settings.batch,
            edited: found.edited.clone(),
            left_out: found.left_out.clone(),
            timing,
            machine: Machine::here(),
        }
    }
}

/// Writes the files of a sequence into a folder.
///
/// # Errors
/// The file system's.
pub fn write(folder: &Path, found: &SequenceResults, record: &SequenceRecord) -> Result<()> {
    files::write_jsonl(&folder.join(POINTS), &found.points)?;
    files::write_json(&folder.join(STATS), found)?;
    Ok(files::write_json(&folder.join(MANIFEST), record)?)
}
