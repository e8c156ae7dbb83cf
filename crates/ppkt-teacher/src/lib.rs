#![doc = include_str!("../README.md")]
//!
//! ## Inside
//!
//! [`open`] turns a [`TeacherUri`] into a [`Teacher`]: files are found (`hub`, for the Hub), their tensors renamed to one
//! scheme (`weights`), the architecture read from these (`resnet`, `convnext`, `vit`) and packed for what runs it (`backend`): the
//! `engine` on the CPU, candle's operations on a GPU.
//! [`ResNet`], [`ConvNext`] and [`VisionTransformer`] are there for those who want the activations of each stage or class scores.
//! The [`UpsampleProjection`] is the one part that learns, and it is ordinary candle.

mod backend;
mod cache;
mod convnext;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod engine;
mod error;
mod hub;
mod images;
mod inspection;
#[cfg(any(feature = "metal", test))]
mod metal;
mod network;
mod open;
mod options;
mod preprocess;
mod projection;
mod resnet;
mod spec;
mod uri;
mod vit;
mod weights;

pub use cache::{ByteSize, CacheError, CacheReport, Cached, FeatureCache};
pub use convnext::ConvNext;
pub use error::TeacherError;
#[cfg(feature = "hub")]
pub use hub::{Hub, HubSettings};
pub use hub::{HubError, HubFiles, HubProgress, fetch};
pub use images::{FeatureMap, Images};
pub use inspection::{Inspection, Preprocessing, StageInfo};
pub use network::Activation;
pub use open::{inspect, open, open_on};
pub use options::{Features, Stage, TeacherOptions};
pub use projection::{AlignCorners, PixelRef, UpsampleProjection};
pub use resnet::ResNet;
pub use spec::{Family, Teacher, TeacherSpec};
pub use uri::{HubName, TeacherUri, UriError};
pub use vit::VisionTransformer;
