//! The study file: what `engram run` is told, resolved and checked before any work.

mod edit;
mod settings;

use std::path::{Path, PathBuf};

use engram_core::{Bos, Corruption, Direction, Faults, Metric, Positions, files};
use engram_corpus::WriteSettings;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::error::{Error, Result, Within};

pub use edit::Edit;

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
fn terms() -> Vec<String> {
    engram_corpus::stats::DEFAULT_TERMS
        .map(str::to_owned)
        .to_vec()
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
    pub sweep: IndexMap<String, Sweep>,
    /// Which facts are edited, by name.
    #[serde(default)]
    pub edit: IndexMap<String, Edit>,
    /// The published protocol.
    #[serde(default)]
    pub paper: Option<Paper>,
    /// How it is tested.
    #[serde(default)]
    pub stats: engram_findings::Settings,
}

/// Where the training texts are from: a file, or the fact table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusSource {
    /// A corpus of real abstracts.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The share of `file` that is held out for validation.
    #[serde(default = "fifth")]
    pub split: f64,
    /// Train on retracted articles of `file` too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_retracted: bool,
    /// Texts written from the fact table, in place of a file.
    #[serde(default)]
    pub write: Option<WriteSettings>,
    /// The terms whose mentions are counted.
    #[serde(default = "terms")]
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
pub struct Sweep {
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

/// The published protocol on some pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// The models' names.
    pub models: Vec<String>,
    /// How many pairs, half of each kind: at least 4.
    pub pairs: usize,
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

    /// What of the study contradicts the rest: the setting, and why.
    fn contradictions(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut add = |at: &str, why: String| found.push((at.to_owned(), why));
        if self.title.trim().is_empty() {
            add("title", "title is empty".to_owned());
        }
        let written = self.corpus.as_ref().is_some_and(|c| c.write.is_some());
        if let Some(corpus) = &self.corpus
            && corpus.file.is_some() == written
        {
            let why = "corpus: give either file or write (texts from the fact table), not both or neither";
            add("corpus", why.to_owned());
        }
        if self.corpus.is_none()
            && let Some(name) = self.train.keys().next()
        {
            let at = format!("train.{name}");
            add(&at, format!("{at}: there is no corpus to train on"));
        }
        if self.suite.file.is_some() && self.suite.counterfact.is_some() {
            add(
                "suite",
                "suite: give file or counterfact, not both".to_owned(),
            );
        }
        let built = self.suite.file.is_none() && self.suite.counterfact.is_none();
        let calls = [
            (written, "corpus.write", "corpus.write"),
            (built, "suite", "a suite without a file"),
            (self.paper.is_some(), "paper", "paper"),
        ];
        if let (None, Some((_, at, what))) = (&self.facts, calls.iter().find(|(calls, ..)| *calls))
        {
            add(at, format!("{what} is made from a fact table; give facts"));
        }
        let known = self.models();
        let plain = |name: &str| {
            let letters = name.chars();
            let mut odd = letters.filter(|c| !c.is_ascii_alphanumeric() && !"-_".contains(*c));
            !name.is_empty() && odd.next().is_none()
        };
        for name in self.train.keys() {
            if [BASE, RANDOM].contains(&name.as_str()) || !plain(name) {
                let at = format!("train.{name}");
                let why = format!(
                    "{at}: a model's name has letters, digits, - and _, and is not \"{BASE}\" or \"{RANDOM}\""
                );
                add(&at, why);
            }
        }
        let asked = self
            .sweep
            .iter()
            .map(|(n, s)| (format!("sweep.{n}"), &s.models));
        let edited = self
            .edit
            .iter()
            .map(|(n, e)| (format!("edit.{n}"), &e.models));
        let asked = asked.chain(edited);
        let asked = asked.chain(self.paper.iter().map(|p| ("paper".to_owned(), &p.models)));
        for (place, models) in asked {
            for unknown in models.iter().filter(|m| !known.contains(&m.as_str())) {
                let known = known.join(", ");
                let why = format!("{place}: no model is called \"{unknown}\"; known: {known}");
                add(&format!("{place}.models"), why);
            }
        }
        for (name, edit) in &self.edit {
            let at = format!("edit.{name}");
            if !plain(name) {
                add(&at, format!("{at}: a name has letters, digits, - and _"));
            }
            for (setting, why) in edit.faults(self) {
                add(&format!("{at}.{setting}"), format!("{at}: {why}"));
            }
        }
        for (name, sweep) in &self.sweep {
            if !sweep.metrics.contains(&Metric::LogitDiff) {
                let why = format!(
                    "sweep.{name}: metrics must hold logit_diff, which decides what pairs are eligible"
                );
                add(&format!("sweep.{name}.metrics"), why);
            }
        }
        found
    }
}

/// A TOML value as the text that `--set` takes.
pub fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The keys of a study file that hold paths.
const PATHS: [&[&str]; 5] = [
    &["base"],
    &["facts"],
    &["corpus", "file"],
    &["suite", "file"],
    &["suite", "counterfact"],
];

fn resolve_paths(table: &mut toml::Table, folder: &Path) {
    let edits = table.get_mut("edit").and_then(toml::Value::as_table_mut);
    for (_, edit) in edits.into_iter().flatten() {
        let texts = edit.get_mut("texts").and_then(toml::Value::as_array_mut);
        for text in texts.into_iter().flatten() {
            if let toml::Value::String(path) = text {
                *path = tidy(&folder.join(&*path)).to_string_lossy().into_owned();
            }
        }
    }
    for keys in PATHS {
        if let Some(toml::Value::String(path)) = find(table, keys) {
            let there = tidy(&folder.join(&*path));
            // A base that is no folder here may be a repository of the hub.
            // So may a name of one part, whose error tells it in full.
            let named = |path: &str| {
                engram_hub::looks_like_reference(path) || engram_hub::full_name(path).is_some()
            };
            let of_hub = *keys == ["base"] && named(path);
            if there.exists() || !of_hub {
                *path = there.to_string_lossy().into_owned();
            }
        }
    }
}

/// `examples/../assets` as `assets`: what a person reads in a manifest.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let up = matches!(part, std::path::Component::ParentDir);
        let in_folder = matches!(
            out.components().next_back(),
            Some(std::path::Component::Normal(_))
        );
        if up && in_folder {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

fn find<'a>(table: &'a mut toml::Table, keys: &[&str]) -> Option<&'a mut toml::Value> {
    let (first, rest) = keys.split_first()?;
    let value = table.get_mut(*first)?;
    match rest {
        [] => Some(value),
        _ => find(value.as_table_mut()?, rest),
    }
}

/// Lays `a.b.c=value` over a table. The value is TOML, or else a string as it stands.
fn set(table: &mut toml::Table, setting: &str) -> Result<()> {
    let wrong = |why: String| Error::asked(format!("--set {setting}"), why);
    let Some((key, text)) = setting.split_once('=') else {
        return Err(wrong("expected key=value".to_owned()));
    };
    let keys: Vec<&str> = key.trim().split('.').collect();
    if keys.iter().any(|k| k.is_empty()) {
        return Err(wrong("the key has an empty part".to_owned()));
    }
    let value = parse_value(text.trim());
    // A corpus is either a file or written: naming one puts the other aside.
    if keys[..] == ["corpus", "file"] {
        find(table, &["corpus"])
            .and_then(toml::Value::as_table_mut)
            .map(|t| t.remove("write"));
    }
    let mut place = table;
    let (last, parents) = match keys.split_last() {
        Some(split) => split,
        None => return Err(wrong("the key is empty".to_owned())),
    };
    for parent in parents {
        let next = place
            .entry((*parent).to_owned())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = match next.as_table_mut() {
            Some(table) => table,
            None => return Err(wrong(format!("{parent} holds a value, not a section"))),
        };
    }
    place.insert((*last).to_owned(), value);
    Ok(())
}

fn parse_value(text: &str) -> toml::Value {
    let parsed: Result<toml::Table, _> = toml::from_str(&format!("v = {text}"));
    match parsed.ok().and_then(|mut t| t.remove("v")) {
        Some(value) => value,
        None => toml::Value::String(text.to_owned()),
    }
}

/// A TOML error shows the offending lines; on one line its message and place are enough.
fn one_line(text: &str) -> String {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let first = lines
        .next()
        .unwrap_or_default()
        .trim_end_matches(':')
        .to_owned();
    match lines.next_back() {
        Some(last) if !last.trim_start().starts_with('|') => format!("{first}: {}", last.trim()),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, settings: &[&str]) -> Result<Study> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study.toml");
        std::fs::write(&path, text).unwrap();
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Study::read(&path, &settings)
    }

    const SMALL: &str = "title = 'T'\nbase = 'b'\nfacts = 'f.toml'\n[corpus.write]\nexposures = 3\n\
        [train.config-1]\npreset = 'config-1'\n[sweep.whole]\nmodels = ['base']\nsites = ['attn_out']\n";

    #[test]
    fn settings_lie_over_the_file() {
        let study = read(
            SMALL,
            &["corpus.write.exposures=7", "train.config-1.set.epochs=2"],
        )
        .unwrap();
        assert_eq!(study.corpus.unwrap().write.unwrap().exposures, 7);
        assert_eq!(study.train["config-1"].set["epochs"].as_integer(), Some(2));
        assert!(study.base.ends_with("b") && study.base.components().count() > 1);
        let study = read(SMALL, &["corpus.file=some/where.jsonl"]).unwrap();
        let corpus = study.corpus.unwrap();
        assert_eq!(corpus.file, Some(PathBuf::from("some/where.jsonl")));
        assert_eq!(corpus.write, None);
    }

    #[test]
    fn mistakes_are_named() {
        let error =
            |text: &str, settings: &[&str]| crate::with_causes(&read(text, settings).unwrap_err());
        assert!(error(SMALL, &["corpus.writ.exposures=7"]).contains("writ"));
        assert!(error(SMALL, &["nonsense"]).contains("expected key=value"));
        assert!(error(SMALL, &["title.x=1"]).contains("title holds a value"));
        assert!(
            error(SMALL, &["sweep.whole.models=['config-9']"])
                .contains("no model is called \"config-9\"")
        );
        assert!(error(SMALL, &["sweep.whole.metrics=['prob']"]).contains("must hold logit_diff"));
        assert!(error("title = ", &[]).contains("study.toml"));
        let of_edit = |setting: &str| {
            let edit = ["edit.e.models=['base']", "edit.e.layer='all'", setting];
            error(SMALL, &edit)
        };
        let mistakes = [
            (
                "edit.e.models=['config-9']",
                "edit.e: no model is called \"config-9\"",
            ),
            ("edit.e.models=[]", "edit.e: models is empty"),
            ("edit.e.method='rone'", "rone"),
            ("edit.e.layer='first'", "expected N, N-M, auto or all"),
            ("edit.e.layer='3-1'", "the first layer is above the last"),
            (
                "edit.e.layer=[1, 2]",
                "expected N, \"N-M\", \"auto\" or \"all\"",
            ),
            ("edit.e.set.speed=1", "speed"),
            ("edit.e.set.rate=-1", "rate"),
            ("edit.e.fact=1", "fact"),
        ];
        for (setting, part) in mistakes {
            let found = of_edit(setting);
            assert!(found.contains(part), "{setting}: {found}");
        }
        let asked = "title = 'T'\nbase = 'b'\n[suite]\nfile = 's'\n[sweep.w]\nmodels = ['base']\nsites = ['mlp_out']\n\
            [edit.e]\nmodels = ['base']\nlayer = 1\n";
        assert!(error(asked, &[]).contains("edit.e: method rome needs texts"));
        let tuned = ["edit.e.method='ft-l'", "edit.e.held_out_tokens=9"];
        assert!(error(asked, &tuned).contains("no corpus to take validation texts from"));
        let study = read(asked, &["edit.e.method='ft-l'"]).unwrap();
        assert_eq!(study.edit["e"].layer, crate::LayerChoice::One(1));
    }

    #[test]
    fn every_fault_of_a_study_is_told_with_its_line() {
        let text = "titel = 'T'\nbase = 7\nfacts = 'f.toml'\n[corpus.write]\nexposures = 0\n\
            [train.config-1]\npreset = 'config-1'\n[train.config-1.set]\nepoch = 2\ndropout = 1.5\n\
            [sweep.whole]\nmodels = 'base'\npositions = 'everywhere'\n[stats]\nlevel = 2\n[paper]\n";
        let error = read(text, &["bogus=1"]).unwrap_err().to_string();
        let expected = [
            "  missing setting `title`: what the study asks; example: title =",
            "  --set bogus=1: unknown setting `bogus`; settings of a study: title, seed, base, bos",
            "  line 1: unknown setting `titel` (did you mean `title`?)",
            "  line 2: `base`: invalid type",
            "  line 5: corpus.write.exposures is 0; expected a whole number from 1 to 10000",
            "  line 9: unknown setting `train.config-1.set.epoch` (did you mean `epochs`?); settings of [train.NAME.set]: epochs,",
            "  line 10: train.config-1.set.dropout is 1.5; expected",
            "  line 11: missing setting `sweep.whole.sites`: the sites",
            "  line 12: `sweep.whole.models`: invalid type",
            "  line 13: `sweep.whole.positions`:",
            "  line 15: stats.level is 2",
            "  line 16: missing setting `paper.models`",
            "  line 16: missing setting `paper.pairs`",
        ];
        for start in expected {
            assert!(
                error.lines().any(|l| l.starts_with(start)),
                "{start}\n{error}"
            );
        }
        assert_eq!(error.lines().count(), 1 + expected.len(), "{error}");
        let odd = [
            "sweep.whole.models=['a', 'b']",
            "title=' '",
            "sweep.whole.metrics=['prob']",
        ];
        let error = read(SMALL, &odd).unwrap_err().to_string();
        for part in [
            "4 faults",
            "called \"a\"",
            "called \"b\"",
            "title is empty",
            "must hold",
        ] {
            assert!(error.contains(part), "{part}\n{error}");
        }
    }

    #[test]
    fn seeds_are_models_of_their_own() {
        let seeds = [
            "train.config-1.seeds=[7, 8]",
            "sweep.whole.models=['config-1', 'base']",
        ];
        let study = read(SMALL, &seeds).unwrap();
        let names = ["base", "config-1", "config-1-seed-7", "config-1-seed-8"];
        assert_eq!(study.models(), names);
        let seven = &study.train["config-1-seed-7"];
        assert_eq!(seven.set["seed"].as_integer(), Some(7));
        assert_eq!(seven.replicates.as_deref(), Some("config-1"));
        let swept = ["config-1", "config-1-seed-7", "config-1-seed-8", "base"];
        assert_eq!(study.sweep["whole"].models, swept);
        let twice = read(SMALL, &["train.config-1.seeds=[7, 7]"]).unwrap_err();
        assert!(crate::with_causes(&twice).contains("seed 7 is given twice"));
    }

    #[test]
    fn paths_read_tidily() {
        assert_eq!(
            tidy(Path::new("examples/../assets/x")),
            Path::new("assets/x")
        );
        assert_eq!(tidy(Path::new("../a/../../b")), Path::new("../../b"));
    }
}
