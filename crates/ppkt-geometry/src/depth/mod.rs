//! Depth images: from raw values to metres, to points, to normals, and into another camera.

mod encoding;
mod lift;
mod map;
mod normals;
mod register;

pub use encoding::DepthEncoding;
pub use lift::LiftedPoint;
pub use map::DepthMap;
