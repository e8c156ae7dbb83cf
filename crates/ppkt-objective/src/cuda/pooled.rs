//! InfoNCE between groups of points and segments of pixels.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, int, kernels};

use super::nce::{Rows, finish, loss_and_hits};
use super::{PairOutcome, ROW_THREADS};
use crate::fused::Tracked;
use crate::pooled::{COUNT_EPSILON, Fused, Members};

static POOLED: Kernels = kernels!("pooled");

/// The rows of one side, by group.
struct Side<'a, C: Compute> {
    raw: View<'a>,
    members: &'a Members,
    dim: usize,
    n_rows: usize,
    starts: C::Memory<u32>,
    /// `[n_rows]`, in f64.
    lengths: C::Memory<f64>,
    /// `[groups, dim]`.
    means: C::Memory<f32>,
}

impl<'a, C: Compute> Side<'a, C> {
    fn new(gpu: &C, members: &'a Members, raw: View<'a>, dim: usize) -> Result<Self> {
        let (n_rows, n_groups) = (raw.len() / dim, members.n_groups());
        let starts: Vec<u32> = members.starts.iter().map(|&s| s as u32).collect();
        let (starts, rows) = (gpu.upload(&starts)?, gpu.upload(&members.rows)?);
        let (mut lengths, mut means) = (gpu.uninit::<f64>(n_rows)?, gpu.uninit::<f32>(n_groups * dim)?);
        let args = [raw.read(), Arg::int(dim)?, lengths.write()];
        gpu.launch(&POOLED, "row_lengths", (int(n_rows)? as u32, 1, 1), ROW_THREADS, &args)?;
        let args = [
            raw.read(),
            Arg::int(dim)?,
            starts.read(),
            rows.read(),
            Arg::F64(COUNT_EPSILON),
            lengths.read(),
            means.write(),
        ];
        gpu.launch(&POOLED, "group_means", (int(n_groups)? as u32, 1, 1), ROW_THREADS, &args)?;
        Ok(Self { raw, members, dim, n_rows, starts, lengths, means })
    }

    /// From the parts of the gradient by the means to that by the raw rows.
    fn pull_back(&self, gpu: &C, part: &C::Memory<f32>) -> Result<C::Memory<f32>> {
        let by_mean = finish(gpu, part, None, None, (self.members.n_groups(), self.dim))?;
        let group = gpu.upload(&self.members.group_of_row(self.n_rows))?;
        let mut gradient = gpu.uninit::<f32>(self.n_rows * self.dim)?;
        let args = [
            self.raw.read(),
            Arg::int(self.dim)?,
            group.read(),
            self.starts.read(),
            Arg::F64(COUNT_EPSILON),
            self.lengths.read(),
            by_mean.read(),
            gradient.write(),
        ];
        gpu.launch(&POOLED, "group_pull_back", (int(self.n_rows)? as u32, 1, 1), ROW_THREADS, &args)?;
        Ok(gradient)
    }
}

/// The means of points as queries and those of pixels as keys.
pub(crate) fn pooled_info_nce<C: Compute>(
    gpu: &C,
    loss: &Fused,
    [point, map]: [View<'_>; 2],
    [point_tracked, map_tracked]: Tracked,
) -> Result<PairOutcome<C>> {
    let points = Side::new(gpu, &loss.groups.points, point, loss.dim)?;
    let pixels = Side::new(gpu, &loss.groups.pixels, map, loss.dim)?;
    let n = loss.groups.points.n_groups();
    let rows = Rows::new(gpu, &points.means, &pixels.means, (n, loss.dim), loss.temperature)?;
    let (value, hits) = loss_and_hits(gpu, &rows.loss, None, &rows.hit, n)?;
    let mut grads = [None, None];
    if point_tracked {
        grads[0] = Some(points.pull_back(gpu, &rows.by_query(gpu, &points.means, &pixels.means)?)?);
    }
    if map_tracked {
        grads[1] = Some(pixels.pull_back(gpu, &rows.by_key(gpu, &points.means, &pixels.means)?)?);
    }
    Ok(PairOutcome { loss: value, hits, grads })
}
