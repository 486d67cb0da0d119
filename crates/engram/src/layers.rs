//! Which layers are edited.

use std::path::Path;

use engram_core::Row;
use engram_edit::{Chosen, Editor};
use engram_findings::editing::best_layer;
use serde::{Deserialize, Serialize};

use crate::edits::EditSweep;
use crate::error::{Error, Result};
use crate::results::PATCH;

/// Which layers are edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum LayerChoice {
    /// This one.
    One(usize),
    /// From one to another, both included.
    Range(usize, usize),
    /// Where patching the MLP's output recovers most.
    Auto,
    /// Every one.
    All,
}

impl std::str::FromStr for LayerChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<LayerChoice, String> {
        let number = |n: &str| {
            let wrong = |_| format!("\"{n}\": expected N, N-M, auto or all");
            n.trim().parse::<usize>().map_err(wrong)
        };
        match (text, text.split_once('-')) {
            ("auto", _) => Ok(LayerChoice::Auto),
            ("all", _) => Ok(LayerChoice::All),
            (_, Some((from, to))) => match (number(from)?, number(to)?) {
                (from, to) if from <= to => Ok(LayerChoice::Range(from, to)),
                _ => Err(format!("{text}: the first layer is above the last")),
            },
            (one, None) => Ok(LayerChoice::One(number(one)?)),
        }
    }
}

/// A choice of layers as a study file has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected N, \"N-M\", \"auto\" or \"all\"")]
enum Written {
    Number(usize),
    Text(String),
}

impl TryFrom<Written> for LayerChoice {
    type Error = String;

    fn try_from(written: Written) -> Result<LayerChoice, String> {
        match written {
            Written::Number(layer) => Ok(LayerChoice::One(layer)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl std::fmt::Display for LayerChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LayerChoice::One(layer) => write!(f, "{layer}"),
            LayerChoice::Range(from, to) => write!(f, "{from}-{to}"),
            LayerChoice::Auto => f.write_str("auto"),
            LayerChoice::All => f.write_str("all"),
        }
    }
}

impl From<LayerChoice> for String {
    fn from(choice: LayerChoice) -> String {
        choice.to_string()
    }
}

/// The sets of layers that are edited one by one; `together`, a range is one set. `sweep` has the rows of a sweep of
/// `mlp_out`, by whose recovery of some pairs `auto` chooses.
pub fn layer_sets(
    choice: LayerChoice,
    together: bool,
    layers: usize,
    sweep: Option<&[Row]>,
    pairs: &[&str],
) -> Result<Vec<Vec<usize>>> {
    Ok(match choice {
        LayerChoice::One(layer) => vec![vec![layer]],
        LayerChoice::Range(from, to) if together => vec![(from..=to).collect()],
        LayerChoice::Range(from, to) => (from..=to).map(|l| vec![l]).collect(),
        LayerChoice::All if together => vec![(0..layers).collect()],
        LayerChoice::All => (0..layers).map(|l| vec![l]).collect(),
        LayerChoice::Auto => {
            let Some(rows) = sweep else {
                let why = "it needs --recovery: a folder with a sweep of mlp_out";
                return Err(Error::asked("--layer auto", why));
            };
            let best = best_layer(rows, pairs).ok_or_else(|| {
                let why = "the sweep has no recovery of mlp_out to choose a layer by; sweep it, or name a layer";
                Error::asked("--layer auto", why)
            })?;
            vec![vec![best]]
        }
    })
}

/// The sets of layers of a sweep of edits.
pub fn chosen_layers(
    choice: LayerChoice,
    sweep: &EditSweep<'_>,
    chosen: &Chosen,
    rows: Option<&[Row]>,
) -> Result<Vec<Vec<usize>>> {
    let names: Vec<&str> = (chosen.cases.iter())
        .map(|c| c.case.request.id.as_str())
        .collect();
    let together = Editor::edits_together(sweep.method);
    let layers = sweep.reader.model().architecture().layers();
    layer_sets(choice, together, layers, rows, &names)
}

/// The rows of the sweep in a folder, where one is named.
pub fn recovery(folder: Option<&Path>) -> Result<Option<Vec<Row>>> {
    let read = |folder: &Path| Ok(Row::read_parquet(&folder.join(PATCH))?);
    folder.map(read).transpose()
}
