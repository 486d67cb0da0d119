//! Stages, outputs and what a killed run leaves.

use super::*;
use crate::observe::Silent;

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(at(path))
}

fn failed<T>() -> Result<T> {
    Err(Error::NoPrompt("no".to_owned()))
}

#[test]
fn a_stage_runs_once_and_again_when_its_inputs_change() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path(), "a").unwrap();
    let made = |inputs: u32| {
        let work = |p: &Path, _: &mut dyn Observer| write(&p.join("x"), &inputs.to_string());
        run.stage("one/two", &inputs, &mut Silent, work).unwrap()
    };
    let (path, first) = made(1);
    assert!(first && !made(1).1 && made(2).1);
    assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "2");
}

#[test]
fn a_failed_stage_leaves_the_earlier_one_and_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let run = RunFolder::open(&path, "a").unwrap();
    run.stage("s", &1, &mut Silent, |p, _| write(&p.join("x"), "1"))
        .unwrap();
    let elsewhere = folder.path().join("new/run");
    let run_elsewhere = RunFolder::open(&elsewhere, "b").unwrap();
    assert!(
        run_elsewhere
            .stage("s", &1, &mut Silent, |_, _| failed())
            .is_err()
    );
    drop(run_elsewhere);
    assert!(!folder.path().join("new").exists());
    let failed = run.stage("s", &2, &mut Silent, |p, _| {
        write(&p.join("x"), "2")?;
        failed()
    });
    assert!(failed.is_err());
    drop(run);
    assert_eq!(fs::read_to_string(path.join("s/x")).unwrap(), "1");
    // The stage and the study's mark.
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // Killed in the first stage, then in a later one, then while a file was written.
    fs::create_dir_all(path.join(".engram-abc")).unwrap();
    fs::write(path.join(".engram-run.lock"), "4194304").unwrap();
    let run = RunFolder::open(path, "a").unwrap();
    run.stage("models/x", &1, &mut Silent, |_, _| Ok(()))
        .unwrap();
    drop(run);
    assert_eq!(fs::read_dir(path).unwrap().count(), 2);
    let half = ["models/.engram-x.new", "models/.engram-x.old"].map(|f| path.join(f));
    for half in &half {
        fs::create_dir_all(half).unwrap();
    }
    let file = path.join("models/.engram-y.json-Ab12xY.tmp");
    fs::write(&file, "").unwrap();
    let other = Output::free(&path.join("other")).unwrap();
    other
        .fill(|fresh| {
            drop(RunFolder::open(path, "a").unwrap());
            write(&fresh.join("alive"), "")
        })
        .unwrap();
    assert!(path.join("other/alive").exists());
    assert!(half.iter().all(|half| !half.exists()) && path.join("models/x").exists());
    #[cfg(unix)]
    assert!(!file.exists());
}

#[test]
fn work_under_way_is_kept_for_the_same_inputs_only() {
    let folder = tempfile::tempdir().unwrap();
    let stage = folder.path().join("models/x");
    let kept = under_way(&stage, &1, &mut Silent).unwrap();
    assert_eq!(kept, folder.path().join("models/x.partial"));
    fs::write(kept.join("checkpoint"), "").unwrap();
    assert!(
        under_way(&stage, &1, &mut Silent)
            .unwrap()
            .join("checkpoint")
            .exists()
    );
    assert!(
        !under_way(&stage, &2, &mut Silent)
            .unwrap()
            .join("checkpoint")
            .exists()
    );
    done_with(&kept).unwrap();
    done_with(&kept).unwrap();
    assert!(!kept.exists());
}

#[test]
fn another_study_other_files_or_a_second_process_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |title| RunFolder::open(folder.path(), title);
    let run = open("a").unwrap();
    run.stage("s", &1, &mut Silent, |_, _| Ok(())).unwrap();
    let error = open("a").err().unwrap().to_string();
    let me = format!("process {} is writing to it", std::process::id());
    assert!(error.contains(&me), "{error}");
    drop(run);
    assert!(open("a").is_ok());
    let error = open("b").err().unwrap();
    assert!(error.to_string().contains("holds another study, \"a\""));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "").unwrap();
    let error = RunFolder::open(folder.path(), "a").err().unwrap();
    assert!(
        error
            .to_string()
            .contains("is not empty and holds no study")
    );
}

#[test]
fn a_changed_file_of_a_stage_is_refused_and_a_missing_one_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::open(folder.path(), "a").unwrap();
    let stage = || {
        run.stage("s", &1, &mut Silent, |p, _| {
            fs::create_dir(p.join("in")).map_err(at(p))?;
            write(&p.join("in/x"), "1")?;
            write(&p.join("y"), "1")
        })
    };
    let (path, _) = stage().unwrap();
    assert!(!stage().unwrap().1);
    fs::write(path.join("notes"), "of the reader").unwrap();
    assert!(!stage().unwrap().1);
    for file in ["in/x", "y"] {
        fs::write(path.join(file), "2").unwrap();
        let error = stage().unwrap_err().to_string();
        assert!(
            error.contains(file) && error.contains("remove the folder"),
            "{error}"
        );
        fs::write(path.join(file), "1").unwrap();
    }
    fs::remove_file(path.join("in/x")).unwrap();
    assert!(stage().unwrap().1 && !stage().unwrap().1);
    // A mark of which a byte is changed says nothing.
    let mark = fs::read_to_string(path.join(MARK)).unwrap();
    fs::write(path.join(MARK), mark.replacen("inputs", "inputz", 1)).unwrap();
    assert!(stage().unwrap().1);
}

#[test]
fn marks_of_equal_runs_are_equal_whatever_time_they_took() {
    let folder = tempfile::tempdir().unwrap();
    let mark = |name: &str, manifest: &str| {
        let out = folder.path().join(name);
        let output = Output::free(&out).unwrap();
        let work = |fresh: &Path| write(&fresh.join(MANIFEST), manifest);
        output.fill_from(&1, work).unwrap();
        fs::read(out.join(MARK)).unwrap()
    };
    let one = mark("a", r#"{"timing":{"sweep_s":1.5},"seed":1}"#);
    assert_eq!(one, mark("b", r#"{"timing":{"sweep_s":2.5},"seed":1}"#));
    assert_ne!(one, mark("c", r#"{"timing":{"sweep_s":1.5},"seed":2}"#));
}

#[test]
fn an_output_is_taken_once_and_knows_what_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let journal = folder.path().join("out.partial.jsonl");
    let output = Output::resumable(&out, &journal, false).unwrap();
    assert!(Output::free(&out).is_err());
    assert!(!output.is_made_from(&1, &mut Silent).unwrap());
    assert!(output.fill_from(&1, |_| failed::<()>()).is_err() && !out.exists());
    output
        .fill_from(&1, |fresh| write(&fresh.join("x"), "1"))
        .unwrap();
    assert!(output.is_made_from(&1, &mut Silent).unwrap());
    drop(output);
    assert!(
        Output::free(&out)
            .unwrap_err()
            .to_string()
            .contains("is not empty")
    );
    assert!(Output::resumable(&out, &journal, false).is_err());
    let output = Output::resumable(&out, &journal, true).unwrap();
    let error = output
        .is_made_from(&2, &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("other inputs"), "{error}");
    fs::write(out.join("x"), "2").unwrap();
    assert!(
        output
            .is_made_from(&1, &mut Silent)
            .unwrap_err()
            .to_string()
            .contains("out/x")
    );
    drop(output);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
