//! The bundled fact table: it is valid, large enough, and can be written as texts.

use std::path::Path;

use engram_corpus::{FactTable, WriteSettings, write_texts};

fn table() -> FactTable {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../assets/facts/epilepsy.toml"
    );
    FactTable::read(Path::new(path)).unwrap()
}

#[test]
fn it_has_what_a_conclusion_about_kinds_needs() {
    let summary = table().summary();
    println!("{summary:?}");
    assert_eq!(
        summary.kinds.keys().collect::<Vec<_>>(),
        ["associative", "definitional"]
    );
    for (kind, count) in &summary.kinds {
        assert!(
            count.relations >= 8,
            "{kind}: {} relations",
            count.relations
        );
        assert!(count.facts >= 100, "{kind}: {} facts", count.facts);
    }
    assert!(summary.subjects_with_every_kind >= 30, "{summary:?}");
}

#[test]
fn it_is_taught_evenly_in_both_kinds() {
    let table = table();
    // Pieces of at most four letters: nearer to a tokenizer's count than words are.
    let pieces = |text: &str| -> Vec<u32> {
        text.split_whitespace()
            .flat_map(|w| std::iter::repeat_n(0, w.len().div_ceil(4)))
            .collect()
    };
    let settings = WriteSettings::default();
    let written = write_texts(&table, &settings, &pieces).unwrap();
    assert_eq!(written.exposures.len(), table.facts().count());
    for exposure in &written.exposures {
        assert_eq!(exposure.exposures, settings.exposures, "{}", exposure.fact);
        assert_eq!(exposure.wordings, settings.wordings, "{}", exposure.fact);
        assert_eq!(exposure.validation, 1, "{}", exposure.fact);
    }
    let (mut all, mut statements) = (0, 0);
    for text in &written.train {
        let text_length = text.record.text().len();
        all += text_length;
        statements += text
            .statements
            .iter()
            .map(|s| s.span[1] - s.span[0])
            .sum::<usize>();
        assert!(pieces(&text.record.text()).len() <= settings.max_tokens);
    }
    assert!(
        statements * 10 >= all * 7,
        "{statements} of {all} bytes state facts"
    );
    for text in written.train.iter().chain(&written.validation) {
        let text = text.record.text();
        for (relation, fact) in table.facts() {
            for cloze in relation.clozes(true) {
                let prompt = cloze.text.render(fact).text;
                assert!(!text.contains(&prompt), "{prompt:?} in {text:?}");
            }
        }
    }
}
