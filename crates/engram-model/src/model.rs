//! A model and its tokenizer, whatever the family.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use engram_core::SiteTable;

use crate::checkpoint::{self, Parameters};
use crate::config::Gpt2Config;
use crate::error::{ModelError, Result};
use crate::gpt2::{Gpt2, site_table};
use crate::tap::{NoTap, Tap};
use crate::tokenizer::Tokenizer;
use crate::training::Flat;

/// The sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Number of MLP neurons in a block.
    pub d_mlp: usize,
    /// Number of embeddings.
    pub vocab: usize,
    /// Longest prompt.
    pub context: usize,
    /// Number of parameters.
    pub parameters: usize,
}

/// A model with its tokenizer.
#[derive(Debug, Clone)]
pub struct Model {
    network: Gpt2,
    parameters: Parameters,
    tokenizer: Tokenizer,
    folder: PathBuf,
}

impl Model {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Any that a checkpoint can have; see [`ModelError`].
    pub fn read(folder: &Path, device: &Device) -> Result<Model> {
        let path = folder.join(checkpoint::CONFIG);
        if !path.exists() {
            return Err(ModelError::Missing {
                folder: folder.to_owned(),
                file: checkpoint::CONFIG.to_owned(),
            });
        }
        let config = Gpt2Config::read(&path)?;
        let tokenizer = Tokenizer::read(folder)?;
        let highest = tokenizer.highest_id();
        if highest as usize >= config.vocab_size {
            return Err(ModelError::Vocabulary {
                folder: folder.to_owned(),
                highest,
                vocab: config.vocab_size,
            });
        }
        let parameters = checkpoint::read(folder, &config, device)?;
        Model::assemble(&config, parameters, tokenizer, folder.to_owned())
    }

    /// A model from its parts: parameters by name as [`Gpt2Config::parameters`] lists them.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`].
    pub fn from_parts(
        config: &Gpt2Config,
        parameters: Parameters,
        tokenizer: Tokenizer,
    ) -> Result<Model> {
        let folder = PathBuf::from("(in memory)");
        Model::assemble(config, parameters, tokenizer, folder)
    }

    /// A model with random weights as GPT-2's were drawn: normal with standard deviation 0.02, the
    /// projections onto the residual stream with 0.02/√(2·layers); biases 0, LayerNorm weights 1.
    ///
    /// # Errors
    /// As the tensor library's.
    pub fn random(config: &Gpt2Config, tokenizer: Tokenizer, seed: u64) -> Result<Model> {
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
        Model::from_parts(config, parameters, tokenizer)
    }

    fn assemble(
        config: &Gpt2Config,
        parameters: Parameters,
        tokenizer: Tokenizer,
        folder: PathBuf,
    ) -> Result<Model> {
        let network = Gpt2::new(config, |name| {
            parameters
                .get(name)
                .cloned()
                .ok_or_else(|| ModelError::MissingTensor {
                    path: folder.join(checkpoint::WEIGHTS),
                    name: name.to_owned(),
                })
        })?;
        Ok(Model {
            network,
            parameters,
            tokenizer,
            folder,
        })
    }

    /// Writes the checkpoint: configuration, weights, tokenizer.
    ///
    /// # Errors
    /// As the file system's.
    pub fn write(&self, folder: &Path) -> Result<()> {
        checkpoint::write(folder, self.network.config(), &self.parameters)?;
        self.tokenizer.write(folder)
    }

    /// The slow twin of [`crate::training`]: the model with every parameter a variable that gradients
    /// reach, and those variables by name, in the order of the forward pass. Values are copied; later
    /// changes to the variables are seen by the model.
    ///
    /// # Errors
    /// As the tensor library's.
    pub fn trainable(&self) -> Result<(Model, Vec<(String, Var)>)> {
        let mut variables = Vec::with_capacity(self.parameters.len());
        let mut parameters = Parameters::new();
        for (name, tensor) in &self.parameters {
            let variable = Var::from_tensor(&tensor.copy()?)?;
            parameters.insert(name.clone(), variable.as_tensor().clone());
            variables.push((name.clone(), variable));
        }
        let (tokenizer, folder) = (self.tokenizer.clone(), self.folder.clone());
        let model = Model::assemble(self.network.config(), parameters, tokenizer, folder)?;
        Ok((model, variables))
    }

    /// The same model with one dropout probability in place of its configuration's three.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`].
    pub fn with_dropout(&self, probability: f64) -> Result<Model> {
        let mut config = self.config().clone();
        config.embd_pdrop = probability;
        config.attn_pdrop = probability;
        config.resid_pdrop = probability;
        let (parameters, tokenizer) = (self.parameters.clone(), self.tokenizer.clone());
        Model::assemble(&config, parameters, tokenizer, self.folder.clone())
    }

    /// The same model on another device.
    ///
    /// # Errors
    /// Where it does not fit there.
    pub fn to_device(&self, device: &Device) -> Result<Model> {
        let moved = |(name, tensor): (&String, &Tensor)| -> Result<(String, Tensor)> {
            Ok((name.clone(), tensor.to_device(device)?))
        };
        let parameters = self.parameters.iter().map(moved).collect::<Result<_>>()?;
        let (tokenizer, folder) = (self.tokenizer.clone(), self.folder.clone());
        Model::assemble(self.config(), parameters, tokenizer, folder)
    }

    /// Logits of a batch of prompts of one length, [batch, pos, vocab], through the taps.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward(&self, ids: &[Vec<u32>], tap: &mut dyn Tap) -> Result<Tensor> {
        self.network.forward(ids, tap, None)
    }

    /// Logits from position `from` on, [batch, pos − from, vocab], through the taps: as
    /// [`Model::forward`], without the work of unembedding the positions before.
    ///
    /// # Errors
    /// As [`Gpt2::forward_from`].
    pub fn forward_from(&self, ids: &[Vec<u32>], from: usize, tap: &mut dyn Tap) -> Result<Tensor> {
        self.network.forward_from(ids, from, tap)
    }

    /// Logits with dropout masks drawn from `seed`, for the slow twin of [`crate::training`]; gradients
    /// reach the variables of [`Model::trainable`].
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn forward_training(&self, ids: &[Vec<u32>], seed: u64) -> Result<Tensor> {
        self.network.forward(ids, &mut NoTap, Some(seed))
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The folder that the checkpoint was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The device that the weights are on.
    pub fn device(&self) -> &Device {
        self.network.device()
    }

    /// The family's name: `gpt2`.
    pub fn family(&self) -> &str {
        &self.network.config().model_type
    }

    /// The end-of-text token: the configuration's, or the tokenizer's `<|endoftext|>`.
    pub fn end_of_text(&self) -> Option<u32> {
        let config = self.network.config();
        config
            .eos_token_id
            .filter(|id| (*id as usize) < config.vocab_size)
            .or_else(|| self.tokenizer.id("<|endoftext|>"))
    }

    /// Every parameter by name, in the order of the forward pass.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// A parameter by name, as [`Gpt2Config::parameters`] lists them.
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

    /// The configuration.
    pub fn config(&self) -> &Gpt2Config {
        self.network.config()
    }

    /// The parameters side by side, as a [`crate::training::Pass`] takes them.
    ///
    /// # Errors
    /// As the tensor library's.
    pub fn flat(&self) -> Result<Flat> {
        Flat::of(self.config(), &self.parameters)
    }

    /// The same architecture, tokenizer and device with other weights.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] where they are of another architecture.
    pub fn with_weights(&self, weights: &Flat) -> Result<Model> {
        let parameters = weights.parameters(self.device())?;
        let (tokenizer, folder) = (self.tokenizer.clone(), self.folder.clone());
        Model::assemble(self.config(), parameters, tokenizer, folder)
    }

    /// The sites and every name that reaches them.
    pub fn sites(&self) -> SiteTable {
        site_table(self.network.config().n_layer)
    }

    /// The sizes.
    pub fn shape(&self) -> Shape {
        let config = self.network.config();
        Shape {
            layers: config.n_layer,
            d_model: config.n_embd,
            heads: config.n_head,
            d_head: config.d_head(),
            d_mlp: config.d_mlp(),
            vocab: config.vocab_size,
            context: config.n_positions,
            parameters: self.parameters.values().map(Tensor::elem_count).sum(),
        }
    }
}
