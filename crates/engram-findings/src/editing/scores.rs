//! Means of the scores over facts, by set of layers and kind.

use std::collections::{BTreeMap, BTreeSet};

use engram_core::{EditRow, LanguageEffect, ProbeEffect, Score, WinRate};
use engram_stats::{Interval, statistic_interval};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::editing::EditResults;
use crate::editing::sheet::Sheet;
use crate::error::{FindingsError, Result, if_enough};

/// A mean over facts before and after the edit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// Facts that have it.
    pub facts: usize,
    /// The unedited model's mean.
    pub before: f64,
    /// The edited models' mean.
    pub after: f64,
    /// Bootstrap interval (BCa) of `after`, clusters of facts resampled, for shares widened to Wilson's over clusters;
    /// `None` for fewer than two clusters.
    pub interval: Option<Interval>,
}

/// One of the three scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanScore {
    /// The share of prompts on which the right answer wins, 0 to 1.
    pub share: BeforeAfter,
    /// The mean difference of probability, −1 to 1.
    pub magnitude: BeforeAfter,
    /// The share of prompts after which greedy decoding gives the right answer, 0 to 1; of neighbours, among those after
    /// which it does so in the unedited model.
    pub said: Option<BeforeAfter>,
    /// The mean probability of the right answer, 0 to 1.
    pub probability: Option<BeforeAfter>,
}

/// A share and its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FactShare {
    /// The share, 0 to 1.
    pub value: f64,
    /// As that of [`BeforeAfter`], over clusters of edited facts.
    pub interval: Option<Interval>,
}

/// The edits of one kind at one set of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditScores {
    /// The layers.
    pub layers: Vec<usize>,
    /// The kind; `None` for all facts.
    pub kind: Option<String>,
    /// Facts edited.
    pub edits: usize,
    /// p(new) > p(true) on the edit's own prompt.
    pub efficacy: Option<MeanScore>,
    /// The same on the paraphrases.
    pub paraphrase: Option<MeanScore>,
    /// p(own answer) > p(new) on the neighbours.
    pub neighbourhood: Option<MeanScore>,
    /// S: the harmonic mean of the three mean shares (Meng et al. 2022).
    pub harmonic: BeforeAfter,
    /// The mean last loss of the optimisations (nats).
    pub loss: f64,
    /// Perplexity of texts held out, mean over edits.
    pub perplexity: Option<BeforeAfter>,
    /// n-gram entropy of the models' own writing (bits), mean over edits.
    pub fluency: Option<BeforeAfter>,
    /// The share of prompts that no edit is about after which the edited model says another token, mean over edits.
    pub probe: Option<FactShare>,
    /// KL(unedited ‖ edited) of the next token after those prompts (nats), mean over edits.
    pub probe_kl: Option<f64>,
    /// The share of other facts that the model knew before an edit and does not after it, over edits.
    pub lost: Option<FactShare>,
}

type Picked = fn(&Score) -> Option<WinRate>;

/// The three scores of a case, by name.
pub(crate) const PARTS: [(&str, Picked); 3] = [
    ("efficacy", |s| s.efficacy),
    ("paraphrase", |s| s.paraphrase),
    ("neighbourhood", |s| s.neighbourhood),
];

/// The means of some layers and a kind.
pub(crate) fn scores(
    sheet: &Sheet<'_>,
    results: &EditResults,
    layers: &[usize],
    kind: Option<&str>,
) -> Result<EditScores> {
    let rows = sheet.of(layers, kind);
    let mean_score = |i: usize| mean_score(sheet, &rows, PARTS[i].1);
    let of_kind: BTreeSet<&str> = rows.iter().map(|r| r.request.as_str()).collect();
    let counted = |edit: &str| kind.is_none() || of_kind.contains(edit);
    let asides: Vec<&LanguageEffect> = (results.asides.iter())
        .filter(|a| a.layers == layers && counted(&a.request))
        .collect();
    let aside = |of: fn(&LanguageEffect) -> Option<[f64; 2]>| {
        let found = asides.iter();
        let found = found.filter_map(|a| Some((a.request.as_str(), of(a)?)));
        before_after(sheet, &found.collect::<Vec<_>>())
    };
    let mut lost: IndexMap<&str, [f64; 2]> = IndexMap::new();
    for moved in &results.moved {
        if moved.layers == layers && counted(&moved.request) {
            let of_edit = lost.entry(&moved.request).or_default();
            *of_edit = [
                of_edit[0] + f64::from(u8::from(moved.lost)),
                of_edit[1] + 1.0,
            ];
        }
    }
    let lost: Vec<(&str, f64)> = lost.iter().map(|(e, [l, n])| (*e, l / n)).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>, n: usize| values.sum::<f64>() / n as f64;
    let probes: Vec<(&str, ProbeEffect)> = (asides.iter())
        .filter_map(|aside| Some((aside.request.as_str(), aside.probe?)))
        .collect();
    let changed: Vec<(&str, f64)> = probes.iter().map(|(e, p)| (*e, p.changed)).collect();
    Ok(EditScores {
        layers: layers.to_vec(),
        kind: kind.map(str::to_owned),
        edits: rows.len(),
        efficacy: mean_score(0)?,
        paraphrase: mean_score(1)?,
        neighbourhood: mean_score(2)?,
        harmonic: harmonic(sheet, &rows)?,
        loss: mean(&mut rows.iter().map(|r| r.fit.loss), rows.len()),
        perplexity: aside(|a| a.perplexity)?,
        fluency: aside(|a| a.fluency)?,
        probe: match changed.is_empty() {
            true => None,
            false => Some(FactShare {
                value: mean(&mut changed.iter().map(|c| c.1), changed.len()),
                interval: sheet.share_interval(&changed)?,
            }),
        },
        probe_kl: (!probes.is_empty())
            .then(|| mean(&mut probes.iter().map(|(_, p)| p.kl), probes.len())),
        lost: match lost.is_empty() {
            true => None,
            false => Some(FactShare {
                value: mean(&mut lost.iter().map(|l| l.1), lost.len()),
                interval: sheet.share_interval(&lost)?,
            }),
        },
    })
}

fn mean_score(sheet: &Sheet<'_>, rows: &[&EditRow], of: Picked) -> Result<Option<MeanScore>> {
    let both = |value: fn(WinRate) -> Option<f64>, is_share: bool| {
        let found = rows.iter().filter_map(|r| {
            let (before, after) = (value(of(&r.before)?)?, value(of(&r.after)?)?);
            Some((r.request.as_str(), [before, after]))
        });
        let found: Vec<(&str, [f64; 2])> = found.collect();
        let mut mean = before_after(sheet, &found)?;
        if let Some(mean) = mean.as_mut().filter(|_| is_share) {
            let after: Vec<(&str, f64)> = found.iter().map(|(edit, v)| (*edit, v[1])).collect();
            mean.interval = sheet.share_interval(&after)?;
        }
        Ok::<_, FindingsError>(mean)
    };
    let (share, magnitude) = (
        both(|w| Some(w.score), true)?,
        both(|w| Some(w.magnitude), false)?,
    );
    let (said, probability) = (both(|w| w.said, true)?, both(|w| w.probability, false)?);
    Ok(share.zip(magnitude).map(|(share, magnitude)| MeanScore {
        share,
        magnitude,
        said,
        probability,
    }))
}

fn before_after(sheet: &Sheet<'_>, values: &[(&str, [f64; 2])]) -> Result<Option<BeforeAfter>> {
    if values.is_empty() {
        return Ok(None);
    }
    let mean = |i: usize| values.iter().map(|v| v.1[i]).sum::<f64>() / values.len() as f64;
    let after: Vec<(&str, f64)> = values.iter().map(|(edit, v)| (*edit, v[1])).collect();
    Ok(Some(BeforeAfter {
        facts: values.len(),
        before: mean(0),
        after: mean(1),
        interval: sheet.interval(&after)?,
    }))
}

/// S of the means, whole clusters resampled.
fn harmonic(sheet: &Sheet<'_>, rows: &[&EditRow]) -> Result<BeforeAfter> {
    let mut clusters: BTreeMap<usize, Vec<&Score>> = BTreeMap::new();
    for row in rows {
        let of_cluster = clusters.entry(sheet.cluster(&row.request)).or_default();
        of_cluster.push(&row.after);
    }
    let clusters: Vec<Vec<&Score>> = clusters.into_values().collect();
    let interval = statistic_interval(&[clusters.len()], sheet.resampling(), |drawn| {
        let drawn = drawn[0].iter().flat_map(|&c| clusters[c].iter().copied());
        Score::mean(drawn).harmonic()
    });
    Ok(BeforeAfter {
        facts: rows.len(),
        before: Score::mean(rows.iter().map(|r| &r.before)).harmonic(),
        after: Score::mean(rows.iter().map(|r| &r.after)).harmonic(),
        interval: if_enough(interval, || sheet.what.clone())?.ok(),
    })
}
