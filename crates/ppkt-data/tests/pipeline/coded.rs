//! A dataset whose colours say where they were taken: red and green of a pixel, and of the point it sees, are the
//! pixel's u and v as shares of the image's width and height; blue is the number of the frame.

use std::collections::BTreeMap;
use std::time::Duration;

use image::{Rgb, RgbImage};
use ppkt_data::{Cloud, DataError, Dataset, Scene, View};
use ppkt_geometry::{CameraModel, DepthMap, Rigid3};

pub(crate) const WIDTH: u32 = 48;
pub(crate) const HEIGHT: u32 = 36;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Reading fails.
    Unreadable,
    /// Reading panics.
    Panics,
    /// No depth was measured anywhere.
    NoDepth,
    /// Fewer colours than points.
    ColoursMissing,
    /// A coordinate is not a number.
    NotFinite,
}

#[derive(Default)]
pub(crate) struct Coded {
    pub(crate) n_frames: usize,
    pub(crate) faults: BTreeMap<usize, Fault>,
    /// Whether points have an intensity: their u.
    pub(crate) with_intensity: bool,
    /// How long reading takes.
    pub(crate) delay: Duration,
}

impl Coded {
    pub(crate) fn new(n_frames: usize) -> Self {
        Self { n_frames, ..Self::default() }
    }

    pub(crate) fn with_faults(n_frames: usize, faults: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        Self { faults: faults.into_iter().collect(), ..Self::new(n_frames) }
    }
}

/// A wavy surface two to three metres away, seen from somewhere in the world.
pub(crate) fn scene(index: usize) -> Scene {
    let camera = CameraModel::pinhole_opencv(WIDTH, HEIGHT, 40.0, 41.0, 23.0, 18.5).unwrap();
    let i = index as f64;
    // A turn about the y axis by another angle for each frame, so that no axis of the world is a camera's.
    let (sin, cos) = (0.3 + 0.2 * i).sin_cos();
    let pose = [i.sin(), 0.3 * i, 1.0 + 0.1 * i, 0.0, sin, 0.0, cos];
    let world_from_camera = Rigid3::from_tum(pose).unwrap();
    let metres = (0..WIDTH * HEIGHT).map(|k| {
        let (u, v) = ((k % WIDTH) as f32, (k / WIDTH) as f32);
        2.5 + 0.3 * (u * 0.2 + index as f32).sin() + 0.2 * (v * 0.3).cos()
    });
    let depth = DepthMap::from_metres(WIDTH, HEIGHT, metres.collect()).unwrap();
    let blue = index as f32 / 255.0;
    let mut cloud = Cloud::default();
    for lifted in depth.lift(&camera) {
        let pixel = lifted.pixel.centre();
        cloud.points.push((world_from_camera * lifted.point).to_f32());
        cloud.colours.push([pixel.u as f32 / WIDTH as f32, pixel.v as f32 / HEIGHT as f32, blue]);
    }
    let code = |i: u32, n: u32| ((f64::from(i) + 0.5) / f64::from(n) * 255.0).round() as u8;
    let image = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| Rgb([code(x, WIDTH), code(y, HEIGHT), index as u8]));
    let view = View { image, camera, world_from_camera, depth: Some(depth), classes: None };
    Scene { name: format!("coded-{index}"), cloud, views: vec![view] }
}

impl Dataset for Coded {
    fn name(&self) -> &str {
        "coded"
    }

    fn len(&self) -> usize {
        self.n_frames
    }

    fn frame_name(&self, index: usize) -> String {
        format!("coded-{index}")
    }

    fn fingerprint(&self) -> Result<String, DataError> {
        Ok("coded".into())
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        std::thread::sleep(self.delay);
        let mut scene = scene(index);
        if self.with_intensity {
            scene.cloud.intensity = Some(scene.cloud.colours.iter().map(|c| c[0]).collect());
        }
        match self.faults.get(&index) {
            None => {}
            Some(Fault::Unreadable) => {
                return Err(DataError::NoPoints { frame: scene.name, problem: "it is torn".into() });
            }
            Some(Fault::Panics) => panic!("decoder broke at frame {index}"),
            Some(Fault::NoDepth) => {
                scene.cloud = Cloud::default();
                scene.views[0].depth = Some(DepthMap::empty(WIDTH, HEIGHT));
            }
            Some(Fault::ColoursMissing) => scene.cloud.colours.truncate(5),
            Some(Fault::NotFinite) => scene.cloud.points[7][1] = f32::NAN,
        }
        Ok(scene)
    }
}

/// The colour of an image at a continuous place, 0 to 255, interpolated between the four nearest pixel centres.
pub(crate) fn sample(image: &RgbImage, u: f32, v: f32) -> [f32; 3] {
    let (x, y) = (u - 0.5, v - 0.5);
    let (x0, y0) = (x.floor(), y.floor());
    let at = |dx: f32, dy: f32| {
        let col = (x0 + dx).clamp(0.0, image.width() as f32 - 1.0) as u32;
        let row = (y0 + dy).clamp(0.0, image.height() as f32 - 1.0) as u32;
        image.get_pixel(col, row).0.map(f32::from)
    };
    let (fx, fy) = (x - x0, y - y0);
    let mix = |a: [f32; 3], b: [f32; 3], t: f32| [0, 1, 2].map(|c| a[c] + t * (b[c] - a[c]));
    mix(mix(at(0.0, 0.0), at(1.0, 0.0), fx), mix(at(0.0, 1.0), at(1.0, 1.0), fx), fy)
}
