//! Operations on rows alone, where no voxel sees another: ReLU, concatenation of channels, sums over rows.
//!
//! candle has all of these; its sum over rows (the gradient of a bias), its ReLU's gradient and its concatenation
//! along columns are serial and 3 to 9 times slower than memory allows, and its ReLU has derivative 1 at 0.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::ops;
#[cfg(feature = "metal")]
use crate::metal::ops as metal;
use crate::norm_kernel::{mask, relu1};
use crate::rows::{cpu_view, f32_slice, map_blocks, map_blocks_mut, of_rows, wide};

/// `max(x, 0)`, elementwise, of a tensor of any shape. The derivative at 0 is 0; NaN stays NaN.
pub(crate) fn relu_rows(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Relu)
}

/// Two tensors side by side: `[N, A]` and `[N, B]` give `[N, A + B]`.
pub(crate) fn cat_rows(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let ((n, _), (m, _)) = (left.dims2()?, right.dims2()?);
    if n != m {
        candle_core::bail!("cat: {n} rows beside {m} rows");
    }
    left.contiguous()?.apply_op2(&right.contiguous()?, Cat)
}

struct Relu;

wide! {
    fn relu_block(x: &[f32], out: &mut [f32]) {
        for (o, &v) in out.iter_mut().zip(x) {
            *o = relu1(v);
        }
    }
}

/// Columns that an elementwise operation pretends to have, to share its work in blocks.
const ELEMENTWISE: usize = 64;

fn elementwise(len: usize, f: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0f32; len];
    let whole = len - len % ELEMENTWISE;
    let (body, tail) = out.split_at_mut(whole);
    map_blocks_mut(body, ELEMENTWISE, |r, part| f(r.start * ELEMENTWISE..r.end * ELEMENTWISE, part));
    f(whole..len, tail);
    out
}

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = f32_slice("relu", x, l)?;
        let y = elementwise(xs.len(), |r, out| relu_block(&xs[r], out));
        Ok((CpuStorage::F32(y), l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        ops::relu((x, l))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        l: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        metal::relu((x, l))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if y.device().is_cuda() {
            return ops::relu_gradient(y, &grad).map(Some);
        }
        #[cfg(feature = "metal")]
        if y.device().is_metal() {
            return metal::relu_gradient(y, &grad).map(Some);
        }
        let (ys, gs) = (cpu_view("relu", y)?, cpu_view("relu", &grad)?);
        let dx = elementwise(ys.len(), |r, out| mask(&ys[r.clone()], &gs[r], out));
        Tensor::from_vec(dx, y.shape(), &Device::Cpu).map(Some)
    }
}

struct Cat;

impl CustomOp2 for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (left, right) = (f32_slice("cat", a, la)?, f32_slice("cat", b, lb)?);
        let ((n, ca), (_, cb)) = (la.shape().dims2()?, lb.shape().dims2()?);
        let c = ca + cb;
        let mut out = vec![0f32; n * c];
        map_blocks_mut(&mut out, c, |rows, part| {
            for (row, out) in rows.zip(part.chunks_exact_mut(c)) {
                let (l, r) = out.split_at_mut(ca);
                l.copy_from_slice(&left[row * ca..(row + 1) * ca]);
                r.copy_from_slice(&right[row * cb..(row + 1) * cb]);
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((n, c))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        la: &Layout,
        b: &CudaStorage,
        lb: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        ops::cat((a, la), (b, lb))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        a: &candle_core::MetalStorage,
        la: &Layout,
        b: &candle_core::MetalStorage,
        lb: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        metal::cat((a, la), (b, lb))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = g.contiguous()?;
        #[cfg(feature = "cuda")]
        if g.device().is_cuda() {
            let (ca, cb) = (a.dim(1)?, b.dim(1)?);
            return Ok((
                a.track_op().then(|| ops::columns(&grad, 0, ca)).transpose()?,
                b.track_op().then(|| ops::columns(&grad, ca, cb)).transpose()?,
            ));
        }
        #[cfg(feature = "metal")]
        if g.device().is_metal() {
            let (ca, cb) = (a.dim(1)?, b.dim(1)?);
            return Ok((
                a.track_op().then(|| metal::columns(&grad, 0, ca)).transpose()?,
                b.track_op().then(|| metal::columns(&grad, ca, cb)).transpose()?,
            ));
        }
        let gs = cpu_view("cat", &grad)?;
        let (n, c) = grad.dims2()?;
        let columns = |first: usize, width: usize| {
            let mut out = vec![0f32; n * width];
            map_blocks_mut(&mut out, width, |rows, part| {
                for (row, out) in rows.zip(part.chunks_exact_mut(width)) {
                    out.copy_from_slice(&gs[row * c + first..row * c + first + width]);
                }
            });
            Tensor::from_vec(out, (n, width), &Device::Cpu)
        };
        let (ca, cb) = (a.dim(1)?, b.dim(1)?);
        Ok((
            a.track_op().then(|| columns(0, ca)).transpose()?,
            b.track_op().then(|| columns(ca, cb)).transpose()?,
        ))
    }
}

/// The sum over rows of `[N, C]`, through f64.
pub(crate) fn column_sums(g: &[f32], n: usize, c: usize) -> Vec<f32> {
    let mut sums = vec![0f64; c];
    for part in map_blocks(n, c, |rows| {
        let mut part = vec![0f64; c];
        add_rows(of_rows(g, rows, c), &mut part);
        part
    }) {
        sums.iter_mut().zip(part).for_each(|(s, p)| *s += p);
    }
    sums.into_iter().map(|s| s as f32).collect()
}

wide! {
    fn add_rows(g: &[f32], sums: &mut [f64]) {
        for row in g.chunks_exact(sums.len()) {
            for (s, &v) in sums.iter_mut().zip(row) {
                *s += f64::from(v);
            }
        }
    }
}
