//! Surface normals from a depth map.

use nalgebra::Vector3;

use super::lift::ROWS;
use crate::parallel::flat_map_range;
use crate::{CameraModel, DepthMap, Direction3};

/// Neighbours whose depths differ from the pixel's by more than this share belong to another surface.
const EDGE: f32 = 0.05;

impl DepthMap {
    /// The surface normal at every pixel, row-major, of length 1 and towards the camera.
    ///
    /// From the points of the pixels left and right, above and below: their differences span the surface, and the
    /// vector product is its normal. `None` where a pixel of the five has no measurement, at the border, and where
    /// the depth of a neighbour differs by more than 5 % (an edge: the two pixels belong to two surfaces).
    ///
    /// The normals are as noisy as the depth of neighbouring pixels; smooth the depth first where that is too much.
    ///
    /// # Panics
    /// If camera and map differ in size; see [`Self::check_camera`].
    #[track_caller]
    pub fn normals<F>(&self, camera: &CameraModel) -> Vec<Option<Direction3<F>>> {
        self.assert_camera(camera);
        let (width, height) = (self.width() as usize, self.height() as usize);
        let points = self.point_grid(camera);
        flat_map_range(height, ROWS, |rows, out| {
            for row in rows {
                for col in 0..width {
                    let inside = row > 0 && col > 0 && row + 1 < height && col + 1 < width;
                    out.push(if inside { self.normal_at(&points, row * width + col) } else { None });
                }
            }
        })
    }

    /// The normal at a pixel that is not at the border. NaN runs through to the end and gives `None`.
    fn normal_at<F>(&self, points: &[Vector3<f64>], index: usize) -> Option<Direction3<F>> {
        let width = self.width() as usize;
        let [left, right, above, below] = [index - 1, index + 1, index - width, index + width];
        let depths = self.metres();
        let (here_m, most) = (depths[index], EDGE * depths[index]);
        if ![left, right, above, below].iter().all(|&i| (depths[i] - here_m).abs() <= most) {
            return None;
        }
        let across = points[right] - points[left];
        let down = points[below] - points[above];
        let normal = Direction3::<F>::from_coords(across.cross(&down)).normalised()?;
        // The camera is at the origin, so the point's coordinates point away from it; and so does the product, save
        // in a mirrored camera.
        let away = normal.coords().dot(&points[index]) > 0.0;
        Some(if away { -normal } else { normal })
    }
}
