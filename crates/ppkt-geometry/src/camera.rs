//! Cameras: points to pixels and back, and what resizing, cropping and mirroring an image does to its camera.

use crate::lens::InverseFailure;
use crate::{CameraError, Direction3, Lens, Pixel, Point3, ProjectionReject, UnprojectError, frame};

/// What "depth" means for a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum DepthMeasure {
    /// The z coordinate: what RGB-D sensors and depth images of perspective cameras hold.
    AlongAxis,
    /// The distance to the camera's centre: the only one that makes sense beyond 90° from the axis.
    AlongRay,
}

/// A calibrated camera: image size, focal lengths, principal point and lens.
///
/// In the pixel convention of [`Pixel`] (first pixel's centre at 0.5, 0.5); constructors named `…_opencv` take
/// intrinsics as calibration files have them, with that centre at (0, 0), and convert.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "serial::Plain", into = "serial::Plain"))]
pub struct CameraModel {
    width: u32,
    height: u32,
    // Negative in a mirrored image.
    fx: f64,
    fy: f64,
    cx: f64,
    cy: f64,
    lens: Lens,
    depth_measure: DepthMeasure,
    // From the lens, kept since finding it takes microseconds.
    radial_limit: f64,
}

impl CameraModel {
    /// A pinhole from intrinsics as calibration files have them, in pixels, the first pixel's centre at (0, 0).
    ///
    /// # Errors
    /// [`CameraError`] if a number makes no sense.
    pub fn pinhole_opencv(
        width: u32,
        height: u32,
        fx: f64,
        fy: f64,
        cx: f64,
        cy: f64,
    ) -> Result<Self, CameraError> {
        Self::new_opencv(width, height, [fx, fy, cx, cy], Lens::Pinhole)
    }

    /// A camera from `[fx, fy, cx, cy]` as calibration files have them, in pixels, the first pixel's centre at (0, 0).
    ///
    /// # Errors
    /// [`CameraError`] if a number makes no sense.
    pub fn new_opencv(
        width: u32,
        height: u32,
        [fx, fy, cx, cy]: [f64; 4],
        lens: Lens,
    ) -> Result<Self, CameraError> {
        let Pixel { u, v } = Pixel::from_opencv(cx, cy);
        Self::new(width, height, [fx, fy, u, v], lens)
    }

    /// A camera from `[fx, fy, cx, cy]` in this crate's convention: the first pixel's centre at (0.5, 0.5), so that an
    /// ideal principal point is `width / 2`, `height / 2`.
    ///
    /// # Errors
    /// [`CameraError`] if a number makes no sense.
    pub fn new(width: u32, height: u32, [fx, fy, cx, cy]: [f64; 4], lens: Lens) -> Result<Self, CameraError> {
        if !(fx > 0.0 && fy > 0.0) {
            return Err(CameraError::BadFocalLength { fx, fy });
        }
        Self::checked(width, height, [fx, fy, cx, cy], lens)
    }

    /// A panorama of the whole sphere: straight ahead in the middle, the seam behind, up at the top.
    ///
    /// # Errors
    /// [`CameraError::EmptyImage`].
    pub fn equirectangular(width: u32, height: u32) -> Result<Self, CameraError> {
        let (w, h) = (f64::from(width), f64::from(height));
        let per_radian = [w / std::f64::consts::TAU, h / std::f64::consts::PI];
        if width == 0 || height == 0 {
            return Err(CameraError::EmptyImage { width, height });
        }
        Self::new(width, height, [per_radian[0], per_radian[1], 0.5 * w, 0.5 * h], Lens::Equirectangular)
    }

    /// As [`Self::new`], but `fx` may be negative: a mirrored image.
    fn checked(width: u32, height: u32, [fx, fy, cx, cy]: [f64; 4], lens: Lens) -> Result<Self, CameraError> {
        if width == 0 || height == 0 {
            return Err(CameraError::EmptyImage { width, height });
        }
        if !(fx.is_finite() && fx != 0.0 && fy.is_finite() && fy > 0.0) {
            return Err(CameraError::BadFocalLength { fx, fy });
        }
        if !(cx.is_finite() && cy.is_finite()) {
            return Err(CameraError::BadPrincipalPoint { cx, cy });
        }
        if !lens.coefficients().iter().all(|c| c.is_finite()) {
            return Err(CameraError::BadLens);
        }
        let depth_measure =
            if lens.is_perspective() { DepthMeasure::AlongAxis } else { DepthMeasure::AlongRay };
        Ok(Self { width, height, fx, fy, cx, cy, lens, depth_measure, radial_limit: lens.radial_limit() })
    }

    /// The same camera with another meaning of depth.
    ///
    /// Perspective lenses start with [`DepthMeasure::AlongAxis`], fisheye and panorama with
    /// [`DepthMeasure::AlongRay`]; change it where a data set differs (a fisheye with rendered z, say).
    pub const fn with_depth_measure(self, depth_measure: DepthMeasure) -> Self {
        Self { depth_measure, ..self }
    }

    /// Width, pixels.
    #[inline]
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Height, pixels.
    #[inline]
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Horizontal focal length, pixels (panorama: pixels a radian). Negative in a mirrored image.
    #[inline]
    pub const fn fx(&self) -> f64 {
        self.fx
    }

    /// Vertical focal length, pixels (panorama: pixels a radian).
    #[inline]
    pub const fn fy(&self) -> f64 {
        self.fy
    }

    /// Principal point to the right, with the first pixel's centre at 0.5.
    #[inline]
    pub const fn cx(&self) -> f64 {
        self.cx
    }

    /// Principal point down, with the first pixel's centre at 0.5.
    #[inline]
    pub const fn cy(&self) -> f64 {
        self.cy
    }

    /// The lens.
    #[inline]
    pub const fn lens(&self) -> Lens {
        self.lens
    }

    /// What depth means for it.
    #[inline]
    pub const fn depth_measure(&self) -> DepthMeasure {
        self.depth_measure
    }

    /// `[fx, fy, cx, cy]` as calibration files have them, the first pixel's centre at (0, 0).
    pub const fn intrinsics_opencv(&self) -> [f64; 4] {
        let (cx, cy) = Pixel { u: self.cx, v: self.cy }.to_opencv();
        [self.fx, self.fy, cx, cy]
    }

    /// The largest angle from the optical axis, radians, at which the lens model can be inverted.
    ///
    /// π/2 for a pinhole, π for a panorama; less for a polynomial that folds back (see [`Lens`]).
    pub fn max_angle(&self) -> f64 {
        match self.lens {
            Lens::Pinhole | Lens::BrownConrady { .. } | Lens::Rational { .. } => self.radial_limit.atan(),
            Lens::KannalaBrandt { .. } => self.radial_limit,
            Lens::Equirectangular => std::f64::consts::PI,
        }
    }

    /// The pixel at which a point is seen, inside the image.
    ///
    /// # Errors
    /// [`ProjectionReject`] says why there is none.
    #[inline]
    pub fn project(&self, point: Point3<frame::Camera>) -> Result<Pixel, ProjectionReject> {
        let mut pixel = self.project_unbounded(point)?;
        if matches!(self.lens, Lens::Equirectangular) {
            // A panorama repeats; a window of it may lie across the seam.
            pixel.u = pixel.u.rem_euclid(std::f64::consts::TAU * self.fx.abs());
        }
        if pixel.is_inside(self.width, self.height) {
            Ok(pixel)
        } else {
            Err(ProjectionReject::OutsideImage { pixel })
        }
    }

    /// As [`Self::project`], on a sensor without borders.
    ///
    /// # Errors
    /// As [`Self::project`], but never [`ProjectionReject::OutsideImage`].
    #[inline]
    pub fn project_unbounded(&self, point: Point3<frame::Camera>) -> Result<Pixel, ProjectionReject> {
        let [x, y, z] = point.to_array();
        if !point.is_finite() {
            return Err(ProjectionReject::NotFinite);
        }
        if z <= 0.0 && (self.lens.is_perspective() || self.depth_measure == DepthMeasure::AlongAxis) {
            return Err(ProjectionReject::BehindCamera);
        }
        let (x_d, y_d) = match self.lens {
            Lens::Pinhole => (x / z, y / z),
            Lens::BrownConrady { .. } | Lens::Rational { .. } => {
                let (x, y) = (x / z, y / z);
                if x * x + y * y > self.radial_limit * self.radial_limit {
                    return Err(ProjectionReject::OutsideLens);
                }
                self.lens.distort(x, y)
            }
            Lens::KannalaBrandt { .. } => {
                let r = x.hypot(y);
                let theta = r.atan2(z);
                // Straight backwards every direction in the image is as good: there is no pixel.
                if theta > self.radial_limit || (r == 0.0 && z <= 0.0) {
                    return Err(ProjectionReject::OutsideLens);
                }
                // The limit of θ'/r on the axis is 1/z.
                let scale = if r > 0.0 { self.lens.distort_angle(theta) / r } else { 0.0 };
                (x * scale, y * scale)
            }
            Lens::Equirectangular => {
                let r = x.hypot(z);
                if r == 0.0 && y == 0.0 {
                    return Err(ProjectionReject::OutsideLens);
                }
                (x.atan2(z), y.atan2(r))
            }
        };
        let pixel = Pixel { u: self.fx * x_d + self.cx, v: self.fy * y_d + self.cy };
        if pixel.u.is_finite() && pixel.v.is_finite() { Ok(pixel) } else { Err(ProjectionReject::NotFinite) }
    }

    /// [`Self::project`] for a pinhole, without branches: whether the point is seen, and where if so.
    ///
    /// In a cloud which points are seen is as good as random, and every branch on it is mispredicted. Comparisons with
    /// NaN are false, so nothing that is not finite is seen.
    #[inline]
    pub(crate) fn project_pinhole(&self, x: f64, y: f64, z: f64) -> (bool, Pixel) {
        let per_z = z.recip();
        let pixel = Pixel { u: self.fx * (x * per_z) + self.cx, v: self.fy * (y * per_z) + self.cy };
        let in_width = (pixel.u >= 0.0) & (pixel.u < f64::from(self.width));
        let in_height = (pixel.v >= 0.0) & (pixel.v < f64::from(self.height));
        ((z > 0.0) & (z < f64::INFINITY) & in_width & in_height, pixel)
    }

    /// The ray that arrives at a pixel, as a direction of length 1 from the camera's centre.
    ///
    /// The pixel may lie outside the image.
    ///
    /// # Errors
    /// [`UnprojectError`] where the lens model has no such ray.
    pub fn unproject(&self, pixel: Pixel) -> Result<Direction3<frame::Camera>, UnprojectError> {
        let ray = self.ray(pixel)?;
        let norm = ray.norm();
        Ok(ray * norm.recip())
    }

    /// The point seen at a pixel at this depth, metres, in the camera's own [`Self::depth_measure`].
    ///
    /// # Errors
    /// [`UnprojectError`] where the lens model has no such ray, the depth is no positive number, or no point on the
    /// ray has this depth (along the axis, for a ray beyond 90°).
    #[inline]
    pub fn unproject_to_depth(
        &self,
        pixel: Pixel,
        depth_m: f64,
    ) -> Result<Point3<frame::Camera>, UnprojectError> {
        if !(depth_m > 0.0 && depth_m.is_finite()) {
            return Err(UnprojectError::NotFinite);
        }
        let ray = self.ray_at_unit_depth(pixel)?;
        Ok(Point3::from_coords(ray.coords() * depth_m))
    }

    /// Depth of a point in the camera's own [`Self::depth_measure`], metres.
    #[inline]
    pub fn depth_of(&self, point: Point3<frame::Camera>) -> f64 {
        match self.depth_measure {
            DepthMeasure::AlongAxis => point.z(),
            DepthMeasure::AlongRay => point.coords().norm(),
        }
    }

    /// The ray through a pixel up to the point at depth 1 m.
    #[inline]
    pub(crate) fn ray_at_unit_depth(
        &self,
        pixel: Pixel,
    ) -> Result<Direction3<frame::Camera>, UnprojectError> {
        let ray = self.ray(pixel)?;
        match self.depth_measure {
            DepthMeasure::AlongAxis if ray.z() > 0.0 => Ok(ray * ray.z().recip()),
            DepthMeasure::AlongAxis => Err(UnprojectError::OutsideLens { pixel }),
            DepthMeasure::AlongRay => Ok(ray * ray.norm().recip()),
        }
    }

    /// The ray through a pixel, z = 1 for perspective lenses, length 1 for the others.
    #[inline]
    fn ray(&self, pixel: Pixel) -> Result<Direction3<frame::Camera>, UnprojectError> {
        if !(pixel.u.is_finite() && pixel.v.is_finite()) {
            return Err(UnprojectError::NotFinite);
        }
        let (x_d, y_d) = ((pixel.u - self.cx) / self.fx, (pixel.v - self.cy) / self.fy);
        let failed = |failure| match failure {
            InverseFailure::Outside => UnprojectError::OutsideLens { pixel },
            InverseFailure::NoConvergence(residual) => UnprojectError::NoConvergence { pixel, residual },
        };
        match self.lens {
            Lens::Pinhole => Ok(Direction3::new(x_d, y_d, 1.0)),
            Lens::BrownConrady { .. } | Lens::Rational { .. } => {
                let (x, y) = self.lens.undistort(x_d, y_d, self.radial_limit).map_err(failed)?;
                Ok(Direction3::new(x, y, 1.0))
            }
            Lens::KannalaBrandt { .. } => {
                let r_d = (x_d * x_d + y_d * y_d).sqrt();
                if r_d == 0.0 {
                    return Ok(Direction3::new(0.0, 0.0, 1.0));
                }
                let theta = self.lens.undistort_angle(r_d, self.radial_limit).map_err(failed)?;
                let (sin, cos) = theta.sin_cos();
                Ok(Direction3::new(sin * x_d / r_d, sin * y_d / r_d, cos))
            }
            Lens::Equirectangular => {
                let slack = 1.0 + 1e-12;
                if x_d.abs() > std::f64::consts::PI * slack || y_d.abs() > std::f64::consts::FRAC_PI_2 * slack
                {
                    return Err(UnprojectError::OutsideLens { pixel });
                }
                let ((sin_a, cos_a), (sin_e, cos_e)) = (x_d.sin_cos(), y_d.sin_cos());
                Ok(Direction3::new(sin_a * cos_e, sin_e, cos_a * cos_e))
            }
        }
    }

    /// The camera of the same image scaled to another size.
    ///
    /// Exact, since a pixel is an area here: the image's edges stay where they are, and `u` is multiplied by
    /// `width / self.width()`.
    ///
    /// # Panics
    /// If a side is 0.
    #[track_caller]
    pub fn resized(&self, width: u32, height: u32) -> Self {
        assert!(width > 0 && height > 0, "an image of {width}×{height} pixels has no pixel");
        let (s_x, s_y) =
            (f64::from(width) / f64::from(self.width), f64::from(height) / f64::from(self.height));
        Self {
            width,
            height,
            fx: self.fx * s_x,
            fy: self.fy * s_y,
            cx: self.cx * s_x,
            cy: self.cy * s_y,
            ..*self
        }
    }

    /// The camera of a window of the image whose upper left corner is at (`u0`, `v0`).
    ///
    /// Corners may lie between pixels or outside the image (padding).
    ///
    /// # Panics
    /// If a side is 0 or an offset is not finite.
    #[track_caller]
    pub fn cropped(&self, u0: f64, v0: f64, width: u32, height: u32) -> Self {
        assert!(width > 0 && height > 0, "an image of {width}×{height} pixels has no pixel");
        assert!(u0.is_finite() && v0.is_finite(), "the corner {u0}, {v0} of a crop must be finite");
        Self { width, height, cx: self.cx - u0, cy: self.cy - v0, ..*self }
    }

    /// The camera of the image mirrored left to right: `u` becomes `width − u`.
    ///
    /// The scene is not mirrored: points keep their coordinates, and `fx` changes its sign. Twice is the camera again.
    pub fn flipped_horizontally(&self) -> Self {
        Self { fx: -self.fx, cx: f64::from(self.width) - self.cx, ..*self }
    }
}

#[cfg(feature = "serde")]
mod serial {
    use super::{CameraError, CameraModel, DepthMeasure, Lens};

    /// A camera on disk; read back through the checks.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Plain {
        width: u32,
        height: u32,
        fx: f64,
        fy: f64,
        /// With the first pixel's centre at 0.5.
        cx: f64,
        cy: f64,
        lens: Lens,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        depth_measure: Option<DepthMeasure>,
    }

    impl From<CameraModel> for Plain {
        fn from(c: CameraModel) -> Self {
            let CameraModel { width, height, fx, fy, cx, cy, lens, depth_measure, radial_limit: _ } = c;
            Self { width, height, fx, fy, cx, cy, lens, depth_measure: Some(depth_measure) }
        }
    }

    impl TryFrom<Plain> for CameraModel {
        type Error = CameraError;
        fn try_from(p: Plain) -> Result<Self, CameraError> {
            let camera = CameraModel::checked(p.width, p.height, [p.fx, p.fy, p.cx, p.cy], p.lens)?;
            Ok(p.depth_measure.map_or(camera, |m| camera.with_depth_measure(m)))
        }
    }
}
