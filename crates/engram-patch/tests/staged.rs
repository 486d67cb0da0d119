//! The staged engine against the naive one, on random models, prompts and plans.

mod common;

use common::{
    FAMILIES, PLAIN, VOCAB, every_site, family, model, model_of, pair, prepared, rows, spec,
};
use engram_core::{
    Align, Corruption, Direction, Metric, NamedSite, Pair, Part, Positions, Row, Select, Span,
};
use engram_model::{Gpt2Config, LanguageModel};
use engram_patch::{
    Batch, Done, Engine, Memory, PatchError, Plan, PreparedPair, Reading, Schedule, StagedEngine,
    SweepSpec, check, refuse_unfit,
};

const BOTH: [Direction; 2] = [Direction::Denoise, Direction::Noise];
const PLENTY: u64 = 1 << 30;

fn staged(model: &LanguageModel) -> StagedEngine<'_> {
    StagedEngine::new(model, Memory::beside(&model.shape(), PLENTY)).unwrap()
}

/// A pair whose subject is tokens 1 and 2.
fn with_subject(id: &str, length: usize, differ: &[usize], seed: u64) -> Pair {
    Pair {
        subject: Some(Span::Tokens(1, 3)),
        corrupt_subject: Some(Span::Tokens(1, 3)),
        ..pair(id, length, differ, seed)
    }
}

fn suite(model: &LanguageModel, seed: u64) -> Vec<PreparedPair> {
    prepared(
        model,
        vec![
            with_subject("a", 6, &[2], seed),
            with_subject("b", 8, &[1, 2, 5], seed + 1),
            with_subject("c", 6, &[0], seed + 2),
            with_subject("d", 8, &[7], seed + 3),
        ],
    )
}

/// Every site by head and whole, some neurons and a group of them.
fn every_cell(model: &LanguageModel) -> Vec<NamedSite> {
    let mut all = every_site(model);
    for site in every_site(model) {
        if site.site.has_heads() {
            all.push(
                site.clone()
                    .named(format!("all heads of {}", site.name))
                    .with(Select::Whole),
            );
        }
        if site.site.has_neurons() {
            for (start, end) in [(3, 4), (5, 9)] {
                all.push(site.clone().with(Select::Some(Part { start, end })));
            }
        }
    }
    all
}

#[track_caller]
fn same(found: &[Row], expected: &[Row]) -> usize {
    assert_eq!(found.len(), expected.len());
    let mut moved = 0;
    for (a, b) in found.iter().zip(expected) {
        let pairs = [
            (a.patched, b.patched),
            (a.clean, b.clean),
            (a.corrupt, b.corrupt),
        ];
        for (x, y) in pairs {
            assert!(
                (x - y).abs() < 1e-4 * (1.0 + y.abs()),
                "{x} for {y}:\n{a:?}\n{b:?}"
            );
        }
        let values = |r: &Row| Row {
            patched: 0.0,
            clean: 0.0,
            corrupt: 0.0,
            recovery: None,
            ..r.clone()
        };
        assert_eq!(values(a), values(b));
        moved +=
            usize::from((b.patched - b.corrupt).abs() > 1e-3 && (b.patched - b.clean).abs() > 1e-3);
    }
    moved
}

#[test]
fn equals_naive_at_every_site_position_direction_and_corruption() {
    for seed in [1, 2] {
        let model = model(3, seed);
        let pairs = suite(&model, 10 * seed);
        let engine = staged(&model);
        for (corruption, direction) in [
            (Corruption::Swap, Direction::Denoise),
            (Corruption::Swap, Direction::Noise),
            (Corruption::Gaussian(3.0), Direction::Denoise),
            (Corruption::Gaussian(1.0), Direction::Noise),
            (Corruption::Resample, Direction::Denoise),
            (Corruption::Resample, Direction::Noise),
            (Corruption::Zero, Direction::Noise),
            (Corruption::Mean, Direction::Noise),
        ] {
            for positions in [
                Positions::Each,
                Positions::All,
                Positions::Last,
                Positions::Subject,
            ] {
                let sites = every_cell(&model).into_iter().filter(|s| {
                    let scale = s.name.contains("scale") && corruption == Corruption::Zero;
                    let pattern = s.name.contains("pattern") && corruption == Corruption::Mean;
                    !scale && !pattern
                });
                let spec = SweepSpec {
                    direction,
                    positions,
                    corruption,
                    samples: 2,
                    ..spec(sites.collect())
                };
                let expected = rows(&PLAIN, &model, spec.clone(), &pairs);
                let found = rows(&engine, &model, spec, &pairs);
                let moved = same(&found, &expected);
                assert!(moved > found.len() / 20, "{moved} of {}", found.len());
                confirm_fates(&expected);
            }
        }
    }
}

/// A trivial row has the value that it claims.
fn confirm_fates(rows: &[Row]) {
    for row in rows.iter().filter(|r| r.trivial) {
        let restored = row
            .trivial_why
            .as_deref()
            .unwrap()
            .starts_with("every path");
        let clean = (row.direction == Direction::Denoise) == restored;
        let claimed = if clean { row.clean } else { row.corrupt };
        assert!(
            (row.patched - claimed).abs() < 2e-4 * (1.0 + claimed.abs()),
            "{row:?}"
        );
    }
}

#[test]
fn equals_naive_in_windows() {
    let model = model(4, 3);
    let pairs = suite(&model, 5);
    let engine = staged(&model);
    let layered = || every_cell(&model).into_iter().filter(|s| s.layer.is_some());
    for window in [2, 3, 10] {
        for (direction, corruption) in [
            (Direction::Denoise, Corruption::Swap),
            (Direction::Noise, Corruption::Swap),
            (Direction::Noise, Corruption::Mean),
        ] {
            for positions in [Positions::Each, Positions::All] {
                let sites = layered()
                    .filter(|s| corruption == Corruption::Swap || !s.name.contains("pattern"));
                let spec = SweepSpec {
                    window,
                    direction,
                    corruption,
                    positions,
                    ..spec(sites.collect())
                };
                let expected = rows(&PLAIN, &model, spec.clone(), &pairs);
                same(&rows(&engine, &model, spec, &pairs), &expected);
                confirm_fates(&expected);
            }
        }
    }
}

#[test]
fn equals_naive_under_every_alignment() {
    let model = model(3, 4);
    let mut uneven = with_subject("uneven", 8, &[4], 9);
    uneven.corrupt_ids = Some(vec![1, 2, 3, 4, 5, 6]);
    uneven.corrupt_subject = Some(Span::Tokens(2, 5));
    let suite = engram_core::Suite {
        pairs: vec![uneven, with_subject("even", 6, &[2], 8)],
    };
    let reading = Reading {
        unequal: true,
        ..Reading::default()
    };
    let checked = check(&suite, model.tokenizer(), &model.shape(), &reading).unwrap();
    let pairs = refuse_unfit(checked).unwrap();
    let sites = || {
        every_cell(&model)
            .into_iter()
            .filter(|s| !s.name.contains("pattern"))
    };
    for align in [Align::Last, Align::Subject] {
        for direction in BOTH {
            for positions in [Positions::Each, Positions::All] {
                let spec = SweepSpec {
                    align,
                    direction,
                    positions,
                    ..spec(sites().collect())
                };
                let expected = rows(&PLAIN, &model, spec.clone(), &pairs);
                same(&rows(&staged(&model), &model, spec, &pairs), &expected);
                confirm_fates(&expected);
            }
        }
    }
}

/// To the last bit: cells alone, pairs alone, little memory, one thread and three.
#[test]
fn a_cell_does_not_depend_on_its_company() {
    let model = model(3, 5);
    let pairs = suite(&model, 7);
    let spec = SweepSpec {
        positions: Positions::Each,
        ..spec(every_cell(&model))
    };
    let whole = rows(&staged(&model), &model, spec.clone(), &pairs);
    let mut alone = Vec::new();
    for pair in &pairs {
        alone.extend(rows(
            &staged(&model),
            &model,
            spec.clone(),
            std::slice::from_ref(pair),
        ));
    }
    assert_eq!(whole, alone);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let found = pool.install(|| rows(&staged(&model), &model, spec.clone(), &pairs));
        assert_eq!(whole, found, "{threads} threads");
    }
    let plan = Plan::new(spec.clone(), model.shape(), pairs.clone()).unwrap();
    let done = Done::nothing(&plan);
    let Err(PatchError::Memory { least, .. }) =
        Schedule::of(&plan, &done, Memory::beside(&model.shape(), 1), 2)
    else {
        panic!("1 byte is enough?");
    };
    let schedule = Schedule::of(&plan, &done, Memory::beside(&model.shape(), least), 2).unwrap();
    assert!(schedule.bytes <= least && schedule.groups.len() == pairs.len());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .unwrap();
    let little = StagedEngine::new(&model, Memory::beside(&model.shape(), least)).unwrap();
    assert_eq!(whole, pool.install(|| rows(&little, &model, spec, &pairs)));
}

/// Broken off after any batch and taken up again, the results are those of an unbroken sweep.
#[test]
fn goes_on_from_what_is_done() {
    let model = model(2, 6);
    let pairs = suite(&model, 3);
    let spec = SweepSpec {
        positions: Positions::Each,
        ..spec(every_site(&model))
    };
    let plan = Plan::new(spec, model.shape(), pairs).unwrap();
    let engine = staged(&model);
    let mut batches: Vec<Batch> = Vec::new();
    let nothing = Done::nothing(&plan);
    let mut keep = |batch| {
        batches.push(batch);
        Ok(())
    };
    engine.sweep(&plan, &nothing, &mut keep).unwrap();
    let whole = engine.collect(&plan).unwrap();
    for stop in 0..batches.len() {
        let mut done = nothing.clone();
        batches[..stop].iter().cloned().for_each(|b| done.take(b));
        let before = done.clone();
        engine
            .sweep(&plan, &before, &mut |batch| {
                assert!(
                    batch
                        .cells
                        .iter()
                        .all(|(cell, _)| !before.has(batch.pair, *cell))
                );
                done.take(batch);
                Ok(())
            })
            .unwrap();
        assert_eq!(done.results(&plan), whole, "after {stop} batches");
    }
    assert!(batches.len() > 4);
}

/// Widths at which the last block leaves queries out that nobody reads, and the other activations.
#[test]
fn equals_naive_at_other_widths_and_activations() {
    for (width, activation) in [(32, "gelu_new"), (64, "gelu"), (24, "relu")] {
        let mut config = Gpt2Config::new(VOCAB, 24, width, 2, 2);
        config.activation_function = activation.to_owned();
        let model = model_of(&config, 8);
        let pairs = suite(&model, 4);
        for (direction, positions) in [
            (Direction::Denoise, Positions::Each),
            (Direction::Noise, Positions::All),
        ] {
            let spec = SweepSpec {
                direction,
                positions,
                ..spec(every_cell(&model))
            };
            let expected = rows(&PLAIN, &model, spec.clone(), &pairs);
            let moved = same(&rows(&staged(&model), &model, spec, &pairs), &expected);
            assert!(moved > expected.len() / 20, "{width} {activation}");
        }
    }
}

/// Every family, with all that is particular of it: the two engines agree at every cell, the graph's claims hold,
/// and a cell's value does not depend on what goes through with it.
#[test]
fn equals_naive_on_every_family() {
    for name in FAMILIES {
        let model = family(name);
        let pairs = suite(&model, 11);
        let engine = staged(&model);
        for (direction, positions, corruption) in [
            (Direction::Denoise, Positions::Each, Corruption::Swap),
            (Direction::Noise, Positions::All, Corruption::Swap),
            (Direction::Noise, Positions::Each, Corruption::Mean),
            (
                Direction::Denoise,
                Positions::Subject,
                Corruption::Gaussian(2.0),
            ),
        ] {
            let mean = corruption == Corruption::Mean;
            let capped = model.shape().capped;
            let sites = every_cell(&model).into_iter().filter(|s| {
                let no_mean = s.name.contains("pattern") || capped && s.name == "logits";
                !(mean && no_mean)
            });
            let spec = SweepSpec {
                direction,
                positions,
                corruption,
                samples: 2,
                // A rank jumps where two logits are as good as equal.
                metrics: (Metric::ALL.iter().copied())
                    .filter(|m| *m != Metric::Rank)
                    .collect(),
                ..spec(sites.collect())
            };
            let expected = rows(&PLAIN, &model, spec.clone(), &pairs);
            let found = rows(&engine, &model, spec.clone(), &pairs);
            let moved = same(&found, &expected);
            assert!(
                moved > found.len() / 20,
                "{name}: {moved} of {}",
                found.len()
            );
            confirm_fates(&expected);
            if corruption == Corruption::Swap {
                let alone = rows(&engine, &model, spec, &pairs[..1]);
                assert_eq!(found[..alone.len()], alone);
            }
        }
    }
}
