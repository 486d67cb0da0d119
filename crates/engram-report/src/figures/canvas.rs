//! What the figures share: the sheet, text, colours and marks.

use plotters::coord::Shift;
use plotters::element::DynElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Figure;
use crate::error::{ReportError, Result};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Painted = std::result::Result<(), Box<dyn std::error::Error>>;

pub(super) const INK: RGBColor = RGBColor(28, 33, 38);
pub(super) const GRID: RGBColor = RGBColor(222, 226, 230);
/// Blue and orange, then others that are told apart with any colour vision: the report's own.
const KINDS: [RGBColor; 5] = [
    RGBColor(63, 134, 201),
    RGBColor(224, 123, 57),
    RGBColor(122, 154, 58),
    RGBColor(148, 103, 189),
    RGBColor(140, 140, 140),
];
/// Room for the title and the legend above the panels.
pub(super) const HEAD: u32 = 62;

/// The colour of the `n`-th kind.
pub(super) fn colour(n: usize) -> RGBColor {
    KINDS[n % KINDS.len()]
}

/// A white sheet that `paint` paints.
pub(super) fn sheet(
    name: String,
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Painted,
) -> Result<Figure> {
    let mut svg = String::new();
    let painted = {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)
            .map_err(Into::into)
            .and_then(|()| paint(&area))
            .and_then(|()| area.present().map_err(Into::into))
    };
    match painted {
        Ok(()) => Ok(Figure { name, svg }),
        Err(why) => Err(ReportError::Figure {
            figure: name,
            why: why.to_string(),
        }),
    }
}

/// Text of a size.
pub(super) fn text(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Text whose middle stands at its place.
pub(super) fn centred(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Center, VPos::Center))
}

/// The title, and below it what the colours stand for.
pub(super) fn head(area: &Area<'_>, title: &str, legend: &[&str]) -> Painted {
    area.draw(&Text::new(title.to_owned(), (16, 12), text(18)))?;
    let mut x = 24;
    let left = text(13).pos(Pos::new(HPos::Left, VPos::Center));
    for (n, name) in legend.iter().enumerate() {
        area.draw(&mark((x, 46), n, 5))?;
        area.draw(&Text::new((*name).to_owned(), (x + 12, 46), left.clone()))?;
        x += 48 + 8 * name.chars().count() as i32;
    }
    Ok(())
}

/// The mark of the `n`-th kind: shapes tell kinds apart where colours do not.
pub(super) fn mark<'a, C: Clone + 'static>(
    at: C,
    n: usize,
    size: i32,
) -> DynElement<'static, SVGBackend<'a>, C> {
    let style = colour(n).filled();
    match n % 3 {
        0 => Circle::new(at, size, style).into_dyn(),
        1 => TriangleMarker::new(at, size + 1, style).into_dyn(),
        _ => Cross::new(at, size, colour(n).stroke_width(2)).into_dyn(),
    }
}

/// Panels in rows of at most `most`, all rows as full as each other.
pub(super) fn grid(count: usize, most: usize) -> (usize, usize) {
    let rows = count.div_ceil(most).max(1);
    (rows, count.div_ceil(rows).max(1))
}
