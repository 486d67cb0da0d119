//! Whether finding a fact helps to edit it: Hase et al.'s regression (2023), and correlations within layers.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::{EditRow, Row};
use engram_stats::{
    DesignColumn, Interval, RSquaredGain, StatsError, dummies, r_squared_gain, spearman,
    statistic_interval,
};
use serde::{Deserialize, Serialize};

pub use crate::editing::join::{Joined, best_layer, join};
use crate::editing::sheet::Sheet;
use crate::error::{Result, if_enough};
use crate::words::{number, p_value, percent, plural};

/// What recovery adds to the layer in explaining the edits' scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Helps {
    /// What is explained: `efficacy` or `paraphrase`.
    pub score: String,
    /// What is added to what, in words.
    pub added: String,
    /// Facts.
    pub facts: usize,
    /// R² and its gain, with an interval over facts.
    pub explained: RSquaredGain,
}

/// Spearman's correlation of recovery and an edit's magnitude over facts within a layer, averaged over layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// `efficacy` or `paraphrase`.
    pub score: String,
    /// Facts.
    pub facts: usize,
    /// Each layer's ρ; layers where either does not vary are left out.
    pub layers: Vec<(usize, f64)>,
    /// Their mean.
    pub mean: f64,
    /// Bootstrap interval of the mean, facts resampled.
    pub interval: Option<Interval>,
}

/// Whether recovery says where to edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Facts and layers that have both.
    pub joined: Vec<Joined>,
    /// The layer at which `mlp_out` recovers most, over the edited facts.
    pub best_layer: Option<usize>,
    /// The nested regressions.
    pub helps: Vec<Helps>,
    /// Within layers.
    pub correlations: Vec<Correlation>,
    /// Whether recovery helps beyond the layer, in words.
    pub sentence: String,
}

type Explained = fn(&Joined) -> Option<f64>;

/// The scores that are explained: both are magnitudes, since shares saturate.
const SCORES: [(&str, Explained); 2] = [
    ("efficacy", |r| Some(r.efficacy)),
    ("paraphrase", |r| r.paraphrase),
];
/// What the second step of [`regressions`] adds.
const RECOVERY_ADDED: &str = "recovery to layer";

/// Whether recovery says where to edit; `None` where no row of a sweep is of these facts.
pub(crate) fn recovery(
    sheet: &Sheet<'_>,
    edits: &[EditRow],
    sweep: &[Row],
) -> Result<Option<Recovery>> {
    let joined = join(edits, sweep);
    if joined.is_empty() {
        return Ok(None);
    }
    let facts: BTreeSet<&str> = edits.iter().map(|r| r.request.as_str()).collect();
    let facts: Vec<&str> = facts.into_iter().collect();
    let helps = match sheet.rows.len() > 1 {
        true => regressions(sheet, &joined)?,
        false => Vec::new(),
    };
    let mut correlations = Vec::new();
    for (score, of) in SCORES {
        correlations.extend(correlation(sheet, &joined, score, of)?);
    }
    Ok(Some(Recovery {
        best_layer: best_layer(sweep, &facts),
        sentence: sentence(&helps, &correlations, sheet.settings.alpha()),
        joined,
        helps,
        correlations,
    }))
}

/// The nested regressions: score on layer (as categories); plus recovery; plus kind; plus recovery × kind and
/// layer × kind. Gains come with intervals from resampled facts, and an F test with errors clustered by fact. A step that
/// the data do not determine (a recovery that does not vary, more columns than facts) is left out.
fn regressions(sheet: &Sheet<'_>, rows: &[Joined]) -> Result<Vec<Helps>> {
    let names: BTreeSet<&str> = rows.iter().map(|r| r.fact.as_str()).collect();
    let place: BTreeMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let mut all = Vec::new();
    for (score, of) in SCORES {
        let rows: Vec<(&Joined, f64)> = rows.iter().filter_map(|r| Some((r, of(r)?))).collect();
        let y: Vec<f64> = rows.iter().map(|r| r.1).collect();
        let clusters: Vec<usize> = rows.iter().map(|r| place[r.0.fact.as_str()]).collect();
        let facts = clusters.iter().collect::<BTreeSet<_>>().len();
        let mut known: Vec<DesignColumn> = Vec::new();
        for (added, columns) in steps(&rows) {
            let gain = r_squared_gain(&y, &known, &columns, &clusters, sheet.resampling());
            // One cluster is too few as well.
            let gain = match gain {
                Err(StatsError::OneCluster { .. }) => continue,
                gain => if_enough(gain, || sheet.what.clone())?,
            };
            let Ok(explained) = gain else {
                continue;
            };
            all.push(Helps {
                score: score.to_owned(),
                added: added.to_owned(),
                facts,
                explained,
            });
            known.extend(columns);
        }
    }
    Ok(all)
}

/// What is added in turn, in words and as columns. Categories are dummies against their first level.
fn steps(rows: &[(&Joined, f64)]) -> Vec<(&'static str, Vec<DesignColumn>)> {
    let column = |name: &str, f: &dyn Fn(&Joined) -> f64| {
        DesignColumn::new(name, rows.iter().map(|r| f(r.0)).collect())
    };
    let of = |name: &str, values: Vec<String>| {
        let reference = values.iter().min().cloned().unwrap_or_default();
        dummies(name, &values, &reference).unwrap_or_default()
    };
    let layers = of(
        "layer",
        rows.iter().map(|r| format!("{:03}", r.0.layer)).collect(),
    );
    let kinds = of("kind", rows.iter().map(|r| r.0.kind.clone()).collect());
    let recovery = column("recovery", &|r| r.recovery);
    let both = |a: &DesignColumn, b: &DesignColumn| {
        let values = a.values.iter().zip(&b.values).map(|(a, b)| a * b).collect();
        DesignColumn::new(format!("{} × {}", a.name, b.name), values)
    };
    let of_kind = kinds.iter().flat_map(|kind| {
        std::iter::once(both(&recovery, kind)).chain(layers.iter().map(|l| both(l, kind)))
    });
    let of_kind: Vec<DesignColumn> = of_kind.collect();
    let steps = [
        ("layer", layers),
        (RECOVERY_ADDED, vec![recovery.clone()]),
        ("kind to layer and recovery", kinds),
        (
            "recovery × kind and layer × kind to layer, recovery and kind",
            of_kind,
        ),
    ];
    steps
        .into_iter()
        .filter(|(_, columns)| !columns.is_empty())
        .collect()
}

/// ρ within layers, and its mean; `None` where nothing varies in any layer.
fn correlation(
    sheet: &Sheet<'_>,
    joined: &[Joined],
    score: &str,
    of: Explained,
) -> Result<Option<Correlation>> {
    let mut facts: BTreeMap<&str, BTreeMap<usize, [f64; 2]>> = BTreeMap::new();
    for one in joined {
        if let Some(value) = of(one) {
            let of_fact = facts.entry(&one.fact).or_default();
            of_fact.insert(one.layer, [one.recovery, value]);
        }
    }
    let facts: Vec<BTreeMap<usize, [f64; 2]>> = facts.into_values().collect();
    let layers: BTreeSet<usize> = facts.iter().flat_map(|f| f.keys().copied()).collect();
    let within = |drawn: &[usize]| -> Vec<(usize, f64)> {
        let of_layer = |layer: &usize| {
            let values = drawn.iter().filter_map(|i| facts[*i].get(layer));
            let (x, y): (Vec<f64>, Vec<f64>) = values.map(|v| (v[0], v[1])).unzip();
            Some((*layer, spearman(&x, &y).ok()?))
        };
        layers.iter().filter_map(of_layer).collect()
    };
    let mean =
        |found: &[(usize, f64)]| found.iter().map(|(_, rho)| rho).sum::<f64>() / found.len() as f64;
    let every: Vec<usize> = (0..facts.len()).collect();
    let found = within(&every);
    if found.is_empty() {
        return Ok(None);
    }
    let interval = statistic_interval(&[facts.len()], sheet.resampling(), |drawn| {
        mean(&within(&drawn[0]))
    });
    Ok(Some(Correlation {
        score: score.to_owned(),
        facts: facts.len(),
        mean: mean(&found),
        layers: found,
        interval: if_enough(interval, || sheet.what.clone())?.ok(),
    }))
}

/// Whether recovery helps beyond the layer, by what it explains of efficacy.
fn sentence(helps: &[Helps], correlations: &[Correlation], alpha: f64) -> String {
    let of_efficacy = |h: &&Helps| h.score == "efficacy" && h.added == RECOVERY_ADDED;
    let Some(added) = helps.iter().find(of_efficacy) else {
        return "Whether recovery says where to edit is not determined: that takes edits of several facts at several layers whose recovery varies.".to_owned();
    };
    let e = &added.explained;
    let rho = correlations.iter().find(|c| c.score == "efficacy");
    let figures = format!(
        "over {}, recovery of mlp_out at the subject's last token adds {} [{}, {}] to the {} of the variance of efficacy that the layer explains, {}{}",
        plural(added.facts, "fact"),
        percent(e.gain.estimate),
        percent(e.gain.lower),
        percent(e.gain.upper),
        percent(e.reduced),
        p_value(e.p_value),
        rho.map_or(String::new(), |c| format!(
            "; within a layer their rank correlation is {}{}",
            number(c.mean),
            c.interval.map_or(String::new(), |i| format!(
                " [{}, {}]",
                number(i.lower),
                number(i.upper)
            ))
        ))
    );
    let answer = match (e.p_value < alpha, rho.map(|c| c.mean)) {
        (true, Some(rho)) if rho > 0.0 => "Recovery helps to say where to edit beyond the layer",
        (true, _) => {
            "Recovery says something of where edits hold beyond the layer, but not that they hold where it is high"
        }
        (false, _) => "Recovery is not shown to help to say where to edit beyond the layer",
    };
    format!("{answer}: {figures}.")
}
