//! The main figures for a paper: drawn as SVG, converted to PNG and PDF. The same findings give the same bytes.

mod canvas;
mod convert;
mod curves;
mod edits;
mod fonts;
mod heat;
mod localisation;
mod profiles;

use std::collections::BTreeSet;

use engram_findings::parts::PartKind;
use engram_findings::words::list;
use engram_findings::{ConditionFindings, Findings, Measure};

pub use fonts::Fonts;

use crate::charts::place;
use crate::error::Result;
use crate::input::ReportInput;
use crate::loss::loss_svg;

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Its name, which can stand as a file's without an extension.
    pub name: String,
    /// The picture as SVG, its text as text.
    pub svg: String,
}

impl Figure {
    /// The picture as PNG, two and a half pixels to a unit. Characters that DejaVu Sans lacks are drawn from the system's
    /// fonts.
    ///
    /// # Errors
    /// [`crate::ReportError::Figure`].
    pub fn png(&self) -> Result<Vec<u8>> {
        self.png_with(&Fonts::system())
    }

    /// The picture as PDF, with the font in it. A picture with a character that DejaVu Sans lacks has outlines in place of
    /// text.
    ///
    /// # Errors
    /// [`crate::ReportError::Figure`].
    pub fn pdf(&self) -> Result<Vec<u8>> {
        self.pdf_with(&Fonts::system())
    }

    /// As [`Figure::png`], with other fonts.
    ///
    /// # Errors
    /// As [`Figure::png`].
    pub fn png_with(&self, fonts: &Fonts) -> Result<Vec<u8>> {
        convert::png(self, &fonts.of(&self.svg))
    }

    /// As [`Figure::pdf`], with other fonts.
    ///
    /// # Errors
    /// As [`Figure::pdf`].
    pub fn pdf_with(&self, fonts: &Fonts) -> Result<Vec<u8>> {
        convert::pdf(self, &fonts.of(&self.svg))
    }

    /// The characters of the picture that no font has: they are boxes.
    pub fn missing(&self, fonts: &Fonts) -> Vec<char> {
        fonts.of(&self.svg).missing
    }
}

/// The main figures: for each model recovery by layer, by layer and role of the position, by head (a figure for each
/// role), and its loss; for all models together the localisation of pairs; for each model and method edits by layer.
/// Logit difference, denoise; of a model that was not swept so, the first metric and direction. [`not_drawn`] says what
/// else was measured.
///
/// # Errors
/// [`crate::ReportError::Figure`].
pub fn figures(input: &ReportInput) -> Result<Vec<Figure>> {
    let findings = &input.findings;
    let kinds: Vec<&str> = findings.suite.iter().map(|k| k.kind.as_str()).collect();
    let mut made = Vec::new();
    for condition in &findings.conditions {
        made.extend(profiles::draw(condition, &kinds)?);
        made.extend(heat::positions(condition)?);
        made.extend(heads(condition, findings.settings.alpha())?);
    }
    made.extend(localisation::draw(findings, &kinds)?);
    made.extend(edits::draw(findings, &kinds)?);
    for curve in &input.curves {
        made.push(Figure {
            name: file_name(&["loss", &curve.condition]),
            svg: loss_svg(curve)?,
        });
    }
    Ok(made)
}

/// What was measured and has no figure of its own, a sentence for each model.
pub fn not_drawn(findings: &Findings) -> Vec<String> {
    let mut said = Vec::new();
    for condition in &findings.conditions {
        let mut missing = condition.beside_main();
        let main = |m: &Measure| condition.is_main(m);
        let neurons = condition
            .parts
            .iter()
            .any(|g| g.part == PartKind::Neuron && main(&g.measure));
        missing.extend(neurons.then(|| "single neurons".to_owned()));
        let once = condition.profiles.iter().filter(|p| main(&p.measure));
        let once = once.filter(|p| p.layers.iter().all(|l| l.layer.is_none()));
        let once: BTreeSet<String> = once.map(|p| p.measure.place()).collect();
        missing.extend(once.into_iter().map(|place| format!("{place} (no layers)")));
        if condition.unread_rows > 0 {
            missing.push("single pattern entries".to_owned());
        }
        if !missing.is_empty() {
            said.push(format!(
                "{}: no figure is drawn of {}; the report has what statistics there are",
                condition.name,
                list(&missing)
            ));
        }
    }
    said
}

fn heads(condition: &ConditionFindings, alpha: f64) -> Result<Vec<Figure>> {
    let grids = condition.parts.iter().filter(|grid| {
        grid.part == PartKind::Head && grid.kind.is_none() && condition.is_main(&grid.measure)
    });
    grids
        .map(|grid| {
            let place = place(&grid.measure);
            let name = file_name(&["heads", &condition.name, &place]);
            let title = format!("{}: recovery by head, {place}", condition.name);
            heat::heads(name, &title, grid, alpha)
        })
        .collect()
}

/// Words that can stand in a file's name, joined.
fn file_name(words: &[&str]) -> String {
    let plain = |c: char| {
        if c.is_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let words = words.iter().map(|word| {
        let word: String = word.chars().map(plain).collect();
        word.split('-')
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-")
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_as_files() {
        assert_eq!(
            file_name(&["heads", "a/b", "z, the last token"]),
            "heads-a-b-z-the-last-token"
        );
    }
}
