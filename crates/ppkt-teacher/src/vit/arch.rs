//! The architecture of a transformer, read from its tensors.

use crate::error::TeacherError;
use crate::inspection::{Inspection, Preprocessing, StageInfo};
use crate::options::{Stage, TeacherOptions};
use crate::preprocess::Normaliser;
use crate::spec::{Family, TeacherSpec};
use crate::weights::Weights;

/// A transformer without its numbers.
pub(super) struct Arch {
    /// Side of a patch in pixels.
    pub(super) patch: usize,
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) hidden: usize,
    /// Blocks up to the one that is asked for.
    pub(super) depth: usize,
    /// Blocks in the file.
    pub(super) blocks_present: usize,
    /// Side of the grid of learned positions.
    pub(super) grid: usize,
    /// Whether the special tokens have positions of their own.
    pub(super) prefix_positions: bool,
    pub(super) class_token: bool,
    pub(super) distillation_token: bool,
    pub(super) ln_eps: f32,
    notes: Vec<String>,
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
        if let Some((name, path)) = config.activation.as_ref().filter(|(name, _)| name != "gelu") {
            let what = format!("activation {name:?} is not read, only \"gelu\"");
            return Err(TeacherError::Config { what, path: path.clone() });
        }
        refuse_options(options)?;
        let name = "patch_embed.proj.weight";
        let (channels, patch) = match weights.shape(name) {
            Some(&[channels, 3, p, q]) if p == q && p > 0 && channels > 0 => (channels, p),
            _ => return Err(weights.wrong_shape(name, "[channels, 3, patch, patch]")),
        };
        let blocks_present = weights.count("blocks.", 0, "norm1.weight")?;
        let depth = match options.stage {
            None if blocks_present > 0 => blocks_present,
            Some(Stage::Block(i)) if usize::from(i) < blocks_present => usize::from(i) + 1,
            Some(asked) => {
                let present = match blocks_present {
                    0 => "no block".to_owned(),
                    n => format!("block0 to block{}", n - 1),
                };
                return Err(TeacherError::StageAbsent { asked, present, path: weights.path().to_owned() });
            }
            None => return Err(weights.missing("blocks.0.norm1.weight", "it is the first block's")),
        };
        let mut notes = Vec::new();
        let heads = match config.heads {
            Some(heads) => heads,
            None => {
                notes.push("heads of 64 channels were assumed; its files do not say".to_owned());
                channels / 64
            }
        };
        if heads == 0 || channels % heads != 0 {
            let what = format!(
                "{channels} channels cannot be shared by {heads} heads; say how many (\"heads\" in the metadata, \"num_attention_heads\" in config.json)"
            );
            return Err(TeacherError::Config { what, path: weights.path().to_owned() });
        }
        let fc1 = "blocks.0.mlp.fc1.weight";
        let hidden = match weights.shape(fc1) {
            Some(&[hidden, inner]) if inner == channels && hidden > 0 => hidden,
            Some(_) => return Err(weights.wrong_shape(fc1, format!("[hidden, {channels}]"))),
            None => return Err(weights.missing(fc1, "every block has a network of two layers")),
        };
        let class_token = weights.has("cls_token");
        let distillation_token = weights.has("dist_token");
        let n_prefix = usize::from(class_token) + usize::from(distillation_token);
        let (grid, prefix_positions) = read_grid(weights, channels, n_prefix)?;
        let ln_eps = config.ln_eps.unwrap_or(1e-6) as f32;
        Ok(Self {
            patch,
            channels,
            heads,
            hidden,
            depth,
            blocks_present,
            grid,
            prefix_positions,
            class_token,
            distillation_token,
            ln_eps,
            notes,
        })
    }

    /// Whether the block that is asked for is the last in the file.
    pub(super) fn complete(&self) -> bool {
        self.depth == self.blocks_present
    }

    /// What a user wants to know.
    pub(super) fn inspection(&self, weights: &Weights, normaliser: &Normaliser) -> Inspection {
        let config = &weights.config;
        let stage = |i: usize| StageInfo {
            stage: format!("block{i}"),
            blocks: 1,
            channels: self.channels,
            stride: self.patch,
        };
        let mut notes = self.notes.clone();
        if !weights.has("norm.weight") {
            notes.push("there is no last norm; features are taken without".to_owned());
        }
        let side = self.grid * self.patch;
        let name = config.arch.clone().unwrap_or_else(|| {
            format!("vit of {} channels, {} blocks, patch {}", self.channels, self.blocks_present, self.patch)
        });
        let (n_tensors, n_parameters) = weights.sizes();
        Inspection {
            spec: TeacherSpec {
                name: format!("{name} block{}", self.depth - 1),
                family: Family::VisionTransformer,
                channels: self.channels,
                stride: self.patch,
                mean: normaliser.mean,
                std: normaliser.std,
                fingerprint: weights.fingerprint.clone(),
            },
            naming: weights.naming.to_owned(),
            architecture: format!(
                "{name}: patch {}, {} channels, {} heads, {} blocks, hidden layers of {}, positions for {side}x{side}",
                self.patch, self.channels, self.heads, self.blocks_present, self.hidden
            ),
            stages: (0..self.blocks_present).map(stage).collect(),
            preprocessing: Preprocessing {
                mean: normaliser.mean,
                std: normaliser.std,
                from: normaliser.from.clone(),
                trained_at: config.input_size.or(Some([side, side])),
                interpolation: config.interpolation.clone(),
            },
            n_tensors,
            n_parameters,
            unmatched: weights.unmatched(),
            notes,
        }
    }
}

/// Options of residual networks.
fn refuse_options(options: &TeacherOptions) -> Result<(), TeacherError> {
    let why = "it is a transformer, which has no strides; leave the option out".to_owned();
    if options.stride_in_1x1.is_some() {
        return Err(TeacherError::Option { option: "stride_in_1x1", why });
    }
    if options.replace_stride_with_dilation != [false; 3] {
        return Err(TeacherError::Option { option: "replace_stride_with_dilation", why });
    }
    Ok(())
}

/// Side of the square of positions, and whether the special tokens have positions before it.
fn read_grid(weights: &Weights, channels: usize, n_prefix: usize) -> Result<(usize, bool), TeacherError> {
    let name = "pos_embed";
    let n = match weights.shape(name) {
        Some(&[1, n, c]) if c == channels => n,
        Some(_) => return Err(weights.wrong_shape(name, format!("[1, tokens, {channels}]"))),
        None => return Err(weights.missing(name, "every token has a position")),
    };
    let side = |n: usize| Some(n.isqrt()).filter(|s| *s > 0 && s * s == n);
    let with = n.checked_sub(n_prefix).and_then(side).map(|s| (s, n_prefix > 0));
    with.or(side(n).map(|s| (s, false)))
        .ok_or_else(|| weights.wrong_shape(name, format!("[1, {n_prefix} + a square number, {channels}]")))
}
