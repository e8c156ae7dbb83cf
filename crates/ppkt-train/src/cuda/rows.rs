//! Rows of a matrix by their numbers.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View};

use crate::rows_at::Readers;

static ROWS: Kernels = kernels!("rows");

/// `THREADS` of `rows.cu`.
const THREADS: u32 = 256;

/// Rows that are asked for, and who reads each of them, in the memory of a GPU.
pub(crate) struct RowsOnDevice<G: Gpu> {
    rows: G::Memory<u32>,
    n: usize,
    /// As in [`Readers`].
    distinct: G::Memory<u32>,
    n_distinct: usize,
    starts: G::Memory<u32>,
    readers: G::Memory<u32>,
}

impl<G: Gpu> RowsOnDevice<G> {
    pub(crate) fn new(gpu: &G, rows: &[u32], readers: &Readers) -> Result<Self> {
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
pub(crate) fn gather_rows<G: Gpu>(
    gpu: &G,
    matrix: View<'_, f32>,
    rows: &RowsOnDevice<G>,
    dim: usize,
) -> Result<G::Memory<f32>> {
    let mut out = gpu.uninit::<f32>(rows.n * dim)?;
    let launch = ROWS.launch(gpu, "gather_rows").read(matrix).read(&rows.rows).count(rows.n).count(dim);
    launch.write(&mut out).run(Geometry::threads(rows.n * dim, THREADS))?;
    Ok(out)
}

/// `[n, dim]`: what each row collects from the gradient of those that read it, zeros elsewhere.
pub(crate) fn collect_rows<G: Gpu>(
    gpu: &G,
    gradient: View<'_, f32>,
    rows: &RowsOnDevice<G>,
    (n, dim): (usize, usize),
) -> Result<G::Memory<f32>> {
    let mut out = gpu.zeros::<f32>(n * dim)?;
    let launch = ROWS.launch(gpu, "collect_rows").read(gradient).read(&rows.distinct).read(&rows.starts);
    let launch = launch.read(&rows.readers).count(rows.n_distinct).count(dim).write(&mut out);
    launch.run(Geometry::threads(rows.n_distinct * dim, THREADS))?;
    Ok(out)
}
