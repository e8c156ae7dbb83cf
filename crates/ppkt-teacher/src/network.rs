//! What all networks share: how they are run, and what can be seen of their layers.

use candle_core::Tensor;

use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};

/// Values of some layer, for inspection and tests.
#[derive(Debug, Clone)]
pub struct Activation {
    /// `stem`, `pool`, `layer1`, … or `block0`, …, `norm`.
    pub name: String,
    /// `[B, h, w, C]` (convolutional networks) or `[B, tokens, C]` (transformers, special tokens first), f32.
    pub values: Tensor,
}

/// The layers of a network, packed for a backend.
pub(crate) trait Layers: Send + Sync {
    /// The features' map.
    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError>;

    /// What every layer that is named gives.
    fn activations(&self, images: &Images) -> Result<Vec<Activation>, TeacherError>;

    /// Class scores `[n, classes]` before the softmax, if there is a classifier.
    fn logits(&self, images: &Images) -> Result<Option<Tensor>, TeacherError>;
}
