//! Convolution and transposed convolution as candle operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Shape, Storage, Tensor};

use crate::conv_grad;
#[cfg(feature = "cuda")]
use crate::cuda::conv_candle as cuda;
use crate::kernel_map::{KernelMap, PairLists};
use crate::kernels::{Prepared, Side, Simd, Start, Weight};
use crate::{ConvSpec, CoordinateManager, SparseError, SparseTensor};

/// Sparse convolution.
///
/// With stride 1 the result lives on the input's voxels (sub-manifold); with stride `s`, on the voxels `s` times as
/// large that hold one of the input's.
///
/// # Shapes
/// - `weight`: `[K, Cin, Cout]` with `K = kernel³`, x fastest; `[Cin, Cout]` too for kernel 1. f32
/// - result: `[M, Cout]`
///
/// # Errors
/// [`SparseError::Shape`] and [`SparseError::Spec`].
pub fn conv(x: &SparseTensor, weight: &Tensor, spec: ConvSpec) -> Result<SparseTensor, SparseError> {
    let (map, stride) = downwards(x.manager(), x.stride(), spec)?;
    apply("conv", &[x], weight, None, map, Direction::ToCoarse, stride)
}

/// `conv(cat([left, right]), weight)`, with the same bits and without putting the two together.
///
/// # Shapes
/// - `left` and `right`: `[N, C₁]` and `[N, C₂]`
/// - `weight`: `[K, C₁ + C₂, Cout]`; `[C₁ + C₂, Cout]` too for kernel 1. f32
/// - result: `[M, Cout]`
///
/// # Errors
/// [`SparseError::DifferentCoordinates`]; as [`conv`].
pub fn conv_cat(
    left: &SparseTensor,
    right: &SparseTensor,
    weight: &Tensor,
    spec: ConvSpec,
) -> Result<SparseTensor, SparseError> {
    left.check_same_coords(right, "conv_cat")?;
    let (map, stride) = downwards(left.manager(), left.stride(), spec)?;
    apply("conv_cat", &[left, right], weight, None, map, Direction::ToCoarse, stride)
}

/// Transposed convolution onto the finer voxels that the input's manager knows, from which a strided convolution once
/// came.
///
/// # Shapes
/// - `weight`: `[K, Cin, Cout]` with `K = kernel³`, x fastest. f32
/// - result: `[M, Cout]`
///
/// # Errors
/// [`SparseError::NoFinerCoordinates`] where there are none; [`SparseError::Shape`] and [`SparseError::Spec`].
pub fn conv_transpose(
    x: &SparseTensor,
    weight: &Tensor,
    spec: ConvSpec,
) -> Result<SparseTensor, SparseError> {
    let (map, stride) = upwards(x.manager(), x.stride(), spec)?;
    apply("conv_transpose", &[x], weight, None, map, Direction::ToFine, stride)
}

/// As [`conv`], with a bias `[Cout]` or `[1, Cout]` added to every row.
pub(crate) fn conv_bias(
    x: &SparseTensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: ConvSpec,
) -> Result<SparseTensor, SparseError> {
    let (map, stride) = downwards(x.manager(), x.stride(), spec)?;
    apply("conv", &[x], weight, Some(bias), map, Direction::ToCoarse, stride)
}

static TF32: AtomicBool = AtomicBool::new(false);

/// Lets convolutions of f32 on NVIDIA GPUs round what they multiply to tf32, 10 bits of fraction: several times faster
/// on tensor cores. Sums stay f32. Off at first; for the whole program, and for convolutions that are called from now
/// on. Nothing changes on other devices, nor for bf16.
pub fn allow_tf32(allow: bool) {
    TF32.store(allow, Ordering::Relaxed);
}

/// What [`allow_tf32`] was last told.
pub fn tf32_is_allowed() -> bool {
    TF32.load(Ordering::Relaxed)
}

/// The map of a convolution of a tensor of stride `stride`, and the stride that it leads to.
pub(crate) fn downwards(
    manager: &CoordinateManager,
    stride: u32,
    spec: ConvSpec,
) -> Result<(Arc<KernelMap>, u32), SparseError> {
    let map = manager.kernel_map(stride, spec)?;
    Ok((map, stride * spec.stride as u32))
}

/// The map of a transposed convolution of a tensor of stride `stride`, and the stride that it leads to.
pub(crate) fn upwards(
    manager: &CoordinateManager,
    stride: u32,
    spec: ConvSpec,
) -> Result<(Arc<KernelMap>, u32), SparseError> {
    spec.check()?;
    let factor = spec.stride as u32;
    let wanted = if stride.is_multiple_of(factor) { stride / factor } else { 0 };
    let known = manager.strides();
    if !known.contains(&wanted) {
        let factor = spec.stride;
        return Err(SparseError::NoFinerCoordinates { stride, factor, wanted, known });
    }
    Ok((manager.kernel_map(wanted, spec)?, wanted))
}

/// Checks weight and bias of a convolution of `cin` channels; returns the number of channels that it leads to.
pub(crate) fn check_weight(
    op: &'static str,
    (volume, cin): (usize, usize),
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<usize, SparseError> {
    let ok = match weight.dims() {
        [k, c, _] => *k == volume && *c == cin,
        [c, _] => volume == 1 && *c == cin,
        _ => false,
    };
    if !ok || weight.dtype() != DType::F32 {
        let expected = format!("[{volume}, {cin}, channels] and type f32 (it is {:?})", weight.dtype());
        return Err(SparseError::Shape { op, what: "weight", expected, got: weight.dims().to_vec() });
    }
    let cout = weight.dims()[weight.dims().len() - 1];
    if let Some(bias) = bias
        && (bias.elem_count() != cout || bias.dtype() != DType::F32)
    {
        let expected = format!("[{cout}] and type f32 (it is {:?})", bias.dtype());
        return Err(SparseError::Shape { op, what: "bias", expected, got: bias.dims().to_vec() });
    }
    Ok(cout)
}

fn apply(
    op: &'static str,
    inputs: &[&SparseTensor],
    weight: &Tensor,
    bias: Option<&Tensor>,
    map: Arc<KernelMap>,
    direction: Direction,
    stride: u32,
) -> Result<SparseTensor, SparseError> {
    let cin: usize = inputs.iter().map(|x| x.channels()).sum();
    check_weight(op, (map.spec().volume(), cin), weight, bias)?;
    let conv = Conv::new(map, direction)?;
    let weight = weight.contiguous()?;
    let features = match (inputs, bias) {
        ([x], None) => x.features().contiguous()?.apply_op2(&weight, conv)?,
        ([x], Some(bias)) => {
            x.features().contiguous()?.apply_op3(&weight, &bias.contiguous()?, WithBias(conv))?
        }
        ([left, right], None) => {
            left.features().contiguous()?.apply_op3(&right.features().contiguous()?, &weight, OfTwo(conv))?
        }
        _ => {
            return Err(candle_core::Error::msg("a convolution of one tensor, or of two without bias").into());
        }
    };
    SparseTensor::on(inputs[0].manager(), stride, features)
}

/// Which side of the map is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToCoarse,
    ToFine,
}

impl Direction {
    pub(crate) fn lists(self, map: &KernelMap) -> &PairLists {
        match self {
            Self::ToCoarse => map.by_coarse(),
            Self::ToFine => map.by_fine(),
        }
    }

    pub(crate) fn back(self) -> Self {
        match self {
            Self::ToCoarse => Self::ToFine,
            Self::ToFine => Self::ToCoarse,
        }
    }
}

/// A convolution over the pairs of a map.
#[derive(Debug, Clone)]
pub(crate) struct Conv {
    pub(crate) map: Arc<KernelMap>,
    pub(crate) direction: Direction,
    pub(crate) simd: Simd,
    /// Products of f32 may be rounded to tf32 on an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    pub(crate) tf32: bool,
    /// The result is f32 even where the inputs are bf16.
    #[cfg(feature = "cuda")]
    pub(crate) exact: bool,
}

impl Conv {
    pub(crate) fn new(map: Arc<KernelMap>, direction: Direction) -> Result<Self, SparseError> {
        Ok(Self {
            map,
            direction,
            simd: Simd::selected()?,
            #[cfg(feature = "cuda")]
            tf32: tf32_is_allowed(),
            #[cfg(feature = "cuda")]
            exact: false,
        })
    }

    /// With a result in f32 even where the inputs are bf16.
    pub(crate) fn exact(self) -> Self {
        Self {
            #[cfg(feature = "cuda")]
            exact: true,
            ..self
        }
    }

    /// The convolution of inputs side by side, outside of any graph.
    pub(crate) fn without_graph(
        self,
        inputs: &[&Tensor],
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        match (inputs, bias) {
            ([x], None) => x.apply_op2_no_bwd(weight, &self),
            ([x], Some(bias)) => x.apply_op3_no_bwd(weight, bias, &WithBias(self)),
            ([left, right], None) => left.apply_op3_no_bwd(right, weight, &OfTwo(self)),
            _ => candle_core::bail!("a convolution of one tensor, or of two without bias"),
        }
    }

    fn forward(
        &self,
        sides: &[Side<'_>],
        w: &[f32],
        cout: usize,
        bias: Option<&[f32]>,
    ) -> (CpuStorage, Shape) {
        let cin = sides.iter().map(|s| s.channels).sum();
        let lists = self.direction.lists(&self.map);
        let weight = Prepared::new(self.simd, Weight::forward(w, cin, cout));
        let out = weight.gather_product(lists, sides, Start { bias, ..Start::default() });
        (CpuStorage::F32(out), (lists.n_target, cout).into())
    }

    /// The direction of the product that is the features' gradient, and whether kernel voxel `k` then means matrix
    /// `K - 1 - k`.
    pub(crate) fn backwards(&self) -> (Direction, bool) {
        // In a symmetric map the pairs under `k` are those under `K - 1 - k` the other way round: no second list.
        let mirrored = self.map.spec().is_symmetric();
        (if mirrored { self.direction } else { self.direction.back() }, mirrored)
    }
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "sparse_conv"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.forward(&[side(s1, l1)?], slice(s2, l2)?, last(l2), None))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        cuda::forward(self, &[(s1, l1)], (s2, l2), None)
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
        s2: &candle_core::MetalStorage,
        l2: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::convolve(self, &[(s1, l1)], (s2, l2), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        // candle insists on a gradient for every argument that depends on a variable, and on no other.
        let dx =
            x.track_op().then(|| conv_grad::of_features(self, (0, x.dims()[1]), w, &grad)).transpose()?;
        let dw = w.track_op().then(|| conv_grad::of_weight(self, &[x], w, &grad)).transpose()?;
        Ok((dx, dw))
    }
}

/// Features, weight and bias.
struct WithBias(Conv);

impl CustomOp3 for WithBias {
    fn name(&self) -> &'static str {
        "sparse_conv with bias"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.0.forward(&[side(s1, l1)?], slice(s2, l2)?, last(l2), Some(slice(s3, l3)?)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        cuda::forward(&self.0, &[(s1, l1)], (s2, l2), Some((s3, l3)))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
        s2: &candle_core::MetalStorage,
        l2: &Layout,
        s3: &candle_core::MetalStorage,
        l3: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::convolve(&self.0, &[(s1, l1)], (s2, l2), Some((s3, l3)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (dx, dw) = self.0.bwd(x, w, res, &grad)?;
        let db = bias.track_op().then(|| conv_grad::of_bias(bias, &grad)).transpose()?;
        Ok((dx, dw, db))
    }
}

/// Two tensors side by side, and the weight.
struct OfTwo(Conv);

impl CustomOp3 for OfTwo {
    fn name(&self) -> &'static str {
        "sparse_conv of two"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.0.forward(&[side(s1, l1)?, side(s2, l2)?], slice(s3, l3)?, last(l3), None))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        cuda::forward(&self.0, &[(s1, l1), (s2, l2)], (s3, l3), None)
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        s1: &candle_core::MetalStorage,
        l1: &Layout,
        s2: &candle_core::MetalStorage,
        l2: &Layout,
        s3: &candle_core::MetalStorage,
        l3: &Layout,
    ) -> candle_core::Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::convolve(&self.0, &[(s1, l1), (s2, l2)], (s3, l3), None)
    }

    fn bwd(
        &self,
        left: &Tensor,
        right: &Tensor,
        w: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let first = left.dims()[1];
        let dl =
            left.track_op().then(|| conv_grad::of_features(&self.0, (0, first), w, &grad)).transpose()?;
        let dr = right
            .track_op()
            .then(|| conv_grad::of_features(&self.0, (first, right.dims()[1]), w, &grad))
            .transpose()?;
        let dw = w.track_op().then(|| conv_grad::of_weight(&self.0, &[left, right], w, &grad)).transpose()?;
        Ok((dl, dr, dw))
    }
}

pub(crate) fn side<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<Side<'a>> {
    Ok(Side { data: slice(storage, layout)?, channels: last(layout) })
}

/// Elements along the last axis.
pub(crate) fn last(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(0)
}

/// The contents of a contiguous f32 tensor.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a contiguous tensor is needed, not {layout:?}");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Runs `f` on the contents of contiguous f32 tensors on the CPU.
pub(crate) fn with_slices<T, const N: usize>(
    op: &str,
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> T,
) -> candle_core::Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut slices: [&[f32]; N] = [&[]; N];
    for ((out, (storage, layout)), tensor) in slices.iter_mut().zip(&guards).zip(tensors) {
        let Storage::Cpu(storage) = &**storage else {
            candle_core::bail!(
                "{op} is computed on the processor, and a tensor is on {:?}; move it with to_device",
                tensor.device().location()
            );
        };
        *out = slice(storage, layout)?;
    }
    Ok(f(slices))
}
