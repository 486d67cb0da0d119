//! What tests of findings share.

use engram_core::Pair;
use engram_findings::{Condition, Findings, Settings, StudyResults, findings};

/// Few draws.
pub fn quick() -> Settings {
    Settings {
        resamples: 200,
        permutations: 400,
        ..Settings::default()
    }
}

/// The findings of a study that asks for the published figures, its own suite in their protocol.
pub fn of(suite: &[Pair], conditions: &[Condition], settings: Settings) -> Findings {
    let study = StudyResults {
        suite,
        published: Some(suite),
        confounds: &[],
        conditions,
        edits: &[],
        settings,
    };
    findings(&study).unwrap()
}
