//! Reads lists of edits: facts and the answers that a model is to give for them, as JSONL, CSV or a spreadsheet.

use std::collections::BTreeMap;
use std::path::Path;

use engram_core::faults::unknown_field;
use engram_core::subject::locate_at;
use engram_core::{CoreError, Faults, Field, Neighbour, files};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::sheet::{self, items};

/// The fields of an edit, in the order in which they are described.
pub const EDIT_FIELDS: [Field; 7] = [
    Field::new(
        "prompt",
        "a text that stops just before the answer",
        "\"prompt\": \"The capital of Egypt is\"",
    ),
    Field::new(
        "subject",
        "what the fact is about, as the prompt has it",
        "\"subject\": \"Egypt\"",
    ),
    Field::new("to", "the new answer", "\"to\": \"Paris\""),
    Field::new(
        "from",
        "the present answer, where it is to be scored against",
        "\"from\": \"Cairo\"",
    ),
    Field::new("id", "a name of its own", "\"id\": \"egypt\""),
    Field::new(
        "paraphrases",
        "the same prompt in other words",
        "\"paraphrases\": [\"Egypt's capital is\"]",
    ),
    Field::new(
        "neighbours",
        "other facts that are to stay",
        "\"neighbours\": [{\"prompt\": \"The capital of Spain is\", \"answer\": \"Madrid\"}]",
    ),
];

/// Fields that every edit needs.
const REQUIRED: usize = 3;

/// A fact to be edited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedEdit {
    /// Its name: that of the file, or `edit N`, counted from 1.
    pub id: String,
    /// The prompt, which stops just before the answer.
    pub prompt: String,
    /// What it is about.
    pub subject: String,
    /// The new answer.
    pub to: String,
    /// The present answer.
    pub from: Option<String>,
    /// The same prompt in other words.
    pub paraphrases: Vec<String>,
    /// Other facts, which are to stay.
    pub neighbours: Vec<Neighbour>,
}

/// Reads a list of edits: a spreadsheet (.xlsx, detected by content), CSV if the name ends in .csv or .tsv, otherwise
/// JSONL, where blank lines and lines that begin with `#` are skipped. A table's columns are named like the fields; its
/// paraphrases are separated by `|`, its neighbours are JSON.
///
/// # Errors
/// [`CoreError::Io`] if the file cannot be read; [`CoreError::Faults`] with every fault of every edit: what is no edit,
/// unknown and missing fields, a subject that its prompt does not have, a name used twice, and a fact that is edited
/// twice; [`CoreError::Empty`] if there is none.
pub fn read_edits(path: &Path) -> Result<Vec<ListedEdit>> {
    let mut faults = Faults::new(path.display().to_string());
    let names = EDIT_FIELDS.map(|f| f.name);
    let mut edits: Vec<(usize, ListedEdit)> = Vec::new();
    match sheet::open(path)? {
        Some(sheet) => {
            sheet::check_columns(&sheet, &names, &mut faults);
            for row in &sheet.rows {
                let record = of_row(&sheet.columns, row, &mut faults);
                edits.extend(edit(row.line, &record, edits.len(), &mut faults));
            }
        }
        None => {
            let bytes = files::read(path)?;
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
                let text = line.trim_ascii();
                if text.is_empty() || text.starts_with(b"#") {
                    continue;
                }
                let line = index + 1;
                match serde_json::from_slice(text) {
                    Ok(Value::Object(record)) => {
                        for name in record.keys().filter(|name| !names.contains(&name.as_str())) {
                            faults.add(Some(line), "", unknown_field(name, &names));
                        }
                        edits.extend(edit(line, &record, edits.len(), &mut faults));
                    }
                    Ok(_) => faults.add(
                        Some(line),
                        "",
                        "expected an object: one edit, as {\"prompt\": …, \"subject\": …, \"to\": …}",
                    ),
                    Err(error) => faults.add(Some(line), "", format!("it is not JSON: {error}")),
                }
            }
        }
    }
    twice(&edits, &mut faults);
    if edits.is_empty() && faults.is_empty() {
        let path = path.to_owned();
        return Err(CoreError::Empty { path }.into());
    }
    let edits = edits.into_iter().map(|(_, edit)| edit).collect();
    Ok(faults.or(edits).map_err(CoreError::from)?)
}

/// A row of a table as a record of the fields.
fn of_row(columns: &[String], row: &sheet::Row, faults: &mut Faults) -> Map<String, Value> {
    let mut record = Map::new();
    for (at, name) in columns.iter().enumerate() {
        let Some(cell) = row.cell(at) else {
            continue;
        };
        let value = match name.as_str() {
            "paraphrases" => items(cell).map(Value::from).collect(),
            "neighbours" => match serde_json::from_str(cell.trim()) {
                Ok(value) => value,
                Err(error) => {
                    let why = format!("`neighbours`: not JSON: {error}; {}", EDIT_FIELDS[6].hint());
                    faults.add(Some(row.line), "", why);
                    continue;
                }
            },
            _ => Value::from(cell),
        };
        record.insert(name.clone(), value);
    }
    record
}

/// An edit, if all that it needs is there.
fn edit(
    line: usize,
    record: &Map<String, Value>,
    before: usize,
    faults: &mut Faults,
) -> Option<(usize, ListedEdit)> {
    let mut wrong = |why: String| faults.add(Some(line), "", why);
    let mut texts: [Option<String>; 5] = Default::default();
    for (at, text) in texts.iter_mut().enumerate() {
        let field = &EDIT_FIELDS[at];
        match record.get(field.name) {
            Some(Value::String(found)) if !found.trim().is_empty() => *text = Some(found.clone()),
            None | Some(Value::Null) if at >= REQUIRED => {}
            None | Some(Value::Null) => wrong(field.missing()),
            Some(Value::String(_)) => wrong(format!("`{}` is empty: {}", field.name, field.hint())),
            Some(_) => wrong(format!("`{}` is no text: {}", field.name, field.hint())),
        }
    }
    let paraphrases = list(record, &EDIT_FIELDS[5], &mut wrong);
    let neighbours = list(record, &EDIT_FIELDS[6], &mut wrong);
    let [prompt, subject, to, from, id] = texts;
    let edit = ListedEdit {
        id: id.unwrap_or_else(|| format!("edit {}", before + 1)),
        prompt: prompt?,
        subject: subject?,
        to: to?,
        from,
        paraphrases,
        neighbours,
    };
    if locate_at(&edit.prompt, &edit.subject, None).is_none() {
        let (subject, prompt) = (&edit.subject, &edit.prompt);
        wrong(format!(
            "the subject \"{subject}\" does not occur in the prompt \"{prompt}\""
        ));
    }
    if edit.from.as_deref().map(str::trim) == Some(edit.to.trim()) {
        wrong(format!(
            "the new answer \"{}\" is the present one",
            edit.to.trim()
        ));
    }
    Some((line, edit))
}

fn list<T: serde::de::DeserializeOwned>(
    record: &Map<String, Value>,
    field: &Field,
    wrong: &mut dyn FnMut(String),
) -> Vec<T> {
    match record.get(field.name) {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => serde_json::from_value(value.clone()).unwrap_or_else(|error| {
            wrong(format!("`{}`: {error}; {}", field.name, field.hint()));
            Vec::new()
        }),
    }
}

/// Names that two edits have, and facts that two edits change.
fn twice(edits: &[(usize, ListedEdit)], faults: &mut Faults) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut facts: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    for (line, edit) in edits {
        if let Some(first) = names.insert(&edit.id, *line) {
            let why = format!(
                "it is called \"{}\" as that of line {first}; give each edit an id of its own",
                edit.id
            );
            faults.add(Some(*line), "", why);
        }
        let fact = (edit.prompt.trim(), edit.subject.trim());
        match facts.get(&fact) {
            None => drop(facts.insert(fact, (*line, edit.to.trim()))),
            Some((first, to)) if *to == edit.to.trim() => {
                let why = format!("it is the edit of line {first} again");
                faults.add(Some(*line), "", why);
            }
            Some((first, to)) => {
                let why = format!(
                    "it contradicts line {first}, which asks for \"{to}\" after the same prompt"
                );
                faults.add(Some(*line), "", why);
            }
        }
    }
}
