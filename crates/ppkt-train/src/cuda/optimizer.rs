//! Norm of all gradients, and updates in place.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View, ViewMut};

use crate::optimizer::{AdamwNumbers, SgdNumbers};

static OPTIMIZER: Kernels = kernels!("optimizer");

/// `THREADS` of `optimizer.cu`.
const THREADS: u32 = 256;
/// `CHUNK` of `optimizer.cu`: values that one block squares.
const CHUNK: usize = 16_384;
/// Blocks of an update at most: enough for every GPU of today, each thread then taking several values.
const MOST_BLOCKS: usize = 2048;

/// The report of a step as `optimizer.cu` describes it, `[3]`: norm times `share`, 0, and the scale of the gradients.
pub(crate) fn gradient_report<G: Gpu>(
    gpu: &G,
    gradients: &[View<'_, f32>],
    share: f64,
    clip: f64,
) -> Result<G::Memory<f32>> {
    let n_parts: usize = gradients.iter().map(|g| g.len().div_ceil(CHUNK)).sum();
    let mut partial = gpu.uninit::<f64>(n_parts)?;
    let mut first = 0;
    for gradient in gradients.iter().filter(|g| !g.is_empty()) {
        let n_blocks = gradient.len().div_ceil(CHUNK);
        let launch = OPTIMIZER.launch(gpu, "gradient_squares").read(*gradient).value(gradient.len() as u64);
        launch.write(&mut partial).count(first).run(Geometry::line(n_blocks, THREADS))?;
        first += n_blocks;
    }
    let mut report = gpu.uninit::<f32>(3)?;
    let launch = OPTIMIZER.launch(gpu, "gradient_report").read(&partial).count(n_parts);
    launch.value(share).value(clip).write(&mut report).run(Geometry::line(1, THREADS))?;
    Ok(report)
}

/// For `n` values.
fn geometry(n: usize) -> Geometry {
    Geometry::line(n.div_ceil(THREADS as usize).min(MOST_BLOCKS), THREADS)
}

/// One update by SGD of a parameter by a gradient of its size.
pub(crate) fn sgd_step<G: Gpu>(
    gpu: &G,
    parameter: ViewMut<'_, f32>,
    gradient: View<'_, f32>,
    momentum: &mut G::Memory<f32>,
    report: ViewMut<'_, f32>,
    numbers: &SgdNumbers,
) -> Result<()> {
    let n = gradient.len();
    let launch = OPTIMIZER.launch(gpu, "sgd_step").write(parameter).read(gradient).write(momentum);
    let launch = launch.value(n as u64).value(numbers.lr).value(numbers.weight_decay);
    let launch = launch.value(numbers.momentum).value(numbers.keep).value(numbers.nesterov);
    launch.write(report).run(geometry(n))
}

/// As [`sgd_step`], by AdamW.
pub(crate) fn adamw_step<G: Gpu>(
    gpu: &G,
    parameter: ViewMut<'_, f32>,
    gradient: View<'_, f32>,
    [m1, m2]: [&mut G::Memory<f32>; 2],
    report: ViewMut<'_, f32>,
    numbers: &AdamwNumbers,
) -> Result<()> {
    let n = gradient.len();
    let launch = OPTIMIZER.launch(gpu, "adamw_step").write(parameter).read(gradient).write(m1).write(m2);
    let launch = launch.value(n as u64).value(numbers.step_size).value(numbers.decay);
    let launch = launch.value(numbers.beta1).value(numbers.beta2).value(numbers.root2).value(numbers.eps);
    launch.write(report).run(geometry(n))
}
