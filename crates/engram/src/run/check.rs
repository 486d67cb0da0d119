//! Sweeps checked on the base model before any model is trained: the others have its sizes and its tokenizer.

use std::path::Path;

use engram_core::{Row, Suite};
use engram_findings::check_rows;
use engram_patch::{Done, Eligibility, Plan, Reading, Schedule, SweepSpec, Unpatched, result};

use super::Setup;
use crate::error::{Result, Within};
use crate::memory;
use crate::observe::Observer;
use crate::pairs::prepare;
use crate::results::SUITE;

impl Setup {
    /// Refuses sweeps that cannot be planned, do not fit into memory, or measure one cell twice.
    pub(super) fn check_sweeps(&self, suite: &Path, observer: &mut dyn Observer) -> Result<()> {
        let pairs = Suite::read(&suite.join(SUITE))?;
        let mut rows: Vec<(&str, Vec<Row>)> = Vec::new();
        for (name, sweep) in &self.study.sweep {
            let mut planned = || {
                let spec = self.spec(sweep, &self.base)?;
                self.plan(&pairs, spec, &Reading::default(), observer)
            };
            let plan = planned().within(|| format!("sweep.{name}"))?;
            rows.push((name, rows_of_first(&plan)));
        }
        self.check_published(suite, observer)?;
        let settings = self.study.stats;
        for model in self.study.models() {
            let of_model = |name: &str| self.study.sweep[name].models.iter().any(|m| m == model);
            let of_model = rows.iter().filter(|(name, _)| of_model(name));
            let (names, rows): (Vec<&str>, Vec<&Vec<Row>>) =
                of_model.map(|(name, rows)| (*name, rows)).unzip();
            let rows: Vec<Row> = rows.into_iter().flatten().cloned().collect();
            check_rows(&pairs.pairs, settings, model, &rows)
                .within(|| format!("sweep.{}", names.join(", sweep.")))?;
        }
        Ok(())
    }

    pub(super) fn plan(
        &self,
        suite: &Suite,
        spec: SweepSpec,
        reading: &Reading,
        observer: &mut dyn Observer,
    ) -> Result<Plan> {
        let (plan, _) = self.scheduled(suite, spec, (reading, false), observer)?;
        Ok(plan)
    }

    /// A plan and its schedule; pairs that are unfit are left out where `skip` allows it.
    pub(super) fn scheduled(
        &self,
        suite: &Suite,
        spec: SweepSpec,
        (reading, skip): (&Reading, bool),
        observer: &mut dyn Observer,
    ) -> Result<(Plan, Schedule)> {
        let (pairs, _) = prepare(suite, &self.base, reading, skip, observer)?;
        let plan = Plan::new(spec, self.base.shape(), pairs)?;
        let (nothing, threads) = (Done::nothing(&plan), rayon::current_num_threads());
        let allowed = memory::allowed(None, &self.base);
        let schedule = Schedule::of(&plan, &nothing, allowed, threads)?;
        Ok((plan, schedule))
    }
}

/// A plan's rows of its first pair, with 0 for every value: cells are the same for each.
fn rows_of_first(plan: &Plan) -> Vec<Row> {
    let none = vec![0.0; plan.spec.metrics.len()];
    let unpatched = Unpatched {
        clean: none.clone(),
        corrupt: none.clone(),
        gap: 0.0,
    };
    let eligibility = Eligibility::of(&plan.spec, &[&unpatched]);
    let first = plan.pairs.first().into_iter();
    let rows = first.flat_map(|pair| {
        let values = vec![Some(none.clone()); pair.cells.len()];
        result(&plan.spec, pair, &eligibility, (&unpatched, &values)).rows
    });
    rows.collect()
}
