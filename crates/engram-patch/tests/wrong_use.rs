//! Plans that are wrong for a model are errors that name the pair, the site and the value: never a panic, never a number.

mod common;

use common::{PLAIN, model, pair, prepared, sites, spec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engram_core::{Metric, MetricName, Part, Positions, Site};
use engram_patch::{
    Done, Engine, Intervention, LogitMetric, Memory, NaiveEngine, Outcome, OwnMetrics, PatchError,
    Place, Plan, StagedEngine, SweepSpec, Tokens,
};

fn plan() -> (engram_model::LanguageModel, Plan) {
    let model = model(2, 6);
    let spec = SweepSpec {
        positions: Positions::Each,
        ..spec([sites(&model, Site::Z), sites(&model, Site::ResidPre)].concat())
    };
    let pairs = prepared(&model, vec![pair("p", 5, &[2], 1), pair("q", 5, &[3], 2)]);
    let plan = Plan::new(spec, model.shape(), pairs).unwrap();
    (model, plan)
}

/// What both engines say of a plan: the same.
fn refused(model: &engram_model::LanguageModel, plan: &Plan) -> PatchError {
    let staged = StagedEngine::new(model, Memory::beside(&model.shape(), 1 << 30)).unwrap();
    let naive = NaiveEngine::new(model, PLAIN);
    let [a, b] = [&staged as &dyn Engine, &naive].map(|engine| {
        let nothing = Done::nothing(plan);
        let mut given = 0;
        let error = engine.sweep(plan, &nothing, &mut |_| {
            given += 1;
            Ok(())
        });
        assert_eq!(given, 0);
        error.unwrap_err()
    });
    assert_eq!(a.to_string(), b.to_string());
    a
}

#[test]
fn a_plan_of_another_model_is_refused_with_both_named() {
    let (_, plan) = plan();
    let other = model(3, 6);
    let error = refused(&other, &plan);
    assert!(matches!(error, PatchError::OtherModel { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("2 layers") && text.contains("3 layers"),
        "{text}"
    );
}

fn first(plan: &mut Plan) -> &mut Intervention {
    &mut plan.pairs[0].cells[0].interventions[0]
}

#[test]
fn what_a_plan_says_wrongly_is_named_with_the_pair_and_the_site() {
    let (model, sound) = plan();
    let shape = model.shape();
    type Change = fn(&mut Plan);
    let changes: [(Change, &str); 9] = [
        (
            |plan| plan.pairs[1].pair.clean[0] = 9999,
            "pair \"q\": the clean prompt: token id 9999 is outside the vocabulary",
        ),
        (
            |plan| plan.pairs[0].pair.answer[0] = 9999,
            "pair \"p\": the answer: token id 9999",
        ),
        (
            |plan| plan.pairs[0].pair.clean = vec![1; 500],
            "pair \"p\": the clean prompt: 500 tokens do not fit the model's context",
        ),
        (
            |plan| plan.pairs[0].pair.subject = Some(3..9),
            "pair \"p\": the clean prompt: its subject is tokens 3..9 of 5",
        ),
        (
            |plan| first(plan).place = Place::Span(Tokens { start: 4, end: 7 }),
            "pair \"p\", site z.0: positions 4..7 of 5 tokens",
        ),
        (
            |plan| plan.pairs[0].shift = -2,
            "pair \"p\", site z.0: position 0 takes that of -2, of 5 tokens",
        ),
        (
            |plan| first(plan).layer = Some(7),
            "pair \"p\", site z.0: layer 7 of a model of 2",
        ),
        (
            |plan| first(plan).part = Some(Part { start: 1, end: 40 }),
            "pair \"p\", site z.0: heads or neurons 1 to 40 of",
        ),
        (
            |plan| plan.pairs[0].cells[0].same_as = Some(3),
            "pair \"p\", site z.0: it is the same as a later cell",
        ),
    ];
    sound.check().unwrap();
    for (change, expected) in changes {
        let mut plan = sound.clone();
        change(&mut plan);
        let error = refused(&model, &plan).to_string();
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
    // The same where a plan is made.
    let mut pairs = prepared(&model, vec![pair("p", 5, &[2], 1)]);
    pairs[0].foil[0] = 9999;
    let error = Plan::new(sound.spec.clone(), shape, pairs).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the foil: token id 9999"), "{text}");
}

/// A metric that gives a number for so many runs, then NaN.
struct Breaks(AtomicUsize);

impl LogitMetric for Breaks {
    fn name(&self) -> &str {
        "breaks"
    }

    fn measure(&self, outcome: Outcome<'_>) -> f64 {
        match self.0.fetch_sub(1, Ordering::Relaxed) {
            1.. => f64::from(outcome.logits[0]),
            _ => f64::NAN,
        }
    }
}

#[test]
fn a_metric_that_gives_nan_is_named_with_the_pair_the_site_and_the_value() {
    let (model, mut plan) = plan();
    let own = Metric::Own(MetricName::new("breaks").unwrap());
    plan.spec.metrics.push(own);
    let error = refused(&model, &plan).to_string();
    assert!(
        error.starts_with("metric \"own:breaks\" is not supported"),
        "{error}"
    );
    // Both unpatched runs of the first pair are measured, then cells; the naive engine has them all on one batch.
    let of = |runs| {
        let mut own = OwnMetrics::default();
        own.add(Arc::new(Breaks(AtomicUsize::new(runs)))).unwrap();
        own
    };
    let shape = model.shape();
    for (runs, named) in [
        (
            1,
            "pair \"p\": metric own:breaks gives NaN for the corrupted run",
        ),
        (
            5,
            "pair \"p\": metric own:breaks gives NaN for the run patched at z.0",
        ),
    ] {
        let staged = StagedEngine::new(&model, Memory::beside(&shape, 1 << 30)).unwrap();
        let staged = staged.measuring(of(runs));
        let naive = NaiveEngine::new(&model, PLAIN).measuring(of(runs));
        for engine in [&naive as &dyn Engine, &staged] {
            let error = engine.collect(&plan).unwrap_err();
            assert!(matches!(error, PatchError::MetricNotFinite { .. }));
            let text = error.to_string();
            let first = text.starts_with(named);
            // Pairs of one group are measured together.
            assert!(first || runs == 5 && text.contains("patched at"), "{text}");
        }
    }
}
