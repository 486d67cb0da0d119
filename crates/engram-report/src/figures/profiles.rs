//! Recovery by layer: a panel a site, a curve and its band a kind.

use engram_findings::ConditionFindings;
use engram_findings::profile::{Profile, ProfilePoint};
use plotters::prelude::*;

use super::canvas::{self, Area, GRID, HEAD, Painted, colour, mark, text};
use super::{Figure, file_name};
use crate::charts::place;
use crate::error::Result;

const PANEL: (u32, u32) = (400, 290);

/// One site: its name, and its profiles by kind.
type Panel<'a> = (String, Vec<(usize, &'a Profile)>);

/// The figure of one model; none where no site says anything.
pub(super) fn draw(condition: &ConditionFindings, kinds: &[&str]) -> Result<Option<Figure>> {
    let panels = panels(condition, kinds);
    if panels.is_empty() {
        return Ok(None);
    }
    let (rows, columns) = canvas::grid(panels.len(), 3);
    let size = (PANEL.0 * columns as u32, HEAD + PANEL.1 * rows as u32);
    let name = file_name(&["layers", &condition.name]);
    let title = format!("{}: recovery by layer", condition.name);
    canvas::sheet(name, size, |area| {
        canvas::head(area, &title, kinds)?;
        let (_, below) = area.split_vertically(HEAD);
        for (area, panel) in below.split_evenly((rows, columns)).iter().zip(&panels) {
            paint(area, panel)?;
        }
        Ok(())
    })
    .map(Some)
}

/// Sites that the graph does not fix in every layer, those that add up over layers first.
fn panels<'a>(condition: &'a ConditionFindings, kinds: &[&str]) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel<'a>> = Vec::new();
    let found = condition
        .profiles
        .iter()
        .filter(|p| p.measure.is_primary() && points(p).any(|point| !point.trivial));
    for profile in found {
        let name = match profile.measure.corruption.as_str() {
            "swap" => place(&profile.measure),
            other => format!("{}, {other}", place(&profile.measure)),
        };
        let kind = kinds.iter().position(|k| *k == profile.kind).unwrap_or(0);
        match panels.iter_mut().find(|(other, _)| *other == name) {
            Some((_, profiles)) => profiles.push((kind, profile)),
            None => panels.push((name, vec![(kind, profile)])),
        }
    }
    panels.sort_by_key(|(_, profiles)| !profiles[0].1.measure.adds_up());
    panels
}

fn points(profile: &Profile) -> impl Iterator<Item = &ProfilePoint> {
    let points = profile.layers.iter();
    points.filter(|p| p.layer.is_some() && p.mean.is_some())
}

/// Layer, mean and the ends of its interval.
fn numbers(point: &ProfilePoint) -> [f64; 4] {
    let mean = point.mean.unwrap_or(0.0);
    let (lower, upper) = point.interval.map_or((mean, mean), |i| (i.lower, i.upper));
    [point.layer.unwrap_or(0) as f64, mean, lower, upper]
}

fn paint(area: &Area<'_>, (name, profiles): &Panel<'_>) -> Painted {
    let all: Vec<[f64; 4]> = profiles
        .iter()
        .flat_map(|(_, p)| points(p))
        .map(numbers)
        .collect();
    let (mut low, mut high, mut last) = (0.0_f64, 0.05_f64, 1.0_f64);
    for [layer, _, lower, upper] in &all {
        (low, high, last) = (low.min(*lower), high.max(*upper), last.max(*layer));
    }
    let room = 0.06 * (high - low);
    let mut chart = ChartBuilder::on(area)
        .caption(name, text(14))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.25..last + 0.25, low - room..high + room)?;
    chart
        .configure_mesh()
        .x_desc("layer")
        .y_desc("recovery")
        .x_labels(last as usize + 1)
        .y_labels(6)
        .x_label_formatter(&|layer| format!("{layer:.0}"))
        .y_label_formatter(&|r| format!("{r:.2}").replace('-', "−"))
        .label_style(text(12))
        .axis_desc_style(text(13))
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .draw()?;
    for (kind, profile) in profiles {
        let points: Vec<[f64; 4]> = points(profile).map(numbers).collect();
        let upper = points.iter().map(|p| (p[0], p[3]));
        let lower = points.iter().rev().map(|p| (p[0], p[2]));
        let band: Vec<(f64, f64)> = upper.chain(lower).collect();
        chart.draw_series([Polygon::new(band, colour(*kind).mix(0.2).filled())])?;
        let means = || points.iter().map(|p| (p[0], p[1]));
        chart.draw_series(LineSeries::new(means(), colour(*kind).stroke_width(2)))?;
        chart.draw_series(means().map(|at| mark(at, *kind, 4)))?;
    }
    Ok(())
}
