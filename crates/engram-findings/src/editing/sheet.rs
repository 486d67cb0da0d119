//! Edit rows gathered by set of layers, checked, with the cluster of each fact.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::{EditRow, Method, Score, WinRate};
use engram_stats::{Interval, Resampling, cluster_mean_interval, proportion_interval};

use crate::context::Context;
use crate::editing::EditResults;
use crate::error::{FindingsError, Result, if_enough};
use crate::study::Settings;

/// One model's edit rows.
pub(crate) struct Sheet<'a> {
    pub settings: Settings,
    /// `edit NAME of MODEL`: what errors name.
    pub what: String,
    pub method: Method,
    pub kinds: Vec<String>,
    /// Sets of layers in ascending order, and their rows in the order of the file.
    pub rows: BTreeMap<&'a [usize], Vec<&'a EditRow>>,
    clusters: BTreeMap<&'a str, usize>,
}

impl<'a> Sheet<'a> {
    pub fn new(context: &Context<'_>, results: &'a EditResults) -> Result<Sheet<'a>> {
        let what = format!("edit {} of {}", results.name, results.model);
        let mut rows: BTreeMap<&[usize], Vec<&EditRow>> = BTreeMap::new();
        let mut clusters = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for row in &results.rows {
            check(&what, row)?;
            if !seen.insert((&row.layers, &row.request)) {
                return Err(FindingsError::DuplicateRow {
                    condition: what,
                    pair: row.request.clone(),
                    place: format!("layers {:?}", row.layers),
                    metric: results.method.to_string(),
                });
            }
            rows.entry(&row.layers).or_default().push(row);
            // A fact that the suite does not have is a cluster of its own.
            let own = context.pairs.len() + clusters.len();
            let cluster = (context.find(&row.request)).map_or(own, |i| context.clusters[i]);
            clusters.entry(row.request.as_str()).or_insert(cluster);
        }
        let named = results.rows.iter().filter_map(|r| r.kind.as_deref());
        Ok(Sheet {
            settings: context.settings,
            what,
            method: results.method,
            kinds: context.kinds_of(named),
            rows,
            clusters,
        })
    }

    /// All facts, then each kind where there are several.
    pub fn groups(&self) -> Vec<Option<&str>> {
        let several = self.kinds.len() > 1;
        let named = self.kinds.iter().filter(|_| several);
        let named = named.map(|kind| Some(kind.as_str()));
        std::iter::once(None).chain(named).collect()
    }

    /// The rows of some layers, of a kind or of all facts.
    pub fn of(&self, layers: &[usize], kind: Option<&str>) -> Vec<&'a EditRow> {
        let rows = self.rows.get(layers).into_iter().flatten().copied();
        rows.filter(|r| kind.is_none() || r.kind.as_deref() == kind)
            .collect()
    }

    /// The cluster of an edit; edits made at once are one.
    pub fn cluster(&self, request: &str) -> usize {
        self.clusters.get(request).copied().unwrap_or(usize::MAX)
    }

    /// How intervals are made.
    pub fn resampling(&self) -> Resampling {
        let s = &self.settings;
        Resampling::bca(s.resamples, s.level, s.seed)
    }

    /// Interval of the mean over edits, clusters resampled; `None` for fewer than two.
    pub fn interval(&self, values: &[(&str, f64)]) -> Result<Option<Interval>> {
        let values = values.iter().map(|(edit, v)| (self.cluster(edit), *v));
        let values: Vec<(usize, f64)> = values.collect();
        let found = cluster_mean_interval(&values, self.resampling());
        Ok(if_enough(found, || self.what.clone())?.ok())
    }

    /// Interval of the mean of shares from 0 to 1: the wider, at each end, of [`Sheet::interval`] and Wilson's, in which a
    /// cluster is a trial. Resampled clusters that all agree would leave no room for chance.
    pub fn share_interval(&self, values: &[(&str, f64)]) -> Result<Option<Interval>> {
        let Some(mut interval) = self.interval(values)? else {
            return Ok(None);
        };
        let clusters: BTreeSet<usize> = values.iter().map(|(edit, _)| self.cluster(edit)).collect();
        let trials = clusters.len();
        let won = (interval.estimate * trials as f64).round() as usize;
        let wilson = proportion_interval(won.min(trials), trials, self.settings.level);
        if let Ok(wilson) = if_enough(wilson, || self.what.clone())? {
            interval.lower = interval.lower.min(wilson.lower);
            interval.upper = interval.upper.max(wilson.upper);
        }
        Ok(Some(interval))
    }
}

/// Refuses NaN and infinities.
fn check(what: &str, row: &EditRow) -> Result<()> {
    let of = |score: &Score| [score.efficacy, score.paraphrase, score.neighbourhood];
    let won = of(&row.before).into_iter().chain(of(&row.after)).flatten();
    let values = won.flat_map(|w: WinRate| {
        let found = [("said", w.said), ("probability", w.probability)];
        let found = found.into_iter().filter_map(|(name, v)| Some((name, v?)));
        [("score", w.score), ("magnitude", w.magnitude)]
            .into_iter()
            .chain(found)
    });
    let mut values = values.chain([("loss", row.fit.loss)]);
    match values.find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((column, value)) => Err(FindingsError::NotFinite {
            condition: what.to_owned(),
            pair: row.request.clone(),
            place: format!("layers {:?}", row.layers),
            column,
            value,
        }),
    }
}
