//! From SVG to PNG and PDF, with a font of our own, so that a machine without fonts draws the same. Characters that it lacks
//! are drawn from other fonts.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use svg2pdf::{ConversionOptions, PageOptions};

use super::Figure;
use super::fonts::Chosen;
use crate::error::{ReportError, Result};

/// Pixels of a PNG to a unit of the SVG.
const SCALE: f32 = 2.5;

fn failed(figure: &Figure, why: impl ToString) -> ReportError {
    ReportError::Figure {
        figure: figure.name.clone(),
        why: why.to_string(),
    }
}

fn tree(figure: &Figure, fonts: &Chosen) -> Result<Tree> {
    let options = Options {
        font_family: "DejaVu Sans".to_owned(),
        fontdb: Arc::clone(&fonts.database),
        ..Options::default()
    };
    Tree::from_str(&figure.svg, &options).map_err(|e| failed(figure, e))
}

pub(super) fn png(figure: &Figure, fonts: &Chosen) -> Result<Vec<u8>> {
    let tree = tree(figure, fonts)?;
    let size = tree.size().to_int_size().scale_by(SCALE);
    let mut pixels = size
        .and_then(|size| Pixmap::new(size.width(), size.height()))
        .ok_or_else(|| failed(figure, "no size"))?;
    let scale = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(figure, e))
}

pub(super) fn pdf(figure: &Figure, fonts: &Chosen) -> Result<Vec<u8>> {
    let options = ConversionOptions {
        // svg2pdf writes several fonts in an order that differs from run to run; outlines have none.
        embed_text: fonts.is_plain,
        ..ConversionOptions::default()
    };
    let bytes = svg2pdf::to_pdf(&tree(figure, fonts)?, options, PageOptions::default());
    Ok(ordered(&bytes.map_err(|e| failed(figure, e))?))
}

/// The same document with neighbouring references of each dictionary sorted by name: svg2pdf writes them
/// in an order that differs from run to run and means nothing. No length changes, so that every offset holds.
fn ordered(pdf: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = pdf.split(|b| *b == b'\n').collect();
    for run in lines.chunk_by_mut(|a, b| is_reference(a) && is_reference(b)) {
        run.sort_unstable();
    }
    lines.join(&b'\n')
}

/// Whether a line is an entry of a dictionary that refers to an object: `  /gs0 12 0 R`.
fn is_reference(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else {
        return false;
    };
    let number = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    matches!(words[..], [name, object, generation, "R"]
        if name.starts_with('/') && number(object) && number(generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_sorted_within_their_dictionary() {
        let (a, b) = (
            "<<\n  /gs1 7 0 R\n  /gs0 5 0 R\n>>\n<<\n  /a 1 0 R\n>>",
            "<<\n  /gs0 5 0 R\n  /gs1 7 0 R\n>>\n<<\n  /a 1 0 R\n>>",
        );
        assert_eq!(ordered(a.as_bytes()), b.as_bytes());
        assert_eq!(ordered(b"/Kids [4 0 R]\n\xff R"), b"/Kids [4 0 R]\n\xff R");
    }
}
