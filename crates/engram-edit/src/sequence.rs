//! Edits one after another, or in batches, each on the model that the earlier ones gave, scored at some points.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{Device, Tensor};
use engram_core::{Score, SequencePoint, files};
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::delta::{Delta, Keys, Meta, down_projection};
use crate::editor::{Editor, Scored};
use crate::error::{EditError, Result};
use crate::probe::Probe;
use crate::reader::Reader;
use crate::request::{EditRequest, FactsAsked};

/// The metadata entry of a state: a checksum of all, and the progress as JSON.
const STATE: &str = "engram_sequence";

/// What is edited, and when it is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSettings {
    /// The layers that every edit changes.
    pub layers: Vec<usize>,
    /// Facts that are edited at once; 1 for methods that edit one fact.
    pub batch: usize,
    /// Numbers of edited facts after which the model is scored: at the end of the batch that reaches each, and after the
    /// last batch.
    pub at: BTreeSet<usize>,
    /// Maximum number of edited facts that are scored at a point, evenly spaced over all so far.
    pub scored: usize,
}

/// How far a sequence is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Facts taken, refused ones among them.
    pub taken: usize,
    /// Which of them were edited.
    pub edited: Vec<usize>,
    /// The points so far.
    pub points: Vec<SequencePoint>,
    /// Facts that the method refused, with the reason.
    pub left_out: Vec<String>,
}

/// A sequence of edits under way.
pub struct Sequence<'a> {
    editor: Editor<'a>,
    base: &'a Reader,
    cases: &'a [Scored],
    settings: SequenceSettings,
    held_out: Vec<Vec<u32>>,
    perplexity: f64,
    probe: Probe,
    now: Reader,
    keys: Keys,
    progress: Progress,
}

impl<'a> Sequence<'a> {
    /// A sequence that begins at the model of `base`, which `editor` edits. `held_out` are texts for perplexity (none: not
    /// measured).
    ///
    /// # Errors
    /// [`EditError::Request`] for a batch of several facts with a method that edits one, or of none;
    /// [`EditError::Model`] if the model cannot be run.
    pub fn of(
        editor: Editor<'a>,
        base: &'a Reader,
        cases: &'a [Scored],
        settings: SequenceSettings,
        held_out: Vec<Vec<u32>>,
    ) -> Result<Sequence<'a>> {
        let wrong = |why: &str| EditError::Request {
            request: "a batch".to_owned(),
            why: why.to_owned(),
        };
        if settings.batch == 0 || settings.scored == 0 {
            return Err(wrong("it has no fact"));
        }
        if settings.batch > 1 && !editor.is_together() {
            return Err(wrong("this method edits one fact at a time"));
        }
        Ok(Sequence {
            perplexity: base.perplexity(&held_out, usize::MAX)?,
            probe: Probe::of(base)?,
            editor,
            base,
            cases,
            settings,
            held_out,
            now: base.clone(),
            keys: Keys::new(),
            progress: Progress::default(),
        })
    }

    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether all facts are taken.
    pub fn is_done(&self) -> bool {
        self.progress.taken >= self.cases.len()
    }

    /// Edits the next batch, and scores the model if a point is reached.
    ///
    /// # Errors
    /// As [`Editor::edit`], but for errors of single requests, which are listed.
    pub fn step(&mut self) -> Result<()> {
        let from = self.progress.taken;
        let to = (from + self.settings.batch).min(self.cases.len());
        let left_out = &mut self.progress.left_out;
        let (mut places, mut requests): (Vec<usize>, Vec<EditRequest>) = Default::default();
        let mut seen = FactsAsked::default();
        for case in &self.cases[..from] {
            // A fact that repeats an earlier one is refused below; here only the first counts.
            let _ = seen.add(&case.case.request);
        }
        for (place, case) in (from..to).zip(&self.cases[from..to]) {
            match seen.add(&case.case.request) {
                Ok(()) => {
                    places.push(place);
                    requests.push(case.case.request.clone());
                }
                Err(error) => left_out.push(error.to_string()),
            }
        }
        let refused = &mut |request: &EditRequest, error: EditError| {
            left_out.push(error.named(&request.id));
        };
        let editor = self.editor.on(&self.now);
        let (kept, edited) = editor.edit_accepted(&requests, &self.settings.layers, refused)?;
        if !kept.is_empty() {
            let delta = Delta {
                meta: Meta::default(),
                changes: edited.changes,
            };
            let model = delta.lay_over(self.now.model())?;
            self.now = self.now.of_edited(model, &self.settings.layers)?;
            let mut fresh = Keys::new();
            delta.collect_keys(&mut fresh);
            self.editor.preserve(&fresh);
            for (layer, keys) in fresh {
                self.keys.entry(layer).or_default().extend(keys);
            }
        }
        let before = self.progress.edited.len();
        let kept = kept.into_iter().map(|i| places[i]);
        self.progress.edited.extend(kept);
        self.progress.taken = to;
        let now = self.progress.edited.len();
        let is_due = self.settings.at.range(before + 1..=now).next().is_some();
        if now > 0 && (is_due || self.is_done()) {
            let point = self.score()?;
            self.progress.points.push(point);
        }
        Ok(())
    }

    /// Scores the model as edited so far.
    fn score(&self) -> Result<SequencePoint> {
        let edited = &self.progress.edited;
        let count = edited.len().min(self.settings.scored);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for i in 0..count {
            let case = &self.cases[edited[i * edited.len() / count]];
            before.push(case.before());
            after.push(case.score(&self.now)?);
        }
        let perplexity = match self.held_out.is_empty() {
            true => None,
            false => Some([
                self.perplexity,
                self.now.perplexity(&self.held_out, usize::MAX)?,
            ]),
        };
        Ok(SequencePoint {
            edits: edited.len(),
            scored: count,
            before: Score::mean(before.iter()),
            after: Score::mean(after.iter()),
            perplexity,
            probe: self.probe.changed(&self.now)?,
        })
    }

    /// Writes the state: the edited weights, the keys of the edited facts and the progress. `inputs` identifies what the
    /// sequence is made from.
    ///
    /// # Errors
    /// [`EditError::Core`] if the file cannot be written.
    pub fn write(&self, path: &Path, inputs: &str) -> Result<()> {
        let wrong = |why: String| EditError::Delta {
            path: path.to_owned(),
            why,
        };
        let mut tensors: Vec<(String, Dtype, usize, Vec<u8>)> = Vec::new();
        for layer in &self.settings.layers {
            let (name, _) = down_projection(self.base.model(), *layer)?;
            let weight = self.now.model().parameter(&name)?;
            let weight = weight
                .to_device(&Device::Cpu)?
                .flatten_all()?
                .to_vec1::<f32>()?;
            let bytes = weight.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((format!("{layer}#weight"), Dtype::F32, weight.len(), bytes));
        }
        for (layer, keys) in &self.keys {
            let all = keys.iter().flatten();
            let bytes: Vec<u8> = all.flat_map(|v| v.to_le_bytes()).collect();
            let count = bytes.len() / 8;
            tensors.push((format!("{layer}#keys"), Dtype::F64, count, bytes));
        }
        let progress = serde_json::to_string(&self.progress).map_err(|e| wrong(e.to_string()))?;
        let checksum = checksum(
            inputs,
            &progress,
            tensors.iter().map(|t| (&t.0[..], &t.3[..])),
        );
        let mut views = Vec::with_capacity(tensors.len());
        for (name, kind, count, bytes) in &tensors {
            let view = TensorView::new(*kind, vec![*count], bytes);
            views.push((name.as_str(), view.map_err(|e| wrong(e.to_string()))?));
        }
        // One entry, because the order of several is not fixed.
        let meta = [(STATE.to_owned(), format!("{checksum}\n{progress}"))].into();
        let bytes = safetensors::serialize(views, Some(meta)).map_err(|e| wrong(e.to_string()))?;
        files::write_atomic(path, |w| std::io::Write::write_all(w, &bytes))?;
        Ok(())
    }

    /// Goes on where a state was written.
    ///
    /// # Errors
    /// [`EditError::Sequence`] for a file that is damaged or of other inputs; [`EditError::Core`] if it cannot be read.
    pub fn resume(&mut self, path: &Path, inputs: &str) -> Result<()> {
        let bytes = files::read(path)?;
        let damaged = || EditError::Sequence {
            path: path.to_owned(),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|_| damaged())?;
        let file = SafeTensors::deserialize(&bytes).map_err(|_| damaged())?;
        let meta = header.metadata().clone().unwrap_or_default();
        let state = meta.get(STATE).and_then(|state| state.split_once('\n'));
        let (sum, progress) = state.ok_or_else(damaged)?;
        let tensors: BTreeMap<String, _> = file.tensors().into_iter().collect();
        let parts = |suffix: &str| -> Result<Vec<(usize, &[u8])>> {
            let of = tensors.iter().filter_map(|(name, tensor)| {
                let layer = name.strip_suffix(suffix)?.parse().ok()?;
                Some((layer, tensor.data()))
            });
            let mut found: Vec<(usize, &[u8])> = of.collect();
            found.sort_by_key(|(layer, _)| *layer);
            Ok(found)
        };
        let (weights, keys) = (parts("#weight")?, parts("#keys")?);
        let named = |parts: &[(usize, &'_ [u8])], suffix: &str| -> Vec<(String, Vec<u8>)> {
            let one =
                |(layer, bytes): &(usize, &[u8])| (format!("{layer}{suffix}"), bytes.to_vec());
            parts.iter().map(one).collect()
        };
        let all = [named(&weights, "#weight"), named(&keys, "#keys")].concat();
        let found = checksum(inputs, progress, all.iter().map(|t| (&t.0[..], &t.1[..])));
        let layers: Vec<usize> = weights.iter().map(|(layer, _)| *layer).collect();
        if found != sum || layers != self.settings.layers {
            return Err(damaged());
        }
        let progress: Progress = serde_json::from_str(progress).map_err(|_| damaged())?;
        let mut replaced = Vec::with_capacity(weights.len());
        for (layer, bytes) in weights {
            let (name, _) = down_projection(self.base.model(), layer)?;
            let old = self.base.model().parameter(&name)?;
            let values = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b));
            let values: Vec<f32> = values.collect();
            replaced.push((name, Tensor::from_vec(values, old.dims(), old.device())?));
        }
        let model = self.base.model().with_parameters(replaced)?;
        self.now = self.base.of_edited(model, &self.settings.layers)?;
        let width = self.base.model().architecture().d_mlp;
        self.keys = Keys::new();
        for (layer, bytes) in keys {
            let values = bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b));
            let values: Vec<f64> = values.collect();
            let of_layer = values.chunks(width).map(<[f64]>::to_vec).collect();
            self.keys.insert(layer, of_layer);
        }
        self.editor.preserve(&self.keys);
        self.progress = progress;
        Ok(())
    }
}

fn checksum<'b>(
    inputs: &str,
    progress: &str,
    tensors: impl Iterator<Item = (&'b str, &'b [u8])>,
) -> String {
    let own = [inputs, progress].map(|text| files::sha256(text.as_bytes()).into_bytes());
    let parts = tensors.flat_map(|(name, bytes)| {
        [name, &files::sha256(bytes)].map(|part| part.as_bytes().to_vec())
    });
    files::sha256_of_parts(own.into_iter().chain(parts))
}
