//! The architecture of a transformer, read from its tensors.

use super::kind::Kind;
use super::mlp::{Gate, MlpShape};
use super::positions::Resampling;
use crate::engine::Activation;
use crate::error::TeacherError;
use crate::options::{Features, Stage, TeacherOptions};
use crate::spec::Family;
use crate::weights::Weights;

/// A transformer without its numbers.
pub(super) struct Arch {
    pub(super) kind: Kind,
    /// Side of a patch in pixels.
    pub(super) patch: usize,
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) mlp: MlpShape,
    pub(super) activation: Activation,
    /// Blocks whose tokens are asked for, in the order of the answer.
    pub(super) chosen: Vec<usize>,
    /// Blocks up to the last one that is asked for.
    pub(super) depth: usize,
    /// Blocks in the file.
    pub(super) blocks_present: usize,
    pub(super) positions: PositionKind,
    pub(super) class_token: bool,
    pub(super) distillation_token: bool,
    /// Register tokens.
    pub(super) registers: usize,
    pub(super) ln_eps: f32,
    /// Whether the last norm follows every block that is asked for.
    pub(super) last_norm: bool,
    /// Whether the last block is made dense.
    pub(super) mask_clip: bool,
    pub(super) notes: Vec<String>,
}

/// How tokens know where they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PositionKind {
    /// A learned vector for each place of a square grid, and, with the prefix, for each special token but registers.
    Learned { grid: usize, with_prefix: bool, resampling: Resampling },
    /// Angles that queries and keys are turned by.
    Rotary { theta: f64 },
}

impl Arch {
    pub(super) fn read(weights: &Weights, options: &TeacherOptions) -> Result<Self, TeacherError> {
        let config = &weights.config;
        if weights.family != Family::VisionTransformer {
            return Err(TeacherError::Config {
                what: format!("a vision transformer was asked for, but the file holds a {}", weights.family),
                path: weights.path().to_owned(),
            });
        }
        options.refuse(
            &["stride_in_1x1", "replace_stride_with_dilation"],
            "it is a transformer, which has no strides",
        )?;
        let kind = Kind::of(weights)?;
        let mut notes = config.notes.clone();
        let (channels, patch) = read_patch(weights)?;
        let blocks_present = weights.count("blocks.", 0, "norm1.weight")?;
        if blocks_present == 0 {
            return Err(weights.missing("blocks.0.norm1.weight", "it is the first block's"));
        }
        let chosen = choose(weights, options, blocks_present)?;
        let depth = chosen.iter().max().map_or(blocks_present, |last| last + 1);
        let heads = match config.heads {
            Some(heads) => heads,
            None => {
                let heads = kind.usual_heads(channels);
                notes.push(format!("{heads} heads were assumed, as is usual; its files do not say"));
                heads
            }
        };
        let d = channels.checked_div(heads).unwrap_or(0);
        if heads == 0 || d * heads != channels || (kind == Kind::DinoV3 && d % 4 != 0) {
            let what = format!(
                "{channels} channels cannot be shared by {heads} heads; say how many (\"heads\" in the metadata, \"num_attention_heads\" in config.json)"
            );
            return Err(TeacherError::Config { what, path: weights.path().to_owned() });
        }
        let mlp = MlpShape::read(weights, channels)?;
        let activation = kind.activation(weights, mlp.gate != Gate::None, &mut notes)?;
        let class_token = weights.has("cls_token");
        let distillation_token = weights.has("dist_token");
        let registers = match weights.shape("reg_token") {
            None => 0,
            Some(shape) => match shape.iter().product::<usize>() {
                n if n > 0 && n % channels == 0 => n / channels,
                _ => return Err(weights.wrong_shape("reg_token", format!("[1, registers, {channels}]"))),
            },
        };
        let positions = if kind == Kind::DinoV3 {
            let theta = config.rope_theta.unwrap_or(100.0);
            PositionKind::Rotary { theta }
        } else {
            let n_prefix = usize::from(class_token) + usize::from(distillation_token);
            let (grid, with_prefix) = read_grid(weights, channels, n_prefix)?;
            let resampling = match kind {
                Kind::DinoV2 if registers > 0 => Resampling::BicubicSmooth,
                Kind::DinoV2 if weights.naming == "original" => Resampling::BicubicOffset,
                _ => Resampling::Bicubic,
            };
            PositionKind::Learned { grid, with_prefix, resampling }
        };
        let mask_clip = options.features == Features::MaskClip;
        if mask_clip && (kind != Kind::Clip || chosen != [blocks_present - 1]) {
            let why = "\"mask_clip\" is made from the last block of a CLIP network alone; leave it out";
            return Err(TeacherError::Option { option: "features", why: why.to_owned() });
        }
        let last_norm = options.last_norm.unwrap_or(true);
        if (mask_clip || options.last_norm == Some(true)) && !weights.has("norm.weight") {
            return Err(weights.missing("norm.weight", "features behind the last norm are asked for"));
        }
        if mask_clip && !last_norm {
            let why = "dense CLIP features have the last norm before their projection; leave it out";
            return Err(TeacherError::Option { option: "last_norm", why: why.to_owned() });
        }
        let ln_eps = config.ln_eps.unwrap_or(kind.ln_eps()) as f32;
        Ok(Self {
            kind,
            patch,
            channels,
            heads,
            mlp,
            activation,
            chosen,
            depth,
            blocks_present,
            positions,
            class_token,
            distillation_token,
            registers,
            ln_eps,
            last_norm,
            mask_clip,
            notes,
        })
    }

    /// Whether the last block that is asked for is the last in the file.
    pub(super) fn complete(&self) -> bool {
        self.depth == self.blocks_present
    }
}

/// Channels, and the side of a patch.
fn read_patch(weights: &Weights) -> Result<(usize, usize), TeacherError> {
    let name = "patch_embed.proj.weight";
    match weights.shape(name) {
        Some(&[channels, 3, p, q]) if p == q && p > 0 && channels > 0 => Ok((channels, p)),
        _ => Err(weights.wrong_shape(name, "[channels, 3, patch, patch]")),
    }
}

/// The blocks that are asked for, the last one by default.
fn choose(weights: &Weights, options: &TeacherOptions, present: usize) -> Result<Vec<usize>, TeacherError> {
    let asked = options.chosen_stages()?;
    if asked.is_empty() {
        return Ok(vec![present - 1]);
    }
    let index = |stage: Stage| match stage {
        Stage::Block(i) if usize::from(i) < present => Ok(usize::from(i)),
        asked => Err(TeacherError::StageAbsent {
            asked,
            present: format!("block0 to block{}", present - 1),
            path: weights.path().to_owned(),
        }),
    };
    asked.into_iter().map(index).collect()
}

/// Side of the square of positions, and whether the special tokens have positions before it.
fn read_grid(weights: &Weights, channels: usize, n_prefix: usize) -> Result<(usize, bool), TeacherError> {
    let name = "pos_embed";
    let n = match weights.shape(name) {
        Some(&[1, n, c] | &[n, c]) if c == channels => n,
        Some(_) => return Err(weights.wrong_shape(name, format!("[1, tokens, {channels}]"))),
        None => return Err(weights.missing(name, "every token has a position")),
    };
    let side = |n: usize| Some(n.isqrt()).filter(|s| *s > 0 && s * s == n);
    let with = n.checked_sub(n_prefix).and_then(side).map(|s| (s, n_prefix > 0));
    with.or(side(n).map(|s| (s, false)))
        .ok_or_else(|| weights.wrong_shape(name, format!("[1, {n_prefix} + a square number, {channels}]")))
}
