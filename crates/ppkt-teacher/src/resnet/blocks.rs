//! Residual blocks: from tensors to folded convolutions.

use candle_core::Result as Computed;

use super::arch::{Arch, BlockPlan};
use crate::backend::Backend;
use crate::engine::{Activation, ConvGeometry};
use crate::error::TeacherError;
use crate::weights::{Values, Weights};

/// Two or three convolutions beside a shortcut.
pub(super) struct Block<B: Backend> {
    convs: Vec<B::Conv>,
    shortcut: Option<B::Conv>,
}

impl<B: Backend> Block<B> {
    /// `relu(convs(x) + shortcut(x))`, with a ReLU between the convolutions.
    pub(super) fn forward(&self, x: &B::Map, backend: &B) -> Computed<B::Map> {
        let project = |conv| backend.convolve(conv, x, None, Activation::None);
        let projected = self.shortcut.as_ref().map(project).transpose()?;
        let residual = projected.as_ref().unwrap_or(x);
        let mut inner: Option<B::Map> = None;
        for (i, conv) in self.convs.iter().enumerate() {
            let last = i + 1 == self.convs.len();
            let input = inner.as_ref().unwrap_or(x);
            inner = Some(backend.convolve(conv, input, last.then_some(residual), Activation::Relu)?);
        }
        Ok(inner.unwrap_or_else(|| unreachable!("a block has convolutions")))
    }
}

/// The blocks of each stage.
pub(super) type Stages<B> = Vec<Vec<Block<B>>>;

/// The stem and all stages.
pub(super) fn build<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    backend: &B,
) -> Result<(B::Conv, Stages<B>), TeacherError> {
    let (stem, _) = folded(weights, ("conv1", "bn1"), 3, arch.stem, arch.bn_eps, backend)?;
    let mut channels = arch.stem_channels;
    let mut stages = Vec::new();
    for (s, stage) in arch.stages.iter().enumerate() {
        let mut blocks = Vec::new();
        for (b, plan) in stage.blocks.iter().enumerate() {
            let name = format!("layer{}.{b}", s + 1);
            let block = read_block(weights, &name, plan, [channels, stage.channels], arch.bn_eps, backend)?;
            blocks.push(block);
            channels = stage.channels;
        }
        stages.push(blocks);
    }
    for left_out in arch.stages.len() + 1..=4 {
        weights.leave_out(&format!("layer{left_out}."));
    }
    Ok((stem, stages))
}

/// The last layer, where features are taken from the last stage and the file has it.
pub(super) fn classifier<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    backend: &B,
) -> Result<Option<B::Conv>, TeacherError> {
    let fits = arch.complete()
        && weights.shape("fc.weight").is_some_and(|s| s.len() == 2 && s[1] == arch.channels());
    if !fits || !weights.has("fc.bias") {
        weights.leave_out("fc.");
        return Ok(None);
    }
    let Values { shape, data } = weights.take("fc.weight", "it is the classifier")?;
    let bias = weights.take_shaped("fc.bias", &shape[..1], "it is the classifier's")?;
    Ok(Some(backend.conv(&data, &bias, [shape[1], shape[0]], ConvGeometry::POINTWISE)?))
}

fn read_block<B: Backend>(
    weights: &mut Weights,
    name: &str,
    plan: &BlockPlan,
    [in_channels, out_channels]: [usize; 2],
    eps: f64,
    backend: &B,
) -> Result<Block<B>, TeacherError> {
    let (mut convs, mut channels) = (Vec::new(), in_channels);
    for (i, &geometry) in plan.convs.iter().enumerate() {
        let (conv, norm) = (format!("{name}.conv{}", i + 1), format!("{name}.bn{}", i + 1));
        let (conv, outer) = folded(weights, (&conv, &norm), channels, geometry, eps, backend)?;
        channels = outer;
        convs.push(conv);
    }
    let last = format!("{name}.conv{}.weight", plan.convs.len());
    if channels != out_channels {
        return Err(weights.wrong_shape(&last, format!("[{out_channels}, …], as of the stage's first block")));
    }
    let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
    let mut shortcut = None;
    if plan.stride != 1 || in_channels != out_channels || weights.has(&format!("{conv}.weight")) {
        let geometry = ConvGeometry { stride: plan.stride, ..ConvGeometry::POINTWISE };
        let (projection, outer) = folded(weights, (&conv, &norm), in_channels, geometry, eps, backend)?;
        if outer != out_channels {
            return Err(weights
                .wrong_shape(&format!("{conv}.weight"), format!("[{out_channels}, {in_channels}, 1, 1]")));
        }
        shortcut = Some(projection);
    }
    Ok(Block { convs, shortcut })
}

/// A convolution with the batch norm after it folded in, `w γ / √(var + ε)` and `β - mean γ / √(var + ε)`; and how many
/// channels come out.
fn folded<B: Backend>(
    weights: &mut Weights,
    (conv, norm): (&str, &str),
    in_channels: usize,
    geometry: ConvGeometry,
    eps: f64,
    backend: &B,
) -> Result<(B::Conv, usize), TeacherError> {
    let name = format!("{conv}.weight");
    let (k, groups) = (geometry.kernel, geometry.groups);
    let expected = || match groups {
        1 => format!("[out, {in_channels}, {k}, {k}]"),
        _ => format!("[out, {in_channels} / {groups} groups, {k}, {k}]"),
    };
    let per_group = if in_channels.is_multiple_of(groups) { in_channels / groups } else { 0 };
    let out_channels = match weights.shape(&name) {
        None => return Err(weights.missing(&name, "the architecture that the other tensors show needs it")),
        Some(&[out, inner, h, w])
            if out > 0 && out.is_multiple_of(groups) && inner > 0 && (inner, h, w) == (per_group, k, k) =>
        {
            out
        }
        Some(_) => return Err(weights.wrong_shape(&name, expected())),
    };
    let mut weight = weights.take(&name, "it is a convolution")?.data;
    let mut of_norm = |leaf: &str| {
        let why = format!("every convolution has a batch norm, and {conv} is there");
        weights.take_shaped(&format!("{norm}.{leaf}"), &[out_channels], &why)
    };
    let (gamma, beta) = (of_norm("weight")?, of_norm("bias")?);
    let (mean, variance) = (of_norm("running_mean")?, of_norm("running_var")?);
    let mut bias = vec![0f32; out_channels];
    for (o, kernel) in weight.chunks_exact_mut(per_group * k * k).enumerate() {
        // In f64, so that the fold loses nothing; a variance below zero is no variance.
        let scale = f64::from(gamma[o]) / (f64::from(variance[o]).max(0.0) + eps).sqrt();
        bias[o] = (f64::from(beta[o]) - f64::from(mean[o]) * scale) as f32;
        for w in kernel {
            *w = (f64::from(*w) * scale) as f32;
        }
    }
    Ok((backend.conv(&weight, &bias, [in_channels, out_channels], geometry)?, out_channels))
}
