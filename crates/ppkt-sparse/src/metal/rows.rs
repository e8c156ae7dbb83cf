//! Operations on rows alone, on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, grid, kernel_source, word};

pub(crate) static ROWS: KernelSource = kernel_source!("rows");

fn elementwise<G: Compute>(
    gpu: &G,
    entry: &'static str,
    threads: usize,
    buffers: &[&G::Buffer],
    parameters: [usize; 4],
) -> Result<()> {
    if threads == 0 {
        return Ok(());
    }
    gpu.run(&ROWS, entry, grid(threads.div_ceil(256)), buffers, &parameters.map(word))
}

/// `max(x, 0)` of `n` numbers.
pub(crate) fn relu<G: Compute>(gpu: &G, x: &G::Buffer, n: usize) -> Result<G::Buffer> {
    let out = gpu.buffer(n)?;
    elementwise(gpu, "relu", n, &[x, &out], [n, 1, 0, 0])?;
    Ok(out)
}

/// The gradient where the result `y` is positive.
pub(crate) fn relu_gradient<G: Compute>(
    gpu: &G,
    y: &G::Buffer,
    grad: &G::Buffer,
    n: usize,
) -> Result<G::Buffer> {
    let out = gpu.buffer(n)?;
    elementwise(gpu, "relu_grad", n, &[y, grad, &out], [n, 1, 0, 0])?;
    Ok(out)
}

/// Two tensors of `rows` rows side by side.
pub(crate) fn cat<G: Compute>(
    gpu: &G,
    (left, left_columns): (&G::Buffer, usize),
    (right, right_columns): (&G::Buffer, usize),
    rows: usize,
) -> Result<G::Buffer> {
    let columns = left_columns + right_columns;
    let out = gpu.buffer(rows * columns)?;
    for (part, width, first) in [(left, left_columns, 0), (right, right_columns, left_columns)] {
        elementwise(gpu, "put", rows * width, &[part, &out], [rows, columns, width, first])?;
    }
    Ok(out)
}

/// `width` columns from `first` on of `columns`.
pub(crate) fn columns<G: Compute>(
    gpu: &G,
    x: &G::Buffer,
    rows: usize,
    (first, width, columns): (usize, usize, usize),
) -> Result<G::Buffer> {
    let out = gpu.buffer(rows * width)?;
    elementwise(gpu, "take", rows * width, &[x, &out], [rows, width, columns, first])?;
    Ok(out)
}

/// Every row divided by its length.
pub(crate) fn unit<G: Compute>(gpu: &G, x: &G::Buffer, rows: usize, columns: usize) -> Result<G::Buffer> {
    let out = gpu.buffer(rows * columns)?;
    if rows * columns > 0 {
        gpu.run(&ROWS, "unit", grid(rows), &[x, &out], &[word(rows), word(columns), 0, 0])?;
    }
    Ok(out)
}

/// Its gradient, from the result `y`.
pub(crate) fn unit_gradient<G: Compute>(
    gpu: &G,
    [x, y, grad]: [&G::Buffer; 3],
    rows: usize,
    columns: usize,
) -> Result<G::Buffer> {
    let out = gpu.buffer(rows * columns)?;
    if rows * columns > 0 {
        gpu.run(&ROWS, "unit_grad", grid(rows), &[x, y, grad, &out], &[word(rows), word(columns), 0, 0])?;
    }
    Ok(out)
}

/// Which rows become one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Merging<'a> {
    /// Row `r` of the result is made of rows `inputs[starts[r]..starts[r + 1]]`.
    pub(crate) starts: &'a [u32],
    pub(crate) inputs: &'a [u32],
    pub(crate) row_of_input: &'a [u32],
    /// Their mean, not their sum.
    pub(crate) mean: bool,
}

/// Merged rows.
pub(crate) fn merge<G: Compute>(
    gpu: &G,
    x: &G::Buffer,
    merging: Merging<'_>,
    columns: usize,
) -> Result<G::Buffer> {
    let rows = merging.starts.len() - 1;
    let out = gpu.buffer(rows * columns)?;
    let (starts, inputs) = (gpu.upload(merging.starts)?, gpu.upload(merging.inputs)?);
    let parameters = [rows, columns, 0, usize::from(merging.mean)];
    elementwise(gpu, "merge", rows * columns, &[x, &out, &starts, &inputs], parameters)?;
    Ok(out)
}

/// The gradient of each row that was merged.
pub(crate) fn merge_gradient<G: Compute>(
    gpu: &G,
    grad: &G::Buffer,
    merging: Merging<'_>,
    columns: usize,
) -> Result<G::Buffer> {
    let rows = merging.row_of_input.len();
    let out = gpu.buffer(rows * columns)?;
    let (starts, row_of_input) = (gpu.upload(merging.starts)?, gpu.upload(merging.row_of_input)?);
    let parameters = [rows, columns, 0, usize::from(merging.mean)];
    elementwise(gpu, "merge_grad", rows * columns, &[grad, &out, &starts, &row_of_input], parameters)?;
    Ok(out)
}
