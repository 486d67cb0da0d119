//! Every setting that a study file may have, and what is wrong with a file that has others: all faults together.

mod sections;

use std::collections::BTreeMap;

use engram_core::{Faults, Field};
use engram_edit::{EditSettings, Method};
use engram_train::TrainSettings;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use crate::bounds;
use crate::error::Result;
use sections::SECTIONS;

/// A part of a study file: the keys under one header.
struct Section {
    /// Its keys up to here, `*` for a name that the author gives.
    path: &'static [&'static str],
    settings: &'static [Field],
    /// The settings that have no default.
    required: &'static [&'static str],
    /// Whether a table is one of this section; its values alone may be wrong.
    read: fn(Table) -> Result<(), toml::de::Error>,
}

impl Section {
    /// How messages call it.
    fn name(&self) -> String {
        match self.path {
            [] => "a study".to_owned(),
            path => format!("[{}]", path.join(".").replace('*', "NAME")),
        }
    }

    fn field(&self, name: &str) -> Option<&'static Field> {
        self.settings.iter().find(|f| f.name == name)
    }

    /// A table of this section with one setting of the author's; the required ones have their examples.
    fn with(&self, name: &str, value: &Value) -> Table {
        let mut table = Table::new();
        for required in self.required {
            let example = self.field(required).map_or("", |f| f.example);
            let example: Table = toml::from_str(example).unwrap_or_default();
            let empty = || Value::Table(Table::new());
            let value = example.get(*required).cloned().unwrap_or_else(empty);
            table.insert((*required).to_owned(), value);
        }
        if self.path.is_empty() && name != "sweep" {
            table.insert("sweep".to_owned(), Value::Table(Table::new()));
        }
        table.insert(name.to_owned(), value.clone());
        table
    }
}

/// Where settings are written: their line, or the `--set` that gave them.
#[derive(Default)]
pub(super) struct Places {
    lines: BTreeMap<String, usize>,
    set: BTreeMap<String, String>,
}

impl Places {
    /// The lines of a study file's keys and headers.
    pub fn of(text: &str) -> Places {
        let mut places = Places::default();
        let (table, _) = DeTable::parse_recoverable(text);
        places.take(text, "", table.get_ref());
        places
    }

    fn take(&mut self, text: &str, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = joined(path, key.get_ref());
            let line = line_of(text, key.span().start);
            self.lines.entry(path.clone()).or_insert(line);
            self.inside(text, &path, value);
        }
    }

    fn inside(&mut self, text: &str, path: &str, value: &Spanned<DeValue<'_>>) {
        if let DeValue::Table(table) = value.get_ref() {
            self.take(text, path, table);
        }
    }

    /// Notes that `--set` gave a setting, and with it every one below it.
    pub fn note_set(&mut self, key: &str, setting: &str) {
        self.set.insert(key.to_owned(), setting.to_owned());
    }

    /// The line of a key, or of the nearest header above it; and the `--set` that it came from.
    fn find(&self, path: &str) -> (Option<usize>, String) {
        let mut above = path;
        loop {
            if let Some(setting) = self.set.get(above) {
                return (None, format!("--set {setting}"));
            }
            if let Some(line) = self.lines.get(above) {
                return (Some(*line), String::new());
            }
            match above.rsplit_once('.') {
                Some((head, _)) => above = head,
                None => return (None, String::new()),
            }
        }
    }
}

/// The line, from 1, of a byte.
pub(super) fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|b| *b == b'\n').count()
}

fn joined(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// Adds a fault about the setting at `path`.
pub(super) fn add(faults: &mut Faults, places: &Places, path: &str, why: String) {
    let (line, place) = places.find(path);
    faults.add(line, place, why);
}

/// Adds everything that is wrong with the settings of a study by themselves: unknown ones, missing ones, values of another
/// type or outside their range.
pub(super) fn check(table: &Table, places: &Places, faults: &mut Faults) {
    let mut checker = Checker {
        places,
        faults,
        out_of_range: bounds::all_of_study(table).into_iter().collect(),
    };
    let out: Vec<(String, String)> = checker.out_of_range.clone().into_iter().collect();
    for (path, why) in out {
        checker.add(&path, why);
    }
    let [whole, ..] = &SECTIONS;
    checker.section(whole, table, "");
}

struct Checker<'a> {
    places: &'a Places,
    faults: &'a mut Faults,
    /// Settings that are told already, with their error.
    out_of_range: BTreeMap<String, String>,
}

impl Checker<'_> {
    fn add(&mut self, path: &str, why: String) {
        add(self.faults, self.places, path, why);
    }

    fn section(&mut self, section: &Section, table: &Table, path: &str) {
        for name in section.required {
            if let (false, Some(field)) = (table.contains_key(*name), section.field(name)) {
                let full = joined(path, name);
                let why = format!("missing setting `{full}`: {}", field.hint());
                self.add(&full, why);
            }
        }
        for (name, value) in table {
            let full = joined(path, name);
            let Some(field) = section.field(name) else {
                let known: Vec<&str> = section.settings.iter().map(|f| f.name).collect();
                self.add(&full, unknown(&full, name, &known, &section.name()));
                continue;
            };
            let mut below: Vec<&str> = section.path.to_vec();
            below.push(field.name);
            self.setting(section, field, &below, value, &full);
        }
    }

    fn setting(
        &mut self,
        section: &Section,
        field: &Field,
        below: &[&str],
        value: &Value,
        full: &str,
    ) {
        let inner = SECTIONS.iter().find(|s| s.path == below);
        let named = SECTIONS
            .iter()
            .find(|s| s.path.split_last() == Some((&"*", below)));
        match value {
            Value::Table(table) if inner.is_some() => {
                inner.into_iter().for_each(|s| self.section(s, table, full));
            }
            Value::Table(tables) if named.is_some() => {
                for (name, value) in tables {
                    let path = joined(full, name);
                    match (named, value) {
                        (Some(section), Value::Table(table)) => {
                            self.section(section, table, &path);
                            self.departures(&below[0..1], table, &path);
                        }
                        _ => self.add(&path, format!("`{path}` is a value, not a section")),
                    }
                }
            }
            // Its settings are checked one at a time, by `departures`.
            Value::Table(_) if field.name == "set" => {}
            value => {
                let is_told = self.out_of_range.contains_key(full);
                if let (false, Err(error)) =
                    (is_told, (section.read)(section.with(field.name, value)))
                {
                    let message = error.message().replace('\n', ", ");
                    let why = format!("`{full}`: {message}; {}", field.hint());
                    self.add(full, why);
                }
            }
        }
    }

    /// Checks `train.NAME.set` or `edit.NAME.set`.
    fn departures(&mut self, of: &[&str], table: &Table, path: &str) {
        let Some(Value::Table(set)) = table.get("set") else {
            return;
        };
        let text = |key: &str| table.get(key).and_then(Value::as_str).unwrap_or_default();
        let path = joined(path, "set");
        let is_edit = of == ["edit"];
        let known = if is_edit {
            EditSettings::NAMES.map(str::to_owned).to_vec()
        } else {
            TrainSettings::NAMES.map(str::to_owned).to_vec()
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        // With a preset or a method that does not exist, the settings are held to another's.
        let method = toml::Value::from(text("method")).try_into::<Method>();
        let method = method.unwrap_or_default();
        let mut edited = EditSettings::of(method);
        let preset = TrainSettings::preset(text("preset"));
        let first = TrainSettings::PRESETS.first().copied().unwrap_or_default();
        let Ok(mut trained) = preset.or_else(|_| TrainSettings::preset(first)) else {
            return;
        };
        for (name, value) in set {
            let full = joined(&path, name);
            if !known.contains(&name.as_str()) {
                let section = format!("[{}.NAME.set]", if is_edit { "edit" } else { "train" });
                self.add(&full, unknown(&full, name, &known, &section));
                continue;
            }
            if self.out_of_range.contains_key(&full) {
                continue;
            }
            let error = if is_edit {
                let laid = edited.set(method, name, &value.to_string());
                laid.err().map(|e| e.to_string())
            } else {
                let laid = trained.set(name, &super::text_of(value));
                laid.err().map(|e| e.to_string())
            };
            if let Some(error) = error {
                self.add(&full, format!("`{full}`: {error}"));
            }
        }
    }
}

fn unknown(full: &str, name: &str, known: &[&str], section: &str) -> String {
    let text = engram_core::faults::unknown_field(name, known);
    let text = text.replacen(
        &format!("unknown field `{name}`"),
        &format!("unknown setting `{full}`"),
        1,
    );
    text.replacen("; fields:", &format!("; settings of {section}:"), 1)
}

/// Refuses a study with faults.
///
/// # Errors
/// All of them.
pub(super) fn refuse(faults: Faults) -> Result<()> {
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// serde says which fields there are when it meets another.
    #[test]
    fn settings_are_those_that_are_read() {
        for section in &SECTIONS {
            let error = (section.read)(section.with("nothing", &Value::from(1)));
            let error = error.unwrap_err().to_string();
            let (_, known) = error
                .split_once("expected one of ")
                .or_else(|| error.split_once("expected "))
                .unwrap();
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            let mut listed: Vec<&str> = section.settings.iter().map(|f| f.name).collect();
            let mut known: Vec<&str> = known.into_iter().filter(|k| *k != "nothing").collect();
            known.sort_unstable();
            known.dedup();
            listed.sort_unstable();
            assert_eq!(listed, known, "{}: {error}", section.name());
        }
    }

    /// An example is a value that its setting can have.
    #[test]
    fn examples_are_read() {
        for section in &SECTIONS {
            for field in section
                .settings
                .iter()
                .filter(|f| !f.example.starts_with('['))
            {
                let example: Table = toml::from_str(field.example).unwrap();
                let read = (section.read)(section.with(field.name, &example[field.name]));
                assert!(read.is_ok(), "{}: {:?}", field.example, read);
            }
        }
    }
}
