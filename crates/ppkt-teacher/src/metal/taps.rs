//! Bilinear reading at fixed places, on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, grid, kernel_source, word};

use crate::projection::{Readers, Tap};

pub(crate) static TAPS: KernelSource = kernel_source!("taps");

/// `[pixels, channels]` of a map `[cells, channels]`.
pub(crate) fn read<G: Compute>(
    gpu: &G,
    map: &G::Buffer,
    taps: &[[Tap; 4]],
    channels: usize,
) -> Result<G::Buffer> {
    let out = gpu.buffer(taps.len() * channels)?;
    let cells: Vec<u32> = taps.iter().flatten().map(|(cell, _)| *cell).collect();
    let weights: Vec<u32> = taps.iter().flatten().map(|(_, weight)| weight.to_bits()).collect();
    launch(
        gpu,
        "read_taps",
        (taps.len(), channels),
        &[map, &gpu.upload(&cells)?, &gpu.upload(&weights)?, &out],
    )?;
    Ok(out)
}

/// `[cells, channels]`: the gradient by the map, of that by the pixels.
pub(crate) fn collect<G: Compute>(
    gpu: &G,
    grad: &G::Buffer,
    Readers { starts, readers }: &Readers,
    channels: usize,
) -> Result<G::Buffer> {
    let n_cells = starts.len() - 1;
    let out = gpu.buffer(n_cells * channels)?;
    let starts: Vec<u32> = starts.iter().map(|&s| word(s)).collect();
    let pixels: Vec<u32> = readers.iter().map(|(pixel, _)| *pixel).collect();
    let weights: Vec<u32> = readers.iter().map(|(_, weight)| weight.to_bits()).collect();
    let (starts, pixels, weights) = (gpu.upload(&starts)?, gpu.upload(&pixels)?, gpu.upload(&weights)?);
    launch(gpu, "collect", (n_cells, channels), &[grad, &pixels, &weights, &starts, &out])?;
    Ok(out)
}

fn launch<G: Compute>(
    gpu: &G,
    entry: &'static str,
    (rows, channels): (usize, usize),
    buffers: &[&G::Buffer],
) -> Result<()> {
    if rows * channels == 0 {
        return Ok(());
    }
    gpu.run(&TAPS, entry, grid((rows * channels).div_ceil(256)), buffers, &[word(rows), word(channels)])
}
