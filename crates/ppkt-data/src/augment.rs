//! Augmentation of photographs and of clouds, with every pair of pixel and point kept exact.
//!
//! A photograph is only ever moved by an affine map of its axes ([`ImageMap`]), and the same map moves the pixels of
//! the pairs; a cloud is moved point by point, and pairs refer to points by index. So nothing has to be linked again.

mod cloud;
mod colour;
mod elastic;
mod image;
mod resample;

pub(crate) use cloud::bounds;
pub use cloud::{Augment3d, CloudColour};
pub use elastic::Elastic;
pub use image::{Augment2d, ColourJitter};
pub use resample::ImageMap;
