//! What a user may choose about a teacher.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::TeacherError;

/// A place in a network where features can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stage {
    /// `layer1` to `layer4` of a convolutional network, counted from 1.
    Layer(u8),
    /// `block0`, `block1`, … of a transformer, counted from 0 as in its tensors' names.
    Block(u16),
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(i) => write!(f, "layer{i}"),
            Self::Block(i) => write!(f, "block{i}"),
        }
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let layer = text.strip_prefix("layer").and_then(|t| t.parse().ok()).filter(|i| (1..=4).contains(i));
        let block = text.strip_prefix("block").and_then(|t| t.parse().ok());
        layer.map(Self::Layer).or(block.map(Self::Block)).ok_or_else(|| {
            format!("{text:?} is no stage: write layer1 to layer4 (convolutional networks) or block0, block1, … (transformers)")
        })
    }
}

impl TryFrom<String> for Stage {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Stage> for String {
    fn from(stage: Stage) -> Self {
        stage.to_string()
    }
}

/// What is taken as a feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Features {
    /// What the chosen stages give.
    #[default]
    Stages,
    /// CLIP made dense (Zhou et al. 2022, arXiv 2112.01071, as CLIP2Scene, arXiv 2301.04926, takes it): in the last block
    /// each patch keeps its own value, `v = proj(value(norm1(x))) + x`, then `v + mlp(norm2(v))`; after the last norm and
    /// the projection into the space of texts each feature has unit length.
    MaskClip,
}

/// How a network is to be read and run. The default takes everything from the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherOptions {
    /// Where the features are taken: `layer1` to `layer4`, or `block0`, `block1`, …; the last one in the file by
    /// default.
    pub stage: Option<Stage>,
    /// Several stages instead of one; their features are put side by side, in this order. Where they are of different
    /// resolution, as in convolutional networks, coarser ones are interpolated to the grid of the finest.
    pub stages: Vec<Stage>,
    /// What is taken as a feature.
    pub features: Features,
    /// Transformers: whether the last norm follows every chosen block, as it does by default. ConvNeXt: whether it
    /// follows `layer4`, as it does by default in DINOv3's only.
    pub last_norm: Option<bool>,
    /// Bottleneck networks: whether a stage's stride sits in its first 1×1 convolution (the original ResNet, Caffe,
    /// Keras) and not in the 3×3 (torchvision, timm). By default as the file's metadata says, else in the 3×3.
    pub stride_in_1x1: Option<bool>,
    /// Residual networks: replace the stride of `layer2`, `layer3`, `layer4` by a dilation, as torchvision's argument
    /// of this name does; the map gets finer, the weights stay.
    pub replace_stride_with_dilation: [bool; 3],
    /// Mean of red, green and blue, for images in 0 to 1; by default the model's own.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, for images in 0 to 1; by default the model's own.
    pub std: Option<[f32; 3]>,
}

impl TeacherOptions {
    /// The stages that are asked for; none for the network's own choice.
    pub(crate) fn chosen_stages(&self) -> Result<Vec<Stage>, TeacherError> {
        let wrong = |why: String| TeacherError::Option { option: "stages", why };
        if let (Some(stage), false) = (self.stage, self.stages.is_empty()) {
            return Err(wrong(format!("stage {stage} is asked for beside it; give one of the two")));
        }
        for (i, stage) in self.stages.iter().enumerate() {
            if self.stages[..i].contains(stage) {
                return Err(wrong(format!("{stage} is in it twice; name each stage once")));
            }
        }
        Ok(if self.stages.is_empty() { self.stage.into_iter().collect() } else { self.stages.clone() })
    }

    /// The stages of a convolutional network with so many in its file that are asked for, counted from 0; its last one by
    /// default.
    pub(crate) fn chosen_layers(&self, present: usize, path: &Path) -> Result<Vec<usize>, TeacherError> {
        let asked = self.chosen_stages()?;
        if asked.is_empty() {
            return Ok(vec![present - 1]);
        }
        let layer = |stage: Stage| match stage {
            Stage::Layer(i) if (1..=present).contains(&usize::from(i)) => Ok(usize::from(i) - 1),
            asked => Err(TeacherError::StageAbsent {
                asked,
                present: match present {
                    1 => "layer1 only".to_owned(),
                    n => format!("layer1 to layer{n}"),
                },
                path: path.to_owned(),
            }),
        };
        asked.into_iter().map(layer).collect()
    }

    /// The error for the first of these options that is given, for a network that has no use for it.
    pub(crate) fn refuse(&self, options: &[&'static str], why: &str) -> Result<(), TeacherError> {
        let given = |option: &str| match option {
            "features" => self.features != Features::Stages,
            "last_norm" => self.last_norm.is_some(),
            "stride_in_1x1" => self.stride_in_1x1.is_some(),
            "replace_stride_with_dilation" => self.replace_stride_with_dilation != [false; 3],
            _ => unreachable!("options that some network refuses"),
        };
        match options.iter().find(|option| given(option)) {
            Some(option) => Err(TeacherError::Option { option, why: format!("{why}; leave the option out") }),
            None => Ok(()),
        }
    }
}
