//! Tables of tests: over layers, between kinds, of localisation.

use engram_findings::kinds::KindTests;
use engram_findings::layers::LayerTests;
use engram_findings::words::number;
use engram_findings::{ConditionFindings, Findings};

use super::{ReportTable, dash, each, maybe, p_cell, with_interval};
use crate::charts::place;

fn layers(found: &[Option<i64>]) -> String {
    let names: Vec<String> = found.iter().flatten().map(i64::to_string).collect();
    if names.is_empty() {
        dash()
    } else {
        names.join(", ")
    }
}

/// Omnibus tests over layers.
pub(crate) fn layer_tests(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Do layers differ? Friedman's test on cluster means, trivial layers left out; beside it the layers that stand above or below the pair's own mean over layers (Wilcoxon's signed-rank test, Holm over layers).",
        &[
            "model",
            "site",
            "metric",
            "direction",
            "kind",
            "pairs",
            "clusters",
            "χ²",
            "df",
            "p",
            "Kendall's W",
            "layers above",
            "layers below",
        ],
    );
    let alpha = findings.settings.alpha();
    for (condition, test) in each(findings, |c| &c.layer_tests) {
        let mut row = vec![
            condition.name.clone(),
            place(&test.measure),
            test.measure.metric.to_string(),
            test.measure.direction.to_string(),
            test.kind.clone().unwrap_or_else(|| "all".to_owned()),
            test.pairs.to_string(),
            test.clusters.to_string(),
        ];
        match &test.friedman {
            Some(friedman) => {
                let standing = |above| match test.too_few(alpha) {
                    Some(_) => "too few clusters".to_owned(),
                    None => layers(&test.standing_out(above, alpha)),
                };
                row.extend([
                    number(friedman.chi_squared),
                    friedman.df.to_string(),
                    p_cell(friedman.p_value),
                    number(friedman.kendall_w),
                    standing(true),
                    standing(false),
                ]);
            }
            None => row.extend([
                test.note.clone().unwrap_or_else(dash),
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
            ]),
        }
        table.rows.push(row);
    }
    table
}

/// Every layer of the primary measures.
pub(crate) fn each_layer(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Each layer against the pair's own mean over layers (logit difference, denoise): Wilcoxon's signed-rank test on cluster means.",
        &[
            "model",
            "site",
            "kind",
            "layer",
            "R less own mean",
            "W₊",
            "n",
            "p",
            "Holm",
            "max-T",
            "Benjamini–Hochberg",
            "rank-biserial r",
            "Cohen's d",
        ],
    );
    let primary = |t: &&(&ConditionFindings, &LayerTests)| t.1.measure.is_primary();
    for (condition, test) in each(findings, |c| &c.layer_tests).iter().filter(primary) {
        for layer in &test.layers {
            table.rows.push(vec![
                condition.name.clone(),
                place(&test.measure),
                test.kind.clone().unwrap_or_else(|| "all".to_owned()),
                layer.layer.map_or_else(dash, |l| l.to_string()),
                number(layer.excess),
                layer.wilcoxon.w_plus.to_string(),
                layer.wilcoxon.n_used.to_string(),
                p_cell(layer.wilcoxon.p_value),
                p_cell(layer.p_holm),
                layer.p_max_t.map_or_else(dash, p_cell),
                p_cell(layer.p_bh),
                number(layer.wilcoxon.rank_biserial),
                maybe(layer.cohen_d),
            ]);
        }
    }
    table
}

/// Tests between kinds.
pub(crate) fn kind_tests(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Do the kinds differ in how localised recovery is? Mean normalised entropy over layers (1: spread evenly, 0: one layer), means over relations; kind permuted over relations, Holm over sites.",
        &[
            "model",
            "site",
            "metric",
            "direction",
            "kinds",
            "relations",
            "entropies",
            "difference",
            "p",
            "Holm",
            "Cliff's δ",
            "verdict",
        ],
    );
    let adds_up = |t: &&(&ConditionFindings, &KindTests)| t.1.measure.adds_up();
    for (condition, test) in each(findings, |c| &c.kind_tests).iter().filter(adds_up) {
        let mut row = vec![
            condition.name.clone(),
            place(&test.measure),
            test.measure.metric.to_string(),
            test.measure.direction.to_string(),
            format!("{} − {}", test.first, test.second),
            format!("{} and {}", test.relations_first, test.relations_second),
        ];
        match &test.entropy {
            Some(entropy) => row.extend([
                format!(
                    "{} and {}",
                    number(entropy.mean_first),
                    number(entropy.mean_second)
                ),
                with_interval(entropy.test.statistic, entropy.interval, number),
                p_cell(entropy.test.p_value),
                p_cell(entropy.p_holm),
                number(entropy.cliffs_delta),
            ]),
            None => row.extend(std::iter::repeat_n(dash(), 5)),
        }
        row.push(test.verdict.clone());
        table.rows.push(row);
    }
    table
}

/// Layers in which kinds differ.
pub(crate) fn kind_layers(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "Recovery of one kind less that of the other, layer by layer (logit difference, denoise): means over relations, kind permuted over relations.",
        &[
            "model",
            "site",
            "kinds",
            "layer",
            "difference",
            "p",
            "Holm",
            "Benjamini–Hochberg",
            "Cliff's δ",
        ],
    );
    let primary = |t: &&(&ConditionFindings, &KindTests)| t.1.measure.is_primary();
    for (condition, test) in each(findings, |c| &c.kind_tests).iter().filter(primary) {
        for layer in &test.layers {
            table.rows.push(vec![
                condition.name.clone(),
                place(&test.measure),
                format!("{} − {}", test.first, test.second),
                layer.layer.map_or_else(dash, |l| l.to_string()),
                with_interval(layer.test.statistic, layer.interval, number),
                p_cell(layer.test.p_value),
                p_cell(layer.p_holm),
                p_cell(layer.p_bh),
                number(layer.cliffs_delta),
            ]);
        }
    }
    table
}

/// Localisation by kind.
pub(crate) fn localisation(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "How localised recovery is, medians over pairs. Undefined: pairs with too little positive recovery in all layers together.",
        &[
            "model",
            "site",
            "metric",
            "direction",
            "kind",
            "pairs",
            "undefined",
            "entropy",
            "Gini",
            "layers holding 80%",
            "of layers",
        ],
    );
    for (condition, summary) in each(findings, |c| &c.localisation) {
        table.rows.push(vec![
            condition.name.clone(),
            place(&summary.measure),
            summary.measure.metric.to_string(),
            summary.measure.direction.to_string(),
            summary.kind.clone(),
            summary.pairs.len().to_string(),
            summary.undefined.to_string(),
            maybe(summary.entropy),
            maybe(summary.gini),
            summary.layers_80.map_or_else(dash, |l| l.to_string()),
            summary.layers.to_string(),
        ]);
    }
    table
}

/// Which pairs tests are over that leave out some of their measure's, a sentence each.
pub(crate) fn which(findings: &Findings) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for (condition, test) in each(findings, |c| &c.layer_tests) {
        let Some(which) = &test.which else { continue };
        let kind = test.kind.as_deref().unwrap_or("all kinds");
        said.push(format!(
            "{}, {}, {kind}: {which}.",
            condition.name,
            test.measure.words()
        ));
    }
    said
}

/// What of the tests between kinds survives other ways of measuring, and the loss of a relation or a wording.
pub(crate) fn robustness(findings: &Findings) -> ReportTable {
    let mut table = ReportTable::new(
        "What survives? The difference in mean normalised entropy between kinds, measured otherwise, and without any one relation or wording. p by permutation of kind over relations; what each way says goes by p after Holm over sites and by the interval, as the verdict does.",
        &[
            "model",
            "site",
            "kinds",
            "how",
            "difference",
            "p",
            "Holm",
            "says",
            "agrees",
        ],
    );
    for (condition, robust) in each(findings, |c| &c.robustness) {
        let row =
            |how: String, difference: String, p: [String; 2], says: String, agrees: String| {
                let [p, holm] = p;
                vec![
                    condition.name.clone(),
                    robust.site.clone(),
                    format!("{} − {}", robust.first, robust.second),
                    how,
                    difference,
                    p,
                    holm,
                    says,
                    agrees,
                ]
            };
        for variant in &robust.variants {
            let (how, agrees) = match (variant.changed.is_empty(), variant.agrees) {
                (true, _) => ("the verdict's own way".to_owned(), dash()),
                (false, true) => (variant.changed.clone(), "yes".to_owned()),
                (false, false) => (variant.changed.clone(), "no".to_owned()),
            };
            table.rows.push(row(
                how,
                with_interval(variant.difference, variant.interval, number),
                [p_cell(variant.p_value), p_cell(variant.p_holm)],
                variant.outcome.words(&robust.first, &robust.second),
                agrees,
            ));
        }
        for left in &robust.left_out {
            let by = match left.by.is_empty() {
                true => String::new(),
                false => format!(": {}", left.by.join(", ")),
            };
            table.rows.push(row(
                format!("without any one {} ({})", left.what, left.count),
                format!("{} to {}", number(left.lowest), number(left.highest)),
                [dash(), dash()],
                format!("{} turn the verdict{by}", left.turned),
                if left.turned == 0 { "yes" } else { "no" }.to_owned(),
            ));
        }
    }
    for repeated in &findings.replicates {
        let own = repeated.seeds.iter().find(|s| s.model == repeated.model);
        for seed in repeated.seeds.iter().filter(|s| s.model != repeated.model) {
            let (Some(difference), Some(p)) = (seed.difference, seed.p_value) else {
                continue;
            };
            let agrees = own.is_some_and(|own| own.outcome == seed.outcome);
            table.rows.push(vec![
                repeated.model.clone(),
                repeated.site.clone(),
                format!("{} − {}", repeated.first, repeated.second),
                format!("trained with another seed ({})", seed.model),
                with_interval(difference, seed.interval, number),
                p_cell(p),
                seed.p_holm.map_or_else(dash, p_cell),
                seed.outcome.words(&repeated.first, &repeated.second),
                if agrees { "yes" } else { "no" }.to_owned(),
            ]);
        }
    }
    table
}
