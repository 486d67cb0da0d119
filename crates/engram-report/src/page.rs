//! What the page's template reads, and the text around figures and tables.

use engram_findings::Findings;
use engram_findings::parts::PartKind;
use engram_findings::published::PublishedFinding;
use engram_findings::words::{list, number, percent, plural};
use serde::Serialize;

use crate::charts;
use crate::editing;
use crate::input::{NamedValue, ReportInput, Reproduction, TrainingCurve};
use crate::tables::{self, ReportTable};

/// The template's context.
#[derive(Serialize)]
pub(crate) struct Page<'a> {
    title: &'a str,
    lead: String,
    /// What the headline answers.
    question: Option<&'static str>,
    headline: &'a [String],
    models: Vec<Model<'a>>,
    edit_headline: Vec<String>,
    edits: Vec<Edits<'a>>,
    corpus: &'a [NamedValue],
    /// Which pairs tests are over that leave out some.
    which: Vec<String>,
    alpha: f64,
    /// The least mean of a part that is called one that matters.
    least: f64,
    reproduction: &'a Reproduction,
    methods: Vec<String>,
    /// The wordings in which answer and foil were compared.
    wordings: &'static str,
    has: Has,
    tables: Tables,
}

/// One model's part of the summary and of the published findings' table.
#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    passed: bool,
    /// Whether its published findings are open; those of the others are folded.
    shown_first: bool,
    /// That the learning rate never reached its value.
    shortfall: Option<String>,
    conclusions: &'a [String],
    published: &'a [PublishedFinding],
    unread_rows: usize,
}

/// What one model's edits by one method show.
#[derive(Serialize)]
struct Edits<'a> {
    name: String,
    conclusions: &'a [String],
}

/// Which figures there are data for.
#[derive(Serialize)]
struct Has {
    training: bool,
    profiles: bool,
    spread: bool,
    several: bool,
    examples: bool,
    maps: bool,
    heads: bool,
    neurons: bool,
    localisation: bool,
    /// Rows of the published protocol.
    protocol: bool,
    /// The published figures, or rows of the published protocol.
    published: bool,
    edits: bool,
    side_effects: bool,
}

#[derive(Serialize)]
struct Tables {
    knowing: ReportTable,
    comparisons: ReportTable,
    layer_tests: ReportTable,
    layer_tests_more: ReportTable,
    each_layer: ReportTable,
    kind_tests: ReportTable,
    kind_tests_more: ReportTable,
    kind_layers: ReportTable,
    localisation: ReportTable,
    localisation_more: ReportTable,
    claim: ReportTable,
    robustness: ReportTable,
    recovery: ReportTable,
    modules: ReportTable,
    edit_scores: ReportTable,
    edit_scores_all: ReportTable,
    edit_layers: ReportTable,
    edit_kinds: ReportTable,
    edit_kinds_all: ReportTable,
    edit_helps: ReportTable,
    edit_correlations: ReportTable,
    edit_said: ReportTable,
    edit_said_more: ReportTable,
    parts: ReportTable,
    metrics_left_out: ReportTable,
    trivial: ReportTable,
    training: ReportTable,
    departures: ReportTable,
    excluded_by_reason: ReportTable,
    excluded: ReportTable,
    unused: ReportTable,
}

impl<'a> Page<'a> {
    pub fn new(input: &'a ReportInput) -> Page<'a> {
        let findings = &input.findings;
        let conditions = &findings.conditions;
        let first = charts::first(findings);
        let (layer_tests, layer_tests_more) = tables::split(tables::layer_tests(findings));
        let (kind_tests, kind_tests_more) = tables::split(tables::kind_tests(findings));
        let (localisation, localisation_more) = tables::split(tables::localisation(findings));
        let [edit_scores, edit_scores_all] = tables::edit_scores(findings);
        let [edit_kinds, edit_kinds_all] = tables::edit_kinds(findings);
        let [edit_said, edit_said_more] = tables::edit_said(findings);
        Page {
            question: findings.question(),
            headline: &findings.headline,
            title: &input.title,
            lead: lead(findings),
            models: conditions
                .iter()
                .map(|c| Model {
                    name: &c.name,
                    passed: c.gate.passed,
                    shown_first: first.as_ref() == Some(&c.name),
                    shortfall: (input.curves.iter())
                        .find(|curve| curve.condition == c.name)
                        .and_then(TrainingCurve::shortfall),
                    conclusions: &c.conclusions,
                    published: &c.published,
                    unread_rows: c.unread_rows,
                })
                .collect(),
            edit_headline: editing::headline(findings),
            edits: (findings.editing.iter())
                .map(|of| Edits {
                    name: editing::name(findings, of),
                    conclusions: &of.conclusions,
                })
                .collect(),
            corpus: &input.corpus,
            which: tables::which(findings),
            alpha: findings.settings.alpha(),
            least: engram_findings::parts::LEAST_EFFECT,
            reproduction: &input.reproduction,
            methods: methods(findings),
            wordings: wordings(findings),
            has: Has {
                training: input
                    .curves
                    .iter()
                    .any(|c| !c.steps.is_empty() || !c.epochs.is_empty()),
                profiles: conditions.iter().any(|c| !c.profiles.is_empty()),
                spread: conditions
                    .iter()
                    .flat_map(|c| &c.profiles)
                    .any(|p| !p.pairs.is_empty()),
                several: conditions.iter().filter(|c| !c.profiles.is_empty()).count() > 1,
                examples: conditions.iter().any(|c| !c.examples.is_empty()),
                maps: conditions.iter().any(|c| !c.positions.is_empty()),
                heads: has_parts(findings, PartKind::Head),
                neurons: has_parts(findings, PartKind::Neuron),
                localisation: conditions.iter().any(|c| !c.localisation.is_empty()),
                protocol: conditions.iter().any(|c| c.protocol.is_some()),
                published: (conditions.iter())
                    .any(|c| c.protocol.is_some() || !c.published.is_empty()),
                edits: findings.editing.iter().any(|e| !e.scores.is_empty()),
                side_effects: findings.editing.iter().any(|e| e.side_effects.is_some()),
            },
            tables: Tables {
                knowing: tables::knowing(findings),
                comparisons: tables::comparisons(findings),
                layer_tests,
                layer_tests_more,
                each_layer: tables::each_layer(findings),
                kind_tests,
                kind_tests_more,
                kind_layers: tables::kind_layers(findings),
                localisation,
                localisation_more,
                claim: tables::claim(findings),
                robustness: tables::robustness(findings),
                recovery: tables::recovery(findings),
                modules: tables::modules(findings),
                edit_scores,
                edit_scores_all,
                edit_layers: tables::edit_layers(findings),
                edit_kinds,
                edit_kinds_all,
                edit_helps: tables::edit_helps(findings),
                edit_correlations: tables::edit_correlations(findings),
                edit_said,
                edit_said_more,
                parts: tables::parts(findings),
                metrics_left_out: tables::metrics_left_out(findings),
                trivial: tables::trivial(findings),
                training: tables::training(input),
                departures: tables::departures(input),
                excluded_by_reason: tables::excluded_by_reason(input),
                excluded: tables::excluded(input),
                unused: tables::unused(findings),
            },
        }
    }
}

fn has_parts(findings: &Findings, part: PartKind) -> bool {
    let grids = findings.conditions.iter().flat_map(|c| &c.parts);
    grids.into_iter().any(|grid| grid.part == part)
}

/// The wordings in which answer and foil were compared.
fn wordings(findings: &Findings) -> &'static str {
    let conditions = &findings.conditions;
    let taught = conditions.iter().any(|c| c.taught);
    let mut kinds = conditions.iter().flat_map(|c| &c.gate.kinds);
    match (taught, kinds.any(|k| k.held_back.is_some())) {
        (true, _) => "wordings seen in training and in wordings held back",
        (false, true) => "the pairs' own wordings and in paraphrases",
        (false, false) => "the pairs' own wordings",
    }
}

/// What was asked of whom, in one or two sentences.
pub(crate) fn lead(findings: &Findings) -> String {
    let names: Vec<String> = findings.conditions.iter().map(|c| c.name.clone()).collect();
    let kinds: Vec<String> = findings
        .suite
        .iter()
        .map(|k| {
            let pairs = plural(k.pairs, &format!("{} pair", k.kind));
            match k.relations {
                0 => pairs,
                relations => format!("{pairs} of {}", plural(relations, "relation")),
            }
        })
        .collect();
    let models = match names.len() {
        0 => "No model was".to_owned(),
        1 => format!("The model {} was", names[0]),
        _ => format!("The models {} were", list(&names)),
    };
    let asked = if kinds.is_empty() {
        "nothing".to_owned()
    } else {
        list(&kinds)
    };
    format!(
        "{models} asked {asked}. A pair is a clean and a corrupted prompt, the answer that the first calls for and the foil that the second calls for."
    )
}

/// The methods, ready to be pasted.
fn methods(findings: &Findings) -> Vec<String> {
    let s = &findings.settings;
    let level = percent(s.level);
    let (of_kinds, between, within) = match findings.has_kinds() {
        true => (
            ", kinds",
            format!(
                " Between kinds: kind permuted over relations, at least {} of each.",
                engram_findings::kinds::LEAST_RELATIONS
            ),
            ", and over relations and pairs within them between kinds",
        ),
        false => ("", String::new(), ""),
    };
    let mut methods = vec![
        format!(
            "Activations of the clean run were written into the corrupted run (denoise) or the reverse (noise), one cell at a time. Recovery is R = (m_patched − m_corrupt) / (m_clean − m_corrupt) under denoise and (m_clean − m_patched) / (m_clean − m_corrupt) under noise; the primary metric is the logit difference between the first tokens of answer and foil. Pairs with a clean − corrupt logit difference below {} are not eligible and enter no test.",
            number(s.eligible_gap)
        ),
        format!(
            "A model passes the gate of knowing if it prefers what the prompts call for, clean and corrupted, on more than half of them: answer and foil exchanged within clusters (sign flips of cluster means, {} permutations or all). A model prefers the right one of a pair if answer beats foil on the clean prompt and foil beats answer on the corrupted one; it says the answer if greedy decoding gives it. Conclusions about layers{of_kinds} and parts are drawn over eligible pairs of which the model prefers the right one, edits over facts whose answer it says. A model that does not pass the gate supports no conclusion, and its figures are over all eligible pairs.",
            s.permutations
        ),
        "Rows whose recovery the graph alone fixes, whatever the weights, are flagged as trivial by reachability and left out of every mean and test; where the graph fixes all pairs, their value is shown with a cross. A test over layers takes the pairs with a recovery of their own at every layer that is tested.".to_owned(),
        format!(
            "The unit is the pair; pairs that share facts are averaged to clusters before testing. Over layers: Friedman's test with Kendall's W, then Wilcoxon's signed-rank test of R less the pair's mean over layers, Holm's correction over layers (Benjamini–Hochberg beside it).{between} Intervals are {level} bootstrap intervals (BCa where it applies, {} resamples) over clusters{within}. Localisation is the normalised entropy of max(R, 0) over layers of attn_out and mlp_out patched at all positions, where contributions add up. Seed {}.",
            s.resamples, s.seed
        ),
    ];
    methods.extend(editing::methods(findings));
    methods
}
