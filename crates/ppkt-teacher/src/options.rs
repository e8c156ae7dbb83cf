//! What a user may choose about a teacher.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::TeacherError;

/// A place in a network where features can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stage {
    /// `layer1` to `layer4` of a residual network, counted from 1.
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
            format!("{text:?} is no stage: write layer1 to layer4 (residual networks) or block0, block1, … (transformers)")
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
    /// Transformers: several blocks instead of one; their features are put side by side, in this order.
    pub stages: Vec<Stage>,
    /// What is taken as a feature.
    pub features: Features,
    /// Transformers: whether the last norm follows every chosen block, as it does by default.
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

    /// The error for an option of transformers, if there is one.
    pub(crate) fn refuse_transformers(&self) -> Result<(), TeacherError> {
        let given = [
            ("stages", !self.stages.is_empty()),
            ("features", self.features != Features::Stages),
            ("last_norm", self.last_norm.is_some()),
        ];
        let why = "it is no transformer; leave the option out";
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(TeacherError::Option { option, why: why.to_owned() }),
            None => Ok(()),
        }
    }
}
