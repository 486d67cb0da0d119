//! Corruptions and alignments against closed forms and identities.

mod common;

use common::{
    PLAIN, changed, close, model, named, pair, prepared, rows, same_values, spec, with_subject,
};
use engram_core::{Align, Corruption, Direction, Metric, Positions, RowAlign, Site};
use engram_model::Capture;
use engram_patch::{Plan, PreparedPair, SweepSpec};

/// The whole embedding restored, the noise is gone; its size is what is asked for.
#[test]
fn gaussian_noise_is_of_the_size_asked_for_and_falls_on_the_subject() {
    let model = model(2, 27);
    let pairs = prepared(
        &model,
        vec![with_subject("a", 6, &[2], 3), with_subject("b", 7, &[2], 4)],
    );
    let spec = SweepSpec {
        corruption: Corruption::Gaussian(3.0),
        samples: 3,
        seed: 5,
        ..spec(named(&model, "embed"))
    };
    let plan = Plan::new(spec.clone(), model.shape(), pairs.clone()).unwrap();
    let ids: Vec<_> = plan
        .pairs
        .iter()
        .map(|p| (p.pair.id.as_str(), p.noise.unwrap().sample))
        .collect();
    assert_eq!(
        ids,
        [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]
    );
    let mut seeds: Vec<u64> = plan.pairs.iter().map(|p| p.noise.unwrap().seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 6);
    let (mut values, mut fourth) = (Vec::new(), 0.0);
    for pair in &plan.pairs {
        values.extend(pair.noise.unwrap().draw(0.25, 10_000));
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let var = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
    for v in &values {
        fourth += f64::from(*v).powi(4) / n;
    }
    assert!(
        mean.abs() < 0.01 && (var.sqrt() - 0.75).abs() < 0.01,
        "{mean} {var}"
    );
    assert!((fourth / var.powi(2) - 3.0).abs() < 0.1, "{fourth}");

    let found = rows(&PLAIN, &model, spec.clone(), &pairs);
    let again = rows(&PLAIN, &model, spec.clone(), &pairs);
    assert_eq!(found, again);
    let other = rows(
        &PLAIN,
        &model,
        SweepSpec {
            seed: 6,
            ..spec.clone()
        },
        &pairs,
    );
    assert!(
        found
            .iter()
            .zip(&other)
            .all(|(a, b)| a.corrupt != b.corrupt || a.metric == Metric::Rank)
    );
    for row in &found {
        close(row.patched, row.clean);
        assert!(row.trivial && row.corruption == Corruption::Gaussian(3.0));
    }
    // The corrupted run by hand: the subject's embeddings with noise, sigma by its definition.
    let mut all = Vec::new();
    for pair in &pairs {
        let mut capture = Capture::of([(Site::Embed, None)]);
        model
            .forward(&[pair.clean[1..3].to_vec()], &mut capture)
            .unwrap();
        all.extend(
            capture
                .get(Site::Embed, None)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap(),
        );
    }
    let n = all.len() as f64;
    let mean = all.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let sigma = (all
        .iter()
        .map(|v| (f64::from(*v) - mean).powi(2))
        .sum::<f64>()
        / n)
        .sqrt();
    let d = model.shape().d_model;
    let noise = plan.pairs[0].noise.unwrap().draw(sigma, d);
    // A model with the noise on the position embeddings of the subject's places is the same run.
    let noisy = changed(&model, |name, v| {
        if name.contains("wpe") {
            v[d..3 * d]
                .iter_mut()
                .zip(&noise)
                .for_each(|(x, e)| *x += e);
        }
    });
    let plain = rows(
        &PLAIN,
        &noisy,
        common::spec(named(&noisy, "embed")),
        &pairs[..1],
    );
    for (a, b) in found.iter().zip(&plain) {
        if a.metric != Metric::Kl {
            close(a.corrupt, b.clean);
        }
    }
}

#[test]
fn resampling_is_seeded_and_takes_another_prompt_of_equal_length() {
    let model = model(1, 28);
    let pairs: Vec<PreparedPair> = prepared(
        &model,
        (0..6)
            .map(|i| pair(&i.to_string(), 5 + (i as usize % 2), &[1], i))
            .collect(),
    );
    let drawn = |seed| -> Vec<Vec<u32>> {
        let spec = SweepSpec {
            corruption: Corruption::Resample,
            seed,
            ..spec(named(&model, "embed"))
        };
        let plan = Plan::new(spec, model.shape(), pairs.clone()).unwrap();
        plan.pairs.into_iter().map(|p| p.pair.corrupt).collect()
    };
    assert_eq!(drawn(1), drawn(1));
    assert!((2..20).any(|seed| drawn(seed) != drawn(1)));
    for (pair, corrupt) in pairs.iter().zip(drawn(1)) {
        assert_eq!(corrupt.len(), pair.clean.len());
        assert!(corrupt != pair.clean && pairs.iter().any(|o| o.clean == corrupt));
    }
}

#[test]
fn alignment_from_the_end_of_equal_prompts_is_strict() {
    let model = model(2, 29);
    let pairs = prepared(&model, vec![with_subject("p", 6, &[2], 8)]);
    for direction in [Direction::Denoise, Direction::Noise] {
        for positions in [Positions::Each, Positions::All] {
            let of = |align| SweepSpec {
                align,
                direction,
                positions,
                ..spec(
                    ["resid_pre", "attn_out", "v", "mlp_out"]
                        .map(|n| named(&model, n))
                        .concat(),
                )
            };
            let strict = rows(&PLAIN, &model, of(Align::Strict), &pairs);
            let last = rows(&PLAIN, &model, of(Align::Last), &pairs);
            same_values(&last, &strict);
            assert!(last.iter().all(|r| r.align == RowAlign::Last));
        }
    }
}

#[test]
fn alignment_that_leaves_nothing_to_patch_is_an_error() {
    let model = model(2, 30);
    let pairs = prepared(&model, vec![with_subject("p", 6, &[2], 8)]);
    let spec = SweepSpec {
        align: Align::Subject,
        positions: Positions::Last,
        ..spec(named(&model, "resid_pre"))
    };
    let plan = Plan::new(spec, model.shape(), pairs);
    let error = plan.map(|p| p.cells()).unwrap_err().to_string();
    assert!(error.contains("\"p\"") && error.contains("last"), "{error}");
}
