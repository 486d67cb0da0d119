//! What can go wrong before and during a sweep.

use bytesize::ByteSize;

use crate::check::Unfit;

/// Result of this crate.
pub type Result<T, E = PatchError> = std::result::Result<T, E>;

/// An error in a suite, a plan or a sweep, worded for the person who asked for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// Pairs that cannot be patched.
    #[error("{count} of {total} pairs cannot be patched: {list}")]
    Unfit {
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// Each one's id with its problems.
        list: String,
    },
    /// Questions whose correct and corrupted answers differ in tokens.
    #[error(
        "{count} of {total} questions have answers of unequal length under this model's tokenizer; word them so that \
             both have as many tokens: {list}"
    )]
    UnequalAnswers {
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// Each one's id with its numbers of tokens.
        list: String,
    },
    /// A plan of another model than the engine's.
    #[error("the plan is of a model of {plan}; this engine runs one of {model}")]
    OtherModel {
        /// The sizes of the plan's model.
        plan: String,
        /// The sizes of the engine's.
        model: String,
    },
    /// A plan that contradicts itself or its model.
    #[error("pair \"{pair}\"{}: {why}", site.as_ref().map_or(String::new(), |site| format!(", site {site}")))]
    Plan {
        /// The pair.
        pair: String,
        /// The site, where it is about a cell.
        site: Option<String>,
        /// The value, and what it is to be.
        why: String,
    },
    /// The caller cancelled the sweep; what was handed on is whole.
    #[error("the sweep was cancelled")]
    Cancelled,
    /// Nothing to sweep.
    #[error("there is nothing to patch: {why}")]
    Empty {
        /// What there is none of.
        why: &'static str,
    },
    /// Facts of which no two can be paired.
    #[error("no pair can be built from {facts} facts: {why}")]
    NoPair {
        /// How many facts there are.
        facts: usize,
        /// What stands in the way, counted.
        why: String,
    },
    /// A setting that no engine here can do.
    #[error("{what} \"{value}\" is not supported; supported: {supported}")]
    Unsupported {
        /// Which setting.
        what: &'static str,
        /// What was asked for.
        value: String,
        /// What would do.
        supported: &'static str,
    },
    /// A cell on a layer that the model does not have.
    #[error("site \"{name}\": the model has {layers} layers")]
    NoSuchLayer {
        /// The site as asked.
        name: String,
        /// How many layers there are.
        layers: usize,
    },
    /// Heads or neurons that the model does not have.
    #[error("site \"{name}\": it has {count} heads or neurons, 0 to {}", count - 1)]
    NoSuchPart {
        /// The site as asked.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// Settings that exclude each other.
    #[error("{what} does not go with {other}: {why}")]
    Contradiction {
        /// The one.
        what: String,
        /// The other.
        other: String,
        /// The reason.
        why: &'static str,
    },
    /// A journal of another sweep.
    #[error("{}: holds another sweep (other pairs, sites, settings or weights); name another --out, or remove it", path.display())]
    Journal {
        /// The journal.
        path: std::path::PathBuf,
    },
    /// A memory bound below what the least batch takes.
    #[error(
        "at least {} of memory are needed for this sweep, {} are allowed (--memory)",
        ByteSize::mib(least.div_ceil(1 << 20)), ByteSize::b(*given)
    )]
    Memory {
        /// The fewest bytes that would do.
        least: u64,
        /// What was given.
        given: u64,
    },
    /// A pair that lacks what the plan needs.
    #[error("pair \"{pair}\": {why}")]
    Pair {
        /// The pair's id.
        pair: String,
        /// What it lacks.
        why: String,
    },
    /// NaN or infinity in a run.
    #[error("pair \"{pair}\": {run} has values that are not finite, first at {site}")]
    NotFinite {
        /// The pair's id.
        pair: String,
        /// Which run.
        run: String,
        /// The first site, layer included, at which one was seen.
        site: String,
    },
    /// A caller's metric that gives NaN or infinity.
    #[error(
        "pair \"{pair}\": metric {metric} gives {value} for {run}, which is not a finite number"
    )]
    MetricNotFinite {
        /// The pair's id.
        pair: String,
        /// The run, with the site where it is a patched one.
        run: String,
        /// The metric.
        metric: String,
        /// What it gave.
        value: f64,
    },
    /// A model or its tokenizer failed.
    #[error(transparent)]
    Model(#[from] engram_model::ModelError),
    /// A name or a file failed.
    #[error(transparent)]
    Core(#[from] engram_core::CoreError),
    /// The tensor library failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl PatchError {
    /// The error that names all pairs of a suite that are unfit.
    pub(crate) fn unfit(unfit: &[Unfit], total: usize) -> PatchError {
        let list = unfit.iter();
        let list: Vec<String> = list
            .map(|u| format!("{} ({})", u.pair, u.problems.join("; ")))
            .collect();
        PatchError::Unfit {
            count: unfit.len(),
            total,
            list: list.join(", "),
        }
    }
}
