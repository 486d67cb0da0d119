//! The published study whole, against local servers that behave like PubMed and the hub, with a tiny GPT-2 in the hub's
//! place.

mod pubmed;
#[path = "../../../engram-hub/tests/hub/server.rs"]
#[allow(dead_code, reason = "the hub's own tests use the rest")]
mod server;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use engram_model::{Gpt2Config, LanguageModel, Tokenizer};

use pubmed::PubMed;
use server::Hub;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A GPT-2 of two layers with the bundled tokenizer, as the hub has it.
fn hub() -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::read(&root().join("assets/models/pubmed-mini")).unwrap();
    let config = Gpt2Config {
        eos_token_id: Some(0),
        ..Gpt2Config::new(8192, 128, 32, 2, 2)
    };
    let model = LanguageModel::random(&config, tokenizer, 3).unwrap();
    model.write(folder.path()).unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let files =
        ["config.json", "model.safetensors", "tokenizer.json"].map(|name| (name, read(name)));
    Hub::new(
        &files
            .each_ref()
            .map(|(name, bytes)| (*name, bytes.as_slice())),
    )
}

struct Study {
    folder: tempfile::TempDir,
    hub: Hub,
    pubmed: PubMed,
}

impl Study {
    fn new(abstracts: usize) -> Study {
        Study {
            folder: tempfile::tempdir().unwrap(),
            hub: hub(),
            pubmed: PubMed::new(abstracts, &root().join("assets/facts/epilepsy.toml")),
        }
    }

    /// The study's folder of results.
    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Runs the study in a small size; gives exit code, stdout and stderr.
    fn run(&self, more: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        command
            .current_dir(self.folder.path())
            .env("HF_ENDPOINT", &self.hub.address)
            .env("HF_HUB_CACHE", self.folder.path().join("hub"))
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("HF_TOKEN")
            .arg("run")
            .arg(root().join("examples/published.toml"))
            .arg("--out")
            .arg(self.out());
        let address = format!("corpus.fetch.base_url={}", self.pubmed.address);
        for setting in [
            "base=org/name",
            &address,
            "corpus.fetch.most=230",
            "suite.max_pairs_per_kind=6",
            "train.config-1.set.epochs=1",
            "train.config-1.set.max_length=64",
            "train.config-2.set.epochs=1",
            "train.config-2.set.max_length=64",
            "edit.rome.facts=1",
            "stats.resamples=100",
            "stats.permutations=100",
        ] {
            command.args(["--set", setting]);
        }
        let out = command.args(more).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            out.status.code().unwrap_or(-1),
            text(&out.stdout),
            text(&out.stderr),
        )
    }
}

const EMAIL: [&str; 2] = ["--set", "corpus.fetch.email=someone@example.org"];

#[test]
fn the_study_goes_on_where_it_was_broken_off_and_ends_with_a_report() {
    let study = Study::new(230);
    // PubMed breaks off after the first batch.
    study.pubmed.refuse(Some(200));
    let (code, _, stderr) = study.run(&EMAIL);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("400"), "{stderr}");
    let seen = study.pubmed.seen();
    assert_eq!(
        seen[..2],
        [
            ("esearch.fcgi".to_owned(), 0),
            ("efetch.fcgi".to_owned(), 0)
        ]
    );
    // The first batch is not asked for again, and the step that is named is the last.
    study.pubmed.refuse(None);
    let (code, stdout, stderr) = study.run(&[&EMAIL[..], &["--until", "suite"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.trim(), study.out().display().to_string());
    let seen = study.pubmed.seen();
    assert!(
        seen.iter().all(|(program, _)| program == "efetch.fcgi"),
        "{seen:?}"
    );
    assert_eq!(seen.len(), 1, "{seen:?}");
    let out = study.out();
    assert!(out.join("suite/paper.jsonl").exists() && !out.join("models").exists());
    assert!(!out.join("fetch.partial").exists());
    let (code, stdout, stderr) = study.run(&EMAIL);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.trim().ends_with("report.html"), "{stdout}");
    assert!(study.pubmed.seen().is_empty(), "what was fetched is kept");
    let corpus = std::fs::read_to_string(out.join("corpus/corpus.json")).unwrap();
    for part in [
        "PubMed: (epilepsy[tiab]",
        ", to 2025-03-31",
        "published: 20,595",
        "9,958",
        "abstracts fetched",
    ] {
        assert!(corpus.contains(part), "{part}\n{corpus}");
    }
    let stats: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("stats.json")).unwrap()).unwrap();
    let condition = stats["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "config-2")
        .unwrap();
    let names: Vec<&str> = condition["published"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert_eq!(names[5], "Editing efficacy");
    let asked = std::fs::read_to_string(out.join("suite/paper.jsonl")).unwrap();
    assert!(asked.lines().count() >= 120);
    // Neither address nor key is kept, and another address changes nothing.
    let manifest = std::fs::read_to_string(out.join("manifest.json")).unwrap();
    assert!(!manifest.contains("someone@example.org"), "{manifest}");
    let other = [
        "--set",
        "corpus.fetch.email=other@example.org",
        "--set",
        "corpus.fetch.api_key=0123456789",
    ];
    let (code, _, stderr) = study.run(&other);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stderr.matches("up to date").count(), 13, "{stderr}");
    let manifest = std::fs::read_to_string(out.join("manifest.json")).unwrap();
    assert!(!manifest.contains("0123456789"), "{manifest}");
}

#[test]
fn bad_input_is_told_before_any_work() {
    let study = Study::new(20);
    let (code, _, stderr) = study.run(&[]);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("corpus.fetch.email: NCBI asks for an e-mail address"),
        "{stderr}"
    );
    assert!(study.hub.seen().is_empty() && study.pubmed.seen().is_empty());
    // Fewer than asked: one search, no batch, no training.
    let (code, _, stderr) = study.run(&EMAIL);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("has 20 citations") && stderr.contains("at least 230"),
        "{stderr}"
    );
    assert_eq!(study.pubmed.seen().len(), 1);
    // Answers of unequal length.
    let questions = study.folder.path().join("q.toml");
    let text = "[[question]]\nid = 'one'\nkind = 'k'\nrelation = 'r'\nquestion = 'What is it?'\nanswer = 'A brain.'\n\
        corrupted = 'A very large brain.'\nsource = 's'\n";
    std::fs::write(&questions, text).unwrap();
    let setting = format!("paper.questions={}", questions.display());
    let (code, _, stderr) = study.run(&[&EMAIL[..], &["--set", &setting]].concat());
    assert_eq!(code, 1);
    assert!(
        stderr.contains("1 of 1 questions have answers of unequal length"),
        "{stderr}"
    );
    assert!(study.pubmed.seen().is_empty());
    // A base that has not the modules of the published script.
    let other = format!(
        "base={}",
        root()
            .join("fixtures/sentencepiece_like/metaspace")
            .display()
    );
    let (code, _, stderr) = study.run(&[&EMAIL[..], &["--set", &other]].concat());
    assert_eq!(code, 1);
    assert!(
        stderr.contains("the published protocol") || stderr.contains("GPT-2"),
        "{stderr}"
    );
    assert!(!study.out().join("fetch").exists() && !study.out().join("study.json").exists());
}

#[test]
fn a_dry_run_asks_nobody_and_says_what_it_assumes() {
    let study = Study::new(20);
    let asked = [
        &EMAIL[..],
        &["--dry-run", "--set", "base=openai-community/gpt2"],
    ]
    .concat();
    let (code, stdout, stderr) = study.run(&asked);
    assert_eq!(code, 0, "{stderr}");
    for part in [
        "fetch",
        "models/config-1",
        "sweeps/random",
        "edits/rome/base",
        "report.html",
        "assumed",
        "measured now",
    ] {
        assert!(stdout.contains(part), "{part}\n{stdout}");
    }
    assert!(study.hub.seen().is_empty() && study.pubmed.seen().is_empty());
    assert!(!study.out().exists() && !study.folder.path().join("hub").exists());
    let (code, _, stderr) = study.run(&[&EMAIL[..], &["--dry-run"]].concat());
    assert_eq!(code, 1);
    assert!(
        stderr.contains("org/name is not on this machine"),
        "{stderr}"
    );
    let asked = [&asked[..], &["--json"]].concat();
    let (_, stdout, _) = study.run(&asked);
    let forecast: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(forecast["seconds"].as_f64().unwrap() > 0.0);
    assert!(forecast["stages"].as_array().unwrap().len() > 10);
}
