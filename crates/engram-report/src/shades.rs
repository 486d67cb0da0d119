//! A heat map for the terminal: one line a row, one cell a layer.

use engram_findings::parts::PartKind;
use engram_findings::words::percent;
use engram_findings::{ConditionFindings, Findings};

use crate::charts::{first, place};
use crate::terminal::Look;

/// Blocks by recovery, from nothing to all.
const BLOCKS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Colours of the 256-colour palette from −1 to 1: blue, nothing, orange; light text at both ends.
const COLOURS: [u8; 9] = [25, 68, 110, 153, 255, 223, 215, 208, 166];

/// The most heads that are shown.
const MOST_HEADS: usize = 16;

/// A map: what it shows, layers, and rows of values.
struct Map {
    title: String,
    layers: Vec<i64>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

/// A row's name, and its values by layer.
type Points = (String, Vec<(i64, f64)>);

/// Recovery by site, by role of the position and by head, over layers, of the model that is shown first.
pub(crate) fn heat(findings: &Findings, look: Look) -> String {
    let name = first(findings);
    let shown = name.and_then(|name| findings.condition(&name));
    let Some(condition) = shown else {
        return String::new();
    };
    let mut text = String::new();
    let maps = std::iter::once(sites(condition)).chain(roles(condition));
    for map in maps.chain(heads(condition)) {
        if !map.rows.is_empty() {
            text.push_str(&lines(&map, look));
        }
    }
    text
}

fn sites(condition: &ConditionFindings) -> Map {
    let primary = condition.profiles.iter().filter(|p| {
        let points = p.layers.iter().filter(|l| l.layer.is_some());
        p.measure.is_primary() && points.clone().any(|l| !l.trivial)
    });
    let rows = primary.map(|p| {
        let points = p.layers.iter().filter_map(|l| Some((l.layer?, l.mean?)));
        let mut name = vec![place(&p.measure), p.kind.clone()];
        if p.measure.corruption != "swap" {
            name.insert(1, p.measure.corruption.clone());
        }
        (name.join(", "), points.collect())
    });
    map(
        format!("Recovery by layer, {}", condition.name),
        rows.collect(),
    )
}

/// Roles of the sites that were patched by position.
fn roles(condition: &ConditionFindings) -> Vec<Map> {
    let primary = condition
        .positions
        .iter()
        .filter(|m| m.measure.is_primary());
    let mut maps: Vec<(String, Vec<Points>)> = Vec::new();
    for found in primary {
        let title = format!(
            "Recovery by role of the position and layer, {}, {}",
            found.measure.label, condition.name
        );
        let mut classes: Vec<_> = found.cells.iter().map(|c| c.class).collect();
        classes.sort_unstable();
        classes.dedup();
        let rows = classes.into_iter().map(|class| {
            let cells = found.cells.iter().filter(|c| c.class == class);
            let points = cells.filter_map(|c| Some((c.layer?, c.mean)));
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

/// Grids of heads, of all kinds together; the report has those with more heads.
fn heads(condition: &ConditionFindings) -> impl Iterator<Item = Map> {
    let shown = condition.parts.iter().filter(|grid| {
        grid.part == PartKind::Head && grid.kind.is_none() && grid.measure.is_primary()
    });
    shown.filter_map(|grid| {
        let mut heads: Vec<i64> = grid.cells.iter().map(|c| c.index).collect();
        heads.sort_unstable();
        heads.dedup();
        let rows = heads.iter().map(|&head| {
            let cells = grid.cells.iter().filter(|c| c.index == head);
            (
                format!("head {head}"),
                cells.map(|c| (c.layer, c.mean)).collect(),
            )
        });
        let title = format!(
            "Recovery by head and layer, {}, {}",
            place(&grid.measure),
            condition.name
        );
        (heads.len() <= MOST_HEADS).then(|| map(title, rows.collect()))
    })
}

fn map(title: String, rows: Vec<Points>) -> Map {
    let mut layers: Vec<i64> = rows
        .iter()
        .flat_map(|(_, points)| points)
        .map(|p| p.0)
        .collect();
    layers.sort_unstable();
    layers.dedup();
    let line = |points: &[(i64, f64)]| {
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
        let name = if cell == 7 || layer % 5 == 0 {
            layer.to_string()
        } else {
            String::new()
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

/// One cell: a block as high as the value, the value in per cent where there is room.
fn shade(value: Option<f64>, cell: usize, colour: bool) -> String {
    let Some(value) = value else {
        return " ".repeat(cell);
    };
    let place = (value.clamp(0.0, 1.0) * 8.0).round() as usize;
    let number = if cell == 7 {
        format!("{:>5}", percent((value * 100.0).round() / 100.0))
    } else {
        String::new()
    };
    if !colour {
        return format!("{:<cell$}", format!("{}{number}", BLOCKS[place.min(8)]));
    }
    let step = ((value.clamp(-1.0, 1.0) + 1.0) * 4.0).round() as usize;
    let ink = if matches!(step, 0 | 1 | 8) { 231 } else { 16 };
    let inside = format!("{number:>width$}", width = (cell - 1).max(1));
    let gap = if cell > 1 { " " } else { "" };
    format!(
        "\u{1b}[48;5;{}m\u{1b}[38;5;{ink}m{inside}\u{1b}[0m{gap}",
        COLOURS[step.min(8)]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_as_wide_as_their_column() {
        for value in [
            None,
            Some(-1.5),
            Some(-0.034),
            Some(0.0),
            Some(0.499),
            Some(1.0),
            Some(12.0),
        ] {
            assert_eq!(shade(value, 7, false).chars().count(), 7, "{value:?}");
            assert_eq!(shade(value, 2, false).chars().count(), 2);
        }
        assert_eq!(shade(Some(1.0), 2, false), "█ ");
        assert_eq!(
            shade(Some(1.0), 2, true),
            "\u{1b}[48;5;166m\u{1b}[38;5;231m \u{1b}[0m "
        );
    }
}
