//! The steps of batch normalisation on tensors of any device, outside of any graph.

use std::borrow::Cow;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
#[cfg(feature = "cuda")]
use candle_core::Layout;
use candle_core::{Device, Result, Storage, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::ops;
#[cfg(feature = "metal")]
use crate::metal::ops as metal;
use crate::norm_kernel::{Moments, NormBackward, batch_moments, running_moments};
use crate::norm_op::normalise_with;
use crate::rows::{cpu_view, f32_slice};

pub(crate) const OP: &str = "batch norm";

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
    /// What was used before.
    Known(Used),
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

impl Statistics {
    pub(crate) fn on_host(&self, x: &[f32], channels: usize, eps: f64) -> Result<Moments> {
        match self {
            Self::Batch => Ok(batch_moments(x, channels, eps)),
            Self::Running { mean, var } => Ok(running_moments(mean, var, eps)),
            Self::Known(Used::Host(moments)) => Ok(moments.clone()),
            Self::RunningOnDevice { .. } | Self::Known(Used::Device(_)) => {
                candle_core::bail!("{OP}: features on the processor, statistics on another device")
            }
        }
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn on_cuda(&self, x: (&CudaStorage, &Layout), eps: f64) -> Result<Tensor> {
        match self {
            Self::Batch => ops::batch_moments(x, eps),
            Self::RunningOnDevice { mean, var } => ops::running_moments(mean, var, eps),
            Self::Known(Used::Device(moments)) => Ok(moments.clone()),
            Self::Running { .. } | Self::Known(Used::Host(_)) => {
                candle_core::bail!("{OP}: features on a GPU, statistics on the processor")
            }
        }
    }

    #[cfg(feature = "metal")]
    pub(crate) fn on_metal(&self, x: metal::In<'_>, eps: f64) -> Result<Tensor> {
        match self {
            Self::Batch => metal::batch_moments(x, eps),
            Self::RunningOnDevice { mean, var } => metal::running_moments(mean, var, eps),
            Self::Known(Used::Device(moments)) => Ok(moments.clone()),
            Self::Running { .. } | Self::Known(Used::Host(_)) => {
                candle_core::bail!("{OP}: features on a GPU, statistics on the processor")
            }
        }
    }
}

/// What the rows of `x` are normalised with, outside of any graph.
pub(crate) fn moments(x: &Tensor, statistics: &Statistics, eps: f64) -> Result<Used> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => {
            let channels = layout.shape().dims2()?.1;
            statistics.on_host(f32_slice(OP, storage, layout)?, channels, eps).map(Used::Host)
        }
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => statistics.on_cuda((storage, layout), eps).map(Used::Device),
        #[cfg(feature = "metal")]
        Storage::Metal(storage) => statistics.on_metal((storage, layout), eps).map(Used::Device),
        #[cfg(not(all(feature = "cuda", feature = "metal")))]
        _ => candle_core::bail!("{OP}: this build has no kernels for {:?}", x.device().location()),
    }
}

/// Where a ReLU let values through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Through<V> {
    /// There was none.
    All,
    /// Where the result is positive.
    Positive(V),
    /// Where the norm is positive: nothing but the norm came before the ReLU.
    OfNorm,
}

/// What the gradients of a normalisation depend on.
pub(crate) struct Backward<'a> {
    pub(crate) x: &'a Tensor,
    /// γ and β, `[2 C]`.
    pub(crate) affine: &'a Tensor,
    pub(crate) moments: &'a Used,
    pub(crate) grad: &'a Tensor,
    pub(crate) through: Through<&'a Tensor>,
    /// Whether the moments are functions of `x`.
    pub(crate) of_batch: bool,
    pub(crate) want_dx: bool,
    pub(crate) want_dresidual: bool,
}

/// Gradients of one normalisation.
pub(crate) struct Gradients {
    pub(crate) dx: Option<Tensor>,
    /// `[2 C]`
    pub(crate) daffine: Tensor,
    pub(crate) dresidual: Option<Tensor>,
}

impl Backward<'_> {
    /// Outside of any graph.
    pub(crate) fn run(&self) -> Result<Gradients> {
        match self.moments {
            Used::Host(moments) => self.on_host(moments),
            #[cfg(feature = "cuda")]
            Used::Device(moments) if self.x.device().is_cuda() => ops::norm_gradients(self, moments),
            #[cfg(feature = "metal")]
            Used::Device(moments) if self.x.device().is_metal() => metal::norm_gradients(self, moments),
            Used::Device(_) => {
                candle_core::bail!("{OP}: no backward pass on {:?}", self.x.device().location())
            }
        }
    }

    /// The result behind the ReLU, where there was one.
    fn relu_of(&self) -> Result<Option<Cow<'_, Tensor>>> {
        Ok(match self.through {
            Through::All => None,
            Through::Positive(y) => Some(Cow::Borrowed(y)),
            Through::OfNorm => {
                Some(Cow::Owned(normalise_with(self.x, self.moments, self.affine, None, true)?))
            }
        })
    }

    fn on_host(&self, moments: &Moments) -> Result<Gradients> {
        let ((n, c), device) = (self.x.dims2()?, Device::Cpu);
        let y = self.relu_of()?;
        let y = y.as_deref().map(|y| cpu_view(OP, y)).transpose()?;
        let (xs, gs, affine) = (cpu_view(OP, self.x)?, cpu_view(OP, self.grad)?, cpu_view(OP, self.affine)?);
        let relu = y.is_some();
        let grads = NormBackward {
            x: &xs,
            relu_of: y.as_deref(),
            grad: &gs,
            moments,
            gamma: &affine[..c],
            batch_statistics: self.of_batch,
            want_dx: self.want_dx,
            want_dresidual: self.want_dresidual && relu,
        }
        .run();
        let mut daffine = grads.dgamma;
        daffine.extend(grads.dbeta);
        Ok(Gradients {
            dx: grads.dx.map(|dx| Tensor::from_vec(dx, (n, c), &device)).transpose()?,
            daffine: Tensor::from_vec(daffine, 2 * c, &device)?,
            dresidual: match (self.want_dresidual, relu) {
                (false, _) => None,
                (true, true) => Some(Tensor::from_vec(grads.dresidual, (n, c), &device)?),
                (true, false) => Some(self.grad.clone()),
            },
        })
    }
}
