//! A depth map as another camera would have measured it.

use crate::{CameraModel, DepthMap, Rigid3, frame};

impl DepthMap {
    /// This depth map as a second camera would have measured it: depth registered to colour.
    ///
    /// # Panics
    /// If `depth_camera` and the map differ in size.
    #[track_caller]
    pub fn seen_by(
        &self,
        depth_camera: &CameraModel,
        camera_from_depth: &Rigid3<frame::Camera, frame::DepthCamera>,
        camera: &CameraModel,
    ) -> Self {
        let mut seen = Self::empty(camera.width(), camera.height());
        for lifted in self.lift::<frame::DepthCamera>(depth_camera) {
            let point = *camera_from_depth * lifted.point;
            let Ok(pixel) = camera.project(point) else { continue };
            let depth_m = camera.depth_of(point) as f32;
            let cell = &mut seen.metres_mut()[pixel.containing().index(camera.width())];
            // `min` ignores the NaN of an empty cell.
            *cell = cell.min(depth_m);
        }
        seen
    }
}
