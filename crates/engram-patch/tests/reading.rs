//! What one destination alone reads, by both engines and against identities of the residual stream.

mod common;

use common::{FAMILIES, family, model, naive, pair, plan_of, prepared, spec, staged};
use engram_core::{Direction, NamedSite, Part, Row, Select, Site};
use engram_model::LanguageModel;
use engram_patch::{At, Cell, Plan, SweepSpec, Term, Value};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// GPT-2 and every other family.
fn models() -> impl Iterator<Item = LanguageModel> {
    let families = FAMILIES.iter().map(|name| family(name));
    [model(3, 4)].into_iter().chain(families)
}

#[track_caller]
fn same(a: &Row, b: &Row, why: &str) {
    let (a, b) = (a.patched, b.patched);
    assert!((a - b).abs() < 2e-4 * (1.0 + b.abs()), "{a} for {b}: {why}");
}

/// A site by name, all of its heads together.
fn whole(site: Site, layer: Option<usize>) -> NamedSite {
    NamedSite::canonical(site, layer).with(Select::Whole)
}

/// Every site that reads the residual stream after block `after` (after its attention, where `of_attention`), as its
/// destinations.
fn destinations(model: &LanguageModel, after: Option<usize>, of_attention: bool) -> Vec<NamedSite> {
    let shape = model.shape();
    let mut all = Vec::new();
    for layer in 0..shape.layers {
        let later = after.is_none_or(|after| layer > after);
        if later {
            all.extend([Site::Q, Site::K, Site::V].map(|site| whole(site, Some(layer))));
        }
        if later || of_attention && after == Some(layer) && !shape.parallel {
            all.push(whole(Site::Ln2, Some(layer)));
        }
    }
    all.push(whole(Site::LnFinal, None));
    all
}

/// Read otherwise by every destination after it, a term is a patched site: to the naive engine, to the staged one, and
/// under every family.
#[test]
fn a_term_that_all_read_otherwise_is_a_patched_site() {
    for model in models() {
        let shape = model.shape();
        let mut terms = vec![
            (Term::new(Site::Embed, None, Value::Source), None, false),
            (
                Term::new(Site::MlpOut, Some(0), Value::Source),
                Some(0),
                false,
            ),
            (
                Term::new(Site::MlpOut, Some(1), Value::Zero),
                Some(1),
                false,
            ),
            (
                Term::new(Site::AttnOut, Some(0), Value::Mean),
                Some(0),
                true,
            ),
            (
                Term::new(Site::AttnOut, Some(1), Value::Source.added(0.5)),
                Some(1),
                true,
            ),
        ];
        if !shape.post_norms {
            terms.push((Term::head(1, 1, Value::Source), Some(1), true));
            terms.push((Term::head(0, 0, Value::Zero), Some(0), true));
        }
        if shape.learned_positions {
            terms.push((Term::new(Site::PosEmbed, None, Value::Zero), None, false));
        }
        let mut cells = Vec::new();
        for (index, (term, after, of_attention)) in terms.into_iter().enumerate() {
            let select = term.part.map_or(Select::Whole, Select::Some);
            let site = NamedSite::canonical(term.site, term.layer).with(select);
            cells.push(Cell::new(format!("site {index}")).with(site, At::All, term.value.clone()));
            let all = destinations(&model, after, of_attention).into_iter();
            let read =
                |cell: Cell, site| cell.with(site, At::All, Value::Reading(vec![term.clone()]));
            cells.push(all.fold(Cell::new(format!("all edges {index}")), read));
        }
        for direction in [Direction::Denoise, Direction::Noise] {
            let plan = plan_of(&model, cells.clone(), direction);
            let (of_naive, of_staged) = (naive(&model, &plan), staged(&model, &plan));
            for found in [&of_naive, &of_staged] {
                let (mut seen, mut moved) = (0, 0);
                for a in found {
                    let Some(index) = a.name.strip_prefix("all edges ") else {
                        continue;
                    };
                    let patched = format!("site {index}");
                    let of_site =
                        |b: &&Row| b.name == patched && b.pair == a.pair && b.metric == a.metric;
                    // Tokens of the answer are appended, and only the prompt is patched: their queries read its keys.
                    let b = of_naive.iter().find(of_site).unwrap();
                    same(a, b, &format!("{}, {}", model.family(), a.name));
                    seen += 1;
                    moved += usize::from((b.patched - b.corrupt).abs() > 1e-3);
                }
                assert!(seen > 20 && moved > seen / 2, "{seen} {moved}");
            }
        }
    }
}

/// Random circuits: several destinations with several terms, beside interventions that make this run's own terms other
/// than the base run's.
#[test]
fn both_engines_agree_on_edges() {
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let mut moved = 0;
    for model in models() {
        let shape = model.shape();
        let mut cells = Vec::new();
        for index in 0..40 {
            let mut cell = Cell::new(format!("cell {index}"));
            let at = [At::All, At::Last, At::Position(2), At::Position(3)];
            if rng.random_bool(0.5) {
                let site = *[
                    Site::ResidPre,
                    Site::AttnOut,
                    Site::MlpOut,
                    Site::Z,
                    Site::Embed,
                ]
                .choose(&mut rng)
                .unwrap();
                let layer = site.has_layer().then(|| rng.random_range(0..2));
                let value = Value::Source.added(0.5);
                cell = cell.with(whole(site, layer), *at.choose(&mut rng).unwrap(), value);
            }
            let mut used = Vec::new();
            for _ in 0..rng.random_range(1..4) {
                let layer = rng.random_range(1..shape.layers);
                let site = *[Site::Q, Site::K, Site::V, Site::Ln2, Site::LnFinal]
                    .choose(&mut rng)
                    .unwrap();
                if used.contains(&(site, layer))
                    || used
                        .iter()
                        .any(|u: &(Site, usize)| u.0 == site && site == Site::LnFinal)
                {
                    continue;
                }
                used.push((site, layer));
                let heads = match site {
                    Site::Q => shape.heads,
                    Site::K | Site::V => shape.kv_heads,
                    _ => 0,
                };
                let mut named = whole(site, site.has_layer().then_some(layer));
                if heads > 0 && rng.random_bool(0.7) {
                    let start = rng.random_range(0..heads);
                    named = named.with(Select::Some(Part {
                        start,
                        end: start + 1,
                    }));
                }
                let mut terms = Vec::new();
                for before in 0..layer {
                    let value = [
                        Value::Source,
                        Value::Zero,
                        Value::Mean,
                        Value::Zero.added(-1.0),
                    ]
                    .choose(&mut rng)
                    .unwrap()
                    .clone();
                    match rng.random_range(0..4) {
                        0 => terms.push(Term::new(Site::MlpOut, Some(before), value)),
                        1 => terms.push(Term::new(Site::AttnOut, Some(before), value)),
                        2 if !shape.post_norms => terms.push(Term::head(before, 1, value)),
                        _ => {}
                    }
                }
                if terms.is_empty() {
                    terms.push(Term::new(Site::Embed, None, Value::Source));
                }
                cell = cell.with(named, *at.choose(&mut rng).unwrap(), Value::Reading(terms));
            }
            cells.push(cell);
        }
        for direction in [Direction::Denoise, Direction::Noise] {
            let plan = plan_of(&model, cells.clone(), direction);
            let (found, expected) = (staged(&model, &plan), naive(&model, &plan));
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                let cell = cells.iter().find(|c| c.name == a.name);
                same(
                    a,
                    b,
                    &format!("{}, {direction:?}: {cell:?}", model.family()),
                );
                moved += usize::from((b.patched - b.corrupt).abs() > 1e-3);
            }
            // A plan that is written and read gives the same.
            let text = serde_json::to_string(&plan).unwrap();
            let read: Plan = serde_json::from_str(&text).unwrap();
            assert_eq!(staged(&model, &read), found);
        }
    }
    assert!(moved > 2000, "{moved}");
}

/// Who reads this run's own value reads no difference: where the site itself has the source's value, an edge that has it
/// too changes nothing, bit for bit.
#[test]
fn an_edge_is_the_difference_from_this_run() {
    let model = model(3, 6);
    let patched =
        |name: &str| Cell::new(name).with(whole(Site::MlpOut, Some(0)), At::All, Value::Source);
    let edge = || Value::Reading(vec![Term::new(Site::MlpOut, Some(0), Value::Source)]);
    let query = NamedSite::canonical(Site::Q, Some(2));
    let query = query.with(Select::Some(Part { start: 0, end: 1 }));
    let cells = vec![
        patched("site"),
        patched("site and edge").with(query.clone(), At::All, edge()),
        Cell::new("edge").with(query, At::All, edge()),
    ];
    let plan = plan_of(&model, cells, Direction::Noise);
    let rows = staged(&model, &plan);
    let named = |name: &str| -> Vec<u64> {
        let own = rows.iter().filter(|r| r.name == name);
        own.map(|r| r.patched.to_bits()).collect()
    };
    assert_eq!(named("site"), named("site and edge"));
    assert_ne!(named("site"), named("edge"));
}

#[test]
fn wrong_readings_are_named() {
    let model = model(3, 8);
    let q = || NamedSite::canonical(Site::Q, Some(1)).with(Select::Some(Part { start: 0, end: 1 }));
    let of = |cell: Cell| {
        let spec = SweepSpec {
            cells: vec![cell],
            ..spec(Vec::new())
        };
        let pairs = prepared(&model, vec![pair("p", 6, &[2], 1)]);
        Plan::new(spec, model.shape(), pairs).map_err(|e| e.to_string())
    };
    let one = |site, terms| of(Cell::new("mine").with(site, At::All, Value::Reading(terms)));
    let mlp = |layer| Term::new(Site::MlpOut, Some(layer), Value::Source);
    let d = model.shape().d_model;
    let cases = [
        (
            one(whole(Site::Z, Some(1)), vec![mlp(0)]),
            "z does not read the residual stream",
        ),
        (one(q(), vec![]), "it reads no term otherwise"),
        (
            one(q(), vec![mlp(1)]),
            "mlp_out.1 is no term of what it reads",
        ),
        (one(q(), vec![mlp(3)]), "mlp_out.3: layer 3 of a model of 3"),
        (
            one(q(), vec![mlp(0), mlp(0)]),
            "mlp_out.0 and mlp_out.0 are both read otherwise",
        ),
        (
            one(
                q(),
                vec![
                    Term::head(0, 1, Value::Zero),
                    Term::new(Site::AttnOut, Some(0), Value::Zero),
                ],
            ),
            "attn_out.0 and head_out.0[1] are both read otherwise",
        ),
        (
            one(q(), vec![Term::head(0, 7, Value::Zero)]),
            "head_out.0[7]: heads or neurons 7 to 8 of 2",
        ),
        (
            one(q(), vec![Term::new(Site::ResidPre, Some(0), Value::Source)]),
            "resid_pre.0 is no term of the residual stream",
        ),
        (
            one(
                q(),
                vec![Term::new(Site::MlpOut, Some(0), Value::row(vec![0.0; 3]))],
            ),
            &format!("mlp_out.0: 3 values are given for a row of {d}"),
        ),
        (
            one(
                q(),
                vec![Term::new(
                    Site::MlpOut,
                    Some(0),
                    Value::Reading(vec![mlp(0)]),
                )],
            ),
            "mlp_out.0 has a value that is itself a reading",
        ),
        (
            of(Cell::new("mine").with(q(), At::All, Value::Reading(vec![mlp(0)]).added(0.5))),
            "a reading cannot be added",
        ),
        (
            of(Cell::new("mine")
                .with(q(), At::All, Value::Reading(vec![mlp(0)]))
                .with(q(), At::Last, Value::Reading(vec![mlp(0)]))),
            "q.1 reads terms otherwise twice",
        ),
        (
            of(Cell::new("mine")
                .with(whole(Site::Ln1, Some(1)), At::Last, Value::Source)
                .with(q(), At::All, Value::Reading(vec![mlp(0)]))),
            "ln1.1 is changed in the same run, between the residual stream and q.1",
        ),
    ];
    for (found, expected) in cases {
        let error = found.unwrap_err();
        assert!(
            error.contains("cell mine") && error.contains(expected),
            "{error}\nfor {expected}"
        );
    }
    let post_norms = FAMILIES
        .iter()
        .map(|name| family(name))
        .find(|m| m.shape().post_norms);
    let gemma = post_norms.unwrap();
    let cell = Cell::new("mine").with(
        q(),
        At::All,
        Value::Reading(vec![Term::head(0, 0, Value::Zero)]),
    );
    let spec = SweepSpec {
        cells: vec![cell],
        ..spec(Vec::new())
    };
    let pairs = prepared(&gemma, vec![pair("p", 6, &[2], 1)]);
    let error = Plan::new(spec, gemma.shape(), pairs)
        .unwrap_err()
        .to_string();
    assert!(error.contains("normalises their sum"), "{error}");
}
