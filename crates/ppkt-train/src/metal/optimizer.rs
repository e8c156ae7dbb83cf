//! Norm of all gradients, and updates in place, on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums, grid, kernel_source, word};

use crate::optimizer::{AdamwNumbers, SgdNumbers};

pub(crate) static OPTIMIZER: KernelSource = kernel_source!("optimizer");

/// `CHUNK` of `optimizer.wgsl`: values that one group squares.
const CHUNK: usize = 16_384;

/// What a kernel is told; those of an update by their letters in the WGSL.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    n: usize,
    part: usize,
    share: f32,
    clip: f32,
    letters: [f32; 6],
    nesterov: bool,
}

impl Told {
    fn parameters(&self) -> Vec<u32> {
        let mut words = vec![word(self.n), word(self.part), self.share.to_bits(), self.clip.to_bits()];
        words.extend(self.letters.map(f32::to_bits));
        words.push(u32::from(self.nesterov));
        words
    }
}

/// The report of a step as `optimizer.wgsl` describes it, `[3]`; of gradients with their lengths. `clip` of 0 does not clip.
pub(crate) fn gradient_report<G: Compute>(
    gpu: &G,
    gradients: &[(G::Buffer, usize)],
    share: f64,
    clip: f64,
) -> Result<G::Buffer> {
    let n_parts: usize = gradients.iter().map(|(_, n)| n.div_ceil(CHUNK)).sum();
    let parts = gpu.buffer(n_parts)?;
    let mut part = 0;
    for (gradient, n) in gradients.iter().filter(|(_, n)| *n > 0) {
        let told = Told { n: *n, part, ..Told::default() };
        gpu.run(&OPTIMIZER, "squares", [n.div_ceil(CHUNK), 1, 1], &[gradient, &parts], &told.parameters())?;
        part += n.div_ceil(CHUNK);
    }
    let sum = column_sums(gpu, &parts, n_parts, 1)?;
    let report = gpu.buffer(3)?;
    let told = Told { share: share as f32, clip: clip as f32, ..Told::default() };
    gpu.run(&OPTIMIZER, "report", [1, 1, 1], &[&sum, &report], &told.parameters())?;
    Ok(report)
}

/// Buffers of an update: the parameter, its gradient, and the step's report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of<'a, B> {
    pub(crate) parameter: &'a B,
    pub(crate) gradient: &'a B,
    pub(crate) report: &'a B,
    /// Numbers of each.
    pub(crate) n: usize,
}

/// One update by SGD.
pub(crate) fn sgd_step<G: Compute>(
    gpu: &G,
    of: Of<'_, G::Buffer>,
    momentum: &G::Buffer,
    numbers: &SgdNumbers,
) -> Result<()> {
    let &SgdNumbers { lr, weight_decay, momentum: mu, keep, nesterov } = numbers;
    let told = Told { n: of.n, letters: [lr, weight_decay, mu, keep, 0.0, 0.0], nesterov, ..Told::default() };
    let buffers = [of.gradient, of.report, of.parameter, momentum];
    update(gpu, "sgd", of.n, &buffers, &told)
}

/// As [`sgd_step`], by AdamW.
pub(crate) fn adamw_step<G: Compute>(
    gpu: &G,
    of: Of<'_, G::Buffer>,
    [m1, m2]: [&G::Buffer; 2],
    numbers: &AdamwNumbers,
) -> Result<()> {
    let &AdamwNumbers { step_size, decay, beta1, beta2, root2, eps } = numbers;
    let told = Told { n: of.n, letters: [step_size, decay, beta1, beta2, root2, eps], ..Told::default() };
    update(gpu, "adamw", of.n, &[of.gradient, of.report, of.parameter, m1, m2], &told)
}

fn update<G: Compute>(
    gpu: &G,
    entry: &'static str,
    n: usize,
    buffers: &[&G::Buffer],
    told: &Told,
) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    gpu.run(&OPTIMIZER, entry, grid(n.div_ceil(256)), buffers, &told.parameters())
}
