//! Journals: a sweep that is broken off anywhere, or whose journal is damaged anywhere, ends with the rows of an
//! unbroken one, to the last bit.

mod common;

use std::path::Path;

use common::{PLAIN, every_site, model, pair, prepared, spec};
use engram_core::{Corruption, Direction, Metric, Positions, Site};
use engram_model::LanguageModel;
use engram_patch::{
    Done, Engine, Journal, Memory, NaiveEngine, NaiveSettings, PairResult, PatchError, Plan,
    StagedEngine, SweepSpec,
};

const KEY: &str = "the sweep";

fn plan(model: &LanguageModel, corruption: Corruption) -> Plan {
    let pairs = vec![pair("a", 5, &[1, 3], 5), pair("b", 6, &[2], 6)];
    let sites = every_site(model);
    let own = |site| !matches!(site, Site::Pattern);
    let sites = sites.into_iter().filter(|s| own(s.site)).collect();
    let direction = if corruption == Corruption::Mean {
        Direction::Noise
    } else {
        Direction::Denoise
    };
    let spec = SweepSpec {
        positions: Positions::Each,
        direction,
        metrics: vec![Metric::LogitDiff, Metric::LogProb, Metric::Kl],
        corruption,
        ..spec(sites)
    };
    Plan::new(spec, model.shape(), prepared(model, pairs)).unwrap()
}

/// A sweep with a journal, from what stands in it.
fn sweep(engine: &dyn Engine, plan: &Plan, path: &Path) -> Vec<PairResult> {
    let (mut journal, mut done) = if path.exists() {
        let (journal, resumed) = Journal::resume(path, KEY, plan).unwrap();
        (journal, resumed.done)
    } else {
        let journal = Journal::create(path, KEY).unwrap();
        (journal, Done::nothing(plan))
    };
    let before = done.clone();
    let mut keep = |batch| {
        journal.append(&batch)?;
        done.take(batch);
        Ok(())
    };
    engine.sweep(plan, &before, &mut keep).unwrap();
    done.results(plan)
}

/// The ends of a journal's lines.
fn ends(journal: &[u8]) -> Vec<usize> {
    let places = journal.iter().enumerate();
    places
        .filter(|(_, b)| **b == b'\n')
        .map(|(i, _)| i + 1)
        .collect()
}

#[test]
fn a_sweep_cut_off_after_any_line_ends_with_the_same_bits() {
    let model = model(2, 6);
    let folder = tempfile::tempdir().unwrap();
    let small = NaiveEngine::new(&model, NaiveSettings { batch: 7, ..PLAIN });
    let staged = StagedEngine::new(&model, Memory::beside(&model.shape(), 1 << 30)).unwrap();
    let engines: [(&str, &dyn Engine); 2] = [("naive", &small), ("staged", &staged)];
    for (name, engine) in engines {
        for corruption in [Corruption::Swap, Corruption::Mean] {
            let plan = plan(&model, corruption);
            let path = folder.path().join("journal");
            let whole = sweep(engine, &plan, &path);
            let journal = std::fs::read(&path).unwrap();
            let ends = ends(&journal);
            assert!(ends.len() > 4, "{name}: {}", ends.len());
            for end in &ends {
                std::fs::write(&path, &journal[..*end]).unwrap();
                let resumed = sweep(engine, &plan, &path);
                assert_eq!(resumed, whole, "{name}, {corruption}, cut at {end}");
            }
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_damaged_line_and_what_follows_is_computed_again() {
    let model = model(1, 6);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let plan = plan(&model, Corruption::Swap);
    let staged = StagedEngine::new(&model, Memory::beside(&model.shape(), 1 << 30)).unwrap();
    let whole = sweep(&staged, &plan, &path);
    let journal = std::fs::read(&path).unwrap();
    let ends = ends(&journal);
    let digits = (0..journal.len()).filter(|i| journal[*i].is_ascii_digit());
    let places: Vec<usize> = digits.step_by(journal.len() / 60).collect();
    assert!(places.len() > 20);
    for at in places {
        let mut changed = journal.clone();
        changed[at] = b'0' + (changed[at] - b'0' + 1) % 10;
        std::fs::write(&path, &changed).unwrap();
        let line = 1 + ends.iter().filter(|end| **end <= at).count();
        let (_, resumed) = Journal::resume(&path, KEY, &plan).unwrap();
        assert_eq!(resumed.damaged, Some(line), "byte {at}");
        let kept = if line == 1 { 0 } else { ends[line - 2] };
        assert_eq!(resumed.cut, (journal.len() - kept) as u64);
        assert_eq!(sweep(&staged, &plan, &path), whole, "byte {at}");
    }
    // A line of another sweep is a damaged one.
    let other = folder.path().join("other");
    let mut of_other = Journal::create(&other, "another").unwrap();
    drop(std::fs::remove_file(&path));
    let mut own = Journal::create(&path, KEY).unwrap();
    staged
        .sweep(&plan, &Done::nothing(&plan), &mut |batch| {
            of_other.append(&batch)?;
            own.append(&batch)
        })
        .unwrap();
    let foreign = std::fs::read(&other).unwrap();
    let mut mixed = std::fs::read(&path).unwrap()[..ends[0]].to_vec();
    let first = foreign.iter().position(|b| *b == b'\n').unwrap() + 1;
    mixed.extend(&foreign[first..]);
    std::fs::write(&path, &mixed).unwrap();
    let (_, resumed) = Journal::resume(&path, KEY, &plan).unwrap();
    assert_eq!((resumed.damaged, resumed.done.cells()), (Some(2), 0));
}

#[test]
fn what_is_no_journal_of_the_sweep_is_refused_and_left_alone() {
    let model = model(1, 6);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let plan = plan(&model, Corruption::Swap);
    drop(Journal::create(&path, "another").unwrap());
    let another = std::fs::read_to_string(&path).unwrap();
    let earlier = format!("{{\"engram_sweep\":1,\"key\":\"{KEY}\"}}\n");
    let somebodys = "id,name\n1,a\n";
    for text in [another.as_str(), &earlier, somebodys] {
        std::fs::write(&path, text).unwrap();
        let error = Journal::resume(&path, KEY, &plan).unwrap_err();
        assert!(matches!(error, PatchError::Journal { .. }), "{error:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
