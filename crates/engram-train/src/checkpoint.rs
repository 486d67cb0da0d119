//! Checkpoints of an unfinished run: everything needed to resume it and end with the weights of an uninterrupted run.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engram_core::files::{
    HIDDEN, io_error, remove_if_dead, sha256, sha256_of_parts, write_atomic, write_atomic_at,
};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::evaluate::Mean;
use crate::record::{EpochRecord, METRICS, MetricsLine, StepRecord, Validation};
use crate::schedule::EarlyStopping;

/// The checkpoint's file name.
const FILE: &str = "checkpoint.safetensors";
/// Name of the run's state in the checkpoint's metadata.
const STATE: &str = "state";
/// Version of the file's layout. Version 1 had no checksums.
const LAYOUT: &str = "2";
/// Metadata key of the checksum over all other metadata.
const SEAL: &str = "sha256";

/// Where and how often checkpoints are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// A folder for this run only: `checkpoint.safetensors` (weights, moments, best weights, state) and `metrics.jsonl`
    /// (a line for each step).
    pub folder: PathBuf,
    /// Time between checkpoints. It does not affect the result.
    pub every: Duration,
    /// Resume from the folder's checkpoint if there is one.
    pub resume: bool,
}

/// The state of a run except weights and moments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// State of the random generator for shuffling and dropout.
    pub random: ChaCha8Rng,
    /// The epoch's sequences in training order; empty between epochs.
    pub order: Vec<usize>,
    /// Number of them already used.
    pub taken: usize,
    /// Training loss of the epoch so far.
    pub epoch_loss: Mean,
    pub steps: Vec<StepRecord>,
    pub epochs: Vec<EpochRecord>,
    pub stopper: EarlyStopping,
    pub base: Validation,
    pub base_texts: Vec<Option<f64>>,
    pub best_epoch: usize,
    pub best_texts: Vec<Option<f64>>,
    pub train_s: f64,
    pub evaluate_s: f64,
}

impl State {
    /// Number of predicted tokens so far.
    pub fn tokens(&self) -> usize {
        self.steps.last().map_or(0, |step| step.tokens)
    }
}

/// The vectors of a run, all of equal length.
pub(crate) struct Vectors<'a> {
    pub weights: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    pub best: &'a mut [f32],
}

/// An open checkpoint folder.
pub(crate) struct Keeper {
    keep: CheckpointSettings,
    inputs: String,
    metrics: Option<File>,
    written: Instant,
}

impl Keeper {
    /// `inputs` is a hash of everything that the run depends on.
    pub fn new(keep: &CheckpointSettings, inputs: String) -> Keeper {
        Keeper {
            keep: keep.clone(),
            inputs,
            metrics: None,
            written: Instant::now(),
        }
    }

    /// Reads the checkpoint into the vectors. `None` if there is none, or if the run is not to be resumed.
    pub fn resume(&self, into: Vectors<'_>) -> Result<Option<State>> {
        let path = self.keep.folder.join(FILE);
        if !self.keep.resume || !path.exists() {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(io_error(&path))?;
        let refused = |why: String| TrainError::Checkpoint {
            path: path.clone(),
            why,
        };
        let damaged = |what: &str| {
            refused(format!(
                "it is damaged ({what}); remove it to train from the start"
            ))
        };
        let unread = |e: SafeTensorError| damaged(&e.to_string());
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unread)?;
        let file = SafeTensors::deserialize(&bytes).map_err(unread)?;
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        said.extend(header.metadata().clone().unwrap_or_default());
        let known = said.remove(SEAL);
        let layout = said.get("layout").cloned().unwrap_or_default();
        if known.is_none() && layout == "1" {
            return Err(refused(
                "it was written by another version of engram; remove it to train from the start"
                    .to_owned(),
            ));
        }
        if known != Some(seal(&said)) || layout != LAYOUT {
            return Err(damaged("the checksum of its metadata does not fit"));
        }
        let section = |name: &str| {
            let tensor = file.tensor(name).map_err(unread)?;
            if said.get(name) != Some(&sha256(tensor.data())) {
                return Err(damaged(&format!("the checksum of {name} does not fit")));
            }
            Ok(tensor)
        };
        let state = section(STATE)?;
        if said.get("inputs") != Some(&self.inputs) {
            return Err(refused(
                "it is of a run with another model, other texts, settings, device or number of threads; give the run the same inputs, or remove the folder and start anew"
                    .to_owned(),
            ));
        }
        for (name, to) in into.named() {
            let found = section(name)?;
            let values = found.data();
            if found.dtype() != Dtype::F32 || values.len() != 4 * to.len() {
                return Err(damaged(&format!("{name} has another size")));
            }
            for (to, b) in to.iter_mut().zip(values.chunks_exact(4)) {
                *to = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        let state = serde_json::from_slice(state.data()).map_err(|e| damaged(&e.to_string()))?;
        Ok(Some(state))
    }

    /// Starts `metrics.jsonl` with the steps and evaluations so far.
    pub fn open(&mut self, state: &State) -> Result<()> {
        self.sweep_out();
        let path = self.keep.folder.join(METRICS);
        let known = MetricsLine::of(&state.base, &state.steps, &state.epochs);
        write_atomic(&path, |w| known.iter().try_for_each(|m| line(w, m)))?;
        let file = OpenOptions::new().append(true).open(&path);
        self.metrics = Some(file.map_err(io_error(&path))?);
        self.written = Instant::now();
        Ok(())
    }

    /// Removes partial checkpoints that killed processes left.
    fn sweep_out(&self) {
        let entries = std::fs::read_dir(&self.keep.folder);
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(HIDDEN) {
                remove_if_dead(&entry.path());
            }
        }
    }

    /// Appends a line to `metrics.jsonl`.
    pub fn metric(&mut self, metric: &MetricsLine) -> Result<()> {
        if let Some(file) = &mut self.metrics {
            let mut text = Vec::new();
            line(&mut text, metric)
                .and_then(|()| file.write_all(&text))
                .map_err(io_error(&self.keep.folder.join(METRICS)))?;
        }
        Ok(())
    }

    /// Whether a checkpoint is due.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= self.keep.every
    }

    /// Writes a checkpoint.
    pub fn write(&mut self, state: &State, vectors: Vectors<'_>) -> Result<()> {
        let path = self.keep.folder.join(FILE);
        let failed = |e: std::io::Error| TrainError::Core(io_error(&path)(e));
        let text = serde_json::to_vec(state).map_err(|e| failed(e.into()))?;
        let mut tensors = vec![(STATE, Stored::bytes(&text))];
        for (name, values) in vectors.named() {
            tensors.push((name, Stored::floats(values)));
        }
        let mut about: BTreeMap<String, String> = (tensors.iter())
            .map(|(name, values)| ((*name).to_owned(), values.sha256()))
            .collect();
        about.insert("layout".to_owned(), LAYOUT.to_owned());
        about.insert("inputs".to_owned(), self.inputs.clone());
        about.insert(SEAL.to_owned(), seal(&about));
        let about: HashMap<String, String> = about.into_iter().collect();
        write_atomic_at(&path, |file| {
            safetensors::serialize_to_file(tensors, Some(about), file).map_err(|e| match e {
                SafeTensorError::IoError(e) => e,
                other => std::io::Error::other(other),
            })
        })?;
        self.written = Instant::now();
        Ok(())
    }
}

impl<'a> Vectors<'a> {
    fn named(self) -> [(&'static str, &'a mut [f32]); 4] {
        [
            ("weights", self.weights),
            ("first_moments", self.first),
            ("second_moments", self.second),
            ("best_weights", self.best),
        ]
    }
}

/// The checksum of the metadata: layout, inputs and the checksum of each section.
fn seal(about: &BTreeMap<String, String>) -> String {
    let lines = about.iter().map(|(key, value)| format!("{key} {value}\n"));
    sha256_of_parts(lines.map(String::into_bytes))
}

fn line(to: &mut impl Write, metric: &MetricsLine) -> std::io::Result<()> {
    serde_json::to_writer(&mut *to, metric)?;
    to.write_all(b"\n")
}

/// A vector as stored in the checkpoint.
struct Stored<'a> {
    length: usize,
    values: Values<'a>,
}

enum Values<'a> {
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
}

impl Stored<'_> {
    fn bytes(bytes: &[u8]) -> Stored<'_> {
        Stored {
            length: bytes.len(),
            values: Values::Bytes(bytes),
        }
    }

    fn floats(values: &[f32]) -> Stored<'_> {
        Stored {
            length: values.len(),
            values: Values::Floats(values),
        }
    }

    /// SHA-256 of the bytes that will be written, without all of them in memory.
    fn sha256(&self) -> String {
        const PART: usize = 1 << 16;
        match self.values {
            Values::Bytes(bytes) => sha256(bytes),
            Values::Floats(values) => {
                let part = |part: &[f32]| part.iter().flat_map(|v| v.to_le_bytes()).collect();
                sha256_of_parts(values.chunks(PART).map(part))
            }
        }
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::Bytes(_) => Dtype::U8,
            Values::Floats(_) => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        std::slice::from_ref(&self.length)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.values {
            Values::Bytes(bytes) => Cow::Borrowed(bytes),
            Values::Floats(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        match self.values {
            Values::Bytes(bytes) => bytes.len(),
            Values::Floats(values) => 4 * values.len(),
        }
    }
}
