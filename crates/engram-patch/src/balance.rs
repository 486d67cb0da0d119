//! Balancing kinds by the length of their answers' first tokens: a model reads a fact in its first
//! token, and what is short is often shared by other words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One kind's pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindBalance {
    /// Number of pairs.
    pub pairs: usize,
    /// Mean number of characters of the answer's first token, blanks left out.
    pub mean_chars: f64,
    /// Standard deviation of that number.
    pub sd_chars: f64,
}

/// How far kinds are balanced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Every kind, all pairs that could be built.
    pub before: BTreeMap<String, KindBalance>,
    /// Every kind, the pairs of the suite.
    pub after: BTreeMap<String, KindBalance>,
    /// Largest difference of means between kinds, in standard deviations within kinds, before.
    pub difference_before: f64,
    /// The same after.
    pub difference_after: f64,
    /// The difference that is allowed.
    pub target: f64,
    /// The number of pairs of a kind below which none was dropped to balance.
    pub floor: usize,
    /// Whether the difference allowed is kept.
    pub met: bool,
    /// Pairs dropped to balance.
    pub dropped_to_balance: usize,
    /// Pairs dropped because more were built than asked for.
    pub dropped_to_cap: usize,
}

/// Pairs that stay or go together.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) kind: String,
    pub(crate) relation: String,
    /// Characters of the first token of each pair's answer.
    pub(crate) chars: Vec<f64>,
    pub(crate) fate: Inclusion,
}

/// Whether a group is in the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inclusion {
    Yes,
    DroppedToBalance,
    DroppedToCap,
}

/// Drops whole groups, first until the kinds differ by less than `target` standard deviations or no
/// drop helps that leaves `floor` pairs of the kind and one group of each relation; then until each
/// kind has at most `cap` pairs, from its largest relation.
pub(crate) fn balance(
    groups: &mut [Group],
    target: f64,
    floor: usize,
    cap: Option<usize>,
) -> Balance {
    let floor = floor.min(cap.unwrap_or(floor));
    let before = summary(groups, None);
    let difference_before = difference(&before);
    let mut now = difference_before;
    while now >= target {
        let may_go = |i: &usize| {
            let group = &groups[*i];
            let of_kind = count(groups, |g| g.kind == group.kind);
            let of_relation = count(groups, |g| g.relation == group.relation);
            of_kind >= floor + group.chars.len() && of_relation > group.chars.len()
        };
        match best(groups, may_go) {
            Some((without, i)) if without < now => {
                groups[i].fate = Inclusion::DroppedToBalance;
                now = without;
            }
            _ => break,
        }
    }
    let kinds: Vec<String> = before.keys().cloned().collect();
    for kind in kinds {
        while cap.is_some_and(|cap| count(groups, |g| g.kind == kind) > cap) {
            let size = |i: &usize| count(groups, |g| g.relation == groups[*i].relation);
            let own = || (0..groups.len()).filter(|i| kept(&groups[*i]) && groups[*i].kind == kind);
            let largest = own().map(|i| size(&i)).max().unwrap_or(0);
            let Some((_, i)) = best(groups, |i| groups[*i].kind == kind && size(i) == largest)
            else {
                break;
            };
            groups[i].fate = Inclusion::DroppedToCap;
        }
    }
    let after = summary(groups, None);
    let difference_after = difference(&after);
    let dropped = |fate| {
        let gone = groups.iter().filter(|g| g.fate == fate);
        gone.map(|g| g.chars.len()).sum()
    };
    Balance {
        before,
        after,
        difference_before,
        difference_after,
        target,
        floor,
        met: difference_after < target,
        dropped_to_balance: dropped(Inclusion::DroppedToBalance),
        dropped_to_cap: dropped(Inclusion::DroppedToCap),
    }
}

fn kept(group: &Group) -> bool {
    group.fate == Inclusion::Yes
}

fn count(groups: &[Group], which: impl Fn(&Group) -> bool) -> usize {
    let counted = groups.iter().filter(|g| kept(g) && which(g));
    counted.map(|g| g.chars.len()).sum()
}

/// The group without which the kinds differ least, and that difference; of equal ones the last.
fn best(groups: &[Group], may_go: impl Fn(&usize) -> bool) -> Option<(f64, usize)> {
    (0..groups.len())
        .filter(|i| kept(&groups[*i]) && may_go(i))
        .map(|i| (difference(&summary(groups, Some(i))), i))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
}

fn summary(groups: &[Group], without: Option<usize>) -> BTreeMap<String, KindBalance> {
    let mut chars: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (i, group) in groups.iter().enumerate() {
        if kept(group) && Some(i) != without {
            let of_kind = chars.entry(group.kind.clone()).or_default();
            of_kind.extend(&group.chars);
        }
    }
    let moments = |values: &Vec<f64>| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        KindBalance {
            pairs: values.len(),
            mean_chars: mean,
            sd_chars: if values.len() > 1 {
                (squares / (n - 1.0)).sqrt()
            } else {
                0.0
            },
        }
    };
    chars
        .iter()
        .map(|(kind, v)| (kind.clone(), moments(v)))
        .collect()
}

/// The largest difference of means between kinds over the standard deviation within kinds; 0 with one
/// kind.
fn difference(kinds: &BTreeMap<String, KindBalance>) -> f64 {
    let means = || kinds.values().map(|k| k.mean_chars);
    let spread = means().fold(f64::MIN, f64::max) - means().fold(f64::MAX, f64::min);
    if kinds.len() < 2 || spread == 0.0 {
        return 0.0;
    }
    let variance = kinds.values().map(|k| k.sd_chars.powi(2)).sum::<f64>() / kinds.len() as f64;
    spread / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(kind: &str, chars: &[f64]) -> Vec<Group> {
        let group = |(i, c): (usize, &f64)| Group {
            kind: kind.into(),
            relation: format!("{kind}{}", i % 3),
            chars: vec![*c, *c],
            fate: Inclusion::Yes,
        };
        chars.iter().enumerate().map(group).collect()
    }

    #[test]
    fn the_longer_side_loses_its_longest_until_kinds_agree() {
        let mut all = groups("a", &[3.0, 4.0, 5.0, 3.0, 4.0, 5.0]);
        all.extend(groups("b", &[4.0, 4.0, 5.0, 3.0, 4.0, 9.0]));
        let report = balance(&mut all, 0.25, 4, None);
        assert!(report.difference_before > 0.25 && report.met);
        assert!(report.difference_after < 0.25);
        assert!(report.after.values().all(|k| k.pairs >= 4));
        assert_eq!(all[11].fate, Inclusion::DroppedToBalance, "9 characters");
    }

    #[test]
    fn the_floor_holds_and_the_cap_is_kept() {
        let mut all = groups("a", &[1.0; 6]);
        all.extend(groups("b", &[9.0, 8.0, 9.0, 9.0, 8.0, 9.0]));
        let report = balance(&mut all, 0.25, 10, Some(9));
        assert!(!report.met);
        assert!(report.after.values().all(|k| k.pairs == 8), "{report:?}");
    }
}
