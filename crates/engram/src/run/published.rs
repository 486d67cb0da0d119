//! The published protocol in a study that asks for it (`[paper]`).

use std::path::Path;

use engram_core::{Row, Suite};
use engram_corpus::read_questions;
use engram_patch::{
    BuildSettings, Engine, Plan, Profile, Reading, StagedEngine, SweepSpec, build_published,
    published_pairs, published_spec,
};

use super::Setup;
use crate::error::{Result, Within};
use crate::observe::Observer;
use crate::pairs::prepare;
use crate::results::{PUBLISHED, PUBLISHED_SUITE};
use crate::study::Published;
use crate::sweep::sweep_plan;

/// Pairs read as the published script reads them.
pub(super) fn reading() -> Reading {
    Reading {
        profile: Profile::Published,
        ..Reading::default()
    }
}

impl Setup {
    /// The pairs of the published protocol, where the study asks for it.
    pub(super) fn published_suite(&self, observer: &mut dyn Observer) -> Result<Option<Suite>> {
        let Some(asked) = &self.study.published else {
            return Ok(None);
        };
        if let Some(file) = &asked.questions {
            let questions = read_questions(file).within(|| "paper.questions")?;
            let suite = published_pairs(&questions, self.base.tokenizer());
            return Ok(Some(suite.of_file(file)?));
        }
        let pairs = asked.pairs.unwrap_or_default();
        let settings = BuildSettings {
            max_pairs_per_kind: Some(pairs.div_ceil(2)),
            ..self.build_settings()
        };
        let built = build_published(self.facts()?, self.base.tokenizer(), &settings)?;
        let found = built.suite.pairs.len();
        if found < pairs {
            observer.note(format!(
                "suite: {found} of {pairs} pairs of the published protocol (pairs come in whole cycles)"
            ));
        }
        Ok(Some(built.suite))
    }

    /// Refuses questions whose answers are of unequal length, before any work.
    pub(super) fn check_questions(&self, observer: &mut dyn Observer) -> Result<()> {
        let asks = |p: &Published| p.questions.is_some();
        if self.study.published.as_ref().is_some_and(asks) {
            self.published_suite(observer)?;
        }
        Ok(())
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
