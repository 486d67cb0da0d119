//! One model against another, paired by pair: which of them prefers the right one of more pairs?

use engram_stats::binomial_test_greater;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::gate::{Share, States, share};
use crate::words::{percent, plural};

/// Of how many pairs each of two models prefers the right one, over the pairs that both were asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The model compared with, usually `base`.
    pub from: String,
    /// The other.
    pub to: String,
    /// The kind; `None` is all pairs together.
    pub kind: Option<String>,
    /// Pairs asked of both.
    pub pairs: usize,
    /// Share whose right one `from` prefers.
    pub prefers_from: Share,
    /// Share whose right one `to` prefers.
    pub prefers_to: Share,
    /// Share whose answer `from` says; `None` where not both were asked that.
    #[serde(default)]
    pub says_from: Option<Share>,
    /// Share whose answer `to` says.
    #[serde(default)]
    pub says_to: Option<Share>,
    /// Pairs whose right one only `from` prefers.
    pub only_from: usize,
    /// Pairs whose right one only `to` prefers.
    pub only_to: usize,
    /// Exact sign test on the pairs whose right one only one of the two prefers (McNemar's, exact), two-sided.
    pub p_value: f64,
    /// How far the two models are apart on these prompts: the root mean square of the change of the logit difference,
    /// clean and corrupted prompts together, over that of the logit difference of `from`. `None` where that is 0.
    #[serde(default)]
    pub change: Option<f64>,
}

/// Below this [`Comparison::change`], two models are as good as one: a tenth of what the answers differ by.
pub const HARDLY: f64 = 0.1;

impl Comparison {
    /// Whether the two models hardly differ on these prompts.
    pub fn hardly_differs(&self) -> bool {
        self.change.is_some_and(|change| change < HARDLY)
    }

    /// That they hardly differ, in words; `None` where they do differ.
    pub fn sameness(&self) -> Option<String> {
        let change = self.change.filter(|_| self.hardly_differs())?;
        Some(format!(
            "{} hardly differs from {}: between the two the logit differences of {} change by {} of their size (root mean square). What is said of the one is said of the other, and a difference between them says nothing about training.",
            self.to,
            self.from,
            plural(self.pairs, "pair"),
            percent(change)
        ))
    }
}

/// Root mean square of the change over that of the first model's logit differences.
fn change(context: &Context<'_>, kind: Option<&String>, from: &States, to: &States) -> Option<f64> {
    let (mut changed, mut own) = (0.0, 0.0);
    for (pair, a) in from
        .iter()
        .filter(|(p, _)| kind.is_none_or(|k| context.pairs[**p].kind == *k))
    {
        let Some(b) = to.get(pair) else { continue };
        let prompts = [
            (a.logit_diff_clean, b.logit_diff_clean),
            (a.logit_diff_corrupt, b.logit_diff_corrupt),
        ];
        for (a, b) in prompts {
            changed += (b - a) * (b - a);
            own += a * a;
        }
    }
    (own > 0.0).then(|| (changed / own).sqrt())
}

/// Compares two conditions, over all pairs and by kind.
pub(crate) fn compare(
    context: &Context<'_>,
    from: (&str, &States),
    to: (&str, &States),
) -> Result<Vec<Comparison>> {
    let mut found = Vec::new();
    let named = context.kinds.iter().map(Some);
    for kind in std::iter::once(None).chain(named) {
        let both: Vec<(usize, bool, bool)> = from
            .1
            .iter()
            .filter(|(_, s)| kind.is_none_or(|k| s.kind == *k))
            .filter_map(|(pair, s)| Some((*pair, s.prefers, to.1.get(pair)?.prefers)))
            .collect();
        let said = (from.1.iter())
            .filter(|(_, s)| kind.is_none_or(|k| s.kind == *k))
            .filter_map(|(pair, s)| Some((*pair, s.says?, to.1.get(pair)?.says?)));
        let said: Vec<(usize, bool, bool)> = said.collect();
        let of_from: Vec<(usize, bool)> = both.iter().map(|(p, a, _)| (*p, *a)).collect();
        let of_to: Vec<(usize, bool)> = both.iter().map(|(p, _, b)| (*p, *b)).collect();
        let (Some(prefers_from), Some(prefers_to)) =
            (share(context, &of_from)?, share(context, &of_to)?)
        else {
            continue;
        };
        let only_from = both.iter().filter(|(_, a, b)| *a && !b).count();
        let only_to = both.iter().filter(|(_, a, b)| !a && *b).count();
        let discordant = only_from + only_to;
        let tail = binomial_test_greater(only_from.max(only_to), discordant, 0.5);
        // With nothing discordant there is nothing to test.
        let tail = if_enough(tail, || "the comparison of models".to_owned())?.unwrap_or(1.0);
        found.push(Comparison {
            from: from.0.to_owned(),
            to: to.0.to_owned(),
            kind: kind.cloned(),
            pairs: both.len(),
            prefers_from,
            prefers_to,
            says_from: share(
                context,
                &said.iter().map(|s| (s.0, s.1)).collect::<Vec<_>>(),
            )?,
            says_to: share(
                context,
                &said.iter().map(|s| (s.0, s.2)).collect::<Vec<_>>(),
            )?,
            only_from,
            only_to,
            p_value: (2.0 * tail).min(1.0),
            change: change(context, kind, from.1, to.1),
        });
    }
    Ok(found)
}
