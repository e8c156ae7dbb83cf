//! The architecture of a ConvNeXt, read from its tensors.

use crate::error::TeacherError;
use crate::inspection::{Inspection, Preprocessing, StageInfo};
use crate::options::{Stage, TeacherOptions};
use crate::preprocess::Normaliser;
use crate::spec::{Family, TeacherSpec};
use crate::weights::Weights;

/// A ConvNeXt without its numbers.
pub(super) struct Arch {
    /// Side of the stem's patches in pixels.
    pub(super) patch: usize,
    /// Blocks and channels of all stages in the file.
    pub(super) present: Vec<(usize, usize)>,
    /// Stages whose maps are features, in the order of their channels, counted from 0.
    pub(super) chosen: Vec<usize>,
    /// What is added to variances in norms.
    pub(super) ln_eps: f32,
    /// Whether the last norm follows the last stage.
    pub(super) last_norm: bool,
}

/// Where the last norm is; in all schemes but timm's it is not below the head, and it is the same.
pub(super) const LAST_NORM: &str = "head.norm";

impl Arch {
    pub(super) fn read(weights: &Weights, options: &TeacherOptions) -> Result<Self, TeacherError> {
        let config = &weights.config;
        if weights.family != Family::ConvNext {
            return Err(TeacherError::Config {
                what: format!("a ConvNeXt was asked for, but the file holds a {}", weights.family),
                path: weights.path().to_owned(),
            });
        }
        options.refuse(
            &["features", "stride_in_1x1", "replace_stride_with_dilation"],
            "it is a ConvNeXt, which has no such thing",
        )?;
        if let Some((name, path)) = config.activation.as_ref().filter(|(name, _)| name != "gelu") {
            let what = format!("activation {name:?} is not read in a ConvNeXt, only \"gelu\"");
            return Err(TeacherError::Config { what, path: path.clone() });
        }
        let patch = read_patch(weights)?;
        let present = read_stages(weights)?;
        let chosen = options.chosen_layers(present.len(), weights.path())?;
        let dinov3 =
            weights.has("norms.3.weight") || config.arch.as_ref().is_some_and(|arch| arch.contains("dinov3"));
        let last = chosen.contains(&(present.len() - 1));
        let last_norm = options.last_norm.unwrap_or(dinov3) && last;
        if options.last_norm == Some(true) && !last {
            let why = "the last norm belongs to the last stage, which is not asked for; leave it out";
            return Err(TeacherError::Option { option: "last_norm", why: why.to_owned() });
        }
        // `layer_norm_eps` of transformers' ConvNeXt is that of a norm behind the pooling, and no other.
        Ok(Self { patch, present, chosen, ln_eps: 1e-6, last_norm })
    }

    /// Stages up to the last one that is asked for.
    pub(super) fn depth(&self) -> usize {
        self.chosen.iter().max().map_or(self.present.len(), |last| last + 1)
    }

    /// Pixels for one cell of a stage's map.
    pub(super) fn stride(&self, stage: usize) -> usize {
        self.patch << stage
    }

    fn name(&self) -> String {
        let depths: Vec<usize> = self.present.iter().map(|p| p.0).collect();
        let known: &[(&str, usize, [usize; 4])] = &[
            ("convnext_tiny", 96, [3, 3, 9, 3]),
            ("convnext_small", 96, [3, 3, 27, 3]),
            ("convnext_base", 128, [3, 3, 27, 3]),
            ("convnext_large", 192, [3, 3, 27, 3]),
            ("convnext_xlarge", 256, [3, 3, 27, 3]),
        ];
        // Fewer than three stages fit several networks.
        let fits = |(_, width, all): &&(&str, usize, [usize; 4])| {
            *width == self.present[0].1 && depths.len() >= 3 && all.starts_with(&depths)
        };
        known.iter().find(fits).map_or_else(
            || format!("convnext-{}", depths.iter().map(ToString::to_string).collect::<Vec<_>>().join("-")),
            |(name, ..)| (*name).to_owned(),
        )
    }

    /// What a user wants to know.
    pub(super) fn inspection(&self, weights: &Weights, normaliser: &Normaliser) -> Inspection {
        let config = &weights.config;
        let stage = |(i, &(blocks, channels)): (usize, &(usize, usize))| StageInfo {
            stage: Stage::Layer(i as u8 + 1).to_string(),
            blocks,
            channels,
            stride: self.stride(i),
        };
        let mut notes = config.notes.clone();
        notes.extend(weights.wrapper_note());
        if self.last_norm {
            notes.push("features of the last stage are those behind the last norm".to_owned());
        }
        let taken: Vec<String> = self.chosen.iter().map(|i| format!("layer{}", i + 1)).collect();
        let (n_tensors, n_parameters) = weights.sizes();
        let name = self.name();
        let stated = config.arch.as_ref().map_or(String::new(), |a| format!("; its files call it {a:?}"));
        Inspection {
            spec: TeacherSpec {
                name: format!("{name} {}", taken.join("+")),
                family: Family::ConvNext,
                channels: self.chosen.iter().map(|i| self.present[*i].1).sum(),
                stride: self.chosen.iter().map(|i| self.stride(*i)).min().unwrap_or(1),
                mean: normaliser.mean,
                std: normaliser.std,
                fingerprint: weights.fingerprint.clone(),
            },
            naming: weights.naming.to_owned(),
            architecture: format!("{name}, patch {}{stated}", self.patch),
            stages: self.present.iter().enumerate().map(stage).collect(),
            preprocessing: Preprocessing::of(normaliser, config, None),
            n_tensors,
            n_parameters,
            unmatched: weights.unmatched(),
            notes,
        }
    }
}

fn read_patch(weights: &Weights) -> Result<usize, TeacherError> {
    let name = "stem.0.weight";
    match weights.shape(name) {
        Some(&[channels, 3, p, q]) if p == q && p > 0 && channels > 0 => Ok(p),
        _ => Err(weights.wrong_shape(name, "[channels, 3, patch, patch]")),
    }
}

/// Blocks and channels of every stage in the file.
fn read_stages(weights: &Weights) -> Result<Vec<(usize, usize)>, TeacherError> {
    let n_stages = weights.count("stages.", 0, "blocks.0.conv_dw.weight")?;
    if !(1..=4).contains(&n_stages) {
        let what = format!("it has {n_stages} stages, and a ConvNeXt has four at most");
        return Err(TeacherError::Config { what, path: weights.path().to_owned() });
    }
    let stage = |i: usize| {
        let n_blocks = weights.count(&format!("stages.{i}.blocks."), 0, "conv_dw.weight")?;
        if let Some(&stated) = weights.config.depths.get(i).filter(|d| **d != n_blocks) {
            let layer = i + 1;
            let what = format!(
                "layer{layer} should have {stated} blocks as its files say, but has tensors of {n_blocks}"
            );
            return Err(TeacherError::Config { what, path: weights.path().to_owned() });
        }
        let name = format!("stages.{i}.blocks.0.conv_dw.weight");
        match weights.shape(&name) {
            Some(&[channels, 1, 7, 7]) if channels > 0 => Ok((n_blocks, channels)),
            _ => Err(weights.wrong_shape(&name, "[channels, 1, 7, 7]")),
        }
    };
    (0..n_stages).map(stage).collect()
}
