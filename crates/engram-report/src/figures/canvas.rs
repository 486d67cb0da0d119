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

/// Width of a text of a size, in units: letters of wide scripts and emoji are as wide as they are high, others three fifths
/// of that on average.
pub(super) fn width(text: &str, size: i32) -> i32 {
    let tenths: i32 = text.chars().map(|c| if is_wide(c) { 10 } else { 6 }).sum();
    (tenths * size).div_euclid(10)
}

/// Hangul, kana, Han, fullwidth forms and emoji (East Asian Width W and F, in blocks).
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}')
        || matches!(c, '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}')
        || matches!(c, '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
}

/// A text that is no wider than `room` at a size: what does not fit is left out of its middle, since names often differ at
/// their ends.
pub(super) fn fitted(text: &str, size: i32, room: i32) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let mut kept = letters.len().saturating_sub(1);
    loop {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let short: String = letters[..head]
            .iter()
            .chain(&['…'])
            .chain(&letters[letters.len() - tail..])
            .collect();
        if kept == 0 || width(&short, size) <= room {
            return short;
        }
        kept -= 1;
    }
}

/// A title that is no wider than `room`: of "NAME: what is shown", the name is shortened first.
fn shortened(title: &str, size: i32, room: i32) -> String {
    match title.split_once(": ") {
        Some((name, shown)) => {
            let shown = format!(": {shown}");
            // A few letters of the name are the least that tells one from another.
            let left = (room - width(&shown, size)).max(8 * size);
            fitted(&format!("{}{shown}", fitted(name, size, left)), size, room)
        }
        None => fitted(title, size, room),
    }
}

/// The title, and below it what the colours stand for, both as wide as the sheet at most.
pub(super) fn head(area: &Area<'_>, title: &str, legend: &[&str]) -> Painted {
    let wide = area.dim_in_pixel().0 as i32;
    let title = shortened(title, 18, wide - 32);
    area.draw(&Text::new(title, (16, 12), text(18)))?;
    let mut x = 24;
    let left = text(13).pos(Pos::new(HPos::Left, VPos::Center));
    let whole: i32 = legend.iter().map(|name| 50 + width(name, 14)).sum();
    let room = match whole > wide - 24 {
        true => (wide - 24) / legend.len().max(1) as i32 - 52,
        false => wide,
    };
    for (n, name) in legend.iter().enumerate() {
        let name = fitted(name, 13, room);
        area.draw(&mark((x, 46), n, 5))?;
        let wide = name.chars().filter(|c| is_wide(*c)).count();
        let step = 48 + 8 * (name.chars().count() + wide) as i32;
        area.draw(&Text::new(name, (x + 12, 46), left.clone()))?;
        x += step;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_loses_its_middle() {
        assert_eq!(fitted("short", 10, 100), "short");
        let name = fitted("a-long-name-of-a-model-seed-7", 10, 100);
        assert!(
            name.starts_with("a-long-") && name.ends_with("-seed-7"),
            "{name}"
        );
        assert!(width(&name, 10) <= 100 && name.contains('…'));
        let title = shortened("a-long-name-of-a-model-seed-7: by layer", 10, 200);
        assert!(
            title.starts_with("a-long-") && title.ends_with("-seed-7: by layer"),
            "{title}"
        );
        // Letters of wide scripts take more room.
        assert_eq!(width("漢字", 10), 20);
        assert_eq!(fitted("漢字漢字漢字", 10, 40), "漢字…字");
        assert_eq!(fitted("ab", 10, 0), "…");
    }
}
