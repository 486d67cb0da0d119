//! The end of runs from a block and a position of each on, against the whole pass, for every family.

use std::path::{Path, PathBuf};

use candle_core::{Device, IndexOp, Tensor, Var};
use engram_core::Site;
use engram_model::checkpoint::{self, CONFIG};
use engram_model::wavefront::{Reverse, Run, Wavefront};
use engram_model::{LanguageModel, Result, Tap, Tokenizer, families};

/// Adds a vector at one site and position of each prompt.
struct Add<'a> {
    layer: usize,
    places: &'a [usize],
    delta: Tensor,
}

impl Tap for Add<'_> {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        site == Site::ResidPost && layer == Some(self.layer)
    }

    fn at(&mut self, _: Site, _: Option<usize>, value: Tensor) -> Result<Tensor> {
        let (batch, positions, d) = value.dims3()?;
        let mut at = vec![0f32; batch * positions];
        for (row, place) in self.places.iter().enumerate() {
            at[row * positions + place] = 1.0;
        }
        let at = Tensor::from_vec(at, (batch, positions, 1), value.device())?;
        Ok((value + at.broadcast_mul(&self.delta.reshape((1, 1, d))?)?)?)
    }
}

fn folders() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut folders = Vec::new();
    for kind in ["gpt2", "families"] {
        let entries = std::fs::read_dir(fixtures.join(kind)).unwrap();
        folders.extend(entries.map(|entry| entry.unwrap().path()));
    }
    folders.sort();
    folders
}

fn read(folder: &Path) -> LanguageModel {
    let family = families::read(&folder.join(CONFIG)).unwrap();
    let parameters = checkpoint::read(folder, &*family, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(family.architecture().vocab).unwrap();
    LanguageModel::of(family, parameters, tokenizer).unwrap()
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        let far = (a - b).abs() > 2e-4 * b.abs().max(1.0);
        assert!(!far, "{what}: {a} for {b}");
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Logits from the last of the places on, with a vector added at a place of each prompt, and the gradient of the sum of
/// their squares at the vector, by the whole pass and by automatic differentiation.
fn whole(
    model: &LanguageModel,
    ids: &[Vec<u32>],
    layer: usize,
    places: &[usize],
    delta: &Var,
) -> (Vec<f32>, Vec<f32>) {
    let mut tap = Add {
        layer,
        places,
        delta: delta.as_tensor().clone(),
    };
    let network = model.network();
    let x = network.residual(ids, &mut tap).unwrap();
    let from = places.iter().copied().max().unwrap();
    let rows: Vec<Tensor> = (0..ids.len())
        .map(|row| x.i((row, from..)).unwrap())
        .collect();
    let rows = Tensor::cat(&rows, 0).unwrap();
    let logits = network.logits_of(&rows).unwrap();
    let loss = logits.sqr().unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    (values(&logits), values(gradients.get(delta).unwrap()))
}

#[test]
fn an_end_is_that_of_the_whole_pass_and_so_is_its_gradient_in_every_family() {
    let cases = folders()
        .into_iter()
        .flat_map(|f| [(f.clone(), [4, 6]), (f, [0, 0])]);
    for (folder, places) in cases {
        let name = format!("{}, {places:?}", folder.display());
        let model = read(&folder);
        let a = model.architecture();
        let (positions, layer) = (9.min(a.context), a.layers().saturating_sub(2));
        let id = |i: usize| (i * 7 % a.vocab) as u32;
        let ids: Vec<Vec<u32>> = (0..2)
            .map(|row| (0..positions).map(|p| id(1 + row * 31 + p)).collect())
            .collect();
        let delta: Vec<f32> = (0..a.d_model).map(|i| (i as f32 * 0.7).sin()).collect();
        let variable = Var::from_slice(&delta, a.d_model, &Device::Cpu).unwrap();
        let (logits, gradient) = whole(&model, &ids, layer, &places, &variable);

        let front = Wavefront::new(&model).unwrap();
        let vocabulary = front.vocabulary(None).unwrap();
        let reverse = Reverse::new(&front, &vocabulary, layer + 1);
        let run = |ids: &Vec<u32>| Run {
            ids: ids.clone(),
            noise: None,
        };
        let runs: Vec<Run> = ids.iter().map(run).collect();
        let ending = front.ending(&vocabulary, &reverse, &runs, layer, &places);
        let ending = ending.unwrap();
        let trace = ending.forward(&delta.repeat(2));
        let from = places.iter().copied().max().unwrap();
        let of_run = |(run, place): (usize, &usize)| {
            let rows = from - place..positions - place;
            rows.map(move |row| (run, row)).collect::<Vec<_>>()
        };
        let reads: Vec<(usize, usize)> = places.iter().enumerate().flat_map(of_run).collect();
        let found = ending.logits(&trace, &reads);
        close(&format!("{name}, logits"), &found.values, &logits);
        let of_logits = found.values.iter().map(|v| 2.0 * v).collect();
        let back = ending.backward(&trace, &found, of_logits);
        let (one, two) = back.split_at(a.d_model);
        let back: Vec<f32> = one.iter().zip(two).map(|(a, b)| a + b).collect();
        assert!(gradient.iter().any(|g| *g != 0.0), "{name}: no gradient");
        let largest = gradient.iter().fold(1f32, |m, g| m.max(g.abs()));
        let scaled = |g: &[f32]| g.iter().map(|g| g / largest).collect::<Vec<f32>>();
        close(
            &format!("{name}, gradient"),
            &scaled(&back),
            &scaled(&gradient),
        );
    }
}

/// What families that normalise it make of a vector added to a down-projection's output, and its gradient by
/// differences.
#[test]
fn what_is_added_goes_through_the_norm_behind_the_mlp() {
    for folder in folders() {
        let model = read(&folder);
        let d = model.architecture().d_model;
        let front = Wavefront::new(&model).unwrap();
        let vocabulary = front.vocabulary(None).unwrap();
        let reverse = Reverse::new(&front, &vocabulary, 1);
        let run = Run {
            ids: vec![3, 1, 4],
            noise: None,
        };
        let ending = front.ending(&vocabulary, &reverse, &[run], 0, &[1]);
        let ending = ending.unwrap();
        let delta: Vec<f32> = (0..d).map(|i| (i as f32 * 0.7).sin()).collect();
        let weights: Vec<f32> = (0..d).map(|i| (i as f32 * 1.3).cos()).collect();
        let loss = |delta: &[f32]| -> f64 {
            let added = ending.added(0, delta);
            let each = added.iter().zip(&weights);
            each.map(|(a, w)| f64::from(a * w)).sum()
        };
        let gradient = ending.added_gradient(0, &delta, &weights);
        for i in 0..d {
            let moved = |by: f32| {
                let mut moved = delta.clone();
                moved[i] += by;
                loss(&moved)
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            let far = (slope - f64::from(gradient[i])).abs() > 5e-3 * slope.abs().max(1.0);
            let name = folder.display();
            assert!(!far, "{name}, {i}: {} for {slope}", gradient[i]);
        }
    }
}
