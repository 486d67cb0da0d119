//! What a forecast says.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Serialize;

use crate::error::{Error, Result};

/// What a study will do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The study's title.
    pub title: String,
    /// The folder of the results.
    pub folder: PathBuf,
    /// The machine.
    pub machine: MachineRates,
    /// The stages, in order.
    pub stages: Vec<StageForecast>,
    /// Seconds of all stages that are not there yet and whose time is known.
    pub seconds: f64,
    /// The most memory of a stage, in bytes.
    pub memory: u64,
    /// Bytes that all stages write.
    pub disk: u64,
    /// Bytes that are downloaded.
    pub download: u64,
    /// What was assumed, because only the network can tell it.
    pub assumed: Vec<String>,
}

/// What of the machine a forecast depends on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineRates {
    /// Threads.
    pub threads: usize,
    /// Measured rate of a matrix product, [1024 × 768]·[768 × 3072], in GFLOP/s.
    pub gflops: f64,
    /// Available memory in bytes, where the system says.
    pub memory: Option<u64>,
    /// Free bytes on the disk of the results, where the system says.
    pub disk: Option<u64>,
}

/// What a stage will do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StageForecast {
    /// Its name: the folder of its results.
    pub name: String,
    /// Whether the folder is there. A stage is made again only if its inputs have changed.
    pub is_there: bool,
    /// What it reads.
    pub reads: Vec<String>,
    /// What it computes.
    pub computes: String,
    /// What it writes.
    pub writes: Vec<String>,
    /// Seconds on this machine; `None` where only the network can tell.
    pub seconds: Option<f64>,
    /// The most memory that it takes, in bytes.
    pub memory: u64,
    /// Bytes that it writes, those of unfinished work included.
    pub disk: u64,
    /// Bytes that it downloads.
    pub download: u64,
}

impl Forecast {
    /// Refuses a study that needs more than the machine has.
    pub(super) fn check(&self) -> Result<()> {
        let free = |what: &str, needs: u64, has: Option<u64>| match has {
            Some(has) if needs > has => Err(Error::asked(
                self.title.clone(),
                format!(
                    "the study needs {} of {what}, and {} is free",
                    ByteSize(needs),
                    ByteSize(has)
                ),
            )),
            _ => Ok(()),
        };
        let left = self.stages.iter().filter(|s| !s.is_there);
        let (disk, memory) = left.fold((0, 0), |(disk, memory), stage| {
            (disk + stage.disk, u64::max(memory, stage.memory))
        });
        free("memory", memory, self.machine.memory)?;
        free("disk", disk, self.machine.disk)
    }
}
