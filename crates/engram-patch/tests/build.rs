//! Suites built from the fact table that comes with engram, with its model's tokenizer.

use std::collections::BTreeSet;
use std::path::Path;

use engram_core::{Clusters, Pair};
use engram_corpus::FactTable;
use engram_model::{Shape, Tokenizer};
use engram_patch::{
    BuildSettings, Built, Profile, Reading, build, build_published, check, refuse_unfit,
};

fn assets() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

fn table() -> FactTable {
    FactTable::read(&assets().join("facts/epilepsy.toml")).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::read(&assets().join("models/pubmed-mini")).unwrap()
}

fn shape() -> Shape {
    Shape {
        layers: 8,
        d_model: 256,
        heads: 8,
        kv_heads: 8,
        d_head: 32,
        d_mlp: 1024,
        vocab: 8192,
        context: 512,
        parallel: false,
        post_norms: false,
        gated: false,
        capped: false,
        learned_positions: true,
        windows: vec![None; 8],
        parameters: 0,
    }
}

fn count(built: &Built, kind: &str) -> usize {
    built.suite.pairs.iter().filter(|p| p.kind == kind).count()
}

/// The prompt without its subject.
fn around(prompt: &str, subject: &Option<engram_core::Span>) -> String {
    let Some(engram_core::Span::Text(subject)) = subject else {
        panic!("no subject")
    };
    prompt.replacen(subject, "", 1)
}

#[test]
fn every_pair_keeps_the_rules() {
    let (table, tokenizer) = (table(), tokenizer());
    let built = build(&table, &tokenizer, &BuildSettings::default()).unwrap();
    let reading = Reading::default();
    let checked = check(&built.suite, &tokenizer, &shape(), &reading).unwrap();
    refuse_unfit(checked).unwrap();

    let facts = table.facts().count();
    assert_eq!(
        built.suite.pairs.len() + built.unpaired.len(),
        facts,
        "every fact is accounted for"
    );
    for kind in ["definitional", "associative"] {
        assert!(
            count(&built, kind) >= 60,
            "{} {kind} pairs",
            count(&built, kind)
        );
    }
    let mut foils = BTreeSet::new();
    for pair in &built.suite.pairs {
        assert_eq!(
            around(&pair.clean, &pair.subject),
            around(&pair.corrupt, &pair.corrupt_subject)
        );
        assert!(
            foils.insert(pair.foil_fact.clone()),
            "a fact is corrupt at most once"
        );
        let relation = table.relation(pair.relation.as_deref().unwrap()).unwrap();
        let fact = |id: &Option<String>| {
            let id = id.clone().unwrap();
            relation
                .facts
                .iter()
                .find(|f| f.id() == id)
                .unwrap()
                .clone()
        };
        let (a, b) = (fact(&pair.fact), fact(&pair.foil_fact));
        assert_eq!(
            (&pair.answer, &pair.foil),
            (&format!(" {}", a.answer), &format!(" {}", b.answer))
        );
        assert!(a.answer != b.answer && !a.also.contains(&b.answer) && !b.also.contains(&a.answer));
        for wording in &pair.paraphrases {
            let length = |text| tokenizer.encode(text).unwrap().len();
            assert_eq!(length(&wording.clean), length(&wording.corrupt));
            assert!(wording.template.as_ref().unwrap().contains("held_back"));
        }
    }
    assert_eq!(built.balance.after.len(), 2);
    assert!(built.balance.met || built.balance.after.values().any(|k| k.pairs < 64));
    assert!(built.unpaired.iter().all(|u| !u.reason.is_empty()));
}

/// Clusters are circles: within each, the facts that are clean are the facts that are corrupt.
#[test]
fn clusters_are_circles_of_two_or_three() {
    let built = build(&table(), &tokenizer(), &BuildSettings::default()).unwrap();
    let of = |cluster: &str| -> Vec<&Pair> {
        built
            .suite
            .pairs
            .iter()
            .filter(|p| p.cluster.as_deref() == Some(cluster))
            .collect()
    };
    let clusters = built.suite.pairs.iter().flat_map(|p| p.cluster.as_deref());
    let clusters: BTreeSet<&str> = clusters.collect();
    let found = Clusters::of(&built.suite.pairs);
    assert_eq!(found.count(), clusters.len(), "circles share nothing");
    for cluster in clusters {
        let pairs = of(cluster);
        assert!(matches!(pairs.len(), 2 | 3), "{cluster}: {}", pairs.len());
        let clean: BTreeSet<_> = pairs.iter().map(|p| p.fact.clone()).collect();
        let corrupt: BTreeSet<_> = pairs.iter().map(|p| p.foil_fact.clone()).collect();
        assert_eq!(clean, corrupt);
        let templates: BTreeSet<_> = pairs.iter().map(|p| p.template.clone()).collect();
        assert_eq!(templates.len(), 1);
    }
}

#[test]
fn the_seed_decides_and_the_cap_holds() {
    let (table, tokenizer) = (table(), tokenizer());
    let with = |seed, max| {
        let settings = BuildSettings {
            seed,
            max_pairs_per_kind: max,
            ..BuildSettings::default()
        };
        build(&table, &tokenizer, &settings).unwrap()
    };
    assert_eq!(with(1, None), with(1, None));
    assert!(with(1, None) != with(2, None));
    let few = with(1, Some(20));
    for kind in ["definitional", "associative"] {
        assert!(
            (18..=20).contains(&count(&few, kind)),
            "{}",
            count(&few, kind)
        );
        let relations: BTreeSet<_> = few
            .suite
            .pairs
            .iter()
            .filter(|p| p.kind == kind)
            .map(|p| p.relation.clone())
            .collect();
        assert!(
            relations.len() >= 8,
            "spread over {} relations",
            relations.len()
        );
    }
}

/// A circle has two pairs at least.
#[test]
fn a_cap_below_a_circle_leaves_no_pair() {
    let settings = BuildSettings {
        max_pairs_per_kind: Some(1),
        ..BuildSettings::default()
    };
    let error = build(&table(), &tokenizer(), &settings).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no pair can be built from 323 facts: all pairs that were found are 315 left out because enough pairs of its kind are there; pairs come in circles of two or three"
    );
}

#[test]
fn pairs_of_the_paper_have_answers_of_equal_length() {
    let (table, tokenizer) = (table(), tokenizer());
    let settings = BuildSettings {
        max_pairs_per_kind: Some(10),
        ..BuildSettings::default()
    };
    let built = build_published(&table, &tokenizer, &settings).unwrap();
    let reading = Reading {
        profile: Profile::Published,
        ..Reading::default()
    };
    let pairs = refuse_unfit(check(&built.suite, &tokenizer, &shape(), &reading).unwrap()).unwrap();
    assert!(count(&built, "definitional") >= 8 && count(&built, "associative") >= 8);
    for (pair, prepared) in built.suite.pairs.iter().zip(&pairs) {
        assert_eq!(prepared.answer.len(), prepared.foil.len());
        assert_eq!(
            pair.clean.strip_suffix(&pair.answer),
            pair.corrupt.strip_suffix(&pair.foil)
        );
        assert!(pair.clean.contains("? "));
    }
}
