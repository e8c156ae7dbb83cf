//! What can go wrong, one small enum for each kind of work, and [`GeometryError`] for all of them.

use crate::Pixel;

/// Any error of this crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// A pose or trajectory.
    #[error(transparent)]
    Pose(#[from] PoseError),
    /// A camera's parameters.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// A point without a pixel.
    #[error(transparent)]
    Projection(#[from] ProjectionReject),
    /// A pixel without a ray.
    #[error(transparent)]
    Unprojection(#[from] UnprojectError),
    /// A depth map.
    #[error(transparent)]
    Depth(#[from] DepthError),
    /// Voxels.
    #[error(transparent)]
    Voxel(#[from] VoxelError),
}

/// Why a pose was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PoseError {
    /// NaN or infinity, as data sets write where tracking was lost.
    #[error("the pose has a number that is not finite (tracking lost?); leave the frame out")]
    NotFinite,
    /// The upper left 3×3 block is a scale, a shear, a reflection or nothing at all.
    #[error(
        "not a rotation: RᵀR deviates from the identity by {drift:.3e}, determinant {determinant:.3e}; \
         is the matrix transposed, scaled or mirrored?"
    )]
    NotARotation {
        /// Largest deviation of `RᵀR` from the identity.
        drift: f64,
        /// Determinant; −1 is a reflection.
        determinant: f64,
    },
    /// The last row of the 4×4 matrix is not 0 0 0 1.
    #[error("the last row of the pose is {last_row:?}, not 0 0 0 1; is the matrix transposed?")]
    NotAffine {
        /// The row found.
        last_row: [f64; 4],
    },
    /// A quaternion too far from unit length to be rounding.
    #[error("the quaternion has norm {norm}, not 1; is its order right, and is it normalised?")]
    NotUnit {
        /// The norm found.
        norm: f64,
    },
    /// A trajectory without poses.
    #[error("a trajectory needs at least one pose")]
    NoPoses,
    /// A time stamp that is not finite.
    #[error("time stamp {time_s} is not finite")]
    BadTime {
        /// The stamp, seconds.
        time_s: f64,
    },
    /// Two poses with one time stamp.
    #[error("two poses at time {time_s} s; keep one of them")]
    SameTime {
        /// The stamp, seconds.
        time_s: f64,
    },
    /// A time before the first or after the last pose.
    #[error("time {time_s} s is outside the trajectory, {first_s} s to {last_s} s")]
    OutsideTrajectory {
        /// The time asked for, seconds.
        time_s: f64,
        /// First time stamp, seconds.
        first_s: f64,
        /// Last time stamp, seconds.
        last_s: f64,
    },
    /// A time between two poses too far apart to interpolate.
    #[error("at {time_s} s the poses around are {gap_s} s apart, more than the {max_gap_s} s allowed")]
    Gap {
        /// The time asked for, seconds.
        time_s: f64,
        /// Distance of the two poses around it, seconds.
        gap_s: f64,
        /// The distance allowed, seconds.
        max_gap_s: f64,
    },
}

/// Why a camera was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// No pixels.
    #[error("an image of {width}×{height} pixels has no pixel")]
    EmptyImage {
        /// Width, pixels.
        width: u32,
        /// Height, pixels.
        height: u32,
    },
    /// A focal length that is zero, negative or not finite.
    #[error("focal lengths must be positive and finite, not fx {fx}, fy {fy} (pixels)")]
    BadFocalLength {
        /// Horizontal focal length, pixels.
        fx: f64,
        /// Vertical focal length, pixels.
        fy: f64,
    },
    /// A principal point that is not finite.
    #[error("the principal point must be finite, not cx {cx}, cy {cy} (pixels)")]
    BadPrincipalPoint {
        /// Horizontal, pixels.
        cx: f64,
        /// Vertical, pixels.
        cy: f64,
    },
    /// A lens coefficient that is not finite.
    #[error("a lens coefficient is not finite")]
    BadLens,
}

/// Why a point has no pixel. The ordinary case for most points of a cloud, so it is small and cheap.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionReject {
    /// In the plane of the camera's centre or behind it.
    #[error("the point is behind the camera")]
    BehindCamera,
    /// In front, but beside the image.
    #[error("the point falls beside the image, at u {:.1}, v {:.1}", pixel.u, pixel.v)]
    OutsideImage {
        /// Where it would be on a larger sensor.
        pixel: Pixel,
    },
    /// At an angle where the lens model folds back on itself, so that its pixel would mean nothing.
    #[error("the point is outside the angle for which the lens model is invertible")]
    OutsideLens,
    /// A coordinate is NaN or infinite, or the pixel would be.
    #[error("the point or its pixel is not finite")]
    NotFinite,
}

/// Why a pixel has no ray.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnprojectError {
    /// No ray within the invertible angle of the lens model arrives at this pixel.
    #[error("no ray of the lens model arrives at u {:.2}, v {:.2}", pixel.u, pixel.v)]
    OutsideLens {
        /// The pixel asked for.
        pixel: Pixel,
    },
    /// The iterative inverse did not settle.
    #[error("the lens inverse did not converge at u {:.2}, v {:.2} (residual {residual:.1e})", pixel.u, pixel.v)]
    NoConvergence {
        /// The pixel asked for.
        pixel: Pixel,
        /// What was left, in normalised coordinates.
        residual: f64,
    },
    /// The pixel or the depth is NaN or infinite, or the depth is not positive.
    #[error("the pixel or its depth is not a measurement (NaN, infinite, or depth not positive)")]
    NotFinite,
}

/// Why a depth map was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DepthError {
    /// The list of values does not fill the image.
    #[error("a depth map of {width}×{height} needs {expected} values, got {got}")]
    WrongLength {
        /// Width, pixels.
        width: u32,
        /// Height, pixels.
        height: u32,
        /// `width · height`.
        expected: usize,
        /// Number of values given.
        got: usize,
    },
    /// The scale of the encoding makes no sense.
    #[error("metres per unit must be positive and finite, not {metres_per_unit}")]
    BadScale {
        /// The scale given.
        metres_per_unit: f64,
    },
    /// A depth map and the camera it is used with have different sizes.
    #[error("the depth map is {depth:?} pixels and its camera {camera:?}; resize the camera to the map")]
    WrongCamera {
        /// Width and height of the map.
        depth: (u32, u32),
        /// Width and height of the camera.
        camera: (u32, u32),
    },
}

/// Why points could not be quantised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VoxelError {
    /// A voxel size that is zero, negative or not finite.
    #[error("the voxel size must be positive and finite, not {size}")]
    BadSize {
        /// The size given.
        size: f32,
    },
    /// A point that is NaN or infinite.
    #[error("point {point} is not finite: {coords:?}; drop such points first")]
    NotFinite {
        /// Its row.
        point: usize,
        /// Its coordinates.
        coords: [f32; 3],
    },
    /// A point whose voxel does not fit 32 bits.
    #[error("point {point} at {coords:?} is outside the grid of 2³² voxels an axis; is the unit metres?")]
    OutOfRange {
        /// Its row.
        point: usize,
        /// Its coordinates.
        coords: [f32; 3],
    },
    /// More points than a 32-bit row number can count.
    #[error("{n_points} points are more than 2³² − 1; voxelise them in parts")]
    TooManyPoints {
        /// How many there are.
        n_points: usize,
    },
}

// The errors on hot paths travel by value through every rejected point.
const _: () = assert!(size_of::<ProjectionReject>() <= 24);
const _: () = assert!(size_of::<UnprojectError>() <= 32);
