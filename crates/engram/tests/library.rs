//! The library as a program that depends on it alone meets it.

use std::path::{Path, PathBuf};

use engram::sweep::EngineKind;
use engram::{
    At, Cell, Error, Hooks, LogitMetric, Model, Observer, Outcome, Pair, Positions, Results,
    Silent, Site, Sweep, SweepFolder, Told, Value,
};

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/pubmed-mini")
}

fn pair() -> Pair {
    let (clean, corrupt) = ("A study of heart rate", "A study of survival rate");
    Pair::new(clean, corrupt, " variability", " of")
}

/// Counts what it is told, and cancels after so many units.
#[derive(Default)]
struct Counts {
    begun: usize,
    units: usize,
    ended: usize,
    most: Option<usize>,
}

impl Observer for Counts {
    fn told(&mut self, told: Told<'_>) {
        match told {
            Told::Begins { .. } => self.begun += 1,
            Told::At { .. } => self.units += 1,
            Told::Ends { .. } => self.ended += 1,
            _ => {}
        }
    }

    fn is_cancelled(&self) -> bool {
        self.most.is_some_and(|most| self.units >= most)
    }
}

#[test]
fn a_pair_is_swept_read_and_written() {
    let model = Model::open(bundled()).unwrap();
    let sweep = Sweep::of(&model)
        .sites("resid_pre,attn_out")
        .unwrap()
        .pairs([pair()]);
    let planned = sweep.plan().unwrap();
    assert_eq!(planned.plan().cells(), 2 * 8 * 5);
    let cost = planned.cost().unwrap().to_string();
    assert!(cost.contains("GFLOP"), "{cost}");
    let mut counts = Counts::default();
    let result = sweep.run(&mut counts).unwrap();
    assert_eq!((counts.begun, counts.ended), (1, 1));
    assert!(counts.units > 0);
    // By layer and position, of the first site.
    let map = result.recovery(0);
    assert_eq!((map.len(), map[0].len()), (8, 5));
    for row in result.rows.iter().filter(|r| r.site == Site::ResidPre) {
        let place = |value: Option<i64>| value.unwrap() as usize;
        let found = map[place(row.layer)][place(row.position)];
        assert_eq!(Some(found), row.recovery);
    }
    assert_eq!(map[0][3], 1.0);
    assert!(result.recovery(1).is_empty());
    // The reference gives the same.
    let naive = sweep
        .clone()
        .engine(EngineKind::Naive)
        .run(&mut Silent)
        .unwrap();
    for (a, b) in naive.rows.iter().zip(&result.rows) {
        assert!((a.patched - b.patched).abs() < 1e-4, "{a:?} {b:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("capitals");
    result.write(&out).unwrap();
    let error = result.write(&out).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
    let read = Results::read(&out).unwrap();
    assert_eq!(read.conditions[0].rows.len(), result.rows.len());
    assert_eq!(read.manifest.models, ["pubmed-mini"]);
    read.findings().unwrap();
}

#[test]
fn a_cancelled_sweep_is_resumed_and_ends_with_the_same_bytes() {
    let model = Model::open(bundled()).unwrap();
    let sweep = Sweep::of(&model)
        .sites("resid_pre,z")
        .unwrap()
        .pairs([pair()]);
    let sweep = sweep.engine(EngineKind::Naive);
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let at = |path: &Path, resume| SweepFolder::open(path, resume).unwrap();
    sweep.run_in(&at(&whole, false), &mut Silent).unwrap();
    let mut two = Counts {
        most: Some(2),
        ..Counts::default()
    };
    let error = sweep.run_in(&at(&broken, false), &mut two).unwrap_err();
    let Error::Cancelled {
        kept: Some(journal),
    } = &error
    else {
        panic!("{error}")
    };
    assert!(journal.exists() && !broken.exists());
    let error = SweepFolder::open(&broken, false).unwrap_err();
    assert!(matches!(error, Error::BrokenOff { .. }), "{error}");
    let mut rest = Counts::default();
    sweep.run_in(&at(&broken, true), &mut rest).unwrap();
    assert!(!journal.exists());
    let bytes = |folder: &Path| std::fs::read(folder.join("patch.parquet")).unwrap();
    assert_eq!(bytes(&whole), bytes(&broken));
    // What is whole is taken as it is.
    sweep.run_in(&at(&broken, true), &mut Silent).unwrap();
    // Another sweep's results are not.
    let other = sweep.clone().positions(Positions::Last);
    let error = other.run_in(&at(&broken, true), &mut Silent).unwrap_err();
    assert!(matches!(error, Error::OtherInputs { .. }), "{error}");
}

#[test]
fn hooks_read_and_replace_values_at_any_site() {
    let model = Model::open(bundled()).unwrap();
    let ids = model.ids("A study of heart rate").unwrap();
    let plain = model.run(&ids, &mut Hooks::of(&model)).unwrap();
    let vocab = model.shape().vocab;
    assert_eq!(plain.dims(), [ids.len(), vocab]);
    let logits = |hooks: &mut Hooks<'_, '_>| -> Vec<f32> {
        let logits = model.run(&ids, hooks).unwrap();
        logits.flatten_all().unwrap().to_vec1().unwrap()
    };
    let plain: Vec<f32> = plain.flatten_all().unwrap().to_vec1().unwrap();
    // One that only looks moves no bit, and sees every layer under one name.
    let seen = std::cell::RefCell::new(Vec::new());
    let mut look = Hooks::of(&model);
    look.on("blocks.*.hook_resid_pre", |value| {
        seen.borrow_mut().push(value.dims().to_vec());
        Ok(value)
    })
    .unwrap();
    assert_eq!(logits(&mut look), plain);
    drop(look);
    assert_eq!(*seen.borrow(), vec![vec![ids.len(), 256]; 8]);
    // The value that is written is the one that a sweep writes: zero ablation of a whole site.
    let mut zero = Hooks::of(&model);
    zero.on("attn_out.2", |value| value * 0.0).unwrap();
    let ablated = logits(&mut zero);
    assert_ne!(ablated, plain);
    let sweep = Sweep::of(&model)
        .sites("attn_out.2")
        .unwrap()
        .pairs([pair()]);
    let sweep = sweep
        .corruption(engram::Corruption::Zero)
        .direction(engram::Direction::Noise)
        .positions(Positions::All);
    let row = &sweep.run(&mut Silent).unwrap().rows[0];
    let last = &ablated[(ids.len() - 1) * vocab..];
    let token = |text: &str| model.tokenizer().encode_bare(text).unwrap()[0] as usize;
    let difference = f64::from(last[token(" variability")]) - f64::from(last[token(" of")]);
    assert!(
        (row.patched - difference).abs() < 1e-4,
        "{row:?} {difference}"
    );
    // A value of another shape, a part of a site, a site that there is not.
    let mut wrong = Hooks::of(&model);
    wrong
        .on("resid_pre.1", |value| value.narrow(0, 0, 1))
        .unwrap();
    let error = model.run(&ids, &mut wrong).unwrap_err().to_string();
    assert!(
        error.contains("resid_pre.1") && error.contains("[5, 256]"),
        "{error}"
    );
    let mut hooks = Hooks::of(&model);
    let error = hooks.on("z.1[0]", Ok).unwrap_err().to_string();
    assert!(error.contains("the whole value"), "{error}");
    let error = hooks.on("resid_per.1", Ok).unwrap_err().to_string();
    assert!(error.contains("resid_pre.1"), "{error}");
}

/// The logit difference and the entropy, as a program would add them.
struct Own(&'static str, fn(&Outcome<'_>) -> f64);

impl LogitMetric for Own {
    fn name(&self) -> &str {
        self.0
    }

    fn measure(&self, outcome: Outcome<'_>) -> f64 {
        (self.1)(&outcome)
    }
}

#[test]
fn a_caller_s_metric_is_measured_in_every_run() {
    let model = Model::open(bundled()).unwrap();
    let difference = |o: &Outcome<'_>| {
        let logit = |tokens: &[u32]| f64::from(o.logits[tokens[0] as usize]);
        logit(o.answer) - logit(o.foil)
    };
    let of = |metric| {
        let sweep = Sweep::of(&model)
            .sites("resid_pre")
            .unwrap()
            .pairs([pair()]);
        sweep.measure(metric).unwrap()
    };
    for engine in [EngineKind::Staged, EngineKind::Naive] {
        let sweep = of(Own("difference", difference)).engine(engine);
        let rows = sweep.run(&mut Silent).unwrap().rows;
        for rows in rows.chunks(2) {
            let (usual, own) = (&rows[0], &rows[1]);
            assert_eq!(own.metric.to_string(), "own:difference");
            // Naive runs and wavefronts add in other orders.
            for (a, b) in [(own.clean, usual.clean), (own.patched, usual.patched)] {
                assert!((a - b).abs() < 1e-4, "{a} for {b}");
            }
            let same = (own.recovery.unwrap() - usual.recovery.unwrap()).abs();
            assert!(same < 1e-3, "{own:?}");
        }
    }
    // Rows are written and read.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let result = of(Own("difference", difference)).run(&mut Silent).unwrap();
    result.write(&out).unwrap();
    let read = Results::read(&out).unwrap();
    assert_eq!(read.conditions[0].rows, result.rows);
    // NaN names the pair, the site and the value.
    let nan = |_: &Outcome<'_>| f64::NAN;
    let error = of(Own("broken", nan)).run(&mut Silent).unwrap_err();
    let text = error.to_string();
    for part in ["own:broken", "NaN", "the clean run", "pair"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let error = of(Own("difference", difference))
        .sites("resid_pre")
        .unwrap();
    let folder = SweepFolder::open(folder.path().join("b"), false).unwrap();
    let error = error.run_in(&folder, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("in memory"), "{error}");
    let name = Sweep::of(&model)
        .measure(Own("a b", difference))
        .unwrap_err();
    assert!(name.to_string().contains("a b"), "{name}");
}

/// Cells of the caller's: what is swept as a site, and what is done by a hook, give the same.
#[test]
fn a_caller_s_cells_are_swept() {
    let model = Model::open(bundled()).unwrap();
    let site = |name: &str| model.site(name).unwrap();
    let halve = |_: usize, row: &mut [f32]| row.iter_mut().for_each(|x| *x *= 0.5);
    let cells = [
        Cell::new("restored").with(site("resid_pre.4"), At::Last, Value::Source),
        Cell::new("halved").with(site("attn_out.2"), At::All, Value::function(halve)),
    ];
    let sweep = Sweep::of(&model).cells(cells).pairs([pair()]);
    let result = sweep.run(&mut Silent).unwrap();
    let names: Vec<&str> = result.rows.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["restored", "halved"]);
    let usual = Sweep::of(&model).sites("resid_pre.4").unwrap();
    let usual = usual.positions(Positions::Last).pairs([pair()]);
    let usual = usual.run(&mut Silent).unwrap();
    assert_eq!(
        result.rows[0].patched.to_bits(),
        usual.rows[0].patched.to_bits()
    );
    let mut hooks = Hooks::of(&model);
    hooks.on("attn_out.2", |value| value * 0.5).unwrap();
    let ids = model.ids("A study of survival rate").unwrap();
    let logits = model.run(&ids, &mut hooks).unwrap();
    let last = logits.get(ids.len() - 1).unwrap().to_vec1::<f32>().unwrap();
    let logit = |text: &str| {
        let token = model.tokenizer().encode_bare(text).unwrap()[0];
        f64::from(last[token as usize])
    };
    let difference = logit(" variability") - logit(" of");
    assert!(
        (result.rows[1].patched - difference).abs() < 1e-4,
        "{difference}"
    );
    // Nothing could resume what has no name.
    let folder = tempfile::tempdir().unwrap();
    let folder = SweepFolder::open(folder.path().join("out"), false).unwrap();
    let error = sweep.run_in(&folder, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("in memory"), "{error}");
    let error = model.site("resid_pre").unwrap_err().to_string();
    assert!(error.contains("resid_pre.0"), "{error}");
}

#[test]
fn wrong_use_is_an_error_that_names_the_pair_and_the_value() {
    let model = Model::open(bundled()).unwrap();
    let of = |pair: Pair| Sweep::of(&model).sites("resid_pre").unwrap().pairs([pair]);
    let refused = |pair: Pair| of(pair).run(&mut Silent).unwrap_err().to_string();
    let ids = |clean: Vec<u32>| Pair {
        clean_ids: Some(clean),
        corrupt_ids: Some(vec![1, 2, 4]),
        answer_ids: Some(vec![5]),
        foil_ids: Some(vec![6]),
        ..Pair::new("", "", "", "")
    };
    for (pair, expected) in [
        (ids(vec![1, 2, 99_999]), "token id 99999"),
        (ids(vec![3; 5000]), "5000"),
        (
            Pair {
                subject: Some(engram_core::Span::Tokens(2, 9)),
                ..ids(vec![1, 2, 3])
            },
            "subject",
        ),
    ] {
        let error = refused(pair);
        assert!(
            error.contains("pair") && error.contains(expected),
            "{expected}: {error}"
        );
    }
    let error = Sweep::of(&model)
        .pairs([pair()])
        .run(&mut Silent)
        .unwrap_err();
    assert!(
        error.to_string().contains("no site") || error.to_string().contains("nothing"),
        "{error}"
    );
    let error = Sweep::of(&model)
        .sites("resid_pre.12")
        .unwrap_err()
        .to_string();
    assert!(error.contains("resid_pre.12"), "{error}");
    let error = of(pair())
        .memory(Some(1 << 20))
        .run(&mut Silent)
        .unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    let error = Model::open("no/such/model/at/all").unwrap_err();
    assert!(matches!(error, Error::Hub(_)), "{error}");
}
