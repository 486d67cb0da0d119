//! Fact tables: relations, the sentences that state them, and the facts.
//!
//! A table is TOML with a list of `[[relation]]`, or a spreadsheet or CSV with a row for each fact (`docs/facts.md`). A
//! table is checked completely when it is read, and all faults are reported together.

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

/// A fact: a subject, and the answer of a relation for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The relation's name.
    pub relation: String,
    /// The subject, with its article if English needs one.
    pub subject: String,
    /// The answer.
    pub answer: String,
    /// Whether the subject takes a plural verb.
    pub plural: bool,
    /// Other true answers: they are never used as the foil of this fact.
    pub also: Vec<String>,
    /// The source of the fact.
    pub source: String,
}

/// A relation: the sentences that state it, and its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Unique name in snake_case.
    pub name: String,
    /// Any word; findings compare kinds.
    pub kind: String,
    /// The question that the answer answers.
    pub question: Template,
    /// Statements for training and validation.
    pub frames: Vec<Template>,
    /// Held-out statements, in no training or validation text; the answer comes last.
    pub held_back: Vec<Template>,
    /// Prompts that end just before the answer: first those of `frames`, then of `held_back`, each in the table's
    /// order.
    pub clozes: Vec<Cloze>,
    /// The facts.
    pub facts: Vec<Fact>,
}

/// A prompt that ends just before the answer: the beginning of a statement. Prompt, space and answer together are the
/// beginning of that statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloze {
    /// The statement that it begins: `causal_gene/2` is the second frame of that relation, `causal_gene/held_back/1`
    /// the first held-out one.
    pub template: String,
    /// The prompt.
    pub text: Template,
    /// Whether the statement is held out from training and validation.
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

/// Number of relations and facts of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactCount {
    /// Relations of the kind.
    pub relations: usize,
    /// Facts of the kind.
    pub facts: usize,
}

/// Counts of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Relations and facts, by kind.
    pub kinds: BTreeMap<String, FactCount>,
    /// Number of distinct subjects.
    pub subjects: usize,
    /// Number of subjects with a fact of every kind in the table; 0 if the table has one kind only.
    pub subjects_with_every_kind: usize,
}

impl Fact {
    /// The fact's id, which depends only on relation and subject: `causal_gene/dravet-syndrome`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.relation, slug(&self.subject))
    }
}

impl Relation {
    /// The clozes of trained frames, or those of held-out statements.
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
    /// Reads a table: a spreadsheet (.xlsx), CSV if the name ends in .csv or .tsv, otherwise TOML.
    ///
    /// # Errors
    /// [`CorpusError::Core`] or [`CorpusError::Sheet`] if the file cannot be read; [`CorpusError::Facts`] with all
    /// faults.
    pub fn read(path: &Path) -> Result<FactTable> {
        let name = path.display().to_string();
        if let Some(sheet) = crate::sheet::open(path)? {
            let mut faults = Faults::new(name);
            let raw = sheet::read(&sheet, &mut faults);
            return check::resolve(&raw, faults);
        }
        FactTable::parse(&files::read_text(path)?, &name)
    }

    /// Reads a table from TOML; `name` is used in errors.
    ///
    /// # Errors
    /// [`CorpusError::Facts`] with all faults: unknown and missing fields, values of a wrong type, and every broken
    /// rule. If the text is not TOML, only that is reported.
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

    /// The relation with this name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|r| r.name == name)
    }

    /// Counts by kind, and the subjects that have a fact of each.
    pub fn summary(&self) -> Summary {
        let mut kinds: BTreeMap<String, FactCount> = BTreeMap::new();
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

/// Letters and digits in lower case, everything between them replaced by one hyphen.
fn slug(text: &str) -> String {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
