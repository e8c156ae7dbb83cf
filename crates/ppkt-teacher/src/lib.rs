//! Frozen 2D networks from safetensors files and the Hugging Face Hub, and the upsampling projection.

mod error;
mod images;
mod options;
mod spec;

pub use error::TeacherError;
pub use images::{FeatureMap, Images};
pub use options::{Stage, TeacherOptions};
pub use spec::{Family, Teacher, TeacherSpec};
