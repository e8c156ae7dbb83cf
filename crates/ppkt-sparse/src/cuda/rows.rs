//! Operations on rows alone, on a GPU.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View};

use super::feature::{Feature, kernel};

static ROWS: Kernels = kernels!("rows");

/// Rows of channels, `[N, C]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) n: usize,
    pub(crate) channels: usize,
}

/// Rows of one part of a sum, as in `rows.cuh`.
const PART: usize = 512;

impl Rows {
    pub(crate) fn elements(self) -> usize {
        self.n * self.channels
    }

    /// Parts of a sum over rows.
    pub(crate) fn parts(self) -> usize {
        self.n.div_ceil(PART)
    }

    /// Of a kernel that adds parts up.
    pub(crate) fn totals(self) -> Geometry {
        Geometry::new([self.channels.div_ceil(32), 1, 1], [32, 32, 1])
    }

    /// Of a kernel that takes four elements a thread, and their number.
    pub(crate) fn fours(self) -> Result<(Geometry, u32)> {
        let total = count(self.elements())?;
        Ok((Geometry::threads(self.elements().div_ceil(4), 256), total))
    }

    /// Of a kernel with a warp for each row.
    fn warps(self) -> Geometry {
        Geometry::line(self.n.div_ceil(4), 128)
    }
}

/// Of a kernel that sums up parts.
pub(crate) fn parts_of(rows: Rows) -> Geometry {
    let grid = [rows.channels.div_ceil(32), rows.parts(), 1];
    Geometry::new(grid, [32, 8, 1])
}

/// A number of elements, as kernels count them.
fn count(elements: usize) -> Result<u32> {
    match u32::try_from(elements) {
        Ok(elements) if elements <= u32::MAX - 1024 => Ok(elements),
        _ => candle_core::bail!("{elements} features are more than a GPU's kernels take: smaller batches"),
    }
}

/// `max(x, 0)`.
pub(crate) fn relu<G: Gpu, T: Feature>(gpu: &G, x: View<'_, T>, elements: usize) -> Result<G::Memory<T>> {
    let (geometry, total) = Rows { n: elements, channels: 1 }.fours()?;
    let mut y = gpu.uninit::<T>(elements)?;
    let launch = ROWS.launch(gpu, kernel::<T>("relu")).read(x).value(total).write(&mut y);
    launch.run(geometry)?;
    Ok(y)
}

/// The gradient where the result `y` is positive.
pub(crate) fn relu_gradient<G: Gpu, T: Feature>(
    gpu: &G,
    y: View<'_, T>,
    grad: View<'_, T>,
    elements: usize,
) -> Result<G::Memory<T>> {
    let (geometry, total) = Rows { n: elements, channels: 1 }.fours()?;
    let mut dx = gpu.uninit::<T>(elements)?;
    let launch = ROWS.launch(gpu, kernel::<T>("relu_grad")).read(y).read(grad).value(total).write(&mut dx);
    launch.run(geometry)?;
    Ok(dx)
}

/// Some columns of an array: those from the second number on, of as many as the first says.
#[derive(Debug, Clone, Copy)]
struct Columns(usize, usize);

fn copy_columns<G: Gpu, T: Feature>(
    gpu: &G,
    (from, from_columns): (View<'_, T>, Columns),
    (to, to_columns): (&mut G::Memory<T>, Columns),
    n: usize,
    width: usize,
) -> Result<()> {
    let rows = count(n * width).map(|_| n as u32)?;
    let launch = ROWS.launch(gpu, kernel::<T>("columns")).read(from);
    let launch = launch.count(from_columns.0).count(from_columns.1).value(rows).count(width).write(to);
    let launch = launch.count(to_columns.0).count(to_columns.1);
    launch.run(Geometry::threads(n * width, 256))
}

/// `n` rows of two arrays side by side, of so many channels each.
pub(crate) fn cat<G: Gpu, T: Feature>(
    gpu: &G,
    (left, a): (View<'_, T>, usize),
    (right, b): (View<'_, T>, usize),
    n: usize,
) -> Result<G::Memory<T>> {
    let mut out = gpu.uninit::<T>(n * (a + b))?;
    copy_columns::<G, T>(gpu, (left, Columns(a, 0)), (&mut out, Columns(a + b, 0)), n, a)?;
    copy_columns::<G, T>(gpu, (right, Columns(b, 0)), (&mut out, Columns(a + b, a)), n, b)?;
    Ok(out)
}

/// The columns `first..first + width`.
pub(crate) fn columns<G: Gpu, T: Feature>(
    gpu: &G,
    x: View<'_, T>,
    rows: Rows,
    (first, width): (usize, usize),
) -> Result<G::Memory<T>> {
    let mut out = gpu.uninit::<T>(rows.n * width)?;
    let from = (x, Columns(rows.channels, first));
    copy_columns::<G, T>(gpu, from, (&mut out, Columns(width, 0)), rows.n, width)?;
    Ok(out)
}

/// The sum over all rows, `[C]`.
pub(crate) fn column_sums<G: Gpu, T: Feature>(gpu: &G, x: View<'_, T>, rows: Rows) -> Result<G::Memory<f32>> {
    let mut parts = gpu.uninit::<f64>(rows.parts() * rows.channels)?;
    let launch = ROWS.launch(gpu, kernel::<T>("column_parts")).read(x).count(rows.n).count(rows.channels);
    launch.write(&mut parts).run(parts_of(rows))?;
    let mut sums = gpu.uninit::<f32>(rows.channels)?;
    let launch = ROWS.launch(gpu, "column_total").read(&parts).count(rows.parts()).count(rows.channels);
    launch.write(&mut sums).run(rows.totals())?;
    Ok(sums)
}

/// Every row divided by its length.
pub(crate) fn unit<G: Gpu, T: Feature>(gpu: &G, x: View<'_, T>, rows: Rows) -> Result<G::Memory<T>> {
    let mut y = gpu.uninit::<T>(rows.elements())?;
    let launch = ROWS.launch(gpu, kernel::<T>("unit")).read(x).count(rows.n).count(rows.channels);
    launch.write(&mut y).run(rows.warps())?;
    Ok(y)
}

/// Its gradient, from the result `y`.
pub(crate) fn unit_gradient<G: Gpu, T: Feature>(
    gpu: &G,
    [x, y, grad]: [View<'_, T>; 3],
    rows: Rows,
) -> Result<G::Memory<T>> {
    let mut dx = gpu.uninit::<T>(rows.elements())?;
    let launch = ROWS.launch(gpu, kernel::<T>("unit_grad")).read(x).read(y).read(grad).count(rows.n);
    let launch = launch.count(rows.channels).write(&mut dx);
    launch.run(rows.warps())?;
    Ok(dx)
}

/// Which rows become one: row `r` of the result is made of `inputs[starts[r]..starts[r + 1]]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Merging<'a> {
    pub(crate) starts: &'a [u32],
    pub(crate) inputs: &'a [u32],
    pub(crate) row_of_input: &'a [u32],
    /// Means, not sums.
    pub(crate) mean: bool,
}

impl Merging<'_> {
    pub(crate) fn forward<G: Gpu>(
        self,
        gpu: &G,
        x: View<'_, f32>,
        channels: usize,
    ) -> Result<G::Memory<f32>> {
        let n = self.starts.len() - 1;
        count(n * channels)?;
        let (starts, inputs) = (gpu.upload(self.starts)?, gpu.upload(self.inputs)?);
        let mut y = gpu.uninit::<f32>(n * channels)?;
        let launch = ROWS.launch(gpu, "merge_rows").read(x).read(&starts).read(&inputs).count(n);
        let launch = launch.count(channels).value(self.mean).write(&mut y);
        launch.run(Geometry::threads(n * channels, 256))?;
        Ok(y)
    }

    pub(crate) fn backward<G: Gpu>(
        self,
        gpu: &G,
        grad: View<'_, f32>,
        channels: usize,
    ) -> Result<G::Memory<f32>> {
        let n = self.row_of_input.len();
        count(n * channels)?;
        let (starts, row_of_input) = (gpu.upload(self.starts)?, gpu.upload(self.row_of_input)?);
        let mut dx = gpu.uninit::<f32>(n * channels)?;
        let launch = ROWS.launch(gpu, "merge_rows_grad").read(grad).read(&starts).read(&row_of_input);
        let launch = launch.count(n).count(channels).value(self.mean).write(&mut dx);
        launch.run(Geometry::threads(n * channels, 256))?;
        Ok(dx)
    }
}

#[cfg(test)]
mod tests;
