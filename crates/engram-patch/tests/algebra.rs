//! What any correct sweep satisfies, on random models and prompts.

mod common;

use common::{FAMILIES, PLAIN, every_site, family, model, pair, prepared, rows, sites, spec};
use engram_core::{Direction, Metric, Positions, Row, Select, Site};
use engram_patch::{NaiveSettings, SweepSpec};

const BOTH: [Direction; 2] = [Direction::Denoise, Direction::Noise];

/// Where the patched value should stand: the run that a recovery of 0 or 1 means.
fn claimed(row: &Row) -> f64 {
    let to_clean = (row.direction == Direction::Denoise)
        == row
            .trivial_why
            .as_deref()
            .unwrap()
            .starts_with("every path");
    if to_clean { row.clean } else { row.corrupt }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 2e-4 * (1.0 + a.abs())
}

/// Metrics read only at the prompt's last position.
fn at_prompt(row: &Row) -> bool {
    row.metric != Metric::LogProbSeq
}

/// Every cell of every site, by position and whole: a trivial row has the value that it claims, and
/// whoever is not trivial is off 0 and 1.
#[test]
fn trivial_rows_have_the_value_that_the_graph_claims() {
    for (seed, differ) in [(1, vec![2]), (2, vec![0, 3]), (3, vec![3, 5]), (4, vec![5])] {
        let model = model(2, seed);
        let pairs = prepared(&model, vec![pair("p", 6, &differ, seed + 10)]);
        let (mut open, mut extreme) = (0, 0);
        for (direction, positions) in BOTH
            .into_iter()
            .flat_map(|d| [Positions::Each, Positions::All, Positions::Last].map(|p| (d, p)))
        {
            let spec = SweepSpec {
                direction,
                positions,
                ..spec(every_site(&model))
            };
            for row in rows(&PLAIN, &model, spec, &pairs) {
                if row.trivial {
                    assert!(close(row.patched, claimed(&row)), "seed {seed}: {row:?}");
                } else if row.metric == Metric::LogitDiff {
                    let r = row.recovery.unwrap();
                    open += 1;
                    if r.abs() < 1e-6 || (r - 1.0).abs() < 1e-6 {
                        extreme += 1;
                    }
                }
            }
        }
        assert!(open > 100, "{open} cells are open");
        assert_eq!(extreme, 0, "of {open} open cells");
    }
}

#[test]
fn whole_residual_streams_and_the_last_residual_restore_everything() {
    let model = model(3, 5);
    let pairs = prepared(
        &model,
        vec![pair("a", 7, &[2, 4], 1), pair("b", 5, &[0], 2)],
    );
    let streams = [Site::ResidPre, Site::ResidMid, Site::ResidPost];
    for direction in BOTH {
        let whole = streams.into_iter().flat_map(|s| sites(&model, s));
        // After attention has read the prompt, only the stream before it carries all to the first layer.
        for row in rows(
            &PLAIN,
            &model,
            SweepSpec {
                direction,
                ..spec(whole.collect())
            },
            &pairs,
        ) {
            if at_prompt(&row) {
                assert!(
                    row.trivial && row.recovery.is_none_or(|r| close(r, 1.0)),
                    "{row:?}"
                );
            }
        }
        let last = model.sites().resolve("resid_post.2").unwrap();
        let spec = SweepSpec {
            direction,
            positions: Positions::Last,
            ..spec(last)
        };
        for row in rows(&PLAIN, &model, spec, &pairs)
            .iter()
            .filter(|r| at_prompt(r))
        {
            assert!(
                row.trivial && row.recovery.is_none_or(|r| close(r, 1.0)),
                "{row:?}"
            );
        }
    }
}

#[test]
fn patching_a_run_with_itself_changes_nothing() {
    let model = model(2, 6);
    let mut pairs = prepared(&model, vec![pair("p", 6, &[3], 3)]);
    pairs[0].corrupt = pairs[0].clean.clone();
    for positions in [Positions::Each, Positions::All] {
        let spec = SweepSpec {
            positions,
            ..spec(every_site(&model))
        };
        for row in rows(&PLAIN, &model, spec, &pairs) {
            assert!(row.trivial, "{row:?}");
            assert!(
                close(row.patched, row.clean) && close(row.clean, row.corrupt),
                "{row:?}"
            );
        }
    }
}

#[test]
fn nothing_happens_before_the_first_difference() {
    let model = model(2, 7);
    let pairs = prepared(&model, vec![pair("p", 7, &[3, 4], 4)]);
    for direction in BOTH {
        let spec = SweepSpec {
            direction,
            positions: Positions::Each,
            ..spec(every_site(&model))
        };
        for row in rows(&PLAIN, &model, spec, &pairs) {
            if row.position.unwrap() < 3 && row.site != Site::Logits {
                assert!(row.trivial, "{row:?}");
                assert!(close(row.patched, claimed(&row)), "{row:?}");
                assert!(row.recovery.is_none_or(|r| r.abs() < 1e-3), "{row:?}");
            }
        }
    }
}

#[test]
fn all_heads_together_are_the_attention_output() {
    let model = model(2, 8);
    let pairs = prepared(&model, vec![pair("p", 6, &[1, 3], 5)]);
    for direction in BOTH {
        for positions in [Positions::Each, Positions::All] {
            let of = |site| SweepSpec {
                direction,
                positions,
                ..spec(
                    sites(&model, site)
                        .into_iter()
                        .map(|s| s.with(Select::Whole))
                        .collect(),
                )
            };
            let heads = rows(&PLAIN, &model, of(Site::HeadOut), &pairs);
            let whole = rows(&PLAIN, &model, of(Site::AttnOut), &pairs);
            for (a, b) in heads.iter().zip(&whole) {
                assert_eq!(
                    (a.layer, a.position, a.trivial),
                    (b.layer, b.position, b.trivial)
                );
                assert!(close(a.patched, b.patched), "{a:?}\n{b:?}");
            }
        }
    }
}

/// Rounding aside, neither the batch nor the pairs beside a pair change what is found, nor do the short cuts.
#[test]
fn batched_equals_single_and_short_cuts_change_nothing() {
    let model = model(2, 9);
    let pairs = prepared(&model, vec![pair("a", 7, &[2], 6), pair("b", 6, &[4], 7)]);
    for direction in BOTH {
        let spec = SweepSpec {
            direction,
            positions: Positions::Each,
            ..spec(every_site(&model))
        };
        let together = rows(&PLAIN, &model, spec.clone(), &pairs);
        let single = NaiveSettings { batch: 1, ..PLAIN };
        let alone: Vec<Row> = pairs
            .iter()
            .flat_map(|p| rows(&single, &model, spec.clone(), std::slice::from_ref(p)))
            .collect();
        let small = NaiveSettings { memory: 1, ..PLAIN };
        let short = NaiveSettings {
            skip_trivial: true,
            ..PLAIN
        };
        for other in [
            alone,
            rows(&small, &model, spec.clone(), &pairs),
            rows(&short, &model, spec, &pairs),
        ] {
            assert_eq!(together.len(), other.len());
            for (a, b) in together.iter().zip(&other) {
                assert!(
                    close(a.patched, b.patched) && close(a.clean, b.clean),
                    "{a:?}\n{b:?}"
                );
                let names = |r: &Row| {
                    (
                        r.pair.clone(),
                        r.name.clone(),
                        r.position,
                        r.metric,
                        r.trivial,
                    )
                };
                assert_eq!(names(a), names(b));
            }
        }
    }
}

#[test]
fn one_place_under_two_names_is_computed_once_and_written_twice() {
    let model = model(2, 10);
    let pairs = prepared(&model, vec![pair("p", 6, &[2], 8)]);
    let table = model.sites();
    let names = [
        "transformer.h.1.attn",
        "transformer.h.1.attn.c_proj",
        "blocks.1.hook_attn_out",
        "attn_out.1",
        "attn_out.1",
    ];
    let asked = names
        .iter()
        .flat_map(|n| table.resolve(n).unwrap())
        .collect();
    let spec = SweepSpec {
        metrics: vec![Metric::LogitDiff],
        ..spec(asked)
    };
    let found = rows(&PLAIN, &model, spec, &pairs);
    let found_names: Vec<&str> = found.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        found_names,
        &names[..4],
        "asked for twice under one name counts once"
    );
    assert!(
        found
            .iter()
            .all(|r| r.patched == found[0].patched && r.site == Site::AttnOut)
    );
    assert!(found[0].patched != found[0].corrupt);
}

#[test]
fn ineligible_pairs_keep_their_rows_without_recovery() {
    let model = model(2, 11);
    let pairs = prepared(&model, vec![pair("p", 6, &[2], 9)]);
    let spec = SweepSpec {
        eligible_gap: 1e9,
        ..spec(sites(&model, Site::MlpOut))
    };
    let found = rows(&PLAIN, &model, spec, &pairs);
    assert_eq!(found.len(), 2 * Metric::ALL.len());
    assert!(
        found
            .iter()
            .all(|r| r.recovery.is_none() && r.patched.is_finite())
    );
}

/// The algebra on every family: what the graph claims is so, a run patched with itself does not change, and all
/// heads at once are the output of attention.
#[test]
fn the_algebra_holds_on_every_family() {
    for name in FAMILIES {
        let model = family(name);
        let pairs = prepared(&model, vec![pair("p", 7, &[2, 4], 3)]);
        let mut trivial = 0;
        for (direction, positions) in BOTH
            .into_iter()
            .flat_map(|d| [Positions::Each, Positions::All, Positions::Last].map(|p| (d, p)))
        {
            let spec = SweepSpec {
                direction,
                positions,
                ..spec(every_site(&model))
            };
            for row in rows(&PLAIN, &model, spec, &pairs) {
                if row.trivial {
                    trivial += 1;
                    assert!(close(row.patched, claimed(&row)), "{name}: {row:?}");
                } else if row.metric == Metric::LogitDiff {
                    let r = row.recovery.unwrap();
                    // A window keeps what the graph without it would let through.
                    let windowed = model
                        .architecture()
                        .attention
                        .iter()
                        .any(|a| a.window.is_some());
                    let open = r.abs() > 1e-6 && (r - 1.0).abs() > 1e-6;
                    assert!(open || windowed, "{name}: {row:?}");
                }
            }
        }
        assert!(trivial > 500, "{name}: {trivial}");

        let mut same = pairs.clone();
        same[0].corrupt = same[0].clean.clone();
        let spec_of = |sites, direction| SweepSpec {
            direction,
            positions: Positions::Each,
            ..spec(sites)
        };
        let every = spec_of(every_site(&model), Direction::Denoise);
        for row in rows(&PLAIN, &model, every, &same) {
            assert!(
                row.trivial && close(row.patched, row.clean),
                "{name}: {row:?}"
            );
        }
        for direction in BOTH {
            let heads = sites(&model, Site::HeadOut);
            let heads = heads.into_iter().map(|s| s.with(Select::Whole)).collect();
            let heads = rows(&PLAIN, &model, spec_of(heads, direction), &pairs);
            let whole = spec_of(sites(&model, Site::AttnOut), direction);
            for (a, b) in heads.iter().zip(rows(&PLAIN, &model, whole, &pairs)) {
                assert!(close(a.patched, b.patched), "{name}: {a:?} {b:?}");
            }
        }
        let everywhere = SweepSpec {
            metrics: vec![Metric::LogitDiff],
            ..spec(sites(&model, Site::ResidPre))
        };
        for row in rows(&PLAIN, &model, everywhere, &pairs) {
            assert!(close(row.recovery.unwrap(), 1.0), "{name}: {row:?}");
        }
    }
}
