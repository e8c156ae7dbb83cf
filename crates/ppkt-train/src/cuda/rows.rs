//! Rows of a matrix by their numbers.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, blocks, kernels};

use crate::rows_at::Readers;

static ROWS: Kernels = kernels!("rows");

/// `THREADS` of `rows.cu`.
const THREADS: u32 = 256;

/// `[rows, dim]`: some rows of a matrix.
pub(crate) fn gather_rows<C: Compute>(
    gpu: &C,
    matrix: &View<'_>,
    rows: &[u32],
    dim: usize,
) -> Result<C::Memory<f32>> {
    let mut out = gpu.uninit::<f32>(rows.len() * dim)?;
    let row = gpu.upload(rows)?;
    let args = [matrix.read(), row.read(), Arg::int(rows.len())?, Arg::int(dim)?, out.write()];
    gpu.launch(&ROWS, "gather_rows", (blocks(rows.len() * dim, THREADS)?, 1, 1), THREADS, &args)?;
    Ok(out)
}

/// `[n, dim]`: what each row collects from the gradient of those that read it, zeros elsewhere.
pub(crate) fn collect_rows<C: Compute>(
    gpu: &C,
    gradient: &View<'_>,
    readers: &Readers,
    (n, dim): (usize, usize),
) -> Result<C::Memory<f32>> {
    let Readers { rows, starts, readers } = readers;
    let mut out = gpu.zeros::<f32>(n * dim)?;
    let (row, starts, reader) = (gpu.upload(rows)?, gpu.upload(starts)?, gpu.upload(readers)?);
    let args = [
        gradient.read(),
        row.read(),
        starts.read(),
        reader.read(),
        Arg::int(rows.len())?,
        Arg::int(dim)?,
        out.write(),
    ];
    gpu.launch(&ROWS, "collect_rows", (blocks(rows.len() * dim, THREADS)?, 1, 1), THREADS, &args)?;
    Ok(out)
}
