//! The stages `edits/NAME/MODEL`: facts of the suite edited in one model.

use std::path::{Path, PathBuf};

use candle_core::Device;
use engram_core::{Direction, Row, Site, Suite, files};
use engram_edit::covariance::covariances;
use engram_edit::{ChoiceSettings, Editor, Facts, Keys, Reader, Sample};
use engram_model::LanguageModel;
use serde_json::json;

use super::{BEGIN, Run};
use crate::code;
use crate::corpus::texts_of;
use crate::edits::{self, Record};
use crate::error::{Result, Within};
use crate::layers::{LayerChoice, chosen_layers};
use crate::model::{checkpoint_hash, resolve};
use crate::results::{Machine, PATCH, SUITE, TRAIN, VALIDATION};
use crate::study::Study;

/// What a model's edits are made from.
pub(super) struct From<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The checkpoint.
    pub model: &'a Path,
    /// The stage of its sweeps.
    pub sweep: &'a Path,
    pub suite: &'a Path,
    pub corpus: Option<&'a Path>,
}

/// Refuses edits that cannot be made, before any work.
pub(super) fn check(study: &Study, base: &LanguageModel) -> Result<()> {
    let swept = |model: &str| {
        study.sweep.values().any(|sweep| {
            let sites = resolve(base, &sweep.sites).unwrap_or_default();
            let of_mlp = sites.iter().any(|s| s.site == Site::MlpOut);
            let named = sweep.models.iter().any(|m| m == model);
            named && of_mlp && sweep.direction == Direction::Denoise && sweep.window == 1
        })
    };
    for (name, edit) in &study.edit {
        edit.check_on(base, swept)
            .within(|| format!("edit.{name}"))?;
    }
    Ok(())
}

impl Run<'_> {
    /// All edits of a model.
    pub(super) fn edits(&mut self, from: &From<'_>) -> Result<()> {
        for (name, edit) in self.setup.study.edit.clone() {
            if edit.models.iter().any(|m| m == from.name) {
                self.edit(&name, from)?;
            }
        }
        Ok(())
    }

    fn edit(&mut self, name: &str, from: &From<'_>) -> Result<PathBuf> {
        let edit = self.setup.study.edit[name].clone();
        let texts = match (edit.texts.is_empty(), from.corpus) {
            (true, Some(corpus)) => vec![corpus.join(TRAIN)],
            _ => edit.texts.clone(),
        };
        let held_out: Vec<PathBuf> = (from.corpus.iter())
            .filter(|_| edit.held_out_tokens > 0)
            .map(|corpus| corpus.join(VALIDATION))
            .collect();
        let hashes = |paths: &[PathBuf]| -> Result<Vec<String>> {
            let hash = |p: &PathBuf| Ok(files::sha256_file(p)?);
            paths.iter().map(hash).collect()
        };
        let auto = edit.layer == LayerChoice::Auto;
        let sweep = auto.then(|| files::sha256_file(&from.sweep.join(PATCH)));
        let checkpoint = checkpoint_hash(from.model)?;
        // Paths and models' names are not what the edits depend on; another number of threads gives other last bits.
        let inputs = json!([
            [json!(edit.method), json!(edit.layer), json!(edit.facts)],
            [json!(edit.settings()?), json!(edit.side_effects)],
            [edit.held_out_tokens, edit.fluency],
            [hashes(&texts)?, hashes(&held_out)?],
            files::sha256_file(&from.suite.join(SUITE))?,
            sweep.transpose()?,
            checkpoint,
            self.setup.inputs[BEGIN],
            Machine::here().threads
        ]);
        self.stage(
            &format!("edits/{name}/{}", from.name),
            code::of_edits(),
            inputs,
            |run, folder, observer| {
                let model =
                    LanguageModel::read(from.model, &Device::Cpu)?.with_bos(run.study.bos)?;
                let reader = Reader::new(&model)?;
                let suite = Suite::read(&from.suite.join(SUITE))?;
                let settings = edit.settings()?;
                let held_out = texts_of(&held_out)?;
                let label = format!("{}, edit {name}", from.name);
                let sweep = edits::EditSweep {
                    label: &label,
                    reader: &reader,
                    facts: Facts::Suite(&suite),
                    choosing: ChoiceSettings {
                        most: edit.facts,
                        all_facts: false,
                        together: Editor::edits_together(edit.method),
                    },
                    method: edit.method,
                    settings: &settings,
                    keys: &Keys::new(),
                    held_out: (&held_out, edit.held_out_tokens),
                    side_effects: edit.side_effects,
                    fluency: edit.fluency,
                };
                let chosen = sweep.choose()?;
                let rows = match auto && !chosen.cases.is_empty() {
                    true => Some(Row::read_parquet(&from.sweep.join(PATCH))?),
                    false => None,
                };
                let sets = match chosen.cases.is_empty() {
                    true => Vec::new(),
                    false => chosen_layers(edit.layer, &sweep, &chosen, rows.as_deref())
                        .within(|| format!("edit.{name}, {}", from.name))?,
                };
                if sets.is_empty() {
                    observer.note(format!(
                        "{label}: the model says the answer of none of {} facts; none is edited",
                        chosen.facts
                    ));
                }
                let swept = sweep.run(&chosen, &sets, observer, |layers, observer| {
                    let texts = texts_of(&texts)?;
                    let texts = texts.iter().map(String::as_str);
                    let sample = Sample::of(&model, texts, settings.sample_settings())?;
                    let total = sample.tokens() as u64;
                    observer.begins(&format!("{label}, covariance, tokens"), total);
                    let hear = &mut |done: usize| observer.at(done as u64, "");
                    let found = covariances(&reader, &sample, layers, hear)?;
                    observer.ends(&format!("{total} tokens, {} layers", layers.len()));
                    Ok(found)
                })?;
                let names = (name, from.name, checkpoint.as_str());
                let record = Record::of(
                    &sweep,
                    names,
                    &run.provenance.command,
                    &chosen,
                    &sets,
                    &swept,
                );
                edits::write(folder, &swept, &record)
            },
        )
    }
}
