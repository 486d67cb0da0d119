//! Studies with a known answer, for calibrating tests and for looking at reports. Nothing here is a
//! result: every row is drawn from a seeded generator.

use engram_core::{
    Confounds, Corruption, Direction, Metric, Pair, PreferenceRow, Row, RowAlign, Site, Span,
    Wording,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::study::Condition;

/// What the simulated model is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulation {
    /// Relations of each kind.
    pub relations: usize,
    /// Pairs of each relation; reciprocal, two a cluster.
    pub pairs: usize,
    /// Layers.
    pub layers: i64,
    /// The chance that the model prefers what a prompt calls for; 0.5 knows nothing.
    pub knowledge: f64,
    /// How much more recovery one layer has than the others; 0 is a null over layers.
    pub layer_effect: f64,
    /// How much more the definitional kind's recovery is gathered in that layer; 0 is a null between
    /// kinds.
    pub kind_effect: f64,
    /// How much more recovery is gathered in that layer for each token that a prompt has beyond 8. Prompts of the
    /// definitional kind are longer ([`Simulation::confounds`]): a difference between kinds that is none of kind.
    pub length_effect: f64,
    /// Standard deviation of a relation's own recovery at a layer.
    pub relation_spread: f64,
    /// Whether to write rows by position, and those of the published protocol.
    pub full: bool,
    /// Seed.
    pub seed: u64,
}

impl Default for Simulation {
    fn default() -> Simulation {
        Simulation {
            relations: 8,
            pairs: 6,
            layers: 8,
            knowledge: 0.95,
            layer_effect: 0.0,
            kind_effect: 0.0,
            length_effect: 0.0,
            relation_spread: 0.02,
            full: false,
            seed: 0,
        }
    }
}

const KINDS: [&str; 2] = ["definitional", "associative"];
const TERMS: [&str; 6] = [
    "aura",
    "spike wave",
    "Dravet syndrome",
    "tonic phase",
    "sclerosis",
    "absence",
];
const TEMPLATE: &str = "frame-1";
const PARTS: [(&str, Site); 9] = [
    ("ln_1", Site::Ln1),
    ("attn.c_attn", Site::CAttn),
    ("attn.c_proj", Site::AttnOut),
    ("attn", Site::AttnOut),
    ("mlp.c_fc", Site::MlpPre),
    ("mlp.act", Site::MlpPost),
    ("mlp.c_proj", Site::MlpOut),
    ("mlp", Site::MlpOut),
    ("", Site::ResidPost),
];

impl Simulation {
    /// The suite: the same whatever the model.
    pub fn suite(&self) -> Vec<Pair> {
        let mut suite = Vec::new();
        for kind in KINDS {
            for relation in 0..self.relations {
                for i in 0..self.pairs {
                    let (subject, other) = (self.subject(i), self.subject(i ^ 1));
                    let relation = format!("{}-{relation}", &kind[..3]);
                    // No two clusters share a prompt.
                    let prompt = |s: &str, frame: &str| format!("{frame} {s} is {relation} to the");
                    suite.push(Pair {
                        id: format!("{relation}-{i}"),
                        kind: kind.to_owned(),
                        clean: prompt(&subject, "Here"),
                        corrupt: prompt(&other, "Here"),
                        answer: format!(" answer{i}"),
                        foil: format!(" answer{}", i ^ 1),
                        subject: Some(Span::Text(subject.clone())),
                        corrupt_subject: Some(Span::Text(other.clone())),
                        cluster: Some(format!("{relation}-c{}", i / 2)),
                        template: Some(TEMPLATE.to_owned()),
                        relation: Some(relation.clone()),
                        paraphrases: vec![Wording {
                            clean: prompt(&subject, "Often"),
                            corrupt: prompt(&other, "Often"),
                            template: Some("frame-2".to_owned()),
                        }],
                        ..Pair::default()
                    });
                }
            }
        }
        suite
    }

    /// Lengths of prompts: 8 and up, by relation, 6 more where the kind is definitional.
    pub fn confounds(&self) -> Vec<Confounds> {
        let of = |pair: &Pair| Confounds {
            pair: pair.id.clone(),
            prompt_tokens: prompt_tokens(pair),
            answer_tokens: 1,
            ..Confounds::default()
        };
        self.suite().iter().map(of).collect()
    }

    fn subject(&self, i: usize) -> String {
        // Reciprocal subjects have equally many words.
        let term = TERMS[i / 2 % TERMS.len()];
        format!("{term}{}", [" one", " two"][i % 2])
    }

    /// One model on [`Self::suite`].
    pub fn condition(&self, name: &str) -> Condition {
        let mut draw = Draw(ChaCha8Rng::seed_from_u64(self.seed));
        let mut condition = Condition {
            name: name.to_owned(),
            ..Condition::default()
        };
        let mut relation = String::new();
        let mut own = Vec::new();
        for (i, pair) in self.suite().iter().enumerate() {
            if pair.relation.as_ref() != Some(&relation) {
                relation = pair.relation.clone().unwrap_or_default();
                own = (0..2 * self.layers)
                    .map(|_| self.relation_spread * draw.normal())
                    .collect();
            }
            let (clean, corrupt) = (
                draw.preference(self.knowledge),
                -draw.preference(self.knowledge),
            );
            condition
                .preferences
                .push(preference(pair, TEMPLATE, clean, corrupt));
            let held_back = 0.5 + 0.7 * (self.knowledge - 0.5);
            let (a, b) = (draw.preference(held_back), -draw.preference(held_back));
            condition
                .preferences
                .push(preference(pair, "frame-2", a, b));
            for (s, site) in [Site::AttnOut, Site::MlpOut].into_iter().enumerate() {
                for layer in 0..self.layers {
                    let shared = own[(s as i64 * self.layers + layer) as usize];
                    let recovery = self.recovery(pair, layer) + shared + 0.05 * draw.normal();
                    let row = row(
                        pair,
                        site.name(),
                        site,
                        Some(layer),
                        recovery,
                        [clean, corrupt],
                    );
                    condition.rows.push(Row {
                        metric: Metric::LogProbSeq,
                        ..row.clone()
                    });
                    condition.rows.push(row);
                }
            }
            if self.full {
                self.by_position(pair, [clean, corrupt], &mut draw, &mut condition.rows);
                if i % self.pairs == 0 {
                    self.published(pair, &mut draw, &mut condition.published);
                }
            }
        }
        condition
    }

    /// Gives a condition rows for single heads of `attn_out`, one of which carries most of its layer.
    pub fn add_heads(&self, condition: &mut Condition, heads: i64) {
        let mut draw = Draw(ChaCha8Rng::seed_from_u64(self.seed ^ 0x4ead));
        let whole: Vec<Row> = (condition.rows.iter())
            .filter(|r| r.site == Site::AttnOut && r.metric == Metric::LogitDiff)
            .cloned()
            .collect();
        for row in whole {
            let layer = row.layer.unwrap_or(0);
            for head in 0..heads {
                let share = if head == layer % heads { 0.6 } else { 0.0 };
                let value = share * row.recovery.unwrap_or(0.0) + 0.03 * draw.normal();
                condition.rows.push(Row {
                    name: format!("head_out.{layer}"),
                    site: Site::HeadOut,
                    head: Some(head),
                    patched: row.corrupt + value * (row.clean - row.corrupt),
                    recovery: row.recovery.map(|_| value),
                    ..row.clone()
                });
            }
        }
    }

    /// Mean recovery of one layer: what the kind effect takes from the others it gives to one.
    fn recovery(&self, pair: &Pair, layer: i64) -> f64 {
        let of_kind = if pair.kind == KINDS[0] {
            self.kind_effect
        } else {
            0.0
        };
        let gathered = of_kind + self.length_effect * (prompt_tokens(pair) - 8) as f64;
        let even = 1.0 / self.layers as f64;
        if layer == self.layers / 2 {
            even + self.layer_effect + gathered * (1.0 - even)
        } else {
            even * (1.0 - gathered)
        }
    }

    fn by_position(&self, pair: &Pair, metric: [f64; 2], draw: &mut Draw, rows: &mut Vec<Row>) {
        let tokens: Vec<&str> = pair.corrupt.split_inclusive(' ').collect();
        let first = tokens
            .iter()
            .zip(pair.clean.split_inclusive(' '))
            .position(|(a, b)| *a != b);
        let (first, last) = (first.unwrap_or(0), tokens.len() - 1);
        for layer in 0..self.layers {
            let depth = layer as f64 / (self.layers - 1).max(1) as f64;
            for (position, token) in tokens.iter().enumerate() {
                let (recovery, trivial) = if position < first {
                    (0.0, true)
                } else if layer == 0 {
                    (f64::from(u8::from(position == first)), true)
                } else if position == last {
                    (depth * depth + 0.05 * draw.normal(), false)
                } else if position == first {
                    (1.0 - depth * depth + 0.05 * draw.normal(), false)
                } else {
                    (0.04 * draw.normal(), false)
                };
                let row = row(
                    pair,
                    "resid_pre",
                    Site::ResidPre,
                    Some(layer),
                    recovery,
                    metric,
                );
                rows.push(Row {
                    position: Some(position as i64),
                    token: Some((*token).to_owned()),
                    trivial,
                    trivial_why: trivial.then(|| "fixed by the graph: nothing patched here differs, or all that differs is patched".to_owned()),
                    ..row
                });
            }
        }
    }

    fn published(&self, pair: &Pair, draw: &mut Draw, rows: &mut Vec<Row>) {
        let metric = [0.8 + 0.3 * draw.normal(), -0.4 + 0.2 * draw.normal()];
        let mut push = |name: String, site, layer, recovery, why: Option<&str>| {
            rows.push(Row {
                align: RowAlign::Overwrite,
                metric: Metric::LogitDiffMean,
                trivial: why.is_some(),
                trivial_why: why.map(str::to_owned),
                ..row(pair, &name, site, layer, recovery, metric)
            });
        };
        let whole =
            Some("the patched output cuts every path from the tokens that differ to the logits");
        push("transformer.wte".to_owned(), Site::Embed, None, 1.0, whole);
        for layer in 0..self.layers {
            for (part, site) in PARTS {
                let recovery = self.recovery(pair, layer) + 0.08 * draw.normal();
                let (name, recovery, why) = match part {
                    "" => (format!("transformer.h.{layer}"), 1.0, whole),
                    _ => (format!("transformer.h.{layer}.{part}"), recovery, None),
                };
                push(name, site, Some(layer), recovery, why);
            }
        }
        push(
            "transformer.ln_f".to_owned(),
            Site::LnFinal,
            None,
            1.0,
            whole,
        );
        push("lm_head".to_owned(), Site::Logits, None, 1.0, whole);
    }
}

/// 8, one more for each relation of the kind before the pair's own, 6 more where the kind is definitional.
fn prompt_tokens(pair: &Pair) -> usize {
    let relation = pair
        .relation
        .as_deref()
        .and_then(|r| r.rsplit('-').next()?.parse().ok());
    8 + relation.unwrap_or(0) + if pair.kind == KINDS[0] { 6 } else { 0 }
}

fn preference(pair: &Pair, template: &str, clean: f64, corrupt: f64) -> PreferenceRow {
    PreferenceRow {
        pair: pair.id.clone(),
        kind: pair.kind.clone(),
        relation: pair.relation.clone(),
        template: Some(template.to_owned()),
        held_back: template != TEMPLATE,
        logit_diff_clean: clean,
        logit_diff_corrupt: corrupt,
        ..PreferenceRow::default()
    }
}

fn row(
    pair: &Pair,
    name: &str,
    site: Site,
    layer: Option<i64>,
    recovery: f64,
    metric: [f64; 2],
) -> Row {
    let [clean, corrupt] = metric;
    Row {
        pair: pair.id.clone(),
        kind: pair.kind.clone(),
        name: match layer {
            Some(layer) if name == site.name() => format!("{name}.{layer}"),
            _ => name.to_owned(),
        },
        site,
        layer,
        direction: Direction::Denoise,
        corruption: Corruption::Swap,
        align: RowAlign::Strict,
        metric: Metric::LogitDiff,
        clean,
        corrupt,
        patched: corrupt + recovery * (clean - corrupt),
        recovery: (clean - corrupt >= 0.5).then_some(recovery),
        ..Row::default()
    }
}

/// The generator, and what is drawn from it.
struct Draw(ChaCha8Rng);

impl Draw {
    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (u, v): (f64, f64) = (1.0 - self.0.random::<f64>(), self.0.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// A logit difference, positive with probability `right`.
    fn preference(&mut self, right: f64) -> f64 {
        let size = 0.4 + 2.0 * self.0.random::<f64>();
        if self.0.random::<f64>() < right {
            size
        } else {
            -size
        }
    }
}
