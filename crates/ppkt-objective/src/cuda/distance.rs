//! Losses without negatives.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, Memory, View};

use super::nce::{Rows, loss_and_hits};
use super::{LANES, PairOutcome, ROW_THREADS};
use crate::distance::{Distance, Kind};
use crate::fused::Tracked;

static DISTANCE: Kernels = kernels!("distance");

/// `CHUNK` of `distance.cu`: rows of a partial sum.
const CHUNK: usize = 64;

/// The mean row, `[dim]`.
fn mean_row<G: Gpu>(gpu: &G, rows: View<'_, f32>, n: usize, dim: usize) -> Result<G::Memory<f64>> {
    let parts = n.div_ceil(CHUNK);
    let (mut part, mut mean) = (gpu.uninit::<f64>(parts * dim)?, gpu.uninit::<f64>(dim)?);
    let launch = DISTANCE.launch(gpu, "column_sums").read(rows).count(n).count(dim).write(&mut part);
    launch.run(Geometry::line(parts, ROW_THREADS))?;
    let launch = DISTANCE.launch(gpu, "column_means").read(&part).count(parts).count(n).count(dim);
    launch.write(&mut mean).run(Geometry::threads(dim, LANES))?;
    Ok(mean)
}

/// Distances of pairs, and who is whose nearest.
pub(crate) fn distance<G: Gpu>(
    gpu: &G,
    loss: &Distance,
    inputs: [View<'_, f32>; 2],
    tracked: Tracked,
) -> Result<PairOutcome<G>> {
    let size @ (n, dim) = (loss.n_rows, loss.dim);
    let centred = loss.kind == Kind::CentredCosine;
    let mut means = [None, None];
    if centred {
        for (mean, raw) in means.iter_mut().zip(inputs) {
            *mean = Some(mean_row(gpu, raw, n, dim)?);
        }
    }
    let [mut point_unit, mut pixel_unit] = [gpu.uninit::<f32>(n * dim)?, gpu.uninit::<f32>(n * dim)?];
    let mut row_loss = gpu.uninit::<f64>(n)?;
    let mut grads = [None, None];
    for (grad, tracked) in grads.iter_mut().zip(tracked) {
        *grad = tracked.then(|| gpu.uninit::<f32>(n * dim)).transpose()?;
    }
    let [by_point, by_pixel] = grads.each_mut().map(Option::as_mut);
    let launch = DISTANCE.launch(gpu, "pair_distance").read(inputs[0]).read(inputs[1]);
    let launch = launch.read(means[0].as_ref()).read(means[1].as_ref()).count(n).count(dim);
    let launch = launch.value(loss.kind == Kind::L2);
    let launch = launch.write(&mut point_unit).write(&mut pixel_unit).write(&mut row_loss);
    launch.write(by_point).write(by_pixel).run(Geometry::line(n, ROW_THREADS))?;
    if centred {
        for grad in grads.iter_mut().flatten() {
            let mean = mean_row(gpu, grad.view(), n, dim)?;
            let launch = DISTANCE.launch(gpu, "subtract_means").write(grad).count(n).count(dim).read(&mean);
            launch.run(Geometry::threads(n * dim, LANES))?;
        }
    }
    let rows = Rows::new(gpu, &point_unit, &pixel_unit, size, 1.0)?;
    let (value, hits) = loss_and_hits(gpu, &row_loss, None, &rows.hit, n)?;
    Ok(PairOutcome { loss: value, hits, grads })
}
