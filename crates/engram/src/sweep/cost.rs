//! What a sweep costs, and whether it can show anything.

use std::fmt;

use bytesize::ByteSize;
use engram_core::Positions;
use engram_core::text::thousands;
use engram_model::wavefront::Wavefront;
use engram_patch::{Fate, Plan, Schedule};
use serde::Serialize;

/// What a sweep costs on this machine. Shown, it is a line for each figure.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// Work, memory and wavefronts.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// The pairs.
    #[serde(skip)]
    pub pairs: usize,
    /// The machine's rate of a bare matrix product, as `engram bench sweep` measures it.
    pub gemm_gflops: f64,
    /// Time of the sweep's operations at that rate, in seconds.
    pub seconds: f64,
}

impl Cost {
    /// Measures this machine's rate, which takes about a second.
    pub fn here(schedule: Schedule, pairs: usize) -> Cost {
        let rate = Wavefront::product_rate(1024, 768, 3072);
        Cost {
            pairs,
            gemm_gflops: rate / 1e9,
            seconds: schedule.flops as f64 / rate,
            schedule,
        }
    }

    /// The figures, each with its name.
    pub fn figures(&self) -> [(&'static str, String); 10] {
        let schedule = &self.schedule;
        let waves: usize = schedule.groups.iter().map(|g| g.waves.len()).sum();
        let giga = |flops: u64| format!("{:.2} GFLOP", flops as f64 / 1e9);
        let time = format!(
            "{} ({:.0} GFLOP/s)",
            seconds(self.seconds),
            self.gemm_gflops
        );
        [
            ("pairs", thousands(self.pairs)),
            ("cells", thousands(schedule.cells)),
            (
                "fixed by the graph, or the same cell under another name",
                thousands(schedule.fixed),
            ),
            ("groups of pairs", thousands(schedule.groups.len())),
            ("wavefronts", thousands(waves)),
            ("work", giga(schedule.flops)),
            (
                "work of a forward pass for each cell",
                giga(schedule.flops_naive),
            ),
            ("time on this machine, about", time),
            (
                "memory, the model's included",
                ByteSize::b(schedule.bytes).to_string(),
            ),
            ("memory allowed", ByteSize::b(schedule.memory).to_string()),
        ]
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self
            .figures()
            .map(|(name, figure)| format!("{name}: {figure}"));
        f.write_str(&lines.join("\n"))
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 600.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

/// Where the graph fixes every row of a sweep: that, why, and what to ask for instead.
pub fn trivial_throughout(plan: &Plan) -> Option<String> {
    let spec = &plan.spec;
    let cells = || plan.pairs.iter().flat_map(|p| &p.cells);
    if !cells().all(|cell| cell.is_fixed(&spec.metrics)) {
        return None;
    }
    let fates = cells().flat_map(|cell| spec.metrics.iter().map(|m| cell.fate(*m)));
    let mut why: Vec<&str> = fates.clone().filter_map(Fate::why).collect();
    why.sort_unstable();
    why.dedup();
    let restored = fates.clone().any(|fate| fate == Fate::Source);
    let instead = match (spec.positions, restored) {
        (Positions::Each, _) => {
            "a site or layer whose values differ between the two prompts and are read later: resid_pre, attn_out, mlp_out"
        }
        (_, true) => {
            "single positions (--positions each), or what a block adds to the stream (attn_out, mlp_out)"
        }
        (_, false) => "single positions (--positions each), or an earlier layer",
    };
    Some(format!(
        "every row of this sweep is trivial, whatever the weights: {}. Ask for {instead}",
        why.join("; ")
    ))
}
