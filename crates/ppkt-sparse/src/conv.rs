//! Convolution and transposed convolution as candle operations.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Storage, Tensor};

use crate::kernel_map::{KernelMap, PairLists};
use crate::kernels::{self, Simd, Weight};
use crate::{ConvSpec, SparseError, SparseTensor};

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
    let map = x.manager().kernel_map(x.stride(), spec)?;
    let stride = x.stride() * spec.stride as u32;
    apply("conv", x, weight, map, Direction::ToCoarse, stride)
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
    spec.check()?;
    let factor = spec.stride as u32;
    let wanted = if x.stride().is_multiple_of(factor) { x.stride() / factor } else { 0 };
    let known = x.manager().strides();
    if !known.contains(&wanted) {
        let (stride, factor) = (x.stride(), spec.stride);
        return Err(SparseError::NoFinerCoordinates { stride, factor, wanted, known });
    }
    let map = x.manager().kernel_map(wanted, spec)?;
    apply("conv_transpose", x, weight, map, Direction::ToFine, wanted)
}

fn apply(
    op: &'static str,
    x: &SparseTensor,
    weight: &Tensor,
    map: Arc<KernelMap>,
    direction: Direction,
    stride: u32,
) -> Result<SparseTensor, SparseError> {
    let (volume, cin) = (map.spec().volume(), x.channels());
    let ok = match weight.dims() {
        [k, c, _] => *k == volume && *c == cin,
        [c, _] => volume == 1 && *c == cin,
        _ => false,
    };
    if !ok || weight.dtype() != DType::F32 {
        let expected = format!("[{volume}, {cin}, channels] and type f32 (it is {:?})", weight.dtype());
        return Err(SparseError::Shape { op, what: "weight", expected, got: weight.dims().to_vec() });
    }
    let conv = Conv { map, direction, simd: Simd::selected()? };
    let features = x.features().contiguous()?.apply_op2(&weight.contiguous()?, conv)?;
    SparseTensor::on(x.manager(), stride, features)
}

/// Which side of the map is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToCoarse,
    ToFine,
}

impl Direction {
    fn lists(self, map: &KernelMap) -> &PairLists {
        match self {
            Self::ToCoarse => map.by_coarse(),
            Self::ToFine => map.by_fine(),
        }
    }

    fn back(self) -> Self {
        match self {
            Self::ToCoarse => Self::ToFine,
            Self::ToFine => Self::ToCoarse,
        }
    }
}

struct Conv {
    map: Arc<KernelMap>,
    direction: Direction,
    simd: Simd,
}

impl Conv {
    /// The gradient of the features: the product over the same pairs the other way round.
    fn features_gradient(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (cin, cout) = (x.dims()[1], grad.dims()[1]);
        // In a symmetric map the pairs under `k` are those under `K - 1 - k` the other way round: no second list.
        let mirrored = self.map.spec().is_symmetric();
        let direction = if mirrored { self.direction } else { self.direction.back() };
        let lists = direction.lists(&self.map);
        let dx = with_slices(w, grad, |w, grad| {
            let weight = Weight { data: w, cin, cout, transposed: true, mirrored };
            kernels::gather_product(self.simd, lists, grad, weight)
        })?;
        Tensor::from_vec(dx, x.shape(), x.device())
    }

    fn weight_gradient(&self, x: &Tensor, w: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (cin, cout) = (x.dims()[1], grad.dims()[1]);
        let lists = self.direction.lists(&self.map);
        let dw =
            with_slices(x, grad, |x, grad| kernels::weight_gradient(self.simd, lists, x, cin, grad, cout))?;
        Tensor::from_vec(dw, w.shape(), w.device())
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
        let (x, w) = (slice(s1, l1)?, slice(s2, l2)?);
        let (cin, cout) = (l1.dims()[1], l2.dims()[l2.dims().len() - 1]);
        let lists = self.direction.lists(&self.map);
        let weight = Weight { data: w, cin, cout, transposed: false, mirrored: false };
        let out = kernels::gather_product(self.simd, lists, x, weight);
        Ok((CpuStorage::F32(out), (lists.n_target, cout).into()))
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
        let dx = x.track_op().then(|| self.features_gradient(x, w, &grad)).transpose()?;
        let dw = w.track_op().then(|| self.weight_gradient(x, w, &grad)).transpose()?;
        Ok((dx, dw))
    }
}

/// The contents of a contiguous f32 tensor.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a contiguous tensor is needed, not {layout:?}");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Runs `f` on the contents of two contiguous f32 tensors on the CPU.
pub(crate) fn with_slices<T>(
    a: &Tensor,
    b: &Tensor,
    f: impl FnOnce(&[f32], &[f32]) -> T,
) -> candle_core::Result<T> {
    let ((sa, la), (sb, lb)) = (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cpu(sa), Storage::Cpu(sb)) = (&*sa, &*sb) else {
        candle_core::bail!("sparse convolution has no backward pass on this device");
    };
    Ok(f(slice(sa, la)?, slice(sb, lb)?))
}
