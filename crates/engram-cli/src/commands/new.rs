//! Files to start from: `engram suite new` and `engram run --new`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engram_core::suite::PAIR_FIELDS;
use engram_core::{Lock, files};

use super::say;
use crate::progress::note;

/// A suite with comments.
const SUITE: &str = include_str!("new/suite.jsonl");
/// A study with comments; `@STUDY@`, `@SUITE@`, `@FACTS@` and `@BASE@` stand for its own name and those of its inputs.
const STUDY: &str = include_str!("new/study.toml");
/// A fact table with comments.
const FACTS: &str = include_str!("new/facts.toml");
/// The model of a new study where none is named: GPT-2 small of the hub.
const BASE: &str = "openai-community/gpt2";

/// Writes a suite to start from: JSONL with comments, or CSV where the name ends in .csv.
///
/// # Errors
/// A file that is there already or cannot be written.
pub fn suite(file: &Path) -> Result<()> {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    match extension.to_lowercase().as_str() {
        "csv" => write(file, &csv()?)?,
        "xlsx" | "tsv" => bail!(
            "{}: write it as .csv and open that in your spreadsheet program; .xlsx files are read, not written",
            file.display()
        ),
        _ => write(file, SUITE)?,
    }
    note(format!(
        "next: engram suite check {} --model MODEL",
        file.display()
    ));
    Ok(())
}

/// Writes a study to start from, with its suite and a fact table.
///
/// # Errors
/// As [`suite`].
pub fn study(name: &Path, base: Option<&Path>) -> Result<()> {
    let stem = match name.extension().is_some_and(|e| e == "toml") {
        true => name.with_extension(""),
        false => name.to_owned(),
    };
    let Some(plain) = stem.file_name().map(|n| n.to_string_lossy().into_owned()) else {
        bail!("{}: it names no file", name.display());
    };
    let beside = |ending: &str| -> (PathBuf, String) {
        let name = format!("{plain}{ending}");
        (stem.with_file_name(&name), name)
    };
    let (study, study_name) = beside(".toml");
    let (suite, suite_name) = beside("-suite.jsonl");
    let (facts, facts_name) = beside("-facts.toml");
    for path in [&study, &suite, &facts] {
        refuse_existing(path)?;
    }
    // A base that is a folder is named from the study's folder.
    let base = match base {
        Some(base) if base.exists() => std::fs::canonicalize(base)
            .with_context(|| format!("{}", base.display()))?
            .to_string_lossy()
            .into_owned(),
        Some(base) => base.to_string_lossy().into_owned(),
        None => BASE.to_owned(),
    };
    let quoted = toml::Value::String(base).to_string();
    let text = STUDY
        .replace("@BASE@", &quoted)
        .replace("@STUDY@", &study_name)
        .replace("@SUITE@", &suite_name)
        .replace("@FACTS@", &facts_name);
    write(&suite, SUITE)?;
    write(&facts, FACTS)?;
    write(&study, &text)?;
    note(format!("next: engram run {}", study.display()));
    Ok(())
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.exists() {
        bail!("{}: it is there already; name another file", path.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let _held = Lock::beside(path)?;
    refuse_existing(path)?;
    files::write_atomic(path, |w| std::io::Write::write_all(w, text.as_bytes()))?;
    say(path.display())
}

/// The suite's pairs as CSV.
fn csv() -> Result<String> {
    let lines = SUITE.lines().filter(|l| l.starts_with('{'));
    let pairs: Vec<serde_json::Map<String, serde_json::Value>> =
        lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names = PAIR_FIELDS.map(|f| f.name);
    let names: Vec<&str> = names
        .into_iter()
        .filter(|n| pairs.iter().any(|p| p.contains_key(*n)))
        .collect();
    let mut rows = format!("{}\n", names.join(","));
    for pair in &pairs {
        let cell = |name: &&str| pair.get(*name).and_then(|v| v.as_str()).unwrap_or_default();
        // Quoted, so that spreadsheet programs keep the leading blanks of answers.
        let cells = names.iter().map(cell);
        let cells = cells.map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
        rows += &format!("{}\n", cells.collect::<Vec<String>>().join(","));
    }
    Ok(rows)
}
