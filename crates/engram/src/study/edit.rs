//! `[edit.NAME]` of a study file: which facts of which models are edited, how and where.

use std::path::PathBuf;

use engram_edit::{EditSettings, Editor, Method};
use engram_model::LanguageModel;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::corpus::texts_of;
use crate::error::{Error, Result, Within};
use crate::layers::LayerChoice;
use crate::study::Study;

/// Edits of the suite's facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The models' names (`base`, names under `train`, and `random` where the study has it).
    pub models: Vec<String>,
    /// `r-rome`, `rome`, `memit`, `alphaedit`, `ft-l` or `lora`.
    #[serde(default)]
    pub method: Method,
    /// The layers: N, "N-M", "all" (each by itself; together with memit
    /// and alphaedit), or "auto": where patching `mlp_out` recovers
    /// most in the model's sweeps.
    pub layer: LayerChoice,
    /// The most facts of a kind, spread over its relations (0: no limit).
    #[serde(default)]
    pub facts: usize,
    /// Settings that depart from the method's.
    #[serde(default)]
    pub set: IndexMap<String, toml::Value>,
    /// Corpora whose keys the edits are to leave alone (all but ft-l and lora); the study's training texts where none is given.
    #[serde(default)]
    pub texts: Vec<PathBuf>,
    /// Whether it is measured how every edit moves every other fact.
    #[serde(default)]
    pub side_effects: bool,
    /// Tokens of the study's validation texts whose perplexity is measured before and after every edit (0: none).
    #[serde(default)]
    pub held_out_tokens: usize,
    /// Continuations of 100 tokens whose n-gram entropy is measured before and after every edit (0: none).
    #[serde(default)]
    pub fluency: usize,
}

impl Edit {
    /// The method's settings with those of the study laid over them.
    ///
    /// # Errors
    /// A setting that there is not, or a value outside its range.
    pub fn settings(&self) -> Result<EditSettings> {
        let mut settings = EditSettings::of(self.method);
        for (name, value) in &self.set {
            settings.set(self.method, name, &value.to_string())?;
        }
        Ok(settings)
    }

    /// What the study's file alone says is wrong: the setting, and why.
    pub(super) fn faults(&self, study: &Study) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if let Err(error) = self.settings() {
            found.push(("set", error.to_string()));
        }
        if self.models.is_empty() {
            found.push(("models", "models is empty; name a model to edit".to_owned()));
        }
        if study.corpus.is_some() {
            return found;
        }
        if Editor::needs_covariance(self.method) && self.texts.is_empty() {
            let why = format!(
                "method {} needs texts whose keys it is to leave alone, and the study has no corpus; give texts",
                self.method.name()
            );
            found.push(("texts", why));
        }
        if self.held_out_tokens > 0 {
            let why = format!(
                "held_out_tokens is {}, and the study has no corpus to take validation texts from; give one, or 0",
                self.held_out_tokens
            );
            found.push(("held_out_tokens", why));
        }
        found
    }

    /// Refuses what a model of the base's sizes does not have. `swept` says of a model whether its sweeps patch
    /// `mlp_out`.
    ///
    /// # Errors
    /// A layer beyond the last, a family that the method is not defined for, `auto` without a sweep to choose by, texts
    /// that cannot be read.
    pub fn check_on(&self, base: &LanguageModel, swept: impl Fn(&str) -> bool) -> Result<()> {
        let layers = base.architecture().layers();
        if let LayerChoice::One(last) | LayerChoice::Range(_, last) = self.layer
            && last >= layers
        {
            let why = format!("the model has layers 0 to {}", layers.saturating_sub(1));
            return Err(Error::asked(format!("layer {}", self.layer), why));
        }
        if self.layer == LayerChoice::Auto
            && let Some(model) = self.models.iter().find(|m| !swept(m))
        {
            let why = format!(
                "it is chosen by a sweep of mlp_out (denoise), and {model} has none; sweep it, or name a layer"
            );
            return Err(Error::asked("layer \"auto\"", why));
        }
        Editor::check(base, self.method)?;
        // Read whole: a damaged corpus is told now, not after the trainings.
        texts_of(&self.texts).within(|| "texts")?;
        Ok(())
    }
}
