//! From SVG to PNG and PDF, with a font of our own, so that a machine without fonts draws the same.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};
use svg2pdf::{ConversionOptions, PageOptions};

use super::Figure;
use crate::error::{ReportError, Result};

/// Pixels of a PNG to a unit of the SVG.
const SCALE: f32 = 2.5;

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.load_font_data(dejavu::sans::bold().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    Arc::new(fonts)
});

fn failed(figure: &Figure, why: impl ToString) -> ReportError {
    ReportError::Figure {
        figure: figure.name.clone(),
        why: why.to_string(),
    }
}

fn tree(figure: &Figure) -> Result<Tree> {
    let options = Options {
        font_family: "DejaVu Sans".to_owned(),
        fontdb: Arc::clone(&FONTS),
        ..Options::default()
    };
    Tree::from_str(&figure.svg, &options).map_err(|e| failed(figure, e))
}

pub(super) fn png(figure: &Figure) -> Result<Vec<u8>> {
    let tree = tree(figure)?;
    let size = tree.size().to_int_size().scale_by(SCALE);
    let mut pixels = size
        .and_then(|size| Pixmap::new(size.width(), size.height()))
        .ok_or_else(|| failed(figure, "no size"))?;
    let scale = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(figure, e))
}

pub(super) fn pdf(figure: &Figure) -> Result<Vec<u8>> {
    let options = ConversionOptions::default();
    svg2pdf::to_pdf(&tree(figure)?, options, PageOptions::default()).map_err(|e| failed(figure, e))
}
