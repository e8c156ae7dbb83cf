//! What is known about a network, for people and for machines.

use serde::Serialize;

use crate::preprocess::Normaliser;
use crate::spec::TeacherSpec;
use crate::weights::Config;

/// A place where features can be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageInfo {
    /// As it is written in options: `layer3`, `block11`.
    pub stage: String,
    /// Residual blocks in it.
    pub blocks: usize,
    /// Channels that leave it.
    pub channels: usize,
    /// Pixels of the image for one cell of its map.
    pub stride: usize,
}

/// How an image has to be prepared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preprocessing {
    /// Mean of red, green and blue that is taken off an image in 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation that it is then divided by.
    pub std: [f32; 3],
    /// Where the two are from.
    pub from: String,
    /// Height and width that the network was trained with, if it says so. Images of other sizes are not resized.
    pub trained_at: Option<[usize; 2]>,
    /// How its training images were resized, if it says so.
    pub interpolation: Option<String>,
}

impl Preprocessing {
    /// As the files say; `trained_at` is the side that the tensors show.
    pub(crate) fn of(normaliser: &Normaliser, config: &Config, trained_at: Option<usize>) -> Self {
        Self {
            mean: normaliser.mean,
            std: normaliser.std,
            from: normaliser.from.clone(),
            trained_at: config.input_size.or(trained_at.map(|side| [side, side])),
            interpolation: config.interpolation.clone(),
        }
    }
}

/// All that was read from a network's files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// What the rest of the house sees of it.
    pub spec: TeacherSpec,
    /// Whose names the tensors have: `torchvision`, `timm` or `transformers`.
    pub naming: String,
    /// The architecture in words.
    pub architecture: String,
    /// Where features can be taken.
    pub stages: Vec<StageInfo>,
    /// How images are prepared.
    pub preprocessing: Preprocessing,
    /// Tensors in the file.
    pub n_tensors: usize,
    /// Numbers in these.
    pub n_parameters: usize,
    /// Tensors that no part of the network was made of, by their names in the file.
    pub unmatched: Vec<String>,
    /// What was assumed or corrected, one sentence each.
    pub notes: Vec<String>,
}
