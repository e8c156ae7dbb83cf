//! Batch normalisation with its parameters and running statistics.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Tensor};
use candle_nn::{Init, VarBuilder};

#[cfg(feature = "cuda")]
use crate::cuda::ops;
use crate::norm_kernel::Moments;
use crate::norm_op::batch_norm;
use crate::norm_tensor::{self, Statistics, Used};
use crate::{SparseError, SparseTensor};

/// The share of a new batch in the running statistics that PyTorch takes by default.
pub const DEFAULT_BN_MOMENTUM: f64 = 0.1;

const EPS: f64 = 1e-5;

/// Batch normalisation over all voxels of the whole batch, channel by channel.
///
/// Training normalises by the batch's own mean and (biased) variance and moves the running statistics,
/// `r ← (1 - momentum) r + momentum s`, with the unbiased variance; evaluation uses the running statistics. That is
/// PyTorch's convention, with ε = 10⁻⁵. [Ioffe & Szegedy 2015](https://arxiv.org/abs/1502.03167).
///
/// Training needs at least two voxels, as in PyTorch: one voxel's variance is 0 and its output would be β whatever the
/// input. Evaluation takes any number.
///
/// The fused forms [`forward_relu`](Self::forward_relu) and [`forward_add_relu`](Self::forward_add_relu) need no more
/// passes over memory than the norm alone.
///
/// # Parameters
/// MinkowskiEngine wraps PyTorch's norm, so the names have `bn` in the middle:
/// `bn.weight`, `bn.bias`, and buffers `bn.running_mean`, `bn.running_var` (`[C]` each), `bn.num_batches_tracked` (a
/// scalar integer).
#[derive(Debug, Clone)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Option<Tensor>,
    momentum: f64,
}

impl BatchNorm {
    /// A norm of `channels` channels; `momentum` is the new batch's share in the running statistics.
    ///
    /// # Errors
    /// candle's: a missing tensor, or one of another shape. Only the counter of batches may be missing.
    pub fn new(channels: usize, momentum: f64, vb: VarBuilder) -> Result<Self, SparseError> {
        let vb = vb.pp("bn");
        let get = |name: &str, start: f64| vb.get_with_hints(channels, name, Init::Const(start));
        Ok(Self {
            weight: get("weight", 1.0)?,
            bias: get("bias", 0.0)?,
            running_mean: get("running_mean", 0.0)?,
            running_var: get("running_var", 1.0)?,
            batches: vb.get_with_hints_dtype((), "num_batches_tracked", Init::Const(0.0), DType::I64).ok(),
            momentum,
        })
    }

    /// The new batch's share in the running statistics.
    pub fn momentum(&self) -> f64 {
        self.momentum
    }

    /// `norm(x)`; `train` chooses the statistics and moves the running ones.
    ///
    /// # Errors
    /// [`SparseError::TooFewRows`] in training.
    pub fn forward(&self, x: &SparseTensor, train: bool) -> Result<SparseTensor, SparseError> {
        self.apply(x, None, false, train)
    }

    /// `relu(norm(x))`.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_relu(&self, x: &SparseTensor, train: bool) -> Result<SparseTensor, SparseError> {
        self.apply(x, None, true, train)
    }

    /// `relu(norm(x) + residual)`.
    ///
    /// # Errors
    /// As [`Self::forward`]; [`SparseError::DifferentCoordinates`].
    pub fn forward_add_relu(
        &self,
        x: &SparseTensor,
        residual: &SparseTensor,
        train: bool,
    ) -> Result<SparseTensor, SparseError> {
        x.check_same_coords(residual, "batch norm with residual")?;
        self.apply(x, Some(residual.features()), true, train)
    }

    /// What evaluation does to each channel: `scale` and `shift` of `norm(x) = scale · x + shift`.
    pub(crate) fn affine(&self) -> Result<Vec<(f64, f64)>, SparseError> {
        let numbers = |t: &Tensor| t.to_vec1::<f32>();
        let weight = numbers(&self.weight)?.into_iter().zip(numbers(&self.bias)?);
        let running = numbers(&self.running_mean)?.into_iter().zip(numbers(&self.running_var)?);
        let one = |((weight, bias), (mean, var)): ((f32, f32), (f32, f32))| {
            let scale = f64::from(weight) / (f64::from(var) + EPS).sqrt();
            (scale, f64::from(bias) - f64::from(mean) * scale)
        };
        Ok(weight.zip(running).map(one).collect())
    }

    fn apply(
        &self,
        x: &SparseTensor,
        residual: Option<&Tensor>,
        relu: bool,
        train: bool,
    ) -> Result<SparseTensor, SparseError> {
        let statistics = self.statistics(x.len(), x.stride(), train)?;
        let (y, used) = batch_norm(x.features(), &self.weight, &self.bias, residual, relu, statistics, EPS)?;
        if train {
            self.move_running(used)?;
        }
        x.with_features(y)
    }

    fn statistics(&self, rows: usize, stride: u32, train: bool) -> Result<Statistics, SparseError> {
        if !train && !self.running_mean.device().is_cpu() {
            let (mean, var) = (self.running_mean.clone(), self.running_var.clone());
            Ok(Statistics::RunningOnDevice { mean, var })
        } else if !train {
            Ok(Statistics::Running { mean: self.running_mean.to_vec1()?, var: self.running_var.to_vec1()? })
        } else {
            self.check_rows(rows, stride, train)?;
            Ok(Statistics::Batch)
        }
    }

    /// Whether so many rows are enough.
    pub(crate) fn check_rows(&self, rows: usize, stride: u32, train: bool) -> Result<(), SparseError> {
        if train && rows < 2 {
            return Err(SparseError::TooFewRows { op: "batch norm", rows, stride });
        }
        Ok(())
    }

    /// What normalises `rows` rows on the processor, of a tensor of stride `stride`; moves the running statistics in
    /// training. `batch` gives the moments of the rows, of so many channels and with this ε.
    pub(crate) fn host_moments(
        &self,
        rows: usize,
        stride: u32,
        train: bool,
        batch: impl FnOnce(usize, f64) -> Moments,
    ) -> Result<Moments, SparseError> {
        let channels = self.weight.elem_count();
        let moments = match self.statistics(rows, stride, train)? {
            Statistics::Batch => batch(channels, EPS),
            known => known.on_host(&[], channels, EPS)?,
        };
        if train {
            self.move_running(Used::Host(moments.clone()))?;
        }
        Ok(moments)
    }

    /// As [`Self::host_moments`], of the rows of a tensor on any device.
    pub(crate) fn moments_of(&self, x: &Tensor, stride: u32, train: bool) -> Result<Used, SparseError> {
        let (rows, _) = x.dims2()?;
        let moments = norm_tensor::moments(x, &self.statistics(rows, stride, train)?, EPS)?;
        if train {
            self.move_running(moments.clone())?;
        }
        Ok(moments)
    }

    /// γ and β, `[C]` each.
    pub(crate) fn gamma_beta(&self) -> (&Tensor, &Tensor) {
        (&self.weight, &self.bias)
    }

    fn move_running(&self, used: Used) -> Result<(), SparseError> {
        let momentum = self.momentum;
        match used {
            Used::Host(moments) => {
                self.running_mean.inplace_op1(&Move { batch: moments.mean, momentum })?;
                self.running_var.inplace_op1(&Move { batch: moments.unbiased_var, momentum })?;
            }
            Used::Device(moments) => {
                self.running_mean.inplace_op2(&moments.get(0)?, &MoveOnDevice { momentum })?;
                self.running_var.inplace_op2(&moments.get(2)?, &MoveOnDevice { momentum })?;
            }
        }
        if let Some(batches) = &self.batches {
            batches.inplace_op1(&Count)?;
        }
        Ok(())
    }
}

/// `r ← (1 - momentum) r + momentum s`.
struct Move {
    batch: Vec<f32>,
    momentum: f64,
}

impl InplaceOp1 for Move {
    fn name(&self) -> &'static str {
        "running statistics"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(all), Some((a, b))) => {
                for (r, &s) in all[a..b].iter_mut().zip(&self.batch) {
                    *r = ((1.0 - self.momentum) * f64::from(*r) + self.momentum * f64::from(s)) as f32;
                }
                Ok(())
            }
            _ => candle_core::bail!("running statistics must be contiguous f32"),
        }
    }
}

/// As [`Move`], of numbers in the memory of the device.
struct MoveOnDevice {
    #[cfg_attr(
        not(any(feature = "cuda", feature = "metal")),
        expect(dead_code, reason = "no device without a feature")
    )]
    momentum: f64,
}

impl InplaceOp2 for MoveOnDevice {
    fn name(&self) -> &'static str {
        "running statistics"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> candle_core::Result<()> {
        candle_core::bail!("running statistics on the processor, and a batch's on another device")
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        running: &mut CudaStorage,
        running_layout: &Layout,
        batch: &CudaStorage,
        batch_layout: &Layout,
    ) -> candle_core::Result<()> {
        ops::move_running((running, running_layout), (batch, batch_layout), self.momentum)
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        running: &mut candle_core::MetalStorage,
        running_layout: &Layout,
        batch: &candle_core::MetalStorage,
        batch_layout: &Layout,
    ) -> candle_core::Result<()> {
        crate::metal::ops::move_running((running, running_layout), (batch, batch_layout), self.momentum)
    }
}

/// One more batch.
struct Count;

impl InplaceOp1 for Count {
    fn name(&self) -> &'static str {
        "count batches"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        // A counter of another type comes from a foreign file, and nothing reads it.
        if let (CpuStorage::I64(all), Some((a, b))) = (storage, layout.contiguous_offsets()) {
            all[a..b].iter_mut().for_each(|n| *n += 1);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        ops::count((storage, layout))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(&self, storage: &mut candle_core::MetalStorage, layout: &Layout) -> candle_core::Result<()> {
        crate::metal::ops::count((storage, layout))
    }
}
