//! Normalised entropy of each pair, by model and kind: a panel a site.

use engram_core::Corruption;
use engram_findings::Findings;
use engram_findings::localise::LocalisationSummary;
use plotters::prelude::*;

use super::Figure;
use super::canvas::{self, Area, GRID, HEAD, INK, Painted, mark, text};
use crate::charts::place;
use crate::error::Result;

/// One site: each row's label, the number of its kind and its pairs.
struct Panel<'a> {
    site: String,
    rows: Vec<(String, usize, &'a LocalisationSummary)>,
}

/// The figure; none where nothing adds up over layers.
pub(super) fn draw(findings: &Findings, kinds: &[&str]) -> Result<Option<Figure>> {
    let panels = panels(findings, kinds);
    if panels.is_empty() {
        return Ok(None);
    }
    let (rows, columns) = canvas::grid(panels.len(), 2);
    let tallest = panels.iter().map(|p| p.rows.len()).max().unwrap_or(1);
    let tall = 90 + 40 * tallest as u32;
    let size = (560 * columns as u32, HEAD + tall * rows as u32);
    let title = "Normalised entropy over layers: 0 is one layer, 1 is evenly over all";
    canvas::sheet("localisation".to_owned(), size, |area| {
        canvas::head(area, title, kinds)?;
        let (_, below) = area.split_vertically(HEAD);
        for (area, panel) in below.split_evenly((rows, columns)).iter().zip(&panels) {
            paint(area, panel)?;
        }
        Ok(())
    })
    .map(Some)
}

fn panels<'a>(findings: &'a Findings, kinds: &[&str]) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel<'a>> = Vec::new();
    for condition in &findings.conditions {
        for summary in condition
            .localisation
            .iter()
            .filter(|s| s.measure.is_primary())
        {
            let site = match summary.measure.corruption {
                Corruption::Swap => place(&summary.measure),
                other => format!("{}, {other}", place(&summary.measure)),
            };
            let kind = kinds.iter().position(|k| *k == summary.kind).unwrap_or(0);
            let row = (condition.name.clone(), kind, summary);
            match panels.iter_mut().find(|p| p.site == site) {
                Some(panel) => panel.rows.push(row),
                None => panels.push(Panel {
                    site,
                    rows: vec![row],
                }),
            }
        }
    }
    panels
}

fn paint(area: &Area<'_>, panel: &Panel<'_>) -> Painted {
    let count = panel.rows.len();
    let names = panel.rows.iter().map(|(name, ..)| canvas::width(name, 12));
    let names = (names.max().unwrap_or(0) + 14).clamp(110, 240);
    let mut chart = ChartBuilder::on(area)
        .caption(
            canvas::fitted(&panel.site, 14, area.dim_in_pixel().0 as i32 - 20),
            text(14),
        )
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(names)
        .build_cartesian_2d(0.0..1.02, (0..count as i32 - 1).into_segmented())?;
    // The first row stands at the top.
    let name = |value: &SegmentValue<i32>| match value {
        SegmentValue::CenterOf(i) => {
            let row = count.checked_sub(1 + *i as usize);
            row.map_or(String::new(), |row| {
                canvas::fitted(&panel.rows[row].0, 12, names - 14)
            })
        }
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc("normalised entropy")
        .x_labels(6)
        .y_labels(count)
        .x_label_formatter(&|x| format!("{x:.1}"))
        .y_label_formatter(&name)
        .label_style(text(12))
        .axis_desc_style(text(13))
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .draw()?;
    let pixels = chart.plotting_area().strip_coord_spec();
    let height = pixels.dim_in_pixel().1 as f64 / count as f64;
    let width = f64::from(pixels.dim_in_pixel().0);
    for (row, (_, kind, summary)) in panel.rows.iter().enumerate() {
        let middle = (row as f64 + 0.5) * height;
        let at = |entropy: f64| (entropy / 1.02 * width).round() as i32;
        for (n, pair) in summary.pairs.iter().enumerate() {
            let y = middle + 0.3 * height * beside(n);
            pixels.draw(&mark((at(pair.entropy), y.round() as i32), *kind, 2))?;
        }
        if let Some(median) = summary.entropy {
            let (x, half) = (at(median), (0.42 * height) as i32);
            let line = [(x, middle as i32 - half), (x, middle as i32 + half)];
            pixels.draw(&PathElement::new(line, INK.stroke_width(2)))?;
        }
    }
    Ok(())
}

/// Where the `n`-th of several dots stands between −1 and 1, so that neighbours do not hide each other.
fn beside(n: usize) -> f64 {
    ((n + 1) as f64 * 0.618_034).fract() * 2.0 - 1.0
}
