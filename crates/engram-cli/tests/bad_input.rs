//! Bad input is one clear line on stderr, exit 1, and nothing written.

mod common;

use std::path::{Path, PathBuf};

use common::engram;
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::canonicalize(root).unwrap()
}

fn model() -> String {
    root()
        .join("assets/models/pubmed-mini")
        .to_string_lossy()
        .into_owned()
}

fn facts() -> String {
    root()
        .join("assets/facts/epilepsy.toml")
        .to_string_lossy()
        .into_owned()
}

/// Runs `engram`, expects exit 1 and one line that holds all of `parts`, and that `gone` was not made.
fn refused(folder: &Path, args: &[&str], parts: &[&str], gone: &str) {
    let (code, stdout, stderr) = engram(folder, args);
    assert_eq!(code, 1, "{args:?}: {stderr}");
    assert_eq!(stdout, "", "{args:?}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let last = stderr.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("engram: "), "{args:?}: {stderr}");
    for part in parts {
        assert!(last.contains(part), "{args:?}: no \"{part}\" in: {last}");
    }
    assert!(!folder.join(gone).exists(), "{args:?} left {gone}");
}

fn copy_model(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(Path::new(&model()).join(name), to.join(name)).unwrap();
    }
}

fn patch<'a>(model: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["patch", "--model", model, "--out", "out"];
    args.extend(extra);
    args
}

const PAIR: [&str; 8] = [
    "--clean",
    "In pharmacology, phenytoin belongs to the class of drugs called",
    "--corrupt",
    "In pharmacology, acetazolamide belongs to the class of drugs called",
    "--answer",
    " hydantoins",
    "--foil",
    " sulfonamides",
];

#[test]
fn checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ask = |m: &'static str| vec!["model", "ask", "--model", m, "--prompt", "x"];
    refused(
        here,
        &ask("nowhere"),
        &["nowhere", "no file or folder", "org/name"],
        "out",
    );

    copy_model(&here.join("cut"));
    let weights = here.join("cut/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    refused(
        here,
        &ask("cut"),
        &["model.safetensors", "not a readable safetensors file"],
        "out",
    );

    copy_model(&here.join("wide"));
    let config = here.join("wide/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"n_embd\": 256", "\"n_embd\": 512")).unwrap();
    refused(
        here,
        &ask("wide"),
        &["wte.weight", "expected [8192, 512], found [8192, 256]"],
        "out",
    );

    copy_model(&here.join("small"));
    let config = here.join("small/config.json");
    std::fs::write(
        &config,
        text.replace("\"vocab_size\": 8192", "\"vocab_size\": 8000"),
    )
    .unwrap();
    refused(
        here,
        &ask("small"),
        &["ids up to 8191", "config.json: the vocabulary has 8000"],
        "out",
    );
}

#[test]
fn checkpoints_that_are_no_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ask = |m: &'static str| vec!["model", "ask", "--model", m, "--prompt", "x"];
    let gguf = |name: &str| root().join("fixtures/gguf").join(name);

    std::fs::create_dir(here.join("empty")).unwrap();
    refused(here, &ask("empty"), &["empty", "no config.json"], "out");
    copy_model(&here.join("pickled"));
    std::fs::rename(
        here.join("pickled/model.safetensors"),
        here.join("pickled/pytorch_model.bin"),
    )
    .unwrap();
    let parts = ["pytorch_model.bin", "no pickle files", "save_pretrained"];
    refused(here, &ask("pickled"), &parts, "out");

    copy_model(&here.join("sharded"));
    let index = here.join("sharded/model.safetensors.index.json");
    std::fs::remove_file(here.join("sharded/model.safetensors")).unwrap();
    std::fs::write(
        &index,
        r#"{"weight_map": {"wte.weight": "../cut.safetensors"}}"#,
    )
    .unwrap();
    refused(
        here,
        &ask("sharded"),
        &["index.json", "../cut.safetensors"],
        "out",
    );
    std::fs::write(&index, r#"{"weight_map": 3}"#).unwrap();
    refused(here, &ask("sharded"), &["index.json"], "out");

    std::fs::create_dir(here.join("two")).unwrap();
    for name in ["a.gguf", "b.gguf"] {
        std::fs::copy(gguf("metadata.gguf"), here.join("two").join(name)).unwrap();
    }
    refused(here, &ask("two"), &["2 GGUF files", "a.gguf"], "out");
    refused(here, &ask("two/a.gguf"), &["a.gguf", "architecture"], "out");
    std::fs::write(here.join("text.gguf"), "not a model").unwrap();
    refused(here, &ask("text.gguf"), &["text.gguf"], "out");
}

/// A model of the hub is found in its cache, as the Python tools leave it, and asked for nowhere else when offline.
#[test]
fn models_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = here.join("hub/models--an-org--a-name");
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), commit).unwrap();
    copy_model(&repository.join("snapshots").join(commit));
    let run = |named: &str| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_engram"));
        command
            .current_dir(here)
            .env("HF_HUB_CACHE", here.join("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .args(["--json", "model", "info", "--model", named]);
        let out = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    for named in ["an-org/a-name", &format!("an-org/a-name@{commit}")] {
        let (code, stdout, stderr) = run(named);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("\"family\": \"gpt2\""), "{stdout}");
    }
    let (code, _, stderr) = run("an-org/another");
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("an-org/another") && stderr.contains("HF_HUB_OFFLINE"),
        "{stderr}"
    );
}

#[test]
fn corpora() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("empty.jsonl"), "").unwrap();
    refused(
        here,
        &["corpus", "stats", "empty.jsonl"],
        &["empty.jsonl"],
        "out",
    );
    let lines = "{\"title\":\"a\",\"abstract\":\"b\"}\n{\"title\":\n";
    std::fs::write(here.join("bad.jsonl"), lines).unwrap();
    refused(
        here,
        &["corpus", "stats", "bad.jsonl"],
        &["bad.jsonl", "line 2"],
        "out",
    );
    let import = ["corpus", "import", "bad.jsonl", "--out", "out"];
    refused(here, &import, &["line 2"], "out");
    refused(
        here,
        &["corpus", "stats", "none.jsonl"],
        &["none.jsonl", "No such file"],
        "out",
    );
    let train = [
        "train",
        "--config",
        "config-1",
        "--base",
        &model(),
        "--corpus",
        "bad.jsonl",
        "--out",
        "out",
    ];
    refused(here, &train, &["bad.jsonl", "line 2"], "out");
    let unknown = [
        "train",
        "--config",
        "config-1",
        "--base",
        &model(),
        "--corpus",
        "bad.jsonl",
        "--out",
        "out",
        "--set",
        "epoch=3",
    ];
    refused(here, &unknown, &["\"epoch\"", "epochs"], "out");
}

#[test]
fn sites_and_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = model();
    let with = |sites: &'static str, pair: &[&'static str]| {
        let mut extra = vec!["--sites", sites];
        extra.extend(pair);
        extra
    };
    let args = with("resid_pree", &PAIR);
    refused(
        here,
        &patch(&model, &args),
        &["no site is called \"resid_pree\"", "near it: resid_pre"],
        "out",
    );
    let args = with("resid_pre.8", &PAIR);
    refused(
        here,
        &patch(&model, &args),
        &["the model has layers 0 to 7"],
        "out",
    );

    let mut longer = PAIR;
    longer[3] = "In pharmacology, acetazolamide of old belongs to the class of drugs called";
    refused(
        here,
        &patch(&model, &with("resid_pre", &longer)),
        &["1 of 1 pairs", "tokens"],
        "out",
    );
    let mut alike = PAIR;
    alike[7] = " hydantoin";
    refused(
        here,
        &patch(&model, &with("resid_pre", &alike)),
        &["1 of 1 pairs", "begin"],
        "out",
    );
    let mut args = with("resid_pre", &PAIR);
    args.extend(["--corruption", "zero"]);
    refused(
        here,
        &patch(&model, &args),
        &["zero", "does not go with direction denoise"],
        "out",
    );
    let mut args = with("resid_pre", &PAIR);
    args.extend(["--memory", "1MB"]);
    refused(
        here,
        &patch(&model, &args),
        &["its weights alone take 33.0 MiB", "--memory"],
        "out",
    );
    assert!(!here.join("out.partial.jsonl").exists());
    for (site, part) in [("z.1[99]", "0 to"), ("resid_pre.1[0]", "heads")] {
        let args = with(site, &PAIR);
        refused(
            here,
            &patch(&model, &args),
            &[site.split('[').next().unwrap(), part],
            "out",
        );
    }
    let mut args = with("logits", &PAIR);
    args.extend(["--window", "3"]);
    refused(here, &patch(&model, &args), &["window 3", "logits"], "out");
    let (code, _, stderr) = engram(
        here,
        &patch(&model, &{
            let mut args = with("resid_pre", &PAIR);
            args.extend(["--plan-only", "--resume"]);
            args
        }),
    );
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn an_unfit_suite_is_refused_with_every_name_and_skipped_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let pair = |id: &str, corrupt: &str, foil: &str| {
        format!(
            "{{\"id\":\"{id}\",\"kind\":\"k\",\"clean\":\"The class of phenytoin is\",\"corrupt\":\"{corrupt}\",\"answer\":\" hydantoins\",\"foil\":\"{foil}\"}}\n"
        )
    };
    let suite = pair("good", "The class of phenobarbital is", " barbiturates")
        + &pair("long", "The class of the old phenytoin is", " barbiturates")
        + &pair("alike", "The class of phenytoin was", " hydantoins");
    std::fs::write(here.join("suite.jsonl"), suite).unwrap();
    let model = model();
    let base = ["--suite", "suite.jsonl", "--sites", "resid_pre"];
    refused(
        here,
        &patch(&model, &base),
        &["long", "alike", "cannot be patched"],
        "out",
    );
    let check = ["suite", "check", "suite.jsonl", "--model", &model];
    let (code, stdout, _) = engram(here, &check);
    assert_eq!(code, 1);
    assert!(
        stdout.contains("long: ") && stdout.contains("alike: "),
        "{stdout}"
    );

    let mut skip = base.to_vec();
    skip.push("--skip-unfit");
    let (code, _, stderr) = engram(here, &patch(&model, &skip));
    // `good` is fit only if both drugs have as many tokens; either way nothing is silent.
    assert!(
        stderr.contains("left out: long") && stderr.contains("left out: alike"),
        "{stderr}"
    );
    assert_eq!(
        code == 0,
        here.join("out/manifest.json").exists(),
        "{stderr}"
    );
}

#[test]
fn studies() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let quickstart = root().join("examples/quickstart.toml");
    let quickstart = quickstart.to_string_lossy();
    std::fs::create_dir(here.join("thesis")).unwrap();
    std::fs::write(here.join("thesis/chapter.tex"), "x").unwrap();
    let run = |extra: &[&str]| -> Vec<String> {
        let mut args = vec!["run".to_owned(), quickstart.to_string()];
        args.extend(extra.iter().map(|s| (*s).to_owned()));
        args
    };
    let refused = |extra: &[&str], parts: &[&str]| {
        let args = run(extra);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        refused(here, &args, parts, "out");
    };
    refused(
        &["--out", "thesis"],
        &["thesis is not empty and holds no study"],
    );
    std::fs::create_dir(here.join("other")).unwrap();
    std::fs::write(here.join("other/study.json"), "{\"title\":\"Another\"}").unwrap();
    refused(&["--out", "other"], &["holds another study, \"Another\""]);
    refused(
        &["--out", "out", "--set", "base=nowhere"],
        &["the base model", "no file or folder", "nowhere"],
    );
    refused(
        &["--out", "out", "--set", "facts=nowhere.toml"],
        &["nowhere.toml"],
    );
    refused(
        &["--out", "out", "--set", "train.config-1.set.epoch=2"],
        &["train.config-1", "epochs"],
    );
    refused(
        &["--out", "out", "--set", "sweep.outputs.sites=['mlp_ou']"],
        &["sweep.outputs", "mlp_out"],
    );
    refused(
        &["--out", "out", "--set", "train.config-1.set.max_length=64"],
        &["max_length 64 would cut"],
    );
    refused(
        &["--out", "out", "--set", "corpus.file=gone.jsonl"],
        &["the corpus", "gone.jsonl"],
    );
    refused(
        &["--out", "out", "--set", "corpus.write.exposures=0"],
        &["corpus.write", "exposures"],
    );
    // Refused in the first stage or before it, a study leaves no mark that bars another.
    assert!(!here.join("out").exists());
    let paper = ["patch", "--profile", "paper", "--positions", "each"];
    let (code, _, stderr) = engram(here, &paper);
    assert_eq!(code, 2, "{stderr}");
    let (code, _, stderr) = engram(here, &["--threads", "100000", "run", "x.toml"]);
    assert_eq!(code, 2, "{stderr}");
    let (code, _, stderr) = engram(here, &["run"]);
    assert_eq!(code, 2, "{stderr}");
    let (code, _, stderr) = engram(here, &["stats", "thesis"]);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("no manifest.json in this folder"),
        "{stderr}"
    );
}

#[test]
fn one_pair_patched_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = model();
    let build = [
        "suite",
        "build",
        "--facts",
        &facts(),
        "--model",
        &model,
        "--max-pairs-per-kind",
        "4",
        "--out",
        "s.jsonl",
    ];
    let (code, _, stderr) = engram(here, &build);
    assert_eq!(code, 0, "{stderr}");
    let args = patch(
        &model,
        &[
            "--suite",
            "s.jsonl",
            "--sites",
            "resid_pre.0,attn_out",
            "--positions",
            "all",
            "--metric",
            "prob",
            "--json",
        ],
    );
    let (code, stdout, stderr) = engram(here, &args);
    assert_eq!(code, 0, "{stderr}");
    let rows: Vec<engram_core::Row> = serde_json::from_str(&stdout).unwrap();
    let stored = engram_core::Row::read_parquet(&here.join("out/patch.parquet")).unwrap();
    assert_eq!(rows, stored);
    // 8 pairs, 1 + 8 cells, 2 metrics.
    assert_eq!(rows.len(), 8 * 9 * 2);
    let whole: Vec<_> = rows.iter().filter(|r| r.name == "resid_pre.0").collect();
    assert!(whole.iter().all(|r| r.trivial));
    let eligible = whole.iter().filter_map(|r| r.recovery);
    assert!(eligible.map(|r| (r - 1.0).abs()).all(|d| d < 1e-4));
    let (code, stdout, stderr) = engram(here, &["stats", "out"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.is_empty() && here.join("out/stats.json").exists());
    let (code, _, stderr) = engram(here, &["report", "out"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(here.join("out/report.html").exists());
    let (code, _, stderr) = engram(here, &args);
    assert_eq!(code, 1);
    assert!(stderr.contains("out is not empty"), "{stderr}");
}
