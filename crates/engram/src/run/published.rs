//! The published protocol in a study that asks for it (`[paper]`).

use std::path::Path;

use engram_core::{Row, Suite};
use engram_patch::{
    BuildSettings, Engine, Plan, Profile, Reading, StagedEngine, SweepSpec, build_published,
    published_spec,
};

use super::Setup;
use crate::error::{Result, Within};
use crate::observe::Observer;
use crate::pairs::prepare;
use crate::results::{PUBLISHED, PUBLISHED_SUITE};
use crate::sweep::sweep_plan;

/// Pairs read as the published script reads them.
fn reading() -> Reading {
    Reading {
        profile: Profile::Published,
        ..Reading::default()
    }
}

impl Setup {
    /// Writes the pairs of the published protocol beside the suite.
    pub(super) fn write_published_suite(
        &self,
        settings: BuildSettings,
        folder: &Path,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(asked) = &self.study.published else {
            return Ok(());
        };
        let settings = BuildSettings {
            max_pairs_per_kind: Some(asked.pairs.div_ceil(2)),
            ..settings
        };
        let built = build_published(self.facts()?, self.base.tokenizer(), &settings)?;
        let found = built.suite.pairs.len();
        if found < asked.pairs {
            observer.note(format!(
                "suite: {found} of {} pairs of the published protocol (pairs come in whole cycles)",
                asked.pairs
            ));
        }
        Ok(built.suite.write(&folder.join(PUBLISHED_SUITE))?)
    }

    /// Refuses a sweep under the published protocol that cannot be planned or does not fit into memory.
    pub(super) fn check_published(&self, suite: &Path, observer: &mut dyn Observer) -> Result<()> {
        if self.study.published.is_none() {
            return Ok(());
        }
        let pairs = Suite::read(&suite.join(PUBLISHED_SUITE))?;
        let spec = published_spec(&self.base.sites());
        self.plan(&pairs, spec, &reading(), observer)
            .within(|| "paper")?;
        Ok(())
    }

    /// Writes the rows of a model under the published protocol.
    pub(super) fn published_sweep(
        &self,
        name: &str,
        engine: &StagedEngine<'_>,
        suite: &Path,
        folder: &Path,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let model = engine.model();
        let pairs = Suite::read(&suite.join(PUBLISHED_SUITE))?;
        let (prepared, _) = prepare(&pairs, model, &reading(), false, observer)?;
        let spec = SweepSpec {
            eligible_gap: self.study.stats.eligible_gap,
            ..published_spec(&model.sites())
        };
        let plan = Plan::new(spec, model.shape(), prepared)?;
        let label = format!("{name}, the published protocol");
        let rows = sweep_plan(&label, engine, &plan, observer)?;
        Ok(Row::write_parquet(&folder.join(PUBLISHED), &rows)?)
    }
}
