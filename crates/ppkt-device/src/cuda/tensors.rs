//! From candle's tensors to arrays of kernels.

use candle_core::cuda_backend::{CudaDType, CudaStorage};
use candle_core::{Error, Layout, Result, Storage, Tensor};

use super::driver::DevicePtr;
use crate::launch::{Number, View, ViewMut};

/// A tensor as an operation gets it: a storage, and where the tensor lies in it.
pub type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// What kernels read of a contiguous tensor; errors name the operation.
///
/// # Errors
/// If the tensor is of another type, or not contiguous.
pub fn view<'a, T: CudaDType + Number>(
    op: &'static str,
    (storage, layout): Operand<'a>,
) -> Result<View<'a, T>> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        return Err(Error::RequiresContiguous { op }.bt());
    };
    let slice = storage.as_cuda_slice::<T>().map_err(|e| e.context(op))?;
    let (address, _same_stream) = slice.device_ptr(slice.stream());
    Ok(View::new(address, slice.len()).part(from..to))
}

/// As [`view`], of a tensor that a kernel writes in place.
///
/// # Errors
/// As [`view`].
pub fn view_mut<'a, T: CudaDType + Number>(
    op: &'static str,
    (storage, layout): (&'a mut CudaStorage, &'a Layout),
) -> Result<ViewMut<'a, T>> {
    Ok(view(op, (storage, layout))?.written())
}

/// The storage of a tensor that is to be on a GPU.
///
/// # Errors
/// If it is elsewhere.
pub fn on_gpu<'a>(op: &'static str, storage: &'a Storage, layout: &'a Layout) -> Result<Operand<'a>> {
    match storage {
        Storage::Cuda(storage) => Ok((storage, layout)),
        _ => candle_core::bail!("{op}: all tensors must be on the same device"),
    }
}

/// Runs `f` on the storages of tensors on a GPU.
///
/// # Errors
/// If a tensor is elsewhere; as `f`.
pub fn with_storages<R, const N: usize>(
    op: &'static str,
    tensors: [&Tensor; N],
    f: impl FnOnce([Operand<'_>; N]) -> Result<R>,
) -> Result<R> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut parts = Vec::with_capacity(N);
    for (storage, layout) in &guards {
        parts.push(on_gpu(op, storage, layout)?);
    }
    match parts.try_into() {
        Ok(parts) => f(parts),
        Err(_) => candle_core::bail!("{op}: {N} tensors are needed"),
    }
}
