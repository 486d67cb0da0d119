//! A base model with damaged weights: the error blames the weights, not a setting.

use candle_core::{Device, Tensor};
use engram_model::{Gpt2Config, LanguageModel, Tokenizer};
use engram_train::{NoObserver, TrainError, TrainSettings, TrainText, train};

const VOCAB: usize = 40;

fn trained(damage: f32) -> TrainError {
    let config = Gpt2Config {
        eos_token_id: Some(0),
        ..Gpt2Config::new(VOCAB, 16, 32, 2, 4)
    };
    let model = LanguageModel::random(&config, Tokenizer::numbers(VOCAB).unwrap(), 1).unwrap();
    let name = "h.1.mlp.c_fc.weight";
    let old = model.parameter(name).unwrap();
    let mut values = old.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // One neuron's weights.
    values.iter_mut().step_by(128).for_each(|v| *v = damage);
    let damaged = Tensor::from_vec(values, old.dims(), &Device::Cpu).unwrap();
    let model = model.with_parameters([(name.to_owned(), damaged)]).unwrap();
    let settings = TrainSettings {
        max_length: 8,
        ..TrainSettings::preset("config-2").unwrap()
    };
    let texts = ["1 2 3 4 5", "6 7 8 9"].map(|text| TrainText {
        text: text.to_owned(),
        answers: Vec::new(),
    });
    train(&model, &texts, &texts, &settings, None, &mut NoObserver)
        .map(drop)
        .unwrap_err()
}

#[test]
fn weights_that_no_step_has_changed_are_blamed_themselves() {
    for damage in [3e38, f32::INFINITY, f32::NAN] {
        let error = trained(damage);
        let TrainError::Start { name, largest, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(name, "h.1.mlp.c_fc.weight");
        assert!(
            *largest == damage || largest.is_nan() && damage.is_nan(),
            "{error}"
        );
        let error = error.to_string();
        assert!(
            error.contains("before the first step") && error.contains("damaged"),
            "{error}"
        );
        assert!(!error.contains("learning_rate"), "{error}");
    }
}
