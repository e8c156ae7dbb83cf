//! The bridge to candle's autograd: a loss whose gradients are made together with its value.
//!
//! A loss says what it does on each kind of device; where it has no kernel for one, candle's error names the loss and
//! the device. On a GPU nothing waits: value, hits and gradients stay there until somebody reads them.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use ppkt_device::{
    cuda::{CudaDevice, view},
    launch::View,
};

#[cfg(feature = "metal")]
use ppkt_device::metal::{Metal, MetalBuffer};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::embeddings::Loss;
use crate::error::ObjectiveError;
#[cfg(feature = "metal")]
use crate::metal;

/// Value and gradients of a loss over two inputs.
pub(crate) struct Outcome {
    pub(crate) loss: f64,
    /// Rows whose own partner is the nearest.
    pub(crate) n_hits: usize,
    /// One gradient for each input, of its size; empty if the input needs none.
    pub(crate) grads: [Vec<f32>; 2],
}

/// Which of the inputs need a gradient.
pub(crate) type Tracked = [bool; 2];

/// A loss over two contiguous f32 inputs.
pub(crate) trait PairLoss: Send + Sync + 'static {
    /// For errors.
    fn name(&self) -> &'static str;

    /// Rows that the hits are counted over.
    fn n_rows(&self) -> usize;

    /// On the values themselves.
    fn on_cpu(&self, inputs: [&[f32]; 2], tracked: Tracked) -> Outcome;

    /// On an NVIDIA GPU, without waiting for it.
    #[cfg(feature = "cuda")]
    fn on_cuda(
        &self,
        gpu: &CudaDevice,
        inputs: [View<'_, f32>; 2],
        tracked: Tracked,
    ) -> candle_core::Result<cuda::PairOutcome<CudaDevice>>;

    /// On an Apple GPU, without waiting for it.
    #[cfg(feature = "metal")]
    fn on_metal(
        &self,
        gpu: &Metal,
        inputs: [&MetalBuffer; 2],
        tracked: Tracked,
    ) -> candle_core::Result<metal::PairOutcome<MetalBuffer>>;
}

/// Hits, and the gradients for a loss that is scaled by 1.
type Saved = Arc<Mutex<Option<(Tensor, [Option<Tensor>; 2])>>>;

struct Fused<L> {
    loss: L,
    tracked: Tracked,
    saved: Saved,
}

/// Applies a loss to two contiguous f32 tensors on one device.
pub(crate) fn apply<L: PairLoss>(loss: L, inputs: [&Tensor; 2]) -> Result<Loss, ObjectiveError> {
    let saved = Saved::default();
    let tracked = inputs.map(Tensor::track_op);
    let n_rows = loss.n_rows();
    let value = inputs[0].apply_op2(inputs[1], Fused { loss, tracked, saved: saved.clone() })?;
    let Some((hits, _)) = lock(&saved).clone() else { unreachable!("the operation has run") };
    Ok(Loss { value, hits, n_rows })
}

fn lock<T>(saved: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    saved.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => candle_core::bail!("a contiguous tensor is expected"),
    }
}

/// A gradient, times that of the loss itself.
fn scaled(own: Tensor, by_loss: &Tensor) -> candle_core::Result<Tensor> {
    if !own.device().is_cpu() {
        // Whatever the factor is: looking at it would make the host wait.
        return own.broadcast_mul(by_loss);
    }
    // Most often the loss is the root of the graph, and the gradients are used as they are.
    let factor = f64::from(by_loss.contiguous()?.to_scalar::<f32>()?);
    if factor == 1.0 { Ok(own) } else { own.affine(factor, 0.0) }
}

impl<L: PairLoss> CustomOp2 for Fused<L> {
    fn name(&self) -> &'static str {
        self.loss.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let outcome = self.loss.on_cpu([values(s1, l1)?, values(s2, l2)?], self.tracked);
        let mut grads = [None, None];
        for ((slot, grad), layout) in grads.iter_mut().zip(outcome.grads).zip([l1, l2]) {
            if !grad.is_empty() {
                *slot = Some(Tensor::from_vec(grad, layout.shape(), &Device::Cpu)?);
            }
        }
        *lock(&self.saved) = Some((Tensor::new(outcome.n_hits as f32, &Device::Cpu)?, grads));
        Ok((CpuStorage::F32(vec![outcome.loss as f32]), Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &candle_core::CudaStorage,
        l1: &Layout,
        s2: &candle_core::CudaStorage,
        l2: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let gpu = &s1.device;
        let inputs = [view(self.name(), (s1, l1))?, view(self.name(), (s2, l2))?];
        let outcome = self.loss.on_cuda(gpu, inputs, self.tracked)?;
        let mut grads = [None, None];
        for ((slot, grad), layout) in grads.iter_mut().zip(outcome.grads).zip([l1, l2]) {
            *slot = grad.map(|grad| grad.into_tensor(gpu, layout.shape()));
        }
        *lock(&self.saved) = Some((outcome.hits.into_tensor(gpu, ()), grads));
        Ok((outcome.loss.into_storage(gpu), Shape::from(())))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
        s2: &candle_core::MetalStorage,
        l2: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        let gpu = metal::gpu_of(s1);
        let inputs = [&gpu.view(self.name(), s1, l1)?, &gpu.view(self.name(), s2, l2)?];
        let outcome = self.loss.on_metal(&gpu, inputs, self.tracked)?;
        let mut grads = [None, None];
        for ((slot, grad), layout) in grads.iter_mut().zip(outcome.grads).zip([l1, l2]) {
            *slot = grad.map(|grad| gpu.tensor(grad, layout.shape())).transpose()?;
        }
        *lock(&self.saved) = Some((gpu.tensor(outcome.hits, ())?, grads));
        Ok((gpu.storage(outcome.loss, candle_core::DType::F32)?, Shape::from(())))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Some((_, [first, second])) = lock(&self.saved).clone() else {
            candle_core::bail!("{}: backward before forward", self.name())
        };
        let by_input = |own: Option<Tensor>| own.map(|own| scaled(own, grad)).transpose();
        Ok((by_input(first)?, by_input(second)?))
    }
}

/// Value and gradient of a loss over rows of scores.
pub(crate) struct RowsOutcome {
    pub(crate) loss: f64,
    pub(crate) n_right: usize,
    pub(crate) grad: Vec<f32>,
}

/// A loss over one contiguous f32 input.
pub(crate) trait RowsLoss: Send + Sync + 'static {
    /// For errors.
    fn name(&self) -> &'static str;

    /// On the values themselves.
    fn on_cpu(&self, input: &[f32]) -> RowsOutcome;

    /// On an NVIDIA GPU, without waiting for it.
    #[cfg(feature = "cuda")]
    fn on_cuda(
        &self,
        gpu: &CudaDevice,
        input: View<'_, f32>,
    ) -> candle_core::Result<cuda::RowsOutcome<CudaDevice>>;

    /// On an Apple GPU, without waiting for it.
    #[cfg(feature = "metal")]
    fn on_metal(
        &self,
        gpu: &Metal,
        input: &MetalBuffer,
    ) -> candle_core::Result<metal::RowsOutcome<MetalBuffer>>;
}

/// How many rows are right, and the gradient for a loss that is scaled by 1.
type SavedOne = Arc<Mutex<Option<(Tensor, Tensor)>>>;

struct FusedOne<L> {
    loss: L,
    saved: SavedOne,
}

/// Applies a loss to one contiguous f32 tensor; returns the loss and the number of rows that are right.
pub(crate) fn apply_one<L: RowsLoss>(loss: L, input: &Tensor) -> Result<(Tensor, Tensor), ObjectiveError> {
    let saved = SavedOne::default();
    let value = input.apply_op1(FusedOne { loss, saved: saved.clone() })?;
    let Some((n_right, _)) = lock(&saved).clone() else { unreachable!("the operation has run") };
    Ok((value, n_right))
}

impl<L: RowsLoss> CustomOp1 for FusedOne<L> {
    fn name(&self) -> &'static str {
        self.loss.name()
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let RowsOutcome { loss, n_right, grad } = self.loss.on_cpu(values(storage, layout)?);
        let grad = Tensor::from_vec(grad, layout.shape(), &Device::Cpu)?;
        *lock(&self.saved) = Some((Tensor::new(n_right as f32, &Device::Cpu)?, grad));
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let gpu = &storage.device;
        let outcome = self.loss.on_cuda(gpu, view(self.name(), (storage, layout))?)?;
        let n_right = outcome.n_right.into_tensor(gpu, ());
        *lock(&self.saved) = Some((n_right, outcome.grad.into_tensor(gpu, layout.shape())));
        Ok((outcome.loss.into_storage(gpu), Shape::from(())))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        let gpu = metal::gpu_of(storage);
        let outcome = self.loss.on_metal(&gpu, &gpu.view(self.name(), storage, layout)?)?;
        *lock(&self.saved) =
            Some((gpu.tensor(outcome.n_right, ())?, gpu.tensor(outcome.grad, layout.shape())?));
        Ok((gpu.storage(outcome.loss, candle_core::DType::F32)?, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let Some((_, own)) = lock(&self.saved).clone() else {
            candle_core::bail!("{}: backward before forward", self.name())
        };
        scaled(own, grad).map(Some)
    }
}
