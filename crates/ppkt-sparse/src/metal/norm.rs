//! Batch normalisation and its gradients on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums, grid, kernel_source, word};

use crate::norm_tensor::Through;

pub(crate) static NORM: KernelSource = kernel_source!("norm");

/// Rows of a block, and parts that one launch merges.
const BLOCK: usize = 256;

/// Rows, channels, and what is added to a variance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) eps: f64,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    parts: usize,
    part_rows: usize,
    relu: u32,
    residual: bool,
    batch: bool,
    momentum: f64,
}

impl Shape {
    fn parameters(self, asked: Asked) -> [u32; 9] {
        [
            word(self.rows),
            word(self.channels),
            word(asked.parts),
            word(asked.part_rows),
            (self.eps as f32).to_bits(),
            (asked.momentum as f32).to_bits(),
            asked.relu,
            u32::from(asked.residual),
            u32::from(asked.batch),
        ]
    }

    fn elements(self) -> [usize; 3] {
        grid((self.rows * self.channels).div_ceil(256))
    }

    fn channel_groups(self) -> usize {
        self.channels.div_ceil(32)
    }
}

/// `[3, C]`: mean, 1 / standard deviation and unbiased variance over the rows of `x`, two at least.
pub(crate) fn batch_statistics<G: Compute>(gpu: &G, x: &G::Buffer, shape: Shape) -> Result<G::Buffer> {
    let mut parts = shape.rows.div_ceil(BLOCK);
    let mut part_rows = BLOCK;
    let mut moments = gpu.buffer(parts * 2 * shape.channels)?;
    let groups = [shape.channel_groups(), parts, 1];
    gpu.run(&NORM, "moments", groups, &[x, &moments], &shape.parameters(Asked::default()))?;
    while parts > 1 {
        let merged = parts.div_ceil(BLOCK);
        let out = gpu.buffer(merged * 2 * shape.channels)?;
        let asked = Asked { parts, part_rows, ..Asked::default() };
        let groups = [shape.channel_groups(), merged, 1];
        gpu.run(&NORM, "merge", groups, &[&moments, &out], &shape.parameters(asked))?;
        (moments, parts, part_rows) = (out, merged, part_rows * BLOCK);
    }
    let out = gpu.buffer(3 * shape.channels)?;
    let groups = [shape.channels.div_ceil(64), 1, 1];
    gpu.run(&NORM, "statistics", groups, &[&moments, x, &out], &shape.parameters(Asked::default()))?;
    Ok(out)
}

/// The same of running mean and variance, `[C]` each.
pub(crate) fn running_statistics<G: Compute>(
    gpu: &G,
    mean: &G::Buffer,
    variance: &G::Buffer,
    shape: Shape,
) -> Result<G::Buffer> {
    let out = gpu.buffer(3 * shape.channels)?;
    let groups = [shape.channels.div_ceil(64), 1, 1];
    gpu.run(&NORM, "running", groups, &[mean, variance, &out], &shape.parameters(Asked::default()))?;
    Ok(out)
}

/// `[N, C]`: `x` normalised, `+ residual`, then ReLU, as asked; `affine` is gamma and beta, `[2, C]`.
pub(crate) fn normalise<G: Compute>(
    gpu: &G,
    x: &G::Buffer,
    statistics: &G::Buffer,
    affine: &G::Buffer,
    residual: Option<&G::Buffer>,
    relu: bool,
    shape: Shape,
) -> Result<G::Buffer> {
    let out = gpu.buffer(shape.rows * shape.channels)?;
    if shape.rows > 0 {
        let asked = Asked { relu: u32::from(relu), residual: residual.is_some(), ..Asked::default() };
        let buffers = [x, statistics, affine, residual.unwrap_or(x), &out];
        gpu.run(&NORM, "normalise", shape.elements(), &buffers, &shape.parameters(asked))?;
    }
    Ok(out)
}

/// What a backward pass reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backward<'a, B> {
    pub(crate) x: &'a B,
    pub(crate) statistics: &'a B,
    pub(crate) affine: &'a B,
    pub(crate) grad: &'a B,
    pub(crate) through: Through<&'a B>,
    /// Whether the moments depend on `x`.
    pub(crate) batch: bool,
}

impl<'a, B> Backward<'a, B> {
    /// What the kernels read, before anything else, and how they are asked.
    fn reads(&self) -> ([&'a B; 5], Asked) {
        let (result, relu) = match self.through {
            // What is not read still has to be bound.
            Through::All => (self.grad, 0),
            Through::Positive(result) => (result, 1),
            Through::OfNorm => (self.grad, 2),
        };
        let asked = Asked { relu, batch: self.batch, ..Asked::default() };
        ([self.x, self.statistics, self.affine, self.grad, result], asked)
    }
}

/// Gradients of one normalisation.
#[derive(Debug, Clone)]
pub(crate) struct Gradients<B> {
    /// `[N, C]`
    pub(crate) dx: Option<B>,
    /// `[2, C]`: by gamma and beta.
    pub(crate) daffine: B,
}

/// Gradients by the input, where wanted, and by gamma and beta; one row at least.
pub(crate) fn backward<G: Compute>(
    gpu: &G,
    from: &Backward<'_, G::Buffer>,
    want_dx: bool,
    shape: Shape,
) -> Result<Gradients<G::Buffer>> {
    let ([x, statistics, affine, grad, result], asked) = from.reads();
    let parameters = shape.parameters(asked);
    let blocks = shape.rows.div_ceil(BLOCK).max(1);
    let parts = gpu.buffer(blocks * 2 * shape.channels)?;
    let groups = [shape.channel_groups(), blocks, 1];
    gpu.run(&NORM, "grad_sums", groups, &[x, statistics, affine, grad, result, &parts], &parameters)?;
    let sums = column_sums(gpu, &parts, blocks, 2 * shape.channels)?;
    let daffine = gpu.buffer(2 * shape.channels)?;
    let groups = [shape.channels.div_ceil(64), 1, 1];
    gpu.run(&NORM, "affine_grad", groups, &[statistics, &sums, &daffine], &parameters)?;
    if !want_dx {
        return Ok(Gradients { dx: None, daffine });
    }
    let dx = gpu.buffer(shape.rows * shape.channels)?;
    if shape.rows > 0 {
        let buffers = [x, statistics, affine, grad, result, &sums, &dx];
        gpu.run(&NORM, "input_grad", shape.elements(), &buffers, &parameters)?;
    }
    Ok(Gradients { dx: Some(dx), daffine })
}

/// `[N, C]`: the gradient where the ReLU let the result through, which is the residual's.
pub(crate) fn residual_gradient<G: Compute>(
    gpu: &G,
    from: &Backward<'_, G::Buffer>,
    shape: Shape,
) -> Result<G::Buffer> {
    let out = gpu.buffer(shape.rows * shape.channels)?;
    if shape.rows > 0 {
        let ([x, statistics, affine, grad, result], asked) = from.reads();
        let buffers = [x, statistics, affine, grad, result, &out];
        gpu.run(&NORM, "residual_grad", shape.elements(), &buffers, &shape.parameters(asked))?;
    }
    Ok(out)
}

/// `r ← (1 - momentum) r + momentum s`, of `channels` numbers.
pub(crate) fn move_running<G: Compute>(
    gpu: &G,
    running: &G::Buffer,
    batch: &G::Buffer,
    channels: usize,
    momentum: f64,
) -> Result<()> {
    let shape = Shape { rows: 1, channels, eps: 0.0 };
    let asked = Asked { momentum, ..Asked::default() };
    gpu.run(&NORM, "move_running", [channels.div_ceil(64), 1, 1], &[batch, running], &shape.parameters(asked))
}

/// Adds one to a 64-bit integer.
pub(crate) fn count<G: Compute>(gpu: &G, counter: &G::Buffer) -> Result<()> {
    // Its upper word is word 1.
    let shape = Shape { rows: 1, channels: 1, eps: 0.0 };
    gpu.run(&NORM, "count", [1, 1, 1], &[counter], &shape.parameters(Asked::default()))
}
