//! The value that makes a model say something: v* of ROME and z of MEMIT.
//!
//! At the subject's last token, δ is added to what one layer's MLP adds to the residual stream; the new answer's
//! negative log-likelihood over the prompt and the prompt after each prefix, plus a divergence that keeps the model's
//! idea of what the subject is, plus a decay on δ, is brought down by Adam (Meng et al. 2022, eq. 4 and appendix E.5).

use candle_core::{D, Tensor, Var};
use engram_core::Site;
use engram_model::kernels::cross_entropy;
use engram_model::transformer::{Past, rows_from};
use engram_model::{Capture, Model};
use serde::{Deserialize, Serialize};

use crate::covariance::values;
use crate::error::{EditError, Result};
use crate::request::EditRequest;
use crate::tokens::{Continued, check_layer, continued, padded, pick, subject_last};

/// Settings of the optimisation, by default those published for GPT-2 XL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimisation {
    /// Adam's step size.
    pub rate: f64,
    /// The most evaluations of the loss; the last one is not followed by a step.
    pub steps: usize,
    /// A loss below which it ends.
    pub stop: f64,
    /// Factor on KL(edited ‖ original) of "{subject} is a", read at the subject's last token.
    pub kl: f64,
    /// Factor on ‖δ‖ / ‖v₀‖².
    pub decay: f64,
    /// ‖δ‖ is held to this many ‖v₀‖.
    pub clamp: f64,
}

impl Default for Optimisation {
    fn default() -> Optimisation {
        Optimisation {
            rate: 0.5,
            steps: 20,
            stop: 0.05,
            kl: 0.0625,
            decay: 0.5,
            clamp: 4.0,
        }
    }
}

/// A prompt's tokens and the place of its subject's last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The tokens, the answer's included where there is one.
    pub ids: Continued,
    /// Index of the subject's last token.
    pub subject: usize,
}

/// What the loss is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewriting {
    /// The bare prompt with the new answer, then the same after each prefix.
    pub prompts: Vec<Placed>,
    /// "{subject} is a" and the place of its subject's last token.
    pub essence: (Vec<u32>, usize),
}

impl Rewriting {
    /// Of a request; prefixes as [`crate::prefixes::prefixes`] gives them.
    ///
    /// # Errors
    /// As [`EditRequest::check`]; the tokenizer's.
    pub fn of(model: &Model, request: &EditRequest, prefixes: &[String]) -> Result<Rewriting> {
        request.check()?;
        let tokenizer = model.tokenizer();
        let (id, subject) = (&request.id, &request.subject);
        let mut prompts = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            let prompt = format!("{prefix}{}", request.prompt);
            let ids = continued(tokenizer, &prompt, &request.target_new)?;
            let last = subject_last(tokenizer, &prompt, subject, id)?;
            if last >= ids.from {
                return Err(EditError::Request {
                    request: id.clone(),
                    why: "the tokenizer joins the subject with the answer".to_owned(),
                });
            }
            prompts.push(Placed { ids, subject: last });
        }
        let text = format!("{subject} is a");
        let last = subject_last(tokenizer, &text, subject, id)?;
        Ok(Rewriting {
            prompts,
            essence: (tokenizer.encode(&text)?, last),
        })
    }
}

/// The loss and its parts at one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Their sum.
    pub loss: f64,
    /// Mean negative log-likelihood of the new answer's tokens.
    pub nll: f64,
    /// KL with its factor.
    pub kl: f64,
    /// The decay with its factor.
    pub decay: f64,
}

/// Where δ goes, and what v₀ is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Onto the down-projection's output (ROME).
    Projection,
    /// Onto the residual stream after the block (MEMIT).
    Residual,
}

/// What the optimisation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimised {
    /// v₀: the value at the bare prompt.
    pub initial: Vec<f64>,
    /// δ; v* is v₀ + δ.
    pub delta: Vec<f32>,
    /// The key at the bare prompt: the down-projection's input at the subject's last token.
    pub bare_key: Vec<f64>,
    /// Its mean over the prompts.
    pub mean_key: Vec<f64>,
    /// The loss at every step.
    pub steps: Vec<Step>,
}

/// The unedited run, and where the answer is read.
struct Base<'a> {
    model: &'a Model,
    layer: usize,
    past: Past,
    /// Rows of the residual stream after the layer, from the subject's last token on: [batch, rows, d].
    rows: Tensor,
    /// 1 at the first row: [1, rows, 1].
    first: Tensor,
    /// For families that normalise what an MLP adds: the neurons [batch, d_mlp], and what is added [batch, d].
    normed: Option<(Tensor, Tensor)>,
    /// Rows that are read: the answers', then the essence's.
    reads: Vec<(usize, usize)>,
    targets: Vec<u32>,
}

/// Finds δ at a layer.
///
/// # Errors
/// The model's; [`EditError::NotFinite`].
pub fn optimise(
    model: &Model,
    rewriting: &Rewriting,
    layer: usize,
    place: Place,
    settings: &Optimisation,
) -> Result<Optimised> {
    check_layer(model, layer)?;
    let (base, mut found) = Base::new(model, rewriting, layer, place)?;
    let norm = length(found.initial.iter().copied());
    let d = found.delta.len();
    let (mut mean, mut square) = (vec![0f32; d], vec![0f32; d]);
    let mut original: Option<Tensor> = None;
    for step in 1..=settings.steps.max(1) {
        let variable = Var::from_slice(&found.delta, d, model.device())?;
        let (nll, essence) = base.read(variable.as_tensor())?;
        let essence = log_softmax(&essence)?;
        let before = original.get_or_insert_with(|| essence.detach()).clone();
        let kl = (essence.exp()? * (&essence - before)?)?.sum_all()?;
        let loss = (&nll + (&kl * settings.kl)?)?;
        let size = length(found.delta.iter().map(|v| f64::from(*v)));
        let scale = settings.decay / (norm * norm);
        let parts = Step {
            nll: f64::from(nll.to_scalar::<f32>()?),
            kl: settings.kl * f64::from(kl.to_scalar::<f32>()?),
            decay: scale * size,
            loss: 0.0,
        };
        let parts = Step {
            loss: parts.nll + parts.kl + parts.decay,
            ..parts
        };
        if !parts.loss.is_finite() {
            return Err(EditError::NotFinite {
                what: format!("the value at layer {layer}"),
            });
        }
        found.steps.push(parts);
        if parts.loss < settings.stop || step >= settings.steps {
            break;
        }
        let gradients = loss.backward()?;
        let gradient = match gradients.get(&variable) {
            Some(gradient) => gradient.to_vec1::<f32>()?,
            None => vec![0.0; d],
        };
        // The gradient of ‖δ‖ is δ/‖δ‖, and 0 at 0.
        let pull = if size > 0.0 { scale / size } else { 0.0 } as f32;
        adam(
            &mut found.delta,
            |i, delta| gradient[i] + pull * delta,
            (&mut mean, &mut square),
            settings.rate,
            step,
        );
        let size = length(found.delta.iter().map(|v| f64::from(*v)));
        let most = settings.clamp * norm;
        if size > most {
            let factor = (most / size) as f32;
            found.delta.iter_mut().for_each(|v| *v *= factor);
        }
    }
    Ok(found)
}

/// A step of Adam (Kingma & Ba 2015) with the usual β of 0.9 and 0.999 and ε of 10⁻⁸.
pub(crate) fn adam(
    weights: &mut [f32],
    gradient: impl Fn(usize, f32) -> f32,
    (mean, square): (&mut [f32], &mut [f32]),
    rate: f64,
    step: usize,
) {
    const BETA: (f32, f32) = (0.9, 0.999);
    const EPSILON: f32 = 1e-8;
    let corrected = |beta: f32| 1.0 - f64::from(beta).powi(step as i32);
    let size = (rate / corrected(BETA.0)) as f32;
    let root = corrected(BETA.1).sqrt() as f32;
    for (i, w) in weights.iter_mut().enumerate() {
        let g = gradient(i, *w);
        mean[i] += (1.0 - BETA.0) * (g - mean[i]);
        square[i] = BETA.1 * square[i] + (1.0 - BETA.1) * g * g;
        *w -= size * mean[i] / (square[i].sqrt() / root + EPSILON);
    }
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let most = logits.detach().max_keepdim(D::Minus1)?;
    let moved = logits.broadcast_sub(&most)?;
    let sum = moved.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(moved.broadcast_sub(&sum)?)
}

impl<'a> Base<'a> {
    fn new(
        model: &'a Model,
        rewriting: &Rewriting,
        layer: usize,
        place: Place,
    ) -> Result<(Base<'a>, Optimised)> {
        let (network, layers) = (model.network(), model.architecture().layers());
        let mut ids: Vec<&[u32]> = rewriting.prompts.iter().map(|p| p.ids.read()).collect();
        let mut starts: Vec<usize> = rewriting.prompts.iter().map(|p| p.subject).collect();
        let (mut reads, mut targets) = (Vec::new(), Vec::new());
        for (row, prompt) in rewriting.prompts.iter().enumerate() {
            let positions = prompt.ids.from - 1..prompt.ids.ids.len() - 1;
            reads.extend(positions.map(|p| (row, p - prompt.subject)));
            targets.extend_from_slice(prompt.ids.answer());
        }
        ids.push(&rewriting.essence.0);
        starts.push(rewriting.essence.1);
        reads.push((ids.len() - 1, 0));

        let of_layer = [Site::MlpPost, Site::MlpOut, Site::ResidPost].map(|s| (s, Some(layer)));
        let mut run = Capture::of(of_layer.into_iter().chain(Past::sites(layers, layer + 1)));
        network.residual(&padded(&ids), &mut run)?;
        let at_subjects: Vec<(usize, usize)> = starts.iter().copied().enumerate().collect();
        let seen = |site: Site| match run.get(site, Some(layer)) {
            Some(value) => Ok(value),
            None => Err(EditError::NotFinite {
                what: format!("the run at layer {layer}"),
            }),
        };
        let neurons = pick(seen(Site::MlpPost)?, &at_subjects)?;
        let count = reads.iter().map(|(_, row)| row + 1).max().unwrap_or(1);
        let rows = rows_from(seen(Site::ResidPost)?, &starts, count)?;
        let mut first = vec![0f32; count];
        first[0] = 1.0;
        let normed = match (place, model.architecture().post_norms) {
            (Place::Projection, true) => {
                Some((neurons.clone(), pick(seen(Site::MlpOut)?, &at_subjects)?))
            }
            _ => None,
        };

        let keys = neurons.narrow(0, 0, rewriting.prompts.len())?;
        let initial = match place {
            Place::Projection => projected(model, layer, &keys.narrow(0, 0, 1)?)?,
            Place::Residual => rows.narrow(0, 0, 1)?.narrow(1, 0, 1)?,
        };
        let found = Optimised {
            initial: values(&initial)?,
            delta: vec![0.0; model.architecture().d_model],
            bare_key: values(&keys.narrow(0, 0, 1)?)?,
            mean_key: values(&keys.mean(0)?)?,
            steps: Vec::new(),
        };
        let base = Base {
            model,
            layer,
            past: network.past(&run, layer + 1, &starts, count)?,
            rows,
            first: Tensor::from_vec(first, (1, count, 1), model.device())?,
            normed,
            reads,
            targets,
        };
        Ok((base, found))
    }

    /// The answer's mean NLL and the essence's logits, with δ.
    fn read(&self, delta: &Tensor) -> Result<(Tensor, Tensor)> {
        let network = self.model.network();
        let d = delta.dim(0)?;
        let added = match &self.normed {
            None => delta.reshape((1, 1, d))?,
            Some((neurons, before)) => {
                let after = network.mlp_output(self.layer, neurons, &delta.reshape((1, d))?)?;
                (after - before)?.unsqueeze(1)?
            }
        };
        let rows = self
            .rows
            .broadcast_add(&self.first.broadcast_mul(&added)?)?;
        let rows = network.suffix(&self.past, &rows)?;
        let logits = network.logits_of(&pick(&rows, &self.reads)?)?;
        let answers = self.targets.len();
        let nll = cross_entropy(&logits.narrow(0, 0, answers)?, &self.targets)?.mean_all()?;
        Ok((nll, logits.narrow(0, answers, 1)?))
    }
}

/// The down-projection's output, bias included, of neurons [rows, d_mlp].
pub(crate) fn projected(model: &Model, layer: usize, neurons: &Tensor) -> Result<Tensor> {
    let block = model.network().block(layer);
    let linear = &block
        .ok_or(engram_model::ModelError::Layer {
            layer,
            layers: model.architecture().layers(),
        })?
        .mlp_proj;
    let out = neurons.matmul(&linear.weight)?;
    Ok(match &linear.bias {
        Some(bias) => out.broadcast_add(bias)?,
        None => out,
    })
}
