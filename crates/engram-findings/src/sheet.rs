//! Rows gathered into sheets: for each measure, a value per layer and pair.

use std::collections::BTreeMap;

use engram_core::{Direction, Row};

use crate::context::Context;
use crate::error::{FindingsError, Result};
use crate::layout::{Layout, layout};
use crate::measure::{Measure, Scope};
use crate::parts::PartKind;

/// One pair's value at one place, averaged over noise samples.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    recovery_sum: f64,
    recoveries: usize,
    gain_sum: f64,
    gap_sum: f64,
    samples: Vec<Option<i64>>,
    /// Whether every sample's row is trivial.
    pub trivial: bool,
    pub trivial_why: Option<String>,
}

impl Cell {
    fn add(&mut self, row: &Row) -> bool {
        if self.samples.contains(&row.sample) {
            return false;
        }
        self.trivial = row.trivial && (self.samples.is_empty() || self.trivial);
        self.samples.push(row.sample);
        if let Some(recovery) = row.recovery {
            self.recovery_sum += recovery;
            self.recoveries += 1;
        }
        self.gain_sum += if row.direction == Direction::Noise.name() {
            row.clean - row.patched
        } else {
            row.patched - row.corrupt
        };
        self.gap_sum += row.clean - row.corrupt;
        if self.trivial_why.is_none() {
            self.trivial_why.clone_from(&row.trivial_why);
        }
        true
    }

    /// The recovery; `None` where the sweep gave none.
    pub fn recovery(&self) -> Option<f64> {
        (self.recoveries > 0).then(|| self.recovery_sum / self.recoveries as f64)
    }

    /// What the patch changed: the numerator of the recovery.
    pub fn gain(&self) -> f64 {
        self.gain_sum / self.samples.len().max(1) as f64
    }

    /// Clean less corrupt: the denominator of the recovery.
    pub fn gap(&self) -> f64 {
        self.gap_sum / self.samples.len().max(1) as f64
    }
}

/// Values by pair.
pub(crate) type ByPair = BTreeMap<usize, Cell>;

/// One value per layer and pair.
pub(crate) struct Sheet {
    pub measure: Measure,
    /// `None` is a site that stands once in the model.
    pub layers: BTreeMap<Option<i64>, ByPair>,
}

/// One value per pair, layer and position.
pub(crate) struct PositionSheet {
    pub measure: Measure,
    pub cells: BTreeMap<usize, BTreeMap<(Option<i64>, i64), Cell>>,
    pub tokens: BTreeMap<usize, BTreeMap<i64, Option<String>>>,
    pub layouts: BTreeMap<usize, Layout>,
}

/// One value per layer, head or neuron, and pair.
pub(crate) struct PartSheet {
    pub measure: Measure,
    pub part: PartKind,
    pub cells: BTreeMap<(i64, i64), ByPair>,
}

/// A condition's rows, gathered.
pub(crate) struct Sheets {
    pub whole: Vec<Sheet>,
    pub by_position: Vec<PositionSheet>,
    pub parts: Vec<PartSheet>,
    /// Rows that this crate does not yet read: heads and neurons by position, pattern entries, windows.
    pub unread: usize,
}

/// Gathers the rows of one condition; sheets in the order of their measures. For rows by position
/// the last token and the subject's last token become sheets of their own.
pub(crate) fn gather(context: &Context<'_>, condition: &str, rows: &[Row]) -> Result<Sheets> {
    let mut whole: Vec<Sheet> = Vec::new();
    let mut by_position: Vec<PositionSheet> = Vec::new();
    let mut parts: Vec<PartSheet> = Vec::new();
    let mut part_index = indexmap::IndexMap::new();
    let mut whole_index = indexmap::IndexMap::new();
    let mut position_index = indexmap::IndexMap::new();
    let mut unread = 0;
    for row in rows {
        check_finite(condition, row)?;
        let pair = context.pair(&row.pair, condition)?;
        let scope = match (row.position, &row.token) {
            (None, Some(_)) => Scope::Subject,
            _ => Scope::All,
        };
        let measure = Measure::of(row, scope);
        let part = match (row.head, row.unit) {
            (Some(head), _) => Some((PartKind::Head, head)),
            (None, unit) => unit.map(|unit| (PartKind::Neuron, unit)),
        };
        let within_one = row.position.or(row.query).or(row.key);
        if (part.is_some() && within_one.is_some())
            || row.query.or(row.key).is_some()
            || row.window.is_some_and(|w| w > 1)
        {
            unread += 1;
            continue;
        }
        let cell = if let (Some((part, index)), Some(layer)) = (part, row.layer) {
            let i = *part_index
                .entry((measure.clone(), part))
                .or_insert_with(|| {
                    parts.push(PartSheet {
                        measure,
                        part,
                        cells: BTreeMap::new(),
                    });
                    parts.len() - 1
                });
            let by_pair = parts[i].cells.entry((layer, index)).or_default();
            by_pair.entry(pair).or_default()
        } else if let Some(position) = row.position {
            let i = *position_index.entry(measure.clone()).or_insert_with(|| {
                by_position.push(PositionSheet {
                    measure,
                    cells: BTreeMap::new(),
                    tokens: BTreeMap::new(),
                    layouts: BTreeMap::new(),
                });
                by_position.len() - 1
            });
            let sheet = &mut by_position[i];
            let tokens = sheet.tokens.entry(pair).or_default();
            tokens.entry(position).or_insert_with(|| row.token.clone());
            let cells = sheet.cells.entry(pair).or_default();
            cells.entry((row.layer, position)).or_default()
        } else {
            let i = *whole_index.entry(measure.clone()).or_insert_with(|| {
                whole.push(Sheet {
                    measure,
                    layers: BTreeMap::new(),
                });
                whole.len() - 1
            });
            let layer = whole[i].layers.entry(row.layer).or_default();
            layer.entry(pair).or_default()
        };
        if !cell.add(row) {
            return Err(FindingsError::DuplicateRow {
                condition: condition.to_owned(),
                pair: row.pair.clone(),
                place: row.name.clone(),
                metric: row.metric.clone(),
            });
        }
    }
    for sheet in &mut by_position {
        for (&pair, tokens) in &sheet.tokens {
            let found = layout(&context.pairs[pair], &sheet.measure.direction, tokens);
            sheet.layouts.insert(pair, found);
        }
        whole.extend(at_scope(sheet, Scope::SubjectLast));
        whole.extend(at_scope(sheet, Scope::Last));
    }
    whole.sort_by_cached_key(|s| s.measure.order());
    by_position.sort_by_cached_key(|s| s.measure.order());
    parts.sort_by_cached_key(|s| (s.measure.order(), s.part));
    Ok(Sheets {
        whole,
        by_position,
        parts,
        unread,
    })
}

/// The cells of one position of each pair.
fn at_scope(sheet: &PositionSheet, scope: Scope) -> Option<Sheet> {
    let mut layers: BTreeMap<Option<i64>, ByPair> = BTreeMap::new();
    for (&pair, cells) in &sheet.cells {
        let layout = &sheet.layouts[&pair];
        let wanted = match scope {
            Scope::SubjectLast => layout.subject_last,
            _ => Some(layout.last),
        };
        for (&(layer, position), cell) in cells {
            if Some(position) == wanted {
                layers.entry(layer).or_default().insert(pair, cell.clone());
            }
        }
    }
    let measure = Measure {
        scope,
        ..sheet.measure.clone()
    };
    (!layers.is_empty()).then_some(Sheet { measure, layers })
}

/// Refuses NaN and infinities.
pub(crate) fn check_finite(condition: &str, row: &Row) -> Result<()> {
    let columns = [
        ("clean", Some(row.clean)),
        ("corrupt", Some(row.corrupt)),
        ("patched", Some(row.patched)),
        ("recovery", row.recovery),
    ];
    for (column, value) in columns {
        if let Some(value) = value.filter(|v| !v.is_finite()) {
            return Err(FindingsError::NotFinite {
                condition: condition.to_owned(),
                pair: row.pair.clone(),
                place: format!("site {}, metric {}", row.name, row.metric),
                column,
                value,
            });
        }
    }
    Ok(())
}
