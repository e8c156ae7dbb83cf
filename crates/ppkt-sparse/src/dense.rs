//! Operations on rows alone, where no voxel sees another: linear map, ReLU, concatenation of channels.
//!
//! candle has all of these; its sum over rows (the gradient of a bias), its ReLU's gradient and its concatenation
//! along columns are serial and 3 to 9 times slower than memory allows, and its ReLU has derivative 1 at 0.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};

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

/// `x · weight + bias`.
///
/// # Shapes
/// `x` `[N, I]`, `weight` `[I, O]`, `bias` `[1, O]` or `[O]`; result `[N, O]`.
pub(crate) fn linear_rows(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ((_, i), (j, o)) = (x.dims2()?, weight.dims2()?);
    if i != j || bias.is_some_and(|b| b.elem_count() != o) {
        let bias = bias.map(|b| b.shape().clone());
        candle_core::bail!("linear: x {:?}, weight {:?}, bias {bias:?}", x.shape(), weight.shape());
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => x.apply_op2(&weight, Linear),
        Some(b) => x.apply_op3(&weight, &b.contiguous()?, Linear),
    }
}

/// `x + row` for every row of `x` `[N, C]`; `row` is `[1, C]` or `[C]`.
pub(crate) fn add_row(x: &Tensor, row: &Tensor) -> Result<Tensor> {
    let (_, c) = x.dims2()?;
    if row.elem_count() != c {
        candle_core::bail!("a bias {:?} for {c} channels", row.shape());
    }
    x.contiguous()?.apply_op2(&row.contiguous()?, AddRow)
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

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
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

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = g.contiguous()?;
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

struct AddRow;

impl CustomOp2 for AddRow {
    fn name(&self) -> &'static str {
        "add row"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        r: &CpuStorage,
        lr: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (xs, row) = (f32_slice("add row", x, lx)?, f32_slice("add row", r, lr)?);
        let c = row.len();
        let mut out = vec![0f32; xs.len()];
        map_blocks_mut(&mut out, c, |rows, part| {
            for (out, x) in part.chunks_exact_mut(c).zip(of_rows(xs, rows, c).chunks_exact(c)) {
                out.iter_mut().zip(x).zip(row).for_each(|((o, x), b)| *o = x + b);
            }
        });
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        row: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = g.contiguous()?;
        let gs = cpu_view("add row", &grad)?;
        let (n, c) = grad.dims2()?;
        let sums = || Tensor::from_vec(column_sums(&gs, n, c), row.shape(), &Device::Cpu);
        Ok((x.track_op().then(|| grad.clone()), row.track_op().then(sums).transpose()?))
    }
}

struct Linear;

/// A row-major matrix, or its transpose, as `gemm` wants it.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    fn new(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    fn transposed(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }
}

/// `out = (keep ? out : 0) + a · b` on one thread; `out` is row-major `[m, n]`, the inner dimension is `k`.
fn matmul(out: &mut [f32], (m, n, k): (usize, usize, usize), a: Matrix, b: Matrix, keep: bool) {
    let last = |x: Matrix, r: usize, c: usize| match r.min(c) {
        0 => 0,
        _ => (r - 1) * x.row_stride + (c - 1) * x.col_stride + 1,
    };
    assert!(out.len() >= m * n && a.data.len() >= last(a, m, k) && b.data.len() >= last(b, k, n));
    if m * n == 0 {
        return;
    }
    if k == 0 {
        if !keep {
            out.fill(0.0);
        }
        return;
    }
    #[expect(unsafe_code, reason = "gemm's interface is raw pointers and strides")]
    // SAFETY: all three regions were just checked to hold every element that sizes and strides reach; `out` is
    // borrowed mutably, so it overlaps neither input; f32 has no invalid values.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            keep,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

impl Linear {
    fn forward(x: &[f32], w: &[f32], bias: Option<&[f32]>, (n, i, o): (usize, usize, usize)) -> CpuStorage {
        let mut out = vec![0f32; n * o];
        map_blocks_mut(&mut out, o, |rows, part| {
            if let Some(b) = bias {
                part.chunks_exact_mut(o).for_each(|row| row.copy_from_slice(b));
            }
            let x = Matrix::new(of_rows(x, rows.clone(), i), i);
            matmul(part, (rows.len(), o, i), x, Matrix::new(w, o), bias.is_some());
        });
        CpuStorage::F32(out)
    }

    fn backward(
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((n, i), o) = (x.dims2()?, w.dim(1)?);
        let grad = grad.contiguous()?;
        let gs = cpu_view("linear", &grad)?;
        let dx = if x.track_op() {
            let ws = cpu_view("linear", w)?;
            let mut dx = vec![0f32; n * i];
            map_blocks_mut(&mut dx, i, |rows, part| {
                let g = Matrix::new(of_rows(&gs, rows.clone(), o), o);
                matmul(part, (rows.len(), i, o), g, Matrix::new(&ws, o).transposed(), false);
            });
            Some(Tensor::from_vec(dx, (n, i), &Device::Cpu)?)
        } else {
            None
        };
        let dw = if w.track_op() {
            let xs = cpu_view("linear", x)?;
            Some(Tensor::from_vec(weight_grad(&xs, &gs, (n, i, o)), (i, o), &Device::Cpu)?)
        } else {
            None
        };
        let db = match bias {
            Some(b) if b.track_op() => {
                Some(Tensor::from_vec(column_sums(&gs, n, o), b.shape(), &Device::Cpu)?)
            }
            _ => None,
        };
        Ok((dx, dw, db))
    }
}

/// Row groups of a weight gradient, each with a partial sum of its own; a fixed number, for fixed bits.
const GROUPS: usize = 16;

/// `xᵀ · g`, `[I, O]`.
fn weight_grad(x: &[f32], g: &[f32], (n, i, o): (usize, usize, usize)) -> Vec<f32> {
    let rows_each = n.div_ceil(GROUPS).max(crate::rows::BLOCK_ROWS);
    let groups = n.div_ceil(rows_each);
    // One "row" of this is a whole partial gradient, so `map_blocks` would not share it: rayon does.
    use rayon::prelude::*;
    let parts: Vec<Vec<f32>> = (0..groups)
        .into_par_iter()
        .map(|group| {
            let rows = group * rows_each..n.min((group + 1) * rows_each);
            let mut part = vec![0f32; i * o];
            let xt = Matrix::new(of_rows(x, rows.clone(), i), i).transposed();
            let g = Matrix::new(of_rows(g, rows.clone(), o), o);
            matmul(&mut part, (i, o, rows.len()), xt, g, false);
            part
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![0f32; i * o]);
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
    }
    sum
}

/// The sum over rows of `[N, C]`, through f64.
fn column_sums(g: &[f32], n: usize, c: usize) -> Vec<f32> {
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

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, i), (_, o)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let y = Self::forward(f32_slice("linear", x, lx)?, f32_slice("linear", w, lw)?, None, (n, i, o));
        Ok((y, Shape::from((n, o))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw, _) = Self::backward(x, w, None, g)?;
        Ok((dx, dw))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear with bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, i), (_, o)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let bias = f32_slice("linear", b, lb)?;
        let y =
            Self::forward(f32_slice("linear", x, lx)?, f32_slice("linear", w, lw)?, Some(bias), (n, i, o));
        Ok((y, Shape::from((n, o))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Self::backward(x, w, Some(b), g)
    }
}
