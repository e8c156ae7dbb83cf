//! Rows of a matrix by their numbers, on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, grid, kernel_source, word};

use crate::rows_at::Readers;

pub(crate) static ROWS: KernelSource = kernel_source!("rows");

/// Rows that are asked for, and who reads each of them, in the memory of a GPU.
pub(crate) struct RowsOnDevice<B> {
    rows: B,
    n: usize,
    /// As in [`Readers`].
    distinct: B,
    n_distinct: usize,
    starts: B,
    readers: B,
}

impl<B: Clone> RowsOnDevice<B> {
    pub(crate) fn new<G: Compute<Buffer = B>>(gpu: &G, rows: &[u32], readers: &Readers) -> Result<Self> {
        Ok(Self {
            rows: gpu.upload(rows)?,
            n: rows.len(),
            distinct: gpu.upload(&readers.rows)?,
            n_distinct: readers.rows.len(),
            starts: gpu.upload(&readers.starts)?,
            readers: gpu.upload(&readers.readers)?,
        })
    }
}

/// `[rows, columns]`: some rows of a matrix.
pub(crate) fn gather<G: Compute>(
    gpu: &G,
    matrix: &G::Buffer,
    rows: &RowsOnDevice<G::Buffer>,
    columns: usize,
) -> Result<G::Buffer> {
    let out = gpu.buffer(rows.n * columns)?;
    launch(gpu, "gather", (rows.n, columns), &[matrix, &rows.rows, &out])?;
    Ok(out)
}

/// `[n, columns]`: what each row collects from the gradient of those that read it, zeros elsewhere.
pub(crate) fn collect<G: Compute>(
    gpu: &G,
    gradient: &G::Buffer,
    rows: &RowsOnDevice<G::Buffer>,
    (n, columns): (usize, usize),
) -> Result<G::Buffer> {
    let out = gpu.buffer(n * columns)?;
    launch(gpu, "clear", (n, columns), &[&out])?;
    let buffers = [gradient, &rows.distinct, &rows.starts, &rows.readers, &out];
    launch(gpu, "collect", (rows.n_distinct, columns), &buffers)?;
    Ok(out)
}

fn launch<G: Compute>(
    gpu: &G,
    entry: &'static str,
    (rows, columns): (usize, usize),
    buffers: &[&G::Buffer],
) -> Result<()> {
    if rows * columns == 0 {
        return Ok(());
    }
    gpu.run(&ROWS, entry, grid((rows * columns).div_ceil(256)), buffers, &[word(rows), word(columns)])
}
