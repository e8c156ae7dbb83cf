//! Which pixel sees which point.

use crate::parallel::flat_map_range;
use crate::{CameraModel, DepthMap, Lens, Pixel, Point3, Rigid3, frame};

/// Points that a thread takes at once.
const PART: usize = 1 << 14;

/// Points written to a buffer in the first-level cache before the seen ones are kept.
const SLAB: usize = 256;

/// A point of a cloud as a camera sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Row of the point in the cloud.
    pub point: u32,
    /// Where it is seen.
    pub pixel: Pixel,
    /// How far away, metres, in the camera's [`CameraModel::depth_measure`].
    pub depth_m: f32,
}

/// When a point counts as hidden by others.
///
/// A point at depth `d` is visible at a pixel where the nearest surface has depth `n` if
/// `d ≤ n + absolute_m + relative · n`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Visibility {
    /// Tolerance, metres: noise of the sensor and thickness of a surface.
    pub absolute_m: f32,
    /// Tolerance as a share of the depth: error of the sensor and of the pose, which grow with distance.
    pub relative: f32,
    /// How far around itself a point covers the image, pixels: 0 for its own pixel, 1 for 3×3, and so on. A cloud
    /// sparser than the pixels needs more, or the background is seen through the gaps of the foreground.
    pub splat_px: u32,
}

impl Default for Visibility {
    /// 2 cm and 2 %, covering 3×3 pixels: for clouds about as dense as the image.
    fn default() -> Self {
        Self { absolute_m: 0.02, relative: 0.02, splat_px: 1 }
    }
}

impl Visibility {
    #[inline]
    fn slack_m(&self, depth_m: f32) -> f32 {
        self.absolute_m + self.relative * depth_m
    }
}

/// The points of a cloud that a camera sees, in the order of the cloud.
///
/// Points behind the camera, beside the image, outside the lens or not finite are left out. With `visibility`, so are
/// those hidden behind other points of the cloud (a z-buffer of the size of the image).
///
/// # Panics
/// If the cloud has more than 2³² − 1 points.
pub fn observe<F>(
    points: &[[f32; 3]],
    camera_from_points: &Rigid3<frame::Camera, F>,
    camera: &CameraModel,
    visibility: Option<&Visibility>,
) -> Vec<Observation> {
    let mut seen = project_all(points, camera_from_points, camera);
    if let Some(visibility) = visibility {
        let nearest = z_buffer(&seen, camera, visibility.splat_px);
        seen.retain(|o| {
            let front = nearest[o.pixel.containing().index(camera.width())];
            o.depth_m <= front + visibility.slack_m(front)
        });
    }
    seen
}

/// The points of a cloud that a camera sees, judged by a depth map of that camera.
///
/// As [`observe`], but the nearest surface is what the sensor measured at the point's pixel. A point is kept if its
/// depth agrees with it, `|d − n| ≤ absolute_m + relative · n`: one behind is hidden, one in front is a surface that
/// the sensor did not see there (something moved, or the pose is off). Where nothing was measured nothing is known,
/// and the point is left out. `splat_px` plays no part.
///
/// # Panics
/// If camera and map differ in size, or the cloud has more than 2³² − 1 points.
#[track_caller]
pub fn observe_with_depth<F>(
    points: &[[f32; 3]],
    camera_from_points: &Rigid3<frame::Camera, F>,
    camera: &CameraModel,
    depth: &DepthMap,
    visibility: &Visibility,
) -> Vec<Observation> {
    depth.assert_camera(camera);
    let mut seen = project_all(points, camera_from_points, camera);
    seen.retain(|o| {
        depth
            .sample_nearest(o.pixel)
            .is_some_and(|measured| (o.depth_m - measured).abs() <= visibility.slack_m(measured))
    });
    seen
}

fn project_all<F>(
    points: &[[f32; 3]],
    camera_from_points: &Rigid3<frame::Camera, F>,
    camera: &CameraModel,
) -> Vec<Observation> {
    assert!(points.len() < u32::MAX as usize, "{} points are more than a row number can count", points.len());
    let (rotation, translation) = camera_from_points.parts();
    let in_camera = |row: usize| -> Point3<frame::Camera> {
        let p = Point3::<F>::from_f32(points[row]);
        Point3::from_coords(rotation * p.coords() + translation)
    };
    flat_map_range(points.len(), PART, |rows, out| {
        if camera.lens() == Lens::Pinhole {
            // Each point is written, and the place moves on only if it is seen: no branch to mispredict.
            let mut part = [Observation { point: 0, pixel: Pixel { u: 0.0, v: 0.0 }, depth_m: 0.0 }; SLAB];
            for start in rows.clone().step_by(SLAB) {
                let mut n_seen = 0;
                for row in start..(start + SLAB).min(rows.end) {
                    let p = in_camera(row);
                    let (seen, pixel) = camera.project_pinhole(p.x(), p.y(), p.z());
                    let depth_m = camera.depth_of(p) as f32;
                    part[n_seen] = Observation { point: row as u32, pixel, depth_m };
                    n_seen += usize::from(seen);
                }
                out.extend_from_slice(&part[..n_seen]);
            }
        } else {
            for row in rows {
                let p = in_camera(row);
                if let Ok(pixel) = camera.project(p) {
                    out.push(Observation { point: row as u32, pixel, depth_m: camera.depth_of(p) as f32 });
                }
            }
        }
    })
}

/// Depth of the nearest point that covers each pixel, infinity where there is none.
fn z_buffer(seen: &[Observation], camera: &CameraModel, splat_px: u32) -> Vec<f32> {
    let (width, height) = (camera.width(), camera.height());
    let mut nearest = vec![f32::INFINITY; width as usize * height as usize];
    for o in seen {
        let centre = o.pixel.containing();
        let rows = centre.row.saturating_sub(splat_px)..=centre.row.saturating_add(splat_px).min(height - 1);
        let cols = centre.col.saturating_sub(splat_px) as usize
            ..=centre.col.saturating_add(splat_px).min(width - 1) as usize;
        for row in rows {
            let start = row as usize * width as usize;
            for cell in &mut nearest[start..][cols.clone()] {
                *cell = cell.min(o.depth_m);
            }
        }
    }
    nearest
}
