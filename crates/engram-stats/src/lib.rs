//! Statistics for activation patching: tests, intervals, corrections for many
//! tests, and effect sizes, as plain functions on `&[f64]`.
//!
//! The unit is the pair; layers are repeated measures within it; pairs that
//! share facts form a cluster, and relations are the level above. Which of
//! these a slice holds is the caller's to know. What belongs together:
//!
//! | question | function |
//! |---|---|
//! | do layers differ at all? | [`friedman`] on cluster means |
//! | does this layer stand out? | [`wilcoxon_signed_rank`] or [`sign_flip`], then [`holm`] |
//! | do the two kinds differ? | [`permute_kinds`], [`bootstrap_two_stage_difference`] |
//! | how large, how sure? | the `bootstrap_*` functions, [`cohen_d_paired`], [`hedges_g`], [`cliffs_delta`] |
//! | does the model know its facts? | [`binomial_test_greater`], [`proportion_interval`] |
//! | how localised is a profile? | [`localisation`] |
//! | what does one thing explain beside another? | [`r_squared_gain`] |
//!
//! Everything random draws from ChaCha8 seeded by the caller, so the same input
//! and seed give the same bits. Values that are not finite are an error, never
//! a silent NaN.
#![deny(missing_docs)]

mod bootstrap;
mod descriptive;
mod effect;
mod error;
mod friedman;
mod interval;
mod localisation;
mod multiplicity;
mod permutation;
mod proportion;
mod rank;
mod regression;
mod two_stage;
mod wilcoxon;

pub use bootstrap::{bootstrap_cluster_mean, bootstrap_mean, bootstrap_ratio_of_means};
pub use descriptive::{mean, median, quantile, std_dev};
pub use effect::{cliffs_delta, cohen_d_paired, hedges_g};
pub use error::StatsError;
pub use friedman::{Friedman, friedman};
pub use interval::{Interval, IntervalMethod};
pub use localisation::{Localisation, MIN_TOTAL_RECOVERY, localisation};
pub use multiplicity::{benjamini_hochberg, holm};
pub use permutation::{MIN_RELATIONS_PER_KIND, PermutationTest, permute_kinds, sign_flip};
pub use proportion::{Proportion, binomial_test_greater, proportion_interval};
pub use regression::{Explained, r_squared, r_squared_gain};
pub use two_stage::bootstrap_two_stage_difference;
pub use wilcoxon::{EXACT_UP_TO, Wilcoxon, WilcoxonMethod, wilcoxon_signed_rank};
