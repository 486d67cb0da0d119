//! Edits as a part of a study: every file is written, and what they show is among the findings.

mod common;

use std::path::Path;

use common::engram;
use serde_json::{Value, json};

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../assets/models/pubmed-mini"
);

/// Prompt, subject, another subject, what the small model says, kind.
const FACTS: [[&str; 5]; 6] = [
    [
        "The patients were divided into two",
        "patients",
        "animals",
        " groups",
        "definitional",
    ],
    [
        "There was no significant",
        "significant",
        "clinical",
        " difference",
        "associative",
    ],
    [
        "The aim of this study was to",
        "study",
        "trial",
        " determine",
        "definitional",
    ],
    [
        "Breast cancer is the most common",
        "cancer",
        "disease",
        " cause",
        "associative",
    ],
    [
        "The results suggest that the",
        "results",
        "data",
        " use",
        "definitional",
    ],
    [
        "Blood pressure was measured with a",
        "pressure",
        "flow",
        " mean",
        "associative",
    ],
];

const EDITS: &str = r#"
[edit.each]
models = ["base"]
layer = "2-3"
side_effects = true
held_out_tokens = 50
set = { prefixes = 1, steps = 2, sample_tokens = 300, ridge = 0.01 }

[edit.auto]
models = ["base"]
method = "ft-l"
layer = "auto"
facts = 1
set = { steps = 2 }
"#;

/// A folder with a suite, a corpus and a study.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let pair = |i: usize| {
        let [clean, subject, other, answer, kind] = FACTS[i];
        json!({
            "id": format!("p{i}"), "kind": kind, "relation": &kind[..3],
            "clean": clean, "corrupt": clean.replace(subject, other),
            "answer": answer, "foil": FACTS[(i + 2) % FACTS.len()][3],
            "subject": subject, "corrupt_subject": other,
        })
    };
    let lines = |line: &dyn Fn(usize) -> Value, n: usize| -> String {
        (0..n).map(|i| format!("{}\n", line(i))).collect()
    };
    std::fs::write(here.join("suite.jsonl"), lines(&pair, FACTS.len())).unwrap();
    let text = |i| {
        let text =
            format!("Case {i}: seizures were treated with drug {i}, and the brain was seen.");
        json!({"title": "", "abstract": text})
    };
    std::fs::write(here.join("texts.jsonl"), lines(&text, 20)).unwrap();
    let study = format!(
        "title = \"Edits\"\nbase = \"{MODEL}\"\n[corpus]\nfile = \"texts.jsonl\"\n[suite]\nfile = \"suite.jsonl\"\n\
        [stats]\nresamples = 100\npermutations = 100\n\
        [sweep.mlp]\nmodels = [\"base\"]\nsites = [\"mlp_out\"]\npositions = \"each\"\nmetrics = [\"logit_diff\"]\n{EDITS}"
    );
    std::fs::write(here.join("study.toml"), study).unwrap();
    folder
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn a_study_edits_and_says_what_it_shows() {
    let folder = workplace();
    let here = folder.path();
    let run = ["run", "study.toml", "--out", "out"];
    let (code, stdout, stderr) = engram(here, &run);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("each: base, r-rome"), "{stdout}");
    let stage = here.join("out/edits/each/base");
    let edits = lines(&stage.join("edits.jsonl"));
    assert_eq!(edits.len(), 12);
    // "The patients": two tokens, of which the second is the subject's.
    assert_eq!(
        (&edits[0]["request"], &edits[0]["position"]),
        (&json!("p0"), &json!(1))
    );
    assert_eq!(lines(&stage.join("effects.jsonl")).len(), 12 * 5);
    assert_eq!(lines(&stage.join("asides.jsonl")).len(), 12);
    let said = lines(&stage.join("said.jsonl"));
    assert!(
        said[0]["before"].as_str().unwrap().starts_with(" groups"),
        "{}",
        said[0]
    );
    let auto = lines(&here.join("out/edits/auto/base/edits.jsonl"));
    assert_eq!(auto.len(), 2, "one fact of each kind");

    let text = std::fs::read_to_string(here.join("out/stats.json")).unwrap();
    let stats: Value = serde_json::from_str(&text).unwrap();
    let editing = stats["editing"].as_array().unwrap();
    assert_eq!(editing.len(), 2);
    let each = &editing[0];
    assert_eq!((&each["name"], &each["says"]), (&json!("each"), &json!(6)));
    assert_eq!(each["scores"].as_array().unwrap().len(), 2 * 3);
    assert!(
        each["recovery"]["joined"]
            .as_array()
            .is_some_and(|j| !j.is_empty())
    );
    assert!(!each["conclusions"].as_array().unwrap().is_empty());
    assert_eq!(editing[1]["layers"][0][0], each["recovery"]["best_layer"]);

    // The same inputs: nothing is made again. Another setting: that stage only.
    let (_, _, stderr) = engram(here, &run);
    assert!(stderr.contains("edits/each/base: up to date"), "{stderr}");
    let changed = [&run[..], &["--set", "edit.auto.set.steps=3"]].concat();
    let (_, _, stderr) = engram(here, &changed);
    assert!(stderr.contains("edits/each/base: up to date"), "{stderr}");
    assert!(!stderr.contains("edits/auto/base: up to date"), "{stderr}");
}

#[test]
fn edits_that_cannot_be_made_are_refused_before_any_work() {
    let folder = workplace();
    let here = folder.path();
    let mistakes = [
        (
            "edit.each.layer='2-8'",
            "edit.each: layer 2-8: the model has layers 0 to 7",
        ),
        (
            "edit.each.texts=['none.jsonl']",
            "edit.each: texts: none.jsonl: No such file",
        ),
        (
            "sweep.mlp.sites=['attn_out']",
            "edit.auto: layer \"auto\": it is chosen by a sweep of mlp_out",
        ),
    ];
    for (setting, part) in mistakes {
        let (code, stdout, stderr) = engram(
            here,
            &["run", "study.toml", "--out", "out", "--set", setting],
        );
        assert_eq!((code, stdout.as_str()), (1, ""), "{setting}: {stderr}");
        let last = stderr.trim_end().lines().last().unwrap_or_default();
        assert!(last.contains(part), "{setting}: {last}");
        assert!(!here.join("out").exists(), "{setting}");
    }
}

#[test]
fn a_sweep_by_itself_says_the_same() {
    let folder = workplace();
    let here = folder.path();
    let mut args = vec![
        "edit",
        "sweep",
        "--model",
        MODEL,
        "--suite",
        "suite.jsonl",
        "--out",
        "swept",
    ];
    args.extend([
        "--method", "ft-l", "--layer", "1-2", "--most", "2", "--set", "steps=2",
    ]);
    let (code, stdout, stderr) = engram(here, &args);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("ft-l"), "{stdout}");
    assert_eq!(lines(&here.join("swept/edits.jsonl")).len(), 2 * 4);
    let names = [
        "effects.jsonl",
        "said.jsonl",
        "asides.jsonl",
        "stats.json",
        "manifest.json",
    ];
    assert!(
        names
            .iter()
            .all(|name| here.join("swept").join(name).exists())
    );
}
