//! Answers scored with packed weights, compared with the plain forward pass.

use std::path::{Path, PathBuf};

use candle_core::Device;
use engram_core::{Neighbour, ProbeEffect};
use engram_edit::delta::{Change, Delta, LowRank, Meta, WeightChange, down_projection};
use engram_edit::probe::{PROMPTS, Probe};
use engram_edit::tokens::{PromptAndAnswer, continued};
use engram_edit::{Case, EditRequest, Questions, Reader};
use engram_model::{LanguageModel, NoTap, Tokenizer, checkpoint, families};

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
    let family = families::read(&folder.join(checkpoint::CONFIG)).unwrap();
    let parameters = checkpoint::read(folder, &*family, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(family.architecture().vocab).unwrap();
    LanguageModel::of(family, parameters, tokenizer).unwrap()
}

/// The model with something added to layer 0's down-projection.
fn edited(model: &LanguageModel) -> LanguageModel {
    let (weight, transposed) = down_projection(model, 0).unwrap();
    let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.9).sin()).collect();
    let change = LowRank {
        rank: 1,
        inputs: wave(model.architecture().d_mlp),
        outputs: wave(model.architecture().d_model),
        keys: Vec::new(),
    };
    let delta = Delta {
        meta: Meta::default(),
        changes: vec![WeightChange {
            weight,
            layer: 0,
            transposed,
            change: Change::LowRank(change),
        }],
    };
    delta.lay_over(model).unwrap()
}

/// Mean log-probability of the answer, and whether each of its tokens is the most probable one, by the forward pass.
fn plain(model: &LanguageModel, asked: &PromptAndAnswer) -> (f64, bool) {
    let rows = model.forward_from(&[asked.read().to_vec()], asked.from - 1, &mut NoTap);
    let rows = rows.unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
    let (mut sum, mut greedy) = (0.0, true);
    for (row, token) in rows.iter().zip(asked.answer()) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|l| f64::from(l - most).exp()).sum();
        let own = row[*token as usize];
        sum += f64::from(own - most) - total.ln();
        greedy &= own == most;
    }
    (sum / asked.answer().len() as f64, greedy)
}

#[test]
fn answers_are_those_of_the_forward_pass_and_an_edited_model_shares_the_rest_in_every_family() {
    let asked = [
        (vec![5, 17, 23, 8, 11], 3),
        (vec![1, 2], 1),
        (vec![7, 3, 9, 4, 2, 6], 5),
    ];
    let asked = asked.map(|(ids, from)| PromptAndAnswer { ids, from });
    for folder in folders() {
        let name = folder.display();
        let model = read(&folder);
        let reader = Reader::new(&model).unwrap();
        let other = edited(&model);
        let shared = reader.of_edited(other.clone(), &[0]).unwrap();
        let found = shared.likelihoods(&asked).unwrap();
        assert_eq!(
            found,
            Reader::new(&other).unwrap().likelihoods(&asked).unwrap(),
            "{name}"
        );
        assert_ne!(found, reader.likelihoods(&asked).unwrap(), "{name}");
        for (found, asked) in found.iter().zip(&asked) {
            let (mean_log, greedy) = plain(&other, asked);
            let far = (found.mean_log - mean_log).abs() > 1e-4 * mean_log.abs().max(1.0);
            assert!(!far, "{name}: {} for {mean_log}", found.mean_log);
            assert_eq!(found.greedy, greedy, "{name}");
        }
        let texts = vec![vec![5, 17, 23, 8, 11], vec![3]];
        let whole = PromptAndAnswer {
            ids: texts[0].clone(),
            from: 1,
        };
        let perplexity = shared.perplexity(&texts, 100).unwrap();
        let expected = (-plain(&other, &whole).0).exp();
        assert!(
            (perplexity / expected - 1.0).abs() < 1e-3,
            "{name}: {perplexity} for {expected}"
        );
    }
}

/// What is said is what greedy decoding gives; of neighbours those count after which the unedited model says their answer.
#[test]
fn what_is_said_is_the_most_probable_answer() {
    let model = read(&folders()[0]);
    let reader = Reader::new(&model).unwrap();
    let says = |prompt: &str| {
        let ids = model.tokenizer().encode(prompt).unwrap();
        let rows = model.forward_from(std::slice::from_ref(&ids), ids.len() - 1, &mut NoTap);
        let row = rows
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        let most = (0..row.len())
            .max_by(|a, b| row[*a].total_cmp(&row[*b]))
            .unwrap();
        let least = (0..row.len())
            .min_by(|a, b| row[*a].total_cmp(&row[*b]))
            .unwrap();
        (most.to_string(), least.to_string())
    };
    let (own, _) = says("5 17 23");
    let neighbour = |prompt: &str, answer: String| Neighbour {
        prompt: prompt.to_owned(),
        answer,
    };
    let case = Case {
        request: EditRequest {
            id: "one".into(),
            prompt: "5 17 23".into(),
            subject: "17".into(),
            target_new: own,
            target_true: Some(says("5 17 23").1),
            ..EditRequest::default()
        },
        paraphrases: vec!["5 17 23".into()],
        neighbours: vec![
            neighbour("9 2", says("9 2").0),
            neighbour("4 30 6", says("4 30 6").1),
        ],
    };
    let mut asked = Questions::of(model.tokenizer(), &case).unwrap().unwrap();
    let before = asked.score_unedited(&reader).unwrap();
    let said = |score: Option<engram_core::WinRate>| score.unwrap().said;
    assert_eq!(said(before.efficacy), Some(1.0));
    assert_eq!(said(before.paraphrase), Some(1.0));
    // Of the two neighbours one is said, and it alone counts.
    assert_eq!(said(before.neighbourhood), Some(1.0));
    let probability = before.efficacy.unwrap().probability.unwrap();
    let ids = continued(model.tokenizer(), "5 17 23", &case.request.target_new).unwrap();
    assert!((probability - plain(&model, &ids).0.exp()).abs() < 1e-5);
    let other = reader.of_edited(edited(&model), &[0]).unwrap();
    let after = asked.score(&other).unwrap();
    let greedy = |prompt: &str, answer: &str| {
        let ids = continued(model.tokenizer(), prompt, answer).unwrap();
        f64::from(u8::from(plain(&edited(&model), &ids).1))
    };
    let kept = &case.neighbours[0];
    assert_eq!(
        said(after.efficacy),
        Some(greedy("5 17 23", &case.request.target_new))
    );
    assert_eq!(
        said(after.neighbourhood),
        Some(greedy(&kept.prompt, &kept.answer))
    );
}

/// The probe finds no change of an unedited model, and the change of an edited one.
#[test]
fn the_probe_compares_next_tokens() {
    let model = LanguageModel::read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/pubmed-mini"),
        &Device::Cpu,
    )
    .unwrap();
    let reader = Reader::new(&model).unwrap();
    let probe = Probe::of(&reader).unwrap();
    assert_eq!(probe.changed(&reader).unwrap(), ProbeEffect::default());
    let other = edited(&model);
    let found = probe
        .changed(&reader.of_edited(other.clone(), &[0]).unwrap())
        .unwrap();
    let (mut changed, mut kl) = (0.0, 0.0);
    for prompt in PROMPTS {
        let ids = model.tokenizer().encode(prompt).unwrap();
        let next = |model: &LanguageModel| -> Vec<f64> {
            let rows = model.forward_from(std::slice::from_ref(&ids), ids.len() - 1, &mut NoTap);
            let row = rows
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = row.iter().map(|l| f64::from(l - most).exp()).sum();
            row.iter()
                .map(|l| f64::from(l - most) - total.ln())
                .collect()
        };
        let most = |row: &[f64]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
        let (before, after) = (next(&model), next(&other));
        changed += f64::from(u8::from(most(&before) != most(&after))) / PROMPTS.len() as f64;
        let terms = before.iter().zip(&after).map(|(b, a)| b.exp() * (b - a));
        kl += terms.sum::<f64>() / PROMPTS.len() as f64;
    }
    assert!(
        found.kl > 0.0 && (found.kl - kl).abs() < 1e-4 * (1.0 + kl),
        "{found:?} for {kl}"
    );
    assert!(
        (found.changed - changed).abs() < 1e-9,
        "{found:?} for {changed}"
    );
}
