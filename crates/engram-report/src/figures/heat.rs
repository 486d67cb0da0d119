//! Heat maps: layer by role of the position, layer by head.

use std::collections::BTreeSet;

use engram_core::Corruption;
use engram_findings::ConditionFindings;
use engram_findings::layout::PositionClass;
use engram_findings::parts::{LEAST_EFFECT, PartEffect, PartGrid};
use engram_findings::positions::PositionMap;
use plotters::prelude::*;

use super::canvas::{self, Area, HEAD, INK, Painted, centred, text};
use super::{Figure, file_name};
use crate::error::Result;

/// Blue below, orange above, nothing in the middle: told apart with any colour vision.
const SCALE: [RGBColor; 11] = [
    RGBColor(19, 75, 133),
    RGBColor(47, 120, 179),
    RGBColor(93, 162, 203),
    RGBColor(157, 202, 225),
    RGBColor(210, 229, 239),
    RGBColor(242, 240, 235),
    RGBColor(252, 224, 186),
    RGBColor(251, 191, 116),
    RGBColor(232, 147, 47),
    RGBColor(197, 105, 13),
    RGBColor(153, 74, 7),
];
/// Room for the colours' scale beside the panels.
const BAR: u32 = 84;
/// Height of a row, and the height of all rows together from which rows are lower.
const ROW: u32 = 26;
const TALL: u32 = 1100;
/// The least height of a row in which a text is read.
const TEXT_ROW: u32 = 14;
/// Steps of the colours' scale.
const STEPS: i32 = 40;

/// A map of one panel.
struct Map {
    title: String,
    columns: Vec<String>,
    layers: Vec<i64>,
    cells: Vec<Cell>,
}

/// One cell.
#[derive(Clone, Copy)]
struct Cell {
    column: usize,
    row: usize,
    value: f64,
    sign: Sign,
}

/// What is drawn over a cell's colour.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    None,
    /// Over fewer pairs than the map has, so many.
    Fewer(usize),
    /// The graph alone fixes it.
    Trivial,
    /// A part that is shown to restore.
    Restores,
    /// A part that is shown to work against the answer.
    Opposes,
}

impl Sign {
    fn of(n: usize, of: usize, trivial: bool, effect: PartEffect) -> Sign {
        match effect {
            _ if trivial => Sign::Trivial,
            PartEffect::Restores => Sign::Restores,
            PartEffect::Opposes => Sign::Opposes,
            PartEffect::NotShown if n < of => Sign::Fewer(n),
            PartEffect::NotShown => Sign::None,
        }
    }
}

/// One figure a site: a panel a kind, layer by role of the position.
pub(super) fn positions(condition: &ConditionFindings) -> Result<Vec<Figure>> {
    let primary = condition
        .positions
        .iter()
        .filter(|m| condition.is_main(&m.measure) && m.cells.iter().any(|c| c.layer.is_some()));
    let mut sites: Vec<Vec<&PositionMap>> = Vec::new();
    for map in primary {
        match sites.iter_mut().find(|maps| maps[0].measure == map.measure) {
            Some(maps) => maps.push(map),
            None => sites.push(vec![map]),
        }
    }
    sites.iter().map(|maps| of_site(condition, maps)).collect()
}

fn of_site(condition: &ConditionFindings, maps: &[&PositionMap]) -> Result<Figure> {
    let measure = &maps[0].measure;
    let classes: BTreeSet<PositionClass> = maps
        .iter()
        .flat_map(|m| &m.cells)
        .map(|c| c.class)
        .collect();
    let classes: Vec<PositionClass> = classes.into_iter().collect();
    let panels: Vec<Map> = maps
        .iter()
        .map(|map| {
            let layers: BTreeSet<i64> = map.cells.iter().filter_map(|c| c.layer).collect();
            let layers: Vec<i64> = layers.into_iter().collect();
            let cells = map.cells.iter().filter_map(|c| {
                let column = classes.iter().position(|class| *class == c.class)?;
                let row = layers.iter().position(|l| Some(*l) == c.layer)?;
                Some(Cell {
                    column,
                    row,
                    value: c.mean,
                    sign: Sign::of(c.n, c.of, c.trivial, PartEffect::NotShown),
                })
            });
            Map {
                title: map.kind.clone(),
                columns: classes.iter().map(|c| short_words(*c).to_owned()).collect(),
                cells: cells.collect(),
                layers,
            }
        })
        .collect();
    let place = measure.place();
    let corruption = measure.corruption.to_string();
    let mut words = vec!["positions", &condition.name, &place];
    if measure.corruption != Corruption::Swap {
        words.push(&corruption);
    }
    let title = format!(
        "{}: recovery by layer and position, {}",
        condition.name, place
    );
    maps_of(file_name(&words), &title, &panels, 1.0, (66, "position"))
}

/// Roles that have room below a column.
fn short_words(class: PositionClass) -> &'static str {
    match class {
        PositionClass::BeforeSubject => "before",
        PositionClass::SubjectFirst => "subj. first",
        PositionClass::SubjectMiddle => "subj. mid",
        PositionClass::SubjectLast => "subj. last",
        PositionClass::AfterSubject => "after",
        PositionClass::Last => "last token",
        PositionClass::Elsewhere => "elsewhere",
    }
}

/// One grid of heads; those that are shown to restore are ringed.
pub(super) fn heads(name: String, title: &str, grid: &PartGrid, alpha: f64) -> Result<Figure> {
    let layers: BTreeSet<i64> = grid.cells.iter().map(|c| c.layer).collect();
    let heads: BTreeSet<i64> = grid.cells.iter().map(|c| c.index).collect();
    let (layers, heads): (Vec<i64>, Vec<i64>) =
        (layers.into_iter().collect(), heads.into_iter().collect());
    let most = grid.cells.iter().map(|c| c.n).max().unwrap_or(0);
    let cells = grid.cells.iter().filter_map(|c| {
        let column = heads.iter().position(|h| *h == c.index)?;
        let row = layers.iter().position(|l| *l == c.layer)?;
        Some(Cell {
            column,
            row,
            value: c.mean,
            sign: Sign::of(c.n, most, c.trivial, c.effect),
        })
    });
    let map = Map {
        title: format!("○ restores, □ opposes: adjusted p < {alpha}, mean ≥ {LEAST_EFFECT}"),
        columns: heads.iter().map(ToString::to_string).collect(),
        cells: cells.collect(),
        layers,
    };
    // One head restores little: the scale ends at the largest, either way.
    let most = map
        .cells
        .iter()
        .fold(0.01_f64, |most, c| most.max(c.value.abs()));
    maps_of(name, title, &[map], most, (40, "head"))
}

fn maps_of(
    name: String,
    title: &str,
    panels: &[Map],
    most: f64,
    (step, columns): (u32, &str),
) -> Result<Figure> {
    let widest = panels.iter().map(|p| p.columns.len()).max().unwrap_or(1) as u32;
    let tallest = panels.iter().map(|p| p.layers.len()).max().unwrap_or(1) as u32;
    let row = (TALL / tallest.max(1)).clamp(4, ROW);
    let panel = (80 + (step * widest).max(360), 96 + row * tallest.max(5));
    let size = (panel.0 * panels.len() as u32 + BAR, HEAD - 24 + panel.1);
    let mut figure = canvas::sheet(name, size, |area| {
        canvas::head(area, title, &[])?;
        let (_, below) = area.split_vertically(HEAD - 24);
        let (maps, bar) = below.split_horizontally(size.0 - BAR);
        for (area, map) in maps.split_evenly((1, panels.len())).iter().zip(panels) {
            paint(area, map, most, columns, row)?;
        }
        scale(&bar, most, panel.1 as i32)
    })?;
    if row < TEXT_ROW {
        // Edges of low rows lie between pixels: smoothed, each would be a pale line.
        let crisp = "<rect shape-rendering=\"crispEdges\" ";
        figure.svg = figure.svg.replace("<rect ", crisp);
    }
    Ok(figure)
}

fn paint(area: &Area<'_>, map: &Map, most: f64, columns: &str, row: u32) -> Painted {
    let (wide, tall) = (map.columns.len() as i32, map.layers.len() as i32);
    let mut chart = ChartBuilder::on(area)
        .caption(
            canvas::fitted(&map.title, 13, area.dim_in_pixel().0 as i32 - 16),
            text(13),
        )
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(46)
        .build_cartesian_2d(
            (0..wide - 1).into_segmented(),
            (0..tall - 1).into_segmented(),
        )?;
    let name = |value: &SegmentValue<i32>, names: &[String]| match value {
        SegmentValue::CenterOf(i) | SegmentValue::Exact(i) => {
            names.get(*i as usize).cloned().unwrap_or_default()
        }
        SegmentValue::Last => String::new(),
    };
    let layers: Vec<String> = map.layers.iter().map(ToString::to_string).collect();
    let fewer = map.cells.iter().any(|c| matches!(c.sign, Sign::Fewer(_)));
    let columns = match fewer {
        true if row < TEXT_ROW => {
            format!("{columns} (○: not over all pairs; ×: fixed by the graph)")
        }
        true => format!("{columns} (○n: over n pairs, not all; ×: fixed by the graph)"),
        false => columns.to_owned(),
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc(columns)
        .y_desc("layer")
        .x_labels(wide as usize)
        .y_labels(tall.min(16) as usize)
        .x_label_formatter(&|v| name(v, &map.columns))
        .y_label_formatter(&|v| name(v, &layers))
        .label_style(text(11))
        .axis_desc_style(text(13))
        .draw()?;
    let exact = |x: usize, y: usize| (SegmentValue::Exact(x as i32), SegmentValue::Exact(y as i32));
    let middle = |x: usize, y: usize| {
        (
            SegmentValue::CenterOf(x as i32),
            SegmentValue::CenterOf(y as i32),
        )
    };
    chart.draw_series(map.cells.iter().map(|c| {
        Rectangle::new(
            [exact(c.column, c.row), exact(c.column + 1, c.row + 1)],
            tint(c.value / most).filled(),
        )
    }))?;
    let ink = |value: f64| match (value / most).abs() > 0.6 {
        true => &WHITE,
        false => &INK,
    };
    let at = |c: &Cell| middle(c.column, c.row);
    let with = |sign: Sign| map.cells.iter().filter(move |c| c.sign == sign);
    let texts = map.cells.iter().filter_map(|c| match c.sign {
        Sign::Trivial => Some((c, "×".to_owned())),
        Sign::Fewer(n) => Some((c, format!("○{n}"))),
        Sign::None | Sign::Restores | Sign::Opposes => None,
    });
    if row >= TEXT_ROW {
        chart.draw_series(texts.map(|(c, text_of)| {
            let style = centred(text(11)).color(ink(c.value));
            Text::new(text_of, at(c), style)
        }))?;
    } else {
        let crosses = with(Sign::Trivial);
        chart.draw_series(crosses.map(|c| Cross::new(at(c), 2, ink(c.value).stroke_width(1))))?;
        let fewer = map
            .cells
            .iter()
            .filter(|c| matches!(c.sign, Sign::Fewer(_)));
        chart.draw_series(fewer.map(|c| Circle::new(at(c), 2, ink(c.value).stroke_width(1))))?;
    }
    let half = (row as i32 / 2 - 1).clamp(2, 7);
    let line = if half > 4 { 2 } else { 1 };
    let ring = |c: &Cell| Circle::new(at(c), half, ink(c.value).stroke_width(line));
    chart.draw_series(with(Sign::Restores).map(ring))?;
    chart.draw_series(with(Sign::Opposes).map(|c| {
        let side = (half - 1).max(2);
        let square = Rectangle::new(
            [(-side, -side), (side, side)],
            ink(c.value).stroke_width(line),
        );
        EmptyElement::at(at(c)) + square
    }))?;
    Ok(())
}

/// The colours' scale.
fn scale(area: &Area<'_>, most: f64, height: i32) -> Painted {
    let (left, right, top) = (4, 20, 44);
    let tall = (height - 110).max(60);
    let at = |step: i32| top + tall * (STEPS - step) / STEPS;
    for step in 0..STEPS {
        let value = 2.0 * (f64::from(step) + 0.5) / f64::from(STEPS) - 1.0;
        let corners = [(left, at(step + 1)), (right, at(step))];
        area.draw(&Rectangle::new(corners, tint(value).filled()))?;
    }
    area.draw(&Text::new("recovery", (left, top - 24), text(12)))?;
    for (step, value) in [(0, -most), (STEPS / 2, 0.0), (STEPS, most)] {
        let label = format!("{value:.2}").replace('-', "−");
        area.draw(&Text::new(label, (right + 6, at(step) - 7), text(11)))?;
    }
    Ok(())
}

/// The colour of a value between −1 and 1, those beyond as the ends.
fn tint(value: f64) -> RGBColor {
    let place = (value.clamp(-1.0, 1.0) + 1.0) / 2.0 * (SCALE.len() - 1) as f64;
    let below = (place as usize).min(SCALE.len() - 2);
    let share = place - below as f64;
    let (a, b) = (SCALE[below], SCALE[below + 1]);
    let mix = |a: u8, b: u8| (f64::from(a) + share * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_run_from_blue_over_nothing_to_orange() {
        assert_eq!(tint(-2.0), SCALE[0]);
        assert_eq!(tint(0.0), SCALE[5]);
        assert_eq!(tint(1.0), SCALE[10]);
        assert_eq!(tint(0.1), RGBColor(247, 232, 211));
    }
}
