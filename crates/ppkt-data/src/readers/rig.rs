//! From one depth image and one photograph to a scene, with one camera or two.

use std::sync::OnceLock;

use image::RgbImage;
use ppkt_geometry::{CameraModel, DepthMap, PixelIdx, Point3, Rigid3, frame};

use crate::{Cloud, Scene, View};

/// How far behind the nearest surface a point may be and still count as seen by the colour camera: noise of the
/// sensor, and the slope of a surface across a pixel.
const HIDDEN_ABSOLUTE_M: f32 = 0.02;
const HIDDEN_RELATIVE: f32 = 0.02;
/// A depth pixel covers this much more than its own footprint in the photograph, so that slanted surfaces leave no
/// cracks through which the background would be seen.
const FOOTPRINT_MARGIN: f64 = 1.15;

/// The cameras of an RGB-D sensor.
#[derive(Debug)]
pub(crate) struct Rig {
    /// The camera of the photograph.
    pub(crate) colour: CameraModel,
    /// The camera of the depth image.
    pub(crate) depth: CameraModel,
    /// `None` where depth is registered to the photograph: one camera, one size, pixel by pixel.
    pub(crate) colour_from_depth: Option<Rigid3<frame::Camera, frame::DepthCamera>>,
    /// x/z and y/z through the centre of every depth pixel, NaN where the lens has no ray.
    rays: OnceLock<Vec<[f64; 2]>>,
}

impl Rig {
    /// One camera for both.
    pub(crate) fn registered(camera: CameraModel) -> Self {
        Self { colour: camera, depth: camera, colour_from_depth: None, rays: OnceLock::new() }
    }

    /// Two cameras with an offset between them.
    pub(crate) fn two(
        colour: CameraModel,
        depth: CameraModel,
        colour_from_depth: Rigid3<frame::Camera, frame::DepthCamera>,
    ) -> Self {
        Self { colour, depth, colour_from_depth: Some(colour_from_depth), rays: OnceLock::new() }
    }

    /// Only the window of both images, for registered ones.
    pub(crate) fn cropped(&self, window: Window) -> Self {
        let Window { x0, y0, width, height } = window;
        let crop = |camera: &CameraModel| camera.cropped(f64::from(x0), f64::from(y0), width, height);
        Self {
            colour: crop(&self.colour),
            depth: crop(&self.depth),
            colour_from_depth: self.colour_from_depth,
            rays: OnceLock::new(),
        }
    }

    /// Pose of the colour camera, from the pose of either.
    pub(crate) fn world_from_colour(&self, pose: FramePose) -> Rigid3<frame::World, frame::Camera> {
        match pose {
            FramePose::OfColour(pose) => pose,
            FramePose::OfDepth(pose) => pose * self.depth_from_colour(),
        }
    }

    fn depth_from_colour(&self) -> Rigid3<frame::DepthCamera, frame::Camera> {
        self.colour_from_depth.map(|t| t.inverse()).unwrap_or_default()
    }

    // Undistorting a pixel takes an iteration, and the answer is the same for every frame.
    fn rays(&self) -> &[[f64; 2]] {
        self.rays.get_or_init(|| {
            let (width, height) = (self.depth.width(), self.depth.height());
            let pixels = (0..height).flat_map(|row| (0..width).map(move |col| PixelIdx { row, col }));
            let ray = |pixel: PixelIdx| match self.depth.unproject_to_depth(pixel.centre(), 1.0) {
                Ok(p) => [p.x() / p.z(), p.y() / p.z()],
                Err(_) => [f64::NAN; 2],
            };
            pixels.map(ray).collect()
        })
    }
}

/// A window of an image, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) x0: u32,
    pub(crate) y0: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// The pose of a frame: of the camera that the dataset says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FramePose {
    /// Of the colour camera (and of both, where they are one).
    OfColour(Rigid3<frame::World, frame::Camera>),
    /// Of the depth camera.
    OfDepth(Rigid3<frame::World, frame::DepthCamera>),
}

/// A frame as decoded; sizes fit the rig.
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) photo: RgbImage,
    pub(crate) depth: DepthMap,
    pub(crate) labels: Option<Vec<u16>>,
    pub(crate) pose: FramePose,
}

/// A scene of one view. Every depth pixel that the photograph shows becomes a point; one that it does not show
/// (beside the picture, or hidden from the colour camera) has no colour, and is left out.
pub(crate) fn assemble(rig: &Rig, decoded: Decoded) -> Scene {
    let world_from_camera = rig.world_from_colour(decoded.pose);
    let n_measured = decoded.depth.n_valid();
    let mut cloud = Cloud {
        points: Vec::with_capacity(n_measured),
        colours: Vec::with_capacity(n_measured),
        classes: decoded.labels.as_ref().map(|_| Vec::with_capacity(n_measured)),
        intensity: None,
    };
    let rgb = decoded.photo.as_raw();
    // A point in the frame of the colour camera, and the pixel of the photograph that shows it (row-major).
    let seen = |point: Point3<frame::Camera>, index: usize| {
        cloud.points.push((world_from_camera * point).to_f32());
        let at = 3 * index;
        cloud.colours.push([rgb[at], rgb[at + 1], rgb[at + 2]].map(|c| f32::from(c) / 255.0));
        if let (Some(classes), Some(labels)) = (&mut cloud.classes, &decoded.labels) {
            classes.push(labels[index]);
        }
    };
    let depth = match &rig.colour_from_depth {
        None => {
            lift_registered(rig, &decoded.depth, seen);
            decoded.depth
        }
        Some(colour_from_depth) => lift_and_register(rig, &decoded.depth, colour_from_depth, seen),
    };
    let view = View {
        image: decoded.photo,
        camera: rig.colour,
        world_from_camera,
        depth: Some(depth),
        classes: decoded.labels,
    };
    Scene { name: decoded.name, cloud, views: vec![view] }
}

fn lift_registered(rig: &Rig, depth: &DepthMap, mut seen: impl FnMut(Point3<frame::Camera>, usize)) {
    for (index, (&z, ray)) in depth.metres().iter().zip(rig.rays()).enumerate() {
        let z = f64::from(z);
        let [x, y] = [ray[0] * z, ray[1] * z];
        // NaN depth and NaN rays end here.
        if x.is_finite() && y.is_finite() {
            seen(Point3::new(x, y, z), index);
        }
    }
}

/// Lifts by the depth camera and looks with the colour camera: calls `seen` for the points that it sees, and returns
/// the depth map that it would have measured.
///
/// 1. Every depth pixel becomes a point, and the point a rectangle in the photograph, of the size that the depth
///    pixel has there; the nearest depth at each pixel of the photograph is kept.
/// 2. A point is seen if nothing at its pixel is nearer by more than the tolerance.
fn lift_and_register(
    rig: &Rig,
    depth: &DepthMap,
    colour_from_depth: &Rigid3<frame::Camera, frame::DepthCamera>,
    mut seen: impl FnMut(Point3<frame::Camera>, usize),
) -> DepthMap {
    let camera = &rig.colour;
    let (width, height) = (camera.width(), camera.height());
    let mut nearest = vec![f32::NAN; width as usize * height as usize];
    // Row of the depth pixel, pixel of the photograph, depth there: points are cheaper to compute again than to keep.
    let mut hits: Vec<(u32, u32, f32)> = Vec::with_capacity(depth.n_valid());
    let point_of = |z: f32, ray: &[f64; 2]| {
        let z = f64::from(z);
        *colour_from_depth * Point3::<frame::DepthCamera>::new(ray[0] * z, ray[1] * z, z)
    };
    let widen = [camera.fx() / rig.depth.fx(), camera.fy() / rig.depth.fy()].map(f64::abs);
    let rays = rig.rays();
    for (at, (&z, ray)) in depth.metres().iter().zip(rays).enumerate() {
        if z.is_nan() {
            continue;
        }
        let point = point_of(z, ray);
        let Ok(pixel) = camera.project(point) else { continue };
        let nearer = f64::from(z) / point.z() * FOOTPRINT_MARGIN * 0.5;
        // At least half a pixel to each side: then exactly its own pixel, and never none.
        let half = widen.map(|w| (w * nearer).max(0.5));
        let (columns, rows) = (covered(pixel.u, half[0], width), covered(pixel.v, half[1], height));
        let z_colour = point.z() as f32;
        for row in rows {
            let start = row * width as usize;
            for cell in &mut nearest[start..][columns.clone()] {
                // `min` takes the number where one of the two is NaN.
                *cell = cell.min(z_colour);
            }
        }
        hits.push((at as u32, pixel.containing().index(width) as u32, z_colour));
    }
    for (at, index, z_colour) in hits {
        let (at, index) = (at as usize, index as usize);
        let front = nearest[index];
        if z_colour <= front + HIDDEN_ABSOLUTE_M + HIDDEN_RELATIVE * front {
            seen(point_of(depth.metres()[at], &rays[at]), index);
        }
    }
    // The list has the size of the image by construction.
    DepthMap::from_metres(width, height, nearest).unwrap_or_else(|_| DepthMap::empty(width, height))
}

/// The pixels whose centres lie within `half` of `at`, in `(at − half, at + half]`, inside the image.
fn covered(at: f64, half: f64, size: u32) -> std::ops::Range<usize> {
    // Centre i + ½ > at − half, and ≤ at + half. `as` saturates at 0.
    let first = ((at - half - 0.5).floor() + 1.0) as usize;
    let end = ((at + half - 0.5).floor() + 1.0) as usize;
    first.min(size as usize)..end.min(size as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footprint_of_one_pixel_is_the_pixel_itself() {
        for at in [0.0, 0.2, 0.5, 0.99, 1.0, 3.7, 9.999] {
            assert_eq!(covered(at, 0.5, 10), at as usize..at as usize + 1, "{at}");
        }
        assert_eq!(covered(5.5, 1.5, 10), 4..7);
        assert_eq!(covered(0.1, 2.0, 10), 0..2);
        assert_eq!(covered(9.9, 2.0, 10), 8..10);
    }

    fn cameras() -> (CameraModel, CameraModel) {
        let depth = CameraModel::pinhole_opencv(32, 24, 30.0, 30.0, 15.5, 11.5).unwrap();
        let colour = CameraModel::pinhole_opencv(64, 48, 60.0, 60.0, 31.5, 23.5).unwrap();
        (colour, depth)
    }

    fn decoded(depth: Vec<f32>) -> Decoded {
        Decoded {
            name: "f".into(),
            photo: RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 7])),
            depth: DepthMap::from_metres(32, 24, depth).unwrap(),
            labels: Some((0..64 * 48).map(|i| i as u16).collect()),
            pose: FramePose::OfDepth(Rigid3::identity()),
        }
    }

    fn shift(x: f64) -> Rigid3<frame::Camera, frame::DepthCamera> {
        // Not a whole number of pixels down either, so that no rounding decides.
        Rigid3::from_tum([x, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0]).unwrap()
    }

    #[test]
    fn a_wall_is_seen_whole_and_where_the_offset_puts_it() {
        let (colour, depth) = cameras();
        let rig = Rig::two(colour, depth, shift(-0.09));
        let scene = assemble(&rig, decoded(vec![2.0; 32 * 24]));
        // 0.09 m at 2 m is 60 · 0.045 = 2.7 pixels: of the columns at u = 1, 3, 5, … the first falls beside the photo.
        assert_eq!(scene.cloud.points.len(), 31 * 24);
        let view = &scene.views[0];
        for (i, p) in scene.cloud.points.iter().enumerate() {
            let p_camera = view.world_from_camera.inverse() * Point3::<frame::World>::from_f32(*p);
            let pixel = view.camera.project(p_camera).unwrap().containing();
            let colour = scene.cloud.colours[i].map(|c| (c * 255.0).round() as u32);
            assert_eq!(colour, [pixel.col, pixel.row, 7]);
            assert_eq!(u32::from(scene.cloud.classes.as_ref().unwrap()[i]), pixel.row * 64 + pixel.col);
            // What the depth camera sees stays where the depth camera has it.
            assert!((p[2] - 2.0).abs() < 1e-6);
        }
        // Twice as many pixels a side, and no crack between the footprints.
        let registered = view.depth.as_ref().unwrap();
        let filled = (0..48).flat_map(|row| (1..58).map(move |col| PixelIdx { row, col }));
        for pixel in filled {
            assert!((registered.at(pixel).unwrap() - 2.0).abs() < 1e-6, "{pixel:?}");
        }
    }

    #[test]
    fn what_the_foreground_hides_from_the_colour_camera_is_left_out() {
        let (colour, depth) = cameras();
        // A wall at 3 m, and a box at 1 m in the middle of the depth image.
        let metres =
            (0..32 * 24).map(|i| if (12..20).contains(&(i % 32)) { 1.0 } else { 3.0 }).collect::<Vec<f32>>();
        let rig = Rig::two(colour, depth, shift(-0.2));
        let scene = assemble(&rig, decoded(metres));
        let view = &scene.views[0];
        let registered = view.depth.as_ref().unwrap();
        let mut wall = 0;
        for p in &scene.cloud.points {
            let p_camera = view.world_from_camera.inverse() * Point3::<frame::World>::from_f32(*p);
            let pixel = view.camera.project(p_camera).unwrap();
            let front = registered.sample_nearest(pixel).unwrap();
            assert!((p_camera.z() as f32) < front * 1.02 + 0.03);
            wall += u32::from(p[2] > 2.0);
        }
        // The box is 12 pixels to the left in the photo, the wall 4: it hides 8 more pixels, 4 depth pixels.
        assert!(scene.cloud.points.len() < 32 * 24 - 3 * 24, "{}", scene.cloud.points.len());
        assert!(wall > 15 * 24);
    }

    #[test]
    fn one_camera_gives_one_point_for_each_pixel() {
        let (colour, _) = cameras();
        let rig = Rig::registered(colour);
        let mut metres = vec![1.5; 64 * 48];
        metres[70] = f32::NAN;
        let frame = Decoded {
            depth: DepthMap::from_metres(64, 48, metres).unwrap(),
            pose: FramePose::OfColour(Rigid3::identity()),
            ..decoded(vec![1.0; 32 * 24])
        };
        let scene = assemble(&rig, frame);
        assert_eq!(scene.cloud.points.len(), 64 * 48 - 1);
        assert_eq!(scene.cloud.colours[70].map(|c| (c * 255.0).round() as u8), [7, 1, 7]);
        assert_eq!(scene.cloud.classes.unwrap()[70], 71);
    }
}
