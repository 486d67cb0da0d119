//! Plans: what they refuse before any work, and the order of their cells.

mod common;

use common::{model, pair, prepared, sites, spec};
use engram_core::{Align, Corruption, NamedSite, Positions, Site};
use engram_patch::{Place, Plan, SweepSpec, Tokens};

#[test]
fn plans_refuse_what_cannot_be_done_before_any_work() {
    let model = model(2, 1);
    let pairs = prepared(&model, vec![pair("p", 6, &[2], 1)]);
    let good = || spec(sites(&model, Site::ResidPre));
    let refused = |spec: SweepSpec| {
        Plan::new(spec, model.shape(), pairs.clone())
            .unwrap_err()
            .to_string()
    };
    let gaussian = SweepSpec {
        corruption: Corruption::Gaussian(3.0),
        ..good()
    };
    assert_eq!(
        refused(gaussian),
        "pair \"p\": gaussian noise falls on the subject, and the pair names none"
    );
    let zero = SweepSpec {
        corruption: Corruption::Zero,
        ..good()
    };
    assert_eq!(
        refused(zero),
        "corruption zero does not go with direction denoise: a constant restores nothing; direction noise measures what it destroys"
    );
    let resample = SweepSpec {
        corruption: Corruption::Resample,
        ..good()
    };
    assert_eq!(
        refused(resample),
        "pair \"p\": no other clean prompt of the suite has 6 tokens to resample from"
    );
    let last = SweepSpec {
        align: Align::Last,
        ..spec(sites(&model, Site::Pattern))
    };
    assert_eq!(
        refused(last),
        "alignment last does not go with site pattern.0: a pattern's keys are positions of one prompt"
    );
    let wide = SweepSpec {
        window: 3,
        ..spec(sites(&model, Site::Logits))
    };
    assert_eq!(
        refused(wide),
        "window 3 does not go with site logits: the site stands once in the model"
    );
    let head = model.sites().resolve("z.1[2]").unwrap();
    assert_eq!(
        refused(spec(head)),
        "site \"z.1\": it has 2 heads or neurons, 0 to 1"
    );
    let subject = SweepSpec {
        positions: Positions::Subject,
        ..good()
    };
    assert_eq!(
        refused(subject),
        "pair \"p\": no subject is given for the corrupted prompt; give it as corrupt_subject"
    );
    let beyond = SweepSpec {
        sites: vec![NamedSite::canonical(Site::Q, Some(2))],
        ..good()
    };
    assert_eq!(refused(beyond), "site \"q.2\": the model has 2 layers");
    assert!(
        refused(SweepSpec {
            sites: Vec::new(),
            ..good()
        })
        .contains("no site")
    );
    assert!(
        refused(SweepSpec {
            metrics: Vec::new(),
            ..good()
        })
        .contains("no metric")
    );
}

#[test]
fn cells_stand_in_the_order_asked_and_positions_ascend() {
    let model = model(2, 1);
    let mut pairs = prepared(&model, vec![pair("p", 4, &[2], 1)]);
    let asked = [sites(&model, Site::MlpOut), sites(&model, Site::Embed)].concat();
    let plan = Plan::new(
        SweepSpec {
            positions: Positions::Each,
            ..spec(asked.clone())
        },
        model.shape(),
        pairs.clone(),
    )
    .unwrap();
    let found: Vec<(&str, Option<usize>)> = plan.pairs[0]
        .cells
        .iter()
        .map(|c| (c.at.name.as_str(), c.place.position()))
        .collect();
    assert_eq!(
        found[3..6],
        [
            ("mlp_out.0", Some(3)),
            ("mlp_out.1", Some(0)),
            ("mlp_out.1", Some(1))
        ]
    );
    assert_eq!((plan.cells(), found[11]), (12, ("embed", Some(3))));
    pairs[0].corrupt_subject = Some(1..3);
    let plan = Plan::new(
        SweepSpec {
            positions: Positions::Subject,
            ..spec(asked)
        },
        model.shape(),
        pairs,
    )
    .unwrap();
    let cell = &plan.pairs[0].cells[0];
    assert_eq!(cell.place, Place::Span(Tokens { start: 1, end: 3 }));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(
        serde_json::from_str::<Plan>(&json).unwrap().pairs,
        plan.pairs,
        "a plan can be saved"
    );
}
