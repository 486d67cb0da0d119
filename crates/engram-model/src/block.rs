//! The one description of a block: its sites in the order of the forward pass, what each is computed from, its width and
//! its parts, the matrix product that makes it, and the stage of a wavefront that takes a write of it.
//!
//! What the graph fixes (`engram_patch::reach`), which rows a patch changes (`wavefront/geometry.rs`), what that costs
//! (`wavefront/cost.rs`) and where a write takes effect (`wavefront/write.rs`) are read from here. A new site does not
//! compile before [`Graph::of`] describes it.

use engram_core::Site;

use crate::architecture::Shape;

/// What a site's value at a position is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputedFrom {
    /// From the token at the position.
    OfToken,
    /// From the position's number.
    OfPosition,
    /// The residual stream between blocks: the sum of the embeddings, then what the block before leaves.
    Stream,
    /// From the values of some sites at the same position.
    Of(&'static [Site]),
    /// From the query at the position and the keys that it attends to.
    Scores {
        /// The queries' site.
        queries: Site,
        /// The keys' site.
        keys: Site,
    },
    /// From the attention pattern of the position and the values that it weighs.
    Weighted {
        /// The pattern's site.
        pattern: Site,
        /// The values' site.
        values: Site,
    },
}

/// A stage of a block: some sites whose rows a wavefront computes together. The last LayerNorm is taken as that of a
/// block after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Residual,
    Ln1,
    Qkv,
    Pattern,
    Z,
    AttnOut,
    Mid,
    Ln2,
    Pre,
    Post,
    MlpOut,
}

impl Stage {
    /// All of them, in the order in which a world passes them.
    pub(crate) const ALL: [Stage; 11] = [
        Stage::Residual,
        Stage::Ln1,
        Stage::Qkv,
        Stage::Pattern,
        Stage::Z,
        Stage::AttnOut,
        Stage::Mid,
        Stage::Ln2,
        Stage::Pre,
        Stage::Post,
        Stage::MlpOut,
    ];
}

/// What a write of a site does to a row of its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteEffect {
    /// Takes its place.
    Row,
    /// Takes the place of some columns, a head's or a neuron's `unit` of them, behind `offset` others.
    Columns { unit: usize, offset: usize },
    /// Is what a norm divides by.
    Scale,
    /// Is the token's embedding, to which its position's is added.
    Token,
    /// Is the position's embedding, to which the token's is added.
    Position,
}

/// A site of a network of given sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// The site.
    pub site: Site,
    /// What it is computed from.
    pub made: ComputedFrom,
    /// How many values it has at a position; `None` for a pattern, which has as many as there are keys.
    pub width: Option<usize>,
    /// How many heads or neurons its values are apart by; `None` where they are one whole.
    pub parts: Option<usize>,
    /// The number of inputs of the weight matrix whose product it is; `None` where it is no product.
    pub inputs: Option<usize>,
    /// The stage that takes a write of it.
    pub(crate) stage: Stage,
    /// What a write does there.
    pub(crate) effect: WriteEffect,
}

/// The sites of a network in the order of its forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Before the first block.
    pub before: Vec<Described>,
    /// Of each block.
    pub block: Vec<Described>,
    /// After the last block.
    pub after: Vec<Described>,
}

/// The sites before the blocks, of a block and after the blocks, in the order of the forward pass.
const ORDER: (&[Site], &[Site], &[Site]) = (
    &[Site::Embed, Site::PosEmbed],
    &[
        Site::ResidPre,
        Site::Ln1Scale,
        Site::Ln1,
        Site::CAttn,
        Site::Q,
        Site::K,
        Site::V,
        Site::Pattern,
        Site::Z,
        Site::HeadOut,
        Site::AttnOut,
        Site::ResidMid,
        Site::Ln2Scale,
        Site::Ln2,
        Site::MlpUp,
        Site::MlpPre,
        Site::MlpPost,
        Site::MlpOut,
        Site::ResidPost,
    ],
    &[Site::LnFinalScale, Site::LnFinal, Site::Logits],
);

impl Graph {
    /// Of a network of given sizes.
    pub fn of(shape: &Shape) -> Graph {
        let described = |sites: &[Site]| sites.iter().map(|s| describe(*s, shape)).collect();
        Graph {
            before: described(ORDER.0),
            block: described(ORDER.1),
            after: described(ORDER.2),
        }
    }

    /// By stage, the stages whose rows it is computed from, as bits; the last entry is that of the block's end.
    pub(crate) fn reads(&self) -> [u16; Stage::ALL.len() + 1] {
        let stage = |site: Site| self.block.iter().find(|d| d.site == site).map(|d| d.stage);
        let mut reads = [0; Stage::ALL.len() + 1];
        for described in &self.block {
            let is_end = described.site == Site::ResidPost;
            let own = described.stage as usize;
            let from = match described.made {
                ComputedFrom::Of(sites) => sites.to_vec(),
                ComputedFrom::Scores { queries, keys } => vec![queries, keys],
                // The rows that attend are those of the pattern.
                ComputedFrom::Weighted { pattern, .. } => vec![pattern],
                ComputedFrom::OfToken | ComputedFrom::OfPosition | ComputedFrom::Stream => {
                    Vec::new()
                }
            };
            for stage in from.into_iter().filter_map(stage) {
                match is_end {
                    true => reads[Stage::ALL.len()] |= 1 << stage as usize,
                    false if stage as usize != own => reads[own] |= 1 << stage as usize,
                    false => {}
                }
            }
        }
        reads
    }
}

/// A site's place in the order of the forward pass within a block.
pub(crate) fn rank(site: Site) -> usize {
    let all = ORDER.0.iter().chain(ORDER.1).chain(ORDER.2);
    all.take_while(|s| **s != site).count()
}

/// A site of a network of given sizes.
pub fn describe(site: Site, shape: &Shape) -> Described {
    let (d, m) = (shape.d_model, shape.d_mlp);
    let (head, queries, keys) = (shape.d_head, shape.d_queries(), shape.d_keys());
    let columns = |unit, offset| WriteEffect::Columns { unit, offset };
    let of = ComputedFrom::Of;
    // What the MLP's norm reads, alone and with its scale.
    let (read, normalised): (&[Site], &[Site]) = match shape.parallel {
        true => (&[Site::ResidPre], &[Site::ResidPre, Site::Ln2Scale]),
        false => (&[Site::ResidMid], &[Site::ResidMid, Site::Ln2Scale]),
    };
    let hidden: &[Site] = match shape.gated {
        true => &[Site::MlpPre, Site::MlpUp],
        false => &[Site::MlpPre],
    };
    let (heads, key_heads) = (Some(shape.heads), Some(shape.kv_heads));
    let scores = ComputedFrom::Scores {
        queries: Site::Q,
        keys: Site::K,
    };
    let weighted = ComputedFrom::Weighted {
        pattern: Site::Pattern,
        values: Site::V,
    };
    let row = |stage| (stage, WriteEffect::Row);
    let scale = |stage| (stage, WriteEffect::Scale);
    let (none, one) = (None, Some(1));
    #[rustfmt::skip]
    let (made, width, parts, inputs, (stage, effect)) = match site {
        Site::Embed => (ComputedFrom::OfToken, Some(d), none, none, (Stage::Residual, WriteEffect::Token)),
        Site::PosEmbed => (ComputedFrom::OfPosition, Some(d), none, none, (Stage::Residual, WriteEffect::Position)),
        Site::ResidPre => (ComputedFrom::Stream, Some(d), none, none, row(Stage::Residual)),
        Site::Ln1Scale => (of(&[Site::ResidPre]), one, none, none, scale(Stage::Ln1)),
        Site::Ln1 => (of(&[Site::ResidPre, Site::Ln1Scale]), Some(d), none, none, row(Stage::Ln1)),
        Site::CAttn => (of(&[Site::Ln1]), Some(queries + 2 * keys), none, Some(d), (Stage::Qkv, columns(1, 0))),
        Site::Q => (of(&[Site::CAttn]), Some(queries), heads, none, (Stage::Qkv, columns(head, 0))),
        Site::K => (of(&[Site::CAttn]), Some(keys), key_heads, none, (Stage::Qkv, columns(head, queries))),
        Site::V => (of(&[Site::CAttn]), Some(keys), key_heads, none, (Stage::Qkv, columns(head, queries + keys))),
        Site::Pattern => (scores, None, heads, none, row(Stage::Pattern)),
        Site::Z => (weighted, Some(queries), heads, none, (Stage::Z, columns(head, 0))),
        // Written as the weighted values that it is a linear image of.
        Site::HeadOut => (of(&[Site::Z]), Some(shape.heads * d), heads, none, (Stage::Z, columns(head, 0))),
        Site::AttnOut => (of(&[Site::HeadOut]), Some(d), none, Some(queries), row(Stage::AttnOut)),
        Site::ResidMid => (of(&[Site::ResidPre, Site::AttnOut]), Some(d), none, none, row(Stage::Mid)),
        Site::Ln2Scale => (of(read), one, none, none, scale(Stage::Ln2)),
        Site::Ln2 => (of(normalised), Some(d), none, none, row(Stage::Ln2)),
        Site::MlpUp => (of(&[Site::Ln2]), Some(m), Some(m), shape.gated.then_some(d), (Stage::Pre, columns(1, m))),
        Site::MlpPre => (of(&[Site::Ln2]), Some(m), Some(m), Some(d), (Stage::Pre, columns(1, 0))),
        Site::MlpPost => (of(hidden), Some(m), Some(m), none, (Stage::Post, columns(1, 0))),
        Site::MlpOut => (of(&[Site::MlpPost]), Some(d), none, Some(m), row(Stage::MlpOut)),
        Site::ResidPost => (of(&[Site::ResidMid, Site::MlpOut]), Some(d), none, none, row(Stage::Residual)),
        Site::LnFinalScale => (of(&[Site::ResidPost]), one, none, none, scale(Stage::Ln1)),
        Site::LnFinal => (of(&[Site::ResidPost, Site::LnFinalScale]), Some(d), none, none, row(Stage::Ln1)),
        // Written as the last LayerNorm that it is a linear image of.
        Site::Logits => (of(&[Site::LnFinal]), Some(shape.vocab), none, none, row(Stage::Ln1)),
    };
    Described {
        site,
        made,
        width,
        parts,
        inputs,
        stage,
        effect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every site stands once in the order, after all that it is computed from.
    #[test]
    fn the_order_is_that_of_the_forward_pass() {
        use crate::families::Family;
        let shape = crate::Gpt2Config::new(40, 24, 16, 2, 2)
            .architecture()
            .shape(0);
        let graph = Graph::of(&shape);
        let all: Vec<&Described> = (graph.before.iter())
            .chain(&graph.block)
            .chain(&graph.after)
            .collect();
        assert_eq!(all.len(), Site::ALL.len());
        for (index, described) in all.iter().enumerate() {
            let before = |site: &Site| all[..index].iter().any(|d| d.site == *site);
            assert!(!before(&described.site), "{} twice", described.site);
            let reads = match described.made {
                ComputedFrom::Of(sites) => sites.to_vec(),
                ComputedFrom::Scores { queries, keys } => vec![queries, keys],
                ComputedFrom::Weighted { pattern, values } => vec![pattern, values],
                ComputedFrom::OfToken | ComputedFrom::OfPosition | ComputedFrom::Stream => vec![],
            };
            assert!(reads.iter().all(before), "{}", described.site);
            assert_eq!(rank(described.site), index);
        }
    }
}
