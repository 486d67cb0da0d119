//! Splits keep equal texts together.

use engram_corpus::{Abstract, leaked, split, split_texts};

use crate::case;

#[test]
fn equal_texts_are_on_one_side_of_the_split() {
    let corpus = case("duplicates.jsonl").abstracts;
    assert_eq!(corpus.len(), 100);
    let (train, validation) = split(corpus.clone(), 0.2, 42).unwrap();
    let before = leaked(&train, &validation).len();
    assert!(before > 10, "{before}");
    let (train, validation) = split_texts(corpus.clone(), 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (80, 20));
    assert!(leaked(&train, &validation).is_empty());
    let taught: Vec<String> = train.iter().map(Abstract::text).collect();
    assert!(validation.iter().all(|v| !taught.contains(&v.text())));
    // Without such texts, the split is what it was.
    let mut seen = std::collections::BTreeSet::new();
    let mut one_of_each = corpus;
    one_of_each.retain(|a| seen.insert(a.text()));
    assert_eq!(
        split_texts(one_of_each.clone(), 0.2, 42).unwrap(),
        split(one_of_each, 0.2, 42).unwrap()
    );
}

#[test]
fn where_all_texts_are_near_equal_ones_are_held_together() {
    // One template: each is near the next, five times over.
    let words = "a seizure is a sign of excessive activity of many neurons in the brain and may be focal or general";
    let one = |n: usize| Abstract {
        body: format!(
            "{words} as in case {n} of this series of cases that are told in the same words, {words}."
        ),
        ..Abstract::default()
    };
    let all: Vec<Abstract> = (0..50).map(|n| one(n / 5)).collect();
    let (train, validation) = split_texts(all, 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (40, 10));
    assert!(validation.iter().all(|v| !train.contains(v)));
    assert_eq!(leaked(&train, &validation).len(), 10);
    // Nothing but one text: the split is a plain one.
    let (train, validation) = split_texts(vec![one(0); 10], 0.2, 42).unwrap();
    assert_eq!((train.len(), validation.len()), (8, 2));
}
