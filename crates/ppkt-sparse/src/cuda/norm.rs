//! Batch normalisation on a GPU.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View, ViewMut};

use super::feature::{Feature, kernel};
use super::rows::{Rows, parts_of};
use crate::norm_tensor::Through;

static NORM: Kernels = kernels!("norm");

/// Moments of every channel over all rows, at least two: `[3, C]`, mean, 1 / standard deviation and unbiased variance.
pub(crate) fn batch_moments<G: Gpu, T: Feature>(
    gpu: &G,
    x: View<'_, T>,
    rows: Rows,
    eps: f64,
) -> Result<G::Memory<f32>> {
    let mut parts = gpu.uninit::<f64>(2 * rows.parts() * rows.channels)?;
    let sums = NORM.launch(gpu, kernel::<T>("norm_sums")).read(x).count(rows.n).count(rows.channels);
    sums.write(&mut parts).run(parts_of(rows))?;
    let mut moments = gpu.uninit::<f32>(3 * rows.channels)?;
    let launch = NORM.launch(gpu, "norm_moments").read(&parts).count(rows.parts()).count(rows.n);
    let launch = launch.count(rows.channels).value(eps).write(&mut moments);
    launch.run(rows.totals())?;
    Ok(moments)
}

/// The same from running statistics, `[C]` each.
pub(crate) fn running_moments<G: Gpu>(
    gpu: &G,
    mean: View<'_, f32>,
    var: View<'_, f32>,
    channels: usize,
    eps: f64,
) -> Result<G::Memory<f32>> {
    let mut moments = gpu.uninit::<f32>(3 * channels)?;
    let launch = NORM.launch(gpu, "norm_running").read(mean).read(var).count(channels).value(eps);
    launch.write(&mut moments).run(Geometry::threads(channels, 256))?;
    Ok(moments)
}

/// `(x - mean) * inv_std * gamma + beta`, then `+ residual`, then ReLU, as asked; `affine` is gamma and beta.
pub(crate) fn normalise<G: Gpu, T: Feature>(
    gpu: &G,
    x: View<'_, T>,
    moments: View<'_, f32>,
    affine: View<'_, f32>,
    residual: Option<View<'_, T>>,
    relu: bool,
    rows: Rows,
) -> Result<G::Memory<T>> {
    let (geometry, total) = rows.fours()?;
    let mut y = gpu.uninit::<T>(rows.elements())?;
    let launch = NORM.launch(gpu, kernel::<T>("norm_apply")).read(x).read(moments).read(affine);
    let launch = launch.read(residual).value(relu).value(total).count(rows.channels).write(&mut y);
    launch.run(geometry)?;
    Ok(y)
}

/// What a backward pass reads.
pub(crate) struct Backward<'a, T> {
    pub(crate) x: View<'a, T>,
    /// Where a ReLU let values through.
    pub(crate) through: Through<View<'a, T>>,
    pub(crate) grad: View<'a, T>,
    pub(crate) moments: View<'a, f32>,
    pub(crate) affine: View<'a, f32>,
    /// Whether the moments are functions of `x` (training) or constants (evaluation).
    pub(crate) batch_statistics: bool,
    pub(crate) want_dx: bool,
    /// Of a residual behind which there was a ReLU; without one, the gradient itself is the residual's.
    pub(crate) want_dresidual: bool,
}

/// Gradients of one normalisation.
pub(crate) struct Gradients<G: Gpu, T: Feature> {
    pub(crate) dx: Option<G::Memory<T>>,
    /// `[2, C]`: by gamma and beta.
    pub(crate) daffine: G::Memory<f32>,
    pub(crate) dresidual: Option<G::Memory<T>>,
}

impl<T: Feature> Backward<'_, T> {
    pub(crate) fn run<G: Gpu>(&self, gpu: &G, rows: Rows) -> Result<Gradients<G, T>> {
        let (n, c) = (rows.n, rows.channels);
        // The kernels look at the result where there is one, or at the norm where they are given γ and β.
        let (relu_of, relu_affine) = match self.through {
            Through::All => (None, None),
            Through::Positive(y) => (Some(y), None),
            Through::OfNorm => (None, Some(self.affine)),
        };
        let mut parts = gpu.uninit::<f64>(2 * rows.parts() * rows.channels)?;
        let sums = NORM.launch(gpu, kernel::<T>("norm_grad_sums")).read(self.x).read(relu_of).read(self.grad);
        let sums = sums.read(self.moments).read(relu_affine).count(n).count(c).write(&mut parts);
        sums.run(parts_of(rows))?;
        let mut coefficients = gpu.uninit::<f32>(3 * rows.channels)?;
        let mut daffine = gpu.uninit::<f32>(2 * rows.channels)?;
        let launch = NORM.launch(gpu, "norm_coefficients").read(&parts).count(rows.parts()).count(n).count(c);
        let launch = launch.read(self.moments).read(self.affine).value(self.batch_statistics);
        let launch = launch.write(&mut coefficients).write(&mut daffine);
        launch.run(rows.totals())?;

        let wanted = |wanted: bool| wanted.then(|| gpu.uninit::<T>(rows.elements())).transpose();
        let (mut dx, mut dresidual) = (wanted(self.want_dx)?, wanted(self.want_dresidual)?);
        if dx.is_some() || dresidual.is_some() {
            let (geometry, total) = rows.fours()?;
            let launch = NORM.launch(gpu, kernel::<T>("norm_grad_apply")).read(self.x).read(relu_of);
            let launch = launch.read(self.grad).read(self.moments).read(relu_affine).read(&coefficients);
            let launch = launch.value(total).count(c);
            let launch = launch.write(dx.as_mut()).write(dresidual.as_mut());
            launch.run(geometry)?;
        }
        Ok(Gradients { dx, daffine, dresidual })
    }
}

/// `running ← (1 - momentum) running + momentum batch`, of `channels` numbers.
pub(crate) fn move_running<G: Gpu>(
    gpu: &G,
    running: ViewMut<'_, f32>,
    batch: View<'_, f32>,
    channels: usize,
    momentum: f64,
) -> Result<()> {
    let launch = NORM.launch(gpu, "norm_move").write(running).read(batch).count(channels).value(momentum);
    launch.run(Geometry::threads(channels, 256))
}

/// One more batch.
pub(crate) fn count<G: Gpu>(gpu: &G, batches: ViewMut<'_, i64>) -> Result<()> {
    NORM.launch(gpu, "norm_count").write(batches).run(Geometry::line(1, 1))
}

#[cfg(test)]
mod tests;
