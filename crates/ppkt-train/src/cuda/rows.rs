//! Rows of a matrix by their numbers.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, blocks, kernels};

use crate::rows_at::Readers;

static ROWS: Kernels = kernels!("rows");

/// `THREADS` of `rows.cu`.
const THREADS: u32 = 256;

/// Rows that are asked for, and who reads each of them, in the memory of a GPU.
pub(crate) struct RowsOnDevice<M> {
    rows: M,
    n: usize,
    /// As in [`Readers`].
    distinct: M,
    n_distinct: usize,
    starts: M,
    readers: M,
}

impl<M> RowsOnDevice<M> {
    pub(crate) fn new<C: Compute<Memory<u32> = M>>(gpu: &C, rows: &[u32], readers: &Readers) -> Result<Self> {
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

/// `[rows, dim]`: some rows of a matrix.
pub(crate) fn gather_rows<C: Compute>(
    gpu: &C,
    matrix: &View<'_>,
    rows: &RowsOnDevice<C::Memory<u32>>,
    dim: usize,
) -> Result<C::Memory<f32>> {
    let mut out = gpu.uninit::<f32>(rows.n * dim)?;
    let args = [matrix.read(), rows.rows.read(), Arg::int(rows.n)?, Arg::int(dim)?, out.write()];
    gpu.launch(&ROWS, "gather_rows", (blocks(rows.n * dim, THREADS)?, 1, 1), THREADS, &args)?;
    Ok(out)
}

/// `[n, dim]`: what each row collects from the gradient of those that read it, zeros elsewhere.
pub(crate) fn collect_rows<C: Compute>(
    gpu: &C,
    gradient: &View<'_>,
    rows: &RowsOnDevice<C::Memory<u32>>,
    (n, dim): (usize, usize),
) -> Result<C::Memory<f32>> {
    let mut out = gpu.zeros::<f32>(n * dim)?;
    let args = [
        gradient.read(),
        rows.distinct.read(),
        rows.starts.read(),
        rows.readers.read(),
        Arg::int(rows.n_distinct)?,
        Arg::int(dim)?,
        out.write(),
    ];
    gpu.launch(&ROWS, "collect_rows", (blocks(rows.n_distinct * dim, THREADS)?, 1, 1), THREADS, &args)?;
    Ok(out)
}
