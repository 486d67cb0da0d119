//! The forward pass, compared with every intermediate activation of an independent GPT-2 on a tiny real checkpoint.
//! The data are outside the project, in the folder named by `ENGRAM_DATA`.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine as _;
use candle_core::{Device, Tensor};
use engram_core::{Site, SiteTable};
use engram_model::{Capture, Family, Gpt2Config, ModelError, Tap, TrainingPass, Transformer};

#[derive(serde::Deserialize)]
struct Stored {
    shape: Vec<usize>,
    data: String,
}

fn oracle(name: &str) -> serde_json::Map<String, serde_json::Value> {
    let folder = PathBuf::from(std::env::var_os("ENGRAM_DATA").expect("ENGRAM_DATA is set"));
    let text = std::fs::read(folder.join("oracles").join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn tensor(value: &serde_json::Value) -> Tensor {
    let stored: Stored = serde_json::from_value(value.clone()).unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(stored.data)
        .unwrap();
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    Tensor::from_vec(values, stored.shape, &Device::Cpu).unwrap()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    let found = found.reshape(expected.shape()).unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (i, (a, b)) in values(&found).iter().zip(values(expected)).enumerate() {
        if b.is_infinite() {
            continue;
        }
        let bound = 1e-5 * b.abs().max(1.0);
        assert!((a - b).abs() <= bound, "{what}[{i}]: {a} against {b}");
    }
}

#[test]
#[ignore = "needs ENGRAM_DATA, a folder of real data"]
fn needs_data_every_activation_of_the_oracle() {
    let weights = oracle("gpt-nano-sort-model.json");
    let partials = oracle("gpt-nano-sort-t0-partials.json");
    let mut config = Gpt2Config::new(3, 11, 48, 3, 3);
    config.tie_word_embeddings = false;
    let model = Transformer::new(&config, &mut |name| {
        let stored = weights
            .get(&format!("transformer.{name}"))
            .or_else(|| weights.get(name))
            .unwrap_or_else(|| panic!("the oracle has no {name}"));
        let value = tensor(stored);
        // The oracle keeps linear weights as [out, in]; GPT-2's own are [in, out].
        let conv1d = name.contains(".c_") && name.ends_with("weight");
        Ok(if conv1d {
            value.t()?.contiguous()?
        } else {
            value
        })
    })
    .unwrap();

    let idx = tensor(&partials["idx"]).to_vec2::<f32>().unwrap();
    let ids: Vec<Vec<u32>> = idx
        .iter()
        .map(|row| row.iter().map(|v| *v as u32).collect())
        .collect();

    let first = Some(0);
    let at: Vec<(&str, Site, Option<usize>)> = vec![
        ("tok_emb", Site::Embed, None),
        ("x", Site::ResidPre, first),
        ("ln1", Site::Ln1, first),
        ("qkv", Site::CAttn, first),
        ("attSm", Site::Pattern, first),
        ("y", Site::Z, first),
        ("yProj", Site::AttnOut, first),
        ("attnResid", Site::ResidMid, first),
        ("ln2", Site::Ln2, first),
        ("fc", Site::MlpPre, first),
        ("gelu", Site::MlpPost, first),
        ("mlp", Site::MlpOut, first),
        ("mlpResid", Site::ResidPost, first),
        ("block0", Site::ResidPost, first),
        ("block1", Site::ResidPost, Some(1)),
        ("block2", Site::ResidPost, Some(2)),
        ("ln_f", Site::LnFinal, None),
        ("lm_head", Site::Logits, None),
    ];
    let others = [Site::Q, Site::K, Site::V].map(|s| (s, first));
    let mut capture = Capture::of(at.iter().map(|(_, s, l)| (*s, *l)).chain(others));
    let logits = model
        .forward(&ids, &mut capture, TrainingPass::default())
        .unwrap();
    for (name, site, layer) in &at {
        assert_close(
            name,
            capture.get(*site, *layer).unwrap(),
            &tensor(&partials[*name]),
        );
    }
    // The oracle's heads stand before its positions.
    for (name, site) in [("q", Site::Q), ("k", Site::K), ("v", Site::V)] {
        let found = capture.get(site, first).unwrap();
        let expected = tensor(&partials[name]);
        let found = if expected.dims()[1] == 3 {
            found.transpose(1, 2).unwrap().contiguous().unwrap()
        } else {
            found.clone()
        };
        assert_close(name, &found, &expected);
    }
    // The oracle's scores, read before the softmax, are q·k/√d_head; what may not be seen holds −inf.
    let at_heads = |site| {
        let t = capture.get(site, first).unwrap().transpose(1, 2).unwrap();
        t.contiguous().unwrap()
    };
    let scores = at_heads(Site::Q)
        .matmul(&at_heads(Site::K).t().unwrap())
        .unwrap();
    assert_close("att", &(scores / 4.0).unwrap(), &tensor(&partials["att"]));
    // Without taps the fused kernels run: the same logits.
    let plain = model
        .forward(&ids, &mut engram_model::NoTap, TrainingPass::default())
        .unwrap();
    assert_close("lm_head, fused", &plain, &tensor(&partials["lm_head"]));
    assert_close("logits", &logits, &plain);
    let shifted = logits
        .broadcast_sub(&logits.max_keepdim(2).unwrap())
        .unwrap()
        .exp()
        .unwrap();
    let probabilities = shifted
        .broadcast_div(&shifted.sum_keepdim(2).unwrap())
        .unwrap();
    assert_close("probs", &probabilities, &tensor(&partials["probs"]));
    let pos = tensor(&partials["pos_emb"]);
    let mut capture = Capture::of([(Site::PosEmbed, None)]);
    model
        .forward(&ids[..1], &mut capture, TrainingPass::default())
        .unwrap();
    assert_close("pos_emb", capture.get(Site::PosEmbed, None).unwrap(), &pos);
}

/// Writes a value back unchanged at every site.
struct Echo(HashMap<String, usize>);

impl Tap for Echo {
    fn wants(&self, _: Site, _: Option<usize>) -> bool {
        true
    }

    fn at(
        &mut self,
        site: Site,
        layer: Option<usize>,
        value: Tensor,
    ) -> Result<Tensor, ModelError> {
        *self.0.entry(format!("{site}{layer:?}")).or_default() += 1;
        Ok(value)
    }
}

#[test]
fn every_site_fires_once_and_an_echo_changes_nothing() {
    let config = Gpt2Config::new(17, 9, 12, 2, 3);
    let model = Transformer::new(&config, &mut |name| {
        let (_, shape) = config
            .parameters()
            .into_iter()
            .find(|(n, _)| n == name)
            .unwrap();
        let n: usize = shape.iter().product();
        let seed = name.len() as f32;
        let values: Vec<f32> = (0..n)
            .map(|i| (seed + i as f32 * 0.7).sin() * 0.3)
            .collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    })
    .unwrap();
    let ids = vec![vec![1, 2, 3, 4], vec![5, 6, 16, 0]];
    let mut echo = Echo(HashMap::new());
    let touched = model
        .forward(&ids, &mut echo, TrainingPass::default())
        .unwrap();
    let plain = model
        .forward(&ids, &mut engram_model::NoTap, TrainingPass::default())
        .unwrap();
    assert_close("logits", &touched, &plain);
    let sites = SiteTable::new(2, Site::ALL.to_vec(), Vec::new());
    for &site in Site::ALL {
        if !config.architecture().has(site) {
            continue;
        }
        for named in sites.everywhere(site) {
            let fired = echo.0.get(&format!("{site}{:?}", named.layer));
            assert_eq!(fired, Some(&1), "{}", named.name);
        }
    }
}
