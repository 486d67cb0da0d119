//! Losses and optimizer steps, wherever they are computed.

use engram_model::Model;
use engram_model::kernels::Products;
use engram_model::training::{Flat, Sequence};

use crate::adamw::{AdamW, Stepped};
use crate::error::Result;
use crate::on_device::OnDevice;
use crate::workers::Workers;

/// What a run learns with: the threads of the CPU, or the model's own device where that is another.
pub enum Learner {
    /// The threads of the CPU, with the hand-written pass.
    Threads(Workers),
    /// A device, with automatic differentiation.
    Device(Box<OnDevice>),
}

impl Learner {
    /// `dropout` replaces the configuration's probabilities; `products` is the number format of products on the CPU.
    ///
    /// # Errors
    /// Where the model does not fit on its device.
    pub fn new(
        model: &Model,
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

    /// −ln p of every token but the first of each sequence, in nats.
    ///
    /// # Errors
    /// As [`Workers::losses`].
    pub fn losses(&mut self, weights: &Flat, batch: &[Sequence]) -> Result<Vec<Vec<f32>>> {
        match self {
            Learner::Threads(workers) => workers.losses(weights, batch),
            Learner::Device(there) => there.losses(batch),
        }
    }

    /// One step on the mean loss over the batch's tokens: the losses before it, and what it found. On a device,
    /// `weights` and `optimizer` stay as they are until [`Learner::fetch`].
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
    ) -> Result<(Vec<Vec<f32>>, Stepped)> {
        match self {
            Learner::Threads(workers) => {
                let losses = workers.gradients(weights, batch)?;
                let stepped = optimizer.step(weights, workers.parts_mut(), rate, max_norm);
                Ok((losses, stepped))
            }
            Learner::Device(there) => there.step(batch, rate, max_norm),
        }
    }

    /// Brings weights and moments up to date.
    ///
    /// # Errors
    /// The device's.
    pub fn fetch(&self, weights: &mut Flat, optimizer: &mut AdamW) -> Result<()> {
        match self {
            Learner::Threads(_) => Ok(()),
            Learner::Device(there) => there.fetch(weights, optimizer),
        }
    }
}
