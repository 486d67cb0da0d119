//! The end of the network from a token and a block on, against the whole pass, for every family.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use engram_core::Site;
use engram_model::checkpoint::{self, CONFIG};
use engram_model::transformer::{Past, rows_from};
use engram_model::{Capture, Model, NoTap, Result, Tap, Tokenizer, families};

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

fn read(folder: &Path) -> Model {
    let family = families::read(&folder.join(CONFIG)).unwrap();
    let parameters = checkpoint::read(folder, &*family, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(family.architecture().vocab).unwrap();
    Model::of(family, parameters, tokenizer).unwrap()
}

fn close(what: &str, a: &Tensor, b: &Tensor) {
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(a.dims(), b.dims(), "{what}");
    for (a, b) in values(a).iter().zip(values(b)) {
        assert!(
            (a - b).abs() <= 2e-4 * b.abs().max(1.0),
            "{what}: {a} for {b}"
        );
    }
}

#[test]
fn rows_from_a_token_on_are_those_of_the_whole_pass_with_their_gradient() {
    let cases = folders()
        .into_iter()
        .flat_map(|f| [(f.clone(), [4, 6]), (f, [0, 0])]);
    for (folder, places) in cases {
        let name = format!("{}, {places:?}", folder.display());
        let model = read(&folder);
        let (network, a) = (model.network(), model.architecture());
        let (positions, layer) = (9.min(a.context), a.layers().saturating_sub(2));
        let count = positions - places[0];
        let id = |i: usize| (i * 7 % a.vocab) as u32;
        let ids: Vec<Vec<u32>> = (0..2)
            .map(|row| (0..positions).map(|p| id(1 + row * 31 + p)).collect())
            .collect();
        let delta: Vec<f32> = (0..a.d_model).map(|i| (i as f32 * 0.7).sin()).collect();
        let delta = Var::from_vec(delta, a.d_model, &Device::Cpu).unwrap();

        let mut tap = Add {
            layer,
            places: &places,
            delta: delta.as_tensor().clone(),
        };
        let whole = network.residual(&ids, &mut tap).unwrap();
        let whole = rows_from(&whole, &places, count).unwrap();

        let site = (Site::ResidPost, Some(layer));
        let past = Past::sites(a.layers(), layer + 1);
        let mut run = Capture::of(std::iter::once(site).chain(past));
        network.residual(&ids, &mut run).unwrap();
        let past = network.past(&run, layer + 1, &places, count).unwrap();
        let rows = rows_from(run.get(site.0, site.1).unwrap(), &places, count).unwrap();
        let mut first = vec![0f32; rows.dim(1).unwrap()];
        first[0] = 1.0;
        let first = Tensor::from_vec(first, (1, rows.dim(1).unwrap(), 1), &Device::Cpu).unwrap();
        let added = delta.reshape((1, 1, a.d_model)).unwrap();
        let rows = rows
            .broadcast_add(&first.broadcast_mul(&added).unwrap())
            .unwrap();
        let found = network.suffix(&past, &rows).unwrap();

        // Rows beyond a prompt's end repeat its last one in `rows_from`, and are something else in the suffix.
        let real = |x: &Tensor, row: usize| {
            let rows = positions - places[row];
            x.narrow(0, row, 1).unwrap().narrow(1, 0, rows).unwrap()
        };
        let mut sums = Vec::new();
        for row in 0..2 {
            let (found, whole) = (real(&found, row), real(&whole, row));
            close(&format!("{name}, prompt {row}"), &found, &whole);
            let sum = |x: &Tensor| {
                let logits = network.logits_of(&x.squeeze(0).unwrap().contiguous().unwrap());
                logits.unwrap().sqr().unwrap().mean_all().unwrap()
            };
            sums.push((sum(&found), sum(&whole)));
        }
        let gradient = |loss: Tensor| loss.backward().unwrap().get(&delta).unwrap().clone();
        let found = gradient((&sums[0].0 + &sums[1].0).unwrap());
        let whole = gradient((&sums[0].1 + &sums[1].1).unwrap());
        let zero = whole
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        assert!(zero > 0.0, "{name}: no gradient");
        close(&format!("{name}, gradient"), &found, &whole);
        let plain = network.residual(&ids, &mut NoTap).unwrap();
        assert_eq!(plain.dim(1).unwrap(), positions, "{name}");
    }
}
