//! The points of a laser scan drawn on the photograph of a camera beside it, coloured by depth: the quickest look at
//! whether a calibration is right. Reads the files of KITTI's object benchmark.
//!
//! ```text
//! cargo run --release -p ppkt-geometry --example lidar_on_image -- VELODYNE.bin CALIB.txt IMAGE.png OUT.png
//! ```

use std::error::Error;

use image::{Rgb, RgbImage};
use ppkt_geometry::{CameraModel, Lens, Rigid3, Visibility, frame, observe};

const USAGE: &str = "usage: lidar_on_image VELODYNE.bin CALIB.txt IMAGE.png OUT.png
  VELODYNE.bin  points as little-endian f32: x, y, z, reflectance
  CALIB.txt     with the lines P2, R0_rect and Tr_velo_to_cam
  IMAGE.png     the photograph of camera 2
  OUT.png       the photograph with the points, overwritten";

/// The frame of camera 0, to which the scanner was calibrated.
struct Camera0;

/// The same after rectification, in which all of KITTI's cameras meet.
struct Rectified;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [scan, calibration, photo, out] = args.as_slice() else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let bytes = std::fs::read(scan).map_err(|e| format!("{e}: {scan}"))?;
    let calibration_text = std::fs::read_to_string(calibration).map_err(|e| format!("{e}: {calibration}"))?;
    let mut picture = image::open(photo).map_err(|e| format!("{e}: {photo}"))?.into_rgb8();

    let cloud = points(&bytes).ok_or_else(|| format!("not a list of four f32 a point: {scan}"))?;
    let (camera, camera_from_lidar) = cameras(&calibration_text, picture.width(), picture.height())
        .map_err(|e| format!("{e}: {calibration}"))?;

    // The scanner stands above the camera and sees over cars what the camera does not: hide that. The points are
    // sparse, about five pixels apart, so each has to cover its surroundings.
    let visibility = Visibility { absolute_m: 0.3, relative: 0.05, splat_px: 3 };
    let mut seen = observe(&cloud, &camera_from_lidar, &camera, Some(&visibility));
    seen.sort_by(|a, b| b.depth_m.total_cmp(&a.depth_m));
    for o in &seen {
        let pixel = o.pixel.containing();
        dot(&mut picture, pixel.col, pixel.row, colour_of(o.depth_m));
    }
    picture.save(out).map_err(|e| format!("{e}: {out}"))?;
    println!("{} of {} points are seen: {out}", seen.len(), cloud.len());
    Ok(())
}

fn points(bytes: &[u8]) -> Option<Vec<[f32; 3]>> {
    let (values, rest) = bytes.as_chunks::<4>();
    let (points, left) = values.as_chunks::<4>();
    let number = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
    (rest.is_empty() && left.is_empty())
        .then(|| points.iter().map(|p| [number(p[0]), number(p[1]), number(p[2])]).collect())
}

/// Camera 2 and the way to it: pixel = P2 · R0_rect · Tr_velo_to_cam · X.
fn cameras(
    text: &str,
    width: u32,
    height: u32,
) -> Result<(CameraModel, Rigid3<frame::Camera, frame::Lidar>), Box<dyn Error>> {
    let p2: [f64; 12] = numbers(text, "P2")?;
    let r0: [f64; 9] = numbers(text, "R0_rect")?;
    let tr: [f64; 12] = numbers(text, "Tr_velo_to_cam")?;

    let [fx, fy, cx, cy] = [p2[0], p2[5], p2[2], p2[6]];
    let camera = CameraModel::new_opencv(width, height, [fx, fy, cx, cy], Lens::Pinhole)?;
    // P2 = K · [I | t]: its last column is where the rectified origin lies for camera 2, times K.
    let t_z = p2[11];
    let t = [(p2[3] - cx * t_z) / fx, (p2[7] - cy * t_z) / fy, t_z];
    let camera_from_rectified = Rigid3::<frame::Camera, Rectified>::from_translation(t);

    let rectified_from_camera0 = Rigid3::<Rectified, Camera0>::from_rotation_rows(
        [[r0[0], r0[1], r0[2]], [r0[3], r0[4], r0[5]], [r0[6], r0[7], r0[8]]],
        [0.0; 3],
    )?;
    let camera0_from_lidar = Rigid3::<Camera0, frame::Lidar>::from_rotation_rows(
        [[tr[0], tr[1], tr[2]], [tr[4], tr[5], tr[6]], [tr[8], tr[9], tr[10]]],
        [tr[3], tr[7], tr[11]],
    )?;
    Ok((camera, camera_from_rectified * rectified_from_camera0 * camera0_from_lidar))
}

/// The numbers of the line `name: …`.
fn numbers<const N: usize>(text: &str, name: &str) -> Result<[f64; N], Box<dyn Error>> {
    let values = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .ok_or_else(|| format!("no line {name:?}"))?
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<Vec<f64>, _>>()
        .map_err(|e| format!("{e} in line {name:?}"))?;
    let got = values.len();
    values.try_into().map_err(|_| format!("line {name:?} has {got} numbers and not {N}").into())
}

/// Red at 5 m over yellow, green and blue to violet at 80 m, even steps in the logarithm.
fn colour_of(depth_m: f32) -> Rgb<u8> {
    let share = ((depth_m / 5.0).ln() / (80.0f32 / 5.0).ln()).clamp(0.0, 1.0);
    let hue = 5.0 * share;
    let channel = |offset: f32| {
        let h = (hue + offset).rem_euclid(6.0);
        ((h.min(4.0 - h)).clamp(0.0, 1.0) * 255.0) as u8
    };
    Rgb([channel(2.0), channel(0.0), channel(4.0)])
}

fn dot(picture: &mut RgbImage, col: u32, row: u32, colour: Rgb<u8>) {
    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        if let Some(pixel) = picture.get_pixel_mut_checked(col + dx, row + dy) {
            *pixel = colour;
        }
    }
}
