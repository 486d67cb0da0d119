//! Tokens a second of training the embedded checkpoint on random ids, and where the time goes.
//!
//! `cargo run --release -p engram-train --example throughput [steps]`

use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use engram_model::LanguageModel;
use engram_model::kernels::Products;
use engram_model::training::Sequence;
use engram_train::adamw::{AdamW, decayed};
use engram_train::workers::Workers;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Seconds of processor time that this process's threads have had, where the system tells (Linux): unlike the
/// clock it does not count what others take.
fn processor_s() -> Option<f64> {
    let mut total = 0u64;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(total as f64 * 1e-9)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps: usize = match std::env::args().nth(1) {
        Some(n) => n.parse()?,
        None => 8,
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/pubmed-mini");
    let model = LanguageModel::read(&folder, &Device::Cpu)?;
    let vocab = model.shape().vocab as u32;
    println!("threads {}", rayon::current_num_threads());
    for (batch, length, dropout) in [(16, 128, 0.0), (16, 128, 0.1), (8, 512, 0.0), (8, 512, 0.1)] {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut weights = model.flat()?;
        let mut optimizer = AdamW::new(&weights, 0.01, decayed);
        let mut workers = Workers::new(&model, dropout, Products::Float32)?;
        let (mut forward, mut both, mut update) = (0.0, 0.0, 0.0);
        let mut processor = Some(0.0);
        for step in 0..=steps {
            let ids: Vec<Vec<u32>> = (0..batch)
                .map(|_| {
                    (0..=length)
                        .map(|_| random.random_range(0..vocab))
                        .collect()
                })
                .collect();
            let seed = (dropout > 0.0).then_some(step as u64);
            let batch: Vec<Sequence> = ids
                .iter()
                .map(|ids| Sequence {
                    seed,
                    ..Sequence::new(ids)
                })
                .collect();
            let start = Instant::now();
            workers.losses(&weights, &batch)?;
            let middle = Instant::now();
            let before = processor_s();
            workers.gradients(&weights, &batch)?;
            let end = Instant::now();
            optimizer.step(&mut weights, workers.parts_mut(), 1e-4, 1.0);
            // The first step allocates.
            if step > 0 {
                let spent = processor_s().zip(before).map(|(now, then)| now - then);
                processor = processor.zip(spent).map(|(sum, s)| sum + s);
                forward += (middle - start).as_secs_f64();
                both += (end - middle).as_secs_f64();
                update += end.elapsed().as_secs_f64();
            }
        }
        let tokens = (steps * batch * length) as f64;
        let own = match processor {
            Some(seconds) => format!("{:.0} a processor second", tokens / seconds),
            None => "processor time unknown".to_owned(),
        };
        println!(
            "{batch:2} × {length:3} dropout {dropout}: {:6.0} tokens/s ({own}); of a step's {:.0} ms: forward {:.0} %, backward {:.0} %, optimizer {:.0} %",
            tokens / (both + update),
            1e3 * (both + update) / steps as f64,
            100.0 * forward / (both + update),
            100.0 * (both - forward) / (both + update),
            100.0 * update / (both + update),
        );
    }
    Ok(())
}
