//! `[paper]` of a study file: the published study is reproduced beside this one.

use serde::{Deserialize, Serialize};

use super::Study;

/// The published protocol on some pairs. A study with this section has the published figures in its report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The models' names.
    pub models: Vec<String>,
    /// How many pairs, half of each kind: at least 4.
    pub pairs: usize,
}

impl Study {
    /// Whether a model is swept under the published protocol.
    pub(crate) fn asks_published(&self, model: &str) -> bool {
        let asked = self.published.iter().flat_map(|p| &p.models);
        asked.into_iter().any(|m| m == model)
    }
}
