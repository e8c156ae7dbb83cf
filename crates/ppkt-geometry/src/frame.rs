//! Markers for coordinate frames. They have no size and no values; any type of yours serves as well.
//!
//! All are right-handed and in metres. The axes below are conventions of this crate for the frames it has to know
//! (a camera's); for the others they are what most data sets mean.

/// A fixed frame in which a scene is described. Axes as the data set has them, often z up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World;

/// A camera: x right, y down, z forward along the optical axis, origin in the centre of projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Camera;

/// The camera of a depth sensor, where it is another than the colour camera; axes as [`Camera`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DepthCamera;

/// A laser scanner; axes as its maker has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lidar;

/// The body of a vehicle or robot, often x forward, y left, z up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ego;
