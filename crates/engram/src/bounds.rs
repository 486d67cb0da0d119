//! The ranges of numbers in study and recipe files and on the command line, held against what was written before it
//! becomes settings: an error names the key, the value and the range.

use engram_core::{OutOfRange, Range};
use engram_corpus::WriteSettings;
use engram_edit::EditSettings;
use engram_findings::Settings;
use engram_train::TrainSettings;
use toml::Value;

/// A share of texts held out for validation.
pub const SPLIT: Range = Range::real(0.0, 1.0).above().below();
/// Layers that a cell covers.
pub const WINDOW: Range = Range::whole(1, 1000);
/// Noise samples of a pair.
pub const SAMPLES: Range = Range::whole(1, 100_000);
/// Numbers of pairs, facts and continuations, where 0 may stand for no limit.
pub const COUNT: Range = Range::whole(0, 1_000_000);
/// Tokens of texts that are measured.
pub const TOKENS: Range = Range::whole(0, 1_000_000_000);
/// Seeds.
pub const SEED: Range = Range::whole(0, 1 << 62);
/// Further seeds of one training: each is a model.
pub const SEEDS: Range = Range::whole(0, 100);
/// Seconds between checkpoints.
pub const EVERY: Range = Range::whole(0, 1_000_000);
/// Permutations of kinds.
pub const NULLS: Range = Range::whole(1, 100_000);
/// Tokens that are shown.
pub const TOP: Range = Range::whole(1, 1_000_000);
/// Tokens of a sequence that is timed.
pub const SEQUENCE: Range = Range::whole(2, 1 << 20);
/// A token of it.
pub const POSITION: Range = Range::whole(0, 1 << 20);
/// Sequences of a step that is timed.
pub const BATCH: Range = Range::whole(1, 4096);
/// Pairs of a sweep that is timed.
pub const PAIRS: Range = Range::whole(1, 100_000);
/// How often something is timed.
pub const REPEATS: Range = Range::whole(1, 10_000);
/// A key of a TOML file: its parts, `*` for any.
type Key = &'static [&'static str];

/// Keys of a study file.
const STUDY: [(Key, Range); 12] = [
    (&["seed"], SEED),
    (&["corpus", "split"], SPLIT),
    (
        &["corpus", "fetch", "most"],
        Range::whole(1, engram_corpus::fetch::MOST as u64),
    ),
    (&["corpus", "write", "seed"], SEED),
    (&["suite", "max_pairs_per_kind"], COUNT),
    (&["train", "*", "seeds"], SEED),
    (&["sweep", "*", "window"], WINDOW),
    (&["edit", "*", "facts"], COUNT),
    (&["edit", "*", "held_out_tokens"], TOKENS),
    (&["edit", "*", "fluency"], COUNT),
    (&["paper", "pairs"], Range::whole(4, 1_000_000)),
    (&["stats", "seed"], SEED),
];

/// Keys of a recipe of a new model.
const SCRATCH: [(Key, Range); 6] = [
    (&["model", "layers"], Range::whole(1, 1000)),
    (&["model", "heads"], Range::whole(1, 1000)),
    (&["model", "d_model"], Range::whole(1, 65_536)),
    (&["model", "context"], Range::whole(2, 1 << 20)),
    // The 256 bytes and <|endoftext|> are among them.
    (&["tokenizer", "vocabulary"], Range::whole(257, 1_000_000)),
    (&["train", "seed"], SEED),
];

/// Tables whose numbers a settings type has the ranges of.
fn tables() -> [(Key, &'static [(&'static str, Range)]); 4] {
    [
        (&["corpus", "write"], &WriteSettings::RANGES),
        (&["train", "*", "set"], &TrainSettings::RANGES),
        (&["edit", "*", "set"], &EditSettings::RANGES),
        (&["stats"], &Settings::RANGES),
    ]
}

/// Every number of a study file that is outside its range: its key, and the message. What is no number is for its reader to
/// say.
pub fn all_of_study(table: &toml::Table) -> Vec<(String, String)> {
    let of_study = STUDY.iter().map(|(key, range)| (key.to_vec(), *range));
    let of_types = tables().into_iter().flat_map(|(key, ranges)| {
        let full = |name| key.iter().chain([name]).copied().collect();
        ranges.iter().map(move |(name, range)| (full(name), *range))
    });
    let keys: Vec<(Vec<&str>, Range)> = of_study.chain(of_types).collect();
    let mut outside = Vec::new();
    for (key, range) in keys {
        let mut found = Vec::new();
        values(table, &key, String::new(), &mut found);
        for (path, value) in found {
            if let Err(error) = number(&path, value, range) {
                outside.push((path, error.to_string()));
            }
        }
    }
    outside
}

/// Checks the numbers of a recipe of a new model.
///
/// # Errors
/// [`OutOfRange`] with the first that is outside.
pub fn check_scratch(table: &toml::Table) -> Result<(), OutOfRange> {
    for (key, range) in SCRATCH {
        check(table, key, range)?;
    }
    for (name, range) in TrainSettings::RANGES {
        check(table, &["train", name], range)?;
    }
    Ok(())
}

/// Checks every value that a key stands for.
fn check(table: &toml::Table, key: &[&str], range: Range) -> Result<(), OutOfRange> {
    let mut found = Vec::new();
    values(table, key, String::new(), &mut found);
    for (path, value) in found {
        number(&path, value, range)?;
    }
    Ok(())
}

fn values<'a>(
    table: &'a toml::Table,
    key: &[&str],
    path: String,
    found: &mut Vec<(String, &'a Value)>,
) {
    let Some((first, rest)) = key.split_first() else {
        return;
    };
    for (name, value) in table
        .iter()
        .filter(|(name, _)| *first == "*" || name == first)
    {
        let path = match path.is_empty() {
            true => name.clone(),
            false => format!("{path}.{name}"),
        };
        match value {
            Value::Table(table) if !rest.is_empty() => values(table, rest, path, found),
            value if rest.is_empty() => found.push((path, value)),
            _ => {}
        }
    }
}

fn number(path: &str, value: &Value, range: Range) -> Result<(), OutOfRange> {
    match value {
        // TOML's numbers as they are shown: 1e11 is a float.
        Value::Integer(value) => range.check(path, *value),
        Value::Float(value) => range.check(path, *value),
        Value::Array(values) => values.iter().try_for_each(|v| number(path, v, range)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(text: &str) -> String {
        let table = toml::from_str(text).unwrap();
        let outside = all_of_study(&table).into_iter().map(|(_, why)| why);
        let outside: Vec<String> = outside.collect();
        match outside.is_empty() {
            true => "good".to_owned(),
            false => outside.join("\n"),
        }
    }

    #[test]
    fn key_value_and_range_are_named() {
        let is = |text: &str, error: &str| assert_eq!(study(text), error);
        let to = "; expected a whole number from";
        is(
            "stats.resamples = 100_000_000_000",
            &format!("stats.resamples is 100000000000{to} 1 to 1000000"),
        );
        is(
            "stats.level = nan",
            "stats.level is NaN; expected a number from 0.5 to 0.9999",
        );
        is(
            "corpus.split = 1",
            "corpus.split is 1; expected a number above 0 and below 1",
        );
        is(
            "corpus.write.facts_per_text = [1, -2]",
            &format!("corpus.write.facts_per_text is -2{to} 1 to 1000"),
        );
        is(
            "sweep.a.window = 1\nsweep.b.window = 0",
            &format!("sweep.b.window is 0{to} 1 to 1000"),
        );
        is(
            "train.c.set.batch_size = 2.5",
            &format!("train.c.set.batch_size is 2.5{to} 1 to 4096"),
        );
        is(
            "train.c.seeds = [1, -1]",
            &format!("train.c.seeds is -1{to} 0 to 4611686018427387904"),
        );
        is(
            "edit.e.set.rate = inf",
            "edit.e.set.rate is inf; expected a number above 0 and at most 100",
        );
        is(
            "edit.e.facts = -1",
            &format!("edit.e.facts is -1{to} 0 to 1000000"),
        );
        is(
            "paper.pairs = 3",
            &format!("paper.pairs is 3{to} 4 to 1000000"),
        );
        is(
            "paper.pairs = 3\nstats.level = 2",
            &format!(
                "paper.pairs is 3{to} 4 to 1000000\nstats.level is 2; expected a number from 0.5 to 0.9999"
            ),
        );
    }

    #[test]
    fn what_is_in_range_or_no_number_is_let_through() {
        let good = "seed = 1\nstats.resamples = 2000\nsweep.a.window = 3\ntrain.c.set.precision = 'fp32'\npaper.pairs = 'x'";
        assert_eq!(study(good), "good");
    }

    /// docs/limits.md has a line for each key, and no other.
    #[test]
    fn every_range_is_documented() {
        let line = |key: &[&str], range: Range| {
            let key = key.join(".").replace('*', "NAME");
            format!("| `{key}` | {range} |")
        };
        let mut lines: Vec<String> = STUDY.iter().map(|(key, range)| line(key, *range)).collect();
        for (key, ranges) in tables() {
            for (name, range) in ranges {
                lines.push(line(&[key, &[*name]].concat(), *range));
            }
        }
        fn recipe<'a>(key: &[&'a str]) -> Vec<&'a str> {
            [&["recipe"], key].concat()
        }
        lines.extend(
            SCRATCH
                .iter()
                .map(|(key, range)| line(&recipe(key), *range)),
        );
        let page = include_str!("../../../docs/limits.md");
        let table = page.split_once("| key | range |").unwrap().1;
        let found: Vec<&str> = table.lines().filter(|l| l.starts_with("| `")).collect();
        let known: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(found, known, "\n{}", lines.join("\n"));
    }
}
