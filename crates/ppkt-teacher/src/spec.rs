//! The seam between a frozen network and the rest of the house.

use std::fmt;

use serde::Serialize;

use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};

/// Kinds of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Family {
    /// Residual convolutional network (He et al. 2016, arXiv 1512.03385).
    ResNet,
    /// Convolutional network of depthwise convolutions and layer norms (Liu et al. 2022, arXiv 2201.03545).
    ConvNext,
    /// Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929; DeiT, arXiv 2012.12877).
    VisionTransformer,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResNet => "ResNet",
            Self::ConvNext => "ConvNeXt",
            Self::VisionTransformer => "vision transformer",
        })
    }
}

/// What a user of a teacher has to know about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TeacherSpec {
    /// A name for people: architecture and stage, such as `resnet50 layer3`.
    pub name: String,
    /// What kind of network it is.
    pub family: Family,
    /// Channels of a feature.
    pub channels: usize,
    /// Pixels of the image that one cell of the map stands for, in each direction.
    pub stride: usize,
    /// Mean of red, green and blue that is taken off an image in 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue that it is then divided by.
    pub std: [f32; 3],
    /// SHA-256 of the weights file, in hexadecimal.
    pub fingerprint: String,
}

/// A frozen 2D network: images in, features on a coarse grid out.
///
/// The same images give the same bits, whatever the number of threads.
pub trait Teacher: Send + Sync {
    /// What it is.
    fn spec(&self) -> &TeacherSpec;

    /// The features of a batch of images.
    ///
    /// # Shapes
    /// `[n, H, W, 3]` in, `[n, ceil(H / stride), ceil(W / stride), channels]` out.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if the images are not what their sizes say.
    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError>;
}

impl<T: Teacher + ?Sized> Teacher for Box<T> {
    fn spec(&self) -> &TeacherSpec {
        (**self).spec()
    }

    fn features(&self, images: &Images) -> Result<FeatureMap, TeacherError> {
        (**self).features(images)
    }
}
