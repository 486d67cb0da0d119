//! One edit of one fact or of several: what is asked is checked against the model, made, and scored.

use engram_edit::tokens::continued;
use engram_edit::{Case, Delta, EditError, EditSettings, Editor, Method};

use super::editable::{Editable, Kept};
use super::effect::Effect;
use crate::error::{Error, Result};
use crate::observe::Observer;

/// How an edit is made.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    /// The method.
    pub method: Method,
    /// Its settings.
    pub settings: &'a EditSettings,
    /// The layers, edited together.
    pub layers: &'a [usize],
    /// What the method leaves alone.
    pub kept: Kept<'a>,
}

/// An edit that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// What is added to which weights.
    pub delta: Delta,
    /// The mean loss that the optimisations ended with.
    pub loss: f64,
}

/// The facts of these names, in this order; all where none is named.
///
/// # Errors
/// [`Error::Asked`] for a name that no fact has.
pub fn named(cases: Vec<Case>, names: &[String]) -> Result<Vec<Case>> {
    if names.is_empty() {
        return Ok(cases);
    }
    let find = |name: &String| {
        let found = cases.iter().find(|c| c.request.id == *name).cloned();
        let why = "no fact of this name can be edited";
        found.ok_or_else(|| Error::asked(format!("--fact {name}"), why))
    };
    names.iter().map(find).collect()
}

/// Refuses what cannot be edited whatever the model. A subject that the prompt has several times is a notice.
///
/// # Errors
/// [`Error::Edit`], of the first request that cannot be.
pub fn check(cases: &[Case], observer: &mut dyn Observer) -> Result<()> {
    for Case { request, .. } in cases {
        request.check()?;
        if let Some(found) = request.locate().filter(|found| found.choices > 1) {
            let (id, subject, times) = (&request.id, &request.subject, found.choices);
            observer.note(format!(
                "notice: {id}: the prompt has the subject \"{subject}\" {times} times, and the last is taken"
            ));
        }
    }
    Ok(())
}

impl Editable {
    /// Refuses a new answer that the model gives already: that is no edit.
    ///
    /// # Errors
    /// [`EditError::SameAnswer`]; the model's.
    pub fn refuse_present(&self, cases: &[Case]) -> Result<()> {
        let tokenizer = self.reader().model().tokenizer();
        for Case { request, .. } in cases {
            let asked = continued(tokenizer, &request.prompt, &request.target_new)?;
            let found = self.reader().likelihoods(&[asked])?;
            if found.first().is_some_and(|found| found.greedy) {
                return Err(Error::Edit(EditError::SameAnswer {
                    request: request.id.clone(),
                    answer: request.target_new.trim().to_owned(),
                }));
            }
        }
        Ok(())
    }

    /// Edits facts together; the model stays as it is.
    ///
    /// # Errors
    /// The method's, and those of [`Editable::covariances`].
    pub fn edit(
        &self,
        cases: &[Case],
        how: &Making<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Made> {
        let requests: Vec<_> = cases.iter().map(|c| c.request.clone()).collect();
        let found = match Editor::needs_covariance(how.method) {
            true => self.covariances(how.settings, how.kept, how.layers, observer)?,
            false => Vec::new(),
        };
        let mut editor = Editor::new(self.reader(), how.method, how.settings.clone(), found)?;
        editor.preserve(self.keys());
        observer.begins("edit", requests.len() as u64);
        let edited = editor.edit(&requests, how.layers, &mut |done| {
            observer.at(done as u64, "");
        })?;
        let losses: f64 = edited.fits.iter().map(|f| f.loss).sum();
        let loss = losses / edited.fits.len().max(1) as f64;
        observer.ends(&format!("loss {loss:.3}"));
        let delta = editor.delta(edited, &requests, how.layers, self.base(), self.on());
        Ok(Made { delta, loss })
    }

    /// What an edit changes in what the model says, of its own facts and of other things.
    ///
    /// # Errors
    /// As [`Effect::of`].
    pub fn effect(&self, made: &Made, cases: &[Case], layers: &[usize]) -> Result<Effect> {
        let before = self.reader();
        let after = before.of_edited(made.delta.lay_over(before.model())?, layers)?;
        Effect::of(before, &after, cases)
    }
}
