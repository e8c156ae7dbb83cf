//! Surface normals from a depth map.

use crate::{CameraModel, DepthMap, Direction3, PixelIdx, Point3, frame};

impl DepthMap {
    /// The surface normal at every pixel, row-major, of length 1 and towards the camera.
    ///
    /// From the points of the pixels left and right, above and below: their differences span the surface, and the
    /// vector product is its normal. `None` where a pixel of the five has no measurement, at the border, and where
    /// the depth of a neighbour differs by more than 5 % (an edge: the two pixels belong to two surfaces).
    ///
    /// # Panics
    /// If camera and map differ in size.
    #[track_caller]
    pub fn normals<F>(&self, camera: &CameraModel) -> Vec<Option<Direction3<F>>> {
        self.assert_camera(camera);
        let (width, height) = (self.width() as usize, self.height() as usize);
        let mut points: Vec<Option<Point3<frame::Camera>>> = vec![None; width * height];
        for lifted in self.lift::<frame::Camera>(camera) {
            points[lifted.pixel.index(self.width())] = Some(lifted.point);
        }
        let mut normals = Vec::with_capacity(width * height);
        for row in 0..height {
            for col in 0..width {
                let inside = row > 0 && col > 0 && row + 1 < height && col + 1 < width;
                normals.push(if inside { self.normal_at(&points, row, col) } else { None });
            }
        }
        normals
    }

    fn normal_at<F>(
        &self,
        points: &[Option<Point3<frame::Camera>>],
        row: usize,
        col: usize,
    ) -> Option<Direction3<F>> {
        const EDGE: f32 = 0.05;
        let width = self.width() as usize;
        let depth_m = self.at(PixelIdx { row: row as u32, col: col as u32 })?;
        let here = points[row * width + col]?;
        let neighbour = |row: usize, col: usize| {
            let index = row * width + col;
            ((self.metres()[index] - depth_m).abs() <= EDGE * depth_m).then_some(points[index]?)
        };
        let across = neighbour(row, col + 1)? - neighbour(row, col - 1)?;
        let down = neighbour(row + 1, col)? - neighbour(row - 1, col)?;
        let normal = across.cross(&down).normalised()?;
        // The camera is at the origin, so `here` points away from it; mirrored cameras turn the product around.
        let normal = if normal.coords().dot(&here.coords()) > 0.0 { -normal } else { normal };
        Some(normal.with_frame())
    }
}
