use std::path::{Path, PathBuf};

use super::Study;
use super::values::tidy;
use crate::error::Result;

fn read(text: &str, settings: &[&str]) -> Result<Study> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.toml");
    std::fs::write(&path, text).unwrap();
    let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
    Study::read(&path, &settings)
}

const SMALL: &str = "title = 'T'\nbase = 'b'\nfacts = 'f.toml'\n[corpus.write]\nexposures = 3\n\
    [train.config-1]\npreset = 'config-1'\n[sweep.whole]\nmodels = ['base']\nsites = ['attn_out']\n";

#[test]
fn settings_lie_over_the_file() {
    let study = read(
        SMALL,
        &["corpus.write.exposures=7", "train.config-1.set.epochs=2"],
    )
    .unwrap();
    assert_eq!(study.corpus.unwrap().write.unwrap().exposures, 7);
    assert_eq!(study.train["config-1"].set["epochs"].as_integer(), Some(2));
    assert!(study.base.ends_with("b") && study.base.components().count() > 1);
    let study = read(SMALL, &["corpus.file=some/where.jsonl"]).unwrap();
    let corpus = study.corpus.unwrap();
    assert_eq!(corpus.file, Some(PathBuf::from("some/where.jsonl")));
    assert_eq!(corpus.write, None);
}

#[test]
fn mistakes_are_named() {
    let error =
        |text: &str, settings: &[&str]| crate::with_causes(&read(text, settings).unwrap_err());
    assert!(error(SMALL, &["corpus.writ.exposures=7"]).contains("writ"));
    assert!(error(SMALL, &["nonsense"]).contains("expected key=value"));
    assert!(error(SMALL, &["title.x=1"]).contains("title holds a value"));
    assert!(
        error(SMALL, &["sweep.whole.models=['config-9']"])
            .contains("no model is called \"config-9\"")
    );
    assert!(error(SMALL, &["sweep.whole.metrics=['prob']"]).contains("must hold logit_diff"));
    let neither = error(SMALL, &["paper.models=['base']"]);
    assert!(
        neither.contains("paper: give either questions"),
        "{neither}"
    );
    let both = "title = 'T'\nbase = 'b'\nfacts = 'f.toml'\n[sweep.w]\nmodels = ['base']\nsites = ['mlp_out']\n\
        [paper]\nmodels = ['base']\npairs = 4\nquestions = 'q.toml'\n";
    assert!(error(both, &[]).contains("not both or neither"));
    assert!(
        read(both, &["paper.questions=other.toml"])
            .unwrap()
            .published
            .unwrap()
            .pairs
            .is_none()
    );
    let fetched = |setting: &str| {
        let fetch = [
            "corpus.fetch.query='epilepsy'",
            "corpus.fetch.most=9",
            setting,
        ];
        error(
            "title = 'T'\nbase = 'b'\nfacts = 'f.toml'\n[corpus]\n[sweep.w]\nmodels = ['base']\nsites = ['mlp_out']\n",
            &fetch,
        )
    };
    for (setting, part) in [
        (
            "corpus.fetch.from='2001'",
            "corpus.fetch.email: NCBI asks for an e-mail address",
        ),
        ("corpus.fetch.email='me'", "is no e-mail address"),
        ("corpus.fetch.query=' '", "email"),
        ("corpus.fetch.from='May'", "expected YYYY"),
        (
            "corpus.fetch.most=10000",
            "corpus.fetch.most is 10000; expected a whole number from 1 to 9999",
        ),
    ] {
        let found = fetched(setting);
        assert!(found.contains(part), "{setting}: {found}");
    }
    assert!(error("title = ", &[]).contains("study.toml"));
    let of_edit = |setting: &str| {
        let edit = ["edit.e.models=['base']", "edit.e.layer='all'", setting];
        error(SMALL, &edit)
    };
    let mistakes = [
        (
            "edit.e.models=['config-9']",
            "edit.e: no model is called \"config-9\"",
        ),
        ("edit.e.models=[]", "edit.e: models is empty"),
        ("edit.e.method='rone'", "rone"),
        ("edit.e.layer='first'", "expected N, N-M, auto or all"),
        ("edit.e.layer='3-1'", "the first layer is above the last"),
        (
            "edit.e.layer=[1, 2]",
            "expected N, \"N-M\", \"auto\" or \"all\"",
        ),
        ("edit.e.set.speed=1", "speed"),
        ("edit.e.set.rate=-1", "rate"),
        ("edit.e.fact=1", "fact"),
    ];
    for (setting, part) in mistakes {
        let found = of_edit(setting);
        assert!(found.contains(part), "{setting}: {found}");
    }
    let asked = "title = 'T'\nbase = 'b'\n[suite]\nfile = 's'\n[sweep.w]\nmodels = ['base']\nsites = ['mlp_out']\n\
        [edit.e]\nmodels = ['base']\nlayer = 1\n";
    assert!(error(asked, &[]).contains("edit.e: method r-rome needs texts"));
    let tuned = ["edit.e.method='ft-l'", "edit.e.held_out_tokens=9"];
    assert!(error(asked, &tuned).contains("no corpus to take validation texts from"));
    let study = read(asked, &["edit.e.method='ft-l'"]).unwrap();
    assert_eq!(study.edit["e"].layer, crate::LayerChoice::One(1));
}

#[test]
fn every_fault_of_a_study_is_told_with_its_line() {
    let text = "titel = 'T'\nbase = 7\nfacts = 'f.toml'\n[corpus.write]\nexposures = 0\n\
        [train.config-1]\npreset = 'config-1'\n[train.config-1.set]\nepoch = 2\ndropout = 1.5\n\
        [sweep.whole]\nmodels = 'base'\npositions = 'everywhere'\n[stats]\nlevel = 2\n[paper]\n";
    let error = read(text, &["bogus=1"]).unwrap_err().to_string();
    let expected = [
        "  missing setting `title`: what the study asks; example: title =",
        "  --set bogus=1: unknown setting `bogus`; settings of a study: title, seed, base, bos",
        "  line 1: unknown setting `titel` (did you mean `title`?)",
        "  line 2: `base`: invalid type",
        "  line 5: corpus.write.exposures is 0; expected a whole number from 1 to 10000",
        "  line 9: unknown setting `train.config-1.set.epoch` (did you mean `epochs`?); settings of [train.NAME.set]: epochs,",
        "  line 10: train.config-1.set.dropout is 1.5; expected",
        "  line 11: missing setting `sweep.whole.sites`: the sites",
        "  line 12: `sweep.whole.models`: invalid type",
        "  line 13: `sweep.whole.positions`:",
        "  line 15: stats.level is 2",
        "  line 16: missing setting `paper.models`",
    ];
    for start in expected {
        assert!(
            error.lines().any(|l| l.starts_with(start)),
            "{start}\n{error}"
        );
    }
    assert_eq!(error.lines().count(), 1 + expected.len(), "{error}");
    let odd = [
        "sweep.whole.models=['a', 'b']",
        "title=' '",
        "sweep.whole.metrics=['prob']",
    ];
    let error = read(SMALL, &odd).unwrap_err().to_string();
    for part in [
        "4 faults",
        "called \"a\"",
        "called \"b\"",
        "title is empty",
        "must hold",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
}

#[test]
fn seeds_are_models_of_their_own() {
    let seeds = [
        "train.config-1.seeds=[7, 8]",
        "sweep.whole.models=['config-1', 'base']",
    ];
    let study = read(SMALL, &seeds).unwrap();
    let names = ["base", "config-1", "config-1-seed-7", "config-1-seed-8"];
    assert_eq!(study.models(), names);
    let seven = &study.train["config-1-seed-7"];
    assert_eq!(seven.set["seed"].as_integer(), Some(7));
    assert_eq!(seven.replicates.as_deref(), Some("config-1"));
    let swept = ["config-1", "config-1-seed-7", "config-1-seed-8", "base"];
    assert_eq!(study.sweep["whole"].models, swept);
    let twice = read(SMALL, &["train.config-1.seeds=[7, 7]"]).unwrap_err();
    assert!(crate::with_causes(&twice).contains("seed 7 is given twice"));
}

#[test]
fn paths_read_tidily() {
    assert_eq!(
        tidy(Path::new("examples/../assets/x")),
        Path::new("assets/x")
    );
    assert_eq!(tidy(Path::new("../a/../../b")), Path::new("../../b"));
}
