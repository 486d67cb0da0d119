//! What can go wrong with a checkpoint, a tokenizer or a forward pass.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// An error in a checkpoint, a tokenizer or a forward pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A run that did not keep a site that is asked of it.
    #[error("{site} is not in the run's cache")]
    Cache {
        /// The site's name.
        site: String,
    },
    /// A layer beyond the last.
    #[error("layer {layer}: the model has layers 0 to {}", layers.saturating_sub(1))]
    Layer {
        /// The layer as asked.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A device that is not there.
    #[error("device {name}: {why}")]
    Device {
        /// The name that was asked for.
        name: String,
        /// The reason.
        why: String,
    },
    /// A file of the checkpoint is not there.
    #[error("{}: no {file} in this folder (a checkpoint holds config.json, model.safetensors and tokenizer.json or vocab.json with merges.txt)", folder.display())]
    Missing {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// The file that is missing.
        file: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file that became shorter while it was read.
    #[error("{}: cut short while it was read: bytes {from} to {to} are gone; fetch or copy it again, and change no checkpoint that is in use", path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// The first byte of what was to be read.
        from: usize,
        /// The byte after it.
        to: usize,
    },
    /// A configuration that does not parse or describes no model that exists.
    #[error("{}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A weights file that is truncated or not safetensors.
    #[error("{}: not a readable safetensors file ({why}); fetch or copy it again", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// Weights that only running the file would read.
    #[error("{}: engram reads no pickle files, since reading one can run any code; write the model anew with safetensors: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER, safe_serialization=True)", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// What is done for GPT-2 only, asked of another family.
    #[error("{what} is for GPT-2; this model is of family {family}")]
    OnlyGpt2 {
        /// What was asked.
        what: &'static str,
        /// The model's family.
        family: String,
    },
    /// A tensor that the configuration calls for and the file lacks.
    #[error("{}: tensor {name} is missing", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor of another shape than the configuration says.
    #[error("{}: tensor {name}: expected {expected:?}, found {found:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The shape that the configuration says.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor that holds NaN or infinity.
    #[error("{}: tensor {name} holds {value} at element {element}: the checkpoint is damaged", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The value.
        value: f32,
        /// Its index, row-major.
        element: usize,
    },
    /// A run whose values leave float32's range.
    #[error(
        "{site} holds {value} at position {position}: the weights are too large for float32, or damaged"
    )]
    Overflow {
        /// The first site, in the order of the forward pass, layer included.
        site: String,
        /// The first position there.
        position: usize,
        /// The value.
        value: f32,
    },
    /// A tensor that is neither a parameter of the model nor a buffer that older files hold.
    #[error("{}: tensor {name} has no part in a {family} of this configuration; correct the configuration, or write the model anew without the tensor", path.display())]
    UnusedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The model's family.
        family: String,
    },
    /// A tensor of a type that is not read.
    #[error("{}: tensor {name} is {found}; engram reads F32, F16 and BF16: write the model anew in one of them", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Its type.
        found: String,
    },
    /// A GGUF file whose header contradicts itself or the file's length.
    #[error("{}: not a readable GGUF file: {why} (byte {at}); fetch or convert it again", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        at: usize,
        /// What is wrong there.
        why: String,
    },
    /// A GGUF file of a kind that is not read.
    #[error("{}: {why}", path.display())]
    GgufKind {
        /// The file.
        path: PathBuf,
        /// The kind, and what is read.
        why: String,
    },
    /// A metadata key that is asked for and that the file lacks.
    #[error("{}: metadata {key} is missing; convert the model again with a converter that writes it", path.display())]
    MissingMetadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A metadata value of another type than the one asked for.
    #[error("{}: metadata {key}: expected {expected}, found {found}", path.display())]
    MetadataType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The type or value in the file.
        found: String,
    },
    /// A projection that does not divide into heads with a rotary embedding.
    #[error("shape {shape:?} is no projection of {heads} heads with an even number of rows each")]
    RotaryHeads {
        /// The projection's shape.
        shape: Vec<usize>,
        /// The number of heads.
        heads: usize,
    },
    /// A tokenizer that does not parse.
    #[error("{}: {why}", path.display())]
    Tokenizer {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A tokenizer with more entries than the model has embeddings.
    #[error("{}: the tokenizer has ids up to {highest}; {}: the vocabulary has {vocab}: they are not of one model", path.display(), config.display())]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// The file that says how many embeddings there are.
        config: PathBuf,
        /// The highest id of the tokenizer.
        highest: u32,
        /// The number of embeddings.
        vocab: usize,
    },
    /// An id beyond the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab}")]
    TokenId {
        /// The id.
        id: u32,
        /// The number of embeddings.
        vocab: usize,
    },
    /// A prompt longer than the model's context.
    #[error("{length} tokens do not fit the model's context of {context}")]
    Context {
        /// The prompt's length in tokens.
        length: usize,
        /// The model's context.
        context: usize,
    },
    /// A prompt so long that the frequencies of the model's rotary embedding depend on its length.
    #[error(
        "{length} tokens: beyond {context} the model's rotary frequencies (rope_type dynamic or longrope) depend on the prompt's length, and sweeps, edits and scores of texts do not take such prompts; model ask, model logits and cache do"
    )]
    RotaryLength {
        /// The prompt's length in tokens.
        length: usize,
        /// Up to this many tokens they do not.
        context: usize,
    },
    /// Rows of a batch that differ in length, or no token at all.
    #[error("a batch takes prompts of one length of at least one token, found lengths {lengths:?}")]
    Batch {
        /// The lengths found.
        lengths: Vec<usize>,
    },
    /// A replacement of another shape than the site's.
    #[error("site {site}: a replacement has shape {found:?}, the site has {expected:?}")]
    SiteShape {
        /// The site, layer included.
        site: String,
        /// The site's shape.
        expected: Vec<usize>,
        /// The replacement's shape.
        found: Vec<usize>,
    },
    /// A parameter that the configuration calls for and is not among those given.
    #[error("parameter {name} is missing")]
    NoParameter {
        /// The parameter's name.
        name: String,
    },
    /// A parameter of another shape than the configuration says.
    #[error("parameter {name}: expected {expected:?}, found {found:?}")]
    ParameterShape {
        /// The parameter's name.
        name: String,
        /// The shape that the configuration says.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// Weights or gradients of another model.
    #[error("expected {expected} parameters side by side, found {found}")]
    FlatLength {
        /// The number of elements of the model.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// A text that is too long for what the tokenizer may make of it.
    #[error("{}: a text of {bytes} bytes; this tokenizer takes {most} at most, since it may make texts longer", path.display())]
    Text {
        /// The tokenizer's file.
        path: PathBuf,
        /// Bytes of the text.
        bytes: usize,
        /// The most that it may have.
        most: usize,
    },
    /// A chat, of a checkpoint that has no template for one.
    #[error("{}: the checkpoint has no chat template (chat_template of tokenizer_config.json, chat_template.jinja, or tokenizer.chat_template of a GGUF file); give the prompt as text", path.display())]
    NoChatTemplate {
        /// The checkpoint's file.
        path: PathBuf,
    },
    /// A chat template that is wrong, or that refuses what it is given.
    #[error("{}: chat template: {why}", path.display())]
    Chat {
        /// The template's file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A begin-of-text token that is asked for and that the tokenizer does not have.
    #[error("{}: --bos always: this tokenizer has no begin-of-text token (no bos_token, no <|endoftext|>)", path.display())]
    NoBos {
        /// The tokenizer's file.
        path: PathBuf,
    },
    /// A file helper failed.
    #[error(transparent)]
    Core(#[from] engram_core::CoreError),
    /// The tensor library failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// A text from a file, fit for one line of an error.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 160;
    let printed = |c: char| match c {
        '"' | '\'' | '\\' => String::from(c),
        _ => c.escape_debug().to_string(),
    };
    let mut shown: String = text.chars().take(MOST).map(printed).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}
