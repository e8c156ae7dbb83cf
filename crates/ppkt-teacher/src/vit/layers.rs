//! The layers of a transformer: from tensors to packed weights, and how a block runs.

use rayon::prelude::*;

use super::arch::Arch;
use super::positions::Positions;
use crate::engine::{Activation, Buffers, Conv, ConvGeometry, Isa, Map, attention, layer_norm};
use crate::error::TeacherError;
use crate::weights::Weights;

/// Tokens that a task normalises.
const TOKENS_PER_TASK: usize = 32;

/// A layer norm.
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl Norm {
    pub(super) fn forward(&self, x: &Map, isa: Isa, buffers: &Buffers) -> Map {
        let mut out = Map::take(buffers, [x.n, x.height, x.width, x.channels]);
        let step = TOKENS_PER_TASK * x.channels;
        out.data.par_chunks_mut(step).zip(x.data.par_chunks(step)).for_each(|(out, x)| {
            layer_norm(isa, x, &self.weight, &self.bias, self.eps, out);
        });
        out
    }
}

/// Attention and a network of two layers, each behind a norm and beside a shortcut. Layer scales, where there are any,
/// are folded into the layers before them.
pub(super) struct Block {
    norm1: Norm,
    qkv: Conv,
    proj: Conv,
    norm2: Norm,
    fc1: Conv,
    fc2: Conv,
}

impl Block {
    /// `[n, 1, tokens, C]` in and out.
    pub(super) fn forward(&self, x: Map, heads: usize, isa: Isa, buffers: &Buffers) -> Map {
        let qkv = self.qkv.forward(&self.norm1.forward(&x, isa, buffers), None, Activation::None, buffers);
        let mixed = attention(isa, &qkv, heads, buffers);
        drop(qkv);
        let x = self.proj.forward(&mixed, Some(&x), Activation::None, buffers);
        drop(mixed);
        let hidden = self.fc1.forward(&self.norm2.forward(&x, isa, buffers), None, Activation::Gelu, buffers);
        self.fc2.forward(&hidden, Some(&x), Activation::None, buffers)
    }
}

pub(super) fn patch_embedding(weights: &mut Weights, arch: &Arch, isa: Isa) -> Result<Conv, TeacherError> {
    let (c, p) = (arch.channels, arch.patch);
    let weight =
        weights.take_shaped("patch_embed.proj.weight", &[c, 3, p, p], "it makes tokens of patches")?;
    let bias = match weights.has("patch_embed.proj.bias") {
        true => weights.take_shaped("patch_embed.proj.bias", &[c], "it makes tokens of patches")?,
        false => vec![0.0; c],
    };
    let geometry = ConvGeometry { kernel: p, stride: p, padding: 0, dilation: 1 };
    Ok(Conv::new(isa, &weight, &bias, 3, c, geometry))
}

/// The special tokens with their positions, and the positions of the patches.
pub(super) fn tokens(weights: &mut Weights, arch: &Arch) -> Result<(Vec<f32>, Positions), TeacherError> {
    let mut prefix = Vec::new();
    for (name, there) in [("cls_token", arch.class_token), ("dist_token", arch.distillation_token)] {
        if there {
            prefix.extend(weights.take_shaped(name, &[1, 1, arch.channels], "it is a token of its own")?);
        }
    }
    let mut positions = weights.take("pos_embed", "every token has a position")?.data;
    if arch.prefix_positions {
        let patches = positions.split_off(prefix.len());
        for (token, position) in prefix.iter_mut().zip(&positions) {
            *token += position;
        }
        positions = patches;
    }
    Ok((prefix, Positions::new(arch.grid, arch.channels, positions)))
}

pub(super) fn block(weights: &mut Weights, arch: &Arch, i: usize, isa: Isa) -> Result<Block, TeacherError> {
    let (c, h) = (arch.channels, arch.hidden);
    let name = format!("blocks.{i}");
    Ok(Block {
        norm1: norm(weights, &format!("{name}.norm1"), arch)?,
        qkv: read_qkv(weights, &name, c)?.pack(isa),
        proj: Linear::read(weights, &format!("{name}.attn.proj"), c, c)?
            .scaled(weights, &format!("{name}.ls1.gamma"))?
            .pack(isa),
        norm2: norm(weights, &format!("{name}.norm2"), arch)?,
        fc1: Linear::read(weights, &format!("{name}.mlp.fc1"), c, h)?.pack(isa),
        fc2: Linear::read(weights, &format!("{name}.mlp.fc2"), h, c)?
            .scaled(weights, &format!("{name}.ls2.gamma"))?
            .pack(isa),
    })
}

/// The norm after the last block; some networks have none.
pub(super) fn last_norm(weights: &mut Weights, arch: &Arch) -> Result<Option<Norm>, TeacherError> {
    weights.has("norm.weight").then(|| norm(weights, "norm", arch)).transpose()
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

fn norm(weights: &mut Weights, name: &str, arch: &Arch) -> Result<Norm, TeacherError> {
    let mut part =
        |leaf: &str| weights.take_shaped(&format!("{name}.{leaf}"), &[arch.channels], "it is a layer norm's");
    Ok(Norm { weight: part("weight")?, bias: part("bias")?, eps: arch.ln_eps })
}

/// A linear layer before it is packed.
struct Linear {
    inner: usize,
    outer: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    fn read(weights: &mut Weights, name: &str, inner: usize, outer: usize) -> Result<Self, TeacherError> {
        let weight =
            weights.take_shaped(&format!("{name}.weight"), &[outer, inner], "it is a linear layer's")?;
        // Some networks have projections without bias.
        let bias = match weights.has(&format!("{name}.bias")) {
            true => weights.take_shaped(&format!("{name}.bias"), &[outer], "it is a linear layer's")?,
            false => vec![0.0; outer],
        };
        Ok(Self { inner, outer, weight, bias })
    }

    /// Folds in a factor for each output channel, if there is one.
    fn scaled(mut self, weights: &mut Weights, name: &str) -> Result<Self, TeacherError> {
        if weights.has(name) {
            let gamma = weights.take_shaped(name, &[self.outer], "it is a layer scale")?;
            for ((row, bias), g) in self.weight.chunks_exact_mut(self.inner).zip(&mut self.bias).zip(gamma) {
                row.iter_mut().for_each(|w| *w *= g);
                *bias *= g;
            }
        }
        Ok(self)
    }

    fn pack(self, isa: Isa) -> Conv {
        Conv::new(isa, &self.weight, &self.bias, self.inner, self.outer, ConvGeometry::POINTWISE)
    }
}

/// Queries, keys and values, which are one tensor or three.
fn read_qkv(weights: &mut Weights, block: &str, channels: usize) -> Result<Linear, TeacherError> {
    if weights.has(&format!("{block}.attn.qkv.weight")) || !weights.has(&format!("{block}.attn.q.weight")) {
        return Linear::read(weights, &format!("{block}.attn.qkv"), channels, 3 * channels);
    }
    let mut joined = Linear { inner: channels, outer: 3 * channels, weight: Vec::new(), bias: Vec::new() };
    for part in ["q", "k", "v"] {
        let Linear { weight, bias, .. } =
            Linear::read(weights, &format!("{block}.attn.{part}"), channels, channels)?;
        joined.weight.extend(weight);
        joined.bias.extend(bias);
    }
    Ok(joined)
}
