//! Fact tables: relations, the sentences that state them, and the facts.
//!
//! A table is TOML, a list of `[[relation]]`; or a spreadsheet or CSV, a row a fact (`docs/facts.md`). Everything is
//! checked when a table is read, and all faults are reported together, so that what is built from one never meets a
//! broken sentence.

mod check;
mod raw;
mod sheet;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engram_core::{Faults, files};
use serde::{Deserialize, Serialize};

pub use template::{Rendered, Template};

#[cfg(doc)]
use crate::error::CorpusError;
use crate::error::Result;

/// A subject and what a relation says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The relation's name.
    pub relation: String,
    /// What the fact is about, with its article where English needs one.
    pub subject: String,
    /// What is said of it.
    pub answer: String,
    /// Whether the subject takes a plural verb.
    pub plural: bool,
    /// Other true answers: they may never serve as this fact's foil.
    pub also: Vec<String>,
    /// Where the fact is from.
    pub source: String,
}

/// A relation: the sentences that state it and the facts that are of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Unique name in snake_case.
    pub name: String,
    /// Any word; findings compare kinds.
    pub kind: String,
    /// The question to which the answer is the answer.
    pub question: Template,
    /// Statements for training and validation.
    pub frames: Vec<Template>,
    /// Statements that no training or validation text has; the answer comes last.
    pub held_back: Vec<Template>,
    /// Prompts that stop just before the answer: those of `frames` first, each in the table's order.
    pub clozes: Vec<Cloze>,
    /// The facts.
    pub facts: Vec<Fact>,
}

/// A prompt that stops just before the answer: filled in, followed by a space and the answer, it is
/// the beginning of the statement that it is cut from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloze {
    /// The statement it is cut from: `causal_gene/2` is the second frame of that relation,
    /// `causal_gene/held_back/1` the first one held back.
    pub template: String,
    /// The prompt.
    pub text: Template,
    /// Whether the statement is held back from training and validation.
    pub held_back: bool,
    /// Index of the statement in `frames`, or in `held_back`.
    pub frame: usize,
}

/// A table of facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactTable {
    /// The relations, in the order of the file.
    pub relations: Vec<Relation>,
}

/// How much of a kind a table has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// Relations of the kind.
    pub relations: usize,
    /// Facts of the kind.
    pub facts: usize,
}

/// What a table has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Relations and facts, by kind.
    pub kinds: BTreeMap<String, KindCount>,
    /// Different subjects.
    pub subjects: usize,
    /// Subjects with a fact of every kind that the table has; 0 where it has one kind only.
    pub subjects_with_every_kind: usize,
}

impl Fact {
    /// The fact's name, the same as long as relation and subject are: `causal_gene/dravet-syndrome`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.relation, slug(&self.subject))
    }
}

impl Relation {
    /// The prompts cut from trained frames, or those cut from statements held back.
    pub fn clozes(&self, held_back: bool) -> Vec<&Cloze> {
        self.clozes
            .iter()
            .filter(|c| c.held_back == held_back)
            .collect()
    }

    /// Indices of the frames that have a cloze.
    pub fn cloze_frames(&self) -> BTreeSet<usize> {
        self.clozes(false).iter().map(|c| c.frame).collect()
    }
}

impl FactTable {
    /// Reads a table from a file: a spreadsheet (.xlsx), CSV where the name ends in .csv or .tsv, TOML otherwise.
    ///
    /// # Errors
    /// The file cannot be read ([`CorpusError::Core`], [`CorpusError::Sheet`]), or [`CorpusError::Facts`].
    pub fn read(path: &Path) -> Result<FactTable> {
        let name = path.display().to_string();
        if let Some(sheet) = crate::sheet::open(path)? {
            let mut faults = Faults::new(name);
            let raw = sheet::read(&sheet, &mut faults);
            return check::resolve(&raw, faults);
        }
        FactTable::parse(&files::read_text(path)?, &name)
    }

    /// Reads a table from TOML; `name` is what errors call it.
    ///
    /// # Errors
    /// [`CorpusError::Facts`] with everything that is wrong: unknown and missing fields, values of another type, and every
    /// rule broken. Where the text is no TOML, only that is told.
    pub fn parse(text: &str, name: &str) -> Result<FactTable> {
        let mut faults = Faults::new(name);
        let raw = raw::read(text.strip_prefix('\u{feff}').unwrap_or(text), &mut faults);
        check::resolve(&raw, faults)
    }

    /// All facts with their relations, in the order of the file.
    pub fn facts(&self) -> impl Iterator<Item = (&Relation, &Fact)> {
        self.relations
            .iter()
            .flat_map(|r| r.facts.iter().map(move |f| (r, f)))
    }

    /// The relation of a name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|r| r.name == name)
    }

    /// Counts by kind, and the subjects that have a fact of each.
    pub fn summary(&self) -> Summary {
        let mut kinds: BTreeMap<String, KindCount> = BTreeMap::new();
        let mut of_subject: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for relation in &self.relations {
            let count = kinds.entry(relation.kind.clone()).or_default();
            count.relations += 1;
            count.facts += relation.facts.len();
            for fact in &relation.facts {
                of_subject
                    .entry(slug(&fact.subject))
                    .or_default()
                    .insert(&relation.kind);
            }
        }
        let every = of_subject
            .values()
            .filter(|k| kinds.len() > 1 && k.len() == kinds.len())
            .count();
        Summary {
            subjects: of_subject.len(),
            subjects_with_every_kind: every,
            kinds,
        }
    }
}

/// Letters and digits in lower case, everything between them one hyphen.
fn slug(text: &str) -> String {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
