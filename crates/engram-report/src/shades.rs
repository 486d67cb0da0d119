//! A heat map for the terminal: one line a row, one cell a layer.

use engram_core::Corruption;
use engram_findings::parts::PartKind;
use engram_findings::words::percent;
use engram_findings::{ConditionFindings, Findings};

use crate::charts::{first, place};
use crate::terminal::{Look, wrapped};

/// Blocks by recovery, from nothing to all.
const BLOCKS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Colours of the 256-colour palette from −1 to 1: blue, nothing, orange; light text at both ends.
const COLOURS: [u8; 9] = [25, 68, 110, 153, 255, 223, 215, 208, 166];

/// The most heads that are shown.
const MOST_HEADS: usize = 16;

/// A map: what it shows, its columns, and rows of values.
struct Map {
    title: String,
    /// Layers; `None` for sites that stand once in the model.
    layers: Vec<Option<i64>>,
    rows: Vec<(String, Vec<Option<Value>>)>,
}

/// A mean, and what it is over.
#[derive(Clone, Copy)]
struct Value {
    mean: f64,
    mark: Mark,
}

/// What a mean is over, where that is not all pairs of its map.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    None,
    /// So many pairs of how many.
    Fewer(usize, usize),
    Trivial,
}

impl Mark {
    fn of(n: usize, of: usize, trivial: bool) -> Mark {
        match trivial {
            true => Mark::Trivial,
            false if n < of => Mark::Fewer(n, of),
            false => Mark::None,
        }
    }

    fn sign(self) -> char {
        match self {
            Mark::None => ' ',
            Mark::Fewer(..) => '°',
            Mark::Trivial => '×',
        }
    }
}

/// A row's name, and its values by layer.
type Points = (String, Vec<(Option<i64>, Value)>);

/// Recovery by site, by role of the position and by head, over layers, of each model that was swept; of several models
/// of the one that is shown first.
pub(crate) fn heat(findings: &Findings, look: Look) -> String {
    let name = first(findings);
    let shown = name.and_then(|name| findings.condition(&name));
    let Some(condition) = shown else {
        return String::new();
    };
    let mut text = String::new();
    let maps = std::iter::once(sites(condition)).chain(roles(condition));
    let maps: Vec<Map> = maps.chain(heads(condition)).collect();
    for map in maps.iter().filter(|m| !m.rows.is_empty()) {
        text.push_str(&lines(map, look));
    }
    text + &legend(&maps, look)
}

/// What the signs of the maps mean, those that they have.
fn legend(maps: &[Map], look: Look) -> String {
    let values = || (maps.iter().flat_map(|m| &m.rows)).flat_map(|(_, row)| row.iter().flatten());
    let mut text = String::new();
    if values().any(|v| matches!(v.mark, Mark::Fewer(..))) {
        text += "\n° over fewer pairs than the rest: those whose recovery the graph does not fix there\n";
        for map in maps {
            for (name, row) in &map.rows {
                // Layers one after another with the same number are one range.
                let mut runs: Vec<(i64, i64, usize, usize)> = Vec::new();
                for (layer, value) in map.layers.iter().zip(row) {
                    let (Some(layer), Some(Mark::Fewer(n, of))) = (layer, value.map(|v| v.mark))
                    else {
                        continue;
                    };
                    match runs.last_mut() {
                        Some(run) if (run.1 + 1, run.2) == (*layer, n) => run.1 = *layer,
                        _ => runs.push((*layer, *layer, n, of)),
                    }
                }
                let runs: Vec<String> = (runs.iter())
                    .map(|(first, last, n, of)| match first == last {
                        true => format!("{n} of {of} at layer {first}"),
                        false => format!("{n} of {of} at layers {first}–{last}"),
                    })
                    .collect();
                if !runs.is_empty() && !name.starts_with(HEAD) {
                    text += &wrapped(&format!("  {name}: {}", runs.join(", ")), look.width);
                }
            }
        }
    }
    if values().any(|v| v.mark == Mark::Trivial) {
        text += "\n× fixed by the graph alone for every pair, in no test\n";
    }
    text
}

fn sites(condition: &ConditionFindings) -> Map {
    let main = condition
        .profiles
        .iter()
        .filter(|p| condition.is_main(&p.measure) && p.layers.iter().any(|l| !l.trivial));
    let rows = main.map(|p| {
        let points = p.layers.iter().filter_map(|l| {
            let value = Value {
                mean: l.mean?,
                mark: Mark::of(l.n, l.of, l.trivial),
            };
            Some((l.layer, value))
        });
        let mut name = vec![place(&p.measure), p.kind.clone()];
        if p.measure.corruption != Corruption::Swap {
            name.insert(1, p.measure.corruption.to_string());
        }
        (name.join(", "), points.collect())
    });
    let rows: Vec<Points> = rows.collect();
    map(
        format!(
            "Recovery by layer, {}{}",
            condition.name,
            reading(condition)
        ),
        rows,
    )
}

/// Metric and direction, where they are not the usual ones.
fn reading(condition: &ConditionFindings) -> String {
    let all = (condition.profiles.iter().map(|p| &p.measure))
        .chain(condition.positions.iter().map(|p| &p.measure))
        .chain(condition.parts.iter().map(|p| &p.measure));
    match all.into_iter().find(|m| condition.is_main(m)) {
        Some(m) if !m.is_primary() => format!(", {}, {}", m.metric, m.direction),
        _ => String::new(),
    }
}

/// Roles of the sites that were patched by position.
fn roles(condition: &ConditionFindings) -> Vec<Map> {
    let main = condition
        .positions
        .iter()
        .filter(|m| condition.is_main(&m.measure));
    let mut maps: Vec<(String, Vec<Points>)> = Vec::new();
    for found in main {
        let title = format!(
            "Recovery by role of the position and layer, {}, {}{}",
            place(&found.measure),
            condition.name,
            reading(condition)
        );
        let mut classes: Vec<_> = found.cells.iter().map(|c| c.class).collect();
        classes.sort_unstable();
        classes.dedup();
        let rows = classes.into_iter().map(|class| {
            let cells = found.cells.iter().filter(|c| c.class == class);
            let points = cells.map(|c| {
                let value = Value {
                    mean: c.mean,
                    mark: Mark::of(c.n, c.of, c.trivial),
                };
                (c.layer, value)
            });
            (
                format!("{}, {}", class.words(), found.kind),
                points.collect(),
            )
        });
        match maps.iter_mut().find(|(other, _)| *other == title) {
            Some((_, all)) => all.extend(rows),
            None => maps.push((title, rows.collect())),
        }
    }
    maps.into_iter()
        .map(|(title, rows)| map(title, rows))
        .collect()
}

/// What rows of heads begin with.
const HEAD: &str = "head ";

/// Grids of heads, of all kinds together; the report has those with more heads.
fn heads(condition: &ConditionFindings) -> impl Iterator<Item = Map> {
    let shown = condition.parts.iter().filter(|grid| {
        grid.part == PartKind::Head && grid.kind.is_none() && condition.is_main(&grid.measure)
    });
    shown.filter_map(|grid| {
        let mut heads: Vec<i64> = grid.cells.iter().map(|c| c.index).collect();
        heads.sort_unstable();
        heads.dedup();
        let most = grid.cells.iter().map(|c| c.n).max().unwrap_or(0);
        let rows = heads.iter().map(|&head| {
            let cells = grid.cells.iter().filter(|c| c.index == head);
            let points = cells.map(|c| {
                let value = Value {
                    mean: c.mean,
                    mark: Mark::of(c.n, most, c.trivial),
                };
                (Some(c.layer), value)
            });
            (format!("{HEAD}{head}"), points.collect())
        });
        let title = format!(
            "Recovery by head and layer, {}, {}{}",
            place(&grid.measure),
            condition.name,
            reading(condition)
        );
        (heads.len() <= MOST_HEADS).then(|| map(title, rows.collect()))
    })
}

fn map(title: String, rows: Vec<Points>) -> Map {
    let mut layers: Vec<Option<i64>> = rows
        .iter()
        .flat_map(|(_, points)| points)
        .map(|p| p.0)
        .collect();
    layers.sort_unstable();
    layers.dedup();
    let line = |points: &[(Option<i64>, Value)]| {
        let value = |layer| points.iter().find(|p| p.0 == layer).map(|p| p.1);
        layers.iter().map(|&layer| value(layer)).collect()
    };
    Map {
        title,
        rows: rows
            .iter()
            .map(|(name, points)| (name.clone(), line(points)))
            .collect(),
        layers: layers.clone(),
    }
}

fn lines(map: &Map, look: Look) -> String {
    let label = map
        .rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let room = usize::from(look.width).saturating_sub(label + 2) / map.layers.len().max(1);
    // Block and number, or block alone where layers are many.
    let cell = if room >= 7 { 7 } else { 2.min(room.max(1)) };
    let mut text = format!("\n{}\n{:label$}  ", map.title, "");
    for layer in &map.layers {
        let name = match layer {
            Some(layer) if cell == 7 || layer % 5 == 0 => layer.to_string(),
            None if cell == 7 => "once".to_owned(),
            _ => String::new(),
        };
        text.push_str(&format!("{name:<cell$}"));
    }
    text.truncate(text.trim_end().len());
    for (name, values) in &map.rows {
        text.push_str(&format!("\n{name:label$}  "));
        for value in values {
            text.push_str(&shade(*value, cell, look.colour));
        }
        text.truncate(text.trim_end().len());
    }
    text.push('\n');
    text
}

/// One cell: a block as high as the value, the value in per cent where there is room, and what it is over.
fn shade(value: Option<Value>, cell: usize, colour: bool) -> String {
    let Some(Value { mean: value, mark }) = value else {
        return " ".repeat(cell);
    };
    let place = (value.clamp(0.0, 1.0) * 8.0).round() as usize;
    let number = if cell == 7 {
        format!("{:>5}", percent((value * 100.0).round() / 100.0))
    } else {
        String::new()
    };
    let sign = match cell {
        1 => String::new(),
        _ => mark.sign().to_string(),
    };
    if !colour {
        return format!(
            "{:<cell$}",
            format!("{}{number}{sign}", BLOCKS[place.min(8)])
        );
    }
    let step = ((value.clamp(-1.0, 1.0) + 1.0) * 4.0).round() as usize;
    let ink = if matches!(step, 0 | 1 | 8) { 231 } else { 16 };
    let inside = format!("{number:>width$}", width = (cell - 1).max(1));
    format!(
        "\u{1b}[48;5;{}m\u{1b}[38;5;{ink}m{inside}\u{1b}[0m{sign}",
        COLOURS[step.min(8)]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mean: f64, mark: Mark) -> Option<Value> {
        Some(Value { mean, mark })
    }

    #[test]
    fn cells_are_as_wide_as_their_column() {
        for value in [-1.5, -0.034, 0.0, 0.499, 1.0, 12.0] {
            for mark in [Mark::None, Mark::Fewer(6, 17), Mark::Trivial] {
                let value = of(value, mark);
                assert_eq!(shade(value, 7, false).chars().count(), 7);
                assert_eq!(shade(value, 2, false).chars().count(), 2);
            }
        }
        assert_eq!(shade(None, 7, false).chars().count(), 7);
        assert_eq!(shade(of(1.0, Mark::None), 2, false), "█ ");
        assert_eq!(shade(of(1.0, Mark::Fewer(6, 17)), 2, false), "█°");
        assert_eq!(
            shade(of(1.0, Mark::None), 2, true),
            "\u{1b}[48;5;166m\u{1b}[38;5;231m \u{1b}[0m "
        );
    }
}
