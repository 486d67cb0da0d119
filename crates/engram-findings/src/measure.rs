//! What was patched, where, which way, and what was read: the key of every table.

use engram_core::{Corruption, Direction, Metric, Row, RowAlign, Site};
use serde::{Deserialize, Serialize};

use crate::layout::PositionClass;

/// Which positions a value covers: several patched together, or one at a time by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One patch over all positions.
    All,
    /// One patch over the subject's span.
    Subject,
    /// Positions before the subject, each patched alone.
    BeforeSubject,
    /// The first of several subject tokens alone.
    SubjectFirst,
    /// Tokens between the subject's first and last, each alone.
    SubjectMiddle,
    /// The subject's last token alone.
    SubjectLast,
    /// Positions after the subject and before the last, each alone.
    AfterSubject,
    /// The answer position alone.
    Last,
    /// Any other position of a prompt whose subject is not known, each alone.
    Elsewhere,
}

impl Scope {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Scope::All => "all positions",
            Scope::Subject => "the subject's tokens",
            Scope::BeforeSubject => "positions before the subject",
            Scope::SubjectFirst => "the subject's first token",
            Scope::SubjectMiddle => "the subject's middle tokens",
            Scope::SubjectLast => "the subject's last token",
            Scope::AfterSubject => "positions after the subject",
            Scope::Last => "the last token",
            Scope::Elsewhere => "positions without a role",
        }
    }
}

impl From<PositionClass> for Scope {
    fn from(class: PositionClass) -> Scope {
        match class {
            PositionClass::BeforeSubject => Scope::BeforeSubject,
            PositionClass::SubjectFirst => Scope::SubjectFirst,
            PositionClass::SubjectMiddle => Scope::SubjectMiddle,
            PositionClass::SubjectLast => Scope::SubjectLast,
            PositionClass::AfterSubject => Scope::AfterSubject,
            PositionClass::Last => Scope::Last,
            PositionClass::Elsewhere => Scope::Elsewhere,
        }
    }
}

/// What was patched, where, which way, and what was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Measure {
    /// The site.
    pub site: Site,
    /// The site as it was asked for, with `*` for the layer; the canonical name where that was asked for.
    pub label: String,
    /// Positions covered.
    pub scope: Scope,
    /// Which run was written into.
    pub direction: Direction,
    /// What the corrupted run is.
    pub corruption: Corruption,
    /// How positions were brought together.
    pub align: RowAlign,
    /// The number read.
    pub metric: Metric,
    /// How many layers one patch covers, where that is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
}

impl Measure {
    /// The measure of a row, at a scope.
    pub(crate) fn of(row: &Row, scope: Scope) -> Measure {
        Measure {
            site: row.site,
            label: label(row),
            scope,
            direction: row.direction,
            corruption: row.corruption,
            align: row.align,
            metric: row.metric,
            window: row.window.filter(|w| *w > 1),
        }
    }

    /// The same at another scope.
    pub(crate) fn at(&self, scope: Scope) -> Measure {
        Measure {
            scope,
            ..self.clone()
        }
    }

    /// Site, positions and window in words: `attn_out`, `resid_pre, the last token`, `mlp_out, windows of 3 layers`.
    pub fn place(&self) -> String {
        let mut text = self.label.clone();
        if self.scope != Scope::All {
            text += &format!(", {}", self.scope.words());
        }
        if let Some(window) = self.window {
            text += &format!(", windows of {window} layers");
        }
        text
    }

    /// Whether it is the same under any name of the site.
    pub(crate) fn is_same_place(&self, other: &Measure) -> bool {
        let under = |m: &Measure| Measure {
            label: String::new(),
            ..m.clone()
        };
        under(self) == under(other)
    }

    /// All of it in words: `resid_pre, the last token, logit_diff, denoise, swap`.
    pub fn words(&self) -> String {
        let mut words = vec![
            self.place(),
            self.metric.to_string(),
            self.direction.to_string(),
            self.corruption.to_string(),
        ];
        if self.align != RowAlign::Strict {
            words.push(format!("align {}", self.align));
        }
        words.join(", ")
    }

    /// Whether contributions at this site add up over layers, so that shares of them mean something:
    /// what attention and MLP add to the residual stream, at all positions, one layer at a time.
    pub fn adds_up(&self) -> bool {
        self.scope == Scope::All
            && self.window.is_none()
            && matches!(self.site, Site::AttnOut | Site::MlpOut)
    }

    /// Whether tests are made on the metric: the logit difference, and the log-probability of whole
    /// answers beside it.
    pub fn is_tested(&self) -> bool {
        matches!(self.metric, Metric::LogitDiff | Metric::LogProbSeq)
    }

    /// Whether it is of the kind that conclusions are drawn from: the logit difference, denoised.
    pub fn is_primary(&self) -> bool {
        self.metric == Metric::LogitDiff && self.direction == Direction::Denoise
    }

    /// Whether conclusions are drawn from it where all these were swept: it is primary, with swapped prompts where any of
    /// them has those, and otherwise with whatever corrupted them.
    pub fn concludes_among<'a>(&self, mut all: impl Iterator<Item = &'a Measure>) -> bool {
        let swapped = |m: &Measure| m.is_primary() && m.corruption == Corruption::Swap;
        swapped(self) || (self.is_primary() && !all.any(swapped))
    }

    /// Sorts by metric, direction, site, scope in the order in which they are declared, then by label, corruption and
    /// alignment in that of the alphabet: reports have had this order since version 0.1.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (
            (self.metric, self.direction, self.site),
            (self.scope, self.window),
            self.label.clone(),
            [self.corruption.to_string(), self.align.to_string()],
        )
    }
}

/// A row's name with `*` in place of its layer: `transformer.h.*.mlp`; the canonical site where the
/// name is canonical.
fn label(row: &Row) -> String {
    let Some(layer) = row.layer else {
        return row.name.clone();
    };
    if row.name == format!("{}.{layer}", row.site) || row.name.is_empty() {
        return row.site.to_string();
    }
    let layer = layer.to_string();
    let mut replaced = false;
    let parts: Vec<&str> = row
        .name
        .split('.')
        .map(|part| {
            if part == layer && !replaced {
                replaced = true;
                "*"
            } else {
                part
            }
        })
        .collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_lose_their_layer() {
        let named = |name: &str, site: Site, layer: Option<i64>| {
            label(&Row {
                name: name.into(),
                site,
                layer,
                ..Row::default()
            })
        };
        assert_eq!(named("attn_out.3", Site::AttnOut, Some(3)), "attn_out");
        assert_eq!(
            named("transformer.h.10.mlp.c_fc", Site::MlpPre, Some(10)),
            "transformer.h.*.mlp.c_fc"
        );
        assert_eq!(named("lm_head", Site::Logits, None), "lm_head");
    }
}
