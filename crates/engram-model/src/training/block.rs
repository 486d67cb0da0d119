//! A transformer block on slices, forward and backward.

use crate::error::Result;
use crate::families::Gpt2Config;
use crate::kernels::activation::Activation;
use crate::kernels::attention::Attention;
use crate::kernels::dropout::apply_onto;
use crate::kernels::{Dropout, Products};

use super::layer::{LinearAt, NormAt};
use super::{Flat, Span, fit};

/// Activations of a block's forward pass that its backward pass needs; one row per token.
#[derive(Default)]
pub(super) struct Saved {
    normal_1: Vec<f32>,
    qkv: Vec<f32>,
    z: Vec<f32>,
    mid: Vec<f32>,
    normal_2: Vec<f32>,
    pre: Vec<f32>,
    post: Vec<f32>,
}

/// Memory shared by all blocks.
#[derive(Default)]
pub(super) struct Scratch {
    /// Gradient of the residual stream, [rows, d].
    pub stream: Vec<f32>,
    /// [rows, d].
    pub narrow: Vec<f32>,
    /// [rows, d], for masked gradients.
    masked: Vec<f32>,
    /// [rows, 3·d] or [rows, d_mlp].
    wide: Vec<f32>,
}

/// Offsets of a block's parameters, and its constants.
pub(super) struct BlockAt {
    layer: usize,
    d: usize,
    d_mlp: usize,
    heads: usize,
    scale: f32,
    activation: Activation,
    ln_1: NormAt,
    c_attn: LinearAt,
    attn_proj: LinearAt,
    ln_2: NormAt,
    c_fc: LinearAt,
    mlp_proj: LinearAt,
    attn_drop: f64,
    resid_drop: f64,
}

/// A block's dropout masks, numbered as in the forward pass with taps.
#[derive(Clone, Copy)]
enum Mask {
    Attention = 1,
    AfterAttention = 2,
    AfterMlp = 3,
}

impl BlockAt {
    pub fn find(flat: &Flat, config: &Gpt2Config, layer: usize) -> Result<BlockAt> {
        let (d, d_mlp) = (config.n_embd, config.d_mlp());
        let linear = |name: &str, inputs, outputs| {
            LinearAt::find(flat, &format!("h.{layer}.{name}"), inputs, outputs)
        };
        let norm = |name: &str| NormAt::find(flat, &format!("h.{layer}.{name}"), config);
        Ok(BlockAt {
            layer,
            d,
            d_mlp,
            heads: config.n_head,
            scale: config.attention_scale(layer),
            activation: config.activation(),
            ln_1: norm("ln_1")?,
            c_attn: linear("attn.c_attn", d, 3 * d)?,
            attn_proj: linear("attn.c_proj", d, d)?,
            ln_2: norm("ln_2")?,
            c_fc: linear("mlp.c_fc", d, d_mlp)?,
            mlp_proj: linear("mlp.c_proj", d_mlp, d)?,
            attn_drop: config.attn_pdrop,
            resid_drop: config.resid_pdrop,
        })
    }

    /// Sets the number format of the products with weights.
    pub fn set_products(&mut self, products: Products) {
        let all = [
            &mut self.c_attn,
            &mut self.attn_proj,
            &mut self.c_fc,
            &mut self.mlp_proj,
        ];
        all.into_iter()
            .for_each(|linear| linear.products = products);
    }

    fn mask(&self, span: &Span, which: Mask) -> Dropout {
        let probability = match which {
            Mask::Attention => self.attn_drop,
            Mask::AfterAttention | Mask::AfterMlp => self.resid_drop,
        };
        let number = 3 * self.layer as u64 + which as u64;
        Dropout::new(probability, span.seed, number)
    }

    fn attention(&self, span: &Span) -> Attention {
        Attention {
            heads: self.heads,
            positions: span.rows.len(),
            keys: span.keys,
            d_head: self.d / self.heads,
            scale: self.scale,
            mask: self.mask(span, Mask::Attention),
        }
    }

    /// Whether dropout applies to the output of a sublayer.
    fn drops(&self, spans: &[Span]) -> bool {
        self.resid_drop > 0.0 && spans.iter().any(|s| s.seed.is_some())
    }

    /// out = x + attention(ln_1 x), then + mlp(ln_2 ·). x, out: [rows, d].
    pub fn forward(
        &self,
        weights: &[f32],
        spans: &[Span],
        x: &[f32],
        saved: &mut Saved,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let (d, rows) = (self.d, x.len() / self.d);
        let normal = fit(&mut saved.normal_1, rows * d);
        self.ln_1.forward(weights, x, normal);
        let qkv = fit(&mut saved.qkv, rows * 3 * d);
        self.c_attn.forward(weights, normal, None, qkv);
        let z = fit(&mut saved.z, rows * d);
        for span in spans {
            let (from, to) = (span.rows.start * d, span.rows.end * d);
            self.attention(span)
                .forward(&qkv[3 * from..3 * to], 0, &mut z[from..to]);
        }
        let mid = fit(&mut saved.mid, rows * d);
        self.add(
            weights,
            &self.attn_proj,
            spans,
            Mask::AfterAttention,
            z,
            x,
            scratch,
            mid,
        );

        let normal = fit(&mut saved.normal_2, rows * d);
        self.ln_2.forward(weights, mid, normal);
        let pre = fit(&mut saved.pre, rows * self.d_mlp);
        self.c_fc.forward(weights, normal, None, pre);
        let post = fit(&mut saved.post, rows * self.d_mlp);
        self.activation.forward(pre, post);
        self.add(
            weights,
            &self.mlp_proj,
            spans,
            Mask::AfterMlp,
            post,
            mid,
            scratch,
            out,
        );
    }

    /// out = stream + dropout(x·W + b).
    #[allow(clippy::too_many_arguments, reason = "inputs and buffers of one step")]
    fn add(
        &self,
        weights: &[f32],
        linear: &LinearAt,
        spans: &[Span],
        which: Mask,
        x: &[f32],
        stream: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        if !self.drops(spans) {
            linear.forward(weights, x, Some(stream), out);
            return;
        }
        let added = fit(&mut scratch.masked, out.len());
        linear.forward(weights, x, None, added);
        self.mask_rows(spans, which, added);
        for ((o, s), a) in out.iter_mut().zip(stream).zip(added) {
            *o = s + *a;
        }
    }

    fn mask_rows(&self, spans: &[Span], which: Mask, values: &mut [f32]) {
        for span in spans {
            let rows = span.rows.start * self.d..span.rows.end * self.d;
            drop_in_place(&mut values[rows], self.mask(span, which));
        }
    }

    /// The gradient of a sublayer's output: that of the residual stream, times the dropout mask.
    fn reaching<'a>(
        &self,
        spans: &[Span],
        which: Mask,
        stream: &'a [f32],
        masked: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        if !self.drops(spans) {
            return stream;
        }
        let masked = fit(masked, stream.len());
        masked.copy_from_slice(stream);
        self.mask_rows(spans, which, masked);
        masked
    }

    /// Replaces the gradient of the block's output (in `scratch.stream`) by that of its input `x`, and adds the
    /// parameters' gradients.
    pub fn backward(
        &self,
        weights: &[f32],
        spans: &[Span],
        x: &[f32],
        saved: &Saved,
        scratch: &mut Scratch,
        grads: &mut [f32],
    ) {
        let (d, d_mlp) = (self.d, self.d_mlp);
        let rows = spans.last().map_or(0, |s| s.rows.end);
        let stream = fit(&mut scratch.stream, rows * d);
        let narrow = fit(&mut scratch.narrow, rows * d);

        let g = self.reaching(spans, Mask::AfterMlp, stream, &mut scratch.masked);
        let wide = fit(&mut scratch.wide, rows * d_mlp);
        let (pre, post) = (&saved.pre[..rows * d_mlp], &saved.post[..rows * d_mlp]);
        self.mlp_proj.backward(weights, post, g, grads, wide);
        self.activation.backward(pre, wide);
        let normal = &saved.normal_2[..rows * d];
        self.c_fc.backward(weights, normal, wide, grads, narrow);
        let mid = &saved.mid[..rows * d];
        self.ln_2.backward(weights, mid, narrow, grads, stream);

        let g = self.reaching(spans, Mask::AfterAttention, stream, &mut scratch.masked);
        let z = &saved.z[..rows * d];
        self.attn_proj.backward(weights, z, g, grads, narrow);
        let wide = fit(&mut scratch.wide, rows * 3 * d);
        for span in spans {
            let (from, to) = (span.rows.start * d, span.rows.end * d);
            let wide_rows = 3 * from..3 * to;
            self.attention(span).backward(
                &saved.qkv[wide_rows.clone()],
                &narrow[from..to],
                0,
                &mut wide[wide_rows],
            );
        }
        let normal = &saved.normal_1[..rows * d];
        self.c_attn.backward(weights, normal, wide, grads, narrow);
        self.ln_1
            .backward(weights, &x[..rows * d], narrow, grads, stream);
    }
}

/// Applies a mask whose first element is the first of `values`.
pub(super) fn drop_in_place(values: &mut [f32], mask: Dropout) {
    if mask.probability > 0.0 {
        apply_onto(values, mask, 0);
    }
}
