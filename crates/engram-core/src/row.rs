//! Result rows and their Parquet files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::columns::{Column, read_columns, write_groups};
use crate::error::Result;
use crate::metric::Metric;
use crate::setting::{Corruption, Direction, RowAlign};
use crate::site::Site;

/// One pair × cell × metric of a sweep. Columns that do not apply are `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The pair's id.
    pub pair: String,
    /// The pair's kind.
    pub kind: String,
    /// The site as it was asked for, layer included.
    pub name: String,
    /// The site.
    pub site: Site,
    /// The layer.
    pub layer: Option<i64>,
    /// The head.
    pub head: Option<i64>,
    /// The position (`None`: all positions, or the span that `token` shows).
    pub position: Option<i64>,
    /// The token at that position of the prompt written into.
    pub token: Option<String>,
    /// The query position of a pattern cell.
    pub query: Option<i64>,
    /// The key position of a pattern cell.
    pub key: Option<i64>,
    /// The neuron.
    pub unit: Option<i64>,
    /// How many layers the patch covers.
    pub window: Option<i64>,
    /// Which run was written into.
    pub direction: Direction,
    /// What the corrupted run is.
    pub corruption: Corruption,
    /// The noise sample.
    pub sample: Option<i64>,
    /// How positions were matched.
    pub align: RowAlign,
    /// The metric.
    pub metric: Metric,
    /// The metric on the clean run.
    pub clean: f64,
    /// The metric on the corrupted run.
    pub corrupt: f64,
    /// The metric on the patched run.
    pub patched: f64,
    /// The recovery; `None` where the pair is not eligible, where its gap in this metric is too small to divide by, or
    /// where the denominator is 0.
    pub recovery: Option<f64>,
    /// Whether the graph alone fixes the recovery, whatever the weights.
    pub trivial: bool,
    /// Why it is trivial.
    pub trivial_why: Option<String>,
    /// Whether the model *prefers* the right one of answer and foil, with no patch: [`PreferenceRow::prefers`]. `None`
    /// where it was not asked.
    #[serde(default)]
    pub prefers: Option<bool>,
    /// Whether the model *says* the answer, with no patch: [`PreferenceRow::says`]. `None` where it was not asked.
    #[serde(default)]
    pub says: Option<bool>,
}

/// A row to fill in: what a sweep does unless told otherwise (the whole residual stream after a block, denoised from
/// swapped prompts of equal length, read by the logit difference), and nothing measured.
impl Default for Row {
    fn default() -> Row {
        Row {
            pair: String::new(),
            kind: String::new(),
            name: String::new(),
            site: Site::ResidPost,
            layer: None,
            head: None,
            position: None,
            token: None,
            query: None,
            key: None,
            unit: None,
            window: None,
            direction: Direction::Denoise,
            corruption: Corruption::Swap,
            sample: None,
            align: RowAlign::Strict,
            metric: Metric::LogitDiff,
            clean: 0.0,
            corrupt: 0.0,
            patched: 0.0,
            recovery: None,
            trivial: false,
            trivial_why: None,
            prefers: None,
            says: None,
        }
    }
}

impl Row {
    /// Writes into rows what the model prefers and says, with no patch, in their pair's own wording.
    pub fn mark(rows: &mut [Row], preferences: &[PreferenceRow]) {
        let own = preferences.iter().filter(|p| !p.held_back).rev();
        let own: BTreeMap<&str, &PreferenceRow> = own.map(|p| (p.pair.as_str(), p)).collect();
        for row in rows {
            if let Some(found) = own.get(row.pair.as_str()) {
                (row.prefers, row.says) = (Some(found.prefers()), found.says);
            }
        }
    }
}

/// Rows that are turned into columns at one time, and stand together in the file.
pub const ROWS_PER_GROUP: usize = 16_384;

macro_rules! column {
    ($rows:expr, $field:ident, text) => {
        (
            stringify!($field),
            Column::Text($rows.iter().map(|r| Some(r.$field.clone())).collect()),
        )
    };
    ($rows:expr, $field:ident, maybe_text) => {
        (
            stringify!($field),
            Column::Text($rows.iter().map(|r| r.$field.clone()).collect()),
        )
    };
    ($rows:expr, $field:ident, word) => {
        (
            stringify!($field),
            Column::Text($rows.iter().map(|r| Some(r.$field.to_string())).collect()),
        )
    };
    ($rows:expr, $field:ident, maybe_int) => {
        (
            stringify!($field),
            Column::Int($rows.iter().map(|r| r.$field).collect()),
        )
    };
    ($rows:expr, $field:ident, real) => {
        (
            stringify!($field),
            Column::Real($rows.iter().map(|r| Some(r.$field)).collect()),
        )
    };
    ($rows:expr, $field:ident, maybe_real) => {
        (
            stringify!($field),
            Column::Real($rows.iter().map(|r| r.$field).collect()),
        )
    };
    ($rows:expr, $field:ident, flag) => {
        (
            stringify!($field),
            Column::Flag($rows.iter().map(|r| Some(r.$field)).collect()),
        )
    };
    ($rows:expr, $field:ident, maybe_flag) => {
        (
            stringify!($field),
            Column::Flag($rows.iter().map(|r| r.$field).collect()),
        )
    };
}

macro_rules! field {
    ($table:expr, $path:expr, $i:expr, $field:ident, text) => {
        $table
            .text(stringify!($field), $i, $path)?
            .unwrap_or_default()
    };
    ($table:expr, $path:expr, $i:expr, $field:ident, maybe_text) => {
        $table.text(stringify!($field), $i, $path)?
    };
    ($table:expr, $path:expr, $i:expr, $field:ident, word) => {
        $table.word(stringify!($field), $i, $path)?
    };
    ($table:expr, $path:expr, $i:expr, $field:ident, maybe_int) => {
        $table.int(stringify!($field), $i, $path)?
    };
    ($table:expr, $path:expr, $i:expr, $field:ident, real) => {
        $table
            .real(stringify!($field), $i, $path)?
            .unwrap_or(f64::NAN)
    };
    ($table:expr, $path:expr, $i:expr, $field:ident, maybe_real) => {
        $table.real(stringify!($field), $i, $path)?
    };
    ($table:expr, $path:expr, $i:expr, $field:ident, flag) => {
        $table
            .flag(stringify!($field), $i, $path)?
            .unwrap_or_default()
    };
    // A column that files from before it do not have.
    ($table:expr, $path:expr, $i:expr, $field:ident, maybe_flag) => {
        match $table.has(stringify!($field)) {
            true => $table.flag(stringify!($field), $i, $path)?,
            false => None,
        }
    };
}

macro_rules! table {
    ($name:ident { $($field:ident: $type:ident,)+ }) => {
        impl $name {
            /// Writes rows as Parquet, atomically.
            ///
            /// # Errors
            /// [`crate::CoreError::Io`], [`crate::CoreError::Parquet`].
            pub fn write_parquet(path: &Path, rows: &[$name]) -> Result<()> {
                // A file without rows has its columns.
                let groups = rows.chunks(ROWS_PER_GROUP).chain(rows.is_empty().then_some(rows));
                let columns = |rows: &[$name]| vec![$(column!(rows, $field, $type)),+];
                write_groups(path, groups.map(columns))
            }

            /// Reads rows that [`Self::write_parquet`] wrote.
            ///
            /// # Errors
            /// [`crate::CoreError::Io`]; [`crate::CoreError::Parquet`] where the file is damaged, a column is missing, or a cell
            /// holds a word that its column does not have: the message names column, row and word.
            pub fn read_parquet(path: &Path) -> Result<Vec<$name>> {
                let table = read_columns(path)?;
                (0..table.rows()).map(|i| Ok($name { $($field: field!(table, path, i, $field, $type)),+ })).collect()
            }
        }
    };
}

table! { Row {
    pair: text, kind: text, name: text, site: word, layer: maybe_int, head: maybe_int, position: maybe_int,
    token: maybe_text, query: maybe_int, key: maybe_int, unit: maybe_int, window: maybe_int, direction: word,
    corruption: word, sample: maybe_int, align: word, metric: word, clean: real, corrupt: real, patched: real,
    recovery: maybe_real, trivial: flag, trivial_why: maybe_text, prefers: maybe_flag, says: maybe_flag,
} }

/// Which of answer and foil a model prefers on a pair, in one wording, with no patch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PreferenceRow {
    /// The pair's id.
    pub pair: String,
    /// The pair's kind.
    pub kind: String,
    /// The pair's relation.
    pub relation: Option<String>,
    /// The wording's template.
    pub template: Option<String>,
    /// Whether the wording was held back from training.
    pub held_back: bool,
    /// Logit difference on the clean prompt.
    pub logit_diff_clean: f64,
    /// Logit difference on the corrupted prompt.
    pub logit_diff_corrupt: f64,
    /// `logprob_seq` on the clean prompt.
    pub logprob_seq_clean: f64,
    /// `logprob_seq` on the corrupted prompt.
    pub logprob_seq_corrupt: f64,
    /// Probability of the answer's first token on the clean prompt.
    pub prob_clean: f64,
    /// Rank (1 is best) of the answer's first token on the clean prompt.
    pub rank_clean: f64,
    /// Whether the model *says* the answer: after the clean prompt every token of the answer is the most probable one,
    /// so that greedy decoding gives it. `None` in files from before this was asked.
    #[serde(default)]
    pub says: Option<bool>,
}

impl PreferenceRow {
    /// Whether answer beats foil on the clean prompt, whatever the corrupted one gives.
    pub fn is_right_on_clean(&self) -> bool {
        self.logit_diff_clean > 0.0
    }

    /// Whether the model *prefers* the right one: answer beats foil on the clean prompt, foil beats answer on the
    /// corrupted one.
    pub fn prefers(&self) -> bool {
        self.logit_diff_clean > 0.0 && self.logit_diff_corrupt < 0.0
    }
}

table! { PreferenceRow {
    pair: text, kind: text, relation: maybe_text, template: maybe_text, held_back: flag, logit_diff_clean: real,
    logit_diff_corrupt: real, logprob_seq_clean: real, logprob_seq_corrupt: real, prob_clean: real, rank_clean: real, says: maybe_flag,
} }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::write_columns;

    fn rows() -> Vec<Row> {
        (0..100)
            .map(|i| Row {
                pair: format!("p{}", i / 10),
                kind: "definitional".into(),
                name: format!("resid_pre.{i}"),
                site: Site::ResidPre,
                layer: Some(i),
                position: (i % 2 == 0).then_some(i),
                token: (i % 3 == 0).then(|| " épilepsie".to_owned()),
                direction: Direction::Noise,
                corruption: Corruption::Gaussian(i as f64 + 1.5),
                align: RowAlign::Overwrite,
                metric: Metric::Kl,
                clean: 0.1 * i as f64,
                corrupt: -1.5,
                patched: f64::MIN_POSITIVE,
                recovery: (i > 3).then_some(1.0 / 3.0),
                trivial: i == 7,
                prefers: (i > 9).then_some(i % 4 == 0),
                says: (i > 9).then_some(i % 5 == 0),
                ..Row::default()
            })
            .collect()
    }

    #[test]
    fn rows_are_marked_with_their_pair_s_own_wording() {
        let preference = |pair: &str, held_back, clean, says| PreferenceRow {
            pair: pair.to_owned(),
            held_back,
            logit_diff_clean: clean,
            logit_diff_corrupt: -1.0,
            says,
            ..PreferenceRow::default()
        };
        let asked = [
            preference("p1", false, 2.0, Some(false)),
            preference("p1", true, -2.0, Some(true)),
            preference("p2", false, -1.0, Some(true)),
        ];
        let mut marked = rows();
        marked
            .iter_mut()
            .for_each(|r| (r.prefers, r.says) = (None, None));
        Row::mark(&mut marked, &asked);
        for row in marked {
            let expected = match row.pair.as_str() {
                "p1" => (Some(true), Some(false)),
                "p2" => (Some(false), Some(true)),
                _ => (None, None),
            };
            assert_eq!((row.prefers, row.says), expected, "{}", row.pair);
        }
    }

    /// Files of version 0.1 hold the same words.
    #[test]
    fn words_are_written_as_text_and_unknown_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let file = |site: &str, corruption: &str| {
            let text =
                |value: &str| Column::Text(vec![Some("p".to_owned()), Some(value.to_owned())]);
            let word = |good: &str, value: &str| {
                Column::Text(vec![Some(good.to_owned()), Some(value.to_owned())])
            };
            let none = || Column::Int(vec![None, None]);
            let real = || Column::Real(vec![Some(1.5), Some(1.5)]);
            let columns = vec![
                ("pair", text("q")),
                ("kind", text("k")),
                ("name", text("n")),
                ("site", word("mlp_out", site)),
                ("layer", none()),
                ("head", none()),
                ("position", none()),
                ("token", Column::Text(vec![None, None])),
                ("query", none()),
                ("key", none()),
                ("unit", none()),
                ("window", none()),
                ("direction", word("noise", "denoise")),
                ("corruption", word("swap", corruption)),
                ("sample", none()),
                ("align", word("overwrite", "subject")),
                ("metric", word("kl", "logit_diff_mean")),
                ("clean", real()),
                ("corrupt", real()),
                ("patched", real()),
                ("recovery", real()),
                ("trivial", Column::Flag(vec![Some(true), Some(false)])),
                ("trivial_why", Column::Text(vec![None, None])),
            ];
            write_columns(&path, columns).unwrap();
            Row::read_parquet(&path)
        };
        let read = file("z", "gaussian:0.5").unwrap();
        let words = |r: &Row| (r.site, r.direction, r.corruption, r.align, r.metric);
        let expected = [
            (
                Site::MlpOut,
                Direction::Noise,
                Corruption::Swap,
                RowAlign::Overwrite,
                Metric::Kl,
            ),
            (
                Site::Z,
                Direction::Denoise,
                Corruption::Gaussian(0.5),
                RowAlign::Subject,
                Metric::LogitDiffMean,
            ),
        ];
        assert_eq!([words(&read[0]), words(&read[1])], expected);
        for (site, corruption, part) in [
            (
                "mlp",
                "swap",
                "column \"site\", row 2: \"mlp\" is not a site; known: embed,",
            ),
            ("", "swap", "column \"site\", row 2: \"\" is not a site"),
            (
                "z",
                "gaussian:x",
                "column \"corruption\", row 2: \"gaussian:x\" is not a corruption",
            ),
        ] {
            let error = file(site, corruption).unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("a.parquet"),
                "{error}"
            );
        }
    }

    /// JSON has the words that files of version 0.1 have.
    #[test]
    fn json_holds_words() {
        let row = &rows()[2];
        let text = serde_json::to_string(row).unwrap();
        let part = r#""direction":"noise","corruption":"gaussian:3.5","sample":null,"align":"overwrite","metric":"kl""#;
        assert!(
            text.contains(part) && text.contains(r#""site":"resid_pre""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), *row);
    }

    /// A file without the columns that came later.
    #[test]
    fn files_from_before_a_column_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let text = |value: &str| Column::Text(vec![Some(value.to_owned())]);
        let real = || Column::Real(vec![Some(1.5)]);
        let columns = vec![
            ("pair", text("p")),
            ("kind", text("k")),
            ("relation", Column::Text(vec![None])),
            ("template", Column::Text(vec![None])),
            ("held_back", Column::Flag(vec![Some(false)])),
            ("logit_diff_clean", real()),
            ("logit_diff_corrupt", real()),
            ("logprob_seq_clean", real()),
            ("logprob_seq_corrupt", real()),
            ("prob_clean", real()),
            ("rank_clean", real()),
        ];
        write_columns(&path, columns).unwrap();
        let read = PreferenceRow::read_parquet(&path).unwrap();
        assert_eq!((read[0].logit_diff_clean, read[0].says), (1.5, None));
    }

    #[test]
    fn parquet_round_trip_and_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        Row::write_parquet(&a, &rows()).unwrap();
        Row::write_parquet(&b, &rows()).unwrap();
        assert_eq!(Row::read_parquet(&a).unwrap(), rows());
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        Row::write_parquet(&a, &[]).unwrap();
        assert_eq!(Row::read_parquet(&a).unwrap(), []);
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        Row::write_parquet(&path, &rows()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for keep in [0, 3, 10, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..keep]).unwrap();
            assert!(Row::read_parquet(&path).is_err(), "{keep} bytes");
        }
        PreferenceRow::write_parquet(&path, &[PreferenceRow::default()]).unwrap();
        let error = Row::read_parquet(&path).unwrap_err().to_string();
        assert!(error.contains("column \"name\""), "{error}");
    }
}
