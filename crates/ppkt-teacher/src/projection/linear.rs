//! A linear layer over an input that needs no gradient.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

/// `x · Wᵀ + b` for an `x` that needs no gradient: candle's own product would compute and keep one, as large as the
/// teacher's map, in every step.
pub(super) struct FixedInputLinear {
    pub(super) input_nc: Tensor,
    /// Made by candle's product before the operation is applied, and taken by it.
    pub(super) value: Mutex<Option<Tensor>>,
}

impl FixedInputLinear {
    fn take(&self) -> candle_core::Result<Tensor> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| candle_core::Error::Msg(format!("{}: applied twice", self.name())).bt())
    }
}

impl CustomOp2 for FixedInputLinear {
    fn name(&self) -> &'static str {
        "fixed-input-linear"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let value = self.take()?;
        Ok((CpuStorage::F32(value.flatten_all()?.to_vec1()?), value.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;

        let value = self.take()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, value.shape().clone())),
            _ => candle_core::bail!("{}: features and parameters are on several devices", self.name()),
        }
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        _: &candle_core::MetalStorage,
        _: &Layout,
        _: &candle_core::MetalStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        let value = self.take()?;
        let (storage, layout) = value.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            // The memory itself, which the value shares until it is gone.
            (candle_core::Storage::Metal(storage), Some((0, _))) => {
                Ok((storage.clone(), value.shape().clone()))
            }
            _ => candle_core::bail!("{}: features and parameters are on several devices", self.name()),
        }
    }

    fn bwd(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad_nd: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let grad_nd = grad_nd.contiguous()?;
        let by_weight = || grad_nd.t()?.matmul(&self.input_nc);
        // A product with ones: candle's sum over rows takes nine times as long.
        let ones = || Tensor::ones((1, grad_nd.dim(0)?), grad_nd.dtype(), grad_nd.device());
        let by_bias = || ones()?.matmul(&grad_nd)?.squeeze(0);
        Ok((weight.track_op().then(by_weight).transpose()?, bias.track_op().then(by_bias).transpose()?))
    }
}
