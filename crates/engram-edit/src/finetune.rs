//! Fine-tuning of the down-projections of chosen layers on one fact: FT-L, with a bounded change (Zhu et al. 2020, as
//! run by Meng et al. 2022), and LoRA, with a low-rank change (Hu et al. 2022).

use candle_core::{Tensor, Var};
use engram_model::kernels::cross_entropy;
use engram_model::{LanguageModel, NoTap};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::delta::{Change, LowRank, WeightChange, down_projection};
use crate::error::{EditError, Result};
use crate::optimise::adam;
use crate::request::EditRequest;
use crate::tokens::{continued, pick};
use engram_core::Fit;

/// Constraint on the change of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeLimit {
    /// FT-L: each element is within ±bound.
    Bounded {
        /// The bound.
        bound: f64,
    },
    /// LoRA: a matrix of this rank.
    LowRank {
        /// The rank.
        rank: usize,
    },
}

/// Settings of fine-tuning on one fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FineTuning {
    /// Constraint on the change.
    pub form: ChangeLimit,
    /// Adam's learning rate.
    pub rate: f64,
    /// Maximum number of steps.
    pub steps: usize,
    /// Loss below which fine-tuning stops.
    pub stop: f64,
    /// Random seed of LoRA's first factor.
    pub seed: u64,
}

impl FineTuning {
    /// FT-L as published for GPT-2 XL: 25 steps, learning rate 5·10⁻⁴, each element within 5·10⁻⁴.
    pub fn bounded() -> FineTuning {
        FineTuning {
            form: ChangeLimit::Bounded { bound: 5e-4 },
            rate: 5e-4,
            steps: 25,
            stop: 0.01,
            seed: 0,
        }
    }

    /// LoRA of rank 8: 25 steps, learning rate 5·10⁻³.
    pub fn low_rank() -> FineTuning {
        FineTuning {
            form: ChangeLimit::LowRank { rank: 8 },
            rate: 5e-3,
            ..FineTuning::bounded()
        }
    }
}

/// A weight during fine-tuning: the variables that Adam updates, and their moments.
struct Tuned {
    layer: usize,
    name: String,
    transposed: bool,
    old: Tensor,
    /// FT-L: the difference. LoRA: the two factors, [in, rank] and [rank, out].
    parts: Vec<Part>,
}

struct Part {
    shape: (usize, usize),
    values: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Part {
    fn new(shape: (usize, usize), values: Vec<f32>) -> Part {
        let zero = vec![0f32; values.len()];
        Part {
            shape,
            values,
            mean: zero.clone(),
            square: zero,
        }
    }
}

/// Fine-tunes the down-projections of some layers until the model says the new answer after the prompt.
///
/// # Errors
/// As [`EditRequest::check`]; [`EditError::Model`] if the model cannot be run; [`EditError::NotFinite`] for a loss that
/// is not finite.
pub fn fine_tune(
    model: &LanguageModel,
    request: &EditRequest,
    layers: &[usize],
    settings: &FineTuning,
) -> Result<(Vec<WeightChange>, Fit)> {
    request.check()?;
    let asked = continued(model.tokenizer(), &request.prompt, &request.target_new)?;
    let ids = vec![asked.read().to_vec()];
    let places: Vec<(usize, usize)> = (asked.from - 1..ids[0].len()).map(|p| (0, p)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut tuned = Vec::with_capacity(layers.len());
    for layer in layers {
        tuned.push(Tuned::new(model, *layer, settings.form, &mut random)?);
    }
    let mut fit = Fit::default();
    for step in 1..=settings.steps.max(1) {
        let mut variables = Vec::new();
        let mut replaced = Vec::new();
        for one in &tuned {
            let (vars, weight) = one.weight(model)?;
            replaced.push((one.name.clone(), weight));
            variables.push(vars);
        }
        let changed = model.with_parameters(replaced)?;
        let x = changed.network().residual(&ids, &mut NoTap)?;
        let logits = changed.network().logits_of(&pick(&x, &places)?)?;
        let loss = cross_entropy(&logits, asked.answer())?.mean_all()?;
        fit.loss = f64::from(loss.to_scalar::<f32>()?);
        fit.steps = step;
        if !fit.loss.is_finite() {
            return Err(EditError::NotFinite {
                what: request.id.clone(),
            });
        }
        fit.converged = Some(fit.loss < settings.stop);
        if fit.loss < settings.stop || step >= settings.steps {
            break;
        }
        let gradients = loss.backward()?;
        for (one, variables) in tuned.iter_mut().zip(&variables) {
            for (part, variable) in one.parts.iter_mut().zip(variables) {
                let gradient = match gradients.get(variable) {
                    Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>()?,
                    None => continue,
                };
                let moments = (&mut part.mean[..], &mut part.square[..]);
                adam(
                    &mut part.values,
                    |i, _| gradient[i],
                    moments,
                    settings.rate,
                    step,
                );
                if let ChangeLimit::Bounded { bound } = settings.form {
                    let bound = bound as f32;
                    part.values
                        .iter_mut()
                        .for_each(|v| *v = v.clamp(-bound, bound));
                }
            }
        }
    }
    let changes = tuned
        .into_iter()
        .map(Tuned::change)
        .collect::<Result<_>>()?;
    Ok((changes, fit))
}

impl Tuned {
    fn new(
        model: &LanguageModel,
        layer: usize,
        form: ChangeLimit,
        random: &mut ChaCha8Rng,
    ) -> Result<Tuned> {
        let (name, transposed) = down_projection(model, layer)?;
        let old = model.parameter(&name)?;
        let (rows, columns) = old.dims2()?;
        let (inputs, outputs) = if transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        let parts = match form {
            ChangeLimit::Bounded { .. } => {
                vec![Part::new((rows, columns), vec![0.0; rows * columns])]
            }
            ChangeLimit::LowRank { rank } => {
                let scale = 1.0 / (inputs as f32).sqrt();
                let mut draw = || -> f32 { StandardNormal.sample(random) };
                let first = (0..inputs * rank).map(|_| scale * draw()).collect();
                vec![
                    Part::new((inputs, rank), first),
                    Part::new((rank, outputs), vec![0.0; rank * outputs]),
                ]
            }
        };
        Ok(Tuned {
            layer,
            name,
            transposed,
            old,
            parts,
        })
    }

    /// The variables of the change, and the weight with it.
    fn weight(&self, model: &LanguageModel) -> Result<(Vec<Var>, Tensor)> {
        let variable = |p: &Part| Var::from_slice(&p.values, p.shape, model.device());
        let variables: Vec<Var> = (self.parts.iter())
            .map(variable)
            .collect::<candle_core::Result<_>>()?;
        let added = match &variables[..] {
            [difference] => difference.as_tensor().clone(),
            [a, b] if self.transposed => a.matmul(b)?.t()?,
            [a, b] => a.matmul(b)?,
            _ => self.old.zeros_like()?,
        };
        let weight = (&self.old + added)?.contiguous()?;
        Ok((variables, weight))
    }

    fn change(self) -> Result<WeightChange> {
        let mut parts = self.parts.into_iter();
        let change = match (parts.next(), parts.next()) {
            (Some(a), Some(b)) => {
                let (inputs, rank) = a.shape;
                let by_product = (0..rank).flat_map(|r| (0..inputs).map(move |i| i * rank + r));
                Change::LowRank(LowRank {
                    rank,
                    inputs: by_product.map(|at| a.values[at]).collect(),
                    outputs: b.values,
                    keys: Vec::new(),
                })
            }
            (Some(difference), None) => Change::Dense(difference.values),
            (None, _) => Change::Dense(Vec::new()),
        };
        Ok(WeightChange {
            weight: self.name,
            layer: self.layer,
            transposed: self.transposed,
            change,
        })
    }
}
