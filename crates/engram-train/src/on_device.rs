//! Training steps on a device other than the CPU: the forward pass with taps, the tensor library's automatic
//! differentiation, AdamW on tensors. The formulas are those of [`crate::workers`] and [`crate::adamw`]; tests compare
//! the two.

use candle_core::{Device, Tensor, Var};
use engram_model::kernels::cross_entropy;
use engram_model::training::{Flat, Sequence};
use engram_model::{LanguageModel, TrainingPass};

use crate::adamw::{AdamW, BETA_1, EPSILON, StepResult};
use crate::error::Result;

/// Maximum number of tokens, padding included, in one forward pass.
const TOKENS: usize = 8192;

/// A parameter with its moments.
struct Parameter {
    value: Var,
    first: Tensor,
    second: Tensor,
    decay: f64,
}

/// Weights and moments on a device.
pub struct OnDevice {
    model: LanguageModel,
    parameters: Vec<Parameter>,
    steps: i32,
    beta_2: f64,
}

impl OnDevice {
    /// Copies weights and moments to a device. `dropout` replaces the probabilities of the configuration.
    ///
    /// # Errors
    /// If they do not fit there.
    pub fn new(
        model: &LanguageModel,
        weights: &Flat,
        optimizer: &mut AdamW,
        dropout: f64,
        device: &Device,
    ) -> Result<OnDevice> {
        let model = model
            .with_weights(weights)?
            .to_device(device)?
            .with_dropout(dropout)?;
        let (model, variables) = model.trainable()?;
        let beta_2 = optimizer.beta_2();
        let decays: Vec<f64> = (weights.ranges())
            .map(|(_, range)| optimizer.decay_at(range.start))
            .collect();
        let (first, second, steps) = optimizer.state_mut();
        let mut parameters = Vec::with_capacity(variables.len());
        // Both are in the order of the forward pass.
        for (((_, value), (_, range)), decay) in
            variables.into_iter().zip(weights.ranges()).zip(decays)
        {
            let there =
                |values: &[f32]| Tensor::from_slice(&values[range.clone()], value.shape(), device);
            parameters.push(Parameter {
                first: there(first)?,
                second: there(second)?,
                decay,
                value,
            });
        }
        Ok(OnDevice {
            model,
            parameters,
            steps: *steps,
            beta_2,
        })
    }

    /// The loss −ln p (nats) of every token but the first of each sequence.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    pub fn losses(&self, batch: &[Sequence]) -> Result<Vec<Vec<f32>>> {
        let mut all = Vec::with_capacity(batch.len());
        for group in groups(batch) {
            let (_, losses) = self.group(group)?;
            all.extend(losses);
        }
        Ok(all)
    }

    /// One optimizer step on the mean loss over the batch's tokens. Returns the losses before the step, and its result.
    ///
    /// # Errors
    /// As [`LanguageModel::forward`].
    pub fn step(
        &mut self,
        batch: &[Sequence],
        rate: f64,
        max_norm: f64,
    ) -> Result<(Vec<Vec<f32>>, StepResult)> {
        let tokens: usize = batch.iter().map(|s| s.ids.len() - 1).sum();
        let factor = 1.0 / tokens.max(1) as f64;
        let mut all = Vec::with_capacity(batch.len());
        let mut gradients: Vec<Option<Tensor>> = vec![None; self.parameters.len()];
        for group in groups(batch) {
            let (of_rows, losses) = self.group(group)?;
            all.extend(losses);
            let found = (of_rows.sum_all()? * factor)?.backward()?;
            for (sum, parameter) in gradients.iter_mut().zip(&self.parameters) {
                let Some(gradient) = found.get(&parameter.value) else {
                    continue;
                };
                *sum = Some(match sum.take() {
                    Some(sum) => (sum + gradient)?,
                    None => gradient.clone(),
                });
            }
        }
        let mut squares = Tensor::zeros((), candle_core::DType::F32, self.model.device())?;
        for gradient in gradients.iter().flatten() {
            squares = (squares + gradient.sqr()?.sum_all()?)?;
        }
        let grad_norm = f64::from(squares.to_scalar::<f32>()?).sqrt();
        let applied = grad_norm.is_finite();
        if applied {
            self.update(&gradients, grad_norm, rate, max_norm)?;
        }
        Ok((all, StepResult { grad_norm, applied }))
    }

    fn update(
        &mut self,
        gradients: &[Option<Tensor>],
        norm: f64,
        rate: f64,
        max_norm: f64,
    ) -> Result<()> {
        self.steps += 1;
        let clip = AdamW::clip(norm, max_norm);
        let corrected = rate / (1.0 - BETA_1.powi(self.steps));
        let root = (1.0 - self.beta_2.powi(self.steps)).sqrt();
        for (parameter, gradient) in self.parameters.iter_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let gradient = (gradient * clip)?;
            parameter.first = ((&parameter.first * BETA_1)? + (&gradient * (1.0 - BETA_1))?)?;
            parameter.second =
                ((&parameter.second * self.beta_2)? + (gradient.sqr()? * (1.0 - self.beta_2))?)?;
            let size = ((parameter.second.sqrt()? / root)? + EPSILON)?;
            let step = ((&parameter.first * corrected)? / size)?;
            let kept = (parameter.value.as_tensor() * (1.0 - rate * parameter.decay))?;
            // Detached from the graph, which would otherwise grow with every step.
            parameter.value.set(&(kept - step)?.detach())?;
            parameter.first = parameter.first.detach();
            parameter.second = parameter.second.detach();
        }
        Ok(())
    }

    /// Copies weights and moments back.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fetch(&self, weights: &mut Flat, optimizer: &mut AdamW) -> Result<()> {
        let places: Vec<_> = weights.ranges().map(|(_, range)| range).collect();
        let (first, second, steps) = optimizer.state_mut();
        *steps = self.steps;
        for (parameter, range) in self.parameters.iter().zip(places) {
            let back = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
            let value = back(parameter.value.as_tensor())?;
            weights.values_mut()[range.clone()].copy_from_slice(&value);
            first[range.clone()].copy_from_slice(&back(&parameter.first)?);
            second[range].copy_from_slice(&back(&parameter.second)?);
        }
        Ok(())
    }

    /// Losses of sequences padded to one length: as one tensor over all rows (0 for padding), and for each sequence.
    fn group(&self, group: &[Sequence]) -> Result<(Tensor, Vec<Vec<f32>>)> {
        let longest = group.iter().map(|s| s.ids.len() - 1).max().unwrap_or(0);
        let (mut ids, mut targets, mut counted) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in group {
            let n = sequence.ids.len() - 1;
            let filled = |ids: &[u32]| {
                let mut ids = ids.to_vec();
                ids.resize(longest, 0);
                ids
            };
            ids.push(filled(&sequence.ids[..n]));
            targets.extend(filled(&sequence.ids[1..]));
            counted.extend((0..longest).map(|i| if i < n { 1f32 } else { 0.0 }));
        }
        // Tokens added to the right are in the future of the sequence and need no mask; padding of its own does.
        let attended: Vec<usize> = group.iter().map(|s| s.attended.min(longest)).collect();
        let masked = group.iter().any(|s| s.attended + 1 < s.ids.len());
        let pass = TrainingPass {
            seed: group.first().and_then(|s| s.seed),
            attended: masked.then_some(&attended),
        };
        let logits = self.model.forward_training(&ids, pass)?;
        let rows = group.len() * longest;
        let vocab = self.model.shape().vocab;
        let losses = cross_entropy(&logits.reshape((rows, vocab))?, &targets)?;
        let counted = Tensor::from_vec(counted, rows, self.model.device())?;
        let losses = (losses * counted)?;
        let values = losses.to_vec1::<f32>()?;
        let of_sequences = group.iter().zip(values.chunks(longest.max(1)));
        let apart = of_sequences.map(|(s, values)| values[..s.ids.len() - 1].to_vec());
        Ok((losses, apart.collect()))
    }
}

/// Groups of consecutive sequences that take at most [`TOKENS`] tokens when padded to the longest; a longer sequence is
/// a group by itself.
fn groups<'a, 'b>(batch: &'b [Sequence<'a>]) -> impl Iterator<Item = &'b [Sequence<'a>]> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let mut longest = 0;
        let fits = |(i, s): &(usize, &Sequence)| {
            longest = longest.max(s.ids.len() - 1);
            (i + 1) * longest <= TOKENS
        };
        let n = rest.iter().enumerate().take_while(fits).count().max(1);
        let (group, after) = rest.split_at(n.min(rest.len()));
        rest = after;
        (!group.is_empty()).then_some(group)
    })
}
