//! InfoNCE between groups of points and segments of pixels, on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, grid, kernel_source, word};

use super::PairOutcome;
use super::nce::{Told, Way, by_rows, value_and_hits};
use crate::fused::Tracked;
use crate::pooled::{COUNT_EPSILON, Fused, Members};

pub(crate) static POOLED: KernelSource = kernel_source!("pooled");

/// Columns that one work group adds.
const COLUMNS: usize = 32;

/// The rows of one side, by group.
struct Side<'a, G: Compute> {
    gpu: &'a G,
    raw: &'a G::Buffer,
    members: &'a Members,
    dim: usize,
    starts: G::Buffer,
    /// `[n_rows]`
    lengths: G::Buffer,
    /// `[groups, dim]`
    means: G::Buffer,
}

fn parameters(rows: usize, dim: usize) -> [u32; 3] {
    [word(rows), word(dim), (COUNT_EPSILON as f32).to_bits()]
}

impl<'a, G: Compute> Side<'a, G> {
    fn new(gpu: &'a G, members: &'a Members, raw: &'a G::Buffer, n_rows: usize, dim: usize) -> Result<Self> {
        let n_groups = members.n_groups();
        let starts: Vec<u32> = members.starts.iter().map(|&start| word(start)).collect();
        let (starts, rows) = (gpu.upload(&starts)?, gpu.upload(&members.rows)?);
        let (lengths, means) = (gpu.buffer(n_rows)?, gpu.buffer(n_groups * dim)?);
        gpu.run(&POOLED, "row_lengths", grid(n_rows), &[raw, &lengths], &parameters(n_rows, dim))?;
        let groups = grid(n_groups * dim.div_ceil(COLUMNS));
        let buffers = [raw, &lengths, &starts, &rows, &means];
        gpu.run(&POOLED, "means", groups, &buffers, &parameters(n_groups, dim))?;
        Ok(Self { gpu, raw, members, dim, starts, lengths, means })
    }

    /// From the gradient by the means to that by the raw rows.
    fn pull_back(&self, by_mean: &G::Buffer, n_rows: usize) -> Result<G::Buffer> {
        let &Self { gpu, raw, members, dim, .. } = self;
        let group_of = gpu.upload(&members.group_of_row(n_rows))?;
        let out = gpu.buffer(n_rows * dim)?;
        let buffers = [raw, &self.lengths, &self.starts, &group_of, by_mean, &out];
        gpu.run(&POOLED, "pull_back", grid(n_rows), &buffers, &parameters(n_rows, dim))?;
        Ok(out)
    }
}

/// The means of points as queries and those of pixels as keys; each side with its number of rows.
pub(crate) fn pooled_info_nce<G: Compute>(
    gpu: &G,
    loss: &Fused,
    [(point, n_points), (map, n_pixels)]: [(&G::Buffer, usize); 2],
    [point_tracked, map_tracked]: Tracked,
) -> Result<PairOutcome<G::Buffer>> {
    let points = Side::new(gpu, &loss.groups.points, point, n_points, loss.dim)?;
    let pixels = Side::new(gpu, &loss.groups.pixels, map, n_pixels, loss.dim)?;
    let told = Told::new(loss.groups.points.n_groups(), loss.dim, loss.temperature);
    let way = Way::new(gpu, &points.means, &pixels.means, &told)?;
    let (value, hits) = value_and_hits(gpu, &told, &way, None)?;
    let ways = [(&way, false)];
    let by_query = || by_rows(gpu, &told, &points.means, &pixels.means, &ways);
    let ways_back = [(&way, true)];
    let by_key = || by_rows(gpu, &told, &pixels.means, &points.means, &ways_back);
    let by_point = point_tracked.then(|| points.pull_back(&by_query()?, n_points)).transpose()?;
    let by_map = map_tracked.then(|| pixels.pull_back(&by_key()?, n_pixels)).transpose()?;
    Ok(PairOutcome { loss: value, hits, grads: [by_point, by_map] })
}
