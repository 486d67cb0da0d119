//! Which cells' recovery the graph alone fixes: abstract interpretation of one run.
//!
//! Instead of numbers the walk carries two flags for each position of each stage: whether the value
//! there certainly equals the base run's, and whether it certainly equals the source run's. A value
//! has a flag where everything that it is computed from has it.

use engram_core::Site;
use serde::{Deserialize, Serialize};

use crate::plan::Place;

/// What the graph says of the logits that a metric reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// They depend on the weights.
    Open,
    /// They are the source run's: R = 1.
    Source,
    /// They are the base run's, because the patch writes what was there: R = 0.
    Same,
    /// They are the base run's, because nothing leads from the patch to them: R = 0.
    Unread,
}

impl Fate {
    /// The reason as a sentence; `None` where nothing is fixed.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Fate::Open => None,
            Fate::Source => Some(
                "every path from the tokens that differ to the logits that are read passes through the patched entries",
            ),
            Fate::Same => {
                Some("both runs have the same values at the patched entries, whatever the weights")
            }
            Fate::Unread => {
                Some("no path leads from the patched entries to the logits that are read")
            }
        }
    }

    /// The recovery that the graph fixes.
    pub fn recovery(self) -> Option<f64> {
        match self {
            Fate::Open => None,
            Fate::Source => Some(1.0),
            Fate::Same | Fate::Unread => Some(0.0),
        }
    }
}

/// What a value certainly equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Equal {
    base: bool,
    source: bool,
}

impl Equal {
    fn and(self, other: Equal) -> Equal {
        Equal {
            base: self.base && other.base,
            source: self.source && other.source,
        }
    }
}

type Flags = Vec<Equal>;

/// What the patch does to the flags of the stage that it is at.
struct Patch<'a> {
    site: Site,
    layer: Option<usize>,
    place: &'a Place,
    prompt: usize,
    /// Whether a patched entry may differ from what was there.
    differs: bool,
}

impl Patch<'_> {
    /// The flags of a stage as the patch leaves them.
    fn at(&mut self, site: Site, layer: Option<usize>, mut flags: Flags) -> Flags {
        if site == self.site && layer == self.layer {
            for entry in &mut flags[self.place.range(self.prompt)] {
                // Up to here this is the base run, so `source` says whether both runs agree here.
                self.differs |= !entry.source;
                *entry = Equal {
                    base: entry.source,
                    source: true,
                };
            }
        }
        flags
    }
}

fn join(a: &Flags, b: &Flags) -> Flags {
    a.iter().zip(b).map(|(a, b)| a.and(*b)).collect()
}

/// Each position with all before it.
fn so_far(flags: &Flags) -> Flags {
    let mut seen = Equal {
        base: true,
        source: true,
    };
    flags
        .iter()
        .map(|f| {
            seen = seen.and(*f);
            seen
        })
        .collect()
}

/// The flags of the logits after a run with one patched cell. `agree` says at which tokens base and
/// source prompt are equal; tokens appended after the prompt are equal in both.
fn walk(layers: usize, agree: &[bool], patch: &mut Patch<'_>) -> Flags {
    let equal = |source| Equal { base: true, source };
    let tokens = agree.iter().map(|a| equal(*a)).collect();
    let tokens = patch.at(Site::Embed, None, tokens);
    let places = patch.at(Site::PosEmbed, None, vec![equal(true); agree.len()]);
    let mut x = join(&tokens, &places);
    for layer in (0..layers).map(Some) {
        x = patch.at(Site::ResidPre, layer, x);

        let scale = patch.at(Site::Ln1Scale, layer, x.clone());
        let normal = patch.at(Site::Ln1, layer, join(&x, &scale));
        let qkv = patch.at(Site::CAttn, layer, normal);
        let q = patch.at(Site::Q, layer, qkv.clone());
        let k = patch.at(Site::K, layer, qkv.clone());
        let v = patch.at(Site::V, layer, qkv);
        let mut pattern = join(&q, &so_far(&k));
        // The first query has one key to read: its pattern is 1, whatever query and key.
        if let Some(first) = pattern.first_mut() {
            *first = equal(true);
        }
        let pattern = patch.at(Site::Pattern, layer, pattern);
        let z = patch.at(Site::Z, layer, join(&pattern, &so_far(&v)));
        let heads = patch.at(Site::HeadOut, layer, z);
        let attn_out = patch.at(Site::AttnOut, layer, heads);
        x = patch.at(Site::ResidMid, layer, join(&x, &attn_out));

        let scale = patch.at(Site::Ln2Scale, layer, x.clone());
        let normal = patch.at(Site::Ln2, layer, join(&x, &scale));
        let pre = patch.at(Site::MlpPre, layer, normal);
        let post = patch.at(Site::MlpPost, layer, pre);
        let mlp_out = patch.at(Site::MlpOut, layer, post);
        x = patch.at(Site::ResidPost, layer, join(&x, &mlp_out));
    }
    let scale = patch.at(Site::LnFinalScale, None, x.clone());
    let normal = patch.at(Site::LnFinal, None, join(&x, &scale));
    patch.at(Site::Logits, None, normal)
}

/// What the graph fixes for a cell: first for metrics that read the logits at the prompt's last
/// position, then for those that also read `appended` positions after it.
pub(crate) fn fates(
    layers: usize,
    (base, source): (&[u32], &[u32]),
    appended: usize,
    (site, layer): (Site, Option<usize>),
    place: &Place,
) -> [Fate; 2] {
    let prompt = base.len();
    let agree: Vec<bool> = (base.iter().zip(source).map(|(a, b)| a == b))
        .chain(std::iter::repeat_n(true, appended))
        .collect();
    let mut patch = Patch {
        site,
        layer,
        place,
        prompt,
        differs: false,
    };
    let logits = walk(layers, &agree, &mut patch);
    [prompt, prompt + appended].map(|end| {
        let read = &logits[prompt.saturating_sub(1)..end];
        if read.iter().all(|e| e.base) {
            match patch.differs {
                true => Fate::Unread,
                false => Fate::Same,
            }
        } else if read.iter().all(|e| e.source) {
            Fate::Source
        } else {
            Fate::Open
        }
    })
}
