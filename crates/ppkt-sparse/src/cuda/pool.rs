//! Pooling on a GPU.

use std::ops::Range;

use candle_core::Result;

use super::gpu::{Feature, Geometry, Gpu, Launch, Source, kernel};
use super::map::Table;
use super::rows::Rows;

/// Rows of one part of an item, as in `pool.cu`.
const PART: usize = 1024;

/// For each target row one over the number of its pairs, or 1 where it has none: what makes a mean of a sum.
pub(crate) fn scales<G: Gpu>(gpu: &G, table: &Table<G>) -> Result<G::Slice<f32>> {
    let positions = table.positions();
    let mut scales = gpu.uninit::<f32>(table.n_target)?;
    let launch = Launch::on(gpu).read(&table.neighbours).read(&table.order).value(positions as i32);
    let launch = launch.value(table.volume as i32).write(&mut scales);
    launch.run(Source::Pool, "pool_scales", Geometry::threads(positions, 256))?;
    Ok(scales)
}

/// Names the table, as all kernels take it.
fn with_table<'a, G: Gpu>(launch: Launch<'a, G>, table: &'a Table<G>, channels: usize) -> Launch<'a, G> {
    let launch = launch.read(&table.neighbours).read(&table.order).value(table.positions() as i32);
    launch.value(table.volume as i32).value(channels as i32)
}

fn geometry<G: Gpu>(table: &Table<G>, channels: usize) -> Geometry {
    let grid = [table.positions().div_ceil(8) as u32, channels.div_ceil(32) as u32, 1];
    Geometry { grid, block: [32, 8, 1], shared_bytes: 0 }
}

/// Sums over the source rows of each target row; means where [`scales`] are given.
pub(crate) fn sum<G: Gpu, T: Feature>(
    gpu: &G,
    x: G::View<'_, T>,
    table: &Table<G>,
    channels: usize,
    scales: Option<&G::Slice<f32>>,
) -> Result<G::Slice<T>> {
    let mut y = gpu.uninit::<T>(table.n_target * channels)?;
    let launch = with_table(Launch::on(gpu).view(x), table, channels);
    let launch = launch.view_or_null(scales.map(|s| G::view(s))).write(&mut y);
    launch.run(Source::Pool, &kernel::<T>("pool_sum"), geometry(table, channels))?;
    Ok(y)
}

/// The largest of the source rows' values for each target row, and the row that it comes from.
pub(crate) fn max<G: Gpu, T: Feature>(
    gpu: &G,
    x: G::View<'_, T>,
    table: &Table<G>,
    channels: usize,
) -> Result<(G::Slice<T>, G::Slice<u32>)> {
    let mut y = gpu.uninit::<T>(table.n_target * channels)?;
    let mut largest = gpu.uninit::<u32>(table.n_target * channels)?;
    let launch = with_table(Launch::on(gpu).view(x), table, channels).write(&mut y).write(&mut largest);
    launch.run(Source::Pool, &kernel::<T>("pool_max"), geometry(table, channels))?;
    Ok((y, largest))
}

/// The gradient of the pooled side, over the table that has it as its target; `scales` and `largest` are forward's.
pub(crate) fn gradient<G: Gpu, T: Feature>(
    gpu: &G,
    grad: G::View<'_, T>,
    table: &Table<G>,
    channels: usize,
    scales: Option<&G::Slice<f32>>,
    largest: Option<G::View<'_, u32>>,
) -> Result<G::Slice<T>> {
    let mut dx = gpu.uninit::<T>(table.n_target * channels)?;
    let launch = with_table(Launch::on(gpu).view(grad), table, channels);
    let launch = launch.view_or_null(scales.map(|s| G::view(s))).view_or_null(largest).write(&mut dx);
    launch.run(Source::Pool, &kernel::<T>("pool_grad"), geometry(table, channels))?;
    Ok(dx)
}

/// Batch items on a device: their first rows, and behind the last its end.
pub(crate) struct Items<G: Gpu> {
    firsts: G::Slice<i32>,
    n_items: usize,
    /// Parts of the longest item.
    n_parts: usize,
}

impl<G: Gpu> Items<G> {
    /// Of items that stand one behind the other.
    pub(crate) fn new(gpu: &G, items: &[Range<usize>]) -> Result<Self> {
        let mut firsts: Vec<i32> = items.iter().map(|rows| rows.start as i32).collect();
        firsts.push(items.last().map_or(0, |rows| rows.end as i32));
        let n_parts = items.iter().map(|rows| rows.len().div_ceil(PART)).max().unwrap_or(0);
        Ok(Self { firsts: gpu.upload(&firsts)?, n_items: items.len(), n_parts })
    }

    fn parts(&self, channels: usize) -> Geometry {
        let grid = [self.n_parts as u32, self.n_items as u32, channels.div_ceil(32) as u32];
        Geometry { grid, block: [32, 1, 1], shared_bytes: 0 }
    }

    fn totals(&self, channels: usize) -> Geometry {
        Geometry::threads(self.n_items * channels, 256)
    }

    /// The sum or mean over the rows of each item; zero for one without rows.
    pub(crate) fn sum<T: Feature>(
        &self,
        gpu: &G,
        x: G::View<'_, T>,
        channels: usize,
        mean: bool,
    ) -> Result<G::Slice<T>> {
        let mut parts = gpu.uninit::<f32>(self.n_items * self.n_parts * channels)?;
        let launch = Launch::on(gpu).view(x).read(&self.firsts).value(channels as i32).write(&mut parts);
        launch.run(Source::Pool, &kernel::<T>("global_sum"), self.parts(channels))?;
        let mut y = gpu.uninit::<T>(self.n_items * channels)?;
        let launch = Launch::on(gpu).read(&parts).read(&self.firsts).value(self.n_parts as i32);
        let launch = launch.value(self.n_items as i32).value(channels as i32).value(i32::from(mean));
        let launch = launch.write(&mut y);
        launch.run(Source::Pool, &kernel::<T>("global_total"), self.totals(channels))?;
        Ok(y)
    }

    /// The largest values of each item and their rows; zero and [`u32::MAX`] for one without rows.
    pub(crate) fn max<T: Feature>(
        &self,
        gpu: &G,
        x: G::View<'_, T>,
        channels: usize,
    ) -> Result<(G::Slice<T>, G::Slice<u32>)> {
        let n = self.n_items * self.n_parts * channels;
        let (mut parts, mut rows) = (gpu.uninit::<f32>(n)?, gpu.uninit::<u32>(n)?);
        let launch = Launch::on(gpu).view(x).read(&self.firsts).value(channels as i32);
        let launch = launch.write(&mut parts).write(&mut rows);
        launch.run(Source::Pool, &kernel::<T>("global_max"), self.parts(channels))?;
        let n = self.n_items * channels;
        let (mut y, mut largest) = (gpu.uninit::<T>(n)?, gpu.uninit::<u32>(n)?);
        let launch = Launch::on(gpu).read(&parts).read(&rows).value(self.n_parts as i32);
        let launch = launch.value(self.n_items as i32).value(channels as i32);
        let launch = launch.write(&mut y).write(&mut largest);
        launch.run(Source::Pool, &kernel::<T>("global_largest"), self.totals(channels))?;
        Ok((y, largest))
    }

    /// The gradient of all rows; of a maximum where `largest` is given.
    pub(crate) fn gradient<T: Feature>(
        &self,
        gpu: &G,
        grad: G::View<'_, T>,
        rows: Rows,
        mean: bool,
        largest: Option<G::View<'_, u32>>,
    ) -> Result<G::Slice<T>> {
        let mut dx = gpu.uninit::<T>(rows.elements())?;
        let launch = Launch::on(gpu).view(grad).read(&self.firsts).value(self.n_items as i32);
        let launch = launch.value(rows.n as i32).value(rows.channels as i32).value(i32::from(mean));
        let launch = launch.view_or_null(largest).write(&mut dx);
        let grid = [rows.n.div_ceil(8) as u32, rows.channels.div_ceil(32) as u32, 1];
        let geometry = Geometry { grid, block: [32, 8, 1], shared_bytes: 0 };
        launch.run(Source::Pool, &kernel::<T>("global_grad"), geometry)?;
        Ok(dx)
    }
}

#[cfg(test)]
mod tests;
