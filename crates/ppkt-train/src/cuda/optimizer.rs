//! Norm of all gradients, and updates in place.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Grid, Kernels, Memory, View, int, kernels};

use crate::optimizer::{AdamwNumbers, SgdNumbers};

static OPTIMIZER: Kernels = kernels!("optimizer");

/// `THREADS` of `optimizer.cu`.
const THREADS: u32 = 256;
/// `CHUNK` of `optimizer.cu`: values that one block squares.
const CHUNK: usize = 16_384;
/// Blocks of an update at most: enough for every GPU of today, each thread then taking several values.
const MOST_BLOCKS: usize = 2048;

/// The report of a step as `optimizer.cu` describes it, `[3]`: norm times `share`, 0, and the scale of the gradients.
pub(crate) fn gradient_report<C: Compute>(
    gpu: &C,
    gradients: &[View<'_>],
    share: f64,
    clip: f64,
) -> Result<C::Memory<f32>> {
    let n_parts: usize = gradients.iter().map(|g| g.len().div_ceil(CHUNK)).sum();
    let mut partial = gpu.uninit::<f64>(n_parts)?;
    let mut first = 0;
    for gradient in gradients.iter().filter(|g| !g.is_empty()) {
        let n_blocks = gradient.len().div_ceil(CHUNK);
        let args = [gradient.read(), Arg::U64(gradient.len() as u64), partial.write(), Arg::int(first)?];
        gpu.launch(&OPTIMIZER, "gradient_squares", (int(n_blocks)? as u32, 1, 1), THREADS, &args)?;
        first += n_blocks;
    }
    let mut report = gpu.uninit::<f32>(3)?;
    let args = [partial.read(), Arg::int(n_parts)?, Arg::F64(share), Arg::F64(clip), report.write()];
    gpu.launch(&OPTIMIZER, "gradient_report", (1, 1, 1), THREADS, &args)?;
    Ok(report)
}

/// Blocks for `n` values.
fn grid(n: usize) -> Grid {
    (n.div_ceil(THREADS as usize).clamp(1, MOST_BLOCKS) as u32, 1, 1)
}

/// One update by SGD of a parameter, given to be written, by a gradient of its size.
pub(crate) fn sgd_step<C: Compute>(
    gpu: &C,
    parameter: Arg,
    gradient: &View<'_>,
    momentum: &mut C::Memory<f32>,
    report: Arg,
    numbers: &SgdNumbers,
) -> Result<()> {
    let n = gradient.len();
    let args = [
        parameter,
        gradient.read(),
        momentum.write(),
        Arg::U64(n as u64),
        Arg::F32(numbers.lr),
        Arg::F32(numbers.weight_decay),
        Arg::F32(numbers.momentum),
        Arg::F32(numbers.keep),
        Arg::I32(i32::from(numbers.nesterov)),
        report,
    ];
    gpu.launch(&OPTIMIZER, "sgd_step", grid(n), THREADS, &args)
}

/// As [`sgd_step`], by AdamW.
pub(crate) fn adamw_step<C: Compute>(
    gpu: &C,
    parameter: Arg,
    gradient: &View<'_>,
    [m1, m2]: [&mut C::Memory<f32>; 2],
    report: Arg,
    numbers: &AdamwNumbers,
) -> Result<()> {
    let n = gradient.len();
    let args = [
        parameter,
        gradient.read(),
        m1.write(),
        m2.write(),
        Arg::U64(n as u64),
        Arg::F32(numbers.step_size),
        Arg::F32(numbers.decay),
        Arg::F32(numbers.beta1),
        Arg::F32(numbers.beta2),
        Arg::F32(numbers.root2),
        Arg::F32(numbers.eps),
        report,
    ];
    gpu.launch(&OPTIMIZER, "adamw_step", grid(n), THREADS, &args)
}
