//! Statistics for activation patching: tests, intervals, corrections for many
//! tests, and effect sizes, as plain functions on `&[f64]`.
//!
//! The unit is the pair; layers are repeated measures within it; pairs that
//! share facts form a cluster, and relations are the level above. Which of
//! these a slice holds is the caller's to know. What belongs together:
//!
//! | question | function |
//! |---|---|
//! | do layers differ at all? | [`friedman`] on cluster means, with Kendall's W |
//! | does this layer stand out? | [`wilcoxon_signed_rank`] or [`sign_flip`], then [`holm`] or [`benjamini_hochberg`] |
//! | which layers do, neighbours being alike? | [`max_t_sign_flip`] on cluster means |
//! | do two groups of pairs differ? | [`mann_whitney`], [`permute_two_samples`], [`permute_clusters`] |
//! | do the two kinds differ? | [`permute_kinds`], [`two_stage_difference_interval`]; in which layers: [`max_t_kinds`] |
//! | do they beyond a covariate? | [`permute_kinds_adjusted`], or [`match_nearest`] and [`matched_difference_interval`] |
//! | what explains the differences between pairs? | [`ols`] with [`Errors::Clustered`], [`r_squared_gain`] |
//! | do two numbers rise together? | [`spearman`] |
//! | how large, how sure? | the functions `*_interval` on a [`Resampling`], and `bootstrap_*`, which are those with BCa ends |
//! | how large, whatever the unit? | [`cohen_d_paired`], [`hedges_g`], [`cliffs_delta`], the rank-biserial correlation of [`Wilcoxon`], and their intervals |
//! | can so few show it at all? | [`least_p_sign_flip`], [`least_p_kinds`] |
//! | how many pairs would show it? | [`pairs_needed`], [`relations_needed`], [`power_paired`], [`smallest_effect_paired`] |
//! | how many pairs are there really? | [`icc`] of pairs within relations |
//! | does the model know its facts? | [`binomial_test_greater`], [`proportion_interval`] |
//! | how localised is a profile? | [`localisation`] |
//!
//! Everything random draws from ChaCha8 seeded by the caller, so the same input
//! and seed give the same bits. Values that are not finite are an error, never
//! a silent NaN.
//!
//! ```
//! use engram_stats::{Resampling, holm, mean_interval, wilcoxon_signed_rank};
//!
//! // Differences between two layers, a value a pair.
//! let first = [0.42, 0.31, 0.55, 0.12, 0.48, 0.37, 0.29, 0.51];
//! let second = [0.05, -0.11, 0.02, 0.09, -0.04, 0.07, -0.08, 0.01];
//! let p = [wilcoxon_signed_rank(&first)?.p_value, wilcoxon_signed_rank(&second)?.p_value];
//! let adjusted = holm(&p)?;
//! assert!(adjusted[0] < 0.05 && adjusted[1] > 0.05);
//! let interval = mean_interval(&first, Resampling::bca(2000, 0.95, 1))?;
//! assert!(interval.lower > 0.0);
//! # Ok::<(), engram_stats::StatsError>(())
//! ```

#![deny(missing_docs)]
#![deny(clippy::expect_used, clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod adjusted;
mod bootstrap;
mod correlation;
mod descriptive;
mod design;
mod difference;
mod effect;
mod effect_interval;
mod error;
mod fit;
mod friedman;
mod icc;
mod interval;
mod least_p;
mod localisation;
mod mann_whitney;
mod matching;
mod max_t;
mod multiplicity;
mod nested;
mod permutation;
mod power;
mod proportion;
mod qr;
mod rank;
mod regression;
mod resampling;
mod sign_flip;
mod step_down;
mod student;
mod sums;
mod two_sample;
mod two_stage;
mod wilcoxon;

pub use adjusted::{AdjustedKind, KIND, KindPairs, permute_kinds_adjusted};
pub use bootstrap::{
    bootstrap_cluster_mean, bootstrap_mean, bootstrap_ratio_of_means, cluster_mean_interval,
    mean_interval, ratio_interval,
};
pub use correlation::spearman;
pub use descriptive::{mean, median, quantile, std_dev};
pub use design::{DesignColumn, dummies};
pub use difference::{cluster_difference_interval, difference_interval};
pub use effect::{cliffs_delta, cohen_d_paired, hedges_g};
pub use effect_interval::{
    cliffs_delta_interval, cohen_d_paired_interval, hedges_g_interval, rank_biserial_interval,
};
pub use error::StatsError;
pub use friedman::{Friedman, friedman};
pub use icc::{Icc, icc};
pub use interval::{Interval, IntervalMethod};
pub use least_p::{least_p_kinds, least_p_sign_flip};
pub use localisation::{Localisation, MIN_TOTAL_RECOVERY, localisation};
pub use mann_whitney::{MannWhitney, mann_whitney};
pub use matching::{Matching, match_nearest, matched_difference_interval};
pub use max_t::{max_t_kinds, max_t_sign_flip};
pub use multiplicity::{benjamini_hochberg, holm};
pub use nested::{RSquaredGain, r_squared_gain};
pub use permutation::PermutationTest;
pub use power::{
    pairs_needed, power_paired, power_two_groups, relations_needed, smallest_effect_paired,
    smallest_effect_two_groups,
};
pub use proportion::{Proportion, binomial_test_greater, proportion_interval};
pub use regression::{Coefficient, Errors, INTERCEPT, Regression, ols};
pub use resampling::{Ends, Resampling, statistic_interval};
pub use sign_flip::sign_flip;
pub use step_down::{LayerStatistic, MaxT};
pub use two_sample::{
    MIN_RELATIONS_PER_KIND, permute_clusters, permute_kinds, permute_two_samples,
};
pub use two_stage::{
    bootstrap_two_stage_difference, two_stage_difference_interval, two_stage_mean_interval,
    two_stage_ratio_interval,
};
pub use wilcoxon::{
    EXACT_UP_TO, Wilcoxon, WilcoxonMethod, ZeroMethod, wilcoxon_signed_rank,
    wilcoxon_signed_rank_with,
};
