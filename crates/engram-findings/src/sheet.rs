//! Rows gathered into sheets: for each measure, a value per layer and pair.

use std::collections::BTreeMap;

use engram_core::{Direction, Row};
use indexmap::IndexMap;

use crate::context::Context;
use crate::error::{FindingsError, Result};
use crate::layout::{Layout, PositionClass, layout};
use crate::measure::{Measure, Scope};
use crate::parts::PartKind;

/// One pair's value at one place, averaged over noise samples and, where a role has several positions, over those.
#[derive(Debug, Clone, Default)]
pub(crate) struct SheetCell {
    recovery_sum: f64,
    recoveries: usize,
    gain_sum: f64,
    gap_sum: f64,
    samples: Vec<Option<i64>>,
    /// Rows in the sums of gain and gap.
    rows: usize,
    /// Whether every row is trivial.
    pub trivial: bool,
    pub trivial_why: Option<String>,
}

impl SheetCell {
    fn add(&mut self, row: &Row) -> bool {
        if self.samples.contains(&row.sample) {
            return false;
        }
        self.trivial = row.trivial && (self.rows == 0 || self.trivial);
        self.samples.push(row.sample);
        self.rows += 1;
        if let Some(recovery) = row.recovery {
            self.recovery_sum += recovery;
            self.recoveries += 1;
        }
        self.gain_sum += if row.direction == Direction::Noise {
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

    /// The mean of several positions' cells; those that the graph fixes are left out where not all are.
    fn mean(cells: &[&SheetCell]) -> SheetCell {
        let trivial = cells.iter().all(|c| c.trivial);
        let mut mean = SheetCell {
            trivial,
            trivial_why: cells.iter().find_map(|c| c.trivial_why.clone()),
            ..SheetCell::default()
        };
        for cell in cells.iter().filter(|c| trivial || !c.trivial) {
            if let Some(recovery) = cell.recovery() {
                mean.recovery_sum += recovery;
                mean.recoveries += 1;
            }
            mean.gain_sum += cell.gain();
            mean.gap_sum += cell.gap();
            mean.rows += 1;
        }
        mean
    }

    /// The recovery; `None` where the sweep gave none.
    pub fn recovery(&self) -> Option<f64> {
        (self.recoveries > 0).then(|| self.recovery_sum / self.recoveries as f64)
    }

    /// What the patch changed: the numerator of the recovery.
    pub fn gain(&self) -> f64 {
        self.gain_sum / self.rows.max(1) as f64
    }

    /// Clean less corrupt: the denominator of the recovery.
    pub fn gap(&self) -> f64 {
        self.gap_sum / self.rows.max(1) as f64
    }
}

/// Values by pair.
pub(crate) type ByPair = BTreeMap<usize, SheetCell>;

/// One value per layer and pair.
#[derive(Clone)]
pub(crate) struct Sheet {
    pub measure: Measure,
    /// `None` is a site that stands once in the model.
    pub layers: BTreeMap<Option<i64>, ByPair>,
}

/// One value per pair, layer and position.
pub(crate) struct PositionSheet {
    pub measure: Measure,
    pub cells: BTreeMap<usize, BTreeMap<(Option<i64>, i64), SheetCell>>,
    pub tokens: BTreeMap<usize, BTreeMap<i64, Option<String>>>,
    pub layouts: BTreeMap<usize, Layout>,
    /// Values by layer and role. A pair with several positions of a role counts once, with their mean.
    pub roles: BTreeMap<(Option<i64>, PositionClass), ByPair>,
}

/// One value per layer, head or neuron, and pair. Parts patched position by position have a sheet for each role.
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
    /// Rows that this crate does not read: single entries of attention patterns.
    pub unread: usize,
}

/// Where a row is, within its measure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    layer: Option<i64>,
    index: Option<i64>,
    position: Option<i64>,
}

/// Rows of one measure, whole or in parts, at all positions or one at a time.
#[derive(Default)]
struct Gathered {
    cells: BTreeMap<usize, BTreeMap<Place, SheetCell>>,
    tokens: BTreeMap<usize, BTreeMap<i64, Option<String>>>,
}

/// Gathers the rows of one condition; sheets in the order of their measures. Positions are told apart by their role;
/// for whole sites the subject's last token and the last token are sheets of their own.
pub(crate) fn gather(context: &Context<'_>, condition: &str, rows: &[Row]) -> Result<Sheets> {
    let mut gathered: IndexMap<(Measure, Option<PartKind>, bool), Gathered> = IndexMap::new();
    let mut unread = 0;
    for row in rows {
        check_finite(condition, row)?;
        let pair = context.pair(&row.pair, condition)?;
        if row.key.is_some() {
            unread += 1;
            continue;
        }
        let scope = match (row.position, &row.token) {
            (None, Some(_)) => Scope::Subject,
            _ => Scope::All,
        };
        let part = match (row.layer, row.head, row.unit) {
            (Some(_), Some(head), _) => Some((PartKind::Head, head)),
            (Some(_), None, Some(unit)) => Some((PartKind::Neuron, unit)),
            _ => None,
        };
        let key = (
            Measure::of(row, scope),
            part.map(|p| p.0),
            row.position.is_some(),
        );
        let of_measure = gathered.entry(key).or_default();
        if let Some(position) = row.position {
            let tokens = of_measure.tokens.entry(pair).or_default();
            tokens.entry(position).or_insert_with(|| row.token.clone());
        }
        let place = Place {
            layer: row.layer,
            index: part.map(|p| p.1),
            position: row.position,
        };
        let cells = of_measure.cells.entry(pair).or_default();
        if !cells.entry(place).or_default().add(row) {
            return Err(FindingsError::DuplicateRow {
                condition: condition.to_owned(),
                pair: row.pair.clone(),
                place: row.name.clone(),
                metric: row.metric.to_string(),
            });
        }
    }
    let mut sheets = Sheets {
        whole: Vec::new(),
        by_position: Vec::new(),
        parts: Vec::new(),
        unread,
    };
    for ((measure, part, by_position), found) in gathered {
        match (part, by_position) {
            (None, false) => sheets.whole.push(whole(measure, found)),
            (None, true) => {
                let sheet = PositionSheet::new(context, measure, found);
                let ends = [Scope::SubjectLast, Scope::Last];
                let of_ends = sheet.by_scope().into_iter();
                (sheets.whole).extend(of_ends.filter(|s| ends.contains(&s.measure.scope)));
                sheets.by_position.push(sheet);
            }
            (Some(part), _) => sheets.parts.extend(of_parts(context, measure, part, found)),
        }
    }
    sheets.whole.sort_by_cached_key(|s| s.measure.order());
    sheets.by_position.sort_by_cached_key(|s| s.measure.order());
    (sheets.parts).sort_by_cached_key(|s| (s.measure.order(), s.part));
    Ok(sheets)
}

fn whole(measure: Measure, found: Gathered) -> Sheet {
    let mut layers: BTreeMap<Option<i64>, ByPair> = BTreeMap::new();
    for (pair, cells) in found.cells {
        for (place, cell) in cells {
            layers.entry(place.layer).or_default().insert(pair, cell);
        }
    }
    Sheet { measure, layers }
}

/// A sheet for each role of the position; one where all positions were patched together.
fn of_parts(
    context: &Context<'_>,
    measure: Measure,
    part: PartKind,
    found: Gathered,
) -> Vec<PartSheet> {
    let mut scopes: BTreeMap<Scope, BTreeMap<(i64, i64), ByPair>> = BTreeMap::new();
    for (pair, cells) in &found.cells {
        let layout = (found.tokens.get(pair))
            .map(|tokens| layout(&context.pairs[*pair], measure.direction, tokens));
        let mut places: BTreeMap<(Scope, i64, i64), Vec<&SheetCell>> = BTreeMap::new();
        for (place, cell) in cells {
            let class = (place.position).and_then(|p| layout.as_ref()?.classes.get(&p).copied());
            let scope = class.map_or(measure.scope, Scope::from);
            if let (Some(layer), Some(index)) = (place.layer, place.index) {
                places.entry((scope, layer, index)).or_default().push(cell);
            }
        }
        for ((scope, layer, index), cells) in places {
            let by_pair = scopes.entry(scope).or_default().entry((layer, index));
            by_pair.or_default().insert(*pair, SheetCell::mean(&cells));
        }
    }
    let sheet = |(scope, cells)| PartSheet {
        measure: measure.at(scope),
        part,
        cells,
    };
    scopes.into_iter().map(sheet).collect()
}

impl PositionSheet {
    fn new(context: &Context<'_>, measure: Measure, found: Gathered) -> PositionSheet {
        let layouts = found.tokens.iter().map(|(&pair, tokens)| {
            let found = layout(&context.pairs[pair], measure.direction, tokens);
            (pair, found)
        });
        let layouts: BTreeMap<usize, Layout> = layouts.collect();
        let mut by_pair: BTreeMap<usize, BTreeMap<(Option<i64>, i64), SheetCell>> = BTreeMap::new();
        for (pair, cells) in found.cells {
            let of_pair = by_pair.entry(pair).or_default();
            for (place, cell) in cells {
                if let Some(position) = place.position {
                    of_pair.insert((place.layer, position), cell);
                }
            }
        }
        let mut roles: BTreeMap<(Option<i64>, PositionClass), ByPair> = BTreeMap::new();
        for (pair, cells) in &by_pair {
            let classes = &layouts[pair].classes;
            let mut own: BTreeMap<_, Vec<&SheetCell>> = BTreeMap::new();
            for ((layer, position), cell) in cells {
                let place = (*layer, classes[position]);
                own.entry(place).or_default().push(cell);
            }
            for (place, cells) in own {
                let of_role = roles.entry(place).or_default();
                of_role.insert(*pair, SheetCell::mean(&cells));
            }
        }
        PositionSheet {
            measure,
            cells: by_pair,
            tokens: found.tokens,
            layouts,
            roles,
        }
    }
}

impl PositionSheet {
    /// A sheet for each role, of the same cells that a map by layer and role has.
    pub fn by_scope(&self) -> Vec<Sheet> {
        let mut scopes: BTreeMap<Scope, BTreeMap<Option<i64>, ByPair>> = BTreeMap::new();
        for ((layer, class), cells) in &self.roles {
            let layers = scopes.entry(Scope::from(*class)).or_default();
            layers.insert(*layer, cells.clone());
        }
        let sheet = |(scope, layers)| Sheet {
            measure: self.measure.at(scope),
            layers,
        };
        scopes.into_iter().map(sheet).collect()
    }
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
