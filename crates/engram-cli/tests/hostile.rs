//! Input that would wait for ever, write to the terminal, fill the disk or ask for too much: one line, nothing obeyed.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::engram;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::canonicalize(root).unwrap()
}

fn of_root(name: &str) -> String {
    root().join(name).to_string_lossy().into_owned()
}

/// Runs `engram`, which is to refuse its input; gives its last line on stderr. What hangs is killed.
fn refused(here: &Path, args: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_engram"))
        .current_dir(here)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{args:?} waits for ever");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{args:?}: {stderr}");
    quiet(&stderr);
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("engram: "), "{stderr}");
    last
}

/// Nothing in a text is obeyed by a terminal.
fn quiet(text: &str) {
    let loud = text.chars().find(|c| *c != '\n' && c.is_control());
    assert_eq!(loud, None, "{text:?}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_by_name_before_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let made = Command::new("mkfifo").arg(here.join("pipe")).status();
    assert!(made.unwrap().success());
    let model = of_root("assets/models/pubmed-mini");
    let facts = of_root("assets/facts/epilepsy.toml");
    std::fs::write(
        here.join("texts.jsonl"),
        "{\"title\":\"a\"}\n{\"title\":\"b\"}\n",
    )
    .unwrap();
    std::fs::create_dir(here.join("odd")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(&model).join(name), here.join("odd").join(name)).unwrap();
    }
    std::fs::rename(here.join("pipe"), here.join("odd/tokenizer.json")).unwrap();
    let made = Command::new("mkfifo").arg(here.join("pipe")).status();
    assert!(made.unwrap().success());
    let study = "title = 'T'\nbase = 'x'\n[suite]\nfile = 'pipe'\n[sweep.w]\nmodels = ['base']\nsites = ['mlp_out']\n";
    std::fs::write(here.join("study.toml"), study.replace('x', &model)).unwrap();
    let commands: [&[&str]; 11] = [
        &["corpus", "import", "pipe", "--out", "out.jsonl"],
        &["corpus", "stats", "pipe"],
        &[
            "corpus",
            "split",
            "texts.jsonl",
            "--held-out",
            "pipe",
            "--out",
            "out",
        ],
        &[
            "corpus", "write", "--facts", "pipe", "--model", &model, "--out", "out",
        ],
        &["suite", "check", "pipe", "--model", &model],
        &[
            "suite",
            "build",
            "--counterfact",
            "pipe",
            "--model",
            &model,
            "--out",
            "out",
        ],
        &["model", "info", "--model", "pipe"],
        &["run", "pipe", "--out", "out"],
        &["run", "study.toml", "--out", "out"],
        &[
            "train",
            "--from-scratch",
            "pipe",
            "--corpus",
            "texts.jsonl",
            "--out",
            "out",
        ],
        &["edit", "show", "pipe"],
    ];
    for args in commands {
        let error = refused(here, args);
        assert!(
            error.contains("pipe: it is a pipe, expected a file"),
            "{args:?}: {error}"
        );
    }
    let error = refused(here, &["model", "ask", "--model", "odd", "--prompt", "x"]);
    assert!(
        error.contains("odd/tokenizer.json: it is a pipe"),
        "{error}"
    );
    let error = refused(here, &["corpus", "stats", "/dev/zero"]);
    assert!(error.contains("/dev/zero: it is a device"), "{error}");
    let error = refused(here, &["corpus", "stats", "odd"]);
    assert!(
        error.contains("odd/model.safetensors: its format is not read"),
        "{error}"
    );
    let socket = std::os::unix::net::UnixListener::bind(here.join("socket")).unwrap();
    let error = refused(here, &["suite", "check", "socket", "--model", &model]);
    assert!(error.contains("socket: it is a socket"), "{error}");
    drop(socket);
    drop(facts);
}

const LOUD: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J";

#[test]
fn nothing_in_data_is_obeyed_by_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = of_root("assets/models/pubmed-mini");
    std::fs::write(here.join("a.csv"), format!("One{LOUD},Two\n1,2\n")).unwrap();
    std::fs::write(here.join("a.xml"), format!("<a{LOUD}>b</a>")).unwrap();
    std::fs::write(here.join("a.jsonl"), format!("{{\"title{LOUD}\n")).unwrap();
    for name in [
        "a.csv",
        "a.xml",
        "a.jsonl",
        &format!("no{}where\n\u{9b}2J", LOUD),
    ] {
        let error = refused(here, &["corpus", "stats", name]);
        assert_eq!(error.lines().count(), 1);
    }
    let error = refused(here, &["corpus", "stats", "a.csv"]);
    assert!(
        error.contains("found: One\\u{1b}]0;owned\\u{7}\\u{1b}[2J, Two"),
        "{error}"
    );
    // In tables and in JSON.
    let pair = serde_json::json!({
        "id": format!("p\n{LOUD}\u{9b}"), "kind": format!("k{LOUD}"), "clean": format!("A drug{LOUD} is"),
        "corrupt": format!("A gene{LOUD} is"), "answer": " a", "foil": " b",
    });
    std::fs::write(here.join("s.jsonl"), pair.to_string()).unwrap();
    let show = ["suite", "show", "s.jsonl", "--model", &model];
    let (code, stdout, stderr) = engram(here, &show);
    assert_eq!(code, 0, "{stderr}");
    quiet(&stdout);
    assert!(
        stdout.starts_with("p\\n\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{9b} (k\\u{1b}"),
        "{stdout}"
    );
    let (code, stdout, _) = engram(here, &[&["--json"], &show[..]].concat());
    assert_eq!(code, 0);
    quiet(&stdout);
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown[0]["pair"]["id"], pair["id"]);
    let terms = format!("drug{LOUD}");
    std::fs::write(here.join("t.jsonl"), "{\"title\":\"a drug\"}\n").unwrap();
    let (code, stdout, _) = engram(here, &["corpus", "stats", "t.jsonl", "--terms", &terms]);
    assert_eq!(code, 0);
    quiet(&stdout);
    // Words of the command line that clap repeats.
    let (code, _, stderr) = engram(here, &["corpus", &format!("x{LOUD}")]);
    assert_eq!(code, 2);
    quiet(&stderr);
}

/// A limit on the size of files stands for a full disk, as does the device that is always full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_not_blamed_on_the_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let line = format!("{{\"title\":\"{}\"}}\n", "x".repeat(1000));
    std::fs::write(here.join("in.jsonl"), line.repeat(4000)).unwrap();
    let run = |line: &str| {
        let out = Command::new("bash")
            .current_dir(here)
            .args(["-c", line, env!("CARGO_BIN_EXE_engram")])
            .output()
            .unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap_or_default().to_owned();
        assert!(!last.contains("cannot read"), "{last}");
        last
    };
    let error =
        run("trap '' XFSZ; ulimit -f 1000; exec \"$0\" corpus import in.jsonl --out out.jsonl");
    assert!(
        error.starts_with("engram: cannot write out.jsonl: File too large"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(here).unwrap().count(),
        1,
        "nothing half-written"
    );
    let full = "cannot write /dev/full: No space left on device (os error 28); make room";
    let error = run("exec \"$0\" corpus import in.jsonl --out /dev/full");
    assert!(error.contains(full), "{error}");
    assert!(
        !std::fs::metadata("/dev/full").unwrap().is_file(),
        "nothing is renamed over a device"
    );
    let split = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" corpus split in.jsonl --out parts";
    let error = run(split);
    assert!(
        error.contains("cannot write parts/train.jsonl: File too large"),
        "{error}"
    );
    let error = run("exec \"$0\" corpus stats in.jsonl > /dev/full");
    assert!(
        error.contains("cannot write to the standard output: No space left"),
        "{error}"
    );
}

#[test]
fn what_a_split_needs_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("one.jsonl"), "{\"title\":\"a\"}\n").unwrap();
    std::fs::write(
        here.join("two.jsonl"),
        "{\"title\":\"a\"}\n{\"title\":\"b\"}\n",
    )
    .unwrap();
    let one = refused(here, &["corpus", "split", "one.jsonl", "--out", "out"]);
    let parts = [
        "cannot split 1 abstract with",
        "give a corpus of 2 abstracts or more",
    ];
    assert!(parts.iter().all(|part| one.contains(part)), "{one}");
    let two = refused(
        here,
        &[
            "corpus",
            "split",
            "two.jsonl",
            "--fraction",
            "0.1",
            "--out",
            "out",
        ],
    );
    assert!(two.ends_with("give a share from 0.5000 to 0.5000"), "{two}");
    let (code, _, _) = engram(
        here,
        &[
            "corpus",
            "split",
            "two.jsonl",
            "--fraction",
            "0.5",
            "--out",
            "out",
        ],
    );
    assert_eq!(code, 0);
}

#[test]
fn numbers_outside_their_range_are_told_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let quickstart = of_root("examples/quickstart.toml");
    let study = |setting: &str| {
        refused(
            here,
            &["run", &quickstart, "--out", "out", "--set", setting],
        )
    };
    let huge = 100_000_000_000u64;
    for (key, range) in [
        ("stats.resamples", "a whole number from 1 to 1000000"),
        ("stats.permutations", "a whole number from 1 to 1000000"),
        (
            "train.config-1.set.batch_size",
            "a whole number from 1 to 4096",
        ),
        (
            "train.config-1.set.accumulation",
            "a whole number from 1 to 65536",
        ),
        (
            "train.config-1.set.epoch_steps",
            "a whole number from 0 to 10000000",
        ),
        ("corpus.write.exposures", "a whole number from 1 to 10000"),
        ("sweep.outputs.window", "a whole number from 1 to 1000"),
        ("paper.pairs", "a whole number from 4 to 1000000"),
        ("edit.rome.set.steps", "a whole number from 1 to 100000"),
    ] {
        for value in [
            format!("{huge}"),
            "-1".to_owned(),
            "nan".to_owned(),
            "-inf".to_owned(),
        ] {
            let error = study(&format!("{key}={value}"));
            let shown = value.replace("nan", "NaN");
            assert!(
                error.contains(&format!("{key} is {shown}; expected {range}")),
                "{error}"
            );
        }
    }
    let seeds: Vec<String> = (0..101).map(|s| s.to_string()).collect();
    let error = study(&format!("train.config-1.seeds=[{}]", seeds.join(",")));
    assert!(
        error.contains("the number of train.config-1.seeds is 101"),
        "{error}"
    );
    assert!(!here.join("out").exists());

    // What the settings make together.
    let mut products = vec!["run", &quickstart, "--out", "out"];
    for setting in ["batch_size=4096", "accumulation=65536"] {
        products.extend([
            "--set",
            Box::leak(format!("train.config-1.set.{setting}").into_boxed_str()),
        ]);
    }
    let error = refused(here, &products);
    assert!(
        error.contains("batch_size × accumulation: expected a whole number from 1 to 65536"),
        "{error}"
    );

    // Arguments.
    for (args, range) in [
        (&["patch", "--window", "0"][..], "from 1 to 1000"),
        (&["patch", "--samples", "99999999999"], "from 1 to 100000"),
        (
            &["corpus", "split", "x", "--fraction", "nan"],
            "above 0 and below 1",
        ),
        (&["stats", "x", "--nulls", "0"], "from 1 to 100000"),
        (&["edit", "sweep", "--most", "-1"], "from 0 to 1000000"),
    ] {
        let (code, _, stderr) = engram(here, args);
        assert_eq!(code, 2, "{args:?}: {stderr}");
        // clap takes what begins with a minus for an option where it may.
        assert!(
            stderr.contains(range) || args.contains(&"-1"),
            "{args:?}: {stderr}"
        );
    }

    // A manifest whose settings were changed.
    std::fs::create_dir(here.join("folder")).unwrap();
    let manifest = serde_json::json!({
        "engram": "0", "title": "T", "command": "c", "reproduction": engram_report::Reproduction::default(),
        "stats": {"resamples": huge}, "models": [], "training": {}, "timing": {},
        "machine": {"threads": 1, "os": "x", "arch": "x"},
    });
    std::fs::write(here.join("folder/manifest.json"), manifest.to_string()).unwrap();
    let error = refused(here, &["stats", "folder"]);
    let told = "folder/manifest.json: stats.resamples is 100000000000; expected a whole number from 1 to 1000000";
    assert!(error.contains(told), "{error}");
}

#[test]
fn a_name_of_one_part_is_told_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let error = refused(here, &["model", "info", "--model", "gpt2"]);
    assert!(
        error.ends_with("its full name is openai-community/gpt2"),
        "{error}"
    );
    let study = "title = 'T'\nbase = 'gpt2'\n[suite]\nfile = 's'\n[sweep.w]\nmodels = ['base']\nsites = ['mlp_out']\n";
    std::fs::create_dir(here.join("studies")).unwrap();
    std::fs::write(here.join("studies/s.toml"), study).unwrap();
    let error = refused(here, &["run", "studies/s.toml", "--out", "out"]);
    assert!(
        error.ends_with("its full name is openai-community/gpt2"),
        "{error}"
    );
}
