//! What a sweep found.

use std::collections::BTreeMap;
use std::path::Path;

use engram_core::{Confounds, Metric, Row, Suite, files};
use engram_patch::Ineligible;
use engram_report::{Excluded, NamedValue, Reproduction};

use super::SweepFolder;
use crate::error::Result;
use crate::results::{CONFOUNDS, EXCLUDED, MANIFEST, Machine, Manifest, PATCH, Provenance, SUITE};

/// The rows of a sweep, with what is needed to read and to repeat it.
#[derive(Debug, Clone)]
pub struct SweepResult {
    /// The pairs that were patched.
    pub suite: Suite,
    /// One row for each pair, cell and metric, in the plan's order.
    pub rows: Vec<Row>,
    /// The pairs that were left out, and why.
    pub excluded: Vec<Excluded>,
    /// The pairs without a recovery, and in which metrics.
    pub ineligible: Vec<Ineligible>,
    pub(super) confounds: Vec<Confounds>,
    pub(super) model: String,
    pub(super) inputs: Vec<NamedValue>,
    pub(super) seed: u64,
    pub(super) provenance: Provenance,
    pub(super) timing: BTreeMap<String, f64>,
    pub(super) key: String,
}

impl SweepResult {
    /// Recovery of the logit difference of a pair by layer and position: `[layer][position]` of the sweep's first site, the
    /// mean over noise samples, NaN where there is none. Heads, neurons and cells of the caller's are for [`SweepResult::rows`].
    pub fn recovery(&self, pair: usize) -> Vec<Vec<f64>> {
        let Some(pair) = self.suite.pairs.get(pair) else {
            return Vec::new();
        };
        let metric = Metric::LogitDiff;
        let of_pair = self
            .rows
            .iter()
            .filter(|r| r.pair == pair.id && r.metric == metric);
        // Cells of the caller's have no window.
        let plain = |r: &&Row| r.head.is_none() && r.unit.is_none() && r.window.is_some();
        let Some(first) = of_pair.clone().find(plain) else {
            return Vec::new();
        };
        let mut sums: Vec<Vec<(f64, usize)>> = Vec::new();
        for row in of_pair.filter(plain).filter(|r| r.site == first.site) {
            let place = |value: Option<i64>| value.map_or(0, |v| v.unsigned_abs() as usize);
            let (layer, position) = (place(row.layer), place(row.position));
            if sums.len() <= layer {
                sums.resize(layer + 1, Vec::new());
            }
            if sums[layer].len() <= position {
                sums[layer].resize(position + 1, (0.0, 0));
            }
            if let Some(recovery) = row.recovery {
                let (sum, count) = &mut sums[layer][position];
                *sum += recovery;
                *count += 1;
            }
        }
        let width = sums.iter().map(Vec::len).max().unwrap_or(0);
        let mean = |(sum, count): &(f64, usize)| sum / *count as f64;
        let rows = sums.iter().map(|row| {
            let mut row: Vec<f64> = row.iter().map(mean).collect();
            row.resize(width, f64::NAN);
            row
        });
        rows.collect()
    }

    /// Writes the results into a folder that is empty or not there, whole or not at all: `patch.parquet`, `suite.jsonl`,
    /// `confounds.jsonl`, `excluded.json`, `manifest.json`.
    ///
    /// # Errors
    /// As [`SweepFolder::open`]; [`crate::Error::Core`] for files that cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<()> {
        SweepFolder::open(folder, false)?.fill(self)
    }

    pub(super) fn write_files(&self, folder: &Path) -> Result<()> {
        Row::write_parquet(&folder.join(PATCH), &self.rows)?;
        Confounds::write(&folder.join(CONFOUNDS), &self.confounds)?;
        self.suite.write(&folder.join(SUITE))?;
        files::write_json(&folder.join(EXCLUDED), &self.excluded)?;
        Ok(files::write_json(&folder.join(MANIFEST), &self.manifest())?)
    }

    fn manifest(&self) -> Manifest {
        let version = env!("CARGO_PKG_VERSION");
        Manifest {
            engram: version.to_owned(),
            title: "Sweep".to_owned(),
            command: self.provenance.command.clone(),
            reproduction: Reproduction {
                command: self.provenance.reproducing.clone(),
                seeds: vec![NamedValue::new("seed", self.seed.to_string())],
                versions: vec![NamedValue::new("engram", version)],
                inputs: self.inputs.clone(),
            },
            models: vec![self.model.clone()],
            ineligible: self.ineligible.clone(),
            timing: self.timing.clone(),
            machine: Machine::here(),
            ..Manifest::default()
        }
    }
}
