//! A panel of curves over layers, with a band and marks for each kind.

use plotters::prelude::*;

use super::Figure;
use super::canvas::{self, Area, GRID, HEAD, Painted, colour, mark, text};
use crate::error::Result;

/// The size of a panel.
const PANEL: (u32, u32) = (400, 290);
/// The width of a panel of a deep model, and the number of layers from which a model is deep.
const WIDE: u32 = 640;
const DEEP: f64 = 48.0;
/// Labels of an axis of layers: as many as stand beside each other.
const LABELS: usize = 16;

/// One panel.
pub(super) struct Panel {
    pub name: String,
    /// What its values are.
    pub value: &'static str,
    /// Whether its axis is 0 to 100%; otherwise it ends where the bands do.
    pub share: bool,
    pub curves: Vec<Curve>,
}

/// The number of a kind, and its points.
pub(super) type Curve = (usize, Vec<Point>);

/// One point: layer, mean and ends of the interval, and how it is marked.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub at: [f64; 4],
    pub over: Over,
}

/// What a point is over.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Over {
    /// All pairs of its curve.
    All,
    /// Fewer, so many: a hollow mark with the number.
    Fewer(usize),
    /// Pairs whose recovery the graph alone fixes: a cross.
    Trivial,
}

impl Point {
    /// A point over all that its curve is over.
    pub fn of_all(at: [f64; 4]) -> Point {
        Point {
            at,
            over: Over::All,
        }
    }
}

/// A figure of such panels, in rows of three, over the same layers.
pub(super) fn figure(
    name: String,
    title: &str,
    kinds: &[&str],
    panels: &[Panel],
) -> Result<Figure> {
    let points = panels.iter().flat_map(|p| &p.curves).flat_map(|(_, c)| c);
    let last = points.map(|p| p.at[0]).fold(1.0, f64::max);
    let (wide, most) = if last > DEEP { (WIDE, 2) } else { (PANEL.0, 3) };
    let (rows, columns) = canvas::grid(panels.len(), most);
    let size = (wide * columns as u32, HEAD + PANEL.1 * rows as u32);
    canvas::sheet(name, size, |area| {
        canvas::head(area, title, kinds)?;
        let (_, below) = area.split_vertically(HEAD);
        for (area, panel) in below.split_evenly((rows, columns)).iter().zip(panels) {
            paint(area, panel, last)?;
        }
        Ok(())
    })
}

/// The size of the marks: they do not hide each other, and are left out where there is no room for them.
fn mark_size(wide: f64, last: f64) -> i32 {
    ((wide - 80.0) / (last + 1.0) / 2.0).min(4.0) as i32
}

/// Draws a panel from layer 0 to the last.
fn paint(area: &Area<'_>, panel: &Panel, last: f64) -> Painted {
    let (mut low, mut high) = (0.0_f64, 0.05_f64);
    for point in panel.curves.iter().flat_map(|(_, points)| points) {
        let [_, _, lower, upper] = &point.at;
        (low, high) = (low.min(*lower), high.max(*upper));
    }
    if panel.share {
        (low, high) = (0.0, 1.0);
    }
    let room = 0.06 * (high - low);
    let wide = area.dim_in_pixel().0;
    let size = mark_size(f64::from(wide), last);
    let mut chart = ChartBuilder::on(area)
        .caption(canvas::fitted(&panel.name, 14, wide as i32 - 20), text(14))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.25..last + 0.25, low - room..high + room)?;
    let mut points = panel.curves.iter().flat_map(|(_, points)| points);
    let fewer = points.any(|p| matches!(p.over, Over::Fewer(_)));
    let value = |r: &f64| match panel.share {
        true => format!("{:.0}%", 100.0 * r),
        false => format!("{r:.2}").replace('-', "−"),
    };
    chart
        .configure_mesh()
        .x_desc(match fewer {
            true => "layer (hollow: over so many pairs, not all)",
            false => "layer",
        })
        .y_desc(panel.value)
        .x_labels((last as usize + 1).min(LABELS))
        .y_labels(6)
        .x_label_formatter(&|layer| format!("{layer:.0}"))
        .y_label_formatter(&value)
        .label_style(text(12))
        .axis_desc_style(text(13))
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .draw()?;
    for (kind, points) in &panel.curves {
        let upper = points.iter().map(|p| (p.at[0], p.at[3]));
        let lower = points.iter().rev().map(|p| (p.at[0], p.at[2]));
        let band: Vec<(f64, f64)> = upper.chain(lower).collect();
        chart.draw_series([Polygon::new(band, colour(*kind).mix(0.2).filled())])?;
        // A single point has no band.
        if let [
            Point {
                at: [layer, _, lower, upper],
                ..
            },
        ] = points.as_slice()
        {
            let ends = [(*layer, *lower), (*layer, *upper)];
            chart.draw_series(LineSeries::new(ends, colour(*kind).stroke_width(2)))?;
        }
        let means = || points.iter().map(|p| ((p.at[0], p.at[1]), p.over));
        let line = means().map(|(at, _)| at);
        chart.draw_series(LineSeries::new(line, colour(*kind).stroke_width(2)))?;
        // Curves of many layers are lines; marks that say something stay.
        let marked = means().filter(|(_, over)| *over != Over::All || size > 1);
        chart.draw_series(marked.map(|(at, over)| match over {
            Over::All => mark(at, *kind, size),
            Over::Fewer(_) => mark(at, *kind, size.max(2) + 1),
            Over::Trivial => Cross::new(at, size.max(2), colour(*kind).stroke_width(2)).into_dyn(),
        }))?;
        let shade = colour(*kind);
        let fewer = means().filter_map(|(at, over)| match over {
            Over::Fewer(n) => Some((at, n)),
            Over::All | Over::Trivial => None,
        });
        // A number takes as much room as two marks; between those that are too near, only changes are told.
        let step = (14.0 * (last + 1.0) / f64::from(wide - 80)).ceil();
        let mut told: Option<(f64, usize)> = None;
        chart.draw_series(fewer.map(|(at, n)| {
            let inside = Circle::new((0, 0), size.clamp(1, 2), WHITE.filled());
            let is_told =
                told.is_none_or(|(before, m)| at.0 - before >= step && (m != n || step < 2.0));
            let label = if is_told {
                n.to_string()
            } else {
                String::new()
            };
            if is_told {
                told = Some((at.0, n));
            }
            let label = Text::new(label, (-4, -20), text(11).color(&shade));
            EmptyElement::at(at) + inside + label
        }))?;
    }
    Ok(())
}
