//! Runs that are killed and resumed.

use std::time::Duration;

use engram_train::{
    CheckpointSettings, NoObserver, TrainSettings, TrainingEvent, TrainingObserver, plan, train,
};

use crate::{model, settings, texts, weights};

/// Copies the checkpoint that stands there at each event, as a kill at that moment would leave it.
struct Killed {
    folder: std::path::PathBuf,
    left: Vec<Option<Vec<u8>>>,
}

impl TrainingObserver for Killed {
    fn event(&mut self, _: &TrainingEvent) {
        let checkpoint = self.folder.join("checkpoint.safetensors");
        self.left.push(std::fs::read(checkpoint).ok());
    }
}

/// A run kept in a folder after every step, and the kills of it.
fn kept_and_killed(folder: &std::path::Path) -> (CheckpointSettings, Killed) {
    let keep = CheckpointSettings {
        folder: folder.join("run"),
        every: Duration::ZERO,
        resume: true,
    };
    let killed = Killed {
        folder: keep.folder.clone(),
        left: Vec::new(),
    };
    (keep, killed)
}

#[test]
fn a_run_killed_anywhere_and_gone_on_with_ends_as_an_unbroken_one() {
    let (model, all, held_out) = (model(8), texts(9), texts(5));
    let settings = TrainSettings {
        epochs: 4,
        patience: 1,
        learning_rate: 3e-2,
        warmup_steps: 1,
        dropout: 0.2,
        ..settings()
    };
    let whole = train(&model, &all, &held_out, &settings, None, &mut NoObserver).unwrap();
    assert!(whole.curve.epochs.len() > 1);
    let folder = tempfile::tempdir().unwrap();
    let (keep, mut killed) = kept_and_killed(folder.path());
    let kept = train(&model, &all, &held_out, &settings, Some(&keep), &mut killed).unwrap();
    assert_eq!(kept.curve, whole.curve);
    assert!(killed.left.iter().flatten().count() > whole.curve.steps.len());
    let metrics = std::fs::read(keep.folder.join("metrics.jsonl")).unwrap();
    for (event, left) in killed.left.iter().enumerate() {
        std::fs::remove_dir_all(&keep.folder).unwrap();
        std::fs::create_dir_all(&keep.folder).unwrap();
        if let Some(left) = left {
            std::fs::write(keep.folder.join("checkpoint.safetensors"), left).unwrap();
            // A line torn off with the run.
            std::fs::write(keep.folder.join("metrics.jsonl"), b"{\"step\":").unwrap();
            // A checkpoint half-written by it.
            std::fs::write(keep.folder.join(".engram-x.tmp"), b"half").unwrap();
        }
        let resumed = train(
            &model,
            &all,
            &held_out,
            &settings,
            Some(&keep),
            &mut NoObserver,
        )
        .unwrap();
        assert_eq!(resumed.curve, whole.curve, "event {event}");
        assert_eq!(
            weights(&resumed.model),
            weights(&whole.model),
            "event {event}"
        );
        let again = std::fs::read(keep.folder.join("metrics.jsonl")).unwrap();
        assert_eq!(again, metrics, "event {event}");
        assert_eq!(
            std::fs::read_dir(&keep.folder).unwrap().count(),
            2,
            "event {event}"
        );
    }
}

#[test]
fn a_checkpoint_of_another_run_or_a_damaged_one_is_refused() {
    let (model, all) = (model(8), texts(4));
    let folder = tempfile::tempdir().unwrap();
    let keep = CheckpointSettings {
        folder: folder.path().to_owned(),
        every: Duration::ZERO,
        resume: true,
    };
    train(
        &model,
        &all,
        &all,
        &settings(),
        Some(&keep),
        &mut NoObserver,
    )
    .unwrap();
    let refused = |settings: &TrainSettings| {
        train(&model, &all, &all, settings, Some(&keep), &mut NoObserver)
            .err()
            .unwrap()
            .to_string()
    };
    let mut other = settings();
    other.seed = 1;
    assert!(refused(&other).contains("another model, other texts, settings"));
    let file = folder.path().join("checkpoint.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for cut in [0, 7, 100, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert!(
            refused(&settings()).contains("it is damaged"),
            "cut at {cut}"
        );
    }
    // A changed byte is found wherever it is: in the header, the state or a vector.
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let step = whole.len() / 150;
    for at in (0..header)
        .step_by(7)
        .chain((header..whole.len()).step_by(step))
    {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        std::fs::write(&file, &changed).unwrap();
        let error = refused(&settings());
        let named = error.contains("checkpoint.safetensors") && error.contains("it is damaged");
        assert!(named && error.contains("remove it"), "byte {at}: {error}");
    }
    // Without --resume it is written over.
    let anew = CheckpointSettings {
        resume: false,
        ..keep.clone()
    };
    train(
        &model,
        &all,
        &all,
        &settings(),
        Some(&anew),
        &mut NoObserver,
    )
    .unwrap();
    train(
        &model,
        &all,
        &all,
        &settings(),
        Some(&keep),
        &mut NoObserver,
    )
    .unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (model, all) = (model(8), texts(4));
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let keep = CheckpointSettings {
        folder: blocked.join("run"),
        every: Duration::ZERO,
        resume: false,
    };
    let error = train(
        &model,
        &all,
        &all,
        &settings(),
        Some(&keep),
        &mut NoObserver,
    );
    assert!(error.err().unwrap().to_string().contains("blocked"));
}

#[test]
fn crops_and_most_steps_are_counted_and_resumed() {
    let (model, all, held_out) = (model(8), texts(20), texts(6));
    let settings = TrainSettings {
        sequences: engram_train::Sequences::Crop,
        decay: engram_train::Decay::Cosine,
        epoch_steps: 3,
        max_steps: 8,
        epochs: 9,
        patience: 9,
        final_rate: 0.1,
        beta_2: 0.95,
        ..settings()
    };
    let whole = train(&model, &all, &held_out, &settings, None, &mut NoObserver).unwrap();
    let steps: Vec<usize> = whole.curve.epochs.iter().map(|e| e.step).collect();
    // Three steps an epoch, the last one cut at the eighth.
    assert_eq!(steps, [3, 6, 8]);
    assert!(!whole.curve.stopped_early);
    // Crops of 8 ids predict 7 tokens; 2 a step.
    assert_eq!(whole.curve.steps[7].tokens, 8 * 2 * 7);
    assert!(whole.curve.base_texts.iter().all(Option::is_none));
    let folder = tempfile::tempdir().unwrap();
    let (keep, mut killed) = kept_and_killed(folder.path());
    train(&model, &all, &held_out, &settings, Some(&keep), &mut killed).unwrap();
    for left in killed.left.iter().flatten() {
        std::fs::write(keep.folder.join("checkpoint.safetensors"), left).unwrap();
        let resumed = train(
            &model,
            &all,
            &held_out,
            &settings,
            Some(&keep),
            &mut NoObserver,
        )
        .unwrap();
        assert_eq!(weights(&resumed.model), weights(&whole.model));
        assert_eq!(resumed.curve, whole.curve);
    }
    let mut endless = settings.clone();
    endless.epoch_steps = 0;
    let error = plan(&model, &all, &held_out, &endless).unwrap_err();
    assert!(error.to_string().contains("crops have no end"), "{error}");
}
