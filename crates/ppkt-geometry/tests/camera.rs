//! Round trips of every lens, the limits of distortion, and what image operations do to a camera.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use ppkt_geometry::{
    CameraError, CameraModel, DepthMeasure, Lens, Pixel, PixelIdx, Point3, ProjectionReject, UnprojectError,
    frame::Camera,
};
use proptest::prelude::*;

/// A round trip through a pixel of about 500 with f64, with what the lens's slope makes of it.
const ROUND_TRIP: f64 = 1e-9;

/// Coefficients as calibrations find them, up to strong ones.
fn lens() -> impl Strategy<Value = Lens> {
    let small = -1e-3..1e-3;
    prop_oneof![
        Just(Lens::Pinhole),
        (-0.4..0.4, -0.3..0.3, small.clone(), small.clone(), -0.2..0.2)
            .prop_map(|(k1, k2, p1, p2, k3)| Lens::BrownConrady { k1, k2, p1, p2, k3 }),
        (prop::array::uniform3(-0.3..0.8f64), small.clone(), small, prop::array::uniform3(-0.1..0.8f64))
            .prop_map(|(k, p1, p2, d)| Lens::rational_opencv([k[0], k[1], p1, p2, k[2], d[0], d[1], d[2]])),
        prop::array::uniform4(-0.05..0.05f64).prop_map(Lens::kannala_brandt_opencv),
        Just(Lens::Equirectangular),
    ]
}

fn camera() -> impl Strategy<Value = CameraModel> {
    let size = || 16..2000u32;
    let mirrored = any::<bool>();
    (size(), size(), 100.0..1000.0f64, 0.8..1.25f64, -50.0..50.0f64, lens(), mirrored).prop_map(
        |(width, height, f, aspect, off, lens, mirrored)| {
            let camera = if lens == Lens::Equirectangular {
                CameraModel::equirectangular(width, height).expect("camera")
            } else {
                let (cx, cy) = (0.5 * f64::from(width) + off, 0.5 * f64::from(height) - off);
                CameraModel::new(width, height, [f, f * aspect, cx, cy], lens).expect("camera")
            };
            if mirrored { camera.flipped_horizontally() } else { camera }
        },
    )
}

/// Points all around, some far, some near.
fn point() -> impl Strategy<Value = Point3<Camera>> {
    (prop::array::uniform3(-1.0..1.0f64), -2.0..4.0f64)
        .prop_map(|(p, magnitude)| Point3::from_array(p.map(|c| c * magnitude.exp())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_pixel_goes_out_and_comes_back(camera in camera(), share in (0.0..1.0f64, 0.0..1.0f64), depth_m in 0.1..50.0) {
        let pixel = Pixel::new(share.0 * f64::from(camera.width()), share.1 * f64::from(camera.height()));
        // A strong lens may not reach the corner; it must say so and not invent a ray.
        let Ok(point) = camera.unproject_to_depth(pixel, depth_m) else { return Ok(()) };
        prop_assert!((camera.depth_of(point) - depth_m).abs() <= 1e-12 * depth_m);
        let again = camera.project(point);
        let near_limit = point.coords().xy().norm().atan2(point.z()) > 0.999 * camera.max_angle();
        if near_limit && again.is_err() {
            return Ok(());
        }
        let again = again.unwrap();
        prop_assert!((again.u - pixel.u).abs() < ROUND_TRIP && (again.v - pixel.v).abs() < ROUND_TRIP, "{again:?}");
    }

    #[test]
    fn a_point_goes_in_and_comes_back(camera in camera(), point in point()) {
        let Ok(pixel) = camera.project(point) else { return Ok(()) };
        let angle = point.coords().xy().norm().atan2(point.z());
        // Where the lens folds its slope is zero, and a pixel says little about the angle.
        if angle > 0.95 * camera.max_angle() && camera.lens() != Lens::Pinhole && camera.lens() != Lens::Equirectangular {
            return Ok(());
        }
        let ray = camera.unproject(pixel).unwrap();
        prop_assert!((ray.norm() - 1.0).abs() < 1e-12);
        let off = (ray.coords() - point.coords().normalize()).norm();
        prop_assert!(off < ROUND_TRIP, "ray off by {off:e}");
    }

    #[test]
    fn projecting_does_not_depend_on_distance(camera in camera(), point in point(), scale in 0.1..10.0f64) {
        let far = Point3::from_coords(point.coords() * scale);
        if let (Ok(a), Ok(b)) = (camera.project_unbounded(point), camera.project_unbounded(far)) {
            prop_assert!((a.u - b.u).abs() <= 1e-9 * (1.0 + a.u.abs()) && (a.v - b.v).abs() <= 1e-9 * (1.0 + a.v.abs()));
        }
    }

    #[test]
    fn resizing_commutes_with_projecting(camera in camera(), point in point(), w in 1..3000u32, h in 1..3000u32) {
        let resized = camera.resized(w, h);
        let (s_u, s_v) = (f64::from(w) / f64::from(camera.width()), f64::from(h) / f64::from(camera.height()));
        match (camera.project_unbounded(point), resized.project_unbounded(point)) {
            (Ok(a), Ok(b)) => {
                let scale = 1.0 + b.u.abs() + b.v.abs();
                prop_assert!((a.u * s_u - b.u).abs() <= 1e-11 * scale && (a.v * s_v - b.v).abs() <= 1e-11 * scale);
            }
            (a, b) => prop_assert_eq!(a, b),
        }
    }

    #[test]
    fn cropping_commutes_with_projecting(camera in camera(), point in point(), u0 in -100.0..100.0f64, v0 in -100.0..100.0f64) {
        let window = camera.cropped(u0, v0, 50, 40);
        prop_assert_eq!((window.width(), window.height()), (50, 40));
        match (camera.project_unbounded(point), window.project_unbounded(point)) {
            (Ok(a), Ok(b)) => {
                let scale = 100.0 + b.u.abs() + b.v.abs();
                prop_assert!((a.u - u0 - b.u).abs() <= 1e-12 * scale && (a.v - v0 - b.v).abs() <= 1e-12 * scale);
            }
            (a, b) => prop_assert_eq!(a, b),
        }
    }

    #[test]
    fn mirroring_commutes_with_projecting(camera in camera(), point in point()) {
        let mirrored = camera.flipped_horizontally();
        let width = f64::from(camera.width());
        match (camera.project_unbounded(point), mirrored.project_unbounded(point)) {
            (Ok(a), Ok(b)) => prop_assert!((width - a.u - b.u).abs() <= 1e-12 * (width + b.u.abs()) && a.v == b.v),
            (a, b) => prop_assert_eq!(a, b),
        }
        prop_assert_eq!(mirrored.flipped_horizontally().fx(), camera.fx());
    }

    /// The limit of a lens is where it folds: up to there it rises, and there it stands still (or has its pole).
    #[test]
    fn a_lens_is_cut_where_it_folds(lens in lens()) {
        let straight = match lens {
            Lens::BrownConrady { k1, k2, k3, .. } => Lens::BrownConrady { k1, k2, p1: 0.0, p2: 0.0, k3 },
            Lens::Rational { k1, k2, k3, k4, k5, k6, .. } => Lens::Rational { k1, k2, p1: 0.0, p2: 0.0, k3, k4, k5, k6 },
            Lens::KannalaBrandt { .. } => lens,
            Lens::Pinhole | Lens::Equirectangular => return Ok(()),
        };
        let camera = CameraModel::new(100, 100, [1.0, 1.0, 50.0, 50.0], straight).unwrap();
        let limit = camera.max_angle();
        let u = |angle: f64| camera.project_unbounded(Point3::new(angle.sin(), 0.0, angle.cos())).map(|p| p.u);
        // Far out on the plane at distance 1 a step in the angle is no longer small.
        let last = limit.min(1.5) * (1.0 - 1e-6);
        let along: Vec<f64> = (0..=400).map(|i| u(last * f64::from(i) / 400.0).unwrap()).collect();
        prop_assert!(along.is_sorted_by(|a, b| a < b), "{along:?}");
        if limit < 1.4 {
            prop_assert!(u(limit * (1.0 + 1e-6)).is_err());
            let slope = (u(last).unwrap() - u(last * (1.0 - 1e-5)).unwrap()) / (last * 1e-5);
            let reach = u(last).unwrap() - 50.0;
            prop_assert!(slope < 1e-2 * (1.0 + reach) || reach > 1e3, "{straight:?}: slope {slope} at {limit}");
        }
    }

    /// Whatever numbers come, the answer is a pixel inside the image or a reason.
    #[test]
    fn no_point_lands_outside(camera in camera(), p in prop::array::uniform3(prop::num::f64::ANY)) {
        if let Ok(pixel) = camera.project(Point3::from_array(p)) {
            prop_assert!(pixel.is_inside(camera.width(), camera.height()));
            let PixelIdx { row, col } = pixel.containing();
            prop_assert!(row < camera.height() && col < camera.width());
        }
    }

    /// Whatever coefficients come, an inverse that claims success is one.
    #[test]
    fn no_inverse_is_false(k in prop::array::uniform8(-50.0..50.0f64), u in -500.0..1500.0f64, v in -500.0..1500.0f64) {
        let five = [k[0], k[1], 0.01 * k[2], 0.01 * k[3], k[4]];
        let eight = [k[0], k[1], 0.01 * k[2], 0.01 * k[3], k[4], k[5], k[6], k[7]];
        let four = [k[0], k[1], k[2], k[3]];
        for lens in [Lens::brown_conrady_opencv(five), Lens::rational_opencv(eight), Lens::kannala_brandt_opencv(four)] {
            let camera = CameraModel::new(1000, 1000, [500.0, 500.0, 500.0, 500.0], lens).unwrap();
            let pixel = Pixel::new(u, v);
            if let Ok(ray) = camera.unproject(pixel) {
                let point = Point3::from_coords(ray.coords());
                match camera.project_unbounded(point) {
                    Ok(again) => prop_assert!((again.u - u).abs() < 1e-5 && (again.v - v).abs() < 1e-5, "{lens:?}: {again:?}"),
                    // At the very limit rounding decides.
                    Err(e) => {
                        let angle = ray.coords().xy().norm().atan2(ray.z());
                        prop_assert!(angle > camera.max_angle() * (1.0 - 1e-9), "{lens:?}: {e}");
                    }
                }
            }
        }
    }
}

fn vga(lens: Lens) -> CameraModel {
    CameraModel::new_opencv(640, 480, [500.0, 500.0, 319.5, 239.5], lens).expect("camera")
}

#[test]
fn the_first_pixel_has_its_centre_at_a_half() {
    let camera = vga(Lens::Pinhole);
    assert_eq!((camera.cx(), camera.cy()), (320.0, 240.0));
    assert_eq!(camera.intrinsics_opencv(), [500.0, 500.0, 319.5, 239.5]);
    assert_eq!(Pixel::from_opencv(0.0, 0.0), PixelIdx { row: 0, col: 0 }.centre());
    assert_eq!(Pixel::from_opencv(7.0, 3.0).containing(), PixelIdx { row: 3, col: 7 });
    assert_eq!(Pixel::new(0.999, 0.0).containing(), PixelIdx { row: 0, col: 0 });
    let straight = camera.project(Point3::new(0.0, 0.0, 2.0)).unwrap();
    assert_eq!(straight, Pixel::new(320.0, 240.0));
    // Half the size in one step, or in two over a crop: the middle stays the middle.
    assert_eq!(camera.resized(320, 240).project(Point3::new(0.0, 0.0, 2.0)), Ok(Pixel::new(160.0, 120.0)));
    assert_eq!(Pixel::new(640.0, 1.0).containing_in(640, 480), None);
    assert_eq!(Pixel::new(f64::NAN, 1.0).containing_in(640, 480), None);
    assert_eq!(Pixel::new(-0.1, 1.0).containing_in(640, 480), None);
}

#[test]
#[should_panic(expected = "lies in no pixel")]
fn a_negative_pixel_is_not_rounded_to_zero() {
    let _ = Pixel::new(-0.5, 3.0).containing();
}

#[test]
fn a_rejected_point_says_why() {
    let camera = vga(Lens::Pinhole);
    let reject = |x, y, z| camera.project(Point3::new(x, y, z)).unwrap_err();
    assert_eq!(reject(0.0, 0.0, -1.0), ProjectionReject::BehindCamera);
    assert_eq!(reject(0.0, 0.0, 0.0), ProjectionReject::BehindCamera);
    assert_eq!(reject(1.0, 0.0, 1.0), ProjectionReject::OutsideImage { pixel: Pixel::new(820.0, 240.0) });
    assert_eq!(reject(f64::NAN, 0.0, 1.0), ProjectionReject::NotFinite);
    assert_eq!(reject(0.0, 0.0, f64::INFINITY), ProjectionReject::NotFinite);
    assert_eq!(reject(1e10, 0.0, 1e-320), ProjectionReject::NotFinite);
    // The left and upper borders belong to the image, the right and lower to its neighbours.
    assert!(camera.project(Point3::new(-0.64, -0.48, 1.0)).is_ok());
    assert!(camera.project(Point3::new(0.64, 0.0, 1.0)).is_err());
}

#[test]
fn a_barrel_lens_stops_where_it_folds() {
    // r(1 − 0.3 r²) rises up to r = 1/√0.9 and falls from there: r = 1.7 would land where r = 0.23 does.
    let camera = vga(Lens::BrownConrady { k1: -0.3, k2: 0.0, p1: 0.0, p2: 0.0, k3: 0.0 });
    let limit = 1.0 / 0.9f64.sqrt();
    assert!((camera.max_angle() - limit.atan()).abs() < 1e-12);
    assert!(camera.project_unbounded(Point3::new(0.999 * limit, 0.0, 1.0)).is_ok());
    assert_eq!(camera.project(Point3::new(1.001 * limit, 0.0, 1.0)), Err(ProjectionReject::OutsideLens));
    assert_eq!(camera.project(Point3::new(1.7, 0.0, 1.0)), Err(ProjectionReject::OutsideLens));
    // The furthest pixel that any ray reaches, and one beyond.
    let edge = 320.0 + 500.0 * limit * (1.0 - 0.3 * limit * limit);
    assert!(camera.unproject(Pixel::new(edge - 0.01, 240.0)).is_ok());
    let beyond = Pixel::new(edge + 0.01, 240.0);
    assert_eq!(camera.unproject(beyond), Err(UnprojectError::OutsideLens { pixel: beyond }));
}

#[test]
fn a_rational_lens_stops_at_its_pole() {
    // The denominator 1 − r² vanishes at r = 1.
    let camera = vga(Lens::rational_opencv([0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0]));
    assert!((camera.max_angle() - 1f64.atan()).abs() < 1e-12);
    assert_eq!(camera.project(Point3::new(1.1, 0.0, 1.0)), Err(ProjectionReject::OutsideLens));
}

#[test]
fn a_fisheye_sees_behind_itself() {
    let camera =
        CameraModel::new(1000, 1000, [250.0, 250.0, 500.0, 500.0], Lens::kannala_brandt_opencv([0.0; 4]))
            .unwrap();
    assert_eq!(camera.depth_measure(), DepthMeasure::AlongRay);
    assert!((camera.max_angle() - PI).abs() < 1e-15);
    // 100° to the right of the axis.
    let angle = 100f64.to_radians();
    let point = Point3::new(2.0 * angle.sin(), 0.0, 2.0 * angle.cos());
    let pixel = camera.project(point).unwrap();
    assert!((pixel.u - (500.0 + 250.0 * angle)).abs() < 1e-9);
    let back = camera.unproject_to_depth(pixel, 2.0).unwrap();
    assert!(back.distance(&point) < 1e-12);
    // Straight back there is no direction in the image.
    assert_eq!(camera.project(Point3::new(0.0, 0.0, -1.0)), Err(ProjectionReject::OutsideLens));
    assert_eq!(camera.project(Point3::new(0.0, 0.0, 0.0)), Err(ProjectionReject::OutsideLens));
    // With z as depth, what lies behind has none.
    let by_z = camera.with_depth_measure(DepthMeasure::AlongAxis);
    assert_eq!(by_z.project(point), Err(ProjectionReject::BehindCamera));
    assert_eq!(by_z.unproject_to_depth(pixel, 2.0), Err(UnprojectError::OutsideLens { pixel }));
    let in_front = by_z.unproject_to_depth(Pixel::new(600.0, 500.0), 2.0).unwrap();
    assert_eq!(in_front.z(), 2.0);
}

#[test]
fn a_panorama_sees_everything_and_repeats() {
    let camera = CameraModel::equirectangular(800, 400).unwrap();
    let at = |x, y, z| camera.project(Point3::new(x, y, z)).unwrap();
    let close = |a: Pixel, u: f64, v: f64| {
        assert!((a.u - u).abs() < 1e-9 && (a.v - v).abs() < 1e-9, "{a:?}, not {u}, {v}")
    };
    close(at(0.0, 0.0, 1.0), 400.0, 200.0);
    close(at(1.0, 0.0, 0.0), 600.0, 200.0);
    close(at(-1.0, 0.0, 0.0), 200.0, 200.0);
    close(at(0.0, -1.0, 1.0), 400.0, 100.0);
    // Straight back is the seam: the left border.
    close(at(0.0, 0.0, -1.0), 0.0, 200.0);
    close(at(-1e-12, 0.0, -1.0), 0.0, 200.0);
    // A window across the seam sees both of its sides.
    let window = camera.cropped(750.0, 0.0, 100, 400);
    close(window.project(Point3::new(0.1, 0.0, -1.0)).unwrap(), 50.0 - 800.0 / TAU * 0.1f64.atan(), 200.0);
    close(window.project(Point3::new(-0.1, 0.0, -1.0)).unwrap(), 50.0 + 800.0 / TAU * 0.1f64.atan(), 200.0);
    let ray = window.unproject(Pixel::new(50.0, 200.0)).unwrap();
    assert!((ray.z() + 1.0).abs() < 1e-12);
    assert_eq!(camera.project(Point3::new(0.0, 0.0, 0.0)), Err(ProjectionReject::OutsideLens));
    assert!(camera.unproject(Pixel::new(400.0, -1.0)).is_err());
    let up = camera.unproject(Pixel::new(400.0, 0.0)).unwrap();
    assert!((up.y() + 1.0).abs() < 1e-12 && (up.y().asin() + FRAC_PI_2).abs() < 1e-6);
}

#[test]
fn senseless_cameras_and_depths_are_refused() {
    let new = |w, h, k: [f64; 4], lens| CameraModel::new(w, h, k, lens).unwrap_err();
    let k = [500.0, 500.0, 320.0, 240.0];
    assert_eq!(new(0, 480, k, Lens::Pinhole), CameraError::EmptyImage { width: 0, height: 480 });
    for f in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            new(640, 480, [f, 500.0, 1.0, 1.0], Lens::Pinhole),
            CameraError::BadFocalLength { .. }
        ));
        assert!(matches!(
            new(640, 480, [500.0, f, 1.0, 1.0], Lens::Pinhole),
            CameraError::BadFocalLength { .. }
        ));
    }
    assert!(matches!(
        new(640, 480, [1.0, 1.0, f64::NAN, 1.0], Lens::Pinhole),
        CameraError::BadPrincipalPoint { .. }
    ));
    assert_eq!(
        new(640, 480, k, Lens::kannala_brandt_opencv([f64::NAN, 0.0, 0.0, 0.0])),
        CameraError::BadLens
    );
    assert!(matches!(CameraModel::equirectangular(0, 1), Err(CameraError::EmptyImage { .. })));
    let camera = vga(Lens::Pinhole);
    for depth_m in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(camera.unproject_to_depth(Pixel::new(1.0, 1.0), depth_m), Err(UnprojectError::NotFinite));
    }
    assert_eq!(camera.unproject(Pixel::new(f64::NAN, 1.0)), Err(UnprojectError::NotFinite));
}

#[cfg(feature = "serde")]
#[test]
fn a_camera_is_checked_when_it_is_read() {
    let lens = Lens::BrownConrady { k1: -0.1, k2: 0.01, p1: 0.0, p2: 1e-4, k3: 0.0 };
    let camera = vga(lens).flipped_horizontally().with_depth_measure(DepthMeasure::AlongRay);
    let text = serde_json::to_string(&camera).unwrap();
    assert_eq!(serde_json::from_str::<CameraModel>(&text).unwrap(), camera);
    let broken = text.replace("500.0", "null");
    assert!(serde_json::from_str::<CameraModel>(&broken).is_err());
    let zero = text.replace("\"fy\":500.0", "\"fy\":0.0");
    let message = serde_json::from_str::<CameraModel>(&zero).unwrap_err().to_string();
    assert!(message.contains("focal lengths must be positive"), "{message}");
}
