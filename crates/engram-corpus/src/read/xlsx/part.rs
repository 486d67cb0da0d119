//! The XML of one part of a workbook: attributes, names, and why a part cannot be read.

use std::path::Path;
use std::sync::Arc;

use quick_xml::XmlVersion;
use quick_xml::events::BytesStart;

use super::super::limits::{self, BOMB_TIMES, RECORD_LIMIT, TooLong, Unending};
use crate::error::CorpusError;

/// Why a part cannot be read.
pub(super) enum Fault {
    Io(std::io::Error),
    Why(String),
    /// The sheet has no column of a corpus.
    Unfit(CorpusError),
    Corpus(CorpusError),
}

impl Fault {
    pub(super) fn why(why: impl Into<String>) -> Fault {
        Fault::Why(why.into())
    }

    pub(super) fn tell(self, path: &Path, part: &str) -> CorpusError {
        let path = path.to_owned();
        let why = match self {
            Fault::Corpus(error) | Fault::Unfit(error) => return error,
            Fault::Io(error) if limits::is::<Unending>(&error) => {
                return CorpusError::Bomb {
                    path,
                    times: BOMB_TIMES,
                };
            }
            Fault::Io(error) if !limits::is::<TooLong>(&error) => error.to_string(),
            Fault::Io(_) => format!("a row or an element is longer than {RECORD_LIMIT} bytes"),
            Fault::Why(why) => why,
        };
        CorpusError::Sheet {
            path,
            why: format!("{part}: {why}"),
        }
    }
}

impl From<quick_xml::Error> for Fault {
    fn from(error: quick_xml::Error) -> Fault {
        match error {
            quick_xml::Error::Io(error) => Fault::Io(
                Arc::try_unwrap(error)
                    .unwrap_or_else(|e| std::io::Error::new(e.kind(), e.to_string())),
            ),
            error => Fault::why(error.to_string()),
        }
    }
}

pub(super) fn local(start: &BytesStart<'_>) -> String {
    AsRef::<str>::as_ref(&start.local_name()).to_owned()
}

/// The value of an attribute, found by name.
pub(super) fn attribute(
    start: &BytesStart<'_>,
    is: impl Fn(&str) -> bool,
) -> Result<Option<String>, Fault> {
    for found in start.attributes().with_checks(false) {
        let found = found.map_err(|e| Fault::why(e.to_string()))?;
        if is(AsRef::<str>::as_ref(&found.key)) {
            let value = found.normalized_value(XmlVersion::default());
            let value = value.map_err(|e| Fault::why(e.to_string()))?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}
