//! The files of a run's folder, written by the stages and read back for statistics and reports.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use engram_core::{Confounds, PreferenceRow, Row, RowAlign, Suite, files};
use engram_findings::{Condition, EditResults, Findings, Settings, StudyResults, findings};
use engram_patch::Ineligible;
use engram_report::{
    Excluded, Fonts, Look, NamedValue, ReportInput, Reproduction, TrainingCurve, summary_text,
};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::curve::{Origin, curve};
use crate::error::{Error, Result, Within, at};
use crate::observe::Observer;

/// Result rows of a sweep.
pub const PATCH: &str = "patch.parquet";
/// Result rows under the published protocol.
pub const PUBLISHED: &str = "paper.parquet";
/// Answer or foil, without a patch.
pub const PREFERENCES: &str = "preferences.parquet";
/// The pairs.
pub const SUITE: &str = "suite.jsonl";
/// The pairs of the published protocol.
pub const PUBLISHED_SUITE: &str = "paper.jsonl";
/// What was left out of the suite, and why.
pub const EXCLUDED: &str = "excluded.json";
/// What may make pairs of two kinds differ besides their kind.
pub const CONFOUNDS: &str = "confounds.jsonl";
/// How a model was trained.
pub const TRAINING: &str = "training.json";
/// What the corpus holds.
pub const CORPUS: &str = "corpus.json";
/// Findings.
pub const STATS: &str = "stats.json";
/// What the folder is, and how it was made.
pub const MANIFEST: &str = "manifest.json";
/// Abstracts fetched from PubMed.
pub const ABSTRACTS: &str = "abstracts.jsonl";
/// How many citations PubMed has, and how many it gave.
pub const FETCHED: &str = "fetch.json";
/// Training texts of a study.
pub const TRAIN: &str = "train.jsonl";
/// Validation texts of a study.
pub const VALIDATION: &str = "validation.jsonl";
/// The report.
pub const REPORT: &str = "report.html";

/// How the results came about, where it matters for doing it again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of engram.
    pub engram: String,
    /// The title of the study, or what else the folder holds.
    pub title: String,
    /// The command line, whole.
    pub command: String,
    /// The command line without the folder that it wrote to, seeds, versions and hashes of every input.
    pub reproduction: Reproduction,
    /// How it was tested.
    pub stats: Settings,
    /// The models, in the order in which they are shown.
    pub models: Vec<String>,
    /// The models that are another's training with another seed, and which one's.
    #[serde(default)]
    pub replicates: BTreeMap<String, String>,
    /// The models that each set of edits is of.
    #[serde(default)]
    pub edits: IndexMap<String, Vec<String>>,
    /// What the fine-tuned ones' settings are compared with.
    pub training: BTreeMap<String, Origin>,
    /// Pairs without a recovery in a metric, because of their clean–corrupt gap in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ineligible: Vec<Ineligible>,
    /// Seconds spent, by what.
    pub timing: BTreeMap<String, f64>,
    /// The machine.
    pub machine: Machine,
}

/// What asked for results, as their manifest tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The command line, whole.
    pub command: String,
    /// The command line that does the same again, to another folder.
    pub reproducing: String,
}

impl Default for Provenance {
    /// A program that calls this library.
    fn default() -> Provenance {
        let program = "a program that calls the engram library";
        Provenance {
            command: program.to_owned(),
            reproducing: program.to_owned(),
        }
    }
}

/// The machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Threads used.
    pub threads: usize,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Machine {
        Machine {
            threads: candle_core::utils::get_num_threads(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        }
    }
}

/// A results folder, read back.
#[derive(Debug)]
pub struct Results {
    /// Its manifest.
    pub manifest: Manifest,
    /// The pairs.
    pub suite: Suite,
    /// The pairs of the published protocol, where the study asked for it.
    pub published: Option<Suite>,
    /// Each pair's confounds; may be empty.
    pub confounds: Vec<Confounds>,
    /// Each model's rows.
    pub conditions: Vec<Condition>,
    /// Each model's edits.
    pub edits: Vec<EditResults>,
    /// How each model was trained.
    pub curves: Vec<TrainingCurve>,
    /// What the corpus holds.
    pub corpus: Vec<NamedValue>,
    /// What was left out, and why.
    pub excluded: Vec<Excluded>,
}

impl Results {
    /// Reads a folder that `engram run` or `engram patch` wrote.
    ///
    /// # Errors
    /// A folder that holds neither; a file that is damaged.
    pub fn read(folder: &Path) -> Result<Results> {
        let manifest = folder.join(MANIFEST);
        if !manifest.exists() {
            return Err(Error::NoResults {
                folder: folder.to_owned(),
                file: MANIFEST,
            });
        }
        if folder.join(crate::edits::EDITS).exists() {
            return Err(Error::Edits {
                folder: folder.to_owned(),
            });
        }
        let path = manifest;
        let manifest: Manifest = files::read_json(&path)?;
        let tested = manifest.stats.check();
        tested.within(|| path.display().to_string())?;
        let sweep = folder.join(PATCH);
        if sweep.exists() {
            return Results::of_sweep(folder, manifest);
        }
        let suite = folder.join("suite");
        let confounds = read_if_there(&suite.join(CONFOUNDS), Confounds::read)?;
        let taught = confounds.iter().any(|c| c.exposures.is_some_and(|n| n > 0));
        let mut conditions = Vec::new();
        let mut curves = Vec::new();
        for name in &manifest.models {
            let sweep = folder.join("sweeps").join(name);
            conditions.push(Condition {
                name: name.clone(),
                taught: taught && manifest.training.contains_key(name),
                replicates: manifest.replicates.get(name).cloned(),
                rows: Row::read_parquet(&sweep.join(PATCH))?,
                preferences: PreferenceRow::read_parquet(&sweep.join(PREFERENCES))?,
                published: read_if_there(&sweep.join(PUBLISHED), Row::read_parquet)?,
            });
            if let Some(origin) = manifest.training.get(name) {
                let record = files::read_json(&folder.join("models").join(name).join(TRAINING))?;
                curves.push(curve(name, origin, &manifest.stats, &record)?);
            }
        }
        let mut edits = Vec::new();
        for (name, models) in &manifest.edits {
            for model in models {
                edits.push(crate::edits::read(
                    &folder.join("edits").join(name).join(model),
                )?);
            }
        }
        Ok(Results {
            edits,
            suite: Suite::read(&suite.join(SUITE))?,
            published: read_if_there(&suite.join(PUBLISHED_SUITE), |p| Suite::read(p).map(Some))?,
            confounds,
            conditions,
            curves,
            corpus: read_if_there(&folder.join("corpus").join(CORPUS), files::read_json)?,
            excluded: files::read_json(&suite.join(EXCLUDED))?,
            manifest,
        })
    }

    fn of_sweep(folder: &Path, manifest: Manifest) -> Result<Results> {
        let rows = Row::read_parquet(&folder.join(PATCH))?;
        let of_published = |r: &Row| r.align == RowAlign::Overwrite;
        let (published, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(of_published);
        let pairs = Suite::read(&folder.join(SUITE))?;
        let (suite, published_suite) = if published.is_empty() {
            (pairs, None)
        } else {
            (Suite::default(), Some(pairs))
        };
        let name = manifest
            .models
            .first()
            .cloned()
            .unwrap_or_else(|| "model".to_owned());
        Ok(Results {
            manifest,
            suite,
            published: published_suite,
            confounds: read_if_there(&folder.join(CONFOUNDS), Confounds::read)?,
            conditions: vec![Condition {
                name,
                rows,
                published,
                ..Condition::default()
            }],
            edits: Vec::new(),
            curves: Vec::new(),
            corpus: Vec::new(),
            excluded: files::read_json(&folder.join(EXCLUDED))?,
        })
    }

    /// What the rows show.
    ///
    /// # Errors
    /// As [`findings`].
    pub fn findings(&self) -> Result<Findings> {
        Ok(findings(&self.study())?)
    }

    /// What the terminal says of the findings, and of trainings whose learning rate never reached its value.
    pub fn summary(&self, findings: &Findings, look: Look) -> String {
        let mut text = summary_text(findings, look);
        let short = self.curves.iter().filter_map(TrainingCurve::shortfall);
        short.for_each(|sentence| text += &format!("\n{sentence}\n"));
        text
    }

    /// What findings are drawn from.
    pub fn study(&self) -> StudyResults<'_> {
        StudyResults {
            suite: &self.suite.pairs,
            confounds: &self.confounds,
            conditions: &self.conditions,
            edits: &self.edits,
            published: self.published.as_ref().map(|suite| suite.pairs.as_slice()),
            settings: self.manifest.stats,
        }
    }

    /// All that the report shows.
    pub fn report(&self, findings: &Findings) -> ReportInput {
        ReportInput {
            title: self.manifest.title.clone(),
            findings: findings.clone(),
            curves: self.curves.clone(),
            corpus: self.corpus.clone(),
            excluded: self.excluded.clone(),
            reproduction: self.manifest.reproduction.clone(),
        }
    }

    /// Writes the report and gives its path.
    ///
    /// # Errors
    /// The template's or the file system's.
    pub fn write_report(&self, folder: &Path, findings: &Findings) -> Result<PathBuf> {
        write_report(folder, &self.report(findings))
    }
}

/// Writes a report and gives its path.
///
/// # Errors
/// The template's or the file system's.
pub fn write_report(folder: &Path, input: &ReportInput) -> Result<PathBuf> {
    let path = folder.join(REPORT);
    let html = engram_report::render(input)?;
    files::write_atomic(&path, |w| w.write_all(html.as_bytes()))
        .within(|| "cannot write the report")?;
    Ok(path)
}

/// Writes the main figures as SVG, PDF and PNG, and gives their paths. Says which characters no font has.
///
/// # Errors
/// A figure that cannot be drawn; the file system's.
pub fn write_figures(
    folder: &Path,
    input: &ReportInput,
    fonts: &Fonts,
    observer: &mut dyn Observer,
) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)
        .map_err(at(folder))
        .within(|| "cannot make the folder")?;
    let mut paths = Vec::new();
    for figure in engram_report::figures(input)? {
        let missing: Vec<String> = figure
            .missing(fonts)
            .into_iter()
            .map(|c| format!("{c} (U+{:04X})", u32::from(c)))
            .collect();
        if !missing.is_empty() {
            observer.note(format!(
                "notice: {}: no font has {}, drawn as boxes; name a font that does: --font FILE",
                figure.name,
                missing.join(", ")
            ));
        }
        let kinds = [
            ("svg", figure.svg.clone().into_bytes()),
            ("pdf", figure.pdf_with(fonts)?),
            ("png", figure.png_with(fonts)?),
        ];
        for (kind, bytes) in kinds {
            let path = folder.join(format!("{}.{kind}", figure.name));
            files::write_atomic(&path, |w| w.write_all(&bytes))
                .within(|| format!("cannot write {}", path.display()))?;
            paths.push(path);
        }
    }
    Ok(paths)
}

fn read_if_there<T: Default>(
    path: &Path,
    read: impl FnOnce(&Path) -> engram_core::error::Result<T>,
) -> Result<T> {
    if path.exists() {
        Ok(read(path)?)
    } else {
        Ok(T::default())
    }
}
