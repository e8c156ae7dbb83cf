//! From candle's tensors to arrays on a GPU, and back.

use candle_core::cuda::cudarc::driver::CudaSlice;
use candle_core::cuda::{CudaDType, CudaDevice};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Layout, Result, Shape, Storage, Tensor};

use super::device::{DeviceView, part};
use super::gpu::Number;
use super::rows::Rows;

/// The numbers of a contiguous tensor.
pub(crate) fn view<'a, T: CudaDType + Number>(
    op: &'static str,
    (storage, layout): (&'a CudaStorage, &Layout),
) -> Result<DeviceView<'a, T>> {
    match layout.contiguous_offsets() {
        Some((first, _)) => Ok(part(storage.as_cuda_slice::<T>()?, first)),
        None => Err(candle_core::Error::RequiresContiguous { op }.bt()),
    }
}

/// Runs `f` on the storages of tensors on a GPU.
pub(crate) fn with_storages<R, const N: usize>(
    op: &'static str,
    tensors: [&Tensor; N],
    f: impl FnOnce([(&CudaStorage, &Layout); N]) -> Result<R>,
) -> Result<R> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut parts = Vec::with_capacity(N);
    for (storage, layout) in &guards {
        match &**storage {
            Storage::Cuda(storage) => parts.push((storage, *layout)),
            _ => candle_core::bail!("{op}: all tensors must be on the same device"),
        }
    }
    match parts.try_into() {
        Ok(parts) => f(parts),
        Err(_) => candle_core::bail!("{op}: {N} tensors are needed"),
    }
}

/// A tensor, without a graph, of an array.
pub(crate) fn tensor<T: CudaDType>(
    slice: CudaSlice<T>,
    device: &CudaDevice,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(slice, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// What `layout` says of a tensor `[N, C]`.
pub(crate) fn rows(layout: &Layout) -> Result<Rows> {
    let (n, channels) = layout.shape().dims2()?;
    Ok(Rows { n, channels })
}

/// Runs an expression for the type of features, which it knows as `T`.
macro_rules! by_type {
    ($op:expr, $storage:expr, $T:ident => $body:expr) => {
        match candle_core::backend::BackendStorage::dtype($storage) {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            other => candle_core::bail!("{}: features are f32 or bf16 on a GPU, not {other:?}", $op),
        }
    };
}
pub(crate) use by_type;
