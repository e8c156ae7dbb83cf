//! Losses without negatives.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, blocks, int, kernels};

use super::nce::{Rows, loss_and_hits};
use super::{LANES, PairOutcome, ROW_THREADS, read_if};
use crate::distance::{Distance, Kind};
use crate::fused::Tracked;

static DISTANCE: Kernels = kernels!("distance");

/// `CHUNK` of `distance.cu`: rows of a partial sum.
const CHUNK: usize = 64;

/// The mean row, `[dim]`.
fn mean_row<C: Compute>(gpu: &C, rows: Arg, n: usize, dim: usize) -> Result<C::Memory<f64>> {
    let parts = n.div_ceil(CHUNK);
    let (mut part, mut mean) = (gpu.uninit::<f64>(parts * dim)?, gpu.uninit::<f64>(dim)?);
    let args = [rows, Arg::int(n)?, Arg::int(dim)?, part.write()];
    gpu.launch(&DISTANCE, "column_sums", (int(parts)? as u32, 1, 1), ROW_THREADS, &args)?;
    let args = [part.read(), Arg::int(parts)?, Arg::int(n)?, Arg::int(dim)?, mean.write()];
    gpu.launch(&DISTANCE, "column_means", (blocks(dim, LANES)?, 1, 1), LANES, &args)?;
    Ok(mean)
}

/// Distances of pairs, and who is whose nearest.
pub(crate) fn distance<C: Compute>(
    gpu: &C,
    loss: &Distance,
    inputs: [View<'_>; 2],
    tracked: Tracked,
) -> Result<PairOutcome<C>> {
    let size @ (n, dim) = (loss.n_rows, loss.dim);
    let centred = loss.kind == Kind::CentredCosine;
    let mut means = [None, None];
    if centred {
        for (mean, raw) in means.iter_mut().zip(&inputs) {
            *mean = Some(mean_row(gpu, raw.read(), n, dim)?);
        }
    }
    let [mut point_unit, mut pixel_unit] = [gpu.uninit::<f32>(n * dim)?, gpu.uninit::<f32>(n * dim)?];
    let mut row_loss = gpu.uninit::<f64>(n)?;
    let mut grads = [None, None];
    for (grad, tracked) in grads.iter_mut().zip(tracked) {
        *grad = tracked.then(|| gpu.uninit::<f32>(n * dim)).transpose()?;
    }
    let [by_point, by_pixel] = grads.each_mut().map(|g| g.as_mut().map_or(Arg::NONE, Memory::write));
    let args = [
        inputs[0].read(),
        inputs[1].read(),
        read_if(means[0].as_ref()),
        read_if(means[1].as_ref()),
        Arg::int(n)?,
        Arg::int(dim)?,
        Arg::I32(i32::from(loss.kind == Kind::L2)),
        point_unit.write(),
        pixel_unit.write(),
        row_loss.write(),
        by_point,
        by_pixel,
    ];
    gpu.launch(&DISTANCE, "pair_distance", (int(n)? as u32, 1, 1), ROW_THREADS, &args)?;
    if centred {
        for grad in grads.iter_mut().flatten() {
            let mean = mean_row(gpu, grad.read(), n, dim)?;
            let args = [grad.write(), Arg::int(n)?, Arg::int(dim)?, mean.read()];
            gpu.launch(&DISTANCE, "subtract_means", (blocks(n * dim, LANES)?, 1, 1), LANES, &args)?;
        }
    }
    let rows = Rows::new(gpu, &point_unit, &pixel_unit, size, 1.0)?;
    let (value, hits) = loss_and_hits(gpu, &row_loss, None, &rows.hit, n)?;
    Ok(PairOutcome { loss: value, hits, grads })
}
