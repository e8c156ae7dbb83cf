//! A depth map as another camera would have measured it.
//!
//! Moving single pixels would leave holes wherever the second camera sees the surface at a finer scale, and the
//! background would shine through them. So the measured pixels are joined to a surface: of each four neighbours two
//! triangles, except across an edge in depth, drawn into the second camera's image with a z-buffer. A measured pixel
//! that belongs to no triangle is moved by itself.

use std::ops::Range;

use crate::parallel::flat_map_range;
use crate::{CameraModel, DepthMap, Lens, Pixel, PixelIdx, Point3, Rigid3, frame};

/// Neighbours whose depths differ by more than this share lie on two surfaces.
///
/// Two neighbouring pixels on one plane differ by about `tan(slant) / f`, so 5 % at f = 500 joins surfaces up to 87°
/// from facing the camera, while the step from an object to the wall behind is more in most rooms.
const EDGE: f32 = 0.05;

/// A measured pixel in the second camera: where, and one over its depth there. NaN if it is not seen.
#[derive(Clone, Copy)]
struct Corner {
    u: f64,
    v: f64,
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
        self.assert_camera(depth_camera);
        let corners = self.corners(depth_camera, camera_from_depth, camera);
        let width = self.width() as usize;
        let mut canvas = Canvas::new(camera);
        let mut joined = vec![false; corners.len()];
        for row in 1..self.height() as usize {
            for col in 1..width {
                let b = (row - 1) * width + col;
                let d = b + width;
                for triangle in [[b - 1, b, d - 1], [b, d, d - 1]] {
                    if self.on_one_surface(triangle) && canvas.draw(triangle.map(|i| corners[i])) {
                        triangle.iter().for_each(|&i| joined[i] = true);
                    }
                }
            }
        }
        for (corner, joined) in corners.iter().zip(joined) {
            if !joined {
                canvas.dot(corner);
            }
        }
        canvas.into_depth()
    }

    fn corners<F>(
        &self,
        depth_camera: &CameraModel,
        camera_from_depth: &Rigid3<frame::Camera, F>,
        camera: &CameraModel,
    ) -> Vec<Corner> {
        let (rotation, translation) = camera_from_depth.parts();
        let points = self.point_grid(depth_camera);
        flat_map_range(points.len(), 1 << 14, |range, out| {
            out.extend(points[range].iter().map(|point| {
                let point = Point3::from_coords(rotation * point + translation);
                // Corners beside the image still span triangles that reach into it.
                match camera.project_unbounded(point) {
                    Ok(Pixel { u, v }) => Corner { u, v, inverse_depth: camera.depth_of(point).recip() },
                    Err(_) => Corner { u: f64::NAN, v: f64::NAN, inverse_depth: f64::NAN },
                }
            }));
        })
    }

    /// Whether all three are measured, and about as far away.
    #[inline]
    fn on_one_surface(&self, triangle: [usize; 3]) -> bool {
        let depths = triangle.map(|i| self.metres()[i]);
        let nearest = depths[0].min(depths[1]).min(depths[2]);
        // False for NaN, which `min` ignores.
        depths.iter().all(|d| d - nearest <= EDGE * nearest)
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
        if let Some(pixel) = Pixel::new(corner.u, corner.v).containing_in(self.width, self.height) {
            self.put(pixel, corner.inverse_depth);
        }
    }

    /// Draws a triangle at the pixels whose centres it covers; `false` if it is no triangle.
    ///
    /// Both orders of the corners are drawn: the surface may be seen from the other side.
    fn draw(&mut self, [a, b, c]: [Corner; 3]) -> bool {
        let (ab_u, ab_v) = (b.u - a.u, b.v - a.v);
        let (ac_u, ac_v) = (c.u - a.u, c.v - a.v);
        let twice_area = ab_u * ac_v - ab_v * ac_u;
        let (left, right) = (a.u.min(b.u).min(c.u), a.u.max(b.u).max(c.u));
        // A corner that is not seen makes the area NaN.
        if twice_area.is_nan() || twice_area.abs() < 1e-9 || right - left > self.widest {
            return false;
        }
        let cols = centres(left, right, self.width);
        let rows = centres(a.v.min(b.v).min(c.v), a.v.max(b.v).max(c.v), self.height);
        if cols.is_empty() || rows.is_empty() {
            return true;
        }
        let per_area = twice_area.recip();
        let (ab_inv, ac_inv) = (b.inverse_depth - a.inverse_depth, c.inverse_depth - a.inverse_depth);
        for row in rows {
            for col in cols.clone() {
                let (u, v) = (f64::from(col) + 0.5 - a.u, f64::from(row) + 0.5 - a.v);
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

/// The whole pixels of a side of `size` whose centres lie in `low..=high`, by all but rounding.
#[inline]
fn centres(low: f64, high: f64, size: u32) -> Range<u32> {
    let (low, high) = (low - 0.5 - ON_EDGE, high - 0.5 + ON_EDGE);
    // `as` cuts towards zero and clamps to the range of u32, so what lies left of the image becomes 0; this is ceil
    // and floor without the calls that they are on a processor assumed to be old.
    let first = low as u32;
    let first = first.saturating_add(u32::from(f64::from(first) < low));
    let end = if high < 0.0 { 0 } else { (high as u32).saturating_add(1) };
    first..end.min(size)
}
