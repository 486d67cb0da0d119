//! `engram bench train`.

use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use engram::{Opening, memory};
use engram_core::text::thousands;
use engram_model::training::Sequence;
use engram_model::wavefront::Wavefront;
use engram_model::{LanguageModel, Shape};
use engram_stats::median;
use engram_train::adamw::{AdamW, decayed};
use engram_train::{Learner, Precision};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{on_this_machine, random, small};
use crate::args::{BenchTrainArgs, Dtype};
use crate::commands::{print, table};
use crate::progress::Terminal;

/// What a timed optimizer step cost.
#[derive(Debug, Clone, Serialize)]
struct TrainBench {
    batch: u32,
    tokens: u32,
    steps: u32,
    threads: usize,
    /// Number format of products with weights.
    dtype: &'static str,
    parameters: usize,
    /// Median seconds of a step: forward, backward, clipping and AdamW.
    step_s: f64,
    /// Tokens that go through the network in a second.
    tokens_per_s: f64,
    /// Operations of a step: matrix products forward and twice that backward, attention only where it
    /// is causal.
    flops_needed: u64,
    /// The machine's rate of a bare matrix product, [1024 × 768]·[768 × 3072].
    gemm_gflops: f64,
    /// Time of the needed operations at that rate, over the measured time.
    efficiency: f64,
    /// The most memory that the process took, where the system says.
    peak_rss_mb: Option<f64>,
    /// Mean loss of the first step, in nats a token.
    first_loss: f64,
}

/// Runs `engram bench train`: optimizer steps on random token ids, without dropout.
///
/// # Errors
/// Any of input, or the trainer's.
pub fn bench(args: &BenchTrainArgs, json: bool) -> Result<()> {
    let found = train(args)?;
    print(json, &found, || shown(&found))
}

fn train(args: &BenchTrainArgs) -> Result<TrainBench> {
    let device = engram_model::device(&args.device)?;
    let model = model(args, &device)?;
    let precision = match args.dtype {
        Dtype::F32 => Precision::Fp32,
        Dtype::Bf16 => Precision::Bf16,
    };
    let shape = model.shape();
    let (batch, tokens) = (args.batch as usize, args.tokens as usize);
    if tokens > shape.context {
        bail!(
            "--tokens {tokens}: the model's context is {} tokens",
            shape.context
        );
    }
    let mut weights = model.flat()?;
    let mut optimizer = AdamW::new(&weights, 0.01, decayed);
    let mut learner = Learner::new(&model, &weights, &mut optimizer, 0.0, precision.products())?;
    drop(model);
    let ids = random_ids(batch, tokens, shape.vocab as u32);
    let sequences: Vec<Sequence> = ids.iter().map(|ids| Sequence::new(ids)).collect();
    let mut seconds = Vec::new();
    let mut rates = Vec::new();
    let mut first_loss = None;
    // The first step is not counted: its memory is new.
    for step in 0..=args.steps {
        rates.push(product_rate(&device)?);
        let start = Instant::now();
        let (losses, _) = learner.step(&mut weights, &mut optimizer, &sequences, 1e-4, 1.0)?;
        device.synchronize()?;
        if step > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
        first_loss.get_or_insert_with(|| {
            let all = losses.iter().flatten();
            all.map(|l| f64::from(*l)).sum::<f64>() / (batch * tokens) as f64
        });
    }
    let (step_s, gemm_gflops) = (median(&seconds)?, median(&rates)? / 1e9);
    let flops_needed = flops_of_step(&shape, batch, tokens);
    Ok(TrainBench {
        batch: args.batch,
        tokens: args.tokens,
        steps: args.steps,
        threads: rayon::current_num_threads(),
        dtype: precision.used().name(),
        parameters: shape.parameters,
        step_s,
        tokens_per_s: (batch * tokens) as f64 / step_s,
        flops_needed,
        gemm_gflops,
        efficiency: flops_needed as f64 / 1e9 / gemm_gflops / step_s,
        peak_rss_mb: memory::peak().map(|bytes| bytes as f64 / f64::from(1 << 20)),
        first_loss: first_loss.unwrap_or(f64::NAN),
    })
}

fn model(args: &BenchTrainArgs, device: &Device) -> Result<LanguageModel> {
    let Some(named) = &args.model else {
        return Ok(random(&small())?.to_device(device)?);
    };
    let opening = Opening::default().device(device).for_weights();
    let model = opening.open(named, &mut Terminal::default())?;
    Ok(model.into_loaded())
}

/// Sequences of random ids, one longer than what goes through the network: the last id is only predicted.
fn random_ids(batch: usize, tokens: usize, vocab: u32) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    (0..batch)
        .map(|_| (0..=tokens).map(|_| rng.random_range(0..vocab)).collect())
        .collect()
}

fn flops_of_step(shape: &Shape, batch: usize, tokens: usize) -> u64 {
    let matrices = shape.layers * (4 * shape.d_model + 2 * shape.d_mlp) * shape.d_model
        + shape.vocab * shape.d_model;
    let attention = shape.layers * 2 * batch * tokens * (tokens + 1) * shape.d_model;
    (6 * batch * tokens * matrices + 3 * attention) as u64
}

/// Operations a second of a bare product, [1024 × 768]·[768 × 3072].
fn product_rate(device: &Device) -> Result<f64> {
    const SIZE: (usize, usize, usize) = (1024, 768, 3072);
    const TIMES: usize = 50;
    let (m, k, n) = SIZE;
    if device.is_cpu() {
        return Ok(Wavefront::product_rate(m, k, n));
    }
    let a = Tensor::ones((m, k), DType::F32, device)?;
    let b = Tensor::ones((k, n), DType::F32, device)?;
    a.matmul(&b)?;
    device.synchronize()?;
    let start = Instant::now();
    for _ in 0..TIMES {
        a.matmul(&b)?;
    }
    device.synchronize()?;
    Ok((2 * TIMES * m * k * n) as f64 / start.elapsed().as_secs_f64())
}

fn shown(found: &TrainBench) -> String {
    let rows = [
        [
            "batch × tokens".to_owned(),
            format!("{} × {}", found.batch, found.tokens),
        ],
        ["parameters".to_owned(), thousands(found.parameters)],
        ["threads".to_owned(), found.threads.to_string()],
        ["products in".to_owned(), found.dtype.to_owned()],
        [
            "time of a step, median".to_owned(),
            format!("{:.3} s", found.step_s),
        ],
        [
            "tokens a second".to_owned(),
            format!("{:.0}", found.tokens_per_s),
        ],
        [
            "operations needed".to_owned(),
            format!("{:.2} GFLOP", found.flops_needed as f64 / 1e9),
        ],
    ];
    let machine = on_this_machine(found.gemm_gflops, found.efficiency, found.peak_rss_mb);
    table(["training", ""], rows.into_iter().chain(machine))
}
