//! Texts written from facts: what they teach, and what they must not.

use std::collections::{BTreeMap, BTreeSet};

use engram_corpus::write::count_exposures;
use engram_corpus::{CorpusError, FactTable, Text, WriteSettings, Written, write_texts};

fn small() -> FactTable {
    FactTable::parse(include_str!("data/small.toml"), "small.toml").unwrap()
}

fn words(text: &str) -> Vec<u32> {
    text.split_whitespace().map(|w| w.len() as u32).collect()
}

fn settings() -> WriteSettings {
    WriteSettings {
        exposures: 13,
        wordings: 4,
        validation_exposures: 2,
        facts_per_text: [3, 6],
        max_tokens: 80,
        seed: 7,
    }
}

fn written(settings: &WriteSettings) -> Written {
    write_texts(&small(), settings, &words).unwrap()
}

/// Counts by looking for the sentences themselves, knowing nothing of how the texts were made.
fn found(texts: &[Text], sentence: &str) -> usize {
    texts
        .iter()
        .map(|t| t.record.text().matches(sentence).count())
        .sum()
}

#[test]
fn every_fact_is_taught_equally_often_and_evenly_over_its_wordings() {
    let written = written(&settings());
    let table = small();
    assert_eq!(written.exposures.len(), 9);
    for (exposure, (relation, fact)) in written.exposures.iter().zip(table.facts()) {
        assert_eq!(exposure.fact, fact.id());
        assert_eq!(exposure.kind, relation.kind);
        let counts: Vec<usize> = relation
            .frames
            .iter()
            .map(|f| found(&written.train, &f.render(fact).text))
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 13, "{counts:?}");
        assert_eq!(exposure.exposures, 13);
        let used: Vec<usize> = counts.iter().copied().filter(|c| *c > 0).collect();
        assert_eq!(used.len(), 4);
        assert_eq!(exposure.wordings, 4);
        assert!(used.iter().all(|c| *c == 3 || *c == 4), "{counts:?}");
        for frame in relation.cloze_frames() {
            assert!(counts[frame] > 0);
        }
    }
}

#[test]
fn validation_states_each_fact_in_a_wording_that_it_never_has_in_training() {
    let written = written(&settings());
    for (relation, fact) in small().facts() {
        let used: Vec<usize> = (0..relation.frames.len())
            .filter(|f| found(&written.validation, &relation.frames[*f].render(fact).text) > 0)
            .collect();
        let &[frame] = used.as_slice() else {
            panic!("{used:?}");
        };
        let sentence = relation.frames[frame].render(fact).text;
        assert_eq!(found(&written.validation, &sentence), 2);
        assert_eq!(found(&written.train, &sentence), 0, "{sentence}");
        assert!(!relation.cloze_frames().contains(&frame));
        let others = relation.facts.iter().filter(|f| *f != fact);
        let taught: usize = others
            .map(|f| found(&written.train, &relation.frames[frame].render(f).text))
            .sum();
        assert!(taught > 0, "no other fact is trained in frame {frame}");
    }
    assert!(written.exposures.iter().all(|e| e.validation == 2));
}

#[test]
fn statements_held_back_occur_nowhere() {
    let written = written(&settings());
    let table = small();
    for text in written.train.iter().chain(&written.validation) {
        let text = text.record.text().to_lowercase();
        for (relation, fact) in table.facts() {
            for cloze in relation.clozes(true) {
                let prompt = cloze.text.render(fact).text.to_lowercase();
                assert!(!text.contains(&prompt), "{prompt:?} in {text:?}");
            }
        }
    }
}

#[test]
fn texts_fit_differ_interleave_and_mark_their_answers() {
    let written = written(&settings());
    let table = small();
    let answers: BTreeMap<String, &str> = table
        .facts()
        .map(|(_, f)| (f.id(), f.answer.as_str()))
        .collect();
    let mut seen = BTreeSet::new();
    let (mut mixed, mut titles) = (0, 0);
    for text in written.train.iter().chain(&written.validation) {
        let whole = text.record.text();
        assert!(words(&whole).len() <= 80);
        assert!(seen.insert(whole.clone()), "twice: {whole}");
        assert!(!text.record.title.is_empty() && !text.record.body.is_empty());
        assert!(
            !whole.contains("  ") && !whole.contains(['[', ']', '{', '}']),
            "{whole}"
        );
        assert_eq!(text.record.answers.len(), text.statements.len());
        let facts: BTreeSet<&str> = text.statements.iter().map(|s| s.fact.as_str()).collect();
        assert_eq!(
            facts.len(),
            text.statements.len(),
            "a fact twice in one text"
        );
        assert!((1..=6).contains(&facts.len()));
        let relations: BTreeSet<&str> = facts.iter().filter_map(|f| f.split('/').next()).collect();
        mixed += usize::from(relations.len() == 2);
        titles += usize::from(text.statements[0].span[0] == 0);
        for (statement, [start, end]) in text.statements.iter().zip(&text.record.answers) {
            assert_eq!(&whole[*start..*end], answers[&statement.fact]);
            assert_eq!(statement.answer, [*start, *end]);
        }
    }
    let total = seen.len();
    assert!(mixed * 10 > total * 8, "{mixed} of {total} texts are mixed");
    assert!(
        titles * 4 > total && titles * 4 < total * 3,
        "{titles} of {total}"
    );
}

#[test]
fn most_tokens_are_statements() {
    let written = written(&WriteSettings {
        facts_per_text: [6, 8],
        max_tokens: 200,
        ..settings()
    });
    let (mut all, mut statements) = (0, 0);
    for text in &written.train {
        let whole = text.record.text();
        all += words(&whole).len();
        for statement in &text.statements {
            statements += words(&whole[statement.span[0]..statement.span[1]]).len();
        }
    }
    assert!(statements * 10 >= all * 7, "{statements} of {all}");
}

#[test]
fn the_seed_decides_every_byte() {
    let bytes = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let settings = WriteSettings { seed, ..settings() };
        written(&settings).save(folder.path()).unwrap();
        ["train.jsonl", "validation.jsonl", "exposures.jsonl"]
            .map(|name| std::fs::read(folder.path().join(name)).unwrap())
    };
    let first = bytes(1);
    assert_eq!(first, bytes(1));
    let other = bytes(2);
    assert_ne!(first[0], other[0]);
    assert_ne!(first[1], other[1]);
    assert_eq!(
        first[2], other[2],
        "what is taught does not hang on the seed"
    );
}

#[test]
fn exposures_are_counted_after_cutting() {
    let written = written(&settings());
    let total = |max| -> usize {
        let counts = count_exposures(&written.train, max, &words);
        counts.values().flat_map(|f| f.values()).sum()
    };
    assert_eq!(total(80), 9 * 13);
    assert_eq!(total(0), 0);
    // By hand: answers whose last word is among the first 20 of their text.
    let by_hand: usize = written
        .train
        .iter()
        .map(|t| {
            let whole = t.record.text();
            let within = |s: &&[usize; 2]| whole[..s[1]].split_whitespace().count() <= 20;
            t.record.answers.iter().filter(within).count()
        })
        .sum();
    assert!(by_hand > 0 && by_hand < 9 * 13);
    assert_eq!(total(20), by_hand);
}

#[test]
fn tight_limits_make_shorter_texts_and_not_fewer_exposures() {
    let tight = written(&WriteSettings {
        max_tokens: 30,
        ..settings()
    });
    assert!(
        tight
            .exposures
            .iter()
            .all(|e| e.exposures == 13 && e.validation == 2)
    );
    let longest = tight
        .train
        .iter()
        .map(|t| words(&t.record.text()).len())
        .max();
    assert!(longest <= Some(30));
    let error = write_texts(
        &small(),
        &WriteSettings {
            max_tokens: 5,
            ..settings()
        },
        &words,
    );
    let error = error.unwrap_err();
    assert!(
        matches!(error, CorpusError::FactTooLong { max_tokens: 5, .. }),
        "{error}"
    );
}

#[test]
fn settings_that_cannot_be_met_are_refused() {
    let cases: [(WriteSettings, &str); 6] = [
        (
            WriteSettings {
                wordings: 3,
                ..settings()
            },
            "recorded_organ",
        ),
        (
            WriteSettings {
                wordings: 6,
                ..settings()
            },
            "recorded_organ",
        ),
        (
            WriteSettings {
                exposures: 3,
                ..settings()
            },
            "3 exposures",
        ),
        (
            WriteSettings {
                validation_exposures: 0,
                ..settings()
            },
            "validation_exposures",
        ),
        (
            WriteSettings {
                facts_per_text: [4, 3],
                ..settings()
            },
            "facts_per_text",
        ),
        (
            WriteSettings {
                facts_per_text: [0, 3],
                ..settings()
            },
            "facts_per_text",
        ),
    ];
    for (settings, word) in cases {
        let error = write_texts(&small(), &settings, &words)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
}
