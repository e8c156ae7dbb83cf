//! Pooling on a GPU.

use std::ops::Range;

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, Launch, View};

use super::feature::{Feature, kernel};
use super::map::Table;
use super::rows::Rows;

static POOL: Kernels = kernels!("pool");

/// Rows of one part of an item, as in `pool.cu`.
const PART: usize = 1024;

/// For each target row one over the number of its pairs, or 1 where it has none: what makes a mean of a sum.
pub(crate) fn scales<G: Gpu>(gpu: &G, table: &Table<G>) -> Result<G::Memory<f32>> {
    let positions = table.positions();
    let mut scales = gpu.uninit::<f32>(table.n_target)?;
    let launch = POOL.launch(gpu, "pool_scales").read(&table.neighbours).read(&table.order).count(positions);
    let launch = launch.count(table.volume).write(&mut scales);
    launch.run(Geometry::threads(positions, 256))?;
    Ok(scales)
}

/// Names the table, as all kernels take it.
fn with_table<'a, G: Gpu>(launch: Launch<'a, G>, table: &'a Table<G>, channels: usize) -> Launch<'a, G> {
    let launch = launch.read(&table.neighbours).read(&table.order).count(table.positions());
    launch.count(table.volume).count(channels)
}

fn geometry<G: Gpu>(table: &Table<G>, channels: usize) -> Geometry {
    let grid = [table.positions().div_ceil(8), channels.div_ceil(32), 1];
    Geometry::new(grid, [32, 8, 1])
}

/// Sums over the source rows of each target row; means where [`scales`] are given.
pub(crate) fn sum<G: Gpu, T: Feature>(
    gpu: &G,
    x: View<'_, T>,
    table: &Table<G>,
    channels: usize,
    scales: Option<&G::Memory<f32>>,
) -> Result<G::Memory<T>> {
    let mut y = gpu.uninit::<T>(table.n_target * channels)?;
    let launch = with_table(POOL.launch(gpu, kernel::<T>("pool_sum")).read(x), table, channels);
    let launch = launch.read(scales).write(&mut y);
    launch.run(geometry(table, channels))?;
    Ok(y)
}

/// The largest of the source rows' values for each target row, and the row that it comes from.
pub(crate) fn max<G: Gpu, T: Feature>(
    gpu: &G,
    x: View<'_, T>,
    table: &Table<G>,
    channels: usize,
) -> Result<(G::Memory<T>, G::Memory<u32>)> {
    let mut y = gpu.uninit::<T>(table.n_target * channels)?;
    let mut largest = gpu.uninit::<u32>(table.n_target * channels)?;
    let launch = with_table(POOL.launch(gpu, kernel::<T>("pool_max")).read(x), table, channels);
    launch.write(&mut y).write(&mut largest).run(geometry(table, channels))?;
    Ok((y, largest))
}

/// The gradient of the pooled side, over the table that has it as its target; `scales` and `largest` are forward's.
pub(crate) fn gradient<G: Gpu, T: Feature>(
    gpu: &G,
    grad: View<'_, T>,
    table: &Table<G>,
    channels: usize,
    scales: Option<&G::Memory<f32>>,
    largest: Option<View<'_, u32>>,
) -> Result<G::Memory<T>> {
    let mut dx = gpu.uninit::<T>(table.n_target * channels)?;
    let launch = with_table(POOL.launch(gpu, kernel::<T>("pool_grad")).read(grad), table, channels);
    let launch = launch.read(scales).read(largest).write(&mut dx);
    launch.run(geometry(table, channels))?;
    Ok(dx)
}

/// Batch items on a device: their first rows, and behind the last its end.
pub(crate) struct Items<G: Gpu> {
    firsts: G::Memory<i32>,
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
        let grid = [self.n_parts, self.n_items, channels.div_ceil(32)];
        Geometry::new(grid, [32, 1, 1])
    }

    fn totals(&self, channels: usize) -> Geometry {
        Geometry::threads(self.n_items * channels, 256)
    }

    /// The sum or mean over the rows of each item; zero for one without rows.
    pub(crate) fn sum<T: Feature>(
        &self,
        gpu: &G,
        x: View<'_, T>,
        channels: usize,
        mean: bool,
    ) -> Result<G::Memory<T>> {
        let mut parts = gpu.uninit::<f32>(self.n_items * self.n_parts * channels)?;
        let launch = POOL.launch(gpu, kernel::<T>("global_sum")).read(x).read(&self.firsts).count(channels);
        launch.write(&mut parts).run(self.parts(channels))?;
        let mut y = gpu.uninit::<T>(self.n_items * channels)?;
        let launch = POOL.launch(gpu, kernel::<T>("global_total")).read(&parts).read(&self.firsts);
        let launch = launch.count(self.n_parts).count(self.n_items).count(channels).value(mean);
        let launch = launch.write(&mut y);
        launch.run(self.totals(channels))?;
        Ok(y)
    }

    /// The largest values of each item and their rows; zero and [`u32::MAX`] for one without rows.
    pub(crate) fn max<T: Feature>(
        &self,
        gpu: &G,
        x: View<'_, T>,
        channels: usize,
    ) -> Result<(G::Memory<T>, G::Memory<u32>)> {
        let n = self.n_items * self.n_parts * channels;
        let (mut parts, mut rows) = (gpu.uninit::<f32>(n)?, gpu.uninit::<u32>(n)?);
        let launch = POOL.launch(gpu, kernel::<T>("global_max")).read(x).read(&self.firsts).count(channels);
        let launch = launch.write(&mut parts).write(&mut rows);
        launch.run(self.parts(channels))?;
        let n = self.n_items * channels;
        let (mut y, mut largest) = (gpu.uninit::<T>(n)?, gpu.uninit::<u32>(n)?);
        let launch = POOL.launch(gpu, kernel::<T>("global_largest")).read(&parts).read(&rows);
        let launch = launch.count(self.n_parts).count(self.n_items).count(channels);
        let launch = launch.write(&mut y).write(&mut largest);
        launch.run(self.totals(channels))?;
        Ok((y, largest))
    }

    /// The gradient of all rows; of a maximum where `largest` is given.
    pub(crate) fn gradient<T: Feature>(
        &self,
        gpu: &G,
        grad: View<'_, T>,
        rows: Rows,
        mean: bool,
        largest: Option<View<'_, u32>>,
    ) -> Result<G::Memory<T>> {
        let mut dx = gpu.uninit::<T>(rows.elements())?;
        let launch = POOL.launch(gpu, kernel::<T>("global_grad")).read(grad).read(&self.firsts);
        let launch = launch.count(self.n_items).count(rows.n).count(rows.channels).value(mean);
        let launch = launch.read(largest).write(&mut dx);
        let grid = [rows.n.div_ceil(8), rows.channels.div_ceil(32), 1];
        launch.run(Geometry::new(grid, [32, 8, 1]))?;
        Ok(dx)
    }
}

#[cfg(test)]
mod tests;
