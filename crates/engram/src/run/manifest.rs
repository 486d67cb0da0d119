//! The manifest of a run.

use std::path::Path;

use engram_core::files;
use engram_report::{NamedValue, Reproduction};

use super::Run;
use crate::curve::Origin;
use crate::error::Result;
use crate::results::{MANIFEST, Machine, Manifest};
use crate::study::Training;

impl Run<'_> {
    /// What the folder is, and how it was made.
    pub(super) fn manifest(&self, file: &Path) -> Result<Manifest> {
        let study = &self.setup.study;
        // Stages that were up to date keep the time that they took when they were made.
        let earlier = files::read_json::<Manifest>(&self.folder.path().join(MANIFEST));
        let mut timing = earlier.map(|m| m.timing).unwrap_or_default();
        timing.extend(self.timing.clone());
        let mut seeds = vec![
            NamedValue::new("study", study.seed),
            NamedValue::new("statistics", study.stats.seed),
        ];
        if let Some(write) = study.corpus.as_ref().and_then(|c| c.write.as_ref()) {
            seeds.push(NamedValue::new("texts", write.seed));
        }
        for (name, settings) in &self.setup.settings {
            seeds.push(NamedValue::new(
                format!("training of {name}"),
                settings.seed,
            ));
        }
        let mut inputs: Vec<NamedValue> = self
            .setup
            .inputs
            .iter()
            .map(|(k, v)| NamedValue::new(*k, v))
            .collect();
        inputs.push(NamedValue::new("study file", files::sha256_file(file)?));
        inputs.extend(
            self.setup
                .base
                .shape()
                .served()
                .map(|s| NamedValue::new("grouped queries", s)),
        );
        let threads = NamedValue::new("threads", Machine::here().threads);
        Ok(Manifest {
            engram: env!("CARGO_PKG_VERSION").to_owned(),
            title: study.title.clone(),
            command: self.setup.provenance.command.clone(),
            reproduction: Reproduction {
                command: self.setup.provenance.reproducing.clone(),
                seeds,
                versions: vec![
                    NamedValue::new("engram", env!("CARGO_PKG_VERSION")),
                    threads,
                ],
                inputs,
            },
            stats: study.stats,
            models: study.models().into_iter().map(str::to_owned).collect(),
            replicates: (study.train.iter())
                .filter_map(|(name, t)| Some((name.clone(), t.replicates.clone()?)))
                .collect(),
            edits: (study.edit.iter())
                .map(|(name, edit)| (name.clone(), edit.models.clone()))
                .collect(),
            training: study.train.iter().map(origin).collect(),
            ineligible: Vec::new(),
            timing,
            machine: Machine::here(),
        })
    }
}

fn origin((name, training): (&String, &Training)) -> (String, Origin) {
    let origin = Origin {
        preset: Some(training.preset.clone()),
        why: training.why.clone().into_iter().collect(),
    };
    (name.clone(), origin)
}
