//! Terms of the residual stream, which one destination alone may read otherwise: the edges of a circuit.

use engram_core::{NamedSite, Part, Site};
use engram_model::{Shape, wavefront};
use serde::{Deserialize, Serialize};

use crate::intervention::{Intervention, Value};

/// What a site adds to the residual stream, and what a destination reads in its place. The run itself keeps its value.
///
/// The destination's input gets (value − this run's own), before its norm; with [`Value::Source`] that is the edge from the
/// term to the destination, patched (Wang et al. 2023; Syed et al. 2023). Positions are those of the destination, since
/// the residual stream of a position has only terms of that position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// The site: an embedding, `head_out`, `attn_out` or `mlp_out`.
    pub site: Site,
    /// Its layer, before the destination; none for embeddings.
    pub layer: Option<usize>,
    /// Only these heads; all where `None`.
    pub part: Option<Part>,
    /// What is read in place of this run's own value.
    pub value: Value,
}

impl Term {
    /// A whole site.
    pub fn new(site: Site, layer: Option<usize>, value: Value) -> Term {
        Term {
            site,
            layer,
            part: None,
            value,
        }
    }

    /// What one head adds.
    pub fn head(layer: usize, head: usize, value: Value) -> Term {
        Term {
            site: Site::HeadOut,
            layer: Some(layer),
            part: Some(Part {
                start: head,
                end: head + 1,
            }),
            value,
        }
    }

    /// The term as an intervention of its site at the positions of a destination.
    pub(crate) fn at(&self, destination: &Intervention) -> Intervention {
        Intervention {
            site: self.site,
            layer: self.layer,
            part: self.part,
            place: destination.place.clone(),
            value: self.value.clone(),
        }
    }

    /// The term as a wavefront takes it.
    pub(crate) fn written(&self, value: wavefront::WrittenValue) -> wavefront::Write {
        wavefront::Write {
            site: self.site,
            layer: self.layer,
            // Those of the destination count.
            positions: 0..0,
            part: self.part.map(|p| p.start..p.end),
            value,
        }
    }

    fn name(&self) -> String {
        let site = NamedSite::canonical(self.site, self.layer).name;
        match self.part {
            Some(Part { start, end }) if end == start + 1 => format!("{site}[{start}]"),
            Some(Part { start, end }) => format!("{site}[{start}:{end}]"),
            None => site,
        }
    }

    /// Whether something is part of both.
    fn overlaps(&self, other: &Term) -> bool {
        let attention = |s: Site| matches!(s, Site::HeadOut | Site::AttnOut);
        let same_site = self.site == other.site || attention(self.site) && attention(other.site);
        same_site && self.layer == other.layer && overlap(self.part, other.part)
    }
}

/// Whether two parts of a site have heads or neurons in common.
fn overlap(a: Option<Part>, b: Option<Part>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.start < b.end && b.start < a.end,
        _ => true,
    }
}

/// What is wrong with the terms that a destination reads otherwise in a run of `prompt` tokens.
pub(crate) fn fault(
    destination: &Intervention,
    terms: &[Term],
    shape: &Shape,
    prompt: usize,
) -> Option<String> {
    let site = destination.site;
    if !reads_the_stream(site) {
        return Some(format!(
            "{site} does not read the residual stream: q, k, v, ln1, ln2 and ln_final do"
        ));
    }
    if terms.is_empty() {
        return Some("it reads no term otherwise".to_owned());
    }
    for (index, term) in terms.iter().enumerate() {
        let name = term.name();
        if !matches!(
            term.site,
            Site::Embed | Site::PosEmbed | Site::HeadOut | Site::AttnOut | Site::MlpOut
        ) {
            return Some(format!(
                "{name} is no term of the residual stream: embed, pos_embed, head_out, attn_out and mlp_out are"
            ));
        }
        if term.site == Site::HeadOut && shape.post_norms {
            return Some(format!(
                "what {name} adds depends on the other heads, because this model normalises their sum; read attn_out otherwise"
            ));
        }
        if matches!(term.value.inner(), Value::Reading(_)) {
            return Some(format!("{name} has a value that is itself a reading"));
        }
        if let Some(why) = term.at(destination).fault(shape, prompt) {
            return Some(format!("{name}: {why}"));
        }
        if !is_before(term, destination, shape) {
            return Some(format!("{name} is no term of what it reads"));
        }
        if let Some(other) = terms[..index].iter().find(|other| other.overlaps(term)) {
            let other = other.name();
            return Some(format!("{name} and {other} are both read otherwise"));
        }
    }
    None
}

/// Whether the residual stream that a destination reads has a term.
fn is_before(term: &Term, destination: &Intervention, shape: &Shape) -> bool {
    match (term.layer, destination.layer) {
        // Embeddings are terms of every stream, and the last norm reads the stream of all terms.
        (None, _) | (_, None) => true,
        (Some(own), Some(other)) if own == other => {
            let is_attention = matches!(term.site, Site::HeadOut | Site::AttnOut);
            is_attention && destination.site == Site::Ln2 && !shape.parallel
        }
        (Some(own), Some(other)) => own < other,
    }
}

/// Whether a site is computed from the residual stream of its position, through a norm.
fn reads_the_stream(site: Site) -> bool {
    match site {
        Site::Q | Site::K | Site::V | Site::Ln1 | Site::Ln2 | Site::LnFinal => true,
        Site::CAttn | Site::Pattern | Site::Z | Site::HeadOut | Site::AttnOut => false,
        Site::MlpPre | Site::MlpUp | Site::MlpPost | Site::MlpOut | Site::Logits => false,
        Site::Embed | Site::PosEmbed | Site::ResidPre | Site::ResidMid | Site::ResidPost => false,
        Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale => false,
    }
}

/// What is wrong with a destination's reading beside the other interventions of its cell: what it reads would not be one
/// value.
pub(crate) fn conflict(interventions: &[Intervention], prompt: usize) -> Option<String> {
    let readings = interventions.iter().enumerate();
    for (index, reading) in readings.filter(|(_, i)| matches!(i.value, Value::Reading(_))) {
        let name = |i: &Intervention| NamedSite::canonical(i.site, i.layer).name;
        let between: &[Site] = match reading.site {
            Site::Q | Site::K | Site::V => &[Site::Ln1Scale, Site::Ln1, Site::CAttn],
            Site::Ln1 => &[Site::Ln1Scale],
            Site::Ln2 => &[Site::Ln2Scale],
            Site::LnFinal => &[Site::LnFinalScale],
            _ => &[],
        };
        let here = reading.place.range(prompt);
        for (other_index, other) in interventions.iter().enumerate() {
            let there = other.place.range(prompt);
            let meet = here.start < there.end && there.start < here.end;
            if other.layer != reading.layer || !meet {
                continue;
            }
            if between.contains(&other.site) {
                return Some(format!(
                    "{} is changed in the same run, between the residual stream and {}",
                    name(other),
                    name(reading)
                ));
            }
            let again = matches!(other.value, Value::Reading(_)) && other.site == reading.site;
            if other_index < index && again && overlap(other.part, reading.part) {
                return Some(format!(
                    "{} reads terms otherwise twice; give all terms in one reading",
                    name(reading)
                ));
            }
        }
    }
    None
}
