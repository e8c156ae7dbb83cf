//! The bridge to candle's autograd: a loss whose gradients are made together with its value.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};

use crate::embeddings::Loss;
use crate::error::ObjectiveError;

/// Value and gradients of a loss over two inputs.
pub(crate) struct Outcome {
    pub(crate) loss: f64,
    pub(crate) retrieval_at_1: f32,
    /// One gradient for each input, of its size; empty if the input needs none.
    pub(crate) grads: [Vec<f32>; 2],
}

/// Which of the inputs need a gradient.
pub(crate) type Tracked = [bool; 2];

type Saved = Arc<Mutex<Option<(f32, [Option<Tensor>; 2])>>>;

struct Fused<F> {
    name: &'static str,
    forward: F,
    tracked: Tracked,
    /// Retrieval, and the gradients for a loss that is scaled by 1.
    saved: Saved,
}

/// Applies a loss to two contiguous f32 tensors on the CPU; `forward` gets their values.
pub(crate) fn apply<F>(name: &'static str, inputs: [&Tensor; 2], forward: F) -> Result<Loss, ObjectiveError>
where
    F: Fn([&[f32]; 2], Tracked) -> Outcome + Send + Sync + 'static,
{
    let saved = Saved::default();
    let tracked = inputs.map(Tensor::track_op);
    let op = Fused { name, forward, tracked, saved: saved.clone() };
    let value = inputs[0].apply_op2(inputs[1], op)?;
    let retrieval_at_1 = lock(&saved).as_ref().map_or(0.0, |s| s.0);
    Ok(Loss { value, retrieval_at_1 })
}

fn lock(saved: &Saved) -> std::sync::MutexGuard<'_, Option<(f32, [Option<Tensor>; 2])>> {
    saved.lock().unwrap_or_else(PoisonError::into_inner)
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => candle_core::bail!("a contiguous tensor is expected"),
    }
}

impl<F> CustomOp2 for Fused<F>
where
    F: Fn([&[f32]; 2], Tracked) -> Outcome + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let outcome = (self.forward)([values(s1, l1)?, values(s2, l2)?], self.tracked);
        let mut grads = [None, None];
        for ((slot, grad), layout) in grads.iter_mut().zip(outcome.grads).zip([l1, l2]) {
            if !grad.is_empty() {
                *slot = Some(Tensor::from_vec(grad, layout.shape(), &candle_core::Device::Cpu)?);
            }
        }
        *lock(&self.saved) = Some((outcome.retrieval_at_1, grads));
        Ok((CpuStorage::F32(vec![outcome.loss as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let factor = f64::from(grad.contiguous()?.to_scalar::<f32>()?);
        let Some((_, [first, second])) = lock(&self.saved).clone() else {
            candle_core::bail!("{}: backward before forward", self.name)
        };
        // Most often the loss is the root of the graph, and the gradients are used as they are.
        let scaled = |g: Tensor| if factor == 1.0 { Ok(g) } else { g.affine(factor, 0.0) };
        Ok((first.map(scaled).transpose()?, second.map(scaled).transpose()?))
    }
}

/// A loss over one input: value, a figure learnt on the way, and the gradient.
type One = (f64, f64, Vec<f32>);

type SavedOne = Arc<Mutex<Option<(f64, Tensor)>>>;

struct FusedOne<F> {
    name: &'static str,
    forward: F,
    /// The figure, and the gradient for a loss that is scaled by 1.
    saved: SavedOne,
}

/// Applies a loss to one contiguous f32 tensor on the CPU; returns the loss and the figure beside it.
pub(crate) fn apply_one<F>(
    name: &'static str,
    input: &Tensor,
    forward: F,
) -> Result<(Tensor, f64), ObjectiveError>
where
    F: Fn(&[f32]) -> One + Send + Sync + 'static,
{
    let saved = SavedOne::default();
    let value = input.apply_op1(FusedOne { name, forward, saved: saved.clone() })?;
    let figure = lock_one(&saved).as_ref().map_or(0.0, |s| s.0);
    Ok((value, figure))
}

fn lock_one(saved: &SavedOne) -> std::sync::MutexGuard<'_, Option<(f64, Tensor)>> {
    saved.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<F> CustomOp1 for FusedOne<F>
where
    F: Fn(&[f32]) -> One + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (loss, figure, grad) = (self.forward)(values(storage, layout)?);
        let grad = Tensor::from_vec(grad, layout.shape(), &candle_core::Device::Cpu)?;
        *lock_one(&self.saved) = Some((figure, grad));
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let factor = f64::from(grad.contiguous()?.to_scalar::<f32>()?);
        let Some((_, own)) = lock_one(&self.saved).clone() else {
            candle_core::bail!("{}: backward before forward", self.name)
        };
        Ok(Some(if factor == 1.0 { own } else { own.affine(factor, 0.0)? }))
    }
}
