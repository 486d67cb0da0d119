//! R-ROME by its closed form, the update that leaves given keys alone, and requests that are refused.

use std::path::Path;

use candle_core::Device;
use engram_edit::covariance::{Sample, covariances};
use engram_edit::delta::Change;
use engram_edit::request::check_together;
use engram_edit::rome::{Rome, r_rome};
use engram_edit::{EditError, EditRequest, Optimisation, Optimiser, Reader};
use engram_model::{LanguageModel, Tokenizer, checkpoint, families};

const LAYER: usize = 1;

fn tiny() -> LanguageModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/gpt2/scaled");
    let family = families::read(&folder.join(checkpoint::CONFIG)).unwrap();
    let parameters = checkpoint::read(&folder, &*family, &Device::Cpu).unwrap();
    let tokenizer = Tokenizer::numbers(family.architecture().vocab).unwrap();
    LanguageModel::of(family, parameters, tokenizer).unwrap()
}

fn request(id: &str, prompt: &str, subject: &str, new: &str) -> EditRequest {
    EditRequest {
        id: id.to_owned(),
        prompt: prompt.to_owned(),
        subject: subject.to_owned(),
        target_new: new.to_owned(),
        ..EditRequest::default()
    }
}

fn edit(request: &EditRequest, prefixes: &[&str], most: f64) -> Result<Rome, EditError> {
    let model = tiny();
    let reader = Reader::new(&model).unwrap();
    let vocab = model.architecture().vocab as u32;
    let text = |t: u32| (0..9).map(|i| (t * 13 + i * 7 + t * i) % vocab).collect();
    let sample = Sample {
        texts: (0..40).map(text).collect(),
    };
    let found = covariances(&reader, &sample, &[LAYER], &mut |_| {}).unwrap();
    let factor = found[0].factor(1e-2).unwrap();
    let prefixes: Vec<String> = prefixes.iter().map(|p| (*p).to_owned()).collect();
    let optimiser = Optimiser::new(&reader, LAYER);
    let settings = Optimisation::relative();
    let edited = ((&model, &optimiser), LAYER);
    r_rome(
        edited.0,
        request,
        edited.1,
        &factor,
        &prefixes,
        (&settings, most),
    )
}

/// The bound of the norm where it is not to bind.
const UNBOUNDED: f64 = 1e6;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn the_update_adds_delta_at_the_mean_key_and_each_prompts_share_at_its_own() {
    let request = request("one", "5 17 23 8", "17 23", "11 3");
    let made = edit(&request, &["", "9 2 ", "4 30 6 "], UNBOUNDED).unwrap();
    let Change::LowRank(update) = &made.change.change else {
        panic!("a change of low rank");
    };
    let inputs: Vec<f64> = update.inputs.iter().map(|v| f64::from(*v)).collect();
    let found = &made.found;
    for (key, share) in [(&found.placed_key, 1.0), (&found.bare_key, found.shares[0])] {
        let along = dot(&inputs, key);
        for (out, delta) in update.outputs.iter().zip(&found.delta) {
            let (added, wanted) = (f64::from(*out) * along, f64::from(*delta) * share);
            assert!(
                (added - wanted).abs() < 1e-4 * wanted.abs().max(1e-2),
                "{added} for {wanted}"
            );
        }
    }
    let least = found
        .steps
        .iter()
        .map(|s| s.nll)
        .fold(f64::INFINITY, f64::min);
    assert!(least < found.steps[0].nll);
}

#[test]
fn a_large_update_is_refused_with_its_size() {
    let request = request("one", "5 17 23 8", "17 23", "11 3");
    let bounds = 1e-9;
    let error = edit(&request, &["", "9 2 "], bounds).unwrap_err();
    assert!(
        matches!(error, EditError::Large { layer: LAYER, .. }),
        "{error}"
    );
    assert!(error.is_of_request());
}

#[test]
fn a_subject_at_the_first_token_needs_prefixes_to_compare_with() {
    let request = request("egypt", "17 23 8", "17", "11");
    let error = edit(&request, &[""], UNBOUNDED).unwrap_err();
    assert!(matches!(error, EditError::Outlier { .. }), "{error}");
    assert!(
        error.to_string().contains("put words before the subject"),
        "{error}"
    );
}

#[test]
fn several_requests_of_one_fact_are_refused_by_name() {
    let first = request("a", "5 17 23 8", "17 23", "11");
    let same = EditRequest {
        id: "b".to_owned(),
        ..first.clone()
    };
    let other = EditRequest {
        target_new: "12".to_owned(),
        ..same.clone()
    };
    let error = check_together(&[first.clone(), same])
        .unwrap_err()
        .to_string();
    assert!(error.contains("b: it repeats a"), "{error}");
    let error = check_together(&[first.clone(), other.clone()])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("b: it contradicts a") && error.contains("\"12\" and \"11\""),
        "{error}"
    );
    let of_relation = |request: &EditRequest, prompt: &str| EditRequest {
        prompt: prompt.to_owned(),
        relation: Some("r".to_owned()),
        ..request.clone()
    };
    let (first, other) = (
        of_relation(&first, "5 17 23 8"),
        of_relation(&other, "1 17 23"),
    );
    assert!(matches!(
        check_together(&[first.clone(), other]),
        Err(EditError::Contradiction { .. })
    ));
    let elsewhere = EditRequest {
        subject: "8".to_owned(),
        ..first.clone()
    };
    assert!(check_together(&[first, elsewhere]).is_ok());
}
