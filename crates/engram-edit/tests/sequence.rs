//! Sequences of edits: each edit is made on the model that the earlier ones gave, and a resumed sequence is the same.

use std::path::Path;

use candle_core::Device;
use engram_core::Suite;
use engram_edit::covariance::covariances;
use engram_edit::{
    ChoiceSettings, Chosen, Covariance, EditError, EditSettings, Editor, Facts, Method, Reader,
    Sample, Sequence, SequenceSettings, choose,
};
use engram_model::LanguageModel;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn reader() -> Reader {
    let model = root().join("assets/models/pubmed-mini");
    Reader::new(&LanguageModel::read(&model, &Device::Cpu).unwrap()).unwrap()
}

/// Subject and answer.
const FACTS: [[&str; 2]; 5] = [
    ["phenytoin", "hydantoins"],
    ["clobazam", "benzodiazepines"],
    ["gentamicin", "aminoglycosides"],
    ["acetazolamide", "sulfonamides"],
    ["morphine", "opioids"],
];

/// A suite of one relation.
fn suite() -> Suite {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suite.jsonl");
    let line = |i: usize| {
        let ([subject, answer], [other, foil]) = (FACTS[i], FACTS[(i + 1) % FACTS.len()]);
        let prompt =
            |of: &str| format!("In pharmacology, {of} belongs to the class of drugs called");
        let pair = serde_json::json!({
            "id": subject, "kind": "definitional", "relation": "drug_class",
            "clean": prompt(subject), "corrupt": prompt(other),
            "answer": format!(" {answer}"), "foil": format!(" {foil}"),
            "subject": subject, "corrupt_subject": other,
            "paraphrases": [{
                "clean": format!("Drug families: {subject} is one of the"),
                "corrupt": format!("Drug families: {other} is one of the"),
                "template": "held_back",
            }],
        });
        format!("{pair}\n")
    };
    std::fs::write(&path, (0..FACTS.len()).map(line).collect::<String>()).unwrap();
    Suite::read(&path).unwrap()
}

fn chosen(reader: &Reader) -> Chosen {
    let suite = suite();
    let how = ChoiceSettings {
        most: 4,
        all_facts: true,
        together: true,
    };
    choose(reader, Facts::Suite(&suite), how).unwrap()
}

/// C of layers 1 and 2, over the prompts.
fn sample(reader: &Reader, chosen: &Chosen) -> Vec<Covariance> {
    let texts = chosen.cases.iter().flat_map(|c| {
        let others = c.case.neighbours.iter().map(|n| n.prompt.as_str());
        others.chain(c.case.paraphrases.iter().map(String::as_str))
    });
    let taking = EditSettings::of(Method::AlphaEdit).sample_settings();
    let sample = Sample::of(reader.model(), texts, taking).unwrap();
    covariances(reader, &sample, &[1, 2], &mut |_| {}).unwrap()
}

fn editor(reader: &Reader, method: Method, chosen: &Chosen) -> Editor<'static> {
    let reader: &'static Reader = Box::leak(Box::new(reader.clone()));
    let mut settings = EditSettings::of(method);
    settings.steps = 4;
    let found = match Editor::needs_covariance(method) {
        true => {
            settings.set(method, "prefixes", "1").unwrap();
            sample(reader, chosen)
        }
        false => Vec::new(),
    };
    Editor::new(reader, method, settings, found).unwrap()
}

fn settings(layers: &[usize], batch: usize) -> SequenceSettings {
    SequenceSettings {
        layers: layers.to_vec(),
        batch,
        at: [1, 3].into(),
        scored: 2,
    }
}

#[test]
fn a_resumed_sequence_is_the_same() {
    let reader = reader();
    let chosen = chosen(&reader);
    assert!(chosen.cases.len() >= 4, "{}", chosen.cases.len());
    let cases = &chosen.cases[..4];
    let held_out = vec![vec![5, 7, 11, 13, 17, 19]];
    let folder = tempfile::tempdir().unwrap();
    let (half, one, other) = (
        folder.path().join("half"),
        folder.path().join("one"),
        folder.path().join("other"),
    );
    for (method, layers, batch) in [
        (Method::FtL, &[1][..], 1),
        (Method::RRome, &[1], 1),
        (Method::AlphaEdit, &[1, 2], 1),
        (Method::AlphaEdit, &[1, 2], 2),
    ] {
        let begun = || {
            let (editor, how) = (editor(&reader, method, &chosen), settings(layers, batch));
            Sequence::of(editor, &reader, cases, how, held_out.clone()).unwrap()
        };
        let mut whole = begun();
        whole.step().unwrap();
        whole.write(&half, "these").unwrap();
        while !whole.is_done() {
            whole.step().unwrap();
        }
        whole.write(&one, "these").unwrap();
        let edits: Vec<usize> = whole.progress().points.iter().map(|p| p.edits).collect();
        let expected = if batch == 1 {
            vec![1, 3, 4]
        } else {
            vec![2, 4]
        };
        assert_eq!(edits, expected, "{method}");

        let mut resumed = begun();
        resumed.resume(&half, "these").unwrap();
        while !resumed.is_done() {
            resumed.step().unwrap();
        }
        resumed.write(&other, "these").unwrap();
        let bytes = |path: &Path| std::fs::read(path).unwrap();
        assert_eq!(resumed.progress(), whole.progress(), "{method}");
        assert!(bytes(&one) == bytes(&other), "{method}");

        let wrong = begun().resume(&half, "others").unwrap_err();
        assert!(matches!(wrong, EditError::Sequence { .. }), "{wrong}");
        let mut damaged = bytes(&half);
        let last = damaged.len() - 3;
        damaged[last] ^= 1;
        std::fs::write(&other, damaged).unwrap();
        let wrong = begun().resume(&other, "these").unwrap_err();
        assert!(matches!(wrong, EditError::Sequence { .. }), "{wrong}");
    }
}

#[test]
fn edits_accumulate_and_the_last_one_is_an_edit_of_the_edited_model() {
    let reader = reader();
    let chosen = chosen(&reader);
    let cases = &chosen.cases[..2];
    let made = editor(&reader, Method::FtL, &chosen);
    let mut sequence = Sequence::of(made, &reader, cases, settings(&[1], 1), Vec::new()).unwrap();
    while !sequence.is_done() {
        sequence.step().unwrap();
    }
    let editor = editor(&reader, Method::FtL, &chosen);
    let requests: Vec<_> = cases.iter().map(|c| c.case.request.clone()).collect();
    let first = editor.edit(&requests[..1], &[1], &mut |_| {}).unwrap();
    let edited = editor.read_edited(first.changes, &[1]).unwrap();
    let second = editor.on(&edited);
    let second = second.edit(&requests[1..], &[1], &mut |_| {}).unwrap();
    let both = editor
        .on(&edited)
        .read_edited(second.changes, &[1])
        .unwrap();
    let last = sequence.progress().points.last().unwrap();
    let scores = cases.iter().map(|c| c.score(&both).unwrap());
    let scores: Vec<_> = scores.collect();
    assert_eq!(last.after, engram_core::Score::mean(scores.iter()));
    assert_eq!(last.perplexity, None);
}

#[test]
fn what_is_edited_together_has_no_neighbour_that_is_edited_too() {
    let reader = reader();
    let suite = suite();
    let choose = |together| {
        let how = ChoiceSettings {
            most: 4,
            all_facts: true,
            together,
        };
        choose(&reader, Facts::Suite(&suite), how).unwrap()
    };
    let (apart, alone) = (choose(true), choose(false));
    let edited: Vec<&str> = (apart.cases.iter())
        .map(|c| c.case.request.prompt.as_str())
        .collect();
    let is_edited = |prompt: &str| edited.contains(&prompt);
    let neighbours = |chosen: &Chosen| -> Vec<String> {
        let all = chosen.cases.iter().flat_map(|c| c.case.neighbours.clone());
        all.map(|n| n.prompt).collect()
    };
    assert!(neighbours(&alone).iter().any(|n| is_edited(n)));
    assert!(!neighbours(&apart).is_empty());
    assert!(!neighbours(&apart).iter().any(|n| is_edited(n)));
}

#[test]
fn a_method_of_one_fact_takes_no_batch() {
    let reader = reader();
    let chosen = chosen(&reader);
    let editor = editor(&reader, Method::FtL, &chosen);
    let how = settings(&[1], 2);
    let refused = Sequence::of(editor, &reader, &chosen.cases, how, Vec::new());
    assert!(matches!(refused.err(), Some(EditError::Request { .. })));
}
