//! Sums over rows.

use std::ops::Range;

use candle_core::Result;

use super::{Compute, KernelSource, kernel_source, word};

/// The kernels of these sums.
pub static SUMS: KernelSource = kernel_source!("sums");

/// Rows that one launch makes one of.
const BLOCK: usize = 256;

/// `[columns]`: the sum over the `rows` rows of `x`; zero where there are none.
///
/// # Errors
/// candle's, of the device.
pub fn column_sums<G: Compute>(gpu: &G, x: &G::Buffer, rows: usize, columns: usize) -> Result<G::Buffer> {
    let out = gpu.buffer(columns)?;
    column_sums_into(gpu, x, 0..rows, columns, (&out, 0))?;
    Ok(out)
}

/// The sum over the rows `rows` of `x` to one row of `out`.
///
/// # Errors
/// As [`column_sums`].
pub fn column_sums_into<G: Compute>(
    gpu: &G,
    x: &G::Buffer,
    rows: Range<usize>,
    columns: usize,
    (out, out_row): (&G::Buffer, usize),
) -> Result<()> {
    if columns == 0 {
        return Ok(());
    }
    let (mut from, mut first, mut left) = (x.clone(), rows.start, rows.len());
    while left > BLOCK {
        let blocks = left.div_ceil(BLOCK);
        let parts = gpu.buffer(blocks * columns)?;
        launch(gpu, &from, [left, columns, first, 0], &parts)?;
        (from, first, left) = (parts, 0, blocks);
    }
    launch(gpu, &from, [left, columns, first, out_row], out)
}

fn launch<G: Compute>(gpu: &G, x: &G::Buffer, parameters: [usize; 4], out: &G::Buffer) -> Result<()> {
    let [rows, columns, ..] = parameters;
    let groups = [columns.div_ceil(32), rows.div_ceil(BLOCK).max(1), 1];
    gpu.run(&SUMS, "column_sums", groups, &[x, out], &parameters.map(word))
}
