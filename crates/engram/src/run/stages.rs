//! The stages that make texts, pairs and models.

use std::path::{Path, PathBuf};

use engram_core::text::thousands;
use engram_core::{Confounds, Pair, Suite, files};
use engram_corpus::{Abstract, read, read_suite, stats};
use engram_patch::{BuildSettings, Reading, build, build_counterfact};
use engram_report::{Excluded, NamedValue};
use engram_train::{CheckpointSettings, TrainingRecord};
use serde_json::json;

use super::{Run, Setup};
use crate::code;
use crate::confounds::confounds;
use crate::corpus::{counterfact, leaks, read_corpus, training_texts, with_tokenizer};
use crate::error::Result;
use crate::pairs::prepare;
use crate::results::{CONFOUNDS, CORPUS, EXCLUDED, Machine, SUITE, TRAIN, TRAINING, VALIDATION};
use crate::stage::{done_with, partial, under_way};
use crate::training::{CHECKPOINT_EVERY, Recipe, fine_tune, warn_of_rate};

impl Setup {
    fn count(
        &self,
        terms: &[String],
        train: &[Abstract],
        validation: &[Abstract],
    ) -> Result<Vec<NamedValue>> {
        let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
        let mut facts = vec![NamedValue::new("training texts", thousands(train.len()))];
        facts.push(NamedValue::new(
            "validation texts",
            thousands(validation.len()),
        ));
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
            let value = format!(
                "{} as a whole word, {} anywhere",
                thousands(mention.whole_words),
                thousands(mention.substrings)
            );
            facts.push(NamedValue::new(
                format!("mentions of {}", mention.term),
                value,
            ));
        }
        Ok(facts)
    }
}

impl Run<'_> {
    /// Training and validation texts, and what they hold, where there is training.
    pub(super) fn corpus(&mut self) -> Result<Option<PathBuf>> {
        let Some(source) = self.setup.study.corpus.clone() else {
            return Ok(None);
        };
        let inputs = json!([source, self.setup.study.seed, self.setup.inputs]);
        let made = self.stage(
            "corpus",
            code::of_texts(),
            inputs,
            |run, folder, observer| {
                let study = &run.study;
                let mut facts = Vec::new();
                let (train, validation) = match (&source.file, &source.write) {
                    (Some(file), _) => {
                        facts.push(NamedValue::new(
                            "source",
                            file.file_name().unwrap_or_default().to_string_lossy(),
                        ));
                        let texts = training_texts(file, source.keep_retracted, observer)?;
                        facts.extend(same_texts(&texts));
                        engram_corpus::split_texts(texts, source.split, study.seed)?
                    }
                    (None, write) => {
                        let write = write.clone().unwrap_or_default();
                        let written = with_tokenizer(run.base.tokenizer(), |t| {
                            Ok(engram_corpus::write_texts(run.facts()?, &write, t)?)
                        })?;
                        written.save(folder)?;
                        facts.push(NamedValue::new(
                            "source",
                            "texts written from the fact table",
                        ));
                        facts.push(NamedValue::new("facts taught", written.exposures.len()));
                        facts.push(NamedValue::new("exposures of each fact", write.exposures));
                        facts.push(NamedValue::new("wordings of each fact", write.wordings));
                        (written.train_records(), written.validation_records())
                    }
                };
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
        let published = self.setup.study.published.as_ref().map(|p| p.pairs);
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
                let settings = BuildSettings {
                    seed: run.study.seed,
                    max_pairs_per_kind: Some(run.study.suite.max_pairs_per_kind)
                        .filter(|most| *most > 0),
                    ..BuildSettings::default()
                };
                let tokenizer = run.base.tokenizer();
                let mut excluded = Vec::new();
                let source = &run.study.suite;
                let suite = match (&source.file, &source.counterfact) {
                    (Some(file), _) => read_suite(file)?,
                    (None, Some(file)) => {
                        let most = settings.max_pairs_per_kind;
                        build_counterfact(
                            &counterfact(file, observer)?,
                            tokenizer,
                            settings.seed,
                            most,
                        )?
                    }
                    (None, None) => {
                        let built = build(run.facts()?, tokenizer, &settings)?;
                        excluded.extend(built.unpaired.into_iter().map(|u| Excluded {
                            pair: u.fact,
                            kind: Some(u.kind),
                            reason: u.reason,
                        }));
                        built.suite
                    }
                };
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
                run.write_published_suite(settings, folder, observer)?;
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

/// How many texts of a corpus are equal or nearly equal to an earlier one; nothing where none is.
fn same_texts(texts: &[Abstract]) -> Option<NamedValue> {
    let own: Vec<String> = texts.iter().map(Abstract::own_text).collect();
    let groups = engram_corpus::near::groups(own.iter().map(String::as_str));
    let later = texts.len() - groups.iter().max().map_or(0, |last| last + 1);
    let value = format!("{later}, on the side of the split of the first");
    (later > 0).then(|| NamedValue::new("texts equal or nearly equal to an earlier one", value))
}
