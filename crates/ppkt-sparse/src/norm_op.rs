//! Batch normalisation as one node of candle's graph, with residual and ReLU folded in.

use std::sync::{Arc, OnceLock};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::ops;
#[cfg(feature = "metal")]
use crate::metal::ops as metal;
use crate::norm_kernel::normalise;
use crate::norm_tensor::{Backward, Gradients, OP, Statistics, Through, Used};
use crate::rows::f32_slice;

/// Normalises the rows of `x`; returns the result and the moments it used.
///
/// # Shapes
/// `x` `[N, C]`, `gamma` and `beta` `[C]`, `residual` `[N, C]` (added before the ReLU); result `[N, C]`.
pub(crate) fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    residual: Option<&Tensor>,
    relu: bool,
    statistics: Statistics,
    eps: f64,
) -> Result<(Tensor, Used)> {
    let (_, c) = x.dims2()?;
    if gamma.dims1()? != c || beta.dims1()? != c || c == 0 {
        candle_core::bail!(
            "{OP}: {c} channels in, but gamma {:?} and beta {:?}",
            gamma.shape(),
            beta.shape()
        );
    }
    let used = Arc::new(OnceLock::new());
    let op = NormOp { relu, statistics, eps, used: used.clone() };
    let x = x.contiguous()?;
    // An op has at most three inputs, so the two small ones travel as one; the gradient of `cat` parts them again.
    let affine = Tensor::cat(&[gamma, beta], 0)?;
    let y = match residual {
        None => x.apply_op2(&affine, op)?,
        Some(r) if r.shape() == x.shape() => x.apply_op3(&affine, &r.contiguous()?, op)?,
        Some(r) => candle_core::bail!("{OP}: residual {:?} added to {:?}", r.shape(), x.shape()),
    };
    match used.get() {
        Some(used) => Ok((y, used.clone())),
        None => candle_core::bail!("{OP}: no moments were computed"),
    }
}

/// The rows of `x` normalised with what [`moments`](crate::norm_tensor::moments) gave, then `+ residual`, then ReLU, as asked; outside of any graph.
/// `affine` is γ and β, `[2 C]`.
pub(crate) fn normalise_with(
    x: &Tensor,
    moments: &Used,
    affine: &Tensor,
    residual: Option<&Tensor>,
    relu: bool,
) -> Result<Tensor> {
    let op = NormOp { relu, statistics: Statistics::Known(moments.clone()), eps: 0.0, used: Arc::default() };
    match residual {
        None => x.apply_op2_no_bwd(affine, &op),
        Some(residual) => x.apply_op3_no_bwd(affine, residual, &op),
    }
}

struct NormOp {
    relu: bool,
    statistics: Statistics,
    eps: f64,
    /// Set by forward, read by backward and by the caller.
    used: Arc<OnceLock<Used>>,
}

impl NormOp {
    fn forward(&self, x: &[f32], affine: &[f32], residual: Option<&[f32]>) -> Result<CpuStorage> {
        let c = affine.len() / 2;
        let (gamma, beta) = affine.split_at(c);
        let moments = self.statistics.on_host(x, c, self.eps)?;
        let y = normalise(x, &moments, gamma, beta, residual, self.relu);
        self.used.get_or_init(|| Used::Host(moments));
        Ok(CpuStorage::F32(y))
    }

    #[cfg(feature = "cuda")]
    fn forward_on_cuda(
        &self,
        x: (&CudaStorage, &Layout),
        affine: (&CudaStorage, &Layout),
        residual: Option<(&CudaStorage, &Layout)>,
    ) -> Result<(CudaStorage, Shape)> {
        let moments = self.statistics.on_cuda(x, self.eps)?;
        let y = ops::normalise(x, &moments, affine, residual, self.relu)?;
        self.used.get_or_init(|| Used::Device(moments));
        Ok(y)
    }

    #[cfg(feature = "metal")]
    fn forward_on_metal(
        &self,
        x: metal::In<'_>,
        affine: metal::In<'_>,
        residual: Option<metal::In<'_>>,
    ) -> metal::Out {
        let moments = self.statistics.on_metal(x, self.eps)?;
        let y = metal::normalise(x, &moments, affine, residual, self.relu)?;
        self.used.get_or_init(|| Used::Device(moments));
        Ok(y)
    }

    /// Gradients of x, gamma|beta and the residual.
    fn backward(
        &self,
        x: &Tensor,
        affine: &Tensor,
        residual: Option<&Tensor>,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(moments) = self.used.get() else { candle_core::bail!("{OP}: backward before forward") };
        let backward = Backward {
            x,
            affine,
            moments,
            grad: &grad.contiguous()?,
            through: if self.relu { Through::Positive(y) } else { Through::All },
            of_batch: matches!(self.statistics, Statistics::Batch),
            want_dx: x.track_op(),
            want_dresidual: residual.is_some_and(Tensor::track_op),
        };
        let Gradients { dx, daffine, dresidual } = backward.run()?;
        Ok((dx, affine.track_op().then_some(daffine), dresidual))
    }
}

impl CustomOp2 for NormOp {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        a: &CpuStorage,
        la: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(f32_slice(OP, x, lx)?, f32_slice(OP, a, la)?, None)?;
        Ok((y, lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        lx: &Layout,
        a: &CudaStorage,
        la: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_on_cuda((x, lx), (a, la), None)
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        lx: &Layout,
        a: &candle_core::MetalStorage,
        la: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        self.forward_on_metal((x, lx), (a, la), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, da, _) = self.backward(x, a, None, y, g)?;
        Ok((dx, da))
    }
}

impl CustomOp3 for NormOp {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        a: &CpuStorage,
        la: &Layout,
        r: &CpuStorage,
        lr: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let residual = f32_slice(OP, r, lr)?;
        let y = self.forward(f32_slice(OP, x, lx)?, f32_slice(OP, a, la)?, Some(residual))?;
        Ok((y, lx.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        lx: &Layout,
        a: &CudaStorage,
        la: &Layout,
        r: &CudaStorage,
        lr: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_on_cuda((x, lx), (a, la), Some((r, lr)))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        lx: &Layout,
        a: &candle_core::MetalStorage,
        la: &Layout,
        r: &candle_core::MetalStorage,
        lr: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        self.forward_on_metal((x, lx), (a, la), Some((r, lr)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        r: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.backward(x, a, Some(r), y, g)
    }
}
