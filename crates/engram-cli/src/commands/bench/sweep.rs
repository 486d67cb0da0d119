//! `engram bench sweep`.

use std::time::Instant;

use anyhow::{Result, bail};
use engram::model::resolve;
use engram::{memory, prepare};
use engram_core::text::thousands;
use engram_core::{Pair, Suite};
use engram_model::wavefront::Wavefront;
use engram_patch::{Done, Engine, Plan, Reading, StagedEngine, SweepSpec};
use engram_stats::median;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{on_this_machine, random, small};
use crate::args::BenchSweepArgs;
use crate::commands::{print, table, weights};
use crate::progress::Terminal;

/// What a timed sweep cost.
#[derive(Debug, Clone, Serialize)]
struct SweepBench {
    pairs: u32,
    tokens: u32,
    cells: usize,
    threads: usize,
    /// Median seconds from token ids to all metrics in memory.
    sweep_s: f64,
    /// Operations of the least that computes these cells: every saving counted, base runs included.
    flops_needed: u64,
    /// Operations of a whole forward pass for each cell.
    flops_naive: u64,
    /// The machine's rate of a bare matrix product, [1024 × 768]·[768 × 3072].
    gemm_gflops: f64,
    /// Time of the needed operations at that rate, over the measured time.
    efficiency: f64,
    /// The most memory that the process took, where the system says.
    peak_rss_mb: Option<f64>,
}

/// Runs `engram bench sweep`.
///
/// # Errors
/// Any of input, or the engine's.
pub fn bench(args: &BenchSweepArgs, json: bool) -> Result<()> {
    let found = sweep(args)?;
    print(json, &found, || shown(&found))
}

fn sweep(args: &BenchSweepArgs) -> Result<SweepBench> {
    if args.differ_from >= args.tokens {
        bail!(
            "--differ-from {}: a prompt of {} tokens has tokens 0 to {}",
            args.differ_from,
            args.tokens,
            args.tokens - 1
        );
    }
    let model = match &args.model {
        Some(named) => weights(named)?.into_loaded(),
        None => random(&small())?,
    };
    let spec = SweepSpec {
        positions: args.positions,
        metrics: args.metric.clone(),
        ..SweepSpec::new(resolve(&model, &args.sites)?)
    };
    let pairs = random_pairs(args, model.shape().vocab);
    let (suite, reading) = (Suite { pairs }, Reading::default());
    let (pairs, _) = prepare(&suite, &model, &reading, false, &mut Terminal::default())?;
    let allowed = memory::allowed(args.memory.map(|m| m.as_u64()), &model);
    let engine = StagedEngine::new(&model, allowed)?;
    let mut seconds = Vec::new();
    let (mut flops_needed, mut flops_naive, mut cells) = (0, 0, 0);
    let mut rates = Vec::new();
    for _ in 0..args.repeats {
        rates.push(Wavefront::product_rate(1024, 768, 3072));
        let start = Instant::now();
        let plan = Plan::new(spec.clone(), model.shape(), pairs.clone())?;
        let results = engine.collect(&plan)?;
        seconds.push(start.elapsed().as_secs_f64());
        let schedule = engine.schedule(&plan, &Done::nothing(&plan))?;
        (flops_needed, flops_naive) = (schedule.flops, schedule.flops_naive);
        cells = results.iter().map(|r| r.rows.len()).sum::<usize>() / spec.metrics.len().max(1);
    }
    let (sweep_s, gemm_gflops) = (median(&seconds)?, median(&rates)? / 1e9);
    Ok(SweepBench {
        pairs: args.pairs,
        tokens: args.tokens,
        cells,
        threads: rayon::current_num_threads(),
        sweep_s,
        flops_needed,
        flops_naive,
        gemm_gflops,
        efficiency: flops_needed as f64 / 1e9 / gemm_gflops / sweep_s,
        peak_rss_mb: memory::peak().map(|bytes| bytes as f64 / f64::from(1 << 20)),
    })
}

fn random_pairs(args: &BenchSweepArgs, vocab: usize) -> Vec<Pair> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let vocab = vocab as u32;
    (0..args.pairs)
        .map(|index| {
            let mut draw = || rng.random_range(0..vocab);
            let clean: Vec<u32> = (0..args.tokens).map(|_| draw()).collect();
            let mut corrupt = clean.clone();
            for token in &mut corrupt[args.differ_from as usize..] {
                *token = (*token + 1 + draw() % (vocab - 1).max(1)) % vocab;
            }
            let answer = draw();
            Pair {
                id: format!("pair {index}"),
                kind: "random".to_owned(),
                clean_ids: Some(clean),
                corrupt_ids: Some(corrupt),
                answer_ids: Some(vec![answer]),
                foil_ids: Some(vec![(answer + 1) % vocab]),
                ..Pair::default()
            }
        })
        .collect()
}

fn shown(found: &SweepBench) -> String {
    let giga = |flops: u64| format!("{:.2} GFLOP", flops as f64 / 1e9);
    let rows = [
        [
            "pairs × tokens".to_owned(),
            format!("{} × {}", found.pairs, found.tokens),
        ],
        ["cells".to_owned(), thousands(found.cells)],
        ["threads".to_owned(), found.threads.to_string()],
        ["time, median".to_owned(), format!("{:.3} s", found.sweep_s)],
        ["operations needed".to_owned(), giga(found.flops_needed)],
        [
            "operations of a forward pass for each cell".to_owned(),
            giga(found.flops_naive),
        ],
    ];
    let machine = on_this_machine(found.gemm_gflops, found.efficiency, found.peak_rss_mb);
    table(["sweep", ""], rows.into_iter().chain(machine))
}
