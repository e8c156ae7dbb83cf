//! The layers of a transformer: from tensors to packed weights, and how a block runs.

use candle_core::Result as Computed;

use super::arch::{Arch, PositionKind};
use super::linear::Linear;
use super::mlp::Mlp;
use super::positions::Positions;
use super::rotary::Rotary;
use crate::backend::Backend;
use crate::engine::{Activation, ConvGeometry};
use crate::error::TeacherError;
use crate::weights::Weights;

/// Attention and a network of two layers, each behind a norm and beside a shortcut. Layer scales, where there are any,
/// are folded into the layers before them.
pub(super) struct Block<B: Backend> {
    norm1: B::LayerNorm,
    mixing: Mixing<B>,
    proj: B::Conv,
    norm2: B::LayerNorm,
    mlp: Mlp<B>,
}

/// How the tokens of a block see each other.
enum Mixing<B: Backend> {
    /// Queries, keys and values.
    Attention { qkv: B::Conv, heads: usize },
    /// Each token keeps its own value: the last block of CLIP, made dense (MaskCLIP, arXiv 2112.01071).
    OwnValue { value: B::Conv },
}

impl<B: Backend> Block<B> {
    /// `[n, 1, tokens, C]` in and out; queries and keys are turned by the angles of their tokens.
    pub(super) fn forward(&self, x: B::Map, angles: Option<&B::Angles>, backend: &B) -> Computed<B::Map> {
        let normed = backend.normalise(&self.norm1, &x)?;
        let mixed = match &self.mixing {
            Mixing::Attention { qkv, heads } => {
                let qkv = backend.convolve(qkv, &normed, None, Activation::None)?;
                backend.attend(qkv, *heads, angles)?
            }
            Mixing::OwnValue { value } => backend.convolve(value, &normed, None, Activation::None)?,
        };
        drop(normed);
        let x = backend.convolve(&self.proj, &mixed, Some(&x), Activation::None)?;
        drop(mixed);
        self.mlp.forward(&backend.normalise(&self.norm2, &x)?, &x, backend)
    }
}

pub(super) fn patch_embedding<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    backend: &B,
) -> Result<B::Conv, TeacherError> {
    let (c, p) = (arch.channels, arch.patch);
    let name = "patch_embed.proj.weight";
    let why = "it makes tokens of patches";
    let weight = weights.take_shaped(name, &[c, 3, p, p], why)?;
    let bias = match weights.has("patch_embed.proj.bias") {
        true => weights.take_shaped("patch_embed.proj.bias", &[c], why)?,
        false => vec![0.0; c],
    };
    let geometry = ConvGeometry { kernel: p, stride: p, padding: 0, dilation: 1, groups: 1 };
    Ok(backend.conv(&weight, &bias, [3, c], geometry)?)
}

/// The special tokens with their positions, and the learned positions of the patches, if there are any.
pub(super) fn tokens(
    weights: &mut Weights,
    arch: &Arch,
) -> Result<(Vec<f32>, Option<Positions>), TeacherError> {
    let mut prefix = Vec::new();
    for (name, there) in [("cls_token", arch.class_token), ("dist_token", arch.distillation_token)] {
        if there {
            prefix.extend(weights.take_sized(name, arch.channels, "it is a token of its own")?);
        }
    }
    let mut learned = None;
    if let PositionKind::Learned { grid, with_prefix, resampling } = arch.positions {
        let mut positions = weights.take("pos_embed", "every token has a position")?.data;
        if with_prefix {
            let patches = positions.split_off(prefix.len());
            for (token, position) in prefix.iter_mut().zip(&positions) {
                *token += position;
            }
            positions = patches;
        }
        learned = Some(Positions::new(grid, arch.channels, resampling, positions));
    }
    // Registers have no position.
    if arch.registers > 0 {
        let n = arch.registers * arch.channels;
        prefix.extend(weights.take_sized("reg_token", n, "registers are tokens of their own")?);
    }
    Ok((prefix, learned))
}

/// Rotary positions, by the file's own periods where it has them.
pub(super) fn rotary(weights: &mut Weights, arch: &Arch, theta: f64) -> Result<Rotary, TeacherError> {
    let (name, d) = ("rope_embed.periods", arch.channels / arch.heads);
    if !weights.has(name) {
        return Ok(Rotary::new(d, theta));
    }
    let periods = weights.take_shaped(name, &[d / 4], "they are the periods of a head's pairs")?;
    if let Some(odd) = periods.iter().find(|p| **p <= 0.0) {
        let what = format!("tensor {name:?} holds {odd}, which is no period");
        return Err(TeacherError::Config { what, path: weights.path().to_owned() });
    }
    Ok(Rotary::with_periods(periods.into_iter().map(f64::from)))
}

/// A block; the last one of dense CLIP features without attention.
pub(super) fn block<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    i: usize,
    own_value: bool,
    backend: &B,
) -> Result<Block<B>, TeacherError> {
    let c = arch.channels;
    let name = format!("blocks.{i}");
    let norm1 = norm(weights, &format!("{name}.norm1"), arch, backend)?;
    let mut qkv = Linear::qkv(weights, &name, c)?;
    let mixing = match own_value {
        true => Mixing::OwnValue { value: qkv.split_off(2 * c).pack(backend)? },
        false => Mixing::Attention { qkv: qkv.pack(backend)?, heads: arch.heads },
    };
    Ok(Block {
        norm1,
        mixing,
        proj: Linear::read(weights, &format!("{name}.attn.proj"), c, c)?
            .scaled(weights, &format!("{name}.ls1.gamma"))?
            .pack(backend)?,
        norm2: norm(weights, &format!("{name}.norm2"), arch, backend)?,
        mlp: Mlp::read(weights, &name, c, arch.mlp, arch.activation, backend)?,
    })
}

/// A norm that some networks do not have: `norm_pre` before the first block, `norm` after the last.
pub(super) fn optional_norm<B: Backend>(
    weights: &mut Weights,
    name: &str,
    arch: &Arch,
    backend: &B,
) -> Result<Option<B::LayerNorm>, TeacherError> {
    weights.has(&format!("{name}.weight")).then(|| norm(weights, name, arch, backend)).transpose()
}

/// The last layer, where the class token alone is classified, after the last block of the file.
pub(super) fn classifier<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    backend: &B,
) -> Result<Option<B::Conv>, TeacherError> {
    let classes = match weights.shape("head.weight") {
        Some(&[classes, inner]) if inner == arch.channels && classes > 0 => classes,
        _ => 0,
    };
    let fits = arch.complete() && arch.class_token && !arch.distillation_token && weights.has("norm.weight");
    if classes == 0 || !fits || !weights.has("head.bias") {
        weights.leave_out("head");
        return Ok(None);
    }
    Ok(Some(Linear::read(weights, "head", arch.channels, classes)?.pack(backend)?))
}

fn norm<B: Backend>(
    weights: &mut Weights,
    name: &str,
    arch: &Arch,
    backend: &B,
) -> Result<B::LayerNorm, TeacherError> {
    let mut part =
        |leaf: &str| weights.take_shaped(&format!("{name}.{leaf}"), &[arch.channels], "it is a layer norm's");
    Ok(backend.layer_norm(part("weight")?, part("bias")?, arch.ln_eps)?)
}

/// CLIP's projection into the space that it shares with texts, and how many channels that has.
pub(super) fn projection<B: Backend>(
    weights: &mut Weights,
    arch: &Arch,
    backend: &B,
) -> Result<(B::Conv, usize), TeacherError> {
    let why = "dense CLIP features are projected into the space of texts";
    let c = arch.channels;
    let name = "visual_projection.weight";
    let values = weights.take(name, why)?;
    match values.shape[..] {
        [outer, inner] if inner == c && outer > 0 => {
            Ok((Linear::without_bias(c, outer, values.data).pack(backend)?, outer))
        }
        _ => Err(weights.wrong_shape(name, format!("[outputs, {c}]"))),
    }
}
