//! A fact table as CSV or a spreadsheet: a row for each fact; the relation's own fields are on its first row.

use engram_core::{Faults, Field};

use super::raw::{FACT, RawFact, RawRelation, Text, field, place};
use crate::sheet::{Row, Sheet, check_columns, items};

/// The columns: the relation's name, its fields, the fact's fields.
const COLUMNS: [&str; 11] = [
    "relation",
    "kind",
    "question",
    "frames",
    "held_back",
    "cloze",
    "subject",
    "answer",
    "plural",
    "also",
    "source",
];
/// Columns that the row of every fact fills.
const OF_FACT: [&str; 3] = ["subject", "answer", "source"];

/// Reads the relations of a table; faults of form are added to `faults`.
pub(super) fn read(sheet: &Sheet, faults: &mut Faults) -> Vec<RawRelation> {
    check_columns(sheet, &COLUMNS, faults);
    for name in COLUMNS {
        let needed = !["plural", "also"].contains(&name);
        if needed && !sheet.columns.iter().any(|c| c == name) {
            faults.add(Some(sheet.line), "", missing(name, "column"));
        }
    }
    let mut relations: Vec<RawRelation> = Vec::new();
    // After its first row a relation's name may be omitted.
    let mut current = None;
    for row in &sheet.rows {
        let named = get(sheet, row, "relation").map(|text| text.trim().to_owned());
        if let Some(name) = named {
            let known = relations
                .iter()
                .position(|r| r.name.as_ref().is_some_and(|n| n.text == name));
            current = Some(known.unwrap_or_else(|| {
                relations.push(relation(sheet, row, name));
                relations.len() - 1
            }));
        }
        let Some(relation) = current.and_then(|at| relations.get_mut(at)) else {
            if sheet.columns.iter().any(|c| c == "relation") {
                faults.add(Some(row.line), "", missing("relation", "cell"));
            }
            continue;
        };
        again(sheet, row, relation, faults);
        let of = relation.name.clone();
        let facts = relation.facts.get_or_insert_default();
        facts.extend(fact(sheet, row, of.as_ref(), faults));
    }
    for relation in &relations {
        let at = place(relation.name.as_ref(), None);
        let absent = [
            ("kind", relation.kind.is_none()),
            ("question", relation.question.is_none()),
            ("frames", relation.frames.is_none()),
            ("held_back", relation.held_back.is_none()),
            ("cloze", relation.cloze.is_none()),
        ];
        for (name, is_absent) in absent {
            // A missing column is reported once.
            if is_absent && sheet.columns.iter().any(|c| c == name) {
                let why = format!("{} (on one row of the relation)", missing(name, "cell"));
                faults.add(Some(relation.line), &at, why);
            }
        }
    }
    relations
}

/// The message for a missing column or cell.
fn missing(name: &str, what: &str) -> String {
    let field = match name {
        "relation" => Field {
            name: "relation",
            ..field("name")
        },
        name => field(name),
    };
    let example = field.example.split_once(" = ").map_or("", |(_, e)| e);
    let list = field.example.contains('[') && field.name != "facts";
    let written = match list {
        true => "; several are separated by | or by line breaks",
        false => "",
    };
    let example = example.replace(", …]", "").replace(['[', ']'], "");
    format!(
        "missing {what} `{name}`: {}{written}; example: {example}",
        field.meaning
    )
}

fn get<'s>(sheet: &Sheet, row: &'s Row, name: &str) -> Option<&'s str> {
    let at = sheet.columns.iter().position(|c| c == name)?;
    row.cell(at)
}

fn relation(sheet: &Sheet, row: &Row, name: String) -> RawRelation {
    let mut relation = RawRelation {
        line: row.line,
        name: Some(Text {
            text: name,
            line: row.line,
        }),
        ..RawRelation::default()
    };
    fill(sheet, row, &mut relation);
    relation
}

fn text(sheet: &Sheet, row: &Row, name: &str) -> Option<Text> {
    let text = get(sheet, row, name)?.trim().to_owned();
    let line = row.line;
    Some(Text { text, line })
}

fn texts(sheet: &Sheet, row: &Row, name: &str) -> Option<Vec<Text>> {
    let cell = get(sheet, row, name)?;
    let texts = items(cell).map(|item| Text {
        text: item.to_owned(),
        line: row.line,
    });
    Some(texts.collect())
}

/// Takes the relation's fields from a row if they are not known yet.
fn fill(sheet: &Sheet, row: &Row, relation: &mut RawRelation) {
    let one = |known: &mut Option<Text>, name| {
        if known.is_none() {
            *known = text(sheet, row, name);
        }
    };
    one(&mut relation.kind, "kind");
    one(&mut relation.question, "question");
    let list = |known: &mut Option<Vec<Text>>, name| {
        if known.is_none() {
            *known = texts(sheet, row, name);
        }
    };
    list(&mut relation.frames, "frames");
    list(&mut relation.held_back, "held_back");
    list(&mut relation.cloze, "cloze");
}

/// Takes the relation's fields from a later row: missing ones are filled in, others must be equal.
fn again(sheet: &Sheet, row: &Row, relation: &mut RawRelation, faults: &mut Faults) {
    fill(sheet, row, relation);
    let at = place(relation.name.as_ref(), None);
    let words = |texts: &[Text]| -> Vec<String> { texts.iter().map(|t| t.text.clone()).collect() };
    let one = |known: &Option<Text>| known.as_ref().map(|t| (t.line, vec![t.text.clone()]));
    let list = |known: &Option<Vec<Text>>| {
        let known = known.as_ref()?;
        Some((known.first().map_or(0, |t| t.line), words(known)))
    };
    let fields = [
        ("kind", one(&relation.kind), one(&text(sheet, row, "kind"))),
        (
            "question",
            one(&relation.question),
            one(&text(sheet, row, "question")),
        ),
        (
            "frames",
            list(&relation.frames),
            list(&texts(sheet, row, "frames")),
        ),
        (
            "held_back",
            list(&relation.held_back),
            list(&texts(sheet, row, "held_back")),
        ),
        (
            "cloze",
            list(&relation.cloze),
            list(&texts(sheet, row, "cloze")),
        ),
    ];
    for (name, known, here) in fields {
        if let (Some((line, known)), Some((_, here))) = (known, here)
            && known != here
        {
            let why = format!(
                "`{name}` is another one than on line {line}; leave the cell empty, or give both rows the same"
            );
            faults.add(Some(row.line), &at, why);
        }
    }
}

fn fact(sheet: &Sheet, row: &Row, relation: Option<&Text>, faults: &mut Faults) -> Option<RawFact> {
    let subject = text(sheet, row, "subject");
    let at = place(relation, subject.as_ref());
    let has = |name: &str| sheet.columns.iter().any(|c| c == name);
    let of_fact = FACT.iter().map(|f| f.name);
    if of_fact.clone().all(|name| get(sheet, row, name).is_none()) {
        // A row with relation fields only.
        return None;
    }
    for name in OF_FACT {
        if has(name) && get(sheet, row, name).is_none() {
            faults.add(Some(row.line), &at, missing(name, "cell"));
        }
    }
    let plural = get(sheet, row, "plural").map(|p| p.trim().to_lowercase());
    let is_plural = match plural.as_deref() {
        None | Some("false" | "no" | "0") => false,
        Some("true" | "yes" | "1") => true,
        Some(other) => {
            let why = format!("`plural`: expected true or false, found {other:?}");
            faults.add(Some(row.line), &at, why);
            false
        }
    };
    Some(RawFact {
        subject,
        answer: text(sheet, row, "answer"),
        plural: is_plural,
        also: texts(sheet, row, "also").unwrap_or_default(),
        source: text(sheet, row, "source"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::raw::RELATION;
    use super::*;

    /// Every field of a TOML table has a column, and there are no others.
    #[test]
    fn columns_are_the_fields() {
        let of_relation = RELATION.iter().map(|f| f.name).filter(|n| *n != "facts");
        let of_relation = of_relation.map(|n| if n == "name" { "relation" } else { n });
        let all: Vec<&str> = of_relation.chain(FACT.iter().map(|f| f.name)).collect();
        assert_eq!(all, COLUMNS);
    }
}
