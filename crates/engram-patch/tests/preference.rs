//! What a model prefers, says and holds.

mod common;

use candle_core::{Device, Tensor};
use common::{PLAIN, VOCAB, model, pair, prepared, sites, spec};
use engram_core::{Metric, Pair, Site, Wording};
use engram_model::{Capture, Gpt2Config, LanguageModel, NoTap, Tokenizer};
use engram_patch::{
    Engine, Memory, NaiveEngine, PatchError, Plan, Reading, StagedEngine, ask, cache, preferences,
    preferences_within,
};

fn words(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// Every figure against the metrics of a sweep and against rows read one by one.
#[test]
fn preferences_are_those_of_the_prompts_alone() {
    let model = model(2, 3);
    let mut pairs: Vec<Pair> = (0..5)
        .map(|i| pair(&format!("p{i}"), 4 + i % 3, &[1], i as u64))
        .collect();
    pairs[0].paraphrases = vec![
        Wording {
            clean: words(&[3, 9, 4]),
            corrupt: words(&[3, 8, 4]),
            template: Some("r/held_back/1".into()),
        },
        Wording {
            clean: String::new(),
            corrupt: words(&[1]),
            template: None,
        },
    ];
    let reading = Reading::default();
    let found = preferences(&model, &pairs, &reading, true).unwrap();
    assert_eq!(found.rows.len(), 6);
    assert_eq!(
        found.left_out,
        [("p0".into(), None, "the clean prompt is empty".into())]
    );
    assert!(found.rows[1].held_back && found.rows[1].template.is_some());

    let fit = prepared(&model, pairs.clone());
    let plan = Plan::new(
        spec(sites(&model, Site::Logits)),
        model.shape(),
        fit.clone(),
    )
    .unwrap();
    let sweep = NaiveEngine::new(&model, PLAIN).collect(&plan).unwrap();
    let own: Vec<_> = found.rows.iter().filter(|r| !r.held_back).collect();
    for ((row, result), pair) in own.iter().zip(&sweep).zip(&fit) {
        let of = |metric: Metric| result.rows.iter().find(|r| r.metric == metric).unwrap();
        for (have, want) in [
            (row.logit_diff_clean, of(Metric::LogitDiff).clean),
            (row.logit_diff_corrupt, of(Metric::LogitDiff).corrupt),
            (row.logprob_seq_clean, of(Metric::LogProbSeq).clean),
            (row.logprob_seq_corrupt, of(Metric::LogProbSeq).corrupt),
            (row.prob_clean, of(Metric::Prob).clean),
            (-row.rank_clean.ln(), of(Metric::Rank).clean),
        ] {
            assert!((have - want).abs() < 1e-4, "{have} for {want}: {row:?}");
        }
        assert!(
            (result.eligibility.pair.mean - (row.logit_diff_clean - row.logit_diff_corrupt)).abs()
                < 1e-4
        );
        // Teacher forcing, one token at a time.
        let mean = |tokens: &[u32]| {
            let mut prompt = pair.clean.clone();
            let mut total = 0.0;
            for token in tokens {
                let next = ask(&model, &prompt, VOCAB).unwrap();
                total += next
                    .iter()
                    .find(|n| n.id == *token)
                    .unwrap()
                    .probability
                    .ln();
                prompt.push(*token);
            }
            total / tokens.len() as f64
        };
        let seq = mean(&pair.answer) - mean(&pair.foil);
        assert!(
            (row.logprob_seq_clean - seq).abs() < 1e-4,
            "{} for {seq}",
            row.logprob_seq_clean
        );
    }
    let trained = preferences(&model, &pairs, &reading, false).unwrap();
    assert_eq!(trained.rows.len(), 5);
}

/// `says` is greedy decoding, token by token, giving the answer to its end; `prefers` needs both prompts.
#[test]
fn a_model_says_what_greedy_decoding_gives() {
    let model = model(2, 7);
    let prompt: Vec<u32> = vec![3, 9, 4, 5];
    let mut greedy = prompt.clone();
    for _ in 0..3 {
        greedy.push(ask(&model, &greedy, 1).unwrap()[0].id);
    }
    let said = &greedy[prompt.len()..];
    let other = (1..VOCAB as u32).find(|t| !said.contains(t)).unwrap();
    let answers = [
        (vec![said[0]], true),
        (said.to_vec(), true),
        (vec![said[0], said[1], other], false),
        (vec![other], false),
        (vec![other, said[1]], false),
    ];
    let pairs: Vec<Pair> = (answers.iter().enumerate())
        .map(|(i, (answer, _))| Pair {
            id: format!("p{i}"),
            clean_ids: Some(prompt.clone()),
            corrupt_ids: Some(vec![3, 8, 4, 5]),
            answer_ids: Some(answer.clone()),
            foil_ids: Some(vec![(other + 1) % VOCAB as u32]),
            ..Pair::default()
        })
        .collect();
    let found = preferences(&model, &pairs, &Reading::default(), false).unwrap();
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
    for (row, (answer, says)) in found.rows.iter().zip(&answers) {
        assert_eq!(row.says, Some(*says), "{answer:?} where {said:?} is said");
        let both = row.logit_diff_clean > 0.0 && row.logit_diff_corrupt < 0.0;
        assert_eq!(row.prefers(), both);
    }
    // Batches of one prompt give the same.
    let alone = preferences_within(&model, &pairs, &Reading::default(), false, 1).unwrap();
    for (a, b) in alone.rows.iter().zip(&found.rows) {
        assert_eq!(a.says, b.says);
    }
}

#[test]
fn asking_gives_the_most_probable_tokens_in_order() {
    let model = model(1, 4);
    let all = ask(&model, &[1, 2, 3], VOCAB).unwrap();
    assert!((all.iter().map(|t| t.probability).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(all.windows(2).all(|w| w[0].logit >= w[1].logit));
    assert_eq!(ask(&model, &[1, 2, 3], 3).unwrap(), all[..3]);
    assert!(ask(&model, &[99], 3).is_err() && ask(&model, &[], 3).is_err());
}

#[test]
fn a_cache_holds_one_run_without_a_batch() {
    let model = model(2, 5);
    let names = ["resid_post", "transformer.h.1.attn", "pattern.0", "logits"];
    let asked: Vec<_> = names
        .iter()
        .flat_map(|n| model.sites().resolve(n).unwrap())
        .collect();
    let found = cache(&model, &[1, 2, 3], &asked).unwrap();
    let shapes: Vec<(&str, &[usize])> = found.iter().map(|(n, t)| (n.as_str(), t.dims())).collect();
    let expected: [(&str, &[usize]); 5] = [
        ("resid_post.0", &[3, 16]),
        ("resid_post.1", &[3, 16]),
        ("transformer.h.1.attn", &[3, 16]),
        ("pattern.0", &[2, 3, 3]),
        ("logits", &[3, VOCAB]),
    ];
    assert_eq!(shapes, expected);
    let logits = model
        .forward(&[vec![1, 2, 3]], &mut NoTap)
        .unwrap()
        .get(0)
        .unwrap();
    // From a position on: whether or not the tap asks for what comes after the last block.
    let tail = logits.narrow(0, 1, 2).unwrap().to_vec2::<f32>().unwrap();
    for site in [Site::ResidPost, Site::LnFinal] {
        let layer = site.has_layer().then_some(1);
        let mut capture = Capture::of([(site, layer)]);
        let found = model
            .forward_from(&[vec![1, 2, 3]], 1, &mut capture)
            .unwrap();
        for (a, b) in found
            .get(0)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
            .iter()
            .zip(&tail)
        {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        assert_eq!(capture.get(site, layer).unwrap().dims(), [1, 3, 16]);
    }
    assert!(model.forward_from(&[vec![1, 2, 3]], 9, &mut NoTap).is_err());
    // A pass that shows the pattern computes attention from it.
    let cached = found["logits"].to_vec2::<f32>().unwrap();
    for (a, b) in cached.iter().zip(logits.to_vec2::<f32>().unwrap()) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

/// A weight so large that a sum overflows is found where it first shows.
#[test]
fn values_that_are_not_finite_name_pair_and_site() {
    let sound = model(2, 6);
    let mut parameters = sound.parameters().clone();
    let bias = Tensor::full(3e38f32, 16, &Device::Cpu).unwrap();
    parameters.insert("h.1.mlp.c_proj.bias".into(), bias.clone());
    parameters.insert("h.1.attn.c_proj.bias".into(), bias);
    let config = Gpt2Config::new(VOCAB, 24, 16, 2, 2);
    let broken =
        LanguageModel::from_parts(&config, parameters, Tokenizer::numbers(VOCAB).unwrap()).unwrap();
    let pairs = vec![pair("p", 5, &[2], 1)];
    let spec = spec(sites(&broken, Site::ResidPre));
    let plan = Plan::new(spec, broken.shape(), prepared(&broken, pairs.clone())).unwrap();
    let staged = StagedEngine::new(&broken, Memory::beside(&broken.shape(), 1 << 30)).unwrap();
    let naive = NaiveEngine::new(&broken, PLAIN);
    for engine in [&staged as &dyn Engine, &naive] {
        let error = engine.collect(&plan).unwrap_err();
        let PatchError::NotFinite { pair, site, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(pair, "p");
        assert!(site.ends_with(".1"), "{site}");
    }
    assert!(preferences(&broken, &pairs, &Reading::default(), false).is_err());
}
