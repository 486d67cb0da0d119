//! The same conclusions in a terminal.

use comfy_table::{ContentArrangement, LineStyle, Table as Grid, TableStyle};
use engram_core::text::plain;
use engram_findings::editing::{BeforeAfter, EditScores, MeanScore};
use engram_findings::words::{layer_set, list, number, percent, plural};
use engram_findings::{ConditionFindings, EditFindings, Findings};

use crate::page::lead;
use crate::shades::heat;
use crate::tables::{self, ReportTable};

/// How text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The most columns of tables and maps.
    pub width: u16,
    /// Whether heat maps are coloured (ANSI, 256 colours); otherwise the text has no escape codes.
    pub colour: bool,
}

impl Look {
    /// Plain text of a width.
    pub fn plain(width: u16) -> Look {
        Look {
            width,
            colour: false,
        }
    }
}

/// The findings as sentences, compact text tables and a small heat map.
pub fn summary_text(findings: &Findings, look: Look) -> String {
    let mut text = format!("{}\n", plain(&lead(findings)));
    for sentence in &findings.headline {
        text.push_str(&format!("  {}\n", plain(sentence)));
    }
    for condition in &findings.conditions {
        text.push_str(&format!("\n{}\n", plain(&condition.name)));
        for sentence in &condition.conclusions {
            text.push_str(&format!("  - {}\n", plain(sentence)));
        }
    }
    let parts = [
        (
            "Knowing",
            columns(tables::knowing(findings), &[0, 1, 2, 3, 4, 5, 6, 11]),
        ),
        (
            "Layers",
            columns(
                pooled(primary(tables::layer_tests(findings))),
                &[0, 1, 3, 4, 7, 8, 9, 10],
            ),
        ),
        (
            "Kinds",
            columns(primary(tables::kind_tests(findings)), &[0, 1, 3, 4, 5, 7]),
        ),
        (
            "Heads and neurons that restore most",
            tables::parts(findings),
        ),
    ];
    for (title, table) in parts {
        if !table.rows.is_empty() {
            text.push_str(&format!("\n{title}\n{}\n", grid(&table, look.width)));
        }
    }
    text.push_str(&heat(findings, look));
    for condition in &findings.conditions {
        for sentence in not_shown(condition) {
            text.push_str(&wrapped(&sentence, look.width));
        }
    }
    if !findings.editing.is_empty() {
        text.push_str("\nEdits\n");
        text.push_str(&editing_text(&findings.editing, look));
    }
    text
}

/// Text in lines of at most so many columns, words whole.
pub(crate) fn wrapped(text: &str, width: u16) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width.into() => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

/// What was measured and neither a table nor a map here shows.
fn not_shown(condition: &ConditionFindings) -> Vec<String> {
    let name = &condition.name;
    let mut said = Vec::new();
    let others = condition.beside_main();
    if !others.is_empty() {
        said.push(format!(
            "{name}: {} are in stats.json and in the report, not in the maps above.",
            list(&others)
        ));
    }
    if condition.unread_rows > 0 {
        said.push(format!(
            "{name}: {} of single pattern entries are in patch.parquet, and in no statistic.",
            plural(condition.unread_rows, "row")
        ));
    }
    said
}

/// What edits show, as sentences and a table of scores for each model and method.
pub fn editing_text(editing: &[EditFindings], look: Look) -> String {
    let mut text = String::new();
    for found in editing {
        let (name, model, method) = (&found.name, &found.model, &found.method);
        text.push_str(&format!(
            "\n{}\n",
            plain(&format!("{name}: {model}, {method}"))
        ));
        for sentence in &found.conclusions {
            text.push_str(&format!("  - {}\n", plain(sentence)));
        }
        for table in [scores(&found.scores), at_the_best(found)] {
            if !table.rows.is_empty() {
                text.push_str(&format!("{}\n", grid(&table, look.width)));
            }
        }
    }
    text
}

/// Scores by set of layers and kind; columns that nothing was measured for are left out.
fn scores(scores: &[EditScores]) -> ReportTable {
    let none = || "–".to_owned();
    let share = |score: &Option<MeanScore>| score.map_or_else(none, |p| percent(p.share.after));
    let said = |score: &Option<MeanScore>| {
        let said = score.and_then(|p| p.said);
        said.map_or_else(none, |said| percent(said.after))
    };
    let both = |pair: &Option<BeforeAfter>| {
        let text = |b: BeforeAfter| format!("{} → {}", number(b.before), number(b.after));
        pair.map_or_else(none, text)
    };
    let rows: Vec<Vec<String>> = (scores.iter())
        .map(|s| {
            vec![
                layer_set(&s.layers),
                s.kind.clone().unwrap_or_else(|| "all".to_owned()),
                s.edits.to_string(),
                share(&s.efficacy),
                said(&s.efficacy),
                share(&s.paraphrase),
                said(&s.paraphrase),
                share(&s.neighbourhood),
                said(&s.neighbourhood),
                percent(s.harmonic.after),
                format!("{:.3}", s.loss),
                both(&s.perplexity),
                both(&s.fluency),
                s.lost.map_or_else(none, |l| percent(l.value)),
                s.probe.map_or_else(none, |l| percent(l.value)),
            ]
        })
        .collect();
    let head = [
        "layers",
        "kind",
        "edits",
        "efficacy",
        "says it",
        "paraphrase",
        "says it",
        "neighbours",
        "keep theirs",
        "S",
        "loss",
        "perplexity",
        "fluency",
        "facts lost",
        "probes changed",
    ];
    let table = ReportTable {
        caption: String::new(),
        head: head.map(str::to_owned).to_vec(),
        rows,
    };
    table.measured()
}

/// Every score of all facts at the layers with the greatest S, beside the unedited model's.
fn at_the_best(found: &EditFindings) -> ReportTable {
    let best = found.best_of(None);
    let scores = best.and_then(|best| found.scores_of(&best.layers, None));
    let mut table = ReportTable::new("", &["", "facts", "before", "after", "interval"]);
    let Some(scores) = scores else {
        return table;
    };
    table.head[0] = format!("at {}", layer_set(&scores.layers));
    let mut row = |name: &str, mean: Option<BeforeAfter>, text: fn(f64) -> String| {
        let Some(mean) = mean else { return };
        let interval = mean.interval.map_or_else(
            || "–".to_owned(),
            |i| format!("[{}, {}]", text(i.lower), text(i.upper)),
        );
        table.rows.push(vec![
            name.to_owned(),
            mean.facts.to_string(),
            text(mean.before),
            text(mean.after),
            interval,
        ]);
    };
    let parts = [
        ("efficacy", "says the new answer", scores.efficacy),
        ("paraphrase", "paraphrases say it", scores.paraphrase),
        (
            "neighbourhood",
            "neighbours keep theirs",
            scores.neighbourhood,
        ),
    ];
    for (name, said, part) in parts {
        row(name, part.map(|p| p.share), percent);
        row(said, part.and_then(|p| p.said), percent);
        row(
            "  its probability",
            part.and_then(|p| p.probability),
            number,
        );
    }
    row("perplexity", scores.perplexity, number);
    row("fluency", scores.fluency, number);
    table
}

/// Rows of the logit difference under denoise.
fn primary(table: ReportTable) -> ReportTable {
    tables::split(table).0
}

/// Rows of all kinds together, of tables whose third column is the kind.
fn pooled(mut table: ReportTable) -> ReportTable {
    table.rows.retain(|row| row[2] == "all");
    table
}

fn columns(table: ReportTable, keep: &[usize]) -> ReportTable {
    let pick = |row: &Vec<String>| keep.iter().filter_map(|&i| row.get(i).cloned()).collect();
    ReportTable {
        caption: table.caption,
        head: pick(&table.head),
        rows: table.rows.iter().map(pick).collect(),
    }
}

/// A rule under the head and no other.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

fn grid(table: &ReportTable, width: u16) -> Grid {
    let plain = |row: &Vec<String>| -> Vec<String> {
        row.iter()
            .map(|cell| plain(&cell.replace(tables::NO_BREAK, " ")).into_owned())
            .collect()
    };
    let mut grid = Grid::new();
    grid.load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(plain(&table.head))
        .add_rows(table.rows.iter().map(plain));
    grid
}
