//! Parts, windows and constants against closed forms and identities.

mod common;

use common::{
    PLAIN, changed, close, model, named, pair, prepared, rows, same_values, sites, spec,
    with_subject,
};
use engram_core::{Corruption, Direction, Metric, NamedSite, Part, Positions, Select, Site};
use engram_model::LanguageModel;
use engram_patch::{Memory, NaiveSettings, Plan, StagedEngine, SweepSpec};

const BOTH: [Direction; 2] = [Direction::Denoise, Direction::Noise];

#[test]
fn all_neurons_together_are_the_mlp_output() {
    let model = model(2, 21);
    let pairs = prepared(&model, vec![pair("p", 6, &[1, 3], 5)]);
    let d = model.shape().d_mlp;
    for direction in BOTH {
        for positions in [Positions::Each, Positions::All] {
            let of = |sites| SweepSpec {
                direction,
                positions,
                ..spec(sites)
            };
            let out = rows(&PLAIN, &model, of(named(&model, "mlp_out")), &pairs);
            for site in ["mlp_post", "mlp_pre"] {
                let all = rows(
                    &PLAIN,
                    &model,
                    of(named(&model, &format!("{site}[0:{d}]"))),
                    &pairs,
                );
                same_values(&all, &out);
                let whole = rows(&PLAIN, &model, of(named(&model, site)), &pairs);
                same_values(&whole, &out);
            }
        }
    }
}

/// A part that is everything has the flags of the whole.
#[test]
fn a_part_that_is_everything_is_the_whole() {
    let model = model(1, 22);
    let pairs = prepared(&model, vec![pair("p", 6, &[2], 7)]);
    for direction in BOTH {
        let of = |name: &str| SweepSpec {
            direction,
            ..spec(named(&model, name))
        };
        for site in ["q", "k", "v", "z", "head_out", "pattern"] {
            let part = rows(&PLAIN, &model, of(&format!("{site}[0:2]")), &pairs);
            let whole = rows(&PLAIN, &model, of(&format!("{site}[:]")), &pairs);
            same_values(&part, &whole);
            let staged =
                StagedEngine::new(&model, Memory::beside(&model.shape(), 1 << 30)).unwrap();
            let staged = rows(&staged, &model, of(&format!("{site}[0:2]")), &pairs);
            same_values(&staged, &whole);
            for (a, b) in part.iter().zip(&whole) {
                assert_eq!(
                    (a.trivial, &a.trivial_why),
                    (b.trivial, &b.trivial_why),
                    "{a:?}"
                );
            }
        }
    }
}

#[test]
fn a_cell_asked_for_twice_counts_once() {
    let model = model(2, 23);
    let pairs = prepared(&model, vec![pair("p", 6, &[2], 7)]);
    let asked = ["z.1[1]", "z.1", "z.1[1]"]
        .map(|n| named(&model, n))
        .concat();
    let spec = SweepSpec {
        metrics: vec![Metric::LogitDiff],
        ..spec(asked)
    };
    let found = rows(&PLAIN, &model, spec, &pairs);
    let heads: Vec<Option<i64>> = found.iter().map(|r| r.head).collect();
    assert_eq!(heads, [Some(1), Some(0)]);
}

#[test]
fn windows_are_clipped_and_agree_with_what_they_hold() {
    let model = model(3, 24);
    let pairs = prepared(&model, vec![pair("p", 6, &[1], 7)]);
    let of = |name: &str, window| SweepSpec {
        window,
        ..spec(named(&model, name))
    };
    let plan = |window| Plan::new(of("mlp_out", window), model.shape(), pairs.clone()).unwrap();
    let layers = |window| -> Vec<Vec<usize>> {
        let cells = plan(window).pairs.remove(0).cells;
        cells
            .iter()
            .map(|c| c.interventions.iter().filter_map(|i| i.layer).collect())
            .collect()
    };
    assert_eq!(layers(1), [vec![0], vec![1], vec![2]]);
    assert_eq!(layers(2), [vec![0], vec![0, 1], vec![1, 2]]);
    assert_eq!(layers(3), [vec![0, 1], vec![0, 1, 2], vec![1, 2]]);
    // A window over residual streams ends as its last layer's patch alone does.
    let wide = rows(&PLAIN, &model, of("resid_post", 3), &pairs);
    let one = rows(&PLAIN, &model, of("resid_post", 1), &pairs);
    let n = Metric::ALL.len();
    for (cell, last) in [(0, 1), (1, 2), (2, 2)] {
        for m in 0..n {
            // Appended tokens also read the keys of the layers between.
            if wide[m].metric != Metric::LogProbSeq {
                close(wide[cell * n + m].patched, one[last * n + m].patched);
            }
        }
        assert_eq!(
            (wide[cell * n].window, wide[cell * n].layer),
            (Some(3), Some(cell as i64))
        );
    }
    // Windows that are clipped to the same layers are one cell.
    let all = rows(&PLAIN, &model, of("attn_out", 10), &pairs);
    for m in 0..n {
        close(all[m].patched, all[n + m].patched);
        close(all[m].patched, all[2 * n + m].patched);
    }
}

/// In a model of one layer, attention set to 0 is the model whose output projection is 0.
#[test]
fn zero_is_the_model_without_the_part() {
    let model = model(1, 25);
    let pairs = prepared(&model, vec![pair("p", 6, &[2], 8)]);
    let zero = |sites| SweepSpec {
        corruption: Corruption::Zero,
        direction: Direction::Noise,
        ..spec(sites)
    };
    let clean =
        |model: &LanguageModel| rows(&PLAIN, model, spec(sites(model, Site::ResidPre)), &pairs);
    let n = Metric::ALL.len();
    let d = model.shape().d_model;
    let d_head = model.shape().d_head;
    let d_mlp = model.shape().d_mlp;
    type Change<'a> = Box<dyn Fn(&str, &mut Vec<f32>) + 'a>;
    let cases: Vec<(String, Change<'_>)> = vec![
        (
            "attn_out".into(),
            Box::new(|name, v| {
                if name.contains("attn.c_proj") {
                    v.fill(0.0)
                }
            }),
        ),
        (
            "mlp_out".into(),
            Box::new(|name, v| {
                if name.contains("mlp.c_proj") {
                    v.fill(0.0)
                }
            }),
        ),
        (
            "pos_embed".into(),
            Box::new(|name, v| {
                if name.contains("wpe") {
                    v.fill(0.0)
                }
            }),
        ),
        // Rows of the output projection of head 1; the bias stays.
        (
            "z.0[1]".into(),
            Box::new(move |name, v| {
                if name.ends_with("attn.c_proj.weight") {
                    v[d_head * d..2 * d_head * d].fill(0.0)
                }
            }),
        ),
        (
            "head_out.0[1]".into(),
            Box::new(move |name, v| {
                if name.ends_with("attn.c_proj.weight") {
                    v[d_head * d..2 * d_head * d].fill(0.0)
                }
            }),
        ),
        (
            "mlp_post.0[7]".into(),
            Box::new(move |name, v| {
                if name.ends_with("mlp.c_proj.weight") {
                    v[7 * d..8 * d].fill(0.0)
                }
            }),
        ),
        (
            "mlp_post[5:9]".into(),
            Box::new(move |name, v| {
                if name.ends_with("mlp.c_proj.weight") {
                    v[5 * d..9 * d].fill(0.0)
                }
            }),
        ),
        // Column 7 of the input projection and its bias.
        (
            "mlp_pre.0[7]".into(),
            Box::new(move |name, v| {
                if name.ends_with("mlp.c_fc.weight") {
                    v.iter_mut().skip(7).step_by(d_mlp).for_each(|x| *x = 0.0)
                }
                if name.ends_with("mlp.c_fc.bias") {
                    v[7] = 0.0
                }
            }),
        ),
    ];
    for (name, change) in cases {
        let found = rows(&PLAIN, &model, zero(named(&model, &name)), &pairs);
        let without = clean(&changed(&model, change));
        assert_eq!(found.len(), n, "{name}");
        for (a, b) in found.iter().zip(&without) {
            // KL is measured from the whole model's clean run, which the other model does not have;
            // tokens appended after the prompt are never patched.
            if !matches!(a.metric, Metric::Kl | Metric::LogProbSeq) {
                assert!(
                    (a.patched - b.clean).abs() < 1e-4 * (1.0 + b.clean.abs()),
                    "{name}: {a:?} for {b:?}"
                );
                assert!(
                    (a.patched - a.clean).abs() > 1e-6 || a.metric == Metric::Rank,
                    "{name} moves {}",
                    a.metric
                );
            }
        }
    }
}

/// The mean of one token of one prompt is that token.
#[test]
fn the_mean_of_a_prompt_of_equal_tokens_at_embed_is_a_no_op() {
    let model = model(2, 26);
    let mut pairs = prepared(&model, vec![pair("p", 6, &[2], 8)]);
    pairs[0].clean = vec![9; 6];
    let mean = |sites| SweepSpec {
        corruption: Corruption::Mean,
        direction: Direction::Noise,
        ..spec(sites)
    };
    for row in rows(&PLAIN, &model, mean(named(&model, "embed")), &pairs) {
        close(row.patched, row.clean);
    }
    // Two prompts: the mean of the position embeddings is that of the table's first rows.
    let two = prepared(&model, vec![pair("a", 6, &[2], 8), pair("b", 4, &[1], 9)]);
    let found = rows(&PLAIN, &model, mean(named(&model, "pos_embed")), &two);
    let d = model.shape().d_model;
    let other = changed(&model, |name, v| {
        if name.contains("wpe") {
            let mut mean = vec![0.0f64; d];
            for (p, row) in v.chunks(d).take(6).enumerate() {
                let weight = if p < 4 { 0.2 } else { 0.1 };
                mean.iter_mut()
                    .zip(row)
                    .for_each(|(m, x)| *m += weight * f64::from(*x));
            }
            let mean: Vec<f32> = mean.iter().map(|m| *m as f32).collect();
            v.chunks_mut(d).for_each(|row| row.copy_from_slice(&mean));
        }
    });
    let expected = rows(&PLAIN, &other, spec(sites(&other, Site::Embed)), &two);
    for (a, b) in found.iter().zip(&expected) {
        // Appended tokens keep their own positions.
        if !matches!(a.metric, Metric::Kl | Metric::LogProbSeq) {
            close(a.patched, b.clean);
        }
    }
}

#[test]
fn every_neuron_of_a_large_model_is_planned_in_a_moment() {
    let shape = engram_model::Shape {
        layers: 12,
        d_mlp: 3072,
        ..model(1, 31).shape()
    };
    let pairs = prepared(&model(1, 31), vec![pair("p", 15, &[4], 8)]);
    let each = |l| NamedSite::canonical(Site::MlpPost, Some(l)).with(Select::Each);
    let start = std::time::Instant::now();
    let plan = Plan::new(spec((0..12).map(each).collect()), shape, pairs).unwrap();
    assert_eq!(plan.cells(), 36_864);
    assert_eq!(
        plan.pairs[0].cells[3073].part,
        Some(Part { start: 1, end: 2 })
    );
    assert!(start.elapsed().as_secs_f64() < 5.0, "{:?}", start.elapsed());
}

/// The short cuts of a plan are those of the runs, for parts and constants too.
#[test]
fn short_cuts_change_nothing() {
    let model = model(2, 32);
    let pairs = prepared(&model, vec![with_subject("p", 6, &[2], 8)]);
    let short = NaiveSettings {
        skip_trivial: true,
        ..PLAIN
    };
    for (corruption, window) in [
        (Corruption::Swap, 2),
        (Corruption::Zero, 1),
        (Corruption::Mean, 2),
    ] {
        let of = || SweepSpec {
            corruption,
            window,
            direction: Direction::Noise,
            positions: Positions::Each,
            ..spec(
                ["z", "v[:]", "mlp_post[3]", "attn_out"]
                    .map(|n| named(&model, n))
                    .concat(),
            )
        };
        same_values(
            &rows(&short, &model, of(), &pairs),
            &rows(&PLAIN, &model, of(), &pairs),
        );
    }
}
