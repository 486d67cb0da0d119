//! Cells of a caller's own: lists of interventions, by both engines and against closed forms.

mod common;

use common::{
    FAMILIES, PLAIN, close, family, model, naive, pair, plan_of, spec, staged, two_pairs,
};
use engram_core::{Align, Corruption, Direction, Metric, NamedSite, Part, Positions, Select, Site};
use engram_model::LanguageModel;
use engram_model::block::describe;
use engram_patch::{
    At, Cell, Engine, Fate, Memory, NaiveEngine, Plan, StagedEngine, SweepSpec, Value,
};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A value that suits a site.
fn value(site: Site, model: &LanguageModel, rng: &mut ChaCha8Rng) -> Value {
    let width = describe(site, &model.shape()).width;
    let is_scale = matches!(site, Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale);
    let mut row = |count: usize| -> Vec<f32> {
        let low = if is_scale { 0.5 } else { -0.5 };
        let values = 0..count * width.unwrap_or(0);
        values.map(|_| rng.random_range(low..1.0)).collect()
    };
    let (one, all) = (row(1), row(1));
    let image = matches!(site, Site::HeadOut | Site::Logits);
    let choice = rng.random_range(0..7);
    match choice {
        0 => Value::Source,
        1 if site != Site::Pattern => Value::Mean,
        2 if !is_scale => Value::Zero.added(-0.5),
        3 if site != Site::Pattern && !image => Value::row(one),
        4 if site != Site::Pattern && !image => Value::row(all).added(0.25),
        5 if !image => Value::function(|position, values| {
            let shift = 0.1 * position as f32;
            values.iter_mut().for_each(|v| *v = 0.5 * *v + shift);
        }),
        _ => Value::Source.added(0.5),
    }
}

/// Random lists, several interventions of one site among them, on every family: the engine that computes only what
/// changes against whole forward passes.
#[test]
fn both_engines_agree_on_lists_of_interventions() {
    let mut rng = ChaCha8Rng::seed_from_u64(19);
    let models = FAMILIES.iter().map(|name| family(name));
    let mut moved = 0;
    for model in [model(3, 4)].into_iter().chain(models) {
        let shape = model.shape();
        let table = model.sites();
        let mut cells = Vec::new();
        for index in 0..60 {
            let mut cell = Cell::new(format!("cell {index}"));
            let mut last = None;
            for _ in 0..rng.random_range(1..5) {
                // One in three at the site before.
                let site = match last.filter(|_| rng.random_bool(0.33)) {
                    Some(site) => site,
                    None => *table.sites().choose(&mut rng).unwrap(),
                };
                // Capped logits are no linear image.
                if site == Site::Logits && shape.capped {
                    continue;
                }
                last = Some(site);
                let layer = site.has_layer().then(|| rng.random_range(0..shape.layers));
                let at = [At::All, At::Last, At::Position(2), At::Position(3)];
                let mut named = NamedSite::canonical(site, layer).with(Select::Whole);
                if let Some(count) = describe(site, &shape).parts
                    && rng.random_bool(0.5)
                {
                    let start = rng.random_range(0..count);
                    let end = (start + rng.random_range(1..4)).min(count);
                    named = named.with(Select::Some(Part { start, end }));
                }
                let value = value(site, &model, &mut rng);
                cell = cell.with(named, *at.choose(&mut rng).unwrap(), value);
            }
            if !cell.interventions.is_empty() {
                cells.push(cell);
            }
        }
        for direction in [Direction::Denoise, Direction::Noise] {
            let plan = plan_of(&model, cells.clone(), direction);
            let (found, expected) = (staged(&model, &plan), naive(&model, &plan));
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                let cell = cells.iter().find(|c| c.name == a.name);
                assert!(
                    (a.patched - b.patched).abs() < 1e-4 * (1.0 + b.patched.abs()),
                    "{} for {} {direction:?}\n{a:?}\n{cell:?}",
                    a.patched,
                    b.patched
                );
                moved += usize::from((b.patched - b.corrupt).abs() > 1e-3);
            }
        }
    }
    assert!(moved > 5000, "{moved}");
}

/// A cell of the source run's value is the site's own cell, graph and all.
#[test]
fn a_cell_that_takes_the_source_s_value_is_the_site_s() {
    let model = model(3, 5);
    let table = model.sites();
    let sites: Vec<NamedSite> = (table.sites().iter())
        .flat_map(|site| table.everywhere(*site))
        .map(|site| site.with(Select::Whole))
        .collect();
    let cells = sites.iter();
    let cells = cells.map(|s| Cell::new(s.name.clone()).with(s.clone(), At::Last, Value::Source));
    let own = plan_of(&model, cells.collect(), Direction::Denoise);
    let spec = SweepSpec {
        positions: Positions::Last,
        ..spec(sites)
    };
    let usual = Plan::new(spec, model.shape(), two_pairs(&model)).unwrap();
    for (a, b) in own.pairs.iter().zip(&usual.pairs) {
        let fates = |cells: &[engram_patch::PlannedCell]| -> Vec<[Fate; 2]> {
            let fate = |c: &engram_patch::PlannedCell| [c.fate, c.fate_continued];
            cells.iter().map(fate).collect()
        };
        assert_eq!(fates(&a.cells), fates(&b.cells));
    }
    let (a, b) = (staged(&model, &own), staged(&model, &usual));
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a.patched.to_bits(), b.patched.to_bits(), "{a:?}\n{b:?}");
        assert_eq!(a.trivial, b.trivial);
    }
}

/// What is added to the last residual stream moves the logit difference as the last norm and the head say; what is put
/// back moves nothing; half of a difference twice is the whole.
#[test]
fn closed_forms() {
    let model = model(2, 7);
    let d = model.shape().d_model;
    let resid = |layer| NamedSite::canonical(Site::ResidPost, Some(layer));
    let identity = Value::function(|_, _| ());
    let negate = Value::function(|_, values| values.iter_mut().for_each(|v| *v = -*v));
    let cells = vec![
        Cell::new("untouched").with(resid(0), At::All, identity),
        Cell::new("nothing added").with(resid(0), At::All, Value::row(vec![1.0; d]).added(0.0)),
        Cell::new("source").with(resid(0), At::All, Value::Source),
        // x + (source − x) in two steps: ½x + ½x' is not yet x', x'·1 is.
        Cell::new("halves")
            .with(resid(0), At::All, Value::Zero)
            .with(resid(0), At::All, Value::Source.added(0.5))
            .with(resid(0), At::All, Value::Source.added(0.5)),
        Cell::new("turned")
            .with(resid(0), At::All, negate.clone())
            .with(resid(0), At::All, negate),
        // LayerNorm takes out what is the same in every dimension.
        Cell::new("a constant").with(resid(1), At::Last, Value::row(vec![3.0; d]).added(1.0)),
    ];
    let plan = plan_of(&model, cells, Direction::Denoise);
    for rows in [naive(&model, &plan), staged(&model, &plan)] {
        for row in rows {
            // Appended tokens of the answer read the corrupted prompt below the site.
            if row.metric == Metric::LogProbSeq && ["source", "halves"].contains(&row.name.as_str())
            {
                continue;
            }
            let expected = match row.name.as_str() {
                "untouched" | "nothing added" | "turned" | "a constant" => row.corrupt,
                "source" | "halves" => row.clean,
                other => panic!("{other}"),
            };
            close(row.patched, expected);
        }
    }
}

/// What cannot be done is an error that names the pair, the cell and the value, before anything is computed.
#[test]
fn wrong_interventions_are_named() {
    let model = model(2, 8);
    let shape = model.shape();
    let resid = || NamedSite::canonical(Site::ResidPre, Some(1));
    let one = |site, at, value| vec![Cell::new("mine").with(site, at, value)];
    let cases = [
        (
            one(resid(), At::Last, Value::row(vec![0.0; 3])),
            "3 values are given for a row of 16",
        ),
        (
            one(resid(), At::Last, Value::row(vec![f32::NAN; 16])),
            "the value NaN is given, which is not finite",
        ),
        (
            one(
                resid(),
                At::Last,
                Value::row(vec![0.0; 16]).added(f32::INFINITY),
            ),
            "the scale inf is not finite",
        ),
        (
            one(resid(), At::All, Value::Rows(vec![0.0; 32].into())),
            "32 values are given for 6 rows of 16 values",
        ),
        (
            one(resid(), At::Position(6), Value::Zero),
            "positions 6..7 of 6 tokens",
        ),
        (
            one(
                NamedSite::canonical(Site::ResidPre, Some(2)),
                At::Last,
                Value::Zero,
            ),
            "layer 2 of a model of 2",
        ),
        (
            one(
                NamedSite::canonical(Site::ResidPre, None),
                At::Last,
                Value::Zero,
            ),
            "it has no layer",
        ),
        (
            one(
                NamedSite::canonical(Site::Z, Some(0))
                    .with(Select::Some(Part { start: 1, end: 3 })),
                At::Last,
                Value::Zero,
            ),
            "heads or neurons 1 to 3 of 2",
        ),
        (
            one(
                NamedSite::canonical(Site::Pattern, Some(0)),
                At::Last,
                Value::row(vec![1.0]),
            ),
            "a pattern's rows differ in length",
        ),
        (
            one(
                NamedSite::canonical(Site::Pattern, Some(0)),
                At::Last,
                Value::Mean,
            ),
            "patterns of different prompts have no mean",
        ),
        (vec![Cell::new("mine")], "cell mine has no intervention"),
    ];
    for (cells, expected) in cases {
        let spec = SweepSpec {
            cells,
            ..spec(Vec::new())
        };
        let error = Plan::new(spec, shape.clone(), two_pairs(&model)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("cell mine")
                && text.contains(expected)
                && (text.contains("pair \"p\"") || text.contains("p (")),
            "{text} for {expected}"
        );
    }
    // A function may give what is not finite: the run says so.
    let nan = Value::function(|_, values| values.fill(f32::NAN));
    let plan = plan_of(&model, one(resid(), At::Last, nan), Direction::Denoise);
    let memory = Memory::beside(&shape, 1 << 30);
    let engines: [&dyn Engine; 2] = [
        &NaiveEngine::new(&model, PLAIN),
        &StagedEngine::new(&model, memory).unwrap(),
    ];
    for engine in engines {
        let error = engine.collect(&plan).unwrap_err().to_string();
        assert!(
            error.contains("pair \"p\"") && error.contains("resid_pre.1"),
            "{error}"
        );
    }
}

/// The subject's span, and zeros beside the corruption of the whole sweep.
#[test]
fn cells_stand_beside_those_of_the_sites() {
    let model = model(2, 9);
    let cell = Cell::new("none").with(
        NamedSite::canonical(Site::MlpOut, Some(0)),
        At::All,
        Value::Zero,
    );
    let sites = model.sites().everywhere(Site::MlpOut);
    let spec = SweepSpec {
        cells: vec![cell],
        direction: Direction::Noise,
        corruption: Corruption::Zero,
        ..spec(sites)
    };
    let plan = Plan::new(spec, model.shape(), two_pairs(&model)).unwrap();
    let rows = staged(&model, &plan);
    let named = |name: &str| -> Vec<u64> {
        let rows = rows.iter().filter(|r| r.name == name);
        rows.map(|r| r.patched.to_bits()).collect()
    };
    assert!(!named("none").is_empty());
    assert_eq!(named("none"), named("mlp_out.0"));
}

/// What a cell is refused for as a site is, and names that would be one row's.
#[test]
fn cells_are_held_to_what_sites_are_held_to() {
    let model = model(2, 8);
    let named = |site, layer| NamedSite::canonical(site, layer);
    let one = |site, at, value| vec![Cell::new("mine").with(site, at, value)];
    let of = |cells, align, pair| {
        let spec = SweepSpec {
            cells,
            align,
            ..spec(Vec::new())
        };
        let checked = engram_patch::check(
            &engram_core::Suite { pairs: vec![pair] },
            model.tokenizer(),
            &model.shape(),
            &engram_patch::Reading {
                unequal: true,
                ..Default::default()
            },
        );
        let pairs = engram_patch::refuse_unfit(checked.unwrap()).unwrap();
        let plan = Plan::new(spec, model.shape(), pairs);
        plan.map_err(|e| e.to_string())
    };
    let longer = || {
        let mut pair = pair("p", 6, &[2], 1);
        let corrupt = pair.corrupt_ids.as_mut().unwrap();
        corrupt.insert(0, 7);
        pair.subject = Some(engram_core::Span::Tokens(1, 3));
        pair
    };
    let pattern = || one(named(Site::Pattern, Some(0)), At::Last, Value::Source);
    let error = of(pattern(), Align::Last, longer()).unwrap_err();
    assert!(error.contains("positions of one prompt"), "{error}");
    // The corrupted prompt has a position more, whose partner there is not.
    let resid = || named(Site::ResidPre, Some(0));
    let error = of(
        one(resid(), At::Position(0), Value::Source),
        Align::Last,
        longer(),
    )
    .unwrap_err();
    assert!(error.contains("no partner under alignment last"), "{error}");
    of(
        one(resid(), At::Position(0), Value::Zero),
        Align::Last,
        longer(),
    )
    .unwrap();
    of(one(resid(), At::Last, Value::Source), Align::Last, longer()).unwrap();
    // Where the subject stands in a corrupted prompt of another length is not known.
    let subject = || one(resid(), At::Subject, Value::Zero);
    let error = of(subject(), Align::Last, longer()).unwrap_err();
    assert!(error.contains("corrupt_subject"), "{error}");
    let error = of(
        one(named(Site::MlpUp, Some(0)), At::Last, Value::Zero),
        Align::Strict,
        pair("p", 6, &[2], 1),
    );
    assert!(error.unwrap_err().contains("this model has no mlp_up"));
    let scale = one(named(Site::Ln1Scale, Some(0)), At::Last, Value::Zero);
    let error = of(scale, Align::Strict, pair("p", 6, &[2], 1)).unwrap_err();
    assert!(error.contains("divide by 0"), "{error}");
    let groups = named(Site::Z, Some(0)).with(Select::Groups(1));
    let error = of(
        one(groups, At::Last, Value::Zero),
        Align::Strict,
        pair("p", 6, &[2], 1),
    );
    assert!(error.unwrap_err().contains("several parts"));
    let twice = [pattern(), pattern()].concat();
    let error = of(twice, Align::Strict, pair("p", 6, &[2], 1)).unwrap_err();
    assert!(error.contains("told apart by name"), "{error}");
}

/// A function at the queries, keys and values of the last block is given all of them, at every position.
#[test]
fn a_function_of_all_queries_keys_and_values_sees_them() {
    // Queries as wide as a panel of the kernel, where the last block computes only those that are read.
    let model = common::model_of(
        &engram_model::Gpt2Config::new(common::VOCAB, 24, 64, 2, 2),
        5,
    );
    let normalise = Value::function(|_, row| {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    });
    let cell = Cell::new("normalised")
        .with(
            NamedSite::canonical(Site::ResidPre, Some(1)),
            At::All,
            Value::Source.added(0.5),
        )
        .with(
            NamedSite::canonical(Site::CAttn, Some(1)),
            At::All,
            normalise,
        );
    let plan = plan_of(&model, vec![cell], Direction::Denoise);
    for (a, b) in staged(&model, &plan).iter().zip(&naive(&model, &plan)) {
        close(a.patched, b.patched);
    }
}
