//! Bilinear reading at single pixels.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, blocks, kernels};

use crate::projection::{Readers, Tap};

static TAPS: Kernels = kernels!("taps");

/// `THREADS` of `taps.cu`.
const THREADS: u32 = 256;

/// `[pixels, d]` from a flattened map of `d` channels.
pub(crate) fn taps_forward<C: Compute>(
    gpu: &C,
    map: &View<'_>,
    taps: &[[Tap; 4]],
    d: usize,
) -> Result<C::Memory<f32>> {
    let cells: Vec<u32> = taps.iter().flatten().map(|tap| tap.0).collect();
    let weights: Vec<f32> = taps.iter().flatten().map(|tap| tap.1).collect();
    let (cells, weights) = (gpu.upload(&cells)?, gpu.upload(&weights)?);
    let n = taps.len() * d;
    let mut out = gpu.uninit::<f32>(n)?;
    let args = [map.read(), cells.read(), weights.read(), Arg::int(taps.len())?, Arg::int(d)?, out.write()];
    gpu.launch(&TAPS, "taps_forward", (blocks(n, THREADS)?, 1, 1), THREADS, &args)?;
    Ok(out)
}

/// `[cells, d]`: what each cell collects from the gradient `[pixels, d]` of those that read it.
pub(crate) fn taps_backward<C: Compute>(
    gpu: &C,
    gradient: &View<'_>,
    readers: &Readers,
    d: usize,
) -> Result<C::Memory<f32>> {
    let cells = readers.starts.len() - 1;
    let starts: Vec<u32> = readers.starts.iter().map(|&s| s as u32).collect();
    let pixels: Vec<u32> = readers.readers.iter().map(|reader| reader.0).collect();
    let weights: Vec<f32> = readers.readers.iter().map(|reader| reader.1).collect();
    let (starts, pixels, weights) = (gpu.upload(&starts)?, gpu.upload(&pixels)?, gpu.upload(&weights)?);
    let mut out = gpu.uninit::<f32>(cells * d)?;
    let args = [
        gradient.read(),
        starts.read(),
        pixels.read(),
        weights.read(),
        Arg::int(cells)?,
        Arg::int(d)?,
        out.write(),
    ];
    gpu.launch(&TAPS, "taps_backward", (blocks(cells * d, THREADS)?, 1, 1), THREADS, &args)?;
    Ok(out)
}
