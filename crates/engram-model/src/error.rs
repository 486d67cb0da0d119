//! Errors of checkpoints, tokenizers and forward passes.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// An error in a checkpoint, a tokenizer or a forward pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A site that a run did not store.
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
        /// The number of layers.
        layers: usize,
    },
    /// A device that does not exist.
    #[error("device {name}: {why}")]
    Device {
        /// The name given.
        name: String,
        /// The reason.
        why: String,
    },
    /// A missing file of the checkpoint.
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
    /// A file that was truncated while it was read.
    #[error("{}: cut short while it was read: bytes {from} to {to} are gone; fetch or copy it again, and change no checkpoint that is in use", path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// First byte of the range to be read.
        from: usize,
        /// One past its last byte.
        to: usize,
    },
    /// A configuration that does not parse, or does not describe a model.
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
    /// Weights in a pickle file, which can only be read by executing it.
    #[error("{}: engram reads no pickle files, since reading one can run any code; write the model anew with safetensors: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER, safe_serialization=True)", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// A feature for GPT-2 only, used with another family.
    #[error("{what} is for GPT-2; this model is of family {family}")]
    OnlyGpt2 {
        /// The feature.
        what: &'static str,
        /// The model's family.
        family: String,
    },
    /// A tensor that the configuration needs and the file lacks.
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
    /// Values of a run that exceed float32.
    #[error(
        "{site} holds {value} at position {position}: the weights are too large for float32, or damaged"
    )]
    Overflow {
        /// The first such site in the order of the forward pass, layer included.
        site: String,
        /// The first such position.
        position: usize,
        /// The value.
        value: f32,
    },
    /// A tensor that is neither a parameter of the model nor a known buffer of older files.
    #[error("{}: tensor {name} has no part in a {family} of this configuration; correct the configuration, or write the model anew without the tensor", path.display())]
    UnusedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The model's family.
        family: String,
    },
    /// A tensor of an unsupported type.
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
        /// Byte offset in the file.
        at: usize,
        /// What is wrong there.
        why: String,
    },
    /// An unsupported kind of GGUF file.
    #[error("{}: {why}", path.display())]
    GgufKind {
        /// The file.
        path: PathBuf,
        /// The kind, and what is supported.
        why: String,
    },
    /// A required metadata key that the file lacks.
    #[error("{}: metadata {key} is missing; convert the model again with a converter that writes it", path.display())]
    MissingMetadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A metadata value of another type than required.
    #[error("{}: metadata {key}: expected {expected}, found {found}", path.display())]
    MetadataType {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The required type.
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
    /// A tokenizer with more tokens than the model has embeddings.
    #[error("{}: the tokenizer has ids up to {highest}; {}: the vocabulary has {vocab}: they are not of one model", path.display(), config.display())]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// The file with the number of embeddings.
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
    /// A prompt so long that the model's rotary frequencies depend on its length.
    #[error(
        "{length} tokens: beyond {context} the model's rotary frequencies (rope_type dynamic or longrope) depend on the prompt's length, and sweeps, edits and scores of texts do not take such prompts; model ask, model logits and cache do"
    )]
    RotaryLength {
        /// The prompt's length in tokens.
        length: usize,
        /// Up to this length they do not.
        context: usize,
    },
    /// Rows of a batch that are empty or differ in length.
    #[error("a batch takes prompts of one length of at least one token, found lengths {lengths:?}")]
    Batch {
        /// The lengths found.
        lengths: Vec<usize>,
    },
    /// A replacement of another shape than the site's value.
    #[error("site {site}: a replacement has shape {found:?}, the site has {expected:?}")]
    SiteShape {
        /// The site, layer included.
        site: String,
        /// The site's shape.
        expected: Vec<usize>,
        /// The replacement's shape.
        found: Vec<usize>,
    },
    /// A missing parameter.
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
        /// The model's number of elements.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// A text too long to be tokenised safely.
    #[error("{}: a text of {bytes} bytes; this tokenizer takes {most} at most, since it may make texts longer", path.display())]
    Text {
        /// The tokenizer's file.
        path: PathBuf,
        /// Bytes of the text.
        bytes: usize,
        /// The maximum number of bytes.
        most: usize,
    },
    /// A chat for a checkpoint without a chat template.
    #[error("{}: the checkpoint has no chat template (chat_template of tokenizer_config.json, chat_template.jinja, or tokenizer.chat_template of a GGUF file); give the prompt as text", path.display())]
    NoChatTemplate {
        /// The checkpoint's file.
        path: PathBuf,
    },
    /// A chat template that is invalid or rejects its input.
    #[error("{}: chat template: {why}", path.display())]
    Chat {
        /// The template's file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// `--bos always` for a tokenizer without a begin-of-text token.
    #[error("{}: --bos always: this tokenizer has no begin-of-text token (no bos_token, no <|endoftext|>)", path.display())]
    NoBos {
        /// The tokenizer's file.
        path: PathBuf,
    },
    /// An error of a file.
    #[error(transparent)]
    Core(#[from] engram_core::CoreError),
    /// An error of the tensor library.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// A text from a file, shortened and escaped for one line of an error.
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
