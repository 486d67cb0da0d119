//! ROME on tiny models of every family: the edited layer outputs v* at the prompt without prefix, the delta's file can
//! be read back, and invalid requests are errors.

use std::path::{Path, PathBuf};

use candle_core::Device;
use engram_core::{Method, Site};
use engram_edit::covariance::{Sample, Statistics, covariances};
use engram_edit::delta::{Change, Delta, Keys, Meta};
use engram_edit::overlay::Overlay;
use engram_edit::{EditError, EditRequest, Optimisation, Optimiser, Reader, rome};
use engram_model::{Capture, LanguageModel, ModelError, Tokenizer, checkpoint, families};

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

fn tiny() -> LanguageModel {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gpt2/scaled"))
}

/// "is" and "a" are unknown words, token 0, to a tokenizer of numbers.
fn request() -> EditRequest {
    EditRequest {
        id: "one".to_owned(),
        prompt: "5 17 23 8".to_owned(),
        subject: "17 23".to_owned(),
        target_new: "11 3".to_owned(),
        target_true: Some("4".to_owned()),
        ..EditRequest::default()
    }
}

fn sample(model: &LanguageModel) -> Sample {
    let vocab = model.architecture().vocab as u32;
    let texts = (0..40).map(|t| (0..9).map(|i| (t * 13 + i * 7 + t * i) % vocab).collect());
    Sample {
        texts: texts.collect(),
    }
}

fn edit(model: &LanguageModel, layer: usize) -> engram_edit::rome::Rome {
    let covariance = &covariances(
        &Reader::new(model).unwrap(),
        &sample(model),
        &[layer],
        &mut |_| {},
    )
    .unwrap()[0];
    let prefixes = ["".to_owned(), "9 2 ".to_owned()];
    let factor = covariance.factor(1e-2).unwrap();
    let settings = Optimisation::default();
    let optimiser = Optimiser::new(&reader(model), layer);
    let (edited, layer) = ((model, &optimiser), layer);
    rome(edited, &request(), layer, &factor, &prefixes, &settings).unwrap()
}

fn reader(model: &LanguageModel) -> Reader {
    Reader::new(model).unwrap()
}

#[test]
fn the_edited_module_gives_the_value_at_the_bare_prompt_in_every_family() {
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let model = read(&folder);
        let layer = 0;
        let edited = edit(&model, layer);
        let steps = &edited.found.steps;
        let least = steps.iter().map(|s| s.nll).fold(f64::INFINITY, f64::min);
        // The last block's MLP moves nothing behind the subject.
        let moves = model.architecture().layers() > 1;
        assert!(
            !moves || least < steps[0].nll,
            "{name}: {} to {least}",
            steps[0].nll
        );
        let delta = Delta {
            meta: Meta::default(),
            changes: vec![edited.change],
        };
        let after = delta.lay_over(&model).unwrap();
        let ids = vec![vec![5, 17, 23, 8, 11]];
        let mut run = Capture::of([(Site::MlpPost, Some(layer))]);
        after.network().residual(&ids, &mut run).unwrap();
        let keys = run.get(Site::MlpPost, Some(layer)).unwrap();
        let key = keys.squeeze(0).unwrap().narrow(0, 2, 1).unwrap();
        let linear = &after.network().block(layer).unwrap().mlp_proj;
        let mut value = key.matmul(&linear.weight).unwrap();
        if let Some(bias) = &linear.bias {
            value = value.broadcast_add(bias).unwrap();
        }
        let value = value.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let wanted = edited.found.initial.iter().zip(&edited.found.delta);
        for (found, (v, d)) in value.iter().zip(wanted) {
            let wanted = v + f64::from(*d);
            let far = (f64::from(*found) - wanted).abs() > 1e-4 * wanted.abs().max(1.0);
            assert!(!far, "{name}: {found} for {wanted}");
        }
    }
}

#[test]
fn a_delta_reads_back_and_twice_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny();
    let delta = |_| Delta {
        meta: Meta {
            base: "abc".to_owned(),
            method: Method::Rome,
            layers: vec![1],
            requests: vec![request()],
            ..Meta::default()
        },
        changes: vec![edit(&model, 1).change],
    };
    let path = folder.path().join("a.safetensors");
    let first = delta(0).write(&path).unwrap();
    assert_eq!(first, delta(1).write(&path).unwrap());
    let (read, hash) = Delta::read(&path).unwrap();
    assert_eq!(hash, first);
    assert_eq!(read.changes, delta(2).changes);
    // The keys of facts survive the file, for later edits.
    let mut keyed = delta(3);
    let Change::LowRank(low) = &mut keyed.changes[0].change else {
        panic!("ROME's change is of rank one");
    };
    low.keys = low.inputs.iter().map(|v| v / 3.0).collect();
    let expected: Vec<f64> = low.keys.iter().map(|v| f64::from(*v)).collect();
    keyed.write(&path).unwrap();
    let mut keys = Keys::new();
    Delta::read(&path).unwrap().0.collect_keys(&mut keys);
    assert_eq!(keys[&1], [expected]);
    std::fs::write(&path, b"rubbish").unwrap();
    assert!(matches!(Delta::read(&path), Err(EditError::Delta { .. })));
}

#[test]
fn a_covariance_is_kept_and_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny();
    let kept = Statistics::of(folder.path(), "abc");
    let sample = sample(&model);
    let mut passes = 0;
    let mut find = |layers: &[usize]| {
        let mut hear = |_| passes += 1;
        let found = kept.covariances(&Reader::new(&model).unwrap(), &sample, layers, &mut hear);
        (found.unwrap(), passes)
    };
    let (first, after_first) = find(&[0, 2]);
    let (second, after_second) = find(&[2, 0]);
    assert_eq!(after_first, after_second);
    assert_eq!(first[1], second[0]);
    let other = Statistics::of(folder.path(), "abd");
    let mut again = 0;
    let found = other.covariances(&Reader::new(&model).unwrap(), &sample, &[0], &mut |_| {
        again += 1
    });
    assert!(found.is_ok() && again > 0);
}

#[test]
fn too_few_tokens_are_singular_without_a_ridge() {
    let model = tiny();
    let sample = Sample {
        texts: vec![vec![1, 2, 3]],
    };
    let covariance =
        &covariances(&Reader::new(&model).unwrap(), &sample, &[0], &mut |_| {}).unwrap()[0];
    let error = covariance.factor(0.0).unwrap_err();
    assert!(
        matches!(error, EditError::Singular { tokens: 3, .. }),
        "{error}"
    );
    assert!(covariance.factor(1e-3).is_ok());
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let absent = EditRequest {
        subject: "60".to_owned(),
        ..request()
    };
    assert!(matches!(absent.check(), Err(EditError::Subject { .. })));
    let same = EditRequest {
        target_new: " 4".to_owned(),
        ..request()
    };
    assert!(matches!(same.check(), Err(EditError::SameAnswer { .. })));
    let empty = EditRequest {
        target_new: " ".to_owned(),
        ..request()
    };
    assert!(matches!(empty.check(), Err(EditError::Request { .. })));
    let blank = EditRequest {
        prompt: format!("{} ", request().prompt),
        ..request()
    };
    let error = blank.check().unwrap_err().to_string();
    let corrected = format!("write \"{}\"", request().prompt);
    assert!(
        error.contains("ends in a blank") && error.contains(&corrected),
        "{error}"
    );
    let model = tiny();
    let error = covariances(
        &Reader::new(&model).unwrap(),
        &sample(&model),
        &[3],
        &mut |_| {},
    )
    .unwrap_err();
    let layer = matches!(
        error,
        EditError::Model(ModelError::Layer {
            layer: 3,
            layers: 3
        })
    );
    assert!(layer, "{error}");
}

fn delta_of(model: &LanguageModel, layer: usize, base: &str, on: &[&str]) -> Delta {
    Delta {
        meta: Meta {
            base: base.to_owned(),
            on: on.iter().map(|s| (*s).to_owned()).collect(),
            ..Meta::default()
        },
        changes: vec![edit(model, layer).change],
    }
}

#[test]
fn edits_are_laid_over_and_taken_off_in_an_order_that_is_kept() {
    let model = tiny();
    let folder = tempfile::tempdir().unwrap();
    let mut overlay = Overlay {
        hash: "base".to_owned(),
        ..Overlay::default()
    };
    let file = |delta: &Delta| {
        let path = folder.path().join("new.safetensors");
        let hash = delta.write(&path).unwrap();
        std::fs::rename(&path, Overlay::file(folder.path(), &hash)).unwrap();
        hash
    };
    let first = delta_of(&model, 0, "base", &[]);
    let one = file(&first);
    overlay.apply(&first, &one).unwrap();
    assert!(matches!(
        overlay.apply(&first, &one),
        Err(EditError::Twice { .. })
    ));

    let foreign = delta_of(&model, 1, "other", &[]);
    let error = overlay.apply(&foreign, "f").unwrap_err();
    assert!(
        matches!(error, EditError::OtherCheckpoint { .. }),
        "{error}"
    );
    let mut beside = delta_of(&model, 0, "base", &[]);
    beside.meta.method = Method::Lora;
    let error = overlay.apply(&beside, "b").unwrap_err();
    assert!(matches!(error, EditError::Conflict { .. }), "{error}");

    let upon = delta_of(&model, 0, "base", &[one.as_str()]);
    let two = file(&upon);
    assert!(matches!(
        Overlay {
            edits: Vec::new(),
            ..overlay.clone()
        }
        .apply(&upon, &two),
        Err(EditError::Missing { .. })
    ));
    overlay.apply(&upon, &two).unwrap();
    let edited = overlay.lay_over(folder.path(), model.clone()).unwrap();
    let weight = |model: &LanguageModel| {
        let weight = model.parameter("h.0.mlp.c_proj.weight").unwrap();
        weight.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_ne!(weight(&edited), weight(&model));

    let error = overlay.revert(folder.path(), &one).unwrap_err();
    assert!(matches!(error, EditError::Needed { .. }), "{error}");
    overlay.revert(folder.path(), &two[..12]).unwrap();
    overlay.revert(folder.path(), &one).unwrap();
    let error = overlay.revert(folder.path(), &one).unwrap_err();
    assert!(matches!(error, EditError::Unknown { .. }), "{error}");
    let reverted = overlay.lay_over(folder.path(), model.clone()).unwrap();
    assert_eq!(weight(&reverted), weight(&model));
}
