//! Writes abstract-like texts that teach every fact of a table equally often.

mod compose;
mod plan;
mod stock;

use std::collections::BTreeMap;
use std::path::Path;

use engram_core::{Range, files};
use serde::{Deserialize, Serialize};

use crate::Tokenize;
use crate::abstracts::Abstract;
use crate::error::Result;
use crate::facts::FactTable;
use compose::Composer;

/// Settings of the texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriteSettings {
    /// Number of statements of each fact in the training texts.
    pub exposures: usize,
    /// Number of different frames per fact in training; all frames with a cloze are among them.
    pub wordings: usize,
    /// Number of statements of each fact in the validation texts.
    pub validation_exposures: usize,
    /// Minimum and maximum number of facts in a text.
    pub facts_per_text: [usize; 2],
    /// Maximum number of tokens of a text, title included.
    pub max_tokens: usize,
    /// Random seed.
    pub seed: u64,
}

impl Default for WriteSettings {
    fn default() -> Self {
        WriteSettings {
            exposures: 20,
            wordings: 5,
            validation_exposures: 1,
            facts_per_text: [6, 10],
            max_tokens: 256,
            seed: 42,
        }
    }
}

impl WriteSettings {
    /// Allowed values (those of `facts_per_text` apply to each number); any seed is allowed.
    pub const RANGES: [(&'static str, Range); 5] = [
        // Far more than a model needs to learn a fact, and small enough for memory.
        ("exposures", Range::whole(1, 10_000)),
        ("wordings", Range::whole(1, 1000)),
        ("validation_exposures", Range::whole(1, 10_000)),
        ("facts_per_text", Range::whole(1, 1000)),
        ("max_tokens", Range::whole(1, 1_000_000)),
    ];

    /// Checks the numbers against their ranges.
    ///
    /// # Errors
    /// [`crate::CorpusError::Settings`] for the first one outside its range.
    pub fn check(&self) -> Result<()> {
        let [least, most] = self.facts_per_text;
        let values = [
            [self.exposures; 2],
            [self.wordings; 2],
            [self.validation_exposures; 2],
            [least, most],
            [self.max_tokens; 2],
        ];
        for ((name, range), values) in WriteSettings::RANGES.into_iter().zip(values) {
            for value in values {
                range
                    .check(name, value)
                    .map_err(|e| crate::CorpusError::Settings { why: e.to_string() })?;
            }
        }
        Ok(())
    }
}

/// A statement of a fact in a text. Bytes refer to [`Abstract::text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The fact's id.
    pub fact: String,
    /// Index of the statement's frame in the relation's `frames`.
    pub frame: usize,
    /// First byte of the statement, and one past its last.
    pub span: [usize; 2],
    /// First byte of the answer, and one past its last.
    pub answer: [usize; 2],
}

/// A text and its statements, in order. The record's `answers` are those of the statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text as a record of a corpus.
    pub record: Abstract,
    /// The statements in it.
    pub statements: Vec<Statement>,
}

/// What the texts teach about a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// The fact's id.
    pub fact: String,
    /// The fact's kind.
    pub kind: String,
    /// Number of different frames in training.
    pub wordings: usize,
    /// Number of training statements within the first `max_tokens` tokens of their text.
    pub exposures: usize,
    /// Number of validation statements, counted the same way.
    pub validation: usize,
}

/// Texts for training and validation, and what they teach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Training texts.
    pub train: Vec<Text>,
    /// Validation texts: the same facts, each in a frame that it does not have in training.
    pub validation: Vec<Text>,
    /// One entry for each fact, in the order of the table.
    pub exposures: Vec<Exposure>,
}

impl Written {
    /// The training texts as a corpus.
    pub fn train_records(&self) -> Vec<Abstract> {
        self.train.iter().map(|t| t.record.clone()).collect()
    }

    /// The validation texts as a corpus.
    pub fn validation_records(&self) -> Vec<Abstract> {
        self.validation.iter().map(|t| t.record.clone()).collect()
    }

    /// Writes `train.jsonl`, `validation.jsonl` and `exposures.jsonl` into a folder.
    ///
    /// # Errors
    /// [`crate::CorpusError::Core`] if a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        crate::read::write(&folder.join("train.jsonl"), &self.train_records())?;
        crate::read::write(&folder.join("validation.jsonl"), &self.validation_records())?;
        files::write_jsonl(&folder.join("exposures.jsonl"), &self.exposures)?;
        Ok(())
    }
}

/// Writes texts that state every fact of a table.
///
/// In training each fact is stated exactly `exposures` times, spread evenly over `wordings` frames; both numbers are
/// the same for every fact. In validation each fact is stated in one frame without a cloze that it does not have in
/// training (other facts of its relation do). Held-out statements are not used. No text is longer than `max_tokens`,
/// and no two are equal.
///
/// # Errors
/// [`crate::CorpusError::Settings`] if the table does not have enough frames or facts;
/// [`crate::CorpusError::FactTooLong`] if a fact does not fit into a text of `max_tokens`.
pub fn write_texts(
    table: &FactTable,
    settings: &WriteSettings,
    tokenize: Tokenize<'_>,
) -> Result<Written> {
    let plan = plan::plan(table, settings)?;
    let mut composer = Composer::new(table, settings, tokenize);
    let train = composer.compose(plan.train)?;
    let validation = composer.compose(plan.validation)?;
    let trained = count_exposures(&train, settings.max_tokens, tokenize);
    let validated = count_exposures(&validation, settings.max_tokens, tokenize);
    let exposures = table
        .facts()
        .map(|(relation, fact)| {
            let id = fact.id();
            let frames = trained.get(&id);
            Exposure {
                kind: relation.kind.clone(),
                wordings: frames.map_or(0, |f| f.len()),
                exposures: frames.map_or(0, |f| f.values().sum()),
                validation: validated.get(&id).map_or(0, |f| f.values().sum()),
                fact: id,
            }
        })
        .collect();
    Ok(Written {
        train,
        validation,
        exposures,
    })
}

/// Checks that a table has enough frames and facts for these settings.
///
/// # Errors
/// [`crate::CorpusError::Settings`] if not.
pub fn check_settings(table: &FactTable, settings: &WriteSettings) -> Result<()> {
    plan::check(table, settings)
}

/// Number of statements of each fact (by id) in each frame, within the first `max_tokens` tokens of the texts.
pub fn count_exposures(
    texts: &[Text],
    max_tokens: usize,
    tokenize: Tokenize<'_>,
) -> BTreeMap<String, BTreeMap<usize, usize>> {
    let mut counts = BTreeMap::new();
    for text in texts {
        let whole = text.record.text();
        let fits = tokenize(&whole).len() <= max_tokens;
        for statement in &text.statements {
            // A statement counts if its answer is within the limit.
            let kept = whole
                .get(..statement.answer[1])
                .is_some_and(|kept| fits || tokenize(kept).len() <= max_tokens);
            if kept {
                let frames: &mut BTreeMap<usize, usize> =
                    counts.entry(statement.fact.clone()).or_default();
                *frames.entry(statement.frame).or_default() += 1;
            }
        }
    }
    counts
}
