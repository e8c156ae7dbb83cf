//! Batch normalisation on a GPU.

use candle_core::Result;

use super::gpu::{Feature, Geometry, Gpu, Launch, Source, kernel};
use super::rows::{Rows, parts_of};
use crate::norm_tensor::Through;

/// Moments of every channel over all rows, at least two: `[3, C]`, mean, 1 / standard deviation and unbiased variance.
pub(crate) fn batch_moments<G: Gpu, T: Feature>(
    gpu: &G,
    x: G::View<'_, T>,
    rows: Rows,
    eps: f64,
) -> Result<G::Slice<f32>> {
    let mut parts = gpu.uninit::<f64>(2 * rows.parts() * rows.channels)?;
    let sums = Launch::on(gpu).view(x).value(rows.n as i32).value(rows.channels as i32).write(&mut parts);
    sums.run(Source::Norm, &kernel::<T>("norm_sums"), parts_of(rows))?;
    let mut moments = gpu.uninit::<f32>(3 * rows.channels)?;
    let launch = Launch::on(gpu).read(&parts).value(rows.parts() as i32).value(rows.n as i32);
    let launch = launch.value(rows.channels as i32).value(eps).write(&mut moments);
    launch.run(Source::Norm, "norm_moments", rows.totals())?;
    Ok(moments)
}

/// The same from running statistics, `[C]` each.
pub(crate) fn running_moments<G: Gpu>(
    gpu: &G,
    mean: G::View<'_, f32>,
    var: G::View<'_, f32>,
    channels: usize,
    eps: f64,
) -> Result<G::Slice<f32>> {
    let mut moments = gpu.uninit::<f32>(3 * channels)?;
    let launch = Launch::on(gpu).view(mean).view(var).value(channels as i32).value(eps).write(&mut moments);
    launch.run(Source::Norm, "norm_running", Geometry::threads(channels, 256))?;
    Ok(moments)
}

/// `(x - mean) * inv_std * gamma + beta`, then `+ residual`, then ReLU, as asked; `affine` is gamma and beta.
pub(crate) fn normalise<G: Gpu, T: Feature>(
    gpu: &G,
    x: G::View<'_, T>,
    moments: G::View<'_, f32>,
    affine: G::View<'_, f32>,
    residual: Option<G::View<'_, T>>,
    relu: bool,
    rows: Rows,
) -> Result<G::Slice<T>> {
    let (geometry, total) = rows.fours()?;
    let mut y = gpu.uninit::<T>(rows.elements())?;
    let launch = Launch::on(gpu).view(x).view(moments).view(affine).view_or_null(residual);
    let launch = launch.value(i32::from(relu)).value(total).value(rows.channels as i32).write(&mut y);
    launch.run(Source::Norm, &kernel::<T>("norm_apply"), geometry)?;
    Ok(y)
}

/// What a backward pass reads.
pub(crate) struct Backward<'a, G: Gpu + 'a, T: Feature> {
    pub(crate) x: G::View<'a, T>,
    /// Where a ReLU let values through.
    pub(crate) through: Through<G::View<'a, T>>,
    pub(crate) grad: G::View<'a, T>,
    pub(crate) moments: G::View<'a, f32>,
    pub(crate) affine: G::View<'a, f32>,
    /// Whether the moments are functions of `x` (training) or constants (evaluation).
    pub(crate) batch_statistics: bool,
    pub(crate) want_dx: bool,
    /// Of a residual behind which there was a ReLU; without one, the gradient itself is the residual's.
    pub(crate) want_dresidual: bool,
}

/// Gradients of one normalisation.
pub(crate) struct Gradients<G: Gpu, T: Feature> {
    pub(crate) dx: Option<G::Slice<T>>,
    /// `[2, C]`: by gamma and beta.
    pub(crate) daffine: G::Slice<f32>,
    pub(crate) dresidual: Option<G::Slice<T>>,
}

impl<'a, G: Gpu + 'a, T: Feature> Backward<'a, G, T> {
    pub(crate) fn run(&self, gpu: &G, rows: Rows) -> Result<Gradients<G, T>> {
        let (n, c) = (rows.n as i32, rows.channels as i32);
        // The kernels look at the result where there is one, or at the norm where they are given γ and β.
        let (relu_of, relu_affine) = match self.through {
            Through::All => (None, None),
            Through::Positive(y) => (Some(y), None),
            Through::OfNorm => (None, Some(self.affine)),
        };
        let mut parts = gpu.uninit::<f64>(2 * rows.parts() * rows.channels)?;
        let sums = Launch::on(gpu).view(self.x).view_or_null(relu_of).view(self.grad);
        let sums = sums.view(self.moments).view_or_null(relu_affine).value(n).value(c).write(&mut parts);
        sums.run(Source::Norm, &kernel::<T>("norm_grad_sums"), parts_of(rows))?;
        let mut coefficients = gpu.uninit::<f32>(3 * rows.channels)?;
        let mut daffine = gpu.uninit::<f32>(2 * rows.channels)?;
        let launch = Launch::on(gpu).read(&parts).value(rows.parts() as i32).value(n).value(c);
        let launch = launch.view(self.moments).view(self.affine).value(i32::from(self.batch_statistics));
        let launch = launch.write(&mut coefficients).write(&mut daffine);
        launch.run(Source::Norm, "norm_coefficients", rows.totals())?;

        let wanted = |wanted: bool| wanted.then(|| gpu.uninit::<T>(rows.elements())).transpose();
        let (mut dx, mut dresidual) = (wanted(self.want_dx)?, wanted(self.want_dresidual)?);
        if dx.is_some() || dresidual.is_some() {
            let (geometry, total) = rows.fours()?;
            let launch = Launch::on(gpu).view(self.x).view_or_null(relu_of).view(self.grad);
            let launch = launch.view(self.moments).view_or_null(relu_affine).read(&coefficients);
            let launch = launch.value(total).value(c);
            let launch = launch.write_or_null(dx.as_mut()).write_or_null(dresidual.as_mut());
            launch.run(Source::Norm, &kernel::<T>("norm_grad_apply"), geometry)?;
        }
        Ok(Gradients { dx, daffine, dresidual })
    }
}

/// `running ← (1 - momentum) running + momentum batch`, of `channels` numbers.
pub(crate) fn move_running<'a, G: Gpu>(
    gpu: &'a G,
    running: G::Arg<'a>,
    batch: G::View<'a, f32>,
    channels: usize,
    momentum: f64,
) -> Result<()> {
    let launch = Launch::on(gpu).arg(running).view(batch).value(channels as i32).value(momentum);
    launch.run(Source::Norm, "norm_move", Geometry::threads(channels, 256))
}

/// One more batch.
pub(crate) fn count<'a, G: Gpu>(gpu: &'a G, batches: G::Arg<'a>) -> Result<()> {
    Launch::on(gpu).arg(batches).run(Source::Norm, "norm_count", Geometry::line(1, 1))
}

#[cfg(test)]
mod tests;
