//! What computed a result, for the keys of stages and journals: a result is made again where the code that made it changed.

/// The code of some crates.
pub(crate) type Code = Vec<(&'static str, &'static str)>;

const CORE: (&str, &str) = ("core", engram_core::SOURCE);
const CORPUS: (&str, &str) = ("corpus", engram_corpus::SOURCE);
const EDIT: (&str, &str) = ("edit", engram_edit::SOURCE);
const MODEL: (&str, &str) = ("model", engram_model::SOURCE);
const PATCH: (&str, &str) = ("patch", engram_patch::SOURCE);
const TRAIN: (&str, &str) = ("train", engram_train::SOURCE);

/// What computes training texts.
pub(crate) fn of_texts() -> Code {
    vec![CORE, CORPUS, MODEL]
}

/// What computes pairs.
pub(crate) fn of_pairs() -> Code {
    vec![CORE, CORPUS, MODEL, PATCH]
}

/// What computes weights.
pub(crate) fn of_training() -> Code {
    vec![MODEL, TRAIN]
}

/// What computes a sweep.
pub(crate) fn of_sweep() -> Code {
    vec![CORE, MODEL, PATCH]
}

/// What computes edits.
pub(crate) fn of_edits() -> Code {
    vec![CORE, MODEL, PATCH, EDIT]
}
