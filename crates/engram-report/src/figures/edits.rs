//! Edits by layer, after the recovery that says which layers carry the facts.

use engram_findings::Findings;
use engram_findings::editing::EditFindings;

use super::curves::{Panel, Point, figure};
use super::profiles::curve;
use super::{Figure, file_name};
use crate::editing::{ALL_FACTS, carrying, middle, name, shares, shown_as};
use crate::error::Result;

/// One figure for each edits that were scored.
pub(super) fn draw(findings: &Findings, kinds: &[&str]) -> Result<Vec<Figure>> {
    let scored = findings.editing.iter().filter(|of| !of.scores.is_empty());
    scored.map(|of| of_edits(findings, of, kinds)).collect()
}

fn of_edits(findings: &Findings, of: &EditFindings, kinds: &[&str]) -> Result<Figure> {
    // Facts of no kind have the colour after the last kind's.
    let kind = |name: &str| kinds.iter().position(|k| *k == name).unwrap_or(kinds.len());
    let mut panels: Vec<Panel> = Vec::new();
    let carrying = carrying(findings, &of.model);
    if !carrying.is_empty() {
        let curves = carrying.iter().map(|p| (kind(&p.kind), curve(p)));
        panels.push(Panel {
            name: "recovery of mlp_out".to_owned(),
            value: "recovery",
            share: false,
            curves: curves.collect(),
        });
    }
    for scores in &of.scores {
        let Some(shown) = shown_as(of, scores) else {
            continue;
        };
        for (name, share) in shares(scores) {
            let (lower, upper) = share
                .interval
                .map_or((share.after, share.after), |i| (i.lower, i.upper));
            let point = [middle(&scores.layers), share.after, lower, upper];
            curve_of(&mut panels, name, kind(shown)).push(Point::of_all(point));
        }
    }
    let mut legend = kinds.to_vec();
    if of.kinds.is_empty() {
        legend.push(ALL_FACTS);
    }
    let name = name(findings, of);
    let title = format!("{name}: edits by layer");
    figure(file_name(&["edits", &name]), &title, &legend, &panels)
}

/// The points of a kind in the panel of a score, both made where they are not there yet.
fn curve_of<'a>(panels: &'a mut Vec<Panel>, name: &str, kind: usize) -> &'a mut Vec<Point> {
    let panel = panels.iter().position(|p| p.name == name);
    let panel = panel.unwrap_or_else(|| {
        panels.push(Panel {
            name: name.to_owned(),
            value: "share",
            share: true,
            curves: Vec::new(),
        });
        panels.len() - 1
    });
    let curves = &mut panels[panel].curves;
    let curve = curves.iter().position(|(k, _)| *k == kind);
    let curve = curve.unwrap_or_else(|| {
        curves.push((kind, Vec::new()));
        curves.len() - 1
    });
    &mut curves[curve].1
}
