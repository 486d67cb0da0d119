//! The published figures, each beside what this run measured under the published protocol and under the corrected one.

use engram_core::Site;
use engram_stats::{MIN_RELATIONS_PER_KIND, mean, permute_kinds};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Result, if_enough};
use crate::findings::ConditionFindings;
use crate::gate::States;
use crate::layers::stats;
use crate::profile::{LayerProfile, ProfilePoint, Selection};
use crate::words::{number, p_value, percent, plural};

use super::figures::{
    CLEAN_DIFFERENCE, CONVOLUTION, CONVOLUTION_SITES, CONVOLUTIONS, FEED_FORWARD, FINAL_OUTPUT,
    FIRST_FEED_FORWARD, Figure, HEAD, LAYER_EFFECTS,
};
use super::protocol::{ModuleRecovery, Protocol};

/// One published finding, three ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedFinding {
    /// A short name for it.
    pub name: String,
    /// What the publication says.
    pub published: String,
    /// What this model gives under the published protocol: one line for each candidate module and kind.
    #[serde(rename = "paper")]
    pub protocol: Vec<String>,
    /// What it gives under the corrected protocol: pairs whose answer the model prefers, rows that are not trivial.
    pub corrected: Vec<String>,
    /// Why the two differ, or what neither can show.
    pub why: String,
}

impl Figure {
    /// This figure beside what a model gives under both protocols.
    pub(super) fn beside(
        self,
        protocol: Vec<String>,
        corrected: Vec<String>,
        why: impl Into<String>,
    ) -> PublishedFinding {
        PublishedFinding {
            name: self.name.to_owned(),
            published: self.says.to_owned(),
            protocol,
            corrected,
            why: why.into(),
        }
    }
}

const NOT_RUN: &str = "The published protocol was not run.";
const NOT_MEASURED: &str = "Not measured.";

/// The published figures beside one model's; empty where it has neither protocol's rows.
pub(crate) fn beside(
    context: &Context<'_>,
    found: &ConditionFindings,
    states: &States,
) -> Result<Vec<PublishedFinding>> {
    if found.protocol.is_none() && found.profiles.is_empty() {
        return Ok(Vec::new());
    }
    let findings = vec![
        first_feed_forward(found),
        final_output(found),
        convolutions(found)?,
        clean_difference(context, found, states)?,
        layer_effects(found),
    ];
    Ok(findings)
}

fn first_feed_forward(found: &ConditionFindings) -> PublishedFinding {
    let wanted = |m: &ModuleRecovery| m.layer == Some(0) && FEED_FORWARD.contains(&m.part.as_str());
    FIRST_FEED_FORWARD.beside(or_not_run(found.protocol.as_ref().map(|p| by_module(p, wanted))), or_not_measured(at_layers(found, &[Site::MlpOut], |points| points.first())), "The published input already ends in the answer, and the metric is read after it: that recovery says how far the answer's own tokens come through one module, not that the model recalled it. And one layer's share cannot show that knowledge is distributed; the difference in entropy between kinds can.")
}

fn final_output(found: &ConditionFindings) -> PublishedFinding {
    let wanted = |m: &ModuleRecovery| m.part == HEAD;
    let heads = found.protocol.iter().flat_map(|p| &p.modules);
    let measured = beside_certainty(heads.filter(|m| wanted(m)));
    FINAL_OUTPUT.beside(or_not_run(found.protocol.as_ref().map(|p| by_module(p, wanted))), or_not_measured(at_layers(found, &[Site::AttnOut, Site::MlpOut], |points| {
            points.last()
        })), format!(
            "Trivial by algebra: overwriting lm_head's output overwrites the very logits that are read, so recovery is 100% in any model, whatever it knows.{measured} The last block's own contributions, which are not fixed by algebra, stand beside it."
        ))
}

/// Whether recoveries that are 1 by algebra are so in this run; nothing where none is defined.
fn beside_certainty<'a>(heads: impl Iterator<Item = &'a ModuleRecovery>) -> &'static str {
    let means: Vec<f64> = heads.filter_map(|m| m.mean).collect();
    if means.is_empty() {
        ""
    } else if means.iter().all(|r| (r - 1.0).abs() < 1e-3) {
        " This run gives 100% too, wherever it is defined."
    } else {
        " This run's figure departs from 100%, which points to an error in its rows."
    }
}

fn convolutions(found: &ConditionFindings) -> Result<PublishedFinding> {
    let protocol = match &found.protocol {
        None => None,
        Some(run) => {
            let mut lines = Vec::new();
            for part in CONVOLUTIONS {
                for kind in &run.kinds {
                    let values: Vec<f64> = run
                        .modules
                        .iter()
                        .filter(|m| m.part == part && m.kind == *kind && !m.trivial)
                        .filter_map(|m| m.mean)
                        .collect();
                    let range = range_over_layers(part, &values)?;
                    lines.extend(range.map(|r| (part.to_owned(), format!(", {kind}: {r}"))));
                }
            }
            Some(joined(lines))
        }
    };
    let mut corrected = Vec::new();
    for profile in corrected_profiles(found, &CONVOLUTION_SITES) {
        let values: Vec<f64> = profile
            .layers
            .iter()
            .filter(|p| !p.trivial)
            .filter_map(|p| p.mean)
            .collect();
        let label = &profile.measure.label;
        let range = range_over_layers(label, &values)?;
        corrected.extend(range.map(|r| format!("{label}, {}: {r}", profile.kind)));
    }
    let modules = found.protocol.as_ref().map_or(0, |p| {
        let first = p.kinds.first();
        p.modules
            .iter()
            .filter(|m| CONVOLUTIONS.contains(&m.part.as_str()) && Some(&m.kind) == first)
            .count()
    });
    let count = if modules == 0 {
        "four modules in every block".to_owned()
    } else {
        format!("{modules} modules of this model")
    };
    Ok(CONVOLUTION.beside(or_not_run(protocol), or_not_measured(corrected), format!(
            "GPT-2 has no convolution over text: Conv1D is the name of its attention and MLP projections, {count}. Which of them the figure is of is not published; their recoveries spread as shown, and one number stands for none of them."
        )))
}

fn clean_difference(
    context: &Context<'_>,
    found: &ConditionFindings,
    states: &States,
) -> Result<PublishedFinding> {
    let protocol = found.protocol.as_ref().map(|p| {
        p.clean
            .iter()
            .map(|c| {
                format!(
                    "{}: {} on average ({})",
                    c.kind,
                    number(c.mean),
                    plural(c.n, "pair")
                )
            })
            .collect()
    });
    let selection = Selection::new(&found.gate, states, None);
    let values: Vec<(usize, f64)> = states
        .iter()
        .filter(|(pair, _)| selection.holds(**pair))
        .map(|(pair, s)| (*pair, s.logit_diff_clean))
        .collect();
    let mut corrected = Vec::new();
    for kind in &context.kinds {
        let own: Vec<f64> = values
            .iter()
            .filter(|(p, _)| context.pairs[*p].kind == *kind)
            .map(|(_, v)| *v)
            .collect();
        if !own.is_empty() {
            let mean = mean(&own).map_err(|e| stats("clean logit difference".to_owned(), e))?;
            corrected.push(format!(
                "{kind}: {} on average ({})",
                number(mean),
                plural(own.len(), "pair")
            ));
        }
    }
    let mut why = "The published metric averages the logits of a phrase's tokens at one position, most of which are not the next token there; the corrected one is read where the answer begins. A larger logit difference shows a stronger preference, not a place.".to_owned();
    if let [first, second, ..] = context.kinds.as_slice() {
        let means = |kind: &str| -> Result<Vec<f64>> {
            let relations = context.by_relation(kind, values.iter().copied());
            let means = relations.values().map(|v| mean(v));
            means
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| stats("clean logit difference".to_owned(), e))
        };
        let (a, b) = (means(first)?, means(second)?);
        let settings = &context.settings;
        let test = permute_kinds(&a, &b, settings.permutations, settings.seed);
        match if_enough(test, || "clean logit difference".to_owned())? {
            Ok(test) => {
                corrected.push(format!(
                    "{first} less {second}, means over relations: {} ({})",
                    number(test.statistic),
                    p_value(test.p_value)
                ));
                why.push_str(match (test.p_value < settings.alpha(), test.statistic > 0.0) {
                    (true, true) => " Here it is larger for the first kind.",
                    (true, false) => " Here it is smaller for the first kind.",
                    _ => " Here no difference between kinds is shown.",
                });
            }
            Err(_) => why.push_str(&format!(
                " No verdict between kinds: fewer than {MIN_RELATIONS_PER_KIND} relations of a kind."
            )),
        }
    }
    Ok(CLEAN_DIFFERENCE.beside(or_not_run(protocol), or_not_measured(corrected), why))
}

fn layer_effects(found: &ConditionFindings) -> PublishedFinding {
    let protocol = found.protocol.as_ref().map(|p| {
        let lines = p.tests.iter().map(|t| {
            let result = format!(
                ": Friedman over layers {}, W = {} ({})",
                p_value(t.friedman.p_value),
                number(t.friedman.kendall_w),
                plural(t.pairs, "pair")
            );
            (t.part.clone(), result)
        });
        let lines = joined(lines.collect());
        if lines.is_empty() {
            vec!["Too few eligible pairs for a test.".to_owned()]
        } else {
            lines
        }
    });
    let corrected = found
        .layer_tests
        .iter()
        .filter(|t| t.kind.is_none() && found.concludes_from(&t.measure) && t.measure.adds_up())
        .filter_map(|t| {
            let friedman = t.friedman?;
            Some(format!(
                "{}: Friedman over layers {}, W = {} ({}, {})",
                t.measure.label,
                p_value(friedman.p_value),
                number(friedman.kendall_w),
                plural(t.pairs, "pair"),
                plural(t.clusters, "cluster")
            ))
        })
        .collect();
    LAYER_EFFECTS.beside(or_not_run(protocol), or_not_measured(corrected), "Layers differ in any network, even one that was never trained, so a small p here is no evidence of knowledge; the test that bears on the claim is the one between kinds.")
}

/// `mlp.c_fc, mlp.c_proj, definitional: 41% (10 of 12 pairs)` for each wanted module and kind.
fn by_module(protocol: &Protocol, wanted: impl Fn(&ModuleRecovery) -> bool) -> Vec<String> {
    let modules = protocol.modules.iter().filter(|m| wanted(m));
    let lines = modules.map(|m| {
        let pairs = plural(m.n + m.undefined, "pair");
        let trivial = if m.trivial { ", trivial" } else { "" };
        let value = match m.mean {
            Some(mean) if m.undefined == 0 => format!("{} ({pairs}{trivial})", percent(mean)),
            Some(mean) => format!("{} ({} of {pairs}{trivial})", percent(mean), m.n),
            None => format!("undefined (none of {pairs} is eligible{trivial})"),
        };
        (m.module.clone(), format!(", {}: {value}", m.kind))
    });
    joined(lines.collect())
}

/// Names and what was found of each, those with the same finding in one line.
fn joined(lines: Vec<(String, String)>) -> Vec<String> {
    let mut names: indexmap::IndexMap<String, Vec<String>> = indexmap::IndexMap::new();
    for (name, finding) in lines {
        names.entry(finding).or_default().push(name);
    }
    let line = |(finding, names): (String, Vec<String>)| format!("{}{finding}", names.join(", "));
    names.into_iter().map(line).collect()
}

fn corrected_profiles<'a>(
    found: &'a ConditionFindings,
    sites: &[Site],
) -> impl Iterator<Item = &'a LayerProfile> {
    found.profiles.iter().filter(move |p| {
        found.concludes_from(&p.measure)
            && p.measure.scope == crate::Scope::All
            && p.measure.window.is_none()
            && sites.contains(&p.measure.site)
    })
}

/// One layer of each corrected profile of these sites.
fn at_layers(
    found: &ConditionFindings,
    sites: &[Site],
    pick: impl Fn(&[ProfilePoint]) -> Option<&ProfilePoint>,
) -> Vec<String> {
    corrected_profiles(found, sites)
        .filter_map(|profile| {
            let point = pick(&profile.layers)?;
            let mean = percent(point.mean?);
            let interval = point.interval.map_or_else(String::new, |i| {
                format!(" [{}, {}]", percent(i.lower), percent(i.upper))
            });
            let place = match point.layer {
                Some(layer) => format!("{}, layer {layer}", profile.measure.label),
                None => profile.measure.label.clone(),
            };
            let trivial = if point.trivial { ", trivial" } else { "" };
            Some(format!(
                "{place}, {}: {mean}{interval} ({}{trivial})",
                profile.kind,
                plural(point.n, "pair")
            ))
        })
        .collect()
}

/// Mean and range over layers; `name` says of what where it fails.
fn range_over_layers(name: &str, values: &[f64]) -> Result<Option<String>> {
    if values.is_empty() {
        return Ok(None);
    }
    let centre = mean(values).map_err(|e| stats(name.to_owned(), e))?;
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Ok(Some(format!(
        "{} to {} over layers, mean {}",
        percent(low),
        percent(high),
        percent(centre)
    )))
}

fn or_not_run(lines: Option<Vec<String>>) -> Vec<String> {
    match lines {
        None => vec![NOT_RUN.to_owned()],
        Some(lines) => or_not_measured(lines),
    }
}

fn or_not_measured(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() {
        vec![NOT_MEASURED.to_owned()]
    } else {
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(module: &str, n: usize, undefined: usize, mean: Option<f64>) -> ModuleRecovery {
        ModuleRecovery {
            module: module.to_owned(),
            part: module.to_owned(),
            layer: None,
            kind: "definitional".to_owned(),
            n,
            undefined,
            mean,
            interval: None,
            headline: mean,
            trivial: false,
            trivial_why: None,
        }
    }

    #[test]
    fn undefined_recovery_is_no_departure() {
        let none = module("lm_head", 0, 4, None);
        let whole = module("lm_head", 3, 1, Some(1.0));
        let wrong = module("lm_head", 4, 0, Some(0.9));
        assert_eq!(beside_certainty([&none].into_iter()), "");
        assert!(beside_certainty([&none, &whole].into_iter()).contains("100% too"));
        assert!(beside_certainty([&none, &whole, &wrong].into_iter()).contains("departs"));
    }

    #[test]
    fn equal_findings_share_a_line_and_say_of_how_many_pairs() {
        let protocol = Protocol {
            modules: vec![
                module("mlp.c_fc", 3, 1, Some(0.5)),
                module("mlp", 0, 4, None),
                module("mlp.c_proj", 3, 1, Some(0.5)),
                module("attn", 4, 0, Some(0.25)),
            ],
            ..Protocol::default()
        };
        assert_eq!(
            by_module(&protocol, |_| true),
            [
                "mlp.c_fc, mlp.c_proj, definitional: 50% (3 of 4 pairs)",
                "mlp, definitional: undefined (none of 4 pairs is eligible)",
                "attn, definitional: 25% (4 pairs)",
            ]
        );
    }
}
