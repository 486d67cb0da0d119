//! Plans how often each fact is stated in which frame.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::WriteSettings;
use crate::error::{CorpusError, Result};
use crate::facts::{FactTable, Relation};

/// A planned statement: a fact (relation and index) in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub relation: usize,
    pub fact: usize,
    pub frame: usize,
}

/// The statements of both corpora, in the order of composition.
pub(super) struct Plan {
    pub train: Vec<Planned>,
    pub validation: Vec<Planned>,
}

/// Plans both corpora in rounds. Each round states every fact once, in a new order.
pub(super) fn plan(table: &FactTable, settings: &WriteSettings) -> Result<Plan> {
    check(table, settings)?;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut facts = Vec::new();
    for (r, relation) in table.relations.iter().enumerate() {
        for fact in 0..relation.facts.len() {
            facts.push((r, fact, wordings(relation, fact, settings.wordings)));
        }
    }
    let mut rounds = |count: usize, frame: &dyn Fn(&Wordings, usize) -> usize| {
        let mut planned = Vec::new();
        for round in 0..count {
            facts.shuffle(&mut rng);
            planned.extend(facts.iter().map(|(relation, fact, wordings)| Planned {
                relation: *relation,
                fact: *fact,
                // Facts start at different frames, so that a round contains all of them.
                frame: frame(wordings, round + fact),
            }));
        }
        planned
    };
    Ok(Plan {
        train: rounds(settings.exposures, &|w, turn| w.train[turn % w.train.len()]),
        validation: rounds(settings.validation_exposures, &|w, _| w.validation),
    })
}

struct Wordings {
    train: Vec<usize>,
    validation: usize,
}

/// The training frames of a fact: those with a cloze and some others, counted on from the frame reserved for
/// validation, which rotates from fact to fact.
fn wordings(relation: &Relation, fact: usize, count: usize) -> Wordings {
    let (cloze, plain) = frames(relation);
    let kept = fact % plain.len();
    let others = (1..plain.len()).map(|step| plain[(kept + step) % plain.len()]);
    Wordings {
        train: cloze.iter().copied().chain(others).take(count).collect(),
        validation: plain[kept],
    }
}

/// Frames with a cloze, and frames without.
fn frames(relation: &Relation) -> (Vec<usize>, Vec<usize>) {
    let cloze = relation.cloze_frames();
    (0..relation.frames.len()).partition(|frame| cloze.contains(frame))
}

pub(super) fn check(table: &FactTable, settings: &WriteSettings) -> Result<()> {
    let wrong = |why: String| Err(CorpusError::Settings { why });
    settings.check()?;
    let [least, most] = settings.facts_per_text;
    if least > most {
        return wrong(format!(
            "facts_per_text is [{least}, {most}]; it must be [least, most]"
        ));
    }
    if settings.exposures < settings.wordings {
        return wrong(format!(
            "{} exposures cannot have {} wordings",
            settings.exposures, settings.wordings
        ));
    }
    for relation in &table.relations {
        let (cloze, plain) = frames(relation);
        let most = relation.frames.len().saturating_sub(1);
        if plain.len() < 2 || settings.wordings <= cloze.len() || settings.wordings > most {
            return wrong(format!(
                "wordings is {}, but relation {:?} has {} frames, {} of them with a cloze: it needs 2 or more without one, and takes {} to {most} wordings",
                settings.wordings,
                relation.name,
                relation.frames.len(),
                cloze.len(),
                cloze.len() + 1,
            ));
        }
    }
    Ok(())
}
