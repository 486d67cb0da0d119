//! What the page says of edits in words: their names, where they hold, how they were made.

use engram_core::{Method, Site};
use engram_findings::editing::{BeforeAfter, EditFindings, EditScores};
use engram_findings::profile::LayerProfile;
use engram_findings::words::percent;
use engram_findings::{Findings, Measure, Scope};

/// What facts are called where kinds are not told apart.
pub(crate) const ALL_FACTS: &str = "all facts";

/// `config-1, rome`; with their name in the study where a model has several by one method.
pub(crate) fn name(findings: &Findings, of: &EditFindings) -> String {
    let alike = |e: &&EditFindings| e.model == of.model && e.method == of.method;
    match findings.editing.iter().filter(alike).count() {
        1 => format!("{}, {}", of.model, of.method),
        _ => format!("{}, {} ({})", of.model, of.method, of.name),
    }
}

/// The kind that a figure shows scores under: each kind where there are several, all facts otherwise.
pub(crate) fn shown_as<'a>(of: &'a EditFindings, scores: &'a EditScores) -> Option<&'a str> {
    match (of.kinds.as_slice(), scores.kind.as_deref()) {
        ([_, _, ..], kind) => kind,
        ([only], None) => Some(only),
        (_, None) => Some(ALL_FACTS),
        _ => None,
    }
}

/// The shares that a figure shows, those that were measured.
pub(crate) fn shares(scores: &EditScores) -> Vec<(&'static str, BeforeAfter)> {
    let parts = [
        ("efficacy", scores.efficacy),
        ("paraphrase", scores.paraphrase),
        ("neighbourhood", scores.neighbourhood),
    ];
    let parts = parts.into_iter();
    let mut shares: Vec<_> = parts
        .filter_map(|(name, part)| Some((name, part?.share)))
        .collect();
    shares.push(("S", scores.harmonic));
    shares
}

/// The middle of a set of layers: where it stands on an axis.
pub(crate) fn middle(layers: &[usize]) -> f64 {
    match layers {
        [first, .., last] => (first + last) as f64 / 2.0,
        [only] => *only as f64,
        [] => 0.0,
    }
}

/// What says which layers carry the facts: a model's recovery of `mlp_out`, whose output an edit changes, at all
/// positions, a profile for each kind.
pub(crate) fn carrying<'a>(findings: &'a Findings, model: &str) -> Vec<&'a LayerProfile> {
    let Some(condition) = findings.condition(model) else {
        return Vec::new();
    };
    let says = |m: &Measure| {
        m.site == Site::MlpOut && m.scope == Scope::All && condition.concludes_from(m)
    };
    let mut found: Vec<&LayerProfile> = (condition.profiles.iter())
        .filter(|p| says(&p.measure))
        .collect();
    if let Some(first) = found.first().map(|p| &p.measure) {
        found.retain(|p| p.measure == *first);
    }
    found
}

/// For each model and method the shortest answer to where edits hold.
pub(crate) fn headline(findings: &Findings) -> Vec<String> {
    let of = |edits: &EditFindings| {
        let best = edits.best_of(None).map(|b| &b.sentence);
        let sentence = best.or(edits.conclusions.first())?;
        Some(format!("{}: {sentence}", name(findings, edits)))
    };
    findings.editing.iter().filter_map(of).collect()
}

/// How edits were made and scored, ready to be pasted; nothing where none were made.
pub(crate) fn methods(findings: &Findings) -> Vec<String> {
    let used = |method: &&Method| findings.editing.iter().any(|e| e.method == **method);
    let how: Vec<&str> = Method::ALL.iter().filter(used).map(|m| how(*m)).collect();
    if findings.editing.is_empty() {
        return Vec::new();
    }
    let s = &findings.settings;
    vec![
        how.join(" "),
        format!(
            "With p = exp(−mean NLL of the answer's tokens), efficacy is the share of edits after which p(new) > p(true) on the edit's own prompt, paraphrase the same in other words, neighbourhood the share of other facts' prompts on which p(own answer) > p(new), and S the harmonic mean of the three (Meng et al. 2022). The new answer is another answer of the same relation. Means within a fact come before means over facts; intervals are {} bootstrap intervals (BCa, {} resamples) over clusters of facts. Layers are compared by S of a fact, sign flips of cluster means, Holm over layers; kinds by permuting kind over relations. Whether recovery says where to edit is the R² that it adds to the layer in explaining the difference p(new) − p(true) (Hase et al. 2023). A side effect is the change of the mean log-probability of another fact's answer; a fact is lost where each token of its answer was the most probable one and no longer is.",
            percent(s.level),
            s.resamples
        ),
    ]
}

/// A method in a sentence.
fn how(method: Method) -> &'static str {
    match method {
        Method::RRome => {
            "R-ROME (Gupta et al. 2024) changes the down-projection of one layer's MLP by a product of two vectors, so that the key of the subject's last token, averaged over prefixes, gives a value under which the model says the new answer; the covariance of keys over a text sample says what is to be left alone."
        }
        Method::Rome => {
            "ROME (Meng et al. 2022) changes the down-projection of one layer's MLP by a product of two vectors, so that the key of the subject's last token gives a value under which the model says the new answer; the covariance of keys over a text sample says what is to be left alone."
        }
        Method::Memit => {
            "MEMIT (Meng et al. 2023) spreads such a change over the down-projections of several layers, in their order."
        }
        Method::AlphaEdit => {
            "AlphaEdit (Fang et al. 2025) spreads a change like MEMIT's, projected onto the null space of the keys of a text sample, and leaves the keys of earlier edits alone."
        }
        Method::FtL => {
            "FT-L (Zhu et al. 2020, as in Meng et al. 2022) fine-tunes down-projections on the fact, every element within a bound."
        }
        Method::Lora => {
            "LoRA (Hu et al. 2022) fine-tunes down-projections on the fact by a change of low rank."
        }
    }
}
