//! Batch normalisation as one node of candle's graph, with residual and ReLU folded in.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};

use crate::norm_kernel::{Moments, NormBackward, batch_moments, normalise, running_moments};
use crate::rows::{cpu_view, f32_slice};

const OP: &str = "batch norm";

/// Where mean and variance come from.
#[derive(Debug, Clone)]
pub(crate) enum Statistics {
    /// From the rows themselves: training.
    Batch,
    /// From earlier training: evaluation. `[C]` each.
    Running { mean: Vec<f32>, var: Vec<f32> },
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
) -> Result<(Tensor, Moments)> {
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
        Some(moments) => Ok((y, Moments::clone(moments))),
        None => candle_core::bail!("{OP}: no moments were computed"),
    }
}

struct NormOp {
    relu: bool,
    statistics: Statistics,
    eps: f64,
    /// Set by forward, read by backward and by the caller.
    used: Arc<OnceLock<Moments>>,
}

impl NormOp {
    fn forward(&self, x: &[f32], affine: &[f32], residual: Option<&[f32]>) -> CpuStorage {
        let c = affine.len() / 2;
        let (gamma, beta) = affine.split_at(c);
        let moments = self.used.get_or_init(|| match &self.statistics {
            Statistics::Batch => batch_moments(x, c, self.eps),
            Statistics::Running { mean, var } => running_moments(mean, var, self.eps),
        });
        CpuStorage::F32(normalise(x, moments, gamma, beta, residual, self.relu))
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
        let Some(moments) = self.used.get() else {
            candle_core::bail!("{OP}: backward before forward");
        };
        let (n, c) = x.dims2()?;
        let grad = grad.contiguous()?;
        let (want_dx, want_dresidual) = (x.track_op(), residual.is_some_and(Tensor::track_op));
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
        let y = self.forward(f32_slice(OP, x, lx)?, f32_slice(OP, a, la)?, None);
        Ok((y, lx.shape().clone()))
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
        let y = self.forward(f32_slice(OP, x, lx)?, f32_slice(OP, a, la)?, Some(residual));
        Ok((y, lx.shape().clone()))
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
