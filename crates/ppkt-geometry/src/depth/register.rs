//! A depth map as another camera would have measured it.
//!
//! Moving single pixels would leave holes wherever the second camera sees the surface at a finer scale, and the
//! background would shine through them. So the measured pixels are joined to a surface: of each four neighbours two
//! triangles, except across an edge in depth, drawn into the second camera's image with a z-buffer. A measured pixel
//! that belongs to no triangle is moved by itself.

use crate::{CameraModel, DepthMap, Lens, Pixel, PixelIdx, Rigid3, frame};

/// Neighbours whose depths differ by more than this share lie on two surfaces.
///
/// Two neighbouring pixels on one plane differ by about `tan(slant) / f`, so 5 % at f = 500 joins surfaces up to 87°
/// from facing the camera, while the step from an object to the wall behind is more in most rooms.
const EDGE: f32 = 0.05;

/// A measured pixel in the second camera: where, and one over its depth there.
#[derive(Clone, Copy)]
struct Corner {
    pixel: Pixel,
    inverse_depth: f64,
}

impl DepthMap {
    /// This depth map as a second camera would have measured it: depth registered to colour.
    ///
    /// The result has the size of `camera` and its meaning of depth. What the second camera sees but the first did
    /// not (beside an object, mostly) stays without a measurement; where two surfaces meet in a pixel the nearer wins.
    /// Between the measured pixels the surface is taken as flat (one over depth is interpolated, which is exact for
    /// planes seen by a pinhole).
    ///
    /// # Panics
    /// If `depth_camera` and the map differ in size; see [`Self::check_camera`].
    #[track_caller]
    pub fn seen_by<F>(
        &self,
        depth_camera: &CameraModel,
        camera_from_depth: &Rigid3<frame::Camera, F>,
        camera: &CameraModel,
    ) -> Self {
        let (width, height) = (self.width() as usize, self.height() as usize);
        let mut corners: Vec<Option<Corner>> = vec![None; width * height];
        let (rotation, translation) = camera_from_depth.parts();
        for lifted in self.lift::<frame::Camera>(depth_camera) {
            let point = (rotation * lifted.point.coords() + translation).into();
            let point = crate::Point3::from_array(point);
            // Corners beside the image still span triangles that reach into it.
            if let Ok(pixel) = camera.project_unbounded(point) {
                let inverse_depth = camera.depth_of(point).recip();
                corners[lifted.pixel.index(self.width())] = Some(Corner { pixel, inverse_depth });
            }
        }

        let mut canvas = Canvas::new(camera);
        let mut joined = vec![false; width * height];
        for row in 1..height {
            for col in 1..width {
                let (a, b) = ((row - 1) * width + col - 1, (row - 1) * width + col);
                let (c, d) = (row * width + col - 1, row * width + col);
                for triangle in [[a, b, c], [b, d, c]] {
                    if let Some(three) = self.surface(triangle, &corners)
                        && canvas.draw(&three)
                    {
                        triangle.iter().for_each(|&i| joined[i] = true);
                    }
                }
            }
        }
        for (corner, joined) in corners.iter().zip(joined) {
            if let (Some(corner), false) = (corner, joined) {
                canvas.dot(corner);
            }
        }
        canvas.into_depth()
    }

    /// The three corners, if all are measured and on one surface.
    fn surface(&self, triangle: [usize; 3], corners: &[Option<Corner>]) -> Option<[Corner; 3]> {
        let depths = triangle.map(|i| self.metres()[i]);
        // NaN makes the comparison false.
        let nearest = depths[0].min(depths[1]).min(depths[2]);
        let on_one_surface = depths.iter().all(|d| d - nearest <= EDGE * nearest);
        if !on_one_surface {
            return None;
        }
        Some([corners[triangle[0]]?, corners[triangle[1]]?, corners[triangle[2]]?])
    }
}

/// The second camera's image, holding one over the depth of the nearest surface; 0 where there is none.
struct Canvas {
    width: u32,
    height: u32,
    nearest: Vec<f32>,
    /// A triangle wider than this lies across the seam of a panorama and is not one.
    widest: f64,
}

impl Canvas {
    fn new(camera: &CameraModel) -> Self {
        let (width, height) = (camera.width(), camera.height());
        let widest = match camera.lens() {
            Lens::Equirectangular => std::f64::consts::PI * camera.fx().abs(),
            _ => f64::INFINITY,
        };
        Self { width, height, nearest: vec![0.0; width as usize * height as usize], widest }
    }

    fn put(&mut self, pixel: PixelIdx, inverse_depth: f64) {
        let cell = &mut self.nearest[pixel.index(self.width)];
        *cell = cell.max(inverse_depth as f32);
    }

    fn dot(&mut self, corner: &Corner) {
        if let Some(pixel) = corner.pixel.containing_in(self.width, self.height) {
            self.put(pixel, corner.inverse_depth);
        }
    }

    /// Draws a triangle at the pixels whose centres it covers; `false` if it is no triangle.
    ///
    /// Both orders of the corners are drawn: the surface may be seen from the other side.
    fn draw(&mut self, [a, b, c]: &[Corner; 3]) -> bool {
        let (ab_u, ab_v) = (b.pixel.u - a.pixel.u, b.pixel.v - a.pixel.v);
        let (ac_u, ac_v) = (c.pixel.u - a.pixel.u, c.pixel.v - a.pixel.v);
        let twice_area = ab_u * ac_v - ab_v * ac_u;
        let (left, right) = bounds(a.pixel.u, b.pixel.u, c.pixel.u);
        let (top, bottom) = bounds(a.pixel.v, b.pixel.v, c.pixel.v);
        if twice_area.abs() < 1e-9 || right - left > self.widest {
            return false;
        }
        let (ab_inv, ac_inv) = (b.inverse_depth - a.inverse_depth, c.inverse_depth - a.inverse_depth);
        let per_area = twice_area.recip();
        for row in centres(top, bottom, self.height) {
            for col in centres(left, right, self.width) {
                let (u, v) = (f64::from(col) + 0.5 - a.pixel.u, f64::from(row) + 0.5 - a.pixel.v);
                let towards_b = (u * ac_v - v * ac_u) * per_area;
                let towards_c = (ab_u * v - ab_v * u) * per_area;
                if towards_b >= -ON_EDGE && towards_c >= -ON_EDGE && towards_b + towards_c <= 1.0 + ON_EDGE {
                    let inverse_depth = a.inverse_depth + towards_b * ab_inv + towards_c * ac_inv;
                    self.put(PixelIdx { row, col }, inverse_depth);
                }
            }
        }
        true
    }

    fn into_depth(self) -> DepthMap {
        let mut depth = DepthMap::empty(self.width, self.height);
        for (metres, inverse) in depth.metres_mut().iter_mut().zip(self.nearest) {
            if inverse > 0.0 {
                *metres = inverse.recip();
            }
        }
        depth
    }
}

/// A centre that lies on a common side by all but rounding belongs to both triangles, so that no seam stays open.
const ON_EDGE: f64 = 1e-9;

fn bounds(a: f64, b: f64, c: f64) -> (f64, f64) {
    (a.min(b).min(c), a.max(b).max(c))
}

/// The whole pixels of a side of `size` whose centres lie in `low..=high`, by all but rounding.
fn centres(low: f64, high: f64, size: u32) -> std::ops::Range<u32> {
    // `as` clamps to the range of u32, so what is left of the image becomes 0.
    ((low - 0.5 - ON_EDGE).ceil() as u32).min(size)
        ..((high - 0.5 + ON_EDGE).floor() + 1.0).min(size.into()) as u32
}
