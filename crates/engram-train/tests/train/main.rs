//! The training loop on tiny random models.

mod device;
mod resume;

use candle_core::{Device, Tensor};
use engram_model::checkpoint::Parameters;
use engram_model::{Gpt2Config, LanguageModel, Tokenizer};
use engram_train::{
    NoObserver, TrainError, TrainSettings, TrainText, TrainingEvent, TrainingObserver, plan, train,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const VOCAB: usize = 40;

fn model(context: usize) -> LanguageModel {
    let mut config = Gpt2Config::new(VOCAB, context, 32, 2, 4);
    config.eos_token_id = Some(0);
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let parameters: Parameters = config
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let gain = name.contains("ln_") && name.ends_with("weight");
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|_| f32::from(u8::from(gain)) + random.random_range(-0.2..0.2))
                .collect();
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        })
        .collect();
    LanguageModel::from_parts(&config, parameters, Tokenizer::numbers(VOCAB).unwrap()).unwrap()
}

fn settings() -> TrainSettings {
    TrainSettings {
        epochs: 2,
        learning_rate: 1e-3,
        warmup_steps: 2,
        batch_size: 2,
        accumulation: 1,
        max_length: 8,
        dropout: 0.0,
        sequences: engram_train::Sequences::Truncate,
        ..TrainSettings::preset("config-2").unwrap()
    }
}

/// A text of the given ids, whose `answer`-th token is the answer.
fn text(ids: &[u32], answer: Option<usize>) -> TrainText {
    let mut text = String::new();
    let mut answers = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        if i > 0 {
            text.push(' ');
        }
        let start = text.len();
        text.push_str(&id.to_string());
        if answer == Some(i) {
            answers.push((start, text.len()));
        }
    }
    TrainText { text, answers }
}

fn texts(n: usize) -> Vec<TrainText> {
    let mut random = ChaCha8Rng::seed_from_u64(n as u64);
    (0..n)
        .map(|_| {
            let length = random.random_range(3..12);
            let ids: Vec<u32> = (0..length).map(|_| random.random_range(1..40)).collect();
            text(&ids, Some(2))
        })
        .collect()
}

fn weights(model: &LanguageModel) -> Vec<f32> {
    model.flat().unwrap().values().to_vec()
}

fn losses(model: &LanguageModel, ids: &[u32]) -> Vec<f64> {
    let n = ids.len() - 1;
    let logits = model
        .forward(&[ids[..n].to_vec()], &mut engram_model::NoTap)
        .unwrap();
    let rows = logits.squeeze(0).unwrap().to_vec2::<f32>().unwrap();
    rows.iter()
        .zip(&ids[1..])
        .map(|(row, &target)| {
            let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
            sum.ln() - f64::from(row[target as usize])
        })
        .collect()
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

#[test]
fn sequences_are_counted_as_by_hand() {
    let model = model(8);
    // 11, 5 and 1 tokens.
    let all = [
        text(&(1..12).collect::<Vec<u32>>(), None),
        text(&[1, 2, 3, 4, 5], None),
        text(&[7], None),
    ];
    let mut settings = settings();
    settings.max_length = 4;
    settings.batch_size = 2;
    let counts = |settings: &TrainSettings| {
        let plan = plan(&model, &all, &all, settings).unwrap();
        (
            plan.sequences,
            plan.tokens_per_epoch,
            plan.padded_tokens,
            plan.cut_tokens,
            plan.total_steps,
        )
    };
    // Two sequences of 4, each of which predicts 3 tokens; 7 + 1 tokens cut off, the lone token unused.
    assert_eq!(counts(&settings), (2, 6, 0, 9, 2));
    // 4 + 4 + 3 and 4 (+ 1 alone, which predicts nothing): 3 + 3 + 2 + 3 predictions.
    settings.sequences = engram_train::Sequences::Chunk;
    assert_eq!(counts(&settings), (4, 11, 0, 2, 4));
    // Counted padding fills the chunk of 3 to 4.
    settings.pad_loss = true;
    assert_eq!(counts(&settings), (4, 12, 1, 2, 4));
    // 5 of 8 tokens: 4 predictions and 3 of padding. The text of one token still predicts nothing.
    settings.max_length = 8;
    settings.sequences = engram_train::Sequences::Truncate;
    assert_eq!(counts(&settings), (2, 14, 3, 4, 2));
}

#[test]
fn validation_is_the_mean_over_the_right_tokens() {
    let model = model(8);
    let validation = [
        text(&[3, 9, 4, 1], Some(2)),
        text(&[5], None),
        text(&[8, 2, 6, 7, 7, 1], None),
    ];
    let mut settings = settings();
    settings.epochs = 1;
    let run = |settings: &TrainSettings| {
        train(
            &model,
            &texts(4),
            &validation,
            settings,
            None,
            &mut NoObserver,
        )
        .unwrap()
        .curve
    };
    let (a, b) = (
        losses(&model, &[3, 9, 4, 1]),
        losses(&model, &[8, 2, 6, 7, 7, 1]),
    );
    let real = mean(&[a.clone(), b.clone()].concat());
    let close = |x: f64, y: f64| assert!((x - y).abs() < 1e-5, "{x} {y}");

    let record = run(&settings);
    close(record.base.real, real);
    close(record.base.counted, real);
    close(record.base.answers.unwrap(), a[1]);
    close(record.base_texts[0].unwrap(), mean(&a));
    assert_eq!(record.base_texts[1], None);
    close(record.base_texts[2].unwrap(), mean(&b));

    settings.pad_loss = true;
    settings.pad_attention = true;
    let record = run(&settings);
    let padded = |ids: &[u32]| losses(&model, &[ids, &[0; 8][ids.len()..]].concat());
    let all = [padded(&[3, 9, 4, 1]), padded(&[8, 2, 6, 7, 7, 1])].concat();
    assert_eq!(all.len(), 14);
    close(record.base.counted, mean(&all));
    close(record.base.real, real);
    assert!((mean(&all) - real).abs() > 1e-3);
}

#[test]
fn accumulation_equals_one_large_batch() {
    let model = model(8);
    let all = texts(24);
    let run = |batch_size, accumulation| {
        let settings = TrainSettings {
            batch_size,
            accumulation,
            ..settings()
        };
        train(&model, &all, &all[..4], &settings, None, &mut NoObserver).unwrap()
    };
    let (one, four) = (run(8, 1), run(2, 4));
    assert_eq!(one.curve.steps.len(), 6);
    for (a, b) in weights(&one.model).iter().zip(weights(&four.model)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert_ne!(weights(&one.model), weights(&model));
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    let model = model(8);
    let all = texts(20);
    let run = |seed| {
        let settings = TrainSettings {
            dropout: 0.2,
            seed,
            ..settings()
        };
        train(&model, &all, &all[..4], &settings, None, &mut NoObserver).unwrap()
    };
    let (a, b, c) = (run(1), run(1), run(2));
    assert_eq!(weights(&a.model), weights(&b.model));
    assert_eq!(a.curve, b.curve);
    assert_ne!(weights(&a.model), weights(&c.model));
}

#[test]
fn three_sentences_are_learned_by_heart() {
    let model = model(8);
    let all = [
        text(&[1, 7, 3, 9, 20], Some(4)),
        text(&[2, 7, 3, 9, 21], Some(4)),
        text(&[4, 8, 3, 5, 22, 30], Some(4)),
    ];
    let settings = TrainSettings {
        epochs: 60,
        patience: 60,
        learning_rate: 1e-2,
        batch_size: 3,
        ..settings()
    };
    let trained = train(&model, &all, &all, &settings, None, &mut NoObserver).unwrap();
    let record = &trained.curve;
    assert!(record.base.real > 3.0, "{:?}", record.base);
    let best = record.best().unwrap();
    assert!(best.validation.real < 0.15, "{:?}", best.validation);
    assert!(
        best.validation.answers.unwrap() < 0.05,
        "{:?}",
        best.validation
    );
    // The model that is handed back is the one that was measured.
    let kept = losses(&trained.model, &[1, 7, 3, 9, 20]);
    assert!((mean(&kept) - record.best_texts[0].unwrap()).abs() < 1e-5);
}

#[test]
fn patience_ends_a_run_that_only_forgets_and_the_best_is_kept() {
    let model = model(8);
    // What is learned contradicts what is validated.
    let learned = [text(&[1, 2, 3, 1, 2, 3, 1, 2], None)];
    let held_out = [text(&[3, 2, 1, 3, 2, 1, 3, 2], None)];
    let settings = TrainSettings {
        epochs: 40,
        patience: 2,
        learning_rate: 2e-2,
        warmup_steps: 0,
        ..settings()
    };
    let trained = train(
        &model,
        &learned,
        &held_out,
        &settings,
        None,
        &mut NoObserver,
    )
    .unwrap();
    let record = trained.curve;
    assert!(record.stopped_early);
    assert!(record.epochs.len() < 40);
    assert_eq!(record.epochs.len(), record.best_epoch + 2);
    let best = record.best().unwrap().validation.counted;
    assert!(record.epochs.iter().all(|e| e.validation.counted >= best));
    let found = losses(&trained.model, &[3, 2, 1, 3, 2, 1, 3, 2]);
    assert!((mean(&found) - best).abs() < 1e-5);
}

#[test]
fn the_rate_follows_the_schedule_and_the_observer_hears_all() {
    struct Count(usize, usize, usize, usize);
    impl TrainingObserver for Count {
        fn event(&mut self, event: &TrainingEvent) {
            match event {
                TrainingEvent::Planned(plan) => {
                    assert_eq!(plan.total_steps, 20);
                    self.0 += 1;
                }
                TrainingEvent::Base(_) => self.1 += 1,
                TrainingEvent::Step { steps, .. } => {
                    assert_eq!(*steps, 20);
                    self.2 += 1;
                }
                TrainingEvent::Epoch(_) => self.3 += 1,
                _ => {}
            }
        }
    }
    let settings = TrainSettings {
        warmup_fraction: Some(0.2),
        warmup_steps: 500,
        ..settings()
    };
    let mut count = Count(0, 0, 0, 0);
    let all = texts(20);
    let record = train(&model(8), &all, &all[..2], &settings, None, &mut count)
        .unwrap()
        .curve;
    assert_eq!((count.0, count.1, count.2, count.3), (1, 1, 20, 2));
    assert_eq!(record.plan.warmup_steps, 4);
    let rates: Vec<f64> = record.steps.iter().map(|s| s.learning_rate).collect();
    assert_eq!(rates[0], 0.0);
    assert!((rates[4] - 1e-3).abs() < 1e-12);
    assert!((rates[12] - 0.5e-3).abs() < 1e-12);
    assert!(record.steps.windows(2).all(|w| w[0].tokens < w[1].tokens));
    assert_eq!(record.steps[19].tokens, 2 * record.plan.tokens_per_epoch);
}

#[test]
fn a_rate_that_never_reaches_its_value_is_told() {
    let all = texts(12);
    let run = |warmup_steps| {
        let settings = TrainSettings {
            warmup_steps,
            learning_rate: 2e-5,
            ..settings()
        };
        let plan = plan(&model(8), &all, &all[..2], &settings).unwrap();
        let record = train(&model(8), &all, &all[..2], &settings, None, &mut NoObserver)
            .unwrap()
            .curve;
        (plan.rate.unwrap(), record)
    };
    // Two epochs of 6 steps: the last is taken at 11/500 of the rate, as in the schedule of transformers.
    let (planned, record) = run(500);
    let rate = record.rate.unwrap();
    assert_eq!(planned, rate);
    assert!(!rate.reached);
    assert!((rate.highest - 2e-5 * 11.0 / 500.0).abs() < 1e-15);
    let highest = record.steps.iter().map(|s| s.learning_rate);
    assert_eq!(rate.highest, highest.fold(0.0, f64::max));
    assert_eq!(
        record.shortfall().unwrap(),
        "the learning rate never reaches 2e-5: warm-up takes 500 steps and the run has 12; the highest is 4.40e-7 (2.2 %); \
         fewer warmup_steps, a warmup_fraction or more epochs would help"
    );
    // The last step is the first after warm-up; one step more of warm-up and there is none.
    assert_eq!(run(11).1.shortfall(), None);
    assert_eq!(run(11).0.highest, 2e-5);
    assert!(run(12).1.shortfall().is_some());
    assert_eq!(run(0).1.shortfall(), None);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let model = model(8);
    let all = texts(4);
    let refused = |train_texts: &[TrainText], settings: &TrainSettings| {
        train(&model, train_texts, &all, settings, None, &mut NoObserver)
            .err()
            .unwrap()
    };
    let error = refused(&[], &settings());
    assert_eq!(
        error.to_string(),
        "training texts: no text of at least two tokens among 0"
    );
    let error = refused(&[text(&[1], None)], &settings());
    assert!(matches!(error, TrainError::NoSequence { texts: 1, .. }));
    let error = train(&model, &all, &[], &settings(), None, &mut NoObserver)
        .err()
        .unwrap();
    assert!(
        error.to_string().starts_with("validation texts:"),
        "{error}"
    );
    let long = TrainSettings {
        max_length: 9,
        ..settings()
    };
    let error = refused(&all, &long);
    assert_eq!(
        error.to_string(),
        "max_length is 9, the model's context is 8 tokens"
    );
    let wild = TrainSettings {
        // Decay takes weights to -99 times their size at each step.
        epochs: 100,
        patience: 100,
        learning_rate: 10.0,
        weight_decay: 10.0,
        max_grad_norm: 0.0,
        warmup_steps: 0,
        ..settings()
    };
    let error = refused(&all, &wild);
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}

#[test]
fn a_record_writes_and_reads_back() {
    let all = texts(4);
    let record = train(&model(8), &all, &all, &settings(), None, &mut NoObserver)
        .unwrap()
        .curve;
    let folder = tempfile::tempdir().unwrap();
    record.write(folder.path()).unwrap();
    let back: engram_train::TrainingRecord =
        engram_core::files::read_json(&folder.path().join("training.json")).unwrap();
    assert_eq!(back, record);
    let metrics = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    // Before training, the steps, and after each epoch.
    assert_eq!(lines.len(), 1 + record.steps.len() + record.epochs.len());
    assert_eq!(lines[0]["validation/loss"], record.base.counted);
    assert_eq!(lines[1]["train/loss"], record.steps[0].loss);
    let last = lines.last().unwrap();
    assert_eq!(last["epoch"], record.epochs.len());
    assert_eq!(last["step"], record.steps.len());
}
