//! Rows of length one.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::ops;
#[cfg(feature = "metal")]
use crate::metal::ops as metal;
use crate::rows::{cpu_view, f32_slice, map_blocks_mut, of_rows};

/// Below this length a row has no direction.
const SHORTEST: f64 = 1e-12;

const OP: &str = "unit norm";

/// Every row divided by its Euclidean length.
///
/// A row shorter than 10⁻¹² has no direction: its result and its gradient are zero, where a plain quotient gives NaN.
/// A NaN in a row stays NaN.
///
/// # Shapes
/// `[N, C]` to `[N, C]`, f32.
///
/// # Errors
/// candle's, for a tensor of another rank or type.
pub fn unit_norm(x: &Tensor) -> Result<Tensor> {
    x.dims2()?;
    x.contiguous()?.apply_op1(UnitNorm)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

struct UnitNorm;

impl CustomOp1 for UnitNorm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = f32_slice(OP, x, l)?;
        let (_, c) = l.shape().dims2()?;
        let mut y = vec![0f32; xs.len()];
        map_blocks_mut(&mut y, c, |rows, out| {
            for (x, y) in of_rows(xs, rows, c).chunks_exact(c).zip(out.chunks_exact_mut(c)) {
                let length = dot(x, x).sqrt();
                if length >= SHORTEST || length.is_nan() {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = (f64::from(x) / length) as f32);
                }
            }
        });
        Ok((CpuStorage::F32(y), l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        ops::unit((x, l))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        l: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        metal::unit((x, l))
    }

    /// `dx = (g - y (y·g)) / |x|`.
    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return ops::unit_gradient(x, y, &grad).map(Some);
        }
        #[cfg(feature = "metal")]
        if x.device().is_metal() {
            return metal::unit_gradient(x, y, &grad).map(Some);
        }
        let (xs, ys, gs) = (cpu_view(OP, x)?, cpu_view(OP, y)?, cpu_view(OP, &grad)?);
        let (n, c) = x.dims2()?;
        let mut dx = vec![0f32; n * c];
        map_blocks_mut(&mut dx, c, |rows, out| {
            let x = of_rows(&xs, rows.clone(), c).chunks_exact(c);
            let y = of_rows(&ys, rows.clone(), c).chunks_exact(c);
            let g = of_rows(&gs, rows, c).chunks_exact(c);
            for (((x, y), g), dx) in x.zip(y).zip(g).zip(out.chunks_exact_mut(c)) {
                let length = dot(x, x).sqrt();
                if length >= SHORTEST || length.is_nan() {
                    let along = dot(y, g);
                    for ((dx, &y), &g) in dx.iter_mut().zip(y).zip(g) {
                        *dx = ((f64::from(g) - f64::from(y) * along) / length) as f32;
                    }
                }
            }
        });
        Tensor::from_vec(dx, (n, c), &Device::Cpu).map(Some)
    }
}
