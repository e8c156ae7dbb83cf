//! Depth to points, one pixel to one point.

use nalgebra::Vector3;

use crate::parallel::flat_map_range;
use crate::{CameraModel, DepthError, DepthMap, PixelIdx, Point3};

/// Rows that a thread takes at once: enough work to be worth handing over, few enough to share out evenly.
pub(crate) const ROWS: usize = 32;

/// The point seen at a pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiftedPoint<F> {
    /// Where it is, in the frame of the camera.
    pub point: Point3<F>,
    /// The pixel it was lifted from, at its centre.
    pub pixel: PixelIdx,
}

impl DepthMap {
    /// The point behind the centre of every measured pixel, in row-major order of the pixels.
    ///
    /// Pixels without a measurement, and those where the lens model has no ray, give no point. `F` is the frame of
    /// the camera: [`crate::frame::Camera`] or, for a sensor of its own, [`crate::frame::DepthCamera`].
    ///
    /// # Panics
    /// If camera and map differ in size; see [`Self::check_camera`].
    #[track_caller]
    pub fn lift<F>(&self, camera: &CameraModel) -> Vec<LiftedPoint<F>> {
        self.assert_camera(camera);
        let width = self.width() as usize;
        flat_map_range(self.height() as usize, ROWS, |rows, out| {
            let metres = &self.metres()[rows.start * width..rows.end * width];
            out.reserve(metres.iter().filter(|d| !d.is_nan()).count());
            for (i, &depth_m) in metres.iter().enumerate() {
                if depth_m.is_nan() {
                    continue;
                }
                let pixel = PixelIdx { row: (rows.start + i / width) as u32, col: (i % width) as u32 };
                if let Ok(point) = camera.unproject_to_depth(pixel.centre(), f64::from(depth_m)) {
                    out.push(LiftedPoint { point: point.with_frame(), pixel });
                }
            }
        })
    }

    /// The point at every pixel, row-major, in the frame of the camera; NaN where [`Self::lift`] gives none.
    pub(crate) fn point_grid(&self, camera: &CameraModel) -> Vec<Vector3<f64>> {
        let width = self.width() as usize;
        flat_map_range(self.height() as usize, ROWS, |rows, out| {
            let metres = &self.metres()[rows.start * width..rows.end * width];
            out.extend(metres.iter().enumerate().map(|(i, &depth_m)| {
                let pixel = PixelIdx { row: (rows.start + i / width) as u32, col: (i % width) as u32 };
                // A depth of NaN has no point.
                camera
                    .unproject_to_depth(pixel.centre(), f64::from(depth_m))
                    .map_or(Vector3::repeat(f64::NAN), |p| p.coords())
            }));
        })
    }

    /// Whether a camera has the size of this map, as [`Self::lift`] and others demand.
    ///
    /// # Errors
    /// [`DepthError::WrongCamera`].
    pub fn check_camera(&self, camera: &CameraModel) -> Result<(), DepthError> {
        let (depth, camera) = ((self.width(), self.height()), (camera.width(), camera.height()));
        if depth == camera { Ok(()) } else { Err(DepthError::WrongCamera { depth, camera }) }
    }

    #[track_caller]
    pub(crate) fn assert_camera(&self, camera: &CameraModel) {
        if let Err(e) = self.check_camera(camera) {
            panic!("{e}");
        }
    }
}
