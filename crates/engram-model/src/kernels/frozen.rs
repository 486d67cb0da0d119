//! Matrix product with a weight that needs no gradient.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail};

/// x·weight. x: [rows, in], weight: [in, out] or a view of that shape. If x has a gradient and the weight needs none,
/// only x's is computed; the tensor library's own product computes both, which is half of a backward pass.
///
/// # Errors
/// Those of the tensor library.
pub fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match x.track_op() && !weight.track_op() && x.device().is_cpu() {
        true => x.contiguous()?.apply_op1(Frozen(weight.clone())),
        false => x.matmul(weight),
    }
}

struct Frozen(Tensor);

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen_product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let (inner, out) = self.0.dims2()?;
        if width != inner {
            bail!("frozen product: [{rows}, {width}] with [{inner}, {out}]");
        }
        let (storage, weight) = self.0.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("frozen product: expected a weight on the CPU");
        };
        let out_shape = Shape::from((rows, out));
        let product = x.matmul(storage, (1, rows, out, width), layout, weight)?;
        Ok((product, out_shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.matmul(&self.0.t()?)?))
    }
}
