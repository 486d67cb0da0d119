//! The study file: what `engram run` is told, resolved and checked before any work.

mod check;
mod edit;
mod fetch;
mod published;
mod settings;
#[cfg(test)]
mod tests;
mod values;

use std::path::{Path, PathBuf};

use engram_core::{Bos, Corruption, Direction, Faults, Metric, Positions, files};
use engram_corpus::WriteSettings;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::error::{Error, Result, Within};

pub use edit::Edit;
pub use fetch::FetchSource;
pub use published::Published;
pub use values::text_of;

use values::{one_line, resolve_paths, set};

/// The name of the model before fine-tuning, wherever models are named.
pub const BASE: &str = "base";
/// The name of the model with random weights.
pub const RANDOM: &str = "random";

fn seed() -> u64 {
    42
}
fn fifth() -> f64 {
    0.2
}
fn metrics() -> Vec<Metric> {
    vec![Metric::LogitDiff, Metric::Prob, Metric::LogProbSeq]
}
fn denoise() -> Direction {
    Direction::Denoise
}
fn swap() -> Corruption {
    Corruption::Swap
}
fn one() -> usize {
    1
}
fn auto() -> Bos {
    Bos::Auto
}
fn all() -> Positions {
    Positions::All
}

/// A study. Paths are relative to the study file; those given with `--set` to the working directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// What the study asks; a run's folder holds one study, known by its title.
    pub title: String,
    /// Seed of splits, pairing and statistics.
    #[serde(default = "seed")]
    pub seed: u64,
    /// The model that is asked, and fine-tuned where there is training: a checkpoint, a GGUF file, `org/name`.
    pub base: PathBuf,
    /// Whether texts are given the special tokens of their beginning: `auto` (as the checkpoint's tokenizer does),
    /// `always`, `never`. Training texts are tokenised as the transformers library does.
    #[serde(default = "auto")]
    pub bos: Bos,
    /// Whether a model of the base's sizes with random weights, `random`, may be asked and patched: what layers show in a
    /// network that knows nothing.
    #[serde(default)]
    pub random: bool,
    /// The fact table, for a suite or texts that are made from one.
    #[serde(default)]
    pub facts: Option<PathBuf>,
    /// What the model is trained on.
    #[serde(default)]
    pub corpus: Option<CorpusSource>,
    /// What it is asked.
    #[serde(default)]
    pub suite: SuiteSource,
    /// The fine-tuned models, by name; none where only the base is asked.
    #[serde(default)]
    pub train: IndexMap<String, Training>,
    /// What is patched, by name.
    pub sweep: IndexMap<String, StudySweep>,
    /// Which facts are edited, by name.
    #[serde(default)]
    pub edit: IndexMap<String, Edit>,
    /// The published protocol and figures; a study that does not ask for them (`[paper]`) has neither.
    #[serde(default, rename = "paper")]
    pub published: Option<Published>,
    /// How it is tested.
    #[serde(default)]
    pub stats: engram_findings::Settings,
}

/// Where the training texts are from: a file, PubMed, or the fact table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusSource {
    /// A corpus of real abstracts.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Abstracts fetched from PubMed, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchSource>,
    /// The share of `file` or of what is fetched that is held out for validation.
    #[serde(default = "fifth")]
    pub split: f64,
    /// Train on retracted articles too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_retracted: bool,
    /// Texts written from the fact table, in place of a file.
    #[serde(default)]
    pub write: Option<WriteSettings>,
    /// The terms whose mentions are counted; none where none is given.
    #[serde(default)]
    pub terms: Vec<String>,
}

/// Where the pairs are from: a file, CounterFact, or the fact table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuiteSource {
    /// A suite; built from the fact table where neither this nor `counterfact` is given.
    pub file: Option<PathBuf>,
    /// A file of CounterFact, from which pairs are built.
    pub counterfact: Option<PathBuf>,
    /// The most pairs of one kind (whole cycles; 0: no limit).
    pub max_pairs_per_kind: usize,
}

/// A fine-tuned model: a preset and what departs from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// `config-1` or `config-2`.
    pub preset: String,
    /// Settings that depart from the preset.
    #[serde(default)]
    pub set: IndexMap<String, toml::Value>,
    /// Why they do, by setting.
    #[serde(default)]
    pub why: IndexMap<String, String>,
    /// Further seeds: each gives a model of its own, `NAME-seed-SEED`, in every sweep that `NAME` is in. What survives
    /// them is not a matter of one training's luck.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// The model that this one is another seed of.
    #[serde(skip)]
    pub replicates: Option<String>,
}

/// One sweep: which cells of which models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudySweep {
    /// The models' names (`base`, names under `train`, and `random` where the study has it).
    pub models: Vec<String>,
    /// Sites, by any of their names.
    pub sites: Vec<String>,
    /// Where they are patched.
    #[serde(default = "all")]
    pub positions: Positions,
    /// Which run is written into.
    #[serde(default = "denoise")]
    pub direction: Direction,
    /// What the corrupted run is: `swap` (the pair's own), `gaussian:K`, `resample`, `zero`, `mean`.
    #[serde(default = "swap")]
    pub corruption: Corruption,
    /// How many layers one cell covers.
    #[serde(default = "one")]
    pub window: usize,
    /// Whether only pairs are patched of which the model prefers the right one, the only ones that conclusions are
    /// drawn over. How many these are is counted over all.
    #[serde(default)]
    pub known: bool,
    /// What is measured.
    #[serde(default = "metrics")]
    pub metrics: Vec<Metric>,
}

impl Study {
    /// Reads a study file and lays `--set key=value` over it.
    ///
    /// # Errors
    /// A file that is missing or no TOML; all unknown and missing settings, and all values of another type or outside their
    /// range, together; then all contradictions. Each has its line, or the `--set` that it is from.
    pub fn read(path: &Path, settings: &[String]) -> Result<Study> {
        let text = files::read_text(path)
            .within(|| format!("cannot read the study {}", path.display()))?;
        let mut faults = Faults::new(path.display().to_string());
        let (_, errors) = toml::de::DeTable::parse_recoverable(&text);
        for error in errors {
            let line = error
                .span()
                .map_or(1, |s| settings::line_of(&text, s.start));
            faults.add(Some(line), "", error.message().replace('\n', ", "));
        }
        settings::refuse(faults.clone())?;
        let mut table: toml::Table = toml::from_str(&text)
            .map_err(|e| Error::asked(path.display().to_string(), one_line(&e.to_string())))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        resolve_paths(&mut table, folder);
        let mut places = settings::Places::of(&text);
        for setting in settings {
            set(&mut table, setting)?;
            let key = setting.split('=').next().unwrap_or_default();
            places.note_set(key.trim(), setting);
        }
        settings::check(&table, &places, &mut faults);
        settings::refuse(faults.clone())?;
        let study: Study = table.try_into().map_err(|e: toml::de::Error| {
            Error::asked(path.display().to_string(), one_line(&e.to_string()))
        })?;
        let study = study.with_seeds().within(|| path.display().to_string())?;
        for (at, why) in study.contradictions() {
            settings::add(&mut faults, &places, &at, why);
        }
        settings::refuse(faults)?;
        Ok(study)
    }

    /// Every seed as a model of its own, after the one that it is another seed of.
    fn with_seeds(mut self) -> Result<Study> {
        let mut train = IndexMap::new();
        for (name, training) in std::mem::take(&mut self.train) {
            let mut names = Vec::new();
            bounds::SEEDS.check(
                &format!("the number of train.{name}.seeds"),
                training.seeds.len(),
            )?;
            for seed in &training.seeds {
                let replicate = format!("{name}-seed-{seed}");
                let mut other = training.clone();
                other.replicates = Some(name.clone());
                let seed = i64::try_from(*seed).map_err(|_| {
                    Error::asked(format!("train.{name}.seeds"), "a seed is below 2^63")
                })?;
                other.set.insert("seed".to_owned(), seed.into());
                if names.contains(&replicate) {
                    let why = format!("seed {seed} is given twice");
                    return Err(Error::asked(format!("train.{name}"), why));
                }
                names.push(replicate.clone());
                train.insert(replicate, other);
            }
            let first = train.len() - names.len();
            train.shift_insert(first, name.clone(), training);
            for sweep in self.sweep.values_mut() {
                if let Some(at) = sweep.models.iter().position(|m| *m == name) {
                    sweep.models.splice(at + 1..at + 1, names.iter().cloned());
                }
            }
        }
        self.train = train;
        Ok(self)
    }

    /// The names of all models, the base first.
    pub fn models(&self) -> Vec<&str> {
        std::iter::once(BASE)
            .chain(self.train.keys().map(String::as_str))
            .chain(self.random.then_some(RANDOM))
            .collect()
    }
}
