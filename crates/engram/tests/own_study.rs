//! Results speak of their own study.

use std::path::{Path, PathBuf};

use engram::study::Study;
use engram::{Model, Pair, Positions, Results, Silent, Sweep};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn example(name: &str) -> Study {
    Study::read(&root().join("examples").join(name), &[]).unwrap()
}

/// Terms are a study's own: the examples on epilepsy name theirs, and there are no others.
#[test]
fn studies_name_their_terms() {
    for name in ["quickstart.toml", "kinds.toml", "epilepsy.toml"] {
        let study = example(name);
        assert_eq!(study.corpus.unwrap().terms, ["epilepsy", "EEG", "seizure"]);
        assert!(study.published.is_some(), "{name}");
    }
    for name in ["smollm2-epilepsy.toml", "smollm2-facts.toml"] {
        let study = example(name);
        assert!(
            study.corpus.is_none() && study.published.is_none(),
            "{name}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("diabetes.toml");
    let text = "title = 'Diabetes'\nbase = 'b'\nfacts = 'f.toml'\n[corpus.write]\nexposures = 3\n\
        [train.taught]\npreset = 'config-1'\n[sweep.whole]\nmodels = ['taught']\nsites = ['attn_out']\n";
    std::fs::write(&file, text).unwrap();
    let study = Study::read(&file, &[]).unwrap();
    assert!(study.corpus.unwrap().terms.is_empty() && study.published.is_none());
}

/// A pair that a person gives by itself, asked of a model that no study trained.
#[test]
fn a_pair_by_itself_is_reported_as_such() {
    let model = Model::open(root().join("assets/models/pubmed-mini")).unwrap();
    let (clean, corrupt) = ("A study of heart rate", "A study of survival rate");
    let pair = Pair::new(clean, corrupt, " variability", " of");
    let sweep = Sweep::of(&model)
        .sites("attn_out,mlp_out")
        .unwrap()
        .positions(Positions::All)
        .pairs([pair]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    sweep.run(&mut Silent).unwrap().write(&out).unwrap();
    let results = Results::read(&out).unwrap();
    assert!(results.published.is_none() && !results.conditions[0].taught);
    let findings = results.findings().unwrap();
    assert!(findings.conditions[0].published.is_empty());
    let page = engram_report::render(&results.report(&findings)).unwrap();
    assert!(page.contains("was asked 1 given pair. A pair is"));
    for foreign in [
        "id=\"published\"",
        "#published",
        "kept in fewer layers",
        "trained wordings",
        "seen in training",
        "mentions of",
        "inline pair",
        "0 relations",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
