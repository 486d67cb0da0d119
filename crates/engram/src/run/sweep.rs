//! The stage that patches a model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::Device;
use engram_core::{PreferenceRow, Row, Suite, files};
use engram_patch::{Plan, Reading, StagedEngine, SweepSpec, preferences};
use serde_json::json;

use super::{BEGIN, Run, Setup};
use crate::code;
use crate::error::Result;
use crate::memory;
use crate::model::{checkpoint_hash, resolve};
use crate::pairs::prepare;
use crate::results::{PATCH, PREFERENCES, PUBLISHED_SUITE, SUITE};
use crate::study::StudySweep;
use crate::sweep::sweep_plan;

impl Setup {
    /// What is patched and measured in a sweep of a model.
    pub(super) fn spec(
        &self,
        sweep: &StudySweep,
        model: &engram_model::LanguageModel,
    ) -> Result<SweepSpec> {
        Ok(SweepSpec {
            positions: sweep.positions,
            direction: sweep.direction,
            corruption: sweep.corruption,
            window: sweep.window,
            seed: self.study.seed,
            metrics: sweep.metrics.clone(),
            eligible_gap: self.study.stats.eligible_gap,
            ..SweepSpec::new(resolve(model, &sweep.sites)?)
        })
    }
}

impl Run<'_> {
    /// What a model prefers, and what its sweeps found.
    pub(super) fn sweep(&mut self, name: &str, model: &Path, suite: &Path) -> Result<PathBuf> {
        let asked: Vec<_> = self
            .setup
            .study
            .sweep
            .values()
            .filter(|s| s.models.iter().any(|m| m == name))
            .cloned()
            .collect();
        let published = self.setup.study.asks_published(name);
        let files_hashed =
            [SUITE, PUBLISHED_SUITE].map(|f| files::sha256_file(&suite.join(f)).ok());
        let gap = self.setup.study.stats.eligible_gap;
        let inputs = json!([
            asked,
            published,
            files_hashed,
            checkpoint_hash(model)?,
            self.setup.inputs[BEGIN],
            gap,
            self.setup.study.seed
        ]);
        let (model, suite) = (model.to_owned(), suite.to_owned());
        self.stage(&format!("sweeps/{name}"), code::of_sweep(), inputs, |run, folder, observer| {
            let model = engram_model::LanguageModel::read(&model, &Device::Cpu)?;
            let model = model.with_bos(run.study.bos)?;
            let engine = StagedEngine::new(&model, memory::allowed(None, &model))?;
            let pairs = Suite::read(&suite.join(SUITE))?;
            let preferred = preferences(&model, &pairs.pairs, &Reading::default(), true)?;
            for (pair, template, why) in &preferred.left_out {
                observer.note(format!(
                    "{name}: {pair} not asked in {} ({why})",
                    template.as_deref().unwrap_or("its wording")
                ));
            }
            PreferenceRow::write_parquet(&folder.join(PREFERENCES), &preferred.rows)?;
            let (prepared, _) = prepare(&pairs, &model, &Reading::default(), false, observer)?;
            let prefers: BTreeSet<&str> = (preferred.rows.iter())
                .filter(|row| !row.held_back && row.prefers())
                .map(|row| row.pair.as_str())
                .collect();
            let mut rows = Vec::new();
            for sweep_of in &asked {
                let spec = run.spec(sweep_of, &model)?;
                let mut patched = prepared.clone();
                if sweep_of.known {
                    patched.retain(|p| prefers.contains(p.id.as_str()));
                    observer.note(format!(
                        "{name}: of {} of {} pairs the model prefers the right one; these are patched",
                        patched.len(),
                        prepared.len()
                    ));
                }
                if patched.is_empty() {
                    continue;
                }
                let plan = Plan::new(spec, model.shape(), patched)?;
                let label = format!(
                    "{name}, {} by {}",
                    sweep_of.sites.join(" and "),
                    sweep_of.positions
                );
                rows.extend(sweep_plan(&label, &engine, &plan, observer)?);
            }
            Row::mark(&mut rows, &preferred.rows);
            Row::write_parquet(&folder.join(PATCH), &rows)?;
            if published {
                run.published_sweep(name, &engine, &suite, folder, observer)?;
            }
            Ok(())
        })
    }
}
