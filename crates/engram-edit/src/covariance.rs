//! The uncentred covariance C of an MLP's keys: the mean of k·kᵀ over the tokens of a text sample (Meng et al. 2022,
//! eq. 2 and appendix E.1). Edits minimise the change of outputs for these keys.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use engram_core::files;
use engram_model::LanguageModel;
use engram_model::wavefront::Run;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{SafeTensors, TensorView};

use crate::cholesky::Cholesky;
use crate::error::{EditError, Result};
use crate::reader::{Reader, run};

/// Maximum number of tokens summed in float32 before the sum is added in float64.
const BLOCK: usize = 1024;

/// C of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Covariance {
    /// The layer.
    pub layer: usize,
    /// Number of tokens in the mean.
    pub tokens: u64,
    /// Number of neurons.
    pub width: usize,
    /// Values, [width, width], row-major.
    pub values: Vec<f64>,
}

impl Covariance {
    /// The Cholesky factor of C + ridge·mean(diag C)·I.
    ///
    /// # Errors
    /// [`EditError::Singular`] if that matrix is not positive definite.
    pub fn factor(&self, ridge: f64) -> Result<Cholesky> {
        let n = self.width;
        let mut values = self.values.clone();
        let mean = (0..n).map(|i| values[i * n + i]).sum::<f64>() / n.max(1) as f64;
        for i in 0..n {
            values[i * n + i] += ridge * mean;
        }
        Cholesky::of(values, n).ok_or(EditError::Singular {
            layer: self.layer,
            tokens: self.tokens,
            width: n,
        })
    }
}

/// Which texts a sample has, and how many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleSettings {
    /// Maximum number of tokens in the sample.
    pub tokens: usize,
    /// Whether each text is followed by its sentences, each as a text by itself. A key depends on the preceding text:
    /// prompts are short, and keys of single sentences resemble theirs more. Texts stay in the sample, because an edit
    /// that leaves alone only short texts' keys may change those of long ones without limit.
    pub sentences: bool,
}

/// The texts of a sample, tokenised and cut at the context length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// The token ids of each text.
    pub texts: Vec<Vec<u32>>,
}

impl Sample {
    /// Takes texts in order until there are enough tokens.
    ///
    /// # Errors
    /// [`EditError::Model`] if a text cannot be tokenised; [`EditError::NoTexts`] if there is none.
    pub fn of<'a>(
        model: &LanguageModel,
        texts: impl IntoIterator<Item = &'a str>,
        taking: SampleSettings,
    ) -> Result<Sample> {
        let context = model.architecture().context.min(BLOCK);
        let mut sample = Sample::default();
        let mut left = taking.tokens;
        let parts = texts.into_iter().flat_map(|text| match taking.sentences {
            true => {
                let mut parts = vec![text];
                parts.extend(sentences(text));
                parts
            }
            false => vec![text],
        });
        for text in parts {
            if left == 0 {
                break;
            }
            let mut ids = model.tokenizer().encode(text)?;
            ids.truncate(context.min(left));
            left -= ids.len();
            if !ids.is_empty() {
                sample.texts.push(ids);
            }
        }
        match sample.texts.is_empty() {
            true => Err(EditError::NoTexts),
            false => Ok(sample),
        }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    /// A hash that identifies the sample.
    pub fn hash(&self) -> String {
        let bytes = |ids: &Vec<u32>| {
            let mut bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            bytes.extend(u32::MAX.to_le_bytes());
            bytes
        };
        files::sha256_of_parts(self.texts.iter().map(bytes))
    }
}

/// Splits a text after each `.`, `?` or `!` that is followed by white space and a capital letter or a digit.
/// Abbreviations cause some wrong splits, which do not matter for a sample.
pub(crate) fn sentences(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, mark) in text.char_indices() {
        let after = &text[at + mark.len_utf8()..];
        let rest = after.trim_start();
        let begins = rest.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
        if ".?!".contains(mark) && rest.len() < after.len() && begins {
            parts.push(text[from..=at].trim());
            from = at + 1;
        }
    }
    parts.push(text[from..].trim());
    parts
}

/// C of some layers, in one pass over the sample. k·kᵀ is summed in float32 over blocks of about 1,000 tokens, and the
/// blocks in float64. `progress` gets the number of tokens done.
///
/// # Errors
/// [`EditError::Model`] if the model cannot be run, or lacks a layer.
pub fn covariances(
    reader: &Reader,
    sample: &Sample,
    layers: &[usize],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Covariance>> {
    for layer in layers {
        crate::tokens::check_layer(reader.model(), *layer)?;
    }
    let width = reader.model().architecture().d_mlp;
    let mut sums: Vec<Vec<f64>> = layers.iter().map(|_| vec![0.0; width * width]).collect();
    let mut rest = &sample.texts[..];
    let mut done = 0;
    while !rest.is_empty() {
        let mut taken = 0;
        let fits = |text: &&Vec<u32>| {
            taken += text.len();
            taken <= BLOCK
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (texts, after) = rest.split_at(count);
        rest = after;
        let runs: Vec<Run> = texts.iter().map(|text| run(text)).collect();
        let positions: usize = texts.iter().map(Vec::len).sum();
        let keys = reader.packed().neurons(&runs, layers)?;
        for (keys, sum) in keys.into_iter().zip(&mut sums) {
            let keys = Tensor::from_vec(keys, (positions, width), &Device::Cpu)?;
            let block = keys.t()?.contiguous()?.matmul(&keys)?;
            let block = block.flatten_all()?.to_vec1::<f32>()?;
            let each = sum.par_chunks_mut(width).zip(block.par_chunks(width));
            each.for_each(|(sum, block)| {
                for (s, b) in sum.iter_mut().zip(block) {
                    *s += f64::from(*b);
                }
            });
        }
        done += positions;
        progress(done);
    }
    let found = layers.iter().zip(sums).map(|(layer, sum)| Covariance {
        layer: *layer,
        tokens: done as u64,
        width,
        values: sum.into_iter().map(|v| v / done.max(1) as f64).collect(),
    });
    Ok(found.collect())
}

/// Covariances on disk. The file name is a hash of the model, the texts, the layer and the number of tokens; the file
/// has a checksum of its values.
#[derive(Debug, Clone)]
pub struct Statistics {
    folder: PathBuf,
    model_hash: String,
}

impl Statistics {
    /// The covariances of the model with this hash, in a folder that need not exist.
    pub fn of(folder: &Path, model_hash: &str) -> Statistics {
        Statistics {
            folder: folder.to_owned(),
            model_hash: model_hash.to_owned(),
        }
    }

    /// C of some layers: read from disk if present, otherwise computed in one pass and stored.
    ///
    /// # Errors
    /// As [`covariances`]; [`EditError::Core`] if a file cannot be read or written; [`EditError::Statistics`] if one is
    /// damaged.
    pub fn covariances(
        &self,
        reader: &Reader,
        sample: &Sample,
        layers: &[usize],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Covariance>> {
        let texts = sample.hash();
        let tokens = sample.tokens() as u64;
        let path = |layer: usize| {
            let key = format!("{}\n{texts}\n{layer}\n{tokens}", self.model_hash);
            let name = &files::sha256(key.as_bytes())[..32];
            self.folder.join(format!("covariance-{name}.safetensors"))
        };
        let width = reader.model().architecture().d_mlp;
        let mut found = Vec::with_capacity(layers.len());
        for &layer in layers {
            found.push(read(&path(layer), layer, tokens, width)?);
        }
        let missing = layers.iter().zip(&found).filter(|(_, kept)| kept.is_none());
        let missing: Vec<usize> = missing.map(|(layer, _)| *layer).collect();
        if !missing.is_empty() {
            let fresh = covariances(reader, sample, &missing, progress)?;
            for (place, covariance) in found.iter_mut().filter(|f| f.is_none()).zip(fresh) {
                write(&path(covariance.layer), &covariance)?;
                *place = Some(covariance);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// Name of the only tensor: the lower triangle, row-major.
const TENSOR: &str = "covariance";

/// Key of the only metadata entry: SHA-256 of the tensor's bytes.
const CHECKSUM: &str = "sha256";

/// `None` if there is no file, or one of a version without checksums.
fn read(path: &Path, layer: usize, tokens: u64, width: usize) -> Result<Option<Covariance>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(files::io_error(path))?;
    let damaged = |why: String| EditError::Statistics {
        path: path.to_owned(),
        why,
    };
    let wrong = |e: safetensors::SafeTensorError| damaged(e.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
    let file = SafeTensors::deserialize(&bytes).map_err(wrong)?;
    let Some(checksum) = header.metadata().as_ref().and_then(|m| m.get(CHECKSUM)) else {
        return Ok(None);
    };
    let tensor = file.tensor(TENSOR).map_err(wrong)?;
    if tensor.dtype() != Dtype::F64 || tensor.shape() != [width * (width + 1) / 2] {
        return Err(damaged(format!("it is not {width} wide")));
    }
    if files::sha256(tensor.data()) != *checksum {
        return Err(damaged(
            "its checksum is not that of its numbers".to_owned(),
        ));
    }
    let mut values = vec![0f64; width * width];
    let mut numbers = tensor.data().as_chunks::<8>().0.iter();
    for i in 0..width {
        for (j, bytes) in numbers.by_ref().take(i + 1).enumerate() {
            let value = f64::from_le_bytes(*bytes);
            values[i * width + j] = value;
            values[j * width + i] = value;
        }
    }
    Ok(Some(Covariance {
        layer,
        tokens,
        width,
        values,
    }))
}

fn write(path: &Path, covariance: &Covariance) -> Result<()> {
    let n = covariance.width;
    let lower = (0..n).flat_map(|i| &covariance.values[i * n..i * n + i + 1]);
    let bytes: Vec<u8> = lower.flat_map(|v| v.to_le_bytes()).collect();
    let wrong = |e: safetensors::SafeTensorError| EditError::Delta {
        path: path.to_owned(),
        why: e.to_string(),
    };
    let checksum = HashMap::from([(CHECKSUM.to_owned(), files::sha256(&bytes))]);
    let view = TensorView::new(Dtype::F64, vec![n * (n + 1) / 2], &bytes).map_err(wrong)?;
    let bytes = safetensors::serialize([(TENSOR, view)], Some(checksum)).map_err(wrong)?;
    files::write_atomic(path, |w| std::io::Write::write_all(w, &bytes))?;
    Ok(())
}

/// A tensor's elements in float64.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::sentences;

    #[test]
    fn texts_are_cut_into_sentences() {
        let text = "Doses of 3.5 mg. helped. Why? 12 did not.";
        let found = ["Doses of 3.5 mg. helped.", "Why?", "12 did not."];
        assert_eq!(sentences(text), found);
        assert_eq!(sentences("One"), ["One"]);
        assert_eq!(sentences(""), [""]);
    }
}
