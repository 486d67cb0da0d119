//! Fonts of the figures: DejaVu Sans, and others for the characters that it lacks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use fontdb::{Database, FaceInfo, Source, Style, Weight};
use ttf_parser::Face;

use crate::error::{ReportError, Result};

/// Where the characters that DejaVu Sans lacks are drawn from: a font file, or the fonts of the system.
#[derive(Debug, Clone, Default)]
pub struct Fonts {
    /// The faces of the file that is named.
    named: Option<Arc<Database>>,
}

/// One face of a font file.
#[derive(Clone)]
struct Candidate {
    /// Faces of equal coverage are taken in this order: regular upright ones, sans-serif ones, by path.
    order: (bool, bool, PathBuf, u32),
    data: Arc<dyn AsRef<[u8]> + Send + Sync>,
    index: u32,
}

/// The fonts of one figure.
pub(super) struct Chosen {
    /// DejaVu Sans, then the faces that have what it lacks.
    pub database: Arc<Database>,
    /// Whether it has no other face.
    pub is_plain: bool,
    /// The characters that no font has.
    pub missing: Vec<char>,
}

/// DejaVu Sans, the same on every machine.
static PLAIN: LazyLock<Arc<Database>> = LazyLock::new(|| Arc::new(plain()));
static SYSTEM: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_system_fonts();
    Arc::new(fonts)
});

fn plain() -> Database {
    let mut fonts = Database::new();
    // One face only: svg2pdf writes several in an order that differs from run to run.
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    fonts
}

impl Fonts {
    /// The fonts of the system. They are looked for only when a figure has a character that DejaVu Sans lacks.
    pub fn system() -> Fonts {
        Fonts::default()
    }

    /// A font file (.ttf, .otf, .ttc); the fonts of the system have what it lacks.
    ///
    /// # Errors
    /// [`ReportError::Font`] for a file that cannot be read or is no font.
    pub fn named(path: &Path) -> Result<Fonts> {
        let failed = |why: String| ReportError::Font {
            path: path.to_owned(),
            why,
        };
        let data = engram_core::files::read(path).map_err(|e| failed(e.to_string()))?;
        let mut fonts = Database::new();
        if fonts
            .load_font_source(Source::Binary(Arc::new(data)))
            .is_empty()
        {
            return Err(failed(
                "it is no font; expected TrueType or OpenType (.ttf, .otf, .ttc)".to_owned(),
            ));
        }
        Ok(Fonts {
            named: Some(Arc::new(fonts)),
        })
    }

    /// The fonts for a text.
    pub(super) fn of(&self, text: &str) -> Chosen {
        let mut left: BTreeSet<char> = text.chars().filter(|c| is_drawn(*c)).collect();
        if let Some(info) = PLAIN.faces().next() {
            left.retain(|c| !has(&PLAIN, info, *c));
        }
        if left.is_empty() {
            return Chosen {
                database: Arc::clone(&PLAIN),
                is_plain: true,
                missing: Vec::new(),
            };
        }
        let mut database = plain();
        let mut is_plain = true;
        for fonts in self.named.iter().chain([&*SYSTEM]) {
            while let Some(best) = best(fonts, &left) {
                let loaded = database.load_font_source(Source::Binary(best.data));
                for id in loaded {
                    match database.face(id) {
                        Some(face) if face.index == best.index => {
                            let face = face.clone();
                            left.retain(|c| !has(&database, &face, *c));
                        }
                        _ => database.remove_face(id),
                    }
                }
                is_plain = false;
            }
        }
        Chosen {
            database: Arc::new(database),
            is_plain,
            missing: left.into_iter().collect(),
        }
    }
}

/// Whether a character has a glyph at all: blanks, marks of direction and selectors of variants have none.
fn is_drawn(c: char) -> bool {
    let is_silent = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}');
    !c.is_control() && !c.is_whitespace() && !is_silent
}

fn has(fonts: &Database, info: &FaceInfo, c: char) -> bool {
    let found = fonts.with_face_data(info.id, |data, index| {
        Face::parse(data, index).is_ok_and(|face| face.glyph_index(c).is_some())
    });
    found.unwrap_or(false)
}

/// The face that has most of the characters, if one has any.
fn best(fonts: &Database, wanted: &BTreeSet<char>) -> Option<Candidate> {
    let mut best: Option<(usize, Candidate)> = None;
    for info in fonts.faces() {
        let found = fonts.with_face_data(info.id, |data, index| {
            let face = Face::parse(data, index).ok()?;
            let count = wanted.iter().filter(|c| face.glyph_index(**c).is_some());
            Some(count.count())
        });
        let Some(count) = found.flatten().filter(|n| *n > 0) else {
            continue;
        };
        let order = order(info);
        let is_better = best
            .as_ref()
            .is_none_or(|(most, before)| count > *most || count == *most && order < before.order);
        if is_better {
            let data = fonts.with_face_data(info.id, |data, _| Arc::new(data.to_vec()))?;
            let candidate = Candidate {
                order,
                data,
                index: info.index,
            };
            best = Some((count, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn order(info: &FaceInfo) -> (bool, bool, PathBuf, u32) {
    let is_regular = info.weight == Weight::NORMAL && info.style == Style::Normal;
    let is_sans = info.families.iter().any(|(name, _)| name.contains("Sans"));
    let path = match &info.source {
        Source::File(path) => path.clone(),
        _ => PathBuf::new(),
    };
    (!is_regular, !is_sans, path, info.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_greek_and_cyrillic_need_no_other_font() {
        let chosen = Fonts::system().of("Δlogit эпилепсия − × ○ seizure\u{200b}\n");
        assert!(chosen.is_plain && chosen.missing.is_empty());
    }

    /// A character of a private area, which no font of a machine should have.
    #[test]
    fn what_no_font_has_is_said() {
        let chosen = Fonts::system().of("a\u{10fffd}b");
        assert_eq!(chosen.missing, ['\u{10fffd}']);
    }
}
