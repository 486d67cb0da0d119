//! Values of a study file: its paths, and what `--set` lays over it.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A TOML value as the text that `--set` takes.
pub fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The keys of a study file that hold paths.
const PATHS: [&[&str]; 6] = [
    &["base"],
    &["facts"],
    &["corpus", "file"],
    &["suite", "file"],
    &["suite", "counterfact"],
    &["paper", "questions"],
];

pub(super) fn resolve_paths(table: &mut toml::Table, folder: &Path) {
    let edits = table.get_mut("edit").and_then(toml::Value::as_table_mut);
    for (_, edit) in edits.into_iter().flatten() {
        let texts = edit.get_mut("texts").and_then(toml::Value::as_array_mut);
        for text in texts.into_iter().flatten() {
            if let toml::Value::String(path) = text {
                *path = tidy(&folder.join(&*path)).to_string_lossy().into_owned();
            }
        }
    }
    for keys in PATHS {
        if let Some(toml::Value::String(path)) = find(table, keys) {
            let there = tidy(&folder.join(&*path));
            // A base that is no folder here may be a repository of the hub.
            // So may a name of one part, whose error tells it in full.
            let named = |path: &str| {
                engram_hub::looks_like_reference(path) || engram_hub::full_name(path).is_some()
            };
            let of_hub = *keys == ["base"] && named(path);
            if there.exists() || !of_hub {
                *path = there.to_string_lossy().into_owned();
            }
        }
    }
}

/// `examples/../assets` as `assets`: what a person reads in a manifest.
pub(super) fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let up = matches!(part, std::path::Component::ParentDir);
        let in_folder = matches!(
            out.components().next_back(),
            Some(std::path::Component::Normal(_))
        );
        if up && in_folder {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

fn find<'a>(table: &'a mut toml::Table, keys: &[&str]) -> Option<&'a mut toml::Value> {
    let (first, rest) = keys.split_first()?;
    let value = table.get_mut(*first)?;
    match rest {
        [] => Some(value),
        _ => find(value.as_table_mut()?, rest),
    }
}

/// Lays `a.b.c=value` over a table. The value is TOML, or else a string as it stands.
pub(super) fn set(table: &mut toml::Table, setting: &str) -> Result<()> {
    let wrong = |why: String| Error::asked(format!("--set {setting}"), why);
    let Some((key, text)) = setting.split_once('=') else {
        return Err(wrong("expected key=value".to_owned()));
    };
    let keys: Vec<&str> = key.trim().split('.').collect();
    if keys.iter().any(|k| k.is_empty()) {
        return Err(wrong("the key has an empty part".to_owned()));
    }
    let value = parse_value(text.trim());
    // A corpus has one source: naming a file puts the others aside.
    if keys[..] == ["corpus", "file"]
        && let Some(corpus) = find(table, &["corpus"]).and_then(toml::Value::as_table_mut)
    {
        corpus.remove("write");
        corpus.remove("fetch");
    }
    // So have the pairs of the published protocol.
    for (key, other) in [("questions", "pairs"), ("pairs", "questions")] {
        if keys[..] == ["paper", key]
            && let Some(published) = find(table, &["paper"]).and_then(toml::Value::as_table_mut)
        {
            published.remove(other);
        }
    }
    let mut place = table;
    let (last, parents) = match keys.split_last() {
        Some(split) => split,
        None => return Err(wrong("the key is empty".to_owned())),
    };
    for parent in parents {
        let next = place
            .entry((*parent).to_owned())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = match next.as_table_mut() {
            Some(table) => table,
            None => return Err(wrong(format!("{parent} holds a value, not a section"))),
        };
    }
    place.insert((*last).to_owned(), value);
    Ok(())
}

fn parse_value(text: &str) -> toml::Value {
    let parsed: Result<toml::Table, _> = toml::from_str(&format!("v = {text}"));
    match parsed.ok().and_then(|mut t| t.remove("v")) {
        Some(value) => value,
        None => toml::Value::String(text.to_owned()),
    }
}

/// A TOML error shows the offending lines; on one line its message and place are enough.
pub(super) fn one_line(text: &str) -> String {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let first = lines
        .next()
        .unwrap_or_default()
        .trim_end_matches(':')
        .to_owned();
    match lines.next_back() {
        Some(last) if !last.trim_start().starts_with('|') => format!("{first}: {}", last.trim()),
        _ => first,
    }
}
