#![doc = include_str!("../README.md")]
//!
//! # Why frames are type parameters
//!
//! Most mistakes with poses are not in their numbers but in which pose it is: the inverse of what was meant, or the
//! pose of the other camera. `Rigid3<World, Camera>` costs nothing at run time and turns these into type errors. A
//! frame is a *kind* of place and not one place: all photographs of a scan are taken in [`frame::Camera`], each with
//! its own `Rigid3<World, Camera>`. Where two cameras meet in one expression give them a marker each, as
//! [`frame::DepthCamera`] is one, or any type of your own. [`Rigid3::with_frames`] and [`Point3::with_frame`] are the
//! only ways around, and easy to search for.
//!
//! # Why a camera is an `enum` and not a trait
//!
//! The lens models are few and their inverse, limits and image operations belong together; a camera is read from a
//! file, kept in lists and compared. A point costs one predictable branch for it.

#![forbid(unsafe_code)]

mod camera;
mod depth;
mod error;
pub mod frame;
mod lens;
mod observe;
mod occupancy;
mod parallel;
mod pixel;
mod point;
mod rigid;
mod trajectory;
mod voxel;

pub use camera::{CameraModel, DepthMeasure};
pub use depth::{DepthEncoding, DepthMap, LiftedPoint};
pub use error::{
    CameraError, DepthError, GeometryError, PoseError, ProjectionReject, UnprojectError, VoxelError,
};
pub use lens::Lens;
pub use observe::{Observation, Visibility, observe, observe_with_depth};
pub use pixel::{Pixel, PixelIdx};
pub use point::{Direction3, Point3};
pub use rigid::Rigid3;
pub use trajectory::Trajectory;
pub use voxel::{Voxels, cylindrical_from_cartesian, voxelise, voxelise_cylindrical};

/// The linear algebra that the public interface is written in.
pub use nalgebra;
