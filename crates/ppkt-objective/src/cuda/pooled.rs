//! InfoNCE between groups of points and segments of pixels.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View};

use super::nce::{Rows, finish, loss_and_hits};
use super::{PairOutcome, ROW_THREADS};
use crate::fused::Tracked;
use crate::pooled::{COUNT_EPSILON, Fused, Members};

static POOLED: Kernels = kernels!("pooled");

/// The rows of one side, by group.
struct Side<'a, G: Gpu> {
    raw: View<'a, f32>,
    members: &'a Members,
    dim: usize,
    n_rows: usize,
    starts: G::Memory<u32>,
    /// `[n_rows]`, in f64.
    lengths: G::Memory<f64>,
    /// `[groups, dim]`.
    means: G::Memory<f32>,
}

impl<'a, G: Gpu> Side<'a, G> {
    fn new(gpu: &G, members: &'a Members, raw: View<'a, f32>, dim: usize) -> Result<Self> {
        let (n_rows, n_groups) = (raw.len() / dim, members.n_groups());
        let starts: Vec<u32> = members.starts.iter().map(|&s| s as u32).collect();
        let (starts, rows) = (gpu.upload(&starts)?, gpu.upload(&members.rows)?);
        let (mut lengths, mut means) = (gpu.uninit::<f64>(n_rows)?, gpu.uninit::<f32>(n_groups * dim)?);
        let launch = POOLED.launch(gpu, "row_lengths").read(raw).count(dim).write(&mut lengths);
        launch.run(Geometry::line(n_rows, ROW_THREADS))?;
        let launch = POOLED.launch(gpu, "group_means").read(raw).count(dim).read(&starts).read(&rows);
        let launch = launch.value(COUNT_EPSILON).read(&lengths).write(&mut means);
        launch.run(Geometry::line(n_groups, ROW_THREADS))?;
        Ok(Self { raw, members, dim, n_rows, starts, lengths, means })
    }

    /// From the parts of the gradient by the means to that by the raw rows.
    fn pull_back(&self, gpu: &G, part: &G::Memory<f32>) -> Result<G::Memory<f32>> {
        let by_mean = finish(gpu, part, None, None, (self.members.n_groups(), self.dim))?;
        let group = gpu.upload(&self.members.group_of_row(self.n_rows))?;
        let mut gradient = gpu.uninit::<f32>(self.n_rows * self.dim)?;
        let launch = POOLED.launch(gpu, "group_pull_back").read(self.raw).count(self.dim).read(&group);
        let launch = launch.read(&self.starts).value(COUNT_EPSILON).read(&self.lengths);
        launch.read(&by_mean).write(&mut gradient).run(Geometry::line(self.n_rows, ROW_THREADS))?;
        Ok(gradient)
    }
}

/// The means of points as queries and those of pixels as keys.
pub(crate) fn pooled_info_nce<G: Gpu>(
    gpu: &G,
    loss: &Fused,
    [point, map]: [View<'_, f32>; 2],
    [point_tracked, map_tracked]: Tracked,
) -> Result<PairOutcome<G>> {
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
