//! The stages that make texts, pairs and models.

use std::path::{Path, PathBuf};

use engram_core::text::thousands;
use engram_core::{Confounds, Pair, Suite, files};
use engram_corpus::fetch::Fetched;
use engram_corpus::{Abstract, read, read_suite, stats};
use engram_findings::published;
use engram_patch::{BuildSettings, Reading, build, build_counterfact};
use engram_report::{Excluded, NamedValue};
use engram_train::{CheckpointSettings, TrainingRecord};
use serde_json::json;

use super::{Run, Setup};
use crate::code;
use crate::confounds::confounds;
use crate::corpus::{counterfact, leaks, read_corpus, training_texts, with_tokenizer};
use crate::error::Result;
use crate::observe::Observer;
use crate::pairs::prepare;
use crate::results::{
    CONFOUNDS, CORPUS, EXCLUDED, FETCHED, Machine, PUBLISHED_SUITE, SUITE, TRAIN, TRAINING,
    VALIDATION,
};
use crate::stage::{done_with, partial, under_way};
use crate::study::CorpusSource;
use crate::training::{CHECKPOINT_EVERY, Recipe, fine_tune, warn_of_rate};

impl Setup {
    fn count(
        &self,
        terms: &[String],
        train: &[Abstract],
        validation: &[Abstract],
    ) -> Result<Vec<NamedValue>> {
        let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
        // Texts that are written from facts are not what the publication counted in.
        let is_real = self
            .study
            .corpus
            .as_ref()
            .is_some_and(|c| c.write.is_none());
        let beside_published = is_real && self.study.published.is_some();
        let mut facts = vec![NamedValue::new("training texts", thousands(train.len()))];
        facts.push(NamedValue::new(
            "validation texts",
            thousands(validation.len()),
        ));
        if beside_published {
            let count = thousands(published::ABSTRACTS);
            facts.push(NamedValue::new("texts of the publication", count));
        }
        let all: Vec<Abstract> = train.iter().chain(validation).cloned().collect();
        let counted = with_tokenizer(self.base.tokenizer(), |t| {
            Ok(stats::stats(&all, &terms, Some(t))?)
        })?;
        facts.push(NamedValue::new("words", thousands(counted.words)));
        facts.push(NamedValue::new(
            "tokens",
            thousands(counted.tokens.unwrap_or_default()),
        ));
        for mention in counted.mentions {
            let published = published::mentions(&mention.term).filter(|_| beside_published);
            let value = format!(
                "{} as a whole word, {} anywhere{}",
                thousands(mention.whole_words),
                thousands(mention.substrings),
                published.map_or(String::new(), |n| format!("; published: {}", thousands(n)))
            );
            facts.push(NamedValue::new(
                format!("mentions of {}", mention.term),
                value,
            ));
        }
        Ok(facts)
    }
}

impl Setup {
    /// How a suite is built from the fact table.
    pub(super) fn build_settings(&self) -> BuildSettings {
        BuildSettings {
            seed: self.study.seed,
            max_pairs_per_kind: Some(self.study.suite.max_pairs_per_kind).filter(|most| *most > 0),
            ..BuildSettings::default()
        }
    }

    /// The suite as its source has it, and the facts that are in no pair.
    pub(super) fn built_suite(
        &self,
        observer: &mut dyn Observer,
    ) -> Result<(Suite, Vec<Excluded>)> {
        let (settings, tokenizer) = (self.build_settings(), self.base.tokenizer());
        let source = &self.study.suite;
        match (&source.file, &source.counterfact) {
            (Some(file), _) => Ok((read_suite(file)?, Vec::new())),
            (None, Some(file)) => {
                let (facts, most) = (counterfact(file, observer)?, settings.max_pairs_per_kind);
                let suite = build_counterfact(&facts, tokenizer, settings.seed, most)?;
                Ok((suite, Vec::new()))
            }
            (None, None) => {
                let built = build(self.facts()?, tokenizer, &settings)?;
                let unpaired = built.unpaired.into_iter().map(|u| Excluded {
                    pair: u.fact,
                    kind: Some(u.kind),
                    reason: u.reason,
                });
                Ok((built.suite, unpaired.collect()))
            }
        }
    }

    /// Training and validation texts: those of `file`, or else written from the fact table, with the exposures.
    pub(super) fn texts(
        &self,
        source: &CorpusSource,
        file: Option<&Path>,
        observer: &mut dyn Observer,
    ) -> Result<Texts> {
        let Some(file) = file else {
            let settings = source.write.clone().unwrap_or_default();
            let written = with_tokenizer(self.base.tokenizer(), |t| {
                Ok(engram_corpus::write_texts(self.facts()?, &settings, t)?)
            })?;
            return Ok(Texts {
                train: written.train_records(),
                validation: written.validation_records(),
                facts: vec![
                    NamedValue::new("source", "texts written from the fact table"),
                    NamedValue::new("facts taught", written.exposures.len()),
                    NamedValue::new("exposures of each fact", settings.exposures),
                    NamedValue::new("wordings of each fact", settings.wordings),
                ],
                written: Some(written),
            });
        };
        let texts = training_texts(file, source.keep_retracted, observer)?;
        let mut facts = named_source(source, file)?;
        facts.extend(same_texts(&texts));
        let (train, validation) = engram_corpus::split_texts(texts, source.split, self.study.seed)?;
        Ok(Texts {
            train,
            validation,
            facts,
            written: None,
        })
    }
}

/// What a study trains on.
pub(super) struct Texts {
    pub train: Vec<Abstract>,
    pub validation: Vec<Abstract>,
    /// Where they are from.
    facts: Vec<NamedValue>,
    written: Option<engram_corpus::Written>,
}

impl Run<'_> {
    /// Training and validation texts, and what they hold, where there is training.
    pub(super) fn corpus(&mut self) -> Result<Option<PathBuf>> {
        let file = self.abstracts()?;
        let Some(source) = self.setup.study.corpus.clone() else {
            return Ok(None);
        };
        let published = self.setup.study.published.is_some();
        let inputs = json!([source, published, self.setup.study.seed, self.setup.inputs]);
        let made = self.stage(
            "corpus",
            code::of_texts(),
            inputs,
            |run, folder, observer| {
                let Texts {
                    train,
                    validation,
                    mut facts,
                    written,
                } = run.texts(&source, file.as_deref(), observer)?;
                if let Some(written) = written {
                    written.save(folder)?;
                }
                read::write(&folder.join(TRAIN), &train)?;
                read::write(&folder.join(VALIDATION), &validation)?;
                let leaked = leaks(&train, &validation, observer);
                facts.extend(run.count(&source.terms, &train, &validation)?);
                facts.push(NamedValue::new(
                    "validation texts equal or nearly equal to a training text",
                    thousands(leaked),
                ));
                files::write_json(&folder.join(CORPUS), &facts)?;
                Ok(())
            },
        );
        made.map(Some)
    }

    /// The pairs, those of the published protocol, and what was left out.
    pub(super) fn suite(&mut self, corpus: Option<&Path>) -> Result<PathBuf> {
        let published = self.setup.study.published.as_ref().and_then(|p| p.pairs);
        let taught = corpus
            .map(|c| files::sha256_file(&c.join(TRAIN)))
            .transpose()?;
        let inputs = json!([
            self.setup.study.suite,
            published,
            self.setup.study.seed,
            self.setup.inputs,
            taught
        ]);
        self.stage(
            "suite",
            code::of_pairs(),
            inputs,
            |run, folder, observer| {
                let (suite, mut excluded) = run.built_suite(observer)?;
                let (pairs, unfit) =
                    prepare(&suite, &run.base, &Reading::default(), true, observer)?;
                excluded.extend(unfit);
                let fit = |id: &str| pairs.iter().any(|p| p.id == id);
                let kept: Vec<Pair> = suite.pairs.into_iter().filter(|p| fit(&p.id)).collect();
                Confounds::write(
                    &folder.join(CONFOUNDS),
                    &confounds(&kept, &pairs, corpus, observer)?,
                )?;
                Suite { pairs: kept }.write(&folder.join(SUITE))?;
                if let Some(suite) = run.published_suite(observer)? {
                    suite.write(&folder.join(PUBLISHED_SUITE))?;
                }
                files::write_json(&folder.join(EXCLUDED), &excluded)?;
                Ok(())
            },
        )
    }

    /// A fine-tuned model.
    pub(super) fn train(&mut self, name: &str, corpus: &Path) -> Result<PathBuf> {
        let texts = [TRAIN, VALIDATION].map(|f| corpus.join(f));
        let hashes = [
            files::sha256_file(&texts[0])?,
            files::sha256_file(&texts[1])?,
        ];
        let settings = self.setup.settings[name].clone();
        // Another number of threads gives other last bits.
        let threads = Machine::here().threads;
        let device = format!("{:?}", self.setup.base.device().location());
        let inputs = json!([settings, hashes, self.setup.inputs["base"], threads, device]);
        let stage = format!("models/{name}");
        let stage_folder = self.folder.path().join(&stage);
        let keep = CheckpointSettings {
            folder: partial(&stage_folder),
            every: CHECKPOINT_EVERY,
            resume: true,
        };
        let made = self.stage(
            &stage,
            code::of_training(),
            inputs.clone(),
            |run, folder, observer| {
                under_way(&stage_folder, &inputs, observer)?;
                let train = read_corpus(&texts[0], observer)?;
                let validation = read_corpus(&texts[1], observer)?;
                let recipe = Recipe {
                    name,
                    base: &run.base,
                    train: &train,
                    validation: &validation,
                    settings: &settings,
                };
                fine_tune(&recipe, &keep, folder, observer).map(drop)
            },
        )?;
        done_with(&keep.folder)?;
        let record: TrainingRecord = files::read_json(&made.join(TRAINING))?;
        warn_of_rate(name, record.rate.as_ref(), self.observer);
        Ok(made)
    }

    /// A model of the base's sizes whose weights are drawn.
    pub(super) fn random(&mut self) -> Result<PathBuf> {
        let inputs = json!([self.setup.study.seed, self.setup.inputs["base"]]);
        self.stage(
            "models/random",
            code::of_training(),
            inputs,
            |run, folder, _| {
                let config = run.base.gpt2("a model with random weights")?;
                let tokenizer = run.base.tokenizer().clone();
                let model = engram_model::LanguageModel::random(config, tokenizer, run.study.seed)?;
                Ok(model.write(folder)?)
            },
        )
    }
}

/// Where a corpus is from.
fn named_source(source: &CorpusSource, file: &Path) -> Result<Vec<NamedValue>> {
    let Some(asked) = &source.fetch else {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        return Ok(vec![NamedValue::new("source", name)]);
    };
    let fetched: Fetched = files::read_json(&file.with_file_name(FETCHED))?;
    let days = [("from", asked.from), ("to", asked.to)];
    let days = days.map(|(word, day)| day.map_or(String::new(), |day| format!(", {word} {day}")));
    Ok(vec![
        NamedValue::new(
            "source",
            format!("PubMed: {}{}", asked.query, days.concat()),
        ),
        NamedValue::new("citations for the query", thousands(fetched.found)),
        NamedValue::new("abstracts fetched", thousands(fetched.written)),
    ])
}

/// How many texts of a corpus are equal or nearly equal to an earlier one; nothing where none is.
fn same_texts(texts: &[Abstract]) -> Option<NamedValue> {
    let own: Vec<String> = texts.iter().map(Abstract::own_text).collect();
    let groups = engram_corpus::near::groups(own.iter().map(String::as_str));
    let later = texts.len() - groups.iter().max().map_or(0, |last| last + 1);
    let value = format!("{later}, on the side of the split of the first");
    (later > 0).then(|| NamedValue::new("texts equal or nearly equal to an earlier one", value))
}
