//! Operations on rows alone, on a GPU.

use candle_core::Result;

use super::gpu::{Feature, Geometry, Gpu, Launch, Source, kernel};

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
        Geometry { grid: [self.channels.div_ceil(32) as u32, 1, 1], block: [32, 32, 1], shared_bytes: 0 }
    }

    /// Of a kernel that takes four elements a thread, and their number.
    pub(crate) fn fours(self) -> Result<(Geometry, u32)> {
        let total = count(self.elements())?;
        Ok((Geometry::threads(self.elements().div_ceil(4), 256), total))
    }

    /// Of a kernel with a warp for each row.
    fn warps(self) -> Geometry {
        Geometry::threads(self.n, 4).with_block([128, 1, 1])
    }
}

/// Of a kernel that sums up parts.
pub(crate) fn parts_of(rows: Rows) -> Geometry {
    let grid = [rows.channels.div_ceil(32) as u32, rows.parts() as u32, 1];
    Geometry { grid, block: [32, 8, 1], shared_bytes: 0 }
}

/// A number of elements, as kernels count them.
fn count(elements: usize) -> Result<u32> {
    match u32::try_from(elements) {
        Ok(elements) if elements <= u32::MAX - 1024 => Ok(elements),
        _ => candle_core::bail!("{elements} features are more than a GPU's kernels take: smaller batches"),
    }
}

/// `max(x, 0)`.
pub(crate) fn relu<G: Gpu, T: Feature>(gpu: &G, x: G::View<'_, T>, elements: usize) -> Result<G::Slice<T>> {
    let (geometry, total) = Rows { n: elements, channels: 1 }.fours()?;
    let mut y = gpu.uninit::<T>(elements)?;
    let launch = Launch::on(gpu).view(x).value(total).write(&mut y);
    launch.run(Source::Rows, &kernel::<T>("relu"), geometry)?;
    Ok(y)
}

/// The gradient where the result `y` is positive.
pub(crate) fn relu_gradient<G: Gpu, T: Feature>(
    gpu: &G,
    y: G::View<'_, T>,
    grad: G::View<'_, T>,
    elements: usize,
) -> Result<G::Slice<T>> {
    let (geometry, total) = Rows { n: elements, channels: 1 }.fours()?;
    let mut dx = gpu.uninit::<T>(elements)?;
    let launch = Launch::on(gpu).view(y).view(grad).value(total).write(&mut dx);
    launch.run(Source::Rows, &kernel::<T>("relu_grad"), geometry)?;
    Ok(dx)
}

/// Some columns of an array: those from the second number on, of as many as the first says.
#[derive(Debug, Clone, Copy)]
struct Columns(usize, usize);

fn copy_columns<G: Gpu, T: Feature>(
    gpu: &G,
    (from, from_columns): (G::View<'_, T>, Columns),
    (to, to_columns): (&mut G::Slice<T>, Columns),
    n: usize,
    width: usize,
) -> Result<()> {
    count(n * width)?;
    let launch = Launch::on(gpu).view(from).value(from_columns.0 as i32).value(from_columns.1 as i32);
    let launch = launch.value(n as u32).value(width as i32).write(to);
    let launch = launch.value(to_columns.0 as i32).value(to_columns.1 as i32);
    launch.run(Source::Rows, &kernel::<T>("columns"), Geometry::threads(n * width, 256))
}

/// `n` rows of two arrays side by side, of so many channels each.
pub(crate) fn cat<G: Gpu, T: Feature>(
    gpu: &G,
    (left, a): (G::View<'_, T>, usize),
    (right, b): (G::View<'_, T>, usize),
    n: usize,
) -> Result<G::Slice<T>> {
    let mut out = gpu.uninit::<T>(n * (a + b))?;
    copy_columns::<G, T>(gpu, (left, Columns(a, 0)), (&mut out, Columns(a + b, 0)), n, a)?;
    copy_columns::<G, T>(gpu, (right, Columns(b, 0)), (&mut out, Columns(a + b, a)), n, b)?;
    Ok(out)
}

/// The columns `first..first + width`.
pub(crate) fn columns<G: Gpu, T: Feature>(
    gpu: &G,
    x: G::View<'_, T>,
    rows: Rows,
    (first, width): (usize, usize),
) -> Result<G::Slice<T>> {
    let mut out = gpu.uninit::<T>(rows.n * width)?;
    let from = (x, Columns(rows.channels, first));
    copy_columns::<G, T>(gpu, from, (&mut out, Columns(width, 0)), rows.n, width)?;
    Ok(out)
}

/// The sum over all rows, `[C]`.
pub(crate) fn column_sums<G: Gpu, T: Feature>(
    gpu: &G,
    x: G::View<'_, T>,
    rows: Rows,
) -> Result<G::Slice<f32>> {
    let mut parts = gpu.uninit::<f64>(rows.parts() * rows.channels)?;
    let launch = Launch::on(gpu).view(x).value(rows.n as i32).value(rows.channels as i32).write(&mut parts);
    launch.run(Source::Rows, &kernel::<T>("column_parts"), parts_of(rows))?;
    let mut sums = gpu.uninit::<f32>(rows.channels)?;
    let launch = Launch::on(gpu).read(&parts).value(rows.parts() as i32).value(rows.channels as i32);
    launch.write(&mut sums).run(Source::Rows, "column_total", rows.totals())?;
    Ok(sums)
}

/// Every row divided by its length.
pub(crate) fn unit<G: Gpu, T: Feature>(gpu: &G, x: G::View<'_, T>, rows: Rows) -> Result<G::Slice<T>> {
    let mut y = gpu.uninit::<T>(rows.elements())?;
    let launch = Launch::on(gpu).view(x).value(rows.n as i32).value(rows.channels as i32).write(&mut y);
    launch.run(Source::Rows, &kernel::<T>("unit"), rows.warps())?;
    Ok(y)
}

/// Its gradient, from the result `y`.
pub(crate) fn unit_gradient<G: Gpu, T: Feature>(
    gpu: &G,
    [x, y, grad]: [G::View<'_, T>; 3],
    rows: Rows,
) -> Result<G::Slice<T>> {
    let mut dx = gpu.uninit::<T>(rows.elements())?;
    let launch = Launch::on(gpu).view(x).view(y).view(grad).value(rows.n as i32);
    let launch = launch.value(rows.channels as i32).write(&mut dx);
    launch.run(Source::Rows, &kernel::<T>("unit_grad"), rows.warps())?;
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
        x: G::View<'_, f32>,
        channels: usize,
    ) -> Result<G::Slice<f32>> {
        let n = self.starts.len() - 1;
        count(n * channels)?;
        let (starts, inputs) = (gpu.upload(self.starts)?, gpu.upload(self.inputs)?);
        let mut y = gpu.uninit::<f32>(n * channels)?;
        let launch = Launch::on(gpu).view(x).read(&starts).read(&inputs).value(n as i32);
        let launch = launch.value(channels as i32).value(i32::from(self.mean)).write(&mut y);
        launch.run(Source::Rows, "merge_rows", Geometry::threads(n * channels, 256))?;
        Ok(y)
    }

    pub(crate) fn backward<G: Gpu>(
        self,
        gpu: &G,
        grad: G::View<'_, f32>,
        channels: usize,
    ) -> Result<G::Slice<f32>> {
        let n = self.row_of_input.len();
        count(n * channels)?;
        let (starts, row_of_input) = (gpu.upload(self.starts)?, gpu.upload(self.row_of_input)?);
        let mut dx = gpu.uninit::<f32>(n * channels)?;
        let launch = Launch::on(gpu).view(grad).read(&starts).read(&row_of_input).value(n as i32);
        let launch = launch.value(channels as i32).value(i32::from(self.mean)).write(&mut dx);
        launch.run(Source::Rows, "merge_rows_grad", Geometry::threads(n * channels, 256))?;
        Ok(dx)
    }
}

#[cfg(test)]
mod tests;
