//! `[paper]` of a study file: the published study is reproduced beside this one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Study;

/// The published protocol on some pairs. A study with this section has the published figures in its report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The models' names.
    pub models: Vec<String>,
    /// Questions with a correct and a corrupted answer, in the published form.
    #[serde(default)]
    pub questions: Option<PathBuf>,
    /// How many pairs are made from the fact table in place of a file, half of each kind: at least 4.
    #[serde(default)]
    pub pairs: Option<usize>,
}

impl Study {
    /// Whether a model is swept under the published protocol.
    pub(crate) fn asks_published(&self, model: &str) -> bool {
        let asked = self.published.iter().flat_map(|p| &p.models);
        asked.into_iter().any(|m| m == model)
    }
}
