//! Losses and optimizer steps, on the CPU or on another device.

use engram_model::LanguageModel;
use engram_model::kernels::Products;
use engram_model::training::{Flat, Sequence};

use crate::adamw::{AdamW, StepResult};
use crate::error::Result;
use crate::on_device::OnDevice;
use crate::workers::Workers;

/// Where a run is computed: on the CPU's threads, or on the model's device.
pub enum Learner {
    /// On the CPU's threads, with the hand-written backward pass.
    Threads(Workers),
    /// On another device, with automatic differentiation.
    Device(Box<OnDevice>),
}

impl Learner {
    /// `dropout` replaces the probabilities of the configuration; `products` is the number format of matrix products on
    /// the CPU.
    ///
    /// # Errors
    /// If the model does not fit on its device.
    pub fn new(
        model: &LanguageModel,
        weights: &Flat,
        optimizer: &mut AdamW,
        dropout: f64,
        products: Products,
    ) -> Result<Learner> {
        let device = model.device();
        if device.is_cpu() {
            return Ok(Learner::Threads(Workers::new(model, dropout, products)?));
        }
        let there = OnDevice::new(model, weights, optimizer, dropout, device)?;
        Ok(Learner::Device(Box::new(there)))
    }

    /// The loss −ln p (nats) of every token but the first of each sequence.
    ///
    /// # Errors
    /// As [`Workers::losses`].
    pub fn losses(&mut self, weights: &Flat, batch: &[Sequence]) -> Result<Vec<Vec<f32>>> {
        match self {
            Learner::Threads(workers) => workers.losses(weights, batch),
            Learner::Device(there) => there.losses(batch),
        }
    }

    /// One optimizer step on the mean loss over the batch's tokens. Returns the losses before the step, and its result.
    /// On a device, `weights` and `optimizer` are not updated until [`Learner::fetch`].
    ///
    /// # Errors
    /// As [`Workers::gradients`].
    pub fn step(
        &mut self,
        weights: &mut Flat,
        optimizer: &mut AdamW,
        batch: &[Sequence],
        rate: f64,
        max_norm: f64,
    ) -> Result<(Vec<Vec<f32>>, StepResult)> {
        match self {
            Learner::Threads(workers) => {
                let losses = workers.gradients(weights, batch)?;
                let stepped = optimizer.step(weights, workers.parts_mut(), rate, max_norm);
                Ok((losses, stepped))
            }
            Learner::Device(there) => there.step(batch, rate, max_norm),
        }
    }

    /// Copies weights and moments from the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fetch(&self, weights: &mut Flat, optimizer: &mut AdamW) -> Result<()> {
        match self {
            Learner::Threads(_) => Ok(()),
            Learner::Device(there) => there.fetch(weights, optimizer),
        }
    }
}
