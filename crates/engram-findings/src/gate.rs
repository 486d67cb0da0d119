//! What the model knows, and whether that is more than chance: the gate before any statement about
//! where it keeps what it knows.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::{Corruption, Metric, PreferenceRow, Row};
use engram_stats::{
    Proportion, binomial_test_greater, bootstrap_cluster_mean, least_p_sign_flip, mean,
    proportion_interval, sign_flip,
};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{FindingsError, Result, if_enough};
use crate::words::{least_p, p_value, percent, plural};

/// What one model knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Whether the model prefers what the prompts call for above chance, over all pairs.
    pub passed: bool,
    /// The same in words.
    pub sentence: String,
    /// All pairs together (kind `None`), then each kind.
    pub kinds: Vec<KindGate>,
    /// Each pair that was measured, in the order of the suite.
    pub pairs: Vec<PairGate>,
}

impl Gate {
    /// The counts over all pairs (`None`) or of one kind.
    pub fn kind(&self, kind: Option<&str>) -> Option<&KindGate> {
        self.kinds.iter().find(|k| k.kind.as_deref() == kind)
    }

    /// Whether the gate is passed over all pairs and by this kind.
    pub fn passed_by(&self, kind: &str) -> bool {
        self.passed && self.kind(Some(kind)).is_some_and(|k| k.passed)
    }
}

/// One pair, unpatched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairGate {
    /// The pair's id.
    pub pair: String,
    /// Its kind.
    pub kind: String,
    /// Its relation.
    pub relation: Option<String>,
    /// Logit difference on the clean prompt.
    pub logit_diff_clean: f64,
    /// Logit difference on the corrupted prompt.
    pub logit_diff_corrupt: f64,
    /// Whether clean − corrupt is large enough for a recovery.
    pub eligible: bool,
    /// Whether the model *prefers* the right one: answer beats foil on the clean prompt, foil answer on the corrupted one.
    pub prefers: bool,
    /// Whether the model *says* the answer: greedy decoding gives it. `None` where that was not asked.
    #[serde(default)]
    pub says: Option<bool>,
}

/// What one model knows of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindGate {
    /// The kind; `None` is all pairs together.
    pub kind: Option<String>,
    /// Pairs measured.
    pub pairs: usize,
    /// Their clusters, which are what is independent; 0 in files from before these were counted.
    #[serde(default)]
    pub clusters: usize,
    /// Pairs whose clean − corrupt logit difference is large enough.
    pub eligible: usize,
    /// Pairs that are eligible and whose answer the model prefers: those that conclusions are drawn over.
    pub used: usize,
    /// Share of pairs whose right one the model prefers. By chance it is a quarter.
    pub prefers: Share,
    /// Share of pairs whose answer the model says; `None` where that was not asked. By chance it is next to none.
    #[serde(default)]
    pub says: Option<Share>,
    /// Share of pairs in their own wordings in which answer is preferred to foil; where the study taught the facts, these
    /// are trained wordings. By chance it is a half.
    pub trained: Option<Share>,
    /// The same in paraphrases, which are held back from training.
    pub held_back: Option<Share>,
    /// Share of prompts, clean and corrupted, on which the model prefers what the prompt calls for.
    /// A model that prefers one of the two words whatever the prompt has exactly a half.
    pub right: f64,
    /// p of `right` against a half: answer and foil exchanged within clusters (sign flips of cluster
    /// means), two-sided. `None` with fewer than two clusters.
    pub p_right: Option<f64>,
    /// p of `prefers` against a quarter: binomial, one-sided, a cluster a trial.
    pub p_prefers: Option<f64>,
    /// p of `trained` against a half: binomial, one-sided, a cluster a trial.
    pub p_trained: Option<f64>,
    /// Mean logit difference on the clean prompts of all pairs.
    pub mean_clean: f64,
    /// Mean logit difference on the corrupted prompts of all pairs.
    pub mean_corrupt: f64,
    /// Whether `right` is above a half, at the study's level.
    pub passed: bool,
}

/// A share with an interval: the wider, at each end, of Wilson's, in which a cluster is a trial, and of the bootstrap over
/// clusters, which has no width where all agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// How many do.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// Their clusters; 0 in files from before these were counted.
    #[serde(default)]
    pub clusters: usize,
    /// Their ratio.
    pub estimate: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Confidence level.
    pub level: f64,
}

/// A pair's state within a condition, by pair.
pub(crate) type States = BTreeMap<usize, PairGate>;

/// Decides the gate of one condition.
pub(crate) fn gate(
    context: &Context<'_>,
    condition: &str,
    rows: &[Row],
    preferences: &[PreferenceRow],
) -> Result<(Gate, States)> {
    let states = states(context, condition, rows, preferences)?;
    let mut kinds = Vec::new();
    let named = context.kinds.iter().map(Some);
    for kind in std::iter::once(None).chain(named) {
        if let Some(gate) = kind_gate(context, kind.map(String::as_str), &states, preferences)? {
            kinds.push(gate);
        }
    }
    let passed = kinds.first().is_some_and(|all| all.passed);
    let gate = Gate {
        passed,
        sentence: sentence(condition, kinds.first(), context.settings.alpha()),
        kinds,
        pairs: states.values().cloned().collect(),
    };
    Ok((gate, states))
}

fn states(
    context: &Context<'_>,
    condition: &str,
    rows: &[Row],
    preferences: &[PreferenceRow],
) -> Result<States> {
    let mut found: BTreeMap<usize, Unpatched> = BTreeMap::new();
    for row in rows {
        let of_pair = found
            .entry(context.pair(&row.pair, condition)?)
            .or_default();
        of_pair.says = of_pair.says.or(row.says);
        if row.metric == Metric::LogitDiff {
            of_pair.add(row);
        }
    }
    let mut best: BTreeMap<usize, u8> = BTreeMap::new();
    for row in preferences {
        check_preference(condition, row)?;
        let pair = context.pair(&row.pair, condition)?;
        // The pair's own wording first, then any trained one, then any.
        let rank = match (row.template == context.pairs[pair].template, row.held_back) {
            (true, false) => 4,
            (true, true) => 3,
            (false, false) => 2,
            (false, true) => 1,
        };
        if best.get(&pair).is_none_or(|&b| rank > b) {
            best.insert(pair, rank);
            let of_pair = found.entry(pair).or_default();
            *of_pair = Unpatched {
                sums: (row.logit_diff_clean, row.logit_diff_corrupt),
                rows: 1,
                says: row.says,
                corruption: None,
            };
        }
    }
    found
        .into_iter()
        .map(|(i, found)| {
            let pair = &context.pairs[i];
            let says = found.says;
            let (clean, corrupt) =
                found
                    .logit_diff()
                    .ok_or_else(|| FindingsError::NoLogitDifference {
                        condition: condition.to_owned(),
                        pair: pair.id.clone(),
                    })?;
            let state = PairGate {
                pair: pair.id.clone(),
                kind: pair.kind.clone(),
                relation: pair.relation.clone(),
                logit_diff_clean: clean,
                logit_diff_corrupt: corrupt,
                eligible: clean - corrupt >= context.settings.eligible_gap,
                prefers: clean > 0.0 && corrupt < 0.0,
                says,
            };
            Ok((i, state))
        })
        .collect()
}

/// What a pair's rows say of the unpatched model: logit differences of one corruption, summed over rows. Each noise
/// sample has as many, so that their mean is the mean over samples.
#[derive(Default)]
struct Unpatched {
    corruption: Option<Corruption>,
    sums: (f64, f64),
    rows: usize,
    says: Option<bool>,
}

impl Unpatched {
    /// Takes the pair's own corrupted prompt where it was swept, otherwise the first corruption that was.
    fn add(&mut self, row: &Row) {
        let swap = Corruption::Swap;
        if self.rows == 0 || (row.corruption == swap && self.corruption != Some(swap)) {
            (self.sums, self.rows) = ((0.0, 0.0), 0);
            self.corruption = Some(row.corruption);
        }
        // The same numbers in every row of a pair but under noise, whose samples differ.
        let once = self.rows > 0 && row.sample.is_none();
        if self.corruption == Some(row.corruption) && !once {
            self.sums.0 += row.clean;
            self.sums.1 += row.corrupt;
            self.rows += 1;
        }
    }

    fn logit_diff(&self) -> Option<(f64, f64)> {
        let n = self.rows as f64;
        (self.rows > 0).then(|| (self.sums.0 / n, self.sums.1 / n))
    }
}

fn check_preference(condition: &str, row: &PreferenceRow) -> Result<()> {
    for (column, value) in [
        ("logit_diff_clean", row.logit_diff_clean),
        ("logit_diff_corrupt", row.logit_diff_corrupt),
    ] {
        if !value.is_finite() {
            return Err(FindingsError::NotFinite {
                condition: condition.to_owned(),
                pair: row.pair.clone(),
                place: format!("wording {}", row.template.as_deref().unwrap_or("unnamed")),
                column,
                value,
            });
        }
    }
    Ok(())
}

fn kind_gate(
    context: &Context<'_>,
    kind: Option<&str>,
    states: &States,
    preferences: &[PreferenceRow],
) -> Result<Option<KindGate>> {
    let settings = &context.settings;
    let chosen: Vec<(usize, &PairGate)> = states
        .iter()
        .filter(|(_, s)| kind.is_none_or(|k| s.kind == k))
        .map(|(&i, s)| (i, s))
        .collect();
    let flags = |f: fn(&PairGate) -> bool| -> Vec<(usize, bool)> {
        chosen.iter().map(|(i, s)| (*i, f(s))).collect()
    };
    let Some(prefers) = share(context, &flags(|s| s.prefers))? else {
        return Ok(None);
    };
    let asked = chosen.iter().filter_map(|(i, s)| Some((*i, s.says?)));
    let says = share(context, &asked.collect::<Vec<_>>())?;
    let wordings = |held_back: bool| -> Result<Option<Share>> {
        let rows = preferences.iter().filter(|r| r.held_back == held_back);
        let found: Vec<(usize, bool)> = rows
            .filter_map(|r| Some((context.find(&r.pair)?, r.is_right_on_clean())))
            .filter(|(i, _)| kind.is_none_or(|k| context.pairs[*i].kind == k))
            .collect();
        share(context, &found)
    };
    let trained = if preferences.is_empty() {
        share(context, &flags(|s| s.logit_diff_clean > 0.0))?
    } else {
        wordings(false)?
    };
    let what = || "the gate of knowing".to_owned();
    let excess = chosen.iter().map(|(i, s)| {
        let right = u8::from(s.logit_diff_clean > 0.0) + u8::from(s.logit_diff_corrupt < 0.0);
        (*i, f64::from(right) / 2.0 - 0.5)
    });
    let clusters = context.cluster_means(excess.clone());
    let right: Vec<f64> = excess.map(|(_, v)| v + 0.5).collect();
    let test = if clusters.len() < 2 {
        None
    } else {
        if_enough(
            sign_flip(&clusters, settings.permutations, settings.seed),
            what,
        )?
        .ok()
    };
    let binomial = |share: &Share, p0: f64| -> Result<Option<f64>> {
        let won = share.count * share.clusters / share.of;
        Ok(if_enough(binomial_test_greater(won, share.clusters, p0), what)?.ok())
    };
    let average = |f: fn(&PairGate) -> f64| -> Result<f64> {
        let values: Vec<f64> = chosen.iter().map(|(_, s)| f(s)).collect();
        mean(&values).map_err(|source| FindingsError::Stats {
            what: what(),
            source,
        })
    };
    Ok(Some(KindGate {
        kind: kind.map(str::to_owned),
        pairs: chosen.len(),
        clusters: clusters.len(),
        eligible: chosen.iter().filter(|(_, s)| s.eligible).count(),
        used: (chosen.iter())
            .filter(|(_, s)| s.eligible && s.prefers)
            .count(),
        p_prefers: binomial(&prefers, 0.25)?,
        p_trained: trained.as_ref().map_or(Ok(None), |t| binomial(t, 0.5))?,
        prefers,
        says,
        trained,
        held_back: wordings(true)?,
        right: mean(&right).map_err(|source| FindingsError::Stats {
            what: what(),
            source,
        })?,
        p_right: test.map(|t| t.p_value),
        mean_clean: average(|s| s.logit_diff_clean)?,
        mean_corrupt: average(|s| s.logit_diff_corrupt)?,
        passed: test.is_some_and(|t| t.statistic > 0.0 && t.p_value < settings.alpha()),
    }))
}

/// The share of `true`, by pair; `None` of nothing.
pub(crate) fn share(context: &Context<'_>, flags: &[(usize, bool)]) -> Result<Option<Share>> {
    let settings = &context.settings;
    let what = || "a share".to_owned();
    let count = flags.iter().filter(|(_, yes)| *yes).count();
    let of_clusters: BTreeSet<usize> = flags.iter().map(|(i, _)| context.clusters[*i]).collect();
    let clusters = of_clusters.len();
    let estimate = count as f64 / flags.len().max(1) as f64;
    let won = (estimate * clusters as f64).round() as usize;
    let wilson = proportion_interval(won.min(clusters), clusters, settings.level);
    let Ok(Proportion {
        mut lower,
        mut upper,
        ..
    }) = if_enough(wilson, what)?
    else {
        return Ok(None);
    };
    let values: Vec<(usize, f64)> = flags
        .iter()
        .map(|&(pair, yes)| (context.clusters[pair], f64::from(u8::from(yes))))
        .collect();
    let clustered =
        bootstrap_cluster_mean(&values, settings.resamples, settings.level, settings.seed);
    if let Ok(interval) = if_enough(clustered, what)? {
        lower = lower.min(interval.lower);
        upper = upper.max(interval.upper);
    }
    Ok(Some(Share {
        count,
        of: flags.len(),
        clusters,
        estimate,
        lower,
        upper,
        level: settings.level,
    }))
}

fn sentence(condition: &str, all: Option<&KindGate>, alpha: f64) -> String {
    let Some(all) = all else {
        return format!(
            "{condition}: no pair was measured, so nothing is said about what this model knows."
        );
    };
    let counts = format!(
        "it prefers what the prompt calls for on {} of the prompts of {}{}, where chance is a half",
        percent(all.right),
        plural(all.pairs, "pair"),
        match all.clusters < all.pairs {
            true => format!(" in {}", plural(all.clusters, "cluster")),
            false => String::new(),
        }
    );
    let least = least_p_sign_flip(all.clusters);
    match (all.passed, all.p_right) {
        (true, Some(p)) => format!(
            "{condition} knows more than chance: {counts} ({}).",
            p_value(p)
        ),
        (false, Some(_)) if all.right > 0.5 && least >= alpha => format!(
            "{condition} has too few clusters to show that it knows more than chance: {counts}, and {} of pairs that do not \
             share prompts or facts allow no p below {}. No statement is made about where it keeps knowledge.",
            plural(all.clusters, "cluster"),
            least_p(least)
        ),
        (false, Some(p)) if all.right > 0.5 => format!(
            "{condition} is not shown to know more than chance: {counts} ({}, threshold {alpha}). \
             No statement is made about where it keeps knowledge.",
            p_value(p)
        ),
        (_, Some(_)) => format!(
            "{condition} does not know more than chance: {counts}. \
             No statement is made about where it keeps knowledge."
        ),
        (_, None) => format!(
            "{condition}: {counts}; too few independent pairs to tell that from chance. \
             No statement is made about where it keeps knowledge."
        ),
    }
}
