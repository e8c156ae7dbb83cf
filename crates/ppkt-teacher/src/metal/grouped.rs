//! Convolutions in groups, on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, grid, kernel_source, word};

use crate::backend::GroupedSizes;

pub(crate) static GROUPED: KernelSource = kernel_source!("grouped");

/// `conv(x) + bias`, `[n, H', W', out]`, of input, weights and bias.
pub(crate) fn grouped_conv<G: Compute>(
    gpu: &G,
    geometry: &GroupedSizes,
    [x, weight, bias]: [&G::Buffer; 3],
) -> Result<G::Buffer> {
    let GroupedSizes { input: [n, height, width, inner], output, conv } = *geometry;
    let values = output.iter().product::<usize>();
    let out = gpu.buffer(values)?;
    if values == 0 {
        return Ok(out);
    }
    let sizes = [
        n,
        height,
        width,
        inner,
        output[1],
        output[2],
        output[3],
        conv.groups,
        conv.kernel,
        conv.stride,
        conv.padding,
        conv.dilation,
    ]
    .map(word);
    let buffers = [x, weight, bias, &out];
    gpu.run(&GROUPED, "grouped_conv", grid(values.div_ceil(256)), &buffers, &sizes)?;
    Ok(out)
}
