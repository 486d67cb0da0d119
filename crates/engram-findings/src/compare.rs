//! One model against another, paired by pair: which of them knows more?

use engram_stats::binomial_test_greater;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::gate::{Share, States, share};

/// How many pairs each of two models knows, over the pairs that both were asked.
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
    /// Share known by `from`.
    pub known_from: Share,
    /// Share known by `to`.
    pub known_to: Share,
    /// Pairs that only `from` knows.
    pub only_from: usize,
    /// Pairs that only `to` knows.
    pub only_to: usize,
    /// Exact sign test on the pairs that one of the two knows (McNemar's, exact), two-sided.
    pub p_value: f64,
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
            .filter_map(|(pair, s)| Some((*pair, s.knows, to.1.get(pair)?.knows)))
            .collect();
        let of_from: Vec<(usize, bool)> = both.iter().map(|(p, a, _)| (*p, *a)).collect();
        let of_to: Vec<(usize, bool)> = both.iter().map(|(p, _, b)| (*p, *b)).collect();
        let (Some(known_from), Some(known_to)) =
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
            known_from,
            known_to,
            only_from,
            only_to,
            p_value: (2.0 * tail).min(1.0),
        });
    }
    Ok(found)
}
