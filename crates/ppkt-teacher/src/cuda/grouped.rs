//! Convolutions in groups.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View};

use crate::backend::GroupedSizes;

static GROUPED: Kernels = kernels!("grouped");

/// `THREADS` of `grouped.cu`.
const THREADS: u32 = 256;

/// `conv(x) + bias`, `[n, H', W', out]`, of input, weights and bias.
pub(crate) fn grouped_conv<G: Gpu>(
    gpu: &G,
    sizes: &GroupedSizes,
    [x, weight, bias]: [View<'_, f32>; 3],
) -> Result<G::Memory<f32>> {
    let GroupedSizes { input: [n, height, width, inner], output, conv } = *sizes;
    let values = output.iter().product();
    let mut out = gpu.uninit::<f32>(values)?;
    let launch = GROUPED.launch(gpu, "grouped_conv").read(x).read(weight).read(bias);
    let launch = launch.count(n).count(height).count(width).count(inner);
    let launch = launch.count(output[1]).count(output[2]).count(output[3]).count(conv.groups);
    let launch = launch.count(conv.kernel).count(conv.stride).count(conv.padding).count(conv.dilation);
    launch.write(&mut out).run(Geometry::threads(values, THREADS))?;
    Ok(out)
}
