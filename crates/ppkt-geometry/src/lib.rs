#![forbid(unsafe_code)]
//! Cameras, poses, depth, projection, visibility and voxels, with frames in the types.

mod camera;
mod depth;
mod error;
pub mod frame;
mod lens;
mod observe;
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
