//! Edits one model repeatedly, sharing prefixes, covariances and their factors.

use std::collections::BTreeMap;
use std::sync::Arc;

use engram_core::{EditRow, Fit, Neighbour, Score};
use engram_model::LanguageModel;

use crate::cholesky::Cholesky;
use crate::covariance::Covariance;
use crate::delta::{Delta, Keys, Meta, WeightChange, down_projection};
use crate::error::{EditError, Result};
use crate::finetune::fine_tune;
use crate::least_squares::Preserved;
use crate::memit::{Target, spread};
use crate::nullspace::NullSpace;
use crate::optimise::{Optimised, Optimiser, Rewriting};
use crate::reader::Reader;
use crate::request::{Case, EditRequest, FactsAsked, check_together};
use crate::rome::{r_rome, refuse_outlier, rome};
use crate::score::Questions;
use crate::settings::{EditSettings, Method};
use crate::tokens::subject_last;

/// Edits a model, each time starting from the state that its reader has.
pub struct Editor<'a> {
    reader: &'a Reader,
    method: Method,
    settings: EditSettings,
    shared: Arc<Shared>,
    /// Projected keys of earlier edits, by layer.
    earlier: Keys,
    optimiser: Option<Optimiser>,
}

/// What edits of a model and of its edited successors have in common.
struct Shared {
    prefixes: Vec<String>,
    /// Of the covariance of each layer's keys.
    factors: BTreeMap<usize, Cholesky>,
    /// The null space of each layer's keys, for AlphaEdit.
    spaces: BTreeMap<usize, NullSpace>,
}

/// An edit and its results.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The changes of weights.
    pub changes: Vec<WeightChange>,
    /// Results of the optimisations.
    pub fits: Vec<Fit>,
}

impl<'a> Editor<'a> {
    /// An editor. `covariances` are those of the layers to be edited; fine-tuning needs none.
    ///
    /// # Errors
    /// [`EditError::Model`] if the model cannot be run; [`EditError::Singular`] for a covariance without an inverse;
    /// [`EditError::NoNullSpace`] for one without a null space (AlphaEdit).
    pub fn new(
        reader: &'a Reader,
        method: Method,
        settings: EditSettings,
        covariances: Vec<Covariance>,
    ) -> Result<Editor<'a>> {
        let factored = covariances.iter().map(|covariance| {
            let factor = covariance.factor(settings.ridge)?;
            Ok((covariance.layer, factor))
        });
        let factors: BTreeMap<usize, Cholesky> = factored.collect::<Result<_>>()?;
        let spaces = match method {
            Method::AlphaEdit => (covariances.iter())
                .map(|c| Ok((c.layer, NullSpace::of(c, settings.energy)?)))
                .collect::<Result<_>>()?,
            _ => BTreeMap::new(),
        };
        let prefixes = match Editor::needs_covariance(method) {
            true => crate::prefixes(reader.model(), &settings.prefixes())?,
            false => Vec::new(),
        };
        let first = factors.keys().next();
        let optimiser = first.map(|first| Optimiser::new(reader, *first));
        Ok(Editor {
            reader,
            method,
            settings,
            shared: Arc::new(Shared {
                prefixes,
                factors,
                spaces,
            }),
            earlier: Keys::new(),
            optimiser,
        })
    }

    /// The editor of a model that this one's edits gave: with the same prefixes and covariances.
    pub fn on<'b>(&self, reader: &'b Reader) -> Editor<'b> {
        let first = self.shared.factors.keys().next();
        Editor {
            reader,
            method: self.method,
            settings: self.settings.clone(),
            shared: self.shared.clone(),
            earlier: self.earlier.clone(),
            optimiser: first.map(|first| Optimiser::new(reader, *first)),
        }
    }

    /// Adds keys of earlier edits, which AlphaEdit preserves; other methods ignore them.
    pub fn preserve(&mut self, keys: &Keys) {
        for (layer, keys) in keys {
            if let Some(space) = self.shared.spaces.get(layer) {
                let of_layer = self.earlier.entry(*layer).or_default();
                of_layer.extend(space.project_all(keys));
            }
        }
    }

    /// The model that is edited.
    pub fn model(&self) -> &'a LanguageModel {
        self.reader.model()
    }

    /// Whether the method edits all facts at once, over all given layers.
    pub fn is_together(&self) -> bool {
        Editor::edits_together(self.method)
    }

    /// Whether a method edits many facts at once, over all given layers (MEMIT, AlphaEdit).
    pub fn edits_together(method: Method) -> bool {
        matches!(method, Method::Memit | Method::AlphaEdit)
    }

    /// Checks that a method is defined for a model, whatever the fact.
    ///
    /// # Errors
    /// [`EditError::Unsupported`] if it is not.
    pub fn check(model: &LanguageModel, method: Method) -> Result<()> {
        if Editor::edits_together(method) && model.architecture().post_norms {
            return Err(EditError::Unsupported {
                what: "MEMIT and AlphaEdit",
                family: model.family().to_owned(),
                why: "what an MLP adds is normalised, and no linear image of its weight; use ROME",
            });
        }
        for layer in 0..model.architecture().layers() {
            down_projection(model, layer)?;
        }
        Ok(())
    }

    /// Whether a method needs covariances.
    pub fn needs_covariance(method: Method) -> bool {
        Editor::is_rank_one(method) || Editor::edits_together(method)
    }

    /// Whether a method changes one layer for one fact, by a matrix of rank one (R-ROME, ROME).
    pub fn is_rank_one(method: Method) -> bool {
        matches!(method, Method::RRome | Method::Rome)
    }

    /// One edit of one or more facts. ROME takes one fact and one layer, fine-tuning takes one fact. `progress` gets
    /// the number of facts done.
    ///
    /// # Errors
    /// Those of the method; [`EditError::Request`] for more facts or layers than the method takes.
    pub fn edit(
        &self,
        requests: &[EditRequest],
        layers: &[usize],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Edited> {
        let wrong = |why: &str| EditError::Request {
            request: requests
                .first()
                .map_or("the edit".to_owned(), |r| r.id.clone()),
            why: why.to_owned(),
        };
        match (self.method, requests, layers) {
            (Method::RRome | Method::Rome, [request], [layer]) => {
                let known = self.optimiser.as_ref().zip(self.shared.factors.get(layer));
                let (optimiser, factor) =
                    known.ok_or_else(|| wrong("its layer's covariance is missing"))?;
                let settings = self.settings.optimisation();
                let (model, prefixes) = ((self.model(), optimiser), &self.shared.prefixes[..]);
                let found = match self.method {
                    Method::Rome => rome(model, request, *layer, factor, prefixes, &settings)?,
                    _ => {
                        let bounded = (&settings, self.settings.norm);
                        r_rome(model, request, *layer, factor, prefixes, bounded)?
                    }
                };
                Ok(Edited {
                    changes: vec![found.change],
                    fits: vec![found.found.fit()],
                })
            }
            (Method::RRome | Method::Rome, _, _) => Err(wrong("ROME edits one fact at one layer")),
            (Method::FtL | Method::Lora, [request], _) => {
                let settings = self.settings.fine_tuning(self.method);
                let (changes, fit) = fine_tune(self.model(), request, layers, &settings)?;
                Ok(Edited {
                    changes,
                    fits: vec![fit],
                })
            }
            (Method::FtL | Method::Lora, _, _) => Err(wrong("fine-tuning takes one fact")),
            (Method::Memit | Method::AlphaEdit, _, _) => self.together(requests, layers, progress),
        }
    }

    /// One edit of the requests that the method accepts, at once or one by one as it takes them; one by one, later requests
    /// do not see the earlier edits. Returns their places. `refused` gets the others.
    ///
    /// # Errors
    /// As [`Editor::edit`], but for errors of single requests.
    pub fn edit_accepted(
        &self,
        requests: &[EditRequest],
        layers: &[usize],
        refused: &mut dyn FnMut(&EditRequest, EditError),
    ) -> Result<(Vec<usize>, Edited)> {
        let mut all = Edited {
            changes: Vec::new(),
            fits: Vec::new(),
        };
        if self.is_together() {
            let hear = &mut |place: usize, error: EditError| {
                refused(&requests[place], error);
                Ok(())
            };
            let (places, facts, fits) = self.targets(requests, layers, hear, &mut |_| {})?;
            if !facts.is_empty() {
                all = self.spread(&facts, fits, layers)?;
            }
            return Ok((places, all));
        }
        let mut places = Vec::new();
        for (place, request) in requests.iter().enumerate() {
            match self.edit(std::slice::from_ref(request), layers, &mut |_| {}) {
                Ok(edited) => {
                    places.push(place);
                    all.changes.extend(edited.changes);
                    all.fits.extend(edited.fits);
                }
                Err(error) if error.is_of_request() => refused(request, error),
                Err(error) => return Err(error),
            }
        }
        Ok((places, all))
    }

    /// All requests at once; the first that is refused is the error.
    fn together(
        &self,
        requests: &[EditRequest],
        layers: &[usize],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Edited> {
        check_together(requests)?;
        let refused = &mut |_: usize, error: EditError| Err(error);
        let (_, facts, fits) = self.targets(requests, layers, refused, progress)?;
        self.spread(&facts, fits, layers)
    }

    /// The targets z of the requests, the requests' places and the results of the optimisations. `refused` gets place and
    /// error of each request that cannot be edited.
    fn targets(
        &self,
        requests: &[EditRequest],
        layers: &[usize],
        refused: &mut dyn FnMut(usize, EditError) -> Result<()>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(Vec<usize>, Vec<Target>, Vec<Fit>)> {
        let last = layers.iter().copied().max().unwrap_or(0);
        let settings = self.settings.optimisation();
        let known = self.optimiser.as_ref().zip(self.shared.factors.get(&last));
        let (optimiser, factor) = known.ok_or_else(without_covariance)?;
        let one = |request: &EditRequest| -> Result<(Target, Fit)> {
            let rewriting = Rewriting::of(self.model(), request, &self.shared.prefixes)?;
            let accept =
                |found: &Optimised| refuse_outlier(request, &rewriting, last, found, factor);
            let (wanted, found) = Target::of(optimiser, &rewriting, last, &settings, accept)?;
            Ok((wanted, found.fit()))
        };
        let (mut places, mut facts, mut fits) = (Vec::new(), Vec::new(), Vec::new());
        for (place, request) in requests.iter().enumerate() {
            match one(request) {
                Ok((wanted, fit)) => {
                    places.push(place);
                    facts.push(wanted);
                    fits.push(fit);
                }
                Err(error) if error.is_of_request() => refused(place, error)?,
                Err(error) => return Err(error),
            }
            progress(place + 1);
        }
        Ok((places, facts, fits))
    }

    /// The changes of the layers.
    fn spread(&self, facts: &[Target], fits: Vec<Fit>, layers: &[usize]) -> Result<Edited> {
        let own = |layer: usize| self.earlier.get(&layer).map_or(&[][..], Vec::as_slice);
        let kept = self.shared.factors.iter().map(|(layer, factor)| {
            let kept = match self.shared.spaces.get(layer) {
                Some(space) => Preserved::NullSpace(space, own(*layer)),
                None => Preserved::Covariance(factor),
            };
            (*layer, kept)
        });
        let kept: Vec<(usize, Preserved<'_>)> =
            kept.filter(|(layer, _)| layers.contains(layer)).collect();
        let lambda = self.settings.lambda();
        let changes = spread(self.model(), facts, &kept, lambda, &mut |_| {})?;
        Ok(Edited { changes, fits })
    }

    /// The edit as a file; `base` and `on` as in [`Meta`].
    pub fn delta(
        &self,
        edited: Edited,
        requests: &[EditRequest],
        layers: &[usize],
        base: &str,
        on: &[String],
    ) -> Delta {
        let checkpoint = self.model().folder().file_name();
        Delta {
            meta: Meta {
                base: base.to_owned(),
                checkpoint: checkpoint
                    .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
                on: on.to_vec(),
                method: self.method,
                layers: layers.to_vec(),
                requests: requests.to_vec(),
                settings: serde_json::to_value(&self.settings).unwrap_or_default(),
                fits: edited.fits,
            },
            changes: edited.changes,
        }
    }

    /// Edits one case at some layers and scores it. Returns the row and the edited model.
    ///
    /// # Errors
    /// As [`Editor::edit`].
    pub fn score_one(&self, scored: &Scored, layers: &[usize]) -> Result<(EditRow, Reader)> {
        let requests = std::slice::from_ref(&scored.case.request);
        let edited = self.edit(requests, layers, &mut |_| {})?;
        let reader = self.read_edited(edited.changes, layers)?;
        let fit = edited.fits.into_iter().next().unwrap_or_default();
        Ok((self.row(scored, layers, &reader, fit)?, reader))
    }

    /// Edits all cases at once and scores each. Cases that the method refuses, and all but the first of several of one
    /// fact, are left out: `refused` gets their errors.
    ///
    /// # Errors
    /// As [`Editor::edit`], but for errors of single requests.
    pub fn score_together(
        &self,
        all: &[Scored],
        layers: &[usize],
        refused: &mut dyn FnMut(EditError),
        progress: &mut dyn FnMut(usize),
    ) -> Result<(Vec<EditRow>, Reader)> {
        let mut seen = FactsAsked::default();
        let mut kept: Vec<&Scored> = Vec::with_capacity(all.len());
        for scored in all {
            match seen.add(&scored.case.request) {
                Ok(()) => kept.push(scored),
                Err(error) => refused(error),
            }
        }
        let requests: Vec<EditRequest> = kept.iter().map(|s| s.case.request.clone()).collect();
        let hear = &mut |_: usize, error: EditError| {
            refused(error);
            Ok(())
        };
        let (places, facts, fits) = self.targets(&requests, layers, hear, progress)?;
        let edited = self.spread(&facts, fits, layers)?;
        let reader = self.read_edited(edited.changes, layers)?;
        let rows = places.into_iter().zip(edited.fits);
        let rows = rows.map(|(place, fit)| self.row(kept[place], layers, &reader, fit));
        Ok((rows.collect::<Result<_>>()?, reader))
    }

    /// A reader of the model with changes of some layers.
    ///
    /// # Errors
    /// [`EditError::Model`] for a layer that the model does not have.
    pub fn read_edited(&self, changes: Vec<WeightChange>, layers: &[usize]) -> Result<Reader> {
        (self.reader).of_edited(lay_over(self.model(), changes)?, layers)
    }

    fn row(&self, scored: &Scored, layers: &[usize], edited: &Reader, fit: Fit) -> Result<EditRow> {
        let request = &scored.case.request;
        Ok(EditRow {
            request: request.id.clone(),
            kind: request.kind.clone(),
            relation: request.relation.clone(),
            method: self.method,
            layers: layers.to_vec(),
            position: scored.position,
            says: Some(scored.says),
            prefers: None,
            before: scored.before,
            after: scored.asked.score(edited)?,
            fit,
        })
    }
}

/// A case with its questions and the unedited model's scores, which serve as the baseline for every layer.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The case.
    pub case: Case,
    /// Index of the subject's last token in the prompt without prefix.
    position: i64,
    /// Whether the unedited model says the true answer.
    says: bool,
    asked: Questions,
    before: Score,
}

impl Scored {
    /// The unedited model's scores.
    pub fn before(&self) -> Score {
        self.before
    }

    /// The scores of an edited model.
    ///
    /// # Errors
    /// [`EditError::Model`] if the model cannot be run.
    pub fn score(&self, edited: &Reader) -> Result<Score> {
        self.asked.score(edited)
    }

    /// Replaces the neighbours, and scores the unedited model again.
    ///
    /// # Errors
    /// [`EditError::Model`] if the model cannot be run.
    pub fn with_neighbours(mut self, reader: &Reader, kept: Vec<Neighbour>) -> Result<Scored> {
        if self.case.neighbours != kept {
            self.case.neighbours = kept;
            let asked = Questions::of(reader.model().tokenizer(), &self.case)?;
            if let Some(mut asked) = asked {
                self.before = asked.score_unedited(reader)?;
                self.asked = asked;
            }
        }
        Ok(self)
    }

    /// Tokenises a case's questions and scores the unedited model.
    ///
    /// # Errors
    /// [`EditError::Model`] if the model cannot be run.
    pub fn of(reader: &Reader, case: Case, mut asked: Questions, says: bool) -> Result<Scored> {
        let before = asked.score_unedited(reader)?;
        let position = subject_last(reader.model().tokenizer(), &case.request, "")? as i64;
        Ok(Scored {
            case,
            position,
            says,
            asked,
            before,
        })
    }
}

fn without_covariance() -> EditError {
    EditError::Request {
        request: "the edit".to_owned(),
        why: "its covariances are missing".to_owned(),
    }
}

/// A model with changed weights.
pub(crate) fn lay_over(model: &LanguageModel, changes: Vec<WeightChange>) -> Result<LanguageModel> {
    let meta = Meta::default();
    Delta { meta, changes }.lay_over(model)
}
