//! Presets, values from text, departures.

use engram_train::{Departure, Precision, Sequences, TrainError, TrainSettings};

#[test]
fn the_presets_are_the_published_table() {
    let first = TrainSettings::preset("config-1").unwrap();
    assert_eq!((first.epochs, first.patience), (30, 3));
    assert_eq!((first.learning_rate, first.warmup_steps), (5e-5, 500));
    assert_eq!((first.weight_decay, first.max_grad_norm), (0.01, 1.0));
    assert_eq!(
        (first.batch_size, first.accumulation, first.max_length),
        (8, 4, 512)
    );
    assert_eq!(
        (first.precision, first.sequences),
        (Precision::Fp16, Sequences::Truncate)
    );
    assert_eq!((first.pad_loss, first.dropout), (true, 0.1));
    // The attention mask of transformers' tokenizer is passed on.
    assert!(!first.pad_attention);
    let second = TrainSettings::preset("config-2").unwrap();
    assert_eq!((second.epochs, second.patience), (10, 5));
    assert_eq!((second.learning_rate, second.warmup_steps), (2e-5, 500));
    assert_eq!((second.weight_decay, second.max_grad_norm), (0.1, 1.0));
    assert_eq!(
        (second.batch_size, second.accumulation, second.max_length),
        (8, 4, 512)
    );
    assert_eq!(
        (second.precision, second.sequences),
        (Precision::Fp32, Sequences::Chunk)
    );
    assert_eq!((second.pad_loss, second.dropout), (false, 0.1));
    let error = TrainSettings::preset("config-3").unwrap_err().to_string();
    assert_eq!(
        error,
        "no preset is called \"config-3\"; there are config-1, config-2"
    );
}

#[test]
fn every_name_can_be_set_and_shows_as_a_departure() {
    let preset = TrainSettings::preset("config-2").unwrap();
    let values = [
        "7", "2", "1e-3", "9", "0.1", "0.02", "16", "1", "128", "fp16", "0", "0", "3", "truncate",
        "true", "cosine", "0.1", "0.95", "10", "50", "true",
    ];
    for (name, value) in TrainSettings::NAMES.into_iter().zip(values) {
        let mut settings = preset.clone();
        settings.set(name, value).unwrap();
        assert_ne!(settings, preset, "{name}");
        let departures = settings.departures(&preset);
        match name {
            // On a CPU, float16 is float32: what was used does not differ.
            "precision" => assert_eq!(departures, []),
            _ => assert!(departures.iter().any(|d| d.setting == name), "{name}"),
        }
    }
}

#[test]
fn float16_is_a_departure_of_the_first_preset() {
    let preset = TrainSettings::preset("config-1").unwrap();
    let mut settings = preset.clone();
    settings.set("warmup_fraction", "0.1").unwrap();
    let departures = settings.departures(&preset);
    let of = |name: &str| departures.iter().find(|d| d.setting == name).cloned();
    assert_eq!(departures.len(), 3);
    assert_eq!(
        of("precision"),
        Some(Departure {
            setting: "precision".into(),
            preset: "fp16".into(),
            used: "fp32".into(),
            why: Some("float16 falls back to float32 on a CPU".into()),
        })
    );
    assert_eq!(of("warmup_fraction").unwrap().used, "0.1");
    assert_eq!(of("warmup_steps").unwrap().used, "by warmup_fraction");
    assert_eq!((settings.warmup(200), preset.warmup(200)), (20, 500));
}

#[test]
fn bad_names_and_values_are_named() {
    let mut settings = TrainSettings::preset("config-1").unwrap();
    let error = settings.set("learning_rat", "1").unwrap_err();
    let TrainError::UnknownSetting { near, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(near[0], "learning_rate");
    let text = |r: Result<(), TrainError>| r.unwrap_err().to_string();
    assert_eq!(
        text(settings.set("epochs", "many")),
        "training setting epochs: expected a whole number from 1 to 100000, found \"many\""
    );
    for (name, value) in [
        ("batch_size", "0"),
        ("learning_rate", "nan"),
        ("learning_rate", "-1"),
        ("dropout", "1"),
        ("warmup_fraction", "1.5"),
        ("sequences", "cut"),
        ("precision", "int8"),
        ("pad_loss", "1"),
        ("max_length", "1"),
    ] {
        let before = settings.clone();
        let error = text(settings.set(name, value));
        assert!(
            error.starts_with(&format!("training setting {name}: ")),
            "{error}"
        );
        assert_eq!(settings, before, "{name}: a refused value is not kept");
    }
}

#[test]
fn settings_are_toml_and_unknown_keys_are_refused() {
    let mut settings = TrainSettings::preset("config-1").unwrap();
    settings.set("warmup_fraction", "0.25").unwrap();
    let text = toml::to_string(&settings).unwrap();
    assert!(text.contains("precision = \"fp16\""), "{text}");
    assert_eq!(toml::from_str::<TrainSettings>(&text).unwrap(), settings);
    assert!(toml::from_str::<TrainSettings>(&format!("{text}\nepoch = 1\n")).is_err());
}
