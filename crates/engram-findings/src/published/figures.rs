//! What the publication says, and the modules that it says it of.

use engram_core::Site;

/// A finding of the publication.
pub(super) struct Figure {
    /// A short name for it.
    pub name: &'static str,
    /// What the publication says.
    pub says: &'static str,
}

pub(super) const FIRST_FEED_FORWARD: Figure = Figure {
    name: "First feed-forward layer",
    says: "Patching it recovers 56%, read as associative knowledge being distributed.",
};
pub(super) const FINAL_OUTPUT: Figure = Figure {
    name: "Final output layer",
    says: "Patching it recovers 100%, read as definitional knowledge being localised.",
};
pub(super) const CONVOLUTION: Figure = Figure {
    name: "Convolutional layer",
    says: "Patching it recovers 13.6%, read as low-level features contributing little.",
};
pub(super) const CLEAN_DIFFERENCE: Figure = Figure {
    name: "Clean logit difference",
    says: "Stronger for definitional questions (no figure given).",
};
pub(super) const LAYER_EFFECTS: Figure = Figure {
    name: "Layer-specific effects",
    says: "Significant, p < 0.01 (the test is not named).",
};

pub(super) const EDITING: Figure = Figure {
    name: "Editing efficacy",
    says: "Depends on the kind of question (no method, no figure given).",
};

/// Abstracts of the published corpus.
pub const ABSTRACTS: usize = 9958;
/// Mentions that the publication counts in them.
const MENTIONS: [(&str, usize); 3] = [("epilepsy", 20_595), ("eeg", 11_674), ("seizure", 13_921)];

/// The published number of mentions of a term; how they were counted is not said.
pub fn mentions(term: &str) -> Option<usize> {
    let found = MENTIONS
        .iter()
        .find(|(known, _)| term.eq_ignore_ascii_case(known));
    found.map(|(_, count)| *count)
}

/// Modules of a block that may be its feed-forward layer.
pub(super) const FEED_FORWARD: [&str; 3] = ["mlp", "mlp.c_fc", "mlp.c_proj"];
/// Modules of a block that are called `Conv1D`.
pub(super) const CONVOLUTIONS: [&str; 4] = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
/// The sites of their outputs.
pub(super) const CONVOLUTION_SITES: [Site; 4] =
    [Site::CAttn, Site::AttnOut, Site::MlpPre, Site::MlpOut];
/// The module whose output is the logits.
pub(super) const HEAD: &str = "lm_head";
