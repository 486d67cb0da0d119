//! Sites: the activations that can be read and replaced, and the names that users give them.

use serde::{Deserialize, Serialize};

use crate::error::{CoreError, Result};
use crate::setting::words;

words! {
    /// An activation of the network. The shapes below are per token position.
    ///
    /// The definitions hold for every family that engram reads. A block computes, biases
    /// left out,
    ///
    /// `attn_out = post(concat(z) · W_O)`, `mlp_out = post(mlp_post · W_down)`,
    ///
    /// where `post` is the extra norm of Gemma 2 and 3 and the identity elsewhere. Sequential families add `attn_out` to
    /// `resid_pre`, which gives `resid_mid`, and then `mlp_out`, which gives `resid_post`. Parallel families (GPT-NeoX)
    /// read `resid_pre` in both sublayers and add both outputs to it. A model lacks the sites whose values it never
    /// computes.
    Site, "site" {
        /// Token embedding, after the embedding scale where the family has one (Gemma): d_model.
        Embed => "embed",
        /// Learned position embedding (GPT-2, GPT-Neo): d_model. Models with rotary embedding lack it.
        PosEmbed => "pos_embed",
        /// Residual stream at the input of a block: d_model.
        ResidPre => "resid_pre",
        /// Residual stream after attention is added, before the MLP: d_model. Parallel families lack it.
        ResidMid => "resid_mid",
        /// Residual stream at the output of a block: d_model.
        ResidPost => "resid_post",
        /// Attention's addition to the residual stream, after the post-attention norm where the family has one:
        /// d_model.
        AttnOut => "attn_out",
        /// Queries as projected, before QK-norm and rotary embedding: head × d_head.
        Q => "q",
        /// Keys as projected, before QK-norm and rotary embedding: key-value head × d_head.
        K => "k",
        /// Values: key-value head × d_head.
        V => "v",
        /// Attention-weighted values, the input of the output projection W_O: head × d_head.
        Z => "z",
        /// Attention probabilities, after soft cap, mask and softmax: head × query × key.
        Pattern => "pattern",
        /// Each head's contribution `z · W_O[head]` to the output of the projection, before its bias and before the
        /// post-attention norm: head × d_model. Without such a norm the heads' sum plus the bias is `attn_out`.
        HeadOut => "head_out",
        /// Input of the MLP's activation function; in a gated MLP the gate projection: d_mlp.
        MlpPre => "mlp_pre",
        /// Up projection of a gated MLP, the factor of the activated gate: d_mlp. Other MLPs lack it.
        MlpUp => "mlp_up",
        /// Input of the down-projection: activation(mlp_pre), in a gated MLP times `mlp_up`: d_mlp.
        MlpPost => "mlp_post",
        /// The MLP's addition to the residual stream, after the post-MLP norm where the family has one: d_model.
        MlpOut => "mlp_out",
        /// Output of the norm before attention (LayerNorm or RMSNorm), weight and bias applied: d_model.
        Ln1 => "ln1",
        /// Output of the norm before the MLP, weight and bias applied: d_model. It normalises `resid_mid`, in parallel
        /// families `resid_pre`.
        Ln2 => "ln2",
        /// Output of the last norm, the input of the unembedding: d_model.
        LnFinal => "ln_final",
        /// Divisor of the norm before attention: √(variance + ε) for LayerNorm, √(mean square + ε) for RMSNorm. One
        /// number.
        Ln1Scale => "ln1_scale",
        /// Divisor of the norm before the MLP, as `ln1_scale`. One number.
        Ln2Scale => "ln2_scale",
        /// Divisor of the last norm, as `ln1_scale`. One number.
        LnFinalScale => "ln_final_scale",
        /// Queries, keys and values side by side, where one projection computes all three (GPT-2, GPT-NeoX): 3·d_model.
        CAttn => "c_attn",
        /// Next-token logits, after the soft cap where the family has one (Gemma 2): vocabulary.
        Logits => "logits",
    }
}

impl Site {
    /// Whether every block has the site (`false`: the model has it once).
    pub fn has_layer(self) -> bool {
        !matches!(
            self,
            Site::Embed | Site::PosEmbed | Site::LnFinal | Site::LnFinalScale | Site::Logits
        )
    }

    /// Whether the site's values are separate for each head.
    pub fn has_heads(self) -> bool {
        use Site::{HeadOut, K, Pattern, Q, V, Z};
        matches!(self, Q | K | V | Z | Pattern | HeadOut)
    }

    /// Whether the site's values are neurons.
    pub fn has_neurons(self) -> bool {
        matches!(self, Site::MlpPre | Site::MlpUp | Site::MlpPost)
    }

    /// The selection of a name without brackets.
    fn usual_select(self) -> Select {
        match self.has_heads() {
            true => Select::Each,
            false => Select::Whole,
        }
    }

    /// TransformerLens's name with `{}` for the layer, if it has one.
    fn transformer_lens(self) -> Option<&'static str> {
        Some(match self {
            Site::Embed => "hook_embed",
            Site::PosEmbed => "hook_pos_embed",
            Site::ResidPre => "blocks.{}.hook_resid_pre",
            Site::ResidMid => "blocks.{}.hook_resid_mid",
            Site::ResidPost => "blocks.{}.hook_resid_post",
            Site::AttnOut => "blocks.{}.hook_attn_out",
            Site::Q => "blocks.{}.attn.hook_q",
            Site::K => "blocks.{}.attn.hook_k",
            Site::V => "blocks.{}.attn.hook_v",
            Site::Z => "blocks.{}.attn.hook_z",
            Site::Pattern => "blocks.{}.attn.hook_pattern",
            Site::HeadOut => "blocks.{}.attn.hook_result",
            Site::MlpPre => "blocks.{}.mlp.hook_pre",
            Site::MlpUp => "blocks.{}.mlp.hook_pre_linear",
            Site::MlpPost => "blocks.{}.mlp.hook_post",
            Site::MlpOut => "blocks.{}.hook_mlp_out",
            Site::Ln1 => "blocks.{}.ln1.hook_normalized",
            Site::Ln2 => "blocks.{}.ln2.hook_normalized",
            Site::LnFinal => "ln_final.hook_normalized",
            Site::Ln1Scale => "blocks.{}.ln1.hook_scale",
            Site::Ln2Scale => "blocks.{}.ln2.hook_scale",
            Site::LnFinalScale => "ln_final.hook_scale",
            Site::CAttn | Site::Logits => return None,
        })
    }
}

/// A range of heads or neurons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// First.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

/// Which heads or neurons of a site a cell covers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// One cell for all together: `z.3[:]`.
    #[default]
    Whole,
    /// A cell for each: `z.3`, `mlp_post.3[*]`.
    Each,
    /// One cell for this range: `z.3[5]`, `mlp_post.3[0:64]`.
    Some(Part),
    /// A cell for each group of this many: `mlp_post.3[*/64]`.
    Groups(usize),
}

impl Select {
    /// Parses the text in brackets.
    fn parse(text: &str) -> Option<Select> {
        let number = |t: &str| t.parse::<usize>().ok();
        let part = |start, end| (start < end).then_some(Select::Some(Part { start, end }));
        match text {
            "*" => Some(Select::Each),
            ":" => Some(Select::Whole),
            _ => match (text.split_once(':'), text.strip_prefix("*/")) {
                (Some((start, end)), _) => part(number(start)?, number(end)?),
                (_, Some(size)) => number(size).filter(|n| *n > 0).map(Select::Groups),
                _ => number(text).and_then(|n| part(n, n.checked_add(1)?)),
            },
        }
    }
}

/// A site at a layer, with the name that the user gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedSite {
    /// The name as given, layer included: `resid_pre.3`, `transformer.h.3.mlp.c_fc`.
    pub name: String,
    /// The canonical site.
    pub site: Site,
    /// The layer, for sites that every block has.
    pub layer: Option<usize>,
    /// The selected heads or neurons.
    #[serde(default)]
    pub select: Select,
}

impl NamedSite {
    /// The site under its canonical name: a cell for each head where it has heads, one cell otherwise.
    pub fn canonical(site: Site, layer: Option<usize>) -> NamedSite {
        let name = match layer {
            Some(layer) => format!("{}.{layer}", site.name()),
            None => site.name().to_owned(),
        };
        NamedSite {
            name,
            site,
            layer,
            select: site.usual_select(),
        }
    }

    /// The same site under another name.
    pub fn named(self, name: String) -> NamedSite {
        NamedSite { name, ..self }
    }

    /// The same site with another selection.
    pub fn with(self, select: Select) -> NamedSite {
        NamedSite { select, ..self }
    }
}

/// The sites of a model and all their names.
#[derive(Debug, Clone)]
pub struct SiteTable {
    layers: usize,
    sites: Vec<Site>,
    modules: Vec<NamedSite>,
}

impl SiteTable {
    /// A table for a model with `layers` blocks and these `sites`; `modules` are the names of its checkpoint's modules.
    pub fn new(layers: usize, sites: Vec<Site>, modules: Vec<NamedSite>) -> SiteTable {
        SiteTable {
            layers,
            sites,
            modules,
        }
    }

    /// Number of blocks.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// The sites that the model has.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The model's modules under the names of its checkpoint format, in the order of the forward pass.
    pub fn modules(&self) -> &[NamedSite] {
        &self.modules
    }

    /// The site at every layer, or once if it has no layer.
    pub fn everywhere(&self, site: Site) -> Vec<NamedSite> {
        if site.has_layer() {
            (0..self.layers)
                .map(|layer| NamedSite::canonical(site, Some(layer)))
                .collect()
        } else {
            vec![NamedSite::canonical(site, None)]
        }
    }

    /// Resolves a name to sites: a canonical name with or without a layer (`resid_pre`, `resid_pre.3`), a
    /// TransformerLens hook name or a module name. Without a layer, or with `*` as the layer, it means every layer;
    /// `modules` means every module. Brackets after a name select heads or neurons ([`Select`]): `z.3[5]`, `z[:]`,
    /// `mlp_post.3[0:64]`, `mlp_post[*/64]`.
    ///
    /// # Errors
    /// [`CoreError::UnknownSite`] with similar names; [`CoreError::NoSuchLayer`] for a layer beyond the last;
    /// [`CoreError::Selection`] for brackets that do not parse, or on a site without heads and neurons.
    pub fn resolve(&self, name: &str) -> Result<Vec<NamedSite>> {
        let Some((stem, brackets)) = name.strip_suffix(']').and_then(|n| n.rsplit_once('[')) else {
            return self.resolve_plain(name);
        };
        let wrong = |why| CoreError::Selection {
            name: name.to_owned(),
            why,
        };
        let select = Select::parse(brackets)
            .ok_or_else(|| wrong("expected [5], [0:64], [*], [*/64] or [:] after the name"))?;
        let found = self.resolve_plain(stem)?;
        if !(found.iter()).all(|f| f.site.has_heads() || f.site.has_neurons()) {
            return Err(wrong(
                "only q, k, v, z, pattern and head_out (heads), mlp_pre, mlp_up and mlp_post (neurons) have parts",
            ));
        }
        Ok(found.into_iter().map(|f| f.with(select)).collect())
    }

    fn resolve_plain(&self, name: &str) -> Result<Vec<NamedSite>> {
        if name == "modules" {
            return Ok(self.modules.clone());
        }
        if let Some(found) = self.by_canonical_name(name)? {
            return Ok(found);
        }
        let candidates = self.aliases();
        let found: Vec<NamedSite> = candidates
            .iter()
            .filter(|c| matches_with_star(name, &c.name))
            .cloned()
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
        Err(self.unknown(name, &candidates))
    }

    fn by_canonical_name(&self, name: &str) -> Result<Option<Vec<NamedSite>>> {
        let (stem, layer) = match name.rsplit_once('.') {
            Some((stem, "*")) => (stem, None),
            Some((stem, last)) => match last.parse::<usize>() {
                Ok(layer) => (stem, Some(layer)),
                Err(_) => return Ok(None),
            },
            None => (name, None),
        };
        let Some(&site) = self.sites.iter().find(|s| s.name() == stem) else {
            return Ok(None);
        };
        match layer {
            None => Ok(Some(self.everywhere(site))),
            Some(_) if !site.has_layer() => Ok(None),
            Some(layer) if layer < self.layers => {
                Ok(Some(vec![NamedSite::canonical(site, Some(layer))]))
            }
            Some(_) => Err(CoreError::NoSuchLayer {
                name: name.to_owned(),
                last: self.layers.saturating_sub(1),
            }),
        }
    }

    /// Every TransformerLens and module name of the model.
    fn aliases(&self) -> Vec<NamedSite> {
        let mut all = Vec::new();
        for &site in &self.sites {
            let Some(pattern) = site.transformer_lens() else {
                continue;
            };
            for found in self.everywhere(site) {
                let name = match found.layer {
                    Some(layer) => pattern.replace("{}", &layer.to_string()),
                    None => pattern.to_owned(),
                };
                all.push(NamedSite { name, ..found });
            }
        }
        all.extend(self.modules.iter().cloned());
        all
    }

    fn unknown(&self, name: &str, aliases: &[NamedSite]) -> CoreError {
        let mut names: Vec<String> = self.sites.iter().map(|s| s.name().to_owned()).collect();
        names.extend(aliases.iter().map(|a| a.name.clone()));
        // Also canonical names with this layer: `resid_pree.3` is near `resid_pre.3`.
        if let Some((_, layer)) = name.rsplit_once('.')
            && layer.parse::<usize>().is_ok_and(|l| l < self.layers)
        {
            let with_layer = self.sites.iter().filter(|s| s.has_layer());
            names.extend(with_layer.map(|s| format!("{}.{layer}", s.name())));
        }
        let mut scored: Vec<(f64, String)> = names
            .into_iter()
            .map(|n| (strsim::jaro_winkler(name, &n), n))
            .filter(|(score, _)| *score > 0.7)
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        CoreError::UnknownSite {
            name: name.to_owned(),
            near: scored.into_iter().take(4).map(|(_, n)| n).collect(),
        }
    }
}

/// Whether `name` matches `pattern`, in which the component `*` matches any number.
fn matches_with_star(pattern: &str, name: &str) -> bool {
    let (mut p, mut n) = (pattern.split('.'), name.split('.'));
    loop {
        match (p.next(), n.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (a == "*" && b.bytes().all(|c| c.is_ascii_digit())) => {
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> SiteTable {
        let modules = (0..3)
            .map(|l| NamedSite {
                name: format!("transformer.h.{l}.mlp.c_fc"),
                site: Site::MlpPre,
                layer: Some(l),
                select: Select::Whole,
            })
            .collect();
        SiteTable::new(3, Site::ALL.to_vec(), modules)
    }

    #[test]
    fn every_alias_resolves_to_its_site() {
        let table = table();
        for alias in table.aliases() {
            assert_eq!(table.resolve(&alias.name).unwrap(), vec![alias]);
        }
        for &site in Site::ALL {
            assert_eq!(table.resolve(site.name()).unwrap(), table.everywhere(site));
        }
        assert_eq!(table.resolve("transformer.h.*.mlp.c_fc").unwrap().len(), 3);
        assert_eq!(table.resolve("resid_pre.*").unwrap().len(), 3);
    }

    #[test]
    fn brackets_choose_heads_and_neurons() {
        let select = |name: &str| table().resolve(name).map(|found| found[0].select);
        assert_eq!(select("z.1").unwrap(), Select::Each);
        assert_eq!(select("z[:]").unwrap(), Select::Whole);
        let part = |start, end| Select::Some(Part { start, end });
        assert_eq!(select("blocks.1.attn.hook_z[5]").unwrap(), part(5, 6));
        assert_eq!(select("mlp_post").unwrap(), Select::Whole);
        assert_eq!(select("mlp_post.2[0:64]").unwrap(), part(0, 64));
        assert_eq!(
            select("transformer.h.1.mlp.c_fc[*/8]").unwrap(),
            Select::Groups(8)
        );
        assert_eq!(table().resolve("mlp_pre[*]").unwrap().len(), 3);
        for bad in [
            "z.1[]",
            "z.1[5:5]",
            "z.1[a]",
            "mlp_post[*/0]",
            "resid_pre.1[0]",
            "z.1[0",
        ] {
            assert!(table().resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_matches_nothing_lists_near_ones() {
        let error = table().resolve("resid_pree.1").unwrap_err().to_string();
        assert!(error.contains("resid_pre.1"), "{error}");
        let error = table().resolve("transformer.h.1.mlp.c_fd").unwrap_err();
        assert!(
            error.to_string().contains("transformer.h.1.mlp.c_fc"),
            "{error}"
        );
        let error = table().resolve("resid_pre.7").unwrap_err().to_string();
        assert_eq!(error, "site \"resid_pre.7\": the model has layers 0 to 2");
        assert!(table().resolve("logits.0").is_err());
    }
}
