//! The layers of a transformer: from tensors to packed weights, and how a block runs.

use super::arch::{Arch, PositionKind};
use super::linear::Linear;
use super::mlp::Mlp;
use super::positions::Positions;
use super::rotary::{Rotary, Table};
use crate::engine::{Activation, Buffers, Conv, ConvGeometry, Isa, LayerNorm, Map, attention};
use crate::error::TeacherError;
use crate::weights::Weights;

/// Attention and a network of two layers, each behind a norm and beside a shortcut. Layer scales, where there are any,
/// are folded into the layers before them.
pub(super) struct Block {
    norm1: LayerNorm,
    mixing: Mixing,
    proj: Conv,
    norm2: LayerNorm,
    mlp: Mlp,
}

/// How the tokens of a block see each other.
enum Mixing {
    /// Queries, keys and values.
    Attention { qkv: Conv, heads: usize },
    /// Each token keeps its own value: the last block of CLIP, made dense (MaskCLIP, arXiv 2112.01071).
    OwnValue { value: Conv },
}

impl Block {
    /// `[n, 1, tokens, C]` in and out; queries and keys are turned by the angles of the tokens after the first ones.
    pub(super) fn forward(
        &self,
        x: Map,
        angles: Option<(&Rotary, &Table, usize)>,
        isa: Isa,
        buffers: &Buffers,
    ) -> Map {
        let normed = self.norm1.forward(&x, isa, buffers);
        let mixed = match &self.mixing {
            Mixing::Attention { qkv, heads } => {
                let mut qkv = qkv.forward(&normed, None, Activation::None, buffers);
                if let Some((rotary, table, n_prefix)) = angles {
                    rotary.turn(&mut qkv, n_prefix, table);
                }
                attention(isa, &qkv, *heads, buffers)
            }
            Mixing::OwnValue { value } => value.forward(&normed, None, Activation::None, buffers),
        };
        drop(normed);
        let x = self.proj.forward(&mixed, Some(&x), Activation::None, buffers);
        drop(mixed);
        self.mlp.forward(&self.norm2.forward(&x, isa, buffers), &x, buffers)
    }
}

pub(super) fn patch_embedding(weights: &mut Weights, arch: &Arch, isa: Isa) -> Result<Conv, TeacherError> {
    let (c, p) = (arch.channels, arch.patch);
    let name = "patch_embed.proj.weight";
    let why = "it makes tokens of patches";
    let weight = weights.take_shaped(name, &[c, 3, p, p], why)?;
    let bias = match weights.has("patch_embed.proj.bias") {
        true => weights.take_shaped("patch_embed.proj.bias", &[c], why)?,
        false => vec![0.0; c],
    };
    let geometry = ConvGeometry { kernel: p, stride: p, padding: 0, dilation: 1, groups: 1 };
    Ok(Conv::new(isa, &weight, &bias, 3, c, geometry))
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
pub(super) fn block(
    weights: &mut Weights,
    arch: &Arch,
    i: usize,
    own_value: bool,
    isa: Isa,
) -> Result<Block, TeacherError> {
    let c = arch.channels;
    let name = format!("blocks.{i}");
    let norm1 = norm(weights, &format!("{name}.norm1"), arch)?;
    let mut qkv = Linear::qkv(weights, &name, c)?;
    let mixing = match own_value {
        true => Mixing::OwnValue { value: qkv.split_off(2 * c).pack(isa) },
        false => Mixing::Attention { qkv: qkv.pack(isa), heads: arch.heads },
    };
    Ok(Block {
        norm1,
        mixing,
        proj: Linear::read(weights, &format!("{name}.attn.proj"), c, c)?
            .scaled(weights, &format!("{name}.ls1.gamma"))?
            .pack(isa),
        norm2: norm(weights, &format!("{name}.norm2"), arch)?,
        mlp: Mlp::read(weights, &name, c, arch.mlp, arch.activation, isa)?,
    })
}

/// A norm that some networks do not have: `norm_pre` before the first block, `norm` after the last.
pub(super) fn optional_norm(
    weights: &mut Weights,
    name: &str,
    arch: &Arch,
) -> Result<Option<LayerNorm>, TeacherError> {
    weights.has(&format!("{name}.weight")).then(|| norm(weights, name, arch)).transpose()
}

/// The last layer, where the class token alone is classified, after the last block of the file.
pub(super) fn classifier(weights: &mut Weights, arch: &Arch, isa: Isa) -> Result<Option<Conv>, TeacherError> {
    let classes = match weights.shape("head.weight") {
        Some(&[classes, inner]) if inner == arch.channels && classes > 0 => classes,
        _ => 0,
    };
    let fits = arch.complete() && arch.class_token && !arch.distillation_token && weights.has("norm.weight");
    if classes == 0 || !fits || !weights.has("head.bias") {
        weights.leave_out("head");
        return Ok(None);
    }
    Ok(Some(Linear::read(weights, "head", arch.channels, classes)?.pack(isa)))
}

fn norm(weights: &mut Weights, name: &str, arch: &Arch) -> Result<LayerNorm, TeacherError> {
    let mut part =
        |leaf: &str| weights.take_shaped(&format!("{name}.{leaf}"), &[arch.channels], "it is a layer norm's");
    Ok(LayerNorm { weight: part("weight")?, bias: part("bias")?, eps: arch.ln_eps })
}

/// CLIP's projection into the space that it shares with texts.
pub(super) fn projection(weights: &mut Weights, arch: &Arch, isa: Isa) -> Result<Conv, TeacherError> {
    let why = "dense CLIP features are projected into the space of texts";
    let c = arch.channels;
    let name = "visual_projection.weight";
    let values = weights.take(name, why)?;
    match values.shape[..] {
        [outer, inner] if inner == c && outer > 0 => {
            Ok(Linear::without_bias(c, outer, values.data).pack(isa))
        }
        _ => Err(weights.wrong_shape(name, format!("[outputs, {c}]"))),
    }
}
