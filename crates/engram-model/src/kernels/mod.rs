//! Fused operations on the CPU with backward passes. (candle-nn's fused LayerNorm and softmax have none, and drop
//! gradients silently.) Tests check the gradients against finite differences. All operations take and return contiguous
//! float32; tensors on other devices go through [`elementary`].

pub mod activation;
pub(crate) mod attention;
#[allow(unsafe_code, reason = "AVX-512 intrinsics")]
pub mod bfloat16;
pub(crate) mod bias;
pub(crate) mod cross_entropy;
pub(crate) mod dropout;
pub mod elementary;
pub(crate) mod frozen;
pub(crate) mod gelu;
pub(crate) mod layer_norm;
mod math;
#[allow(unsafe_code, reason = "gemm takes pointers")]
pub(crate) mod matrix;
pub(crate) mod packed;
pub(crate) mod scratch;
pub mod softmax;
pub(crate) mod suffix_attention;
#[allow(unsafe_code, reason = "AVX intrinsics")]
pub(crate) mod tile;

pub use attention::{attention_probabilities, causal_attention};
pub use bias::add_bias;
pub use cross_entropy::cross_entropy;
pub use dropout::{Dropout, dropout};
pub use frozen::product;
pub use gelu::gelu_new;
pub use layer_norm::{layer_norm, layer_norm_scale};
pub use matrix::Products;

use candle_core::{CpuStorage, DType, Device, Layout, Result, Tensor, bail};

/// The attention window of a query: the keys up to its own position; with `Some(n)` only the last n of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionWindow(pub Option<usize>);

impl AttentionWindow {
    /// The positions that a query attends to.
    pub fn by(self, query: usize) -> std::ops::Range<usize> {
        let first = self
            .0
            .map_or(0, |window| (query + 1).saturating_sub(window));
        first..query + 1
    }
}

/// Rows per task: fixed, so that partial sums are added in one order for any number of threads.
const ROWS_PER_TASK: usize = 64;

/// The elements of a contiguous f32 storage.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else {
        bail!("kernel: expected float32, found {:?}", storage.dtype_of());
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("kernel: expected a contiguous tensor"),
    }
}

trait DTypeOf {
    fn dtype_of(&self) -> DType;
}

impl DTypeOf for CpuStorage {
    fn dtype_of(&self) -> DType {
        use candle_core::backend::BackendStorage;
        self.dtype()
    }
}

/// Calls `f` with the elements of a tensor, made contiguous and copied from its device if necessary.
pub(crate) fn with_slice<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("kernel: expected a tensor on the CPU"),
    }
}

/// Calls `f` with the elements of some tensors, as [`with_slice`] of each.
pub(crate) fn with_slices<T>(
    tensors: &[Tensor],
    f: &mut dyn FnMut(&[&[f32]]) -> Result<T>,
) -> Result<T> {
    fn and<T>(
        rest: &[Tensor],
        slices: &[&[f32]],
        f: &mut dyn FnMut(&[&[f32]]) -> Result<T>,
    ) -> Result<T> {
        let Some((first, rest)) = rest.split_first() else {
            return f(slices);
        };
        with_slice(first, |own| and(rest, &[slices, &[own]].concat(), f))
    }
    and(tensors, &[], f)
}

/// The elements of a float32 tensor, copied.
pub(crate) fn tensor_values(tensor: &Tensor) -> Result<Vec<f32>> {
    with_slice(tensor, |values| Ok(values.to_vec()))
}

/// Some rows of a matrix, copied: [rows, columns].
pub(crate) fn tensor_rows(matrix: &Tensor, rows: &[u32]) -> Result<Vec<f32>> {
    let (_, columns) = matrix.dims2()?;
    with_slice(matrix, |values| {
        let row = |r: &u32| &values[*r as usize * columns..(*r as usize + 1) * columns];
        Ok(rows.iter().flat_map(row).copied().collect())
    })
}

/// Adds equally long partial sums in order.
fn sum_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut total = vec![0f32; len];
    for part in parts {
        for (t, p) in total.iter_mut().zip(part) {
            *t += p;
        }
    }
    total
}
