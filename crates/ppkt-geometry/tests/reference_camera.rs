//! Projection and lens inverse against OpenCV's numbers, for every `camera_` file there is.

use ppkt_geometry::{CameraModel, Lens, Pixel, Point3, ProjectionReject, Rigid3, frame};
use ppkt_testkit::{Vectors, reference_files};

/// Pixels are computed in f64 from the same formula: nothing but rounding separates them.
const PIXELS: f64 = 1e-9;

/// OpenCV's own inverse stops after a fixed number of steps; ours is held to the point itself more tightly below.
const UNDISTORTED: f64 = 1e-6;

/// Our inverse against the point that was projected; near the limit of a lens its slope is small and costs digits.
const ROUND_TRIP: f64 = 1e-8;

fn camera_of(v: &Vectors) -> CameraModel {
    let (k, d) = (v.f64s("intrinsic"), v.f64s("distortion"));
    let size = |name| u32::try_from(v.json(name).as_u64().expect(name)).expect(name);
    let lens = match v.json("model").as_str().expect("model") {
        "pinhole" => Lens::Pinhole,
        "brown_conrady" => Lens::brown_conrady_opencv(d.try_into().expect("five coefficients")),
        "rational" => Lens::rational_opencv(d.try_into().expect("eight coefficients")),
        "fisheye" => Lens::kannala_brandt_opencv(d.try_into().expect("four coefficients")),
        other => panic!("camera model {other:?} of {} is not known", v.name()),
    };
    CameraModel::new_opencv(size("width"), size("height"), [k[0], k[4], k[2], k[5]], lens).expect("camera")
}

/// Runs over the files of one model, or over all; `model` is a filter and not a kind, so none need be there.
fn check(model: Option<&str>) {
    let mut n_points = 0;
    for file in reference_files("camera_") {
        let v = Vectors::load(&file);
        if model.is_some_and(|m| v.json("model") != m) {
            continue;
        }
        n_points += check_file(&v);
    }
    println!("{n_points} points of {}", model.unwrap_or("all cameras"));
}

fn check_file(v: &Vectors) -> usize {
    let name = v.name();
    let camera = camera_of(v);
    let (r, t) = (v.f64s("camera_from_world_rotation"), v.f64s("camera_from_world_translation"));
    let rows = [[r[0], r[1], r[2]], [r[3], r[4], r[5]], [r[6], r[7], r[8]]];
    let camera_from_world: Rigid3<frame::Camera, frame::World> =
        Rigid3::from_rotation_rows(rows, t.try_into().expect("translation")).expect("pose");

    let (world, in_camera) = (v.f64s("points_world"), v.f64s("points_camera"));
    let (pixels, normalised) = (v.f64s("pixels_opencv"), v.f64s("undistorted_normalised"));
    let n_points = v.shape("points_world")[0];
    assert!(n_points > 0, "{name} has no points");
    let mut n_seen = 0;
    for i in 0..n_points {
        let p_world = Point3::<frame::World>::new(world[3 * i], world[3 * i + 1], world[3 * i + 2]);
        let p_camera = camera_from_world * p_world;
        for (got, want) in p_camera.to_array().iter().zip(&in_camera[3 * i..]) {
            assert!((got - want).abs() <= PIXELS, "{name}, point {i}: {p_camera:?}, want {want}");
        }

        let pixel = match camera.project_unbounded(p_camera) {
            Ok(pixel) => pixel,
            // OpenCV evaluates its formula anywhere; we refuse where it means nothing, and only there.
            Err(ProjectionReject::BehindCamera) if p_camera.z() <= 0.0 => continue,
            Err(ProjectionReject::OutsideLens) if angle_of(p_camera) > camera.max_angle() => continue,
            Err(e) => panic!("{name}, point {i}: {e}"),
        };
        n_seen += 1;
        let (x, y) = pixel.to_opencv();
        let off = (x - pixels[2 * i]).abs().max((y - pixels[2 * i + 1]).abs());
        assert!(off <= PIXELS, "{name}, point {i}: pixel off by {off:.2e}");
        let inside = pixel.is_inside(camera.width(), camera.height());
        assert_eq!(camera.project(p_camera).is_ok(), inside, "{name}, point {i}");

        let given = Pixel::from_opencv(pixels[2 * i], pixels[2 * i + 1]);
        let ray = camera.unproject(given).unwrap_or_else(|e| panic!("{name}, point {i}: {e}"));
        assert!((ray.norm() - 1.0).abs() < 1e-12);
        let (x, y) = (ray.x() / ray.z(), ray.y() / ray.z());
        let off = (x - normalised[2 * i]).abs().max((y - normalised[2 * i + 1]).abs());
        assert!(off <= UNDISTORTED, "{name}, point {i}: ray off by {off:.2e}");
        let off = (x - p_camera.x() / p_camera.z()).abs().max((y - p_camera.y() / p_camera.z()).abs());
        assert!(off <= ROUND_TRIP, "{name}, point {i}: round trip off by {off:.2e}");
    }
    assert!(2 * n_seen > n_points, "{name}: only {n_seen} of {n_points} points have a pixel");
    n_seen
}

/// Angle from the optical axis, radians.
fn angle_of(point: Point3<frame::Camera>) -> f64 {
    point.x().hypot(point.y()).atan2(point.z())
}

#[test]
fn reference_camera_every_file() {
    check(None);
}

#[test]
fn reference_camera_pinhole() {
    check(Some("pinhole"));
}

#[test]
fn reference_camera_brown_conrady() {
    check(Some("brown_conrady"));
}

#[test]
fn reference_camera_rational() {
    check(Some("rational"));
}

#[test]
fn reference_camera_fisheye() {
    check(Some("fisheye"));
}
