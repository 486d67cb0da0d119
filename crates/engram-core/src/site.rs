//! Places in the network that can be read and replaced, and the names by which people call them.

use serde::{Deserialize, Serialize};

use crate::error::{CoreError, Result};
use crate::setting::words;

words! {
    /// A place in the network. Shapes are per token position.
    Site, "site" {
        /// Token embedding: d_model.
        Embed => "embed",
        /// Position embedding: d_model.
        PosEmbed => "pos_embed",
        /// Residual stream before a block: d_model.
        ResidPre => "resid_pre",
        /// Residual stream between attention and MLP: d_model.
        ResidMid => "resid_mid",
        /// Residual stream after a block: d_model.
        ResidPost => "resid_post",
        /// What attention adds to the residual stream: d_model.
        AttnOut => "attn_out",
        /// Queries: head × d_head.
        Q => "q",
        /// Keys: head × d_head.
        K => "k",
        /// Values: head × d_head.
        V => "v",
        /// Attention-weighted values, the input of the output projection: head × d_head.
        Z => "z",
        /// Attention probabilities: head × query × key.
        Pattern => "pattern",
        /// Each head's contribution to `attn_out`, bias excluded: head × d_model.
        HeadOut => "head_out",
        /// Input of the MLP's activation function: d_mlp.
        MlpPre => "mlp_pre",
        /// What the activated neurons are multiplied with, where the MLP is gated: d_mlp.
        MlpUp => "mlp_up",
        /// The neurons' activations, the input of the down-projection: d_mlp.
        MlpPost => "mlp_post",
        /// What the MLP adds to the residual stream: d_model.
        MlpOut => "mlp_out",
        /// Output of the LayerNorm before attention: d_model.
        Ln1 => "ln1",
        /// Output of the LayerNorm before the MLP: d_model.
        Ln2 => "ln2",
        /// Output of the last LayerNorm: d_model.
        LnFinal => "ln_final",
        /// Standard deviation that the LayerNorm before attention divides by: 1.
        Ln1Scale => "ln1_scale",
        /// Standard deviation that the LayerNorm before the MLP divides by: 1.
        Ln2Scale => "ln2_scale",
        /// Standard deviation that the last LayerNorm divides by: 1.
        LnFinalScale => "ln_final_scale",
        /// Queries, keys and values together: 3·d_model.
        CAttn => "c_attn",
        /// Next-token logits: vocabulary.
        Logits => "logits",
    }
}

impl Site {
    /// Whether the site stands once in every block (`false`: once in the model).
    pub fn has_layer(self) -> bool {
        !matches!(
            self,
            Site::Embed | Site::PosEmbed | Site::LnFinal | Site::LnFinalScale | Site::Logits
        )
    }

    /// Whether the site's values are apart by head.
    pub fn has_heads(self) -> bool {
        use Site::{HeadOut, K, Pattern, Q, V, Z};
        matches!(self, Q | K | V | Z | Pattern | HeadOut)
    }

    /// Whether the site's values are neurons.
    pub fn has_neurons(self) -> bool {
        matches!(self, Site::MlpPre | Site::MlpUp | Site::MlpPost)
    }

    /// What a name without brackets stands for.
    fn usual_select(self) -> Select {
        match self.has_heads() {
            true => Select::Each,
            false => Select::Whole,
        }
    }

    /// TransformerLens's name, with `{}` for the layer, where it has one.
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

/// Some heads or neurons of a site.
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
    /// One cell for all of them together: `z.3[:]`.
    #[default]
    Whole,
    /// A cell for each: `z.3`, `mlp_post.3[*]`.
    Each,
    /// One cell for these: `z.3[5]`, `mlp_post.3[0:64]`.
    Some(Part),
    /// A cell for each group of this many: `mlp_post.3[*/64]`.
    Groups(usize),
}

impl Select {
    /// Reads what stands in the brackets.
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

/// A site at a layer, under the name by which it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NamedSite {
    /// The name as asked, layer included: `resid_pre.3`, `transformer.h.3.mlp.c_fc`.
    pub name: String,
    /// The canonical site.
    pub site: Site,
    /// The layer, for sites that stand in every block.
    pub layer: Option<usize>,
    /// Which heads or neurons.
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

    /// The same site with other heads or neurons.
    pub fn with(self, select: Select) -> NamedSite {
        NamedSite { select, ..self }
    }
}

/// The sites of one model and every name that reaches them.
#[derive(Debug, Clone)]
pub struct SiteTable {
    layers: usize,
    sites: Vec<Site>,
    modules: Vec<NamedSite>,
}

impl SiteTable {
    /// A table for a model of `layers` blocks that has `sites`, and whose modules carry the names `modules`.
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

    /// The model's modules under the names of its own checkpoint format, in the order of the forward pass.
    pub fn modules(&self) -> &[NamedSite] {
        &self.modules
    }

    /// The site at every layer, or once where it has no layer.
    pub fn everywhere(&self, site: Site) -> Vec<NamedSite> {
        if site.has_layer() {
            (0..self.layers)
                .map(|layer| NamedSite::canonical(site, Some(layer)))
                .collect()
        } else {
            vec![NamedSite::canonical(site, None)]
        }
    }

    /// Resolves a name to sites: a canonical name with or without a layer (`resid_pre`,
    /// `resid_pre.3`), a TransformerLens hook name or a module name. Without a layer, or with `*` in
    /// its place, it stands for every layer; `modules` stands for every module. Brackets after a name
    /// choose heads or neurons ([`Select`]): `z.3[5]`, `z[:]`, `mlp_post.3[0:64]`, `mlp_post[*/64]`.
    ///
    /// # Errors
    /// [`CoreError::UnknownSite`] with near matches, [`CoreError::NoSuchLayer`], [`CoreError::Selection`].
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
        // With a layer of its own where a canonical name is near: `resid_pree.3` meant `resid_pre.3`.
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

/// Whether `name` equals `pattern`, where a component `*` of `pattern` stands for any one component.
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
