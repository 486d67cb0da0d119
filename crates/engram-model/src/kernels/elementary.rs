//! The fused operations composed of elementary ones of the tensor library, for tensors on other devices: slower, with
//! the library's automatic differentiation. Tests compare the fused operations with these.
//!
//! Nothing here concatenates tensors or takes the gradient of a slice: on CUDA, candle copies too much from a view that
//! starts inside its storage into a larger one (candle issue 3940).

use candle_core::{D, DType, Result, Tensor, bail};

use super::{AttentionWindow, Dropout};

/// As [`super::layer_norm`].
///
/// # Errors
/// Those of the tensor library.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred
        .broadcast_div(&(variance + epsilon)?.sqrt()?)?
        .broadcast_mul(weight)?
        .broadcast_add(bias)
}

/// As [`super::add_bias`].
///
/// # Errors
/// Those of the tensor library.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.broadcast_add(bias)
}

/// As [`super::gelu_new`].
///
/// # Errors
/// Those of the tensor library.
pub fn gelu_new(x: &Tensor) -> Result<Tensor> {
    x.gelu()
}

/// As [`super::dropout`], with a mask drawn by the device, which differs from the CPU's for the same seed.
///
/// # Errors
/// Those of the tensor library.
pub fn dropout(x: &Tensor, mask: Dropout) -> Result<Tensor> {
    if mask.probability <= 0.0 {
        return Ok(x.clone());
    }
    if x.device().is_cpu() {
        return super::dropout(x, mask);
    }
    x.device().set_seed(mask.seed)?;
    let kept = Tensor::rand(0f32, 1f32, x.shape(), x.device())?.ge(mask.probability)?;
    let factor = 1.0 / (1.0 - f64::from(mask.probability));
    x * (kept.to_dtype(DType::F32)? * factor)?
}

/// As [`super::attention_probabilities`].
///
/// # Errors
/// Those of the tensor library.
pub fn attention_probabilities(q: &Tensor, k: &Tensor, scale: f32) -> Result<Tensor> {
    let q = q.transpose(1, 2)?.contiguous()?;
    let k = k.transpose(1, 2)?.contiguous()?;
    probabilities(&q, &k, scale)
}

/// From q and k of shape [batch, head, pos, d_head].
fn probabilities(q: &Tensor, k: &Tensor, scale: f32) -> Result<Tensor> {
    softmax(&scores(q, k, scale)?, AttentionWindow(None))
}

fn scores(q: &Tensor, k: &Tensor, scale: f32) -> Result<Tensor> {
    q.matmul(&k.t()?)? * f64::from(scale)
}

/// Softmax of scores, [..., query, key], over the keys in a query's window; 0 elsewhere.
///
/// # Errors
/// Those of the tensor library.
pub fn softmax(scores: &Tensor, seen: AttentionWindow) -> Result<Tensor> {
    let positions = scores.dim(D::Minus1)?;
    let rows = (0..positions).flat_map(|query| {
        let keys = seen.by(query);
        (0..positions).map(move |key| u8::from(keys.contains(&key)))
    });
    let mask = Tensor::from_iter(rows, scores.device())?.reshape((positions, positions))?;
    masked_softmax(scores, &mask)
}

/// Causal softmax of scores, [batch, head, query, key]; in sequence b, keys from `attended[b]` on are masked.
fn softmax_without_padding(scores: &Tensor, attended: &[usize]) -> Result<Tensor> {
    let positions = scores.dim(D::Minus1)?;
    let rows = attended.iter().flat_map(|&real| {
        (0..positions).flat_map(move |query| {
            (0..positions).map(move |key| u8::from(key <= query && key < real))
        })
    });
    let mask = Tensor::from_iter(rows, scores.device())?;
    masked_softmax(
        scores,
        &mask.reshape((attended.len(), 1, positions, positions))?,
    )
}

/// Softmax over the keys whose mask is not 0. Every query has such a key.
fn masked_softmax(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let mask = mask.broadcast_as(scores.shape())?.contiguous()?;
    let hidden = Tensor::full(f32::NEG_INFINITY, scores.shape(), scores.device())?;
    let scores = mask.where_cond(scores, &hidden)?;
    // The maximum only shifts the exponents; no gradient goes through it.
    let largest = scores.detach().max_keepdim(D::Minus1)?;
    let exponentials = scores.broadcast_sub(&largest)?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}

/// As [`super::causal_attention`]. With `attended`, keys from `attended[b]` on (padding) are masked in sequence b.
///
/// # Errors
/// Those of the tensor library.
pub fn causal_attention(
    qkv: &Tensor,
    heads: usize,
    scale: f32,
    mask: Dropout,
    attended: Option<&[usize]>,
) -> Result<Tensor> {
    let (batch, positions, width) = qkv.dims3()?;
    if width % (3 * heads) != 0 {
        bail!("causal_attention: width {width} is not 3 × {heads} heads × d_head");
    }
    let d_head = width / (3 * heads);
    let parts = qkv
        .reshape((batch, positions, 3, heads, d_head))?
        .permute((2, 0, 3, 1, 4))?
        .contiguous()?;
    let part = |which: u32| -> Result<Tensor> {
        let which = Tensor::new(&[which], qkv.device())?;
        parts.index_select(&which, 0)?.squeeze(0)
    };
    let scores = scores(&part(0)?, &part(1)?, scale)?;
    let pattern = match attended {
        Some(attended) => softmax_without_padding(&scores, attended)?,
        None => softmax(&scores, AttentionWindow(None))?,
    };
    let pattern = dropout(&pattern, mask)?;
    let z = pattern.matmul(&part(2)?)?.transpose(1, 2)?.contiguous()?;
    z.reshape((batch, positions, heads * d_head))
}

/// As [`super::cross_entropy`].
///
/// # Errors
/// Those of the tensor library; a target outside the vocabulary.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (n, _) = logits.dims2()?;
    let largest = logits.detach().max_keepdim(D::Minus1)?;
    let moved = logits.broadcast_sub(&largest)?;
    let of_all = moved.exp()?.sum(D::Minus1)?.log()?;
    let targets = Tensor::from_slice(targets, (n, 1), logits.device())?;
    of_all - moved.gather(&targets, 1)?.squeeze(1)?
}
