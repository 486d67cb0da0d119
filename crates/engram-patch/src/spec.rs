//! What is asked of a sweep.

use std::collections::BTreeSet;

use engram_core::{
    Align, Corruption, Direction, Metric, NamedSite, Positions, RowAlign, Select, Site,
};
use engram_model::Shape;
use engram_model::block::describe;
use serde::{Deserialize, Serialize};

use crate::error::{PatchError, Result};
use crate::intervention::Cell;

/// The clean–corrupt gap in logit difference from which a pair is eligible: [`Metric::least_gap`].
pub const ELIGIBLE_GAP: f64 = 0.5;

/// Noise samples a pair (Meng et al. 2022).
pub const SAMPLES: usize = 10;

/// What is to be patched and measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepSpec {
    /// The sites, resolved; one asked for twice under one name counts once.
    pub sites: Vec<NamedSite>,
    /// Cells of the caller's, after those of the sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<Cell>,
    /// Where each site is patched.
    pub positions: Positions,
    /// Which run is written into.
    pub direction: Direction,
    /// What the corrupted run is.
    pub corruption: Corruption,
    /// How positions are brought together.
    pub align: Align,
    /// How many layers one cell covers.
    pub window: usize,
    /// What is measured.
    pub metrics: Vec<Metric>,
    /// Rows are marked as the published script's way (`align` = `overwrite`), and eligibility is
    /// decided on the mean logit difference, which is that script's.
    pub overwrite: bool,
    /// What random draws are made from.
    pub seed: u64,
    /// Number of noise samples a pair (`gaussian`).
    pub samples: usize,
    /// The least clean–corrupt gaps of the caller's metrics, by name; 0 for one that is not named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_gaps: Vec<(String, f64)>,
    /// The least clean–corrupt gap in logit difference of an eligible pair; the other metrics' least gaps are in
    /// proportion ([`SweepSpec::least_gap`]).
    pub eligible_gap: f64,
}

impl SweepSpec {
    /// Whole outputs of `sites`, denoised by the pair's own clean run, measured by the logit difference.
    pub fn new(sites: Vec<NamedSite>) -> SweepSpec {
        SweepSpec {
            sites,
            cells: Vec::new(),
            positions: Positions::All,
            direction: Direction::Denoise,
            corruption: Corruption::Swap,
            align: Align::Strict,
            window: 1,
            metrics: vec![Metric::LogitDiff],
            overwrite: false,
            seed: 0,
            samples: SAMPLES,
            own_gaps: Vec::new(),
            eligible_gap: ELIGIBLE_GAP,
        }
    }

    /// Whether cells are set to constants, which no run has.
    pub fn writes_constants(&self) -> bool {
        matches!(self.corruption, Corruption::Zero | Corruption::Mean)
    }

    /// The alignment as rows name it.
    pub fn row_align(&self) -> RowAlign {
        if self.overwrite {
            RowAlign::Overwrite
        } else {
            self.align.into()
        }
    }

    /// The metric on which a pair's eligibility is decided.
    pub fn gate(&self) -> Metric {
        match self.overwrite {
            true => Metric::LogitDiffMean,
            false => Metric::LogitDiff,
        }
    }

    /// The least clean–corrupt gap of a metric, in its units, for a pair to have a recovery in it:
    /// [`Metric::least_gap`], scaled as `eligible_gap` is to that of the logit difference.
    pub fn least_gap(&self, metric: Metric) -> f64 {
        let own = self.own_gaps.iter();
        match own.rev().find(|(name, _)| name == metric.name()) {
            Some((_, gap)) if matches!(metric, Metric::Own(_)) => *gap,
            _ => metric.least_gap() * (self.eligible_gap / ELIGIBLE_GAP),
        }
    }

    /// Refuses what no engine here can do, and a sweep of nothing.
    /// Whether a model of a shape can be patched as asked, whatever the pairs.
    ///
    /// # Errors
    /// [`PatchError::Unsupported`], [`PatchError::Contradiction`], [`PatchError::Empty`], [`PatchError::NoSuchLayer`],
    /// [`PatchError::NoSuchPart`].
    pub fn check(&self, shape: &Shape) -> Result<()> {
        let unsupported = |what, value: String, supported| {
            Err(PatchError::Unsupported {
                what,
                value,
                supported,
            })
        };
        let contradiction =
            |what: String, other: String, why| Err(PatchError::Contradiction { what, other, why });
        let corruption = format!("corruption {}", self.corruption);
        if self.writes_constants() && self.direction == Direction::Denoise {
            let why = "a constant restores nothing; direction noise measures what it destroys";
            return contradiction(corruption, "direction denoise".to_owned(), why);
        }
        let align = format!("alignment {}", self.align);
        if self.corruption != Corruption::Swap && self.align != Align::Strict {
            let why = "it makes prompts of equal length itself";
            return contradiction(align, corruption, why);
        }
        if self.overwrite && (self.corruption != Corruption::Swap || self.window != 1) {
            let why = "the published script swaps prompts and patches one module at a time";
            return contradiction("profile paper".to_owned(), corruption, why);
        }
        for site in &self.sites {
            let name = || format!("site {}", site.name);
            if site.site == Site::Pattern && self.align != Align::Strict {
                let why = "a pattern's keys are positions of one prompt";
                return contradiction(align, name(), why);
            }
            if site.site == Site::Pattern && self.corruption == Corruption::Mean {
                let why = "patterns of different prompts have no mean";
                return contradiction(corruption, name(), why);
            }
            if site.site == Site::Logits && self.corruption == Corruption::Mean && shape.capped {
                let why = "this model's logits are capped: their mean is no token's logits";
                return contradiction(corruption, name(), why);
            }
            let scale = [Site::Ln1Scale, Site::Ln2Scale, Site::LnFinalScale].contains(&site.site);
            if scale && self.corruption == Corruption::Zero {
                return contradiction(corruption, name(), "it would divide by 0");
            }
            if self.window > 1 && site.layer.is_none() {
                let why = "the site stands once in the model";
                return contradiction(format!("window {}", self.window), name(), why);
            }
        }
        if self.window == 0 {
            return unsupported("window", "0".to_owned(), "1 layer or more");
        }
        if self.samples == 0 {
            return unsupported("number of samples", "0".to_owned(), "1 or more");
        }
        if self.overwrite && !self.cells.is_empty() {
            let why = "the published script patches whole outputs of modules";
            return contradiction(
                "profile paper".to_owned(),
                "a cell of its own".to_owned(),
                why,
            );
        }
        let mut names: BTreeSet<&str> = self.sites.iter().map(|s| s.name.as_str()).collect();
        if let Some(cell) = self.cells.iter().find(|c| !names.insert(&c.name)) {
            let (what, why) = (format!("cell {}", cell.name), "rows are told apart by name");
            return contradiction(what, "another cell or site of that name".to_owned(), why);
        }
        let continues = self.metrics.iter().find(|m| m.reads_continuation());
        if let (true, Some(metric)) = (self.overwrite, continues) {
            let known = "metrics read at the last position (logit_diff_mean, logit_diff, …)";
            return unsupported("metric of the profile paper", metric.to_string(), known);
        }
        let empty = |why| Err(PatchError::Empty { why });
        if self.sites.is_empty() && self.cells.is_empty() {
            return empty("no site is asked for");
        }
        if self.metrics.is_empty() {
            return empty("no metric is asked for");
        }
        for site in &self.sites {
            if site.layer.is_some_and(|layer| layer >= shape.layers)
                || site.layer.is_some() != site.site.has_layer()
            {
                return Err(PatchError::NoSuchLayer {
                    name: site.name.clone(),
                    layers: shape.layers,
                });
            }
            let count = describe(site.site, shape).parts;
            if let (Select::Some(part), Some(count)) = (site.select, count)
                && part.end > count
            {
                return Err(PatchError::NoSuchPart {
                    name: site.name.clone(),
                    count,
                });
            }
        }
        Ok(())
    }
}
