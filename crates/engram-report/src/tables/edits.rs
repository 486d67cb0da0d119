//! Tables of edits: how well they hold, whether kinds differ, whether recovery says where to edit, what models say.

use engram_findings::Findings;
use engram_findings::editing::{
    BeforeAfter, EditFindings, EditKindLayer, EditScores, MeanScore, Recovery,
};
use engram_findings::words::{layer_set, number, percent};

use super::{ReportTable, dash, p_cell, with_interval};
use crate::editing::{ALL_FACTS, name};

/// How many completions of a kind are shown at once.
const SHOWN: usize = 3;

/// Scores at the best layers of all facts, and at all others.
pub(crate) fn edit_scores(findings: &Findings) -> [ReportTable; 2] {
    let caption = |which: &str| {
        ReportTable::new(
            &format!(
                "Scores of edits {which}: before → after, with {} intervals over clusters of facts. “Says it” is the share of prompts after which greedy decoding gives the new answer, “keep theirs” that of neighbours after which it still gives their own, of those after which the unedited model did. S is the harmonic mean of the three shares; perplexity is of texts held out, fluency the n-gram entropy of what the model writes (bits); facts lost are a share of the other facts that the model knew, and probes changed of a fixed set of prompts that no edit is about.",
                percent(findings.settings.level)
            ),
            &[
                "edits",
                "layers",
                "kind",
                "facts",
                "efficacy",
                "says it",
                "paraphrase",
                "says it",
                "neighbourhood",
                "keep theirs",
                "S",
                "perplexity",
                "fluency",
                "facts lost",
                "probes changed",
            ],
        )
    };
    let mut best = caption("at the layers with the greatest S");
    let mut all = caption("at every set of layers");
    for of in &findings.editing {
        let at = of.best_of(None).map(|b| &b.layers);
        for scores in &of.scores {
            let row = scores_row(name(findings, of), scores);
            if at == Some(&scores.layers) {
                best.rows.push(row.clone());
            }
            all.rows.push(row);
        }
    }
    [best.measured(), all.measured()]
}

fn scores_row(name: String, scores: &EditScores) -> Vec<String> {
    let share = |score: Option<MeanScore>| score.map_or_else(dash, |p| change(p.share, percent));
    let said = |score: Option<MeanScore>| {
        let said = score.and_then(|p| p.said);
        said.map_or_else(dash, |said| change(said, percent))
    };
    let number = |part: Option<BeforeAfter>| part.map_or_else(dash, |p| change(p, number));
    vec![
        name,
        layer_set(&scores.layers),
        kind(scores.kind.as_deref()),
        scores.edits.to_string(),
        share(scores.efficacy),
        said(scores.efficacy),
        share(scores.paraphrase),
        said(scores.paraphrase),
        share(scores.neighbourhood),
        said(scores.neighbourhood),
        with_interval(scores.harmonic.after, scores.harmonic.interval, percent),
        number(scores.perplexity),
        number(scores.fluency),
        (scores.lost).map_or_else(dash, |l| with_interval(l.value, l.interval, percent)),
        (scores.probe).map_or_else(dash, |l| with_interval(l.value, l.interval, percent)),
    ]
}

fn kind(kind: Option<&str>) -> String {
    kind.unwrap_or(ALL_FACTS).to_owned()
}

/// `2% → 97% [94%, 99%]`.
fn change(mean: BeforeAfter, text: fn(f64) -> String) -> String {
    let after = with_interval(mean.after, mean.interval, text);
    format!("{} → {after}", text(mean.before))
}

/// The best set of layers against every other.
pub(crate) fn edit_layers(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "The layers with the greatest S against every other: mean difference of S of a fact, over facts edited at all of them; sign flips of cluster means.",
        &[
            "edits",
            "kind",
            "facts",
            "layers",
            "less",
            "difference",
            "p",
            "Holm",
        ],
    );
    for of in &findings.editing {
        for best in &of.best {
            for other in &best.others {
                table.rows.push(vec![
                    name(findings, of),
                    kind(best.kind.as_deref()),
                    best.facts.to_string(),
                    layer_set(&best.layers),
                    layer_set(&other.layers),
                    with_interval(other.test.statistic, other.interval, number),
                    p_cell(other.test.p_value),
                    p_cell(other.p_holm),
                ]);
            }
        }
    }
    table
}

/// Tests between kinds, at the best layers of all facts and at all.
pub(crate) fn edit_kinds(findings: &Findings) -> [ReportTable; 2] {
    let caption = |which: &str| {
        ReportTable::new(
            &format!(
                "Do edits of one kind hold better? Differences of p after the edit, and S of a fact, {which}: means over relations, kind permuted over relations, Holm over layers."
            ),
            &[
                "edits",
                "kinds",
                "relations",
                "score",
                "layers",
                "means",
                "difference",
                "p",
                "Holm",
            ],
        )
    };
    let mut best = caption("at the layers with the greatest S");
    let mut all = caption("at every set of layers");
    for of in &findings.editing {
        let at = of.best_of(None).map(|b| &b.layers);
        for tests in &of.kind_tests {
            let start = [
                name(findings, of),
                format!("{} − {}", tests.first, tests.second),
                format!("{} and {}", tests.relations_first, tests.relations_second),
                tests.score.clone(),
            ];
            for layer in &tests.layers {
                let row = [start.to_vec(), kind_cells(layer)].concat();
                if at == Some(&layer.layers) {
                    best.rows.push(row.clone());
                }
                all.rows.push(row);
            }
        }
    }
    [best, all]
}

fn kind_cells(layer: &EditKindLayer) -> Vec<String> {
    vec![
        layer_set(&layer.layers),
        format!(
            "{} and {}",
            number(layer.mean_first),
            number(layer.mean_second)
        ),
        with_interval(layer.test.statistic, layer.interval, number),
        p_cell(layer.test.p_value),
        p_cell(layer.p_holm),
    ]
}

/// What recovery adds to the layer in explaining scores.
pub(crate) fn edit_helps(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Does localisation help? What is added in explaining p(new) − p(true) after the edit of a fact at a layer. R² never falls: the p value says whether anything is added, the interval (facts resampled) how much.",
        &[
            "edits",
            "explained",
            "added",
            "facts",
            "R² before",
            "R² with it",
            "gain",
            "p",
        ],
    );
    for (of, recovery) in joined(findings) {
        for help in &recovery.helps {
            let found = &help.explained;
            table.rows.push(vec![
                name(findings, of),
                help.score.clone(),
                help.added.clone(),
                help.facts.to_string(),
                three(found.reduced),
                three(found.full),
                with_interval(found.gain.estimate, Some(found.gain), three),
                p_cell(found.p_value),
            ]);
        }
    }
    table
}

/// Correlation of recovery and scores over facts within layers.
pub(crate) fn edit_correlations(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Within a layer, do edits hold better for facts of which more is recovered there? Spearman's ρ over facts, mean over layers, interval over facts.",
        &[
            "edits", "score", "facts", "layers", "mean ρ", "least", "greatest",
        ],
    );
    for (of, recovery) in joined(findings) {
        for found in &recovery.correlations {
            let layers = found.layers.iter();
            let least = layers.clone().min_by(|a, b| a.1.total_cmp(&b.1));
            let greatest = layers.max_by(|a, b| a.1.total_cmp(&b.1));
            let at = |end: Option<&(usize, f64)>| {
                end.map_or_else(dash, |(l, rho)| format!("{} at layer {l}", number(*rho)))
            };
            table.rows.push(vec![
                name(findings, of),
                found.score.clone(),
                found.facts.to_string(),
                found.layers.len().to_string(),
                with_interval(found.mean, found.interval, number),
                at(least),
                at(greatest),
            ]);
        }
    }
    table
}

fn joined(findings: &Findings) -> impl Iterator<Item = (&EditFindings, &Recovery)> {
    let all = findings.editing.iter();
    all.filter_map(|of| Some((of, of.recovery.as_ref()?)))
}

/// R² is small: three decimals.
fn three(x: f64) -> String {
    format!("{x:.3}").replace('-', "−")
}

/// What models say before and after: a few facts of each kind, and the others.
pub(crate) fn edit_said(findings: &Findings) -> [ReportTable; 2] {
    let caption = "What the model says after the prompt, before and after the edit at the layers with the greatest S.";
    let head = [
        "edits",
        "kind",
        "prompt",
        "answer it had",
        "asked for",
        "said before",
        "says after",
    ];
    let [mut first, mut others] = [
        ReportTable::new(caption, &head),
        ReportTable::new(caption, &head),
    ];
    for of in &findings.editing {
        let mut shown: Vec<&Option<String>> = Vec::new();
        for said in &of.said {
            let row = vec![
                name(findings, of),
                said.kind.clone().unwrap_or_else(dash),
                said.prompt.clone(),
                said.target_true.as_deref().map_or_else(dash, on_one_line),
                on_one_line(&said.target_new),
                on_one_line(&said.before),
                on_one_line(&said.after),
            ];
            let of_kind = shown.iter().filter(|kind| ***kind == said.kind).count();
            match of_kind < SHOWN {
                true => first.rows.push(row),
                false => others.rows.push(row),
            }
            shown.push(&said.kind);
        }
    }
    [first, others]
}

fn on_one_line(text: &str) -> String {
    text.trim().replace('\n', "↵")
}
