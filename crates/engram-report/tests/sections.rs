//! A report speaks of its own study, and a section without content is not there.

mod common;

use common::{FULL, PAGE, found, input, markup};
use engram_findings::{Condition, Findings, Settings, StudyResults, findings};
use engram_report::{Look, ReportInput, render, summary_text};

/// A sweep of one untrained model over pairs of one kind, in a study that does not ask for the published figures.
fn of_one_kind() -> Findings {
    let mut condition = FULL.condition("pythia");
    condition.rows.retain(|r| r.kind == "associative");
    condition.preferences.retain(|r| r.kind == "associative");
    condition.published.clear();
    let mut suite = FULL.suite();
    suite.retain(|p| p.kind == "associative");
    let study = StudyResults {
        suite: &suite,
        published: None,
        confounds: &[],
        conditions: &[condition],
        edits: &[],
        settings: Settings {
            resamples: 100,
            permutations: 200,
            ..Settings::default()
        },
    };
    findings(&study).unwrap()
}

fn untrained(findings: Findings) -> ReportInput {
    ReportInput {
        title: "Where are drug classes kept?".to_owned(),
        findings,
        curves: Vec::new(),
        corpus: Vec::new(),
        excluded: Vec::new(),
        reproduction: Default::default(),
    }
}

/// What only the published study, two kinds or a training have on a page.
const FOREIGN: [&str; 15] = [
    "ublished protocol",
    "ublished findings",
    "id=\"published\"",
    "id=\"figure-published\"",
    "table-modules",
    "than another?",
    "etween kinds",
    "table-kind-tests",
    "table-kind-layers",
    "table-claim",
    "table-robustness",
    "trained wordings",
    "wordings seen in training",
    "held back",
    "id=\"training\"",
];

#[test]
fn sections_of_other_studies_are_absent() {
    let page = markup(&render(&untrained(of_one_kind())).unwrap());
    for text in FOREIGN {
        assert!(!page.contains(text), "{text}");
    }
    for text in [
        "Do layers differ in what they restore?",
        "id=\"figure-profiles\"",
        "id=\"localisation\"",
        "own wordings",
        "paraphrases",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_terminal_speaks_of_its_own_study_too() {
    let text = summary_text(&of_one_kind(), Look::plain(100));
    for foreign in [
        "ublished protocol",
        "\nKinds\n",
        "trained wordings",
        "held back",
    ] {
        assert!(!text.contains(foreign), "{foreign}");
    }
}

/// The published study's own report loses nothing.
#[test]
fn a_study_that_asks_has_every_section() {
    let taught = |condition: &mut Condition| condition.taught = condition.name != "base";
    let page = markup(&render(&input(found(FULL, taught))).unwrap());
    for text in FOREIGN {
        // Without lengths and counts of its pairs a study has no adjusted difference.
        assert!(page.contains(text) || text == "table-claim", "{text}");
    }
    assert!(page.contains("Is one kind of knowledge kept in fewer layers than another?"));
    // No model of this one was trained on texts that hold the pairs.
    let neutral = markup(&PAGE);
    assert!(!neutral.contains("trained wordings") && !neutral.contains("seen in training"));
}
