//! Sweeps of edits: facts edited one by one, or all at once, at each set of layers, with scores and side effects.

use std::time::Instant;

use engram_core::edit::{SAID_TOKENS, TOGETHER};
use engram_core::{Continuation, EditRow, FactChange, LanguageEffect};

use crate::editor::{Editor, Scored};
use crate::effects::{OtherFacts, fluency};
use crate::error::{EditError, Result};
use crate::probe::Probe;
use crate::reader::Reader;

/// Under MEMIT, fluency is measured on the prompts of the first 10 facts.
const SPEAKERS: usize = 10;

/// The side effects to measure, and their values for the unedited model.
#[derive(Debug)]
pub struct Measures {
    held_out: Vec<Vec<u32>>,
    perplexity: f64,
    others: Option<OtherFacts>,
    continuations: usize,
    fluency: Vec<f64>,
    said: Vec<String>,
    probe: Probe,
}

/// The results of a sweep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SweepResults {
    /// A row for each fact and set of layers.
    pub rows: Vec<EditRow>,
    /// Changes of the other facts, if measured.
    pub moved: Vec<FactChange>,
    /// The model's continuations before and after.
    pub said: Vec<Continuation>,
    /// What changed on prompts that no edit is about; perplexity and fluency, if measured.
    pub asides: Vec<LanguageEffect>,
    /// Facts that the method refused, with the reason.
    pub left_out: Vec<String>,
    /// Seconds for the edits and their scores, without the side effects.
    pub seconds: f64,
}

impl Measures {
    /// Side effects to measure: perplexity of the texts `held_out` (none: not measured), changes of the other cases,
    /// and n-gram entropy of `continuations` per prompt (0: not measured).
    ///
    /// # Errors
    /// [`EditError::Model`] if the model cannot be run.
    pub fn of(
        reader: &Reader,
        cases: &[Scored],
        held_out: Vec<Vec<u32>>,
        side_effects: bool,
        continuations: usize,
    ) -> Result<Measures> {
        let mut measures = Measures {
            perplexity: reader.perplexity(&held_out, usize::MAX)?,
            held_out,
            others: match side_effects {
                true => Some(OtherFacts::of(reader, cases.iter().map(|s| &s.case))?),
                false => None,
            },
            continuations,
            fluency: Vec::new(),
            said: Vec::new(),
            probe: Probe::of(reader)?,
        };
        for case in cases {
            let prompt = case.case.request.prompt.as_str();
            measures
                .said
                .push(reader.continuation(prompt, SAID_TOKENS)?);
            if continuations > 0 {
                let of_prompt = fluency(reader.model(), &[prompt], continuations, 0)?;
                measures.fluency.push(of_prompt);
            }
        }
        Ok(measures)
    }

    /// Measures an edit of the cases from `first` on.
    fn take(
        &self,
        edited: &Reader,
        first: usize,
        cases: &[Scored],
        layers: &[usize],
        swept: &mut SweepResults,
    ) -> Result<()> {
        let (request, kind) = match cases {
            [one] => (one.case.request.id.as_str(), one.case.request.kind.clone()),
            _ => (TOGETHER, None),
        };
        let mut aside = LanguageEffect {
            request: request.to_owned(),
            kind,
            layers: layers.to_vec(),
            probe: Some(self.probe.changed(edited)?),
            ..LanguageEffect::default()
        };
        if !self.held_out.is_empty() {
            let after = edited.perplexity(&self.held_out, usize::MAX)?;
            aside.perplexity = Some([self.perplexity, after]);
        }
        if let Some(others) = &self.others {
            swept.moved.extend(others.moved(edited, request, layers)?);
        }
        let speakers = &cases[..cases.len().min(SPEAKERS)];
        let mut sums = [0.0; 2];
        for (place, case) in (first..).zip(speakers) {
            let request = &case.case.request;
            swept.said.push(Continuation {
                request: request.id.clone(),
                kind: request.kind.clone(),
                layers: layers.to_vec(),
                prompt: request.prompt.clone(),
                target_true: request.target_true.clone(),
                target_new: request.target_new.clone(),
                before: self.said[place].clone(),
                after: edited.continuation(&request.prompt, SAID_TOKENS)?,
            });
            if let Some(before) = self.fluency.get(place) {
                let after = fluency(edited.model(), &[&request.prompt], self.continuations, 0)?;
                sums = [sums[0] + before, sums[1] + after];
            }
        }
        if !self.fluency.is_empty() {
            aside.fluency = Some(sums.map(|sum| sum / speakers.len() as f64));
        }
        swept.asides.push(aside);
        Ok(())
    }
}

/// Edits every case at every set of layers, each from the unedited model; MEMIT edits all cases at once. `progress`
/// gets the number of edits done and the fact.
///
/// # Errors
/// As [`Editor::edit`].
pub fn sweep(
    editor: &Editor<'_>,
    cases: &[Scored],
    sets: &[Vec<usize>],
    measures: &Measures,
    progress: &mut dyn FnMut(usize, &str),
) -> Result<SweepResults> {
    let mut swept = SweepResults::default();
    if cases.is_empty() {
        return Ok(swept);
    }
    for layers in sets {
        if editor.is_together() {
            let (start, before) = (Instant::now(), swept.rows.len());
            let mut left_out = Vec::new();
            let refused = &mut |error: EditError| left_out.push(error.to_string());
            let hear = &mut |done| progress(before + done, "");
            let (rows, edited) = editor.score_together(cases, layers, refused, hear)?;
            swept.left_out.extend(left_out);
            swept.rows.extend(rows);
            swept.seconds += start.elapsed().as_secs_f64();
            measures.take(&edited, 0, cases, layers, &mut swept)?;
            continue;
        }
        for (place, case) in cases.iter().enumerate() {
            let start = Instant::now();
            let (row, edited) = match editor.score_one(case, layers) {
                Err(error) if error.is_of_request() => {
                    swept.left_out.push(error.named(&case.case.request.id));
                    continue;
                }
                made => made?,
            };
            swept.rows.push(row);
            swept.seconds += start.elapsed().as_secs_f64();
            let one = std::slice::from_ref(case);
            measures.take(&edited, place, one, layers, &mut swept)?;
            progress(swept.rows.len(), &case.case.request.id);
        }
    }
    Ok(swept)
}
