//! Depth to points, one pixel to one point.

use crate::{CameraModel, DepthError, DepthMap, PixelIdx, Point3};

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
        let mut lifted = Vec::with_capacity(self.n_valid());
        for row in 0..self.height() {
            for col in 0..self.width() {
                let pixel = PixelIdx { row, col };
                let Some(depth_m) = self.at(pixel) else { continue };
                if let Ok(point) = camera.unproject_to_depth(pixel.centre(), f64::from(depth_m)) {
                    lifted.push(LiftedPoint { point: point.with_frame(), pixel });
                }
            }
        }
        lifted
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
