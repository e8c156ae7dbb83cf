//! Convolutions in groups.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, blocks, kernels};

use crate::backend::Geometry;

static GROUPED: Kernels = kernels!("grouped");

/// `THREADS` of `grouped.cu`.
const THREADS: u32 = 256;

/// `conv(x) + bias`, `[n, H', W', out]`, of input, weights and bias.
pub(crate) fn grouped_conv<C: Compute>(
    gpu: &C,
    geometry: &Geometry,
    [x, weight, bias]: [&View<'_>; 3],
) -> Result<C::Memory<f32>> {
    let Geometry { input: [n, height, width, inner], output, conv } = *geometry;
    let values = output.iter().product();
    let mut out = gpu.uninit::<f32>(values)?;
    let mut args = vec![x.read(), weight.read(), bias.read()];
    for size in [
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
    ] {
        args.push(Arg::int(size)?);
    }
    args.push(out.write());
    gpu.launch(&GROUPED, "grouped_conv", (blocks(values, THREADS)?, 1, 1), THREADS, &args)?;
    Ok(out)
}
