//! Where a sequence of edits breaks down: the first point at which the model no longer says most of what it was edited to
//! say, or says other things otherwise.

use engram_core::SequencePoint;
use serde::{Deserialize, Serialize};

use crate::words::percent;

/// The least efficacy: below it fewer than half of the edits are left.
pub const LEAST_EFFICACY: f64 = 0.5;

/// The largest rise of perplexity, relative to the unedited model's.
pub const MOST_PERPLEXITY: f64 = 0.2;

/// The largest share of the probe's prompts with another most probable next token.
pub const MOST_PROBE: f64 = 0.25;

/// The first point at which a sequence is broken down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Edited facts there.
    pub edits: usize,
    /// The scored point before it; 0 if there is none. The breakdown is between them.
    pub after: usize,
    /// What is broken, a sentence each.
    pub reasons: Vec<String>,
}

/// The first point at which efficacy is below a half, perplexity up by more than 20 %, or the next token changed after more
/// than a quarter of the probe's prompts; `None` if there is none.
pub fn breakdown(points: &[SequencePoint]) -> Option<Breakdown> {
    let mut after = 0;
    for point in points {
        let mut reasons = Vec::new();
        if let Some(efficacy) = point.after.efficacy
            && efficacy.score < LEAST_EFFICACY
        {
            reasons.push(format!("efficacy is {}", percent(efficacy.score)));
        }
        if let Some([before, now]) = point.perplexity {
            // A perplexity that is no number is broken too.
            let rise = now / before - 1.0;
            if rise.is_nan() || rise > MOST_PERPLEXITY {
                reasons.push(format!("perplexity is up by {}", percent(rise)));
            }
        }
        if point.probe.changed > MOST_PROBE {
            let changed = percent(point.probe.changed);
            reasons.push(format!(
                "{changed} of the unrelated prompts say another token"
            ));
        }
        if !reasons.is_empty() {
            return Some(Breakdown {
                edits: point.edits,
                after,
                reasons,
            });
        }
        after = point.edits;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram_core::{ProbeEffect, Score, WinRate};

    fn point(edits: usize, efficacy: f64, perplexity: f64, changed: f64) -> SequencePoint {
        SequencePoint {
            edits,
            scored: edits,
            after: Score {
                efficacy: Some(WinRate {
                    score: efficacy,
                    ..WinRate::default()
                }),
                ..Score::default()
            },
            perplexity: Some([10.0, perplexity]),
            probe: ProbeEffect { changed, kl: 0.0 },
            ..SequencePoint::default()
        }
    }

    #[test]
    fn the_first_point_beyond_a_bound_is_the_breakdown() {
        // Each bound itself still holds.
        let whole = [point(1, 1.0, 10.0, 0.0), point(10, 0.5, 12.0, 0.25)];
        assert_eq!(breakdown(&whole), None);
        assert_eq!(breakdown(&[]), None);
        for (worse, reasons) in [
            (point(100, 0.49, 10.0, 0.0), 1),
            (point(100, 1.0, 12.1, 0.0), 1),
            (point(100, 1.0, f64::NAN, 0.26), 2),
        ] {
            let all = [&whole[..], &[worse]].concat();
            let found = breakdown(&all).unwrap();
            assert_eq!((found.edits, found.after), (100, 10));
            assert_eq!(found.reasons.len(), reasons);
        }
    }
}
