//! The layers of a ConvNeXt: from tensors to packed weights, and how they run.

use candle_core::Result as Computed;

use super::arch::Arch;
use crate::backend::Backend;
use crate::engine::{Activation, ConvGeometry};
use crate::error::TeacherError;
use crate::weights::Weights;

/// A stage: what halves the map before it, and its blocks.
pub(super) struct Stage<B: Backend> {
    halving: Option<(B::LayerNorm, B::Conv)>,
    blocks: Vec<Block<B>>,
}

impl<B: Backend> Stage<B> {
    pub(super) fn forward(&self, x: B::Map, backend: &B) -> Computed<B::Map> {
        let x = match &self.halving {
            None => x,
            Some((norm, conv)) => {
                let normed = backend.normalise(norm, &x)?;
                drop(x);
                backend.convolve(conv, &normed, None, Activation::None)?
            }
        };
        self.blocks.iter().try_fold(x, |x, block| block.forward(&x, backend))
    }
}

/// A depthwise convolution, a norm, and a network of two layers, beside a shortcut. The layer scale, where there is one,
/// is folded into the last layer.
struct Block<B: Backend> {
    depthwise: B::Depthwise,
    norm: B::LayerNorm,
    fc1: B::Conv,
    fc2: B::Conv,
}

impl<B: Backend> Block<B> {
    fn forward(&self, x: &B::Map, backend: &B) -> Computed<B::Map> {
        let normed = backend.normalise(&self.norm, &backend.convolve_depthwise(&self.depthwise, x)?)?;
        let hidden = backend.convolve(&self.fc1, &normed, None, Activation::Gelu)?;
        drop(normed);
        backend.convolve(&self.fc2, &hidden, Some(x), Activation::None)
    }
}

/// Patches and the norm after them.
pub(super) fn stem<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    backend: &B,
) -> Result<(B::Conv, B::LayerNorm), TeacherError> {
    let c = arch.present[0].1;
    let geometry = ConvGeometry { kernel: arch.patch, stride: arch.patch, ..ConvGeometry::POINTWISE };
    let conv = conv(weights, "stem.0", [c, 3], geometry, backend)?;
    Ok((conv, norm(weights, "stem.1", c, arch.ln_eps, backend)?))
}

/// The stages up to the last one that is asked for.
pub(super) fn stages<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    backend: &B,
) -> Result<Vec<Stage<B>>, TeacherError> {
    let mut stages = Vec::new();
    let mut before = arch.present[0].1;
    for (s, &(n_blocks, channels)) in arch.present.iter().enumerate().take(arch.depth()) {
        let mut halving = None;
        if s > 0 {
            let name = format!("stages.{s}.downsample");
            let norm = norm(weights, &format!("{name}.0"), before, arch.ln_eps, backend)?;
            let geometry = ConvGeometry { kernel: 2, stride: 2, ..ConvGeometry::POINTWISE };
            let conv = conv(weights, &format!("{name}.1"), [channels, before], geometry, backend)?;
            halving = Some((norm, conv));
        }
        let block = |b| block(weights, &format!("stages.{s}.blocks.{b}"), channels, arch.ln_eps, backend);
        let blocks: Result<Vec<Block<B>>, TeacherError> = (0..n_blocks).map(block).collect();
        stages.push(Stage { halving, blocks: blocks? });
        before = channels;
    }
    for left_out in arch.depth()..arch.present.len() {
        weights.leave_out(&format!("stages.{left_out}."));
    }
    Ok(stages)
}

fn block<B: Backend>(
    weights: &mut Weights,
    name: &str,
    channels: usize,
    eps: f32,
    backend: &B,
) -> Result<Block<B>, TeacherError> {
    let (kernel, bias) = (format!("{name}.conv_dw.weight"), format!("{name}.conv_dw.bias"));
    let why = "every block begins with it";
    let kernel = weights.take_shaped(&kernel, &[channels, 1, 7, 7], why)?;
    let bias = weights.take_shaped(&bias, &[channels], why)?;
    let fc1 = format!("{name}.mlp.fc1");
    let hidden = match weights.shape(&format!("{fc1}.weight")) {
        Some(&[hidden, ..]) if hidden > 0 => hidden,
        Some(_) => return Err(weights.wrong_shape(&format!("{fc1}.weight"), format!("[hidden, {channels}]"))),
        None => return Err(weights.missing(&format!("{fc1}.weight"), "every block has two layers")),
    };
    let mut fc2 = linear(weights, &format!("{name}.mlp.fc2"), [channels, hidden])?;
    let scale = format!("{name}.gamma");
    if weights.has(&scale) {
        let gamma = weights.take_sized(&scale, channels, "it is a layer scale")?;
        for ((row, bias), g) in fc2.0.chunks_exact_mut(hidden).zip(&mut fc2.1).zip(gamma) {
            row.iter_mut().for_each(|w| *w *= g);
            *bias *= g;
        }
    }
    let pack = |(weight, bias): (Vec<f32>, Vec<f32>), inner, outer| {
        backend.conv(&weight, &bias, [inner, outer], ConvGeometry::POINTWISE)
    };
    Ok(Block {
        depthwise: backend.depthwise(&kernel, &bias)?,
        norm: norm(weights, &format!("{name}.norm"), channels, eps, backend)?,
        fc1: pack(linear(weights, &fc1, [hidden, channels])?, channels, hidden)?,
        fc2: pack(fc2, hidden, channels)?,
    })
}

/// A linear layer, which timm also writes as a 1×1 convolution.
fn linear(
    weights: &mut Weights,
    name: &str,
    [outer, inner]: [usize; 2],
) -> Result<(Vec<f32>, Vec<f32>), TeacherError> {
    let weight = format!("{name}.weight");
    let shape = match weights.shape(&weight) {
        Some([_, _, 1, 1]) => vec![outer, inner, 1, 1],
        _ => vec![outer, inner],
    };
    let why = "every block has two layers";
    Ok((
        weights.take_shaped(&weight, &shape, why)?,
        weights.take_shaped(&format!("{name}.bias"), &[outer], why)?,
    ))
}

fn conv<B: Backend>(
    weights: &mut Weights,
    name: &str,
    [outer, inner]: [usize; 2],
    geometry: ConvGeometry,
    backend: &B,
) -> Result<B::Conv, TeacherError> {
    let (k, why) = (geometry.kernel, "it makes the map of a stage");
    let weight = weights.take_shaped(&format!("{name}.weight"), &[outer, inner, k, k], why)?;
    let bias = weights.take_shaped(&format!("{name}.bias"), &[outer], why)?;
    Ok(backend.conv(&weight, &bias, [inner, outer], geometry)?)
}

pub(super) fn norm<B: Backend>(
    weights: &mut Weights,
    name: &str,
    channels: usize,
    eps: f32,
    backend: &B,
) -> Result<B::LayerNorm, TeacherError> {
    let mut part =
        |leaf: &str| weights.take_shaped(&format!("{name}.{leaf}"), &[channels], "it is a layer norm's");
    Ok(backend.layer_norm(part("weight")?, part("bias")?, eps)?)
}
