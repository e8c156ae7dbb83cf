//! Losses without negatives, on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums, grid, kernel_source, word};

use super::PairOutcome;
use super::nce::{Told, Unit, Way, unit};
use crate::distance::{Distance, Kind};
use crate::fused::Tracked;

pub(crate) static DISTANCE: KernelSource = kernel_source!("distance");

/// Threads of a group where each has a number of its own.
const LANES: usize = 256;

/// Distances of pairs, and who is whose nearest.
pub(crate) fn distance<G: Compute>(
    gpu: &G,
    loss: &Distance,
    inputs: [&G::Buffer; 2],
    tracked: Tracked,
) -> Result<PairOutcome<G::Buffer>> {
    let &Distance { n_rows: rows, dim, kind, .. } = loss;
    let centred = kind == Kind::CentredCosine;
    let weight = (1.0 / rows as f64) as f32;
    let euclidean = u32::from(kind == Kind::L2);
    let parameters = [word(rows), word(dim), euclidean, weight.to_bits()];
    let run = |entry, groups, buffers: &[&G::Buffer]| gpu.run(&DISTANCE, entry, groups, buffers, &parameters);
    let of_numbers = grid((rows * dim).div_ceil(LANES));
    let centre = |x: &G::Buffer| -> Result<G::Buffer> {
        let out = gpu.buffer(rows * dim)?;
        run("centre", of_numbers, &[x, &column_sums(gpu, x, rows, dim)?, &out])?;
        Ok(out)
    };

    let told = Told::new(rows, dim, 1.0);
    let side = |raw: &G::Buffer| -> Result<Unit<G::Buffer>> {
        if !centred {
            return unit(gpu, raw, &told);
        }
        // Twice: the mean of large numbers is rounded by more than small differences from it may bear.
        unit(gpu, &centre(&centre(raw)?)?, &told)
    };
    let [p, q] = [side(inputs[0])?, side(inputs[1])?];
    let measured = gpu.buffer(rows * 3)?;
    let buffers = [&p.values, &q.values, &p.lengths, &q.lengths, &measured];
    run("measure", grid(rows), &buffers)?;

    let sums = column_sums(gpu, &measured, rows, 3)?;
    let nearest = Way::new(gpu, &p.values, &q.values, &told)?;
    let (value, hits) = (gpu.buffer(1)?, gpu.buffer(1)?);
    run("finish", [1, 1, 1], &[&sums, &nearest.sums, &value, &hits])?;

    let gradient = |mine: &Unit<G::Buffer>, other: &Unit<G::Buffer>| -> Result<G::Buffer> {
        let by_raw = gpu.buffer(rows * dim)?;
        run("gradient", of_numbers, &[&mine.values, &other.values, &mine.lengths, &measured, &by_raw])?;
        if centred { centre(&by_raw) } else { Ok(by_raw) }
    };
    let by_point = tracked[0].then(|| gradient(&p, &q)).transpose()?;
    let by_pixel = tracked[1].then(|| gradient(&q, &p)).transpose()?;
    Ok(PairOutcome { loss: value, hits, grads: [by_point, by_pixel] })
}
