//! Bilinear reading at single pixels.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View};

use crate::projection::{Readers, Tap};

static TAPS: Kernels = kernels!("taps");

/// `THREADS` of `taps.cu`.
const THREADS: u32 = 256;

/// `[pixels, d]` from a flattened map of `d` channels.
pub(crate) fn taps_forward<G: Gpu>(
    gpu: &G,
    map: View<'_, f32>,
    taps: &[[Tap; 4]],
    d: usize,
) -> Result<G::Memory<f32>> {
    let cells: Vec<u32> = taps.iter().flatten().map(|tap| tap.0).collect();
    let weights: Vec<f32> = taps.iter().flatten().map(|tap| tap.1).collect();
    let (cells, weights) = (gpu.upload(&cells)?, gpu.upload(&weights)?);
    let n = taps.len() * d;
    let mut out = gpu.uninit::<f32>(n)?;
    let launch = TAPS.launch(gpu, "taps_forward").read(map).read(&cells).read(&weights);
    launch.count(taps.len()).count(d).write(&mut out).run(Geometry::threads(n, THREADS))?;
    Ok(out)
}

/// `[cells, d]`: what each cell collects from the gradient `[pixels, d]` of those that read it.
pub(crate) fn taps_backward<G: Gpu>(
    gpu: &G,
    gradient: View<'_, f32>,
    readers: &Readers,
    d: usize,
) -> Result<G::Memory<f32>> {
    let cells = readers.starts.len() - 1;
    let starts: Vec<u32> = readers.starts.iter().map(|&s| s as u32).collect();
    let pixels: Vec<u32> = readers.readers.iter().map(|reader| reader.0).collect();
    let weights: Vec<f32> = readers.readers.iter().map(|reader| reader.1).collect();
    let (starts, pixels, weights) = (gpu.upload(&starts)?, gpu.upload(&pixels)?, gpu.upload(&weights)?);
    let mut out = gpu.uninit::<f32>(cells * d)?;
    let launch = TAPS.launch(gpu, "taps_backward").read(gradient).read(&starts).read(&pixels).read(&weights);
    launch.count(cells).count(d).write(&mut out).run(Geometry::threads(cells * d, THREADS))?;
    Ok(out)
}
