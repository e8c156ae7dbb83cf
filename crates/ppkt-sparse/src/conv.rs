//! Convolution and transposed convolution as candle operations.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor};

use crate::kernel_map::{KernelMap, PairLists};
use crate::{ConvSpec, SparseError, SparseTensor, kernels};

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
    let conv = Conv { map, direction };
    let features = x.features().contiguous()?.apply_op2(&weight.contiguous()?, conv)?;
    SparseTensor::on(x.manager(), stride, features)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToCoarse,
    ToFine,
}

struct Conv {
    map: Arc<KernelMap>,
    direction: Direction,
}

impl Conv {
    fn lists(&self) -> &PairLists {
        match self.direction {
            Direction::ToCoarse => self.map.by_coarse(),
            Direction::ToFine => self.map.by_fine(),
        }
    }

    fn lists_back(&self) -> &PairLists {
        match self.direction {
            Direction::ToCoarse => self.map.by_fine(),
            Direction::ToFine => self.map.by_coarse(),
        }
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
        let lists = self.lists();
        let mut out = vec![0f32; lists.n_target * cout];
        kernels::gather_product(lists, x, cin, w, cout, &mut out);
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
        let (cin, cout) = (x.dims()[1], grad.dims()[1]);
        let g = grad.flatten_all()?.to_vec1::<f32>()?;
        let dx = if x.track_op() {
            let lists = self.lists_back();
            let wt = w.transpose(candle_core::D::Minus2, candle_core::D::Minus1)?.contiguous()?;
            let wt = wt.flatten_all()?.to_vec1::<f32>()?;
            let mut dx = vec![0f32; lists.n_target * cin];
            kernels::gather_product(lists, &g, cout, &wt, cin, &mut dx);
            Some(Tensor::from_vec(dx, x.shape(), x.device())?)
        } else {
            None
        };
        let dw = if w.track_op() {
            let xs = x.flatten_all()?.to_vec1::<f32>()?;
            let mut dw = vec![0f32; w.elem_count()];
            kernels::weight_gradient(self.lists(), &xs, cin, &g, cout, &mut dw);
            Some(Tensor::from_vec(dw, w.shape(), w.device())?)
        } else {
            None
        };
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
