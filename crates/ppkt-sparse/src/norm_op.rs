//! Batch normalisation as one node of candle's graph, with residual and ReLU folded in.

use std::sync::{Arc, OnceLock};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::ops;
#[cfg(feature = "metal")]
use crate::metal::ops as metal;
use crate::norm_kernel::{Moments, NormBackward, batch_moments, normalise, running_moments};
use crate::rows::{cpu_view, f32_slice};

const OP: &str = "batch norm";

/// Where mean and variance come from.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(any(feature = "cuda", feature = "metal")),
    allow(dead_code, reason = "without a feature there is no device")
)]
pub(crate) enum Statistics {
    /// From the rows themselves: training.
    Batch,
    /// From earlier training: evaluation. `[C]` each.
    Running { mean: Vec<f32>, var: Vec<f32> },
    /// The same in the memory of the device, which is never waited for.
    RunningOnDevice { mean: Tensor, var: Tensor },
}

/// The moments that rows were normalised with.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(any(feature = "cuda", feature = "metal")),
    allow(dead_code, reason = "without a feature there is no device")
)]
pub(crate) enum Used {
    Host(Moments),
    /// `[3, C]` on the device: mean, 1 / standard deviation, unbiased variance.
    Device(Tensor),
}

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
        let moments = match &self.statistics {
            Statistics::Batch => batch_moments(x, c, self.eps),
            Statistics::Running { mean, var } => running_moments(mean, var, self.eps),
            Statistics::RunningOnDevice { .. } => {
                candle_core::bail!("{OP}: features on the processor, statistics on another device")
            }
        };
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
        let moments = match &self.statistics {
            Statistics::Batch => ops::batch_moments(x, self.eps)?,
            Statistics::RunningOnDevice { mean, var } => ops::running_moments(mean, var, self.eps)?,
            Statistics::Running { .. } => {
                candle_core::bail!("{OP}: features on a GPU, statistics on the processor")
            }
        };
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
        let moments = match &self.statistics {
            Statistics::Batch => metal::batch_moments(x, self.eps)?,
            Statistics::RunningOnDevice { mean, var } => metal::running_moments(mean, var, self.eps)?,
            Statistics::Running { .. } => {
                candle_core::bail!("{OP}: features on a GPU, statistics on the processor")
            }
        };
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
        let (n, c) = x.dims2()?;
        let grad = grad.contiguous()?;
        let (want_dx, want_dresidual) = (x.track_op(), residual.is_some_and(Tensor::track_op));
        let moments = match self.used.get() {
            Some(Used::Host(moments)) => moments,
            #[cfg(feature = "cuda")]
            Some(Used::Device(moments)) if x.device().is_cuda() => {
                let (relu, batch_statistics) = (self.relu, matches!(self.statistics, Statistics::Batch));
                let grad = &grad;
                let (dx, daffine, dresidual) = ops::NormBackward {
                    x,
                    y,
                    grad,
                    moments,
                    affine,
                    relu,
                    batch_statistics,
                    want_dx,
                    want_dresidual,
                }
                .run()?;
                return Ok((dx, affine.track_op().then_some(daffine), dresidual));
            }
            #[cfg(feature = "metal")]
            Some(Used::Device(moments)) if x.device().is_metal() => {
                let (relu, batch) = (self.relu, matches!(self.statistics, Statistics::Batch));
                let wanted = [want_dx, want_dresidual];
                let (dx, daffine, dresidual) =
                    metal::norm_gradients([x, y, &grad, moments, affine], relu, batch, wanted)?;
                return Ok((dx, affine.track_op().then_some(daffine), dresidual));
            }
            Some(Used::Device(_)) => {
                candle_core::bail!("{OP}: no backward pass on {:?}", x.device().location())
            }
            None => candle_core::bail!("{OP}: backward before forward"),
        };
        let grads = {
            let (xs, ys) = (cpu_view(OP, x)?, cpu_view(OP, y)?);
            let (gs, affine) = (cpu_view(OP, &grad)?, cpu_view(OP, affine)?);
            NormBackward {
                x: &xs,
                relu_of: self.relu.then_some(&*ys),
                grad: &gs,
                moments,
                gamma: &affine[..c],
                batch_statistics: matches!(self.statistics, Statistics::Batch),
                want_dx,
                want_dresidual: want_dresidual && self.relu,
            }
            .run()
        };
        let device = Device::Cpu;
        let dx = grads.dx.map(|dx| Tensor::from_vec(dx, (n, c), &device)).transpose()?;
        let mut daffine = grads.dgamma;
        daffine.extend(grads.dbeta);
        let daffine = Tensor::from_vec(daffine, 2 * c, &device)?;
        let dresidual = match (want_dresidual, self.relu) {
            (false, _) => None,
            (true, true) => Some(Tensor::from_vec(grads.dresidual, (n, c), &device)?),
            (true, false) => Some(grad),
        };
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
