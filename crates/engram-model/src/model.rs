//! A language model of any family with its tokenizer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use engram_core::{Bos, SiteTable};

use crate::architecture::{Architecture, Shape};
use crate::checkpoint::{self, Parameters, Stored};
use crate::error::{ModelError, Result};
use crate::families::{self, Family, Gpt2Config};
use crate::tap::{NoTap, Tap};
use crate::tokenizer::Tokenizer;
use crate::training::Flat;
use crate::transformer::{TrainingPass, Transformer};

/// A model with its tokenizer.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    family: Arc<dyn Family>,
    network: Transformer,
    parameters: Parameters,
    tokenizer: Tokenizer,
    folder: PathBuf,
    unused: Vec<String>,
}

/// Fails if the tokenizer has ids without an embedding.
fn fits(tokenizer: &Tokenizer, family: &dyn Family, config: &Path) -> Result<()> {
    let (highest, vocab) = (tokenizer.highest_id(), family.architecture().vocab);
    match (highest as usize) < vocab {
        true => Ok(()),
        false => Err(ModelError::Vocabulary {
            path: tokenizer.source().to_owned(),
            config: config.to_owned(),
            highest,
            vocab,
        }),
    }
}

impl LanguageModel {
    /// Reads a checkpoint: a folder in the layout of the transformers library, a GGUF file, or a folder with a GGUF
    /// file and no `config.json`.
    ///
    /// # Errors
    /// Any error of a checkpoint; see [`ModelError`].
    pub fn read(folder: &Path, device: &Device) -> Result<LanguageModel> {
        if let Some(file) = checkpoint::gguf_file(folder)? {
            return LanguageModel::read_gguf(&file, device);
        }
        let path = folder.join(checkpoint::CONFIG);
        if !path.exists() {
            return Err(ModelError::Missing {
                folder: folder.to_owned(),
                file: checkpoint::CONFIG.to_owned(),
            });
        }
        let family = families::read(&path)?;
        let tokenizer = Tokenizer::read(folder)?;
        fits(&tokenizer, &*family, &path)?;
        let stored = Stored::open(folder)?;
        let family = stored.family(family)?;
        let parameters = stored.parameters(&*family, device)?;
        let unused = stored.unused(&*family)?;
        let model = LanguageModel::assemble(family, parameters, tokenizer, folder.to_owned())?;
        Ok(LanguageModel { unused, ..model })
    }

    fn read_gguf(path: &Path, device: &Device) -> Result<LanguageModel> {
        let (file, family) = families::open_gguf(path)?;
        let tokenizer = file.tokenizer()?;
        fits(&tokenizer, &*family, path)?;
        let parameters = families::gguf_parameters(&file, &*family, device)?;
        LanguageModel::assemble(family, parameters, tokenizer, path.to_owned())
    }

    /// Bytes that [`LanguageModel::read`] allocates for the weights of a checkpoint, from its configuration alone.
    ///
    /// # Errors
    /// Those of [`LanguageModel::read`] for the configuration.
    pub fn bytes_of(path: &Path) -> Result<u64> {
        let family = match checkpoint::gguf_file(path)? {
            Some(file) => families::open_gguf(&file)?.1,
            None => families::read(&path.join(checkpoint::CONFIG))?,
        };
        // The sizes that a configuration claims may overflow.
        let values = |shape: &[usize]| {
            let sizes = shape.iter().map(|size| *size as u64);
            sizes.fold(1, u64::saturating_mul)
        };
        let all = family.parameters();
        let all = all.iter().map(|(_, shape)| values(shape));
        Ok(all.fold(0, u64::saturating_add).saturating_mul(4))
    }

    /// A GPT-2 from its parts; parameters are named as in [`Gpt2Config::parameters`].
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if a parameter is missing.
    pub fn from_parts(
        config: &Gpt2Config,
        parameters: Parameters,
        tokenizer: Tokenizer,
    ) -> Result<LanguageModel> {
        LanguageModel::of(Arc::new(config.clone()), parameters, tokenizer)
    }

    /// A model of any family from its parts; parameters are named as in [`Family::parameters`].
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if a parameter is missing.
    pub fn of(
        family: Arc<dyn Family>,
        parameters: Parameters,
        tokenizer: Tokenizer,
    ) -> Result<LanguageModel> {
        let folder = PathBuf::from("(in memory)");
        LanguageModel::assemble(family, parameters, tokenizer, folder)
    }

    /// A model with random weights, initialised like GPT-2: normal with standard deviation 0.02, projections onto the
    /// residual stream with 0.02/√(2·layers); biases 0, LayerNorm weights 1.
    ///
    /// # Errors
    /// Those of the tensor library.
    pub fn random(config: &Gpt2Config, tokenizer: Tokenizer, seed: u64) -> Result<LanguageModel> {
        use rand::SeedableRng;
        use rand_distr::Distribution;
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let narrow = 1.0 / (2.0 * config.n_layer as f32).sqrt();
        let mut parameters = Parameters::new();
        for (name, shape) in config.parameters() {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = if name.ends_with(".bias") {
                vec![0.0; count]
            } else if name.split('.').any(|part| part.starts_with("ln_")) {
                vec![1.0; count]
            } else {
                let scale = match name.contains("c_proj") {
                    true => 0.02 * narrow,
                    false => 0.02,
                };
                let normal = rand_distr::StandardNormal;
                let mut draw = || -> f32 { normal.sample(&mut random) };
                (0..count).map(|_| scale * draw()).collect()
            };
            parameters.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        LanguageModel::from_parts(config, parameters, tokenizer)
    }

    fn assemble(
        family: Arc<dyn Family>,
        parameters: Parameters,
        tokenizer: Tokenizer,
        folder: PathBuf,
    ) -> Result<LanguageModel> {
        let network = Transformer::new(&*family, &mut |name| {
            parameters
                .get(name)
                .cloned()
                .ok_or_else(|| ModelError::MissingTensor {
                    path: folder.join(checkpoint::WEIGHTS),
                    name: name.to_owned(),
                })
        })?;
        Ok(LanguageModel {
            family,
            network,
            parameters,
            tokenizer,
            folder,
            unused: Vec::new(),
        })
    }

    /// Writes the checkpoint: configuration, weights, tokenizer.
    ///
    /// # Errors
    /// As [`checkpoint::write`] and [`Tokenizer::write`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        checkpoint::write(folder, &*self.family, &self.parameters)?;
        self.tokenizer.write(folder)
    }

    /// A model for automatic differentiation, to compare with [`crate::training`]: every parameter is a variable.
    /// Returns the variables by name, in the order of the forward pass. Values are copied; changes to the variables
    /// affect the returned model.
    ///
    /// # Errors
    /// Those of the tensor library.
    pub fn trainable(&self) -> Result<(LanguageModel, Vec<(String, Var)>)> {
        let mut variables = Vec::with_capacity(self.parameters.len());
        let mut parameters = Parameters::new();
        for (name, tensor) in &self.parameters {
            let variable = Var::from_tensor(&tensor.copy()?)?;
            parameters.insert(name.clone(), variable.as_tensor().clone());
            variables.push((name.clone(), variable));
        }
        let (tokenizer, folder) = (self.tokenizer.clone(), self.folder.clone());
        let model = LanguageModel::assemble(self.family.clone(), parameters, tokenizer, folder)?;
        Ok((model, variables))
    }

    /// The same model with one dropout probability instead of the three of its configuration.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if a parameter is missing.
    pub fn with_dropout(&self, probability: f64) -> Result<LanguageModel> {
        let mut config = self.gpt2("training with dropout")?.clone();
        config.embd_pdrop = probability;
        config.attn_pdrop = probability;
        config.resid_pdrop = probability;
        let (parameters, tokenizer) = (self.parameters.clone(), self.tokenizer.clone());
        LanguageModel::assemble(Arc::new(config), parameters, tokenizer, self.folder.clone())
    }

    /// The same model on another device.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if it does not fit there.
    pub fn to_device(&self, device: &Device) -> Result<LanguageModel> {
        let moved = |(name, tensor): (&String, &Tensor)| -> Result<(String, Tensor)> {
            Ok((name.clone(), tensor.to_device(device)?))
        };
        let parameters = self.parameters.iter().map(moved).collect::<Result<_>>()?;
        let (tokenizer, folder) = (self.tokenizer.clone(), self.folder.clone());
        LanguageModel::assemble(self.family.clone(), parameters, tokenizer, folder)
    }

    /// Logits of a batch of prompts of equal length, [batch, pos, vocab]. Each site's value passes through `tap`.
    ///
    /// # Errors
    /// As [`Transformer::forward`].
    pub fn forward(&self, ids: &[Vec<u32>], tap: &mut dyn Tap) -> Result<Tensor> {
        self.network.forward(ids, tap, TrainingPass::default())
    }

    /// Logits from position `from` on, [batch, pos − from, vocab]. As [`LanguageModel::forward`], but earlier positions are not
    /// unembedded.
    ///
    /// # Errors
    /// As [`Transformer::forward_from`].
    pub fn forward_from(&self, ids: &[Vec<u32>], from: usize, tap: &mut dyn Tap) -> Result<Tensor> {
        self.network.forward_from(ids, from, tap)
    }

    /// Logits with dropout and masked padding, with gradients for the variables of [`LanguageModel::trainable`].
    ///
    /// # Errors
    /// As [`Transformer::forward`].
    pub fn forward_training(&self, ids: &[Vec<u32>], training: TrainingPass<'_>) -> Result<Tensor> {
        self.network.forward(ids, &mut NoTap, training)
    }

    /// The same model with another setting of begin-of-text.
    ///
    /// # Errors
    /// As [`Tokenizer::with_bos`].
    pub fn with_bos(mut self, bos: Bos) -> Result<LanguageModel> {
        self.tokenizer = self.tokenizer.with_bos(bos)?;
        Ok(self)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The path that the checkpoint was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of tensors in the checkpoint that the network does not use, such as a head for another task.
    pub fn unused(&self) -> &[String] {
        &self.unused
    }

    /// The device that the weights are on.
    pub fn device(&self) -> &Device {
        self.network.device()
    }

    /// The family's name, as `model_type` has it: `gpt2`, `llama`.
    pub fn family(&self) -> &str {
        &self.network.architecture().family
    }

    /// The end-of-text token: the configuration's, or the tokenizer's `<|endoftext|>`.
    pub fn end_of_text(&self) -> Option<u32> {
        let vocab = self.network.architecture().vocab;
        let named = self.family.end_of_text();
        named
            .filter(|id| (*id as usize) < vocab)
            .or_else(|| self.tokenizer.id("<|endoftext|>"))
    }

    /// Every parameter by name, in the order of the forward pass.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// A parameter by name, as [`Family::parameters`] lists them.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`].
    pub fn parameter(&self, name: &str) -> Result<Tensor> {
        let found = self.parameters.get(name).cloned();
        found.ok_or_else(|| ModelError::MissingTensor {
            path: self.folder.join(checkpoint::WEIGHTS),
            name: name.to_owned(),
        })
    }

    /// The description of the network.
    pub fn architecture(&self) -> &Architecture {
        self.network.architecture()
    }

    /// The network.
    pub fn network(&self) -> &Transformer {
        &self.network
    }

    /// The configuration of a GPT-2; `what` names the feature that needs it.
    ///
    /// # Errors
    /// [`ModelError::OnlyGpt2`] for another family.
    pub fn gpt2(&self, what: &'static str) -> Result<&Gpt2Config> {
        self.family.gpt2().ok_or_else(|| ModelError::OnlyGpt2 {
            what,
            family: self.family().to_owned(),
        })
    }

    /// The parameters as one vector, for [`crate::training::Pass`].
    ///
    /// # Errors
    /// [`ModelError::OnlyGpt2`] for another family; those of the tensor library.
    pub fn flat(&self) -> Result<Flat> {
        Flat::of(self.gpt2("training")?, &self.parameters)
    }

    /// The same architecture, tokenizer and device with other weights.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if they are of another architecture.
    pub fn with_weights(&self, weights: &Flat) -> Result<LanguageModel> {
        let parameters = weights.parameters(self.device())?;
        let (tokenizer, folder) = (self.tokenizer.clone(), self.folder.clone());
        LanguageModel::assemble(self.family.clone(), parameters, tokenizer, folder)
    }

    /// The same model with some parameters replaced, by name.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] for a name that the model lacks; [`ModelError::TensorShape`] for another shape.
    pub fn with_parameters(
        &self,
        replaced: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<LanguageModel> {
        let mut parameters = self.parameters.clone();
        for (name, tensor) in replaced {
            let old = self.parameter(&name)?;
            if old.dims() != tensor.dims() {
                return Err(ModelError::TensorShape {
                    path: self.folder.join(checkpoint::WEIGHTS),
                    expected: old.dims().to_vec(),
                    found: tensor.dims().to_vec(),
                    name,
                });
            }
            parameters.insert(name, tensor);
        }
        let (tokenizer, folder) = (self.tokenizer.clone(), self.folder.clone());
        LanguageModel::assemble(self.family.clone(), parameters, tokenizer, folder)
    }

    /// The parameter that a weight is, or is a transposed view of, and whether it is transposed (stored as [out, in]).
    /// `None` if the weight is only a part of a parameter.
    pub fn stored(&self, weight: &Tensor) -> Option<(String, bool)> {
        let (of_weight, layout) = weight.storage_and_layout();
        let whole = self.parameters.iter().find(|(_, parameter)| {
            let same = std::ptr::eq(&*parameter.storage_and_layout().0, &*of_weight);
            same && parameter.elem_count() == weight.elem_count()
        })?;
        Some((whole.0.clone(), !layout.is_contiguous()))
    }

    /// The sites of the model and all their names.
    pub fn sites(&self) -> SiteTable {
        let architecture = self.architecture();
        SiteTable::new(
            architecture.layers(),
            architecture.sites(),
            self.family.modules(),
        )
    }

    /// The sizes of the model.
    pub fn shape(&self) -> Shape {
        let parameters = self.parameters.values().map(Tensor::elem_count).sum();
        self.architecture().shape(parameters)
    }
}
