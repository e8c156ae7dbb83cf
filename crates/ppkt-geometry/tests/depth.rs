//! Depth maps: encodings, sampling, lifting, normals, and registering to another camera.

use ppkt_geometry::nalgebra::{UnitQuaternion, Vector3};
use ppkt_geometry::{
    CameraModel, DepthEncoding, DepthError, DepthMap, Direction3, Lens, Pixel, PixelIdx, Point3, Rigid3,
    frame::{Camera, DepthCamera},
};
use proptest::prelude::*;

fn camera(width: u32, height: u32, f: f64, lens: Lens) -> CameraModel {
    let (cx, cy) = (0.5 * f64::from(width) + 1.3, 0.5 * f64::from(height) - 0.7);
    CameraModel::new(width, height, [f, f, cx, cy], lens).expect("valid")
}

/// Depth of the plane `n · p = d` at every pixel; NaN where the ray misses it.
fn plane(camera: &CameraModel, n: [f64; 3], d: f64) -> DepthMap {
    let n = Direction3::<Camera>::from_array(n);
    let mut metres = Vec::new();
    for row in 0..camera.height() {
        for col in 0..camera.width() {
            let ray = camera.unproject(PixelIdx { row, col }.centre()).expect("valid");
            let along = d / ray.dot(&n);
            let point = Point3::from_coords(ray.coords() * along);
            metres.push(if along > 0.0 { camera.depth_of(point) as f32 } else { f32::NAN });
        }
    }
    DepthMap::from_metres(camera.width(), camera.height(), metres).expect("valid")
}

#[test]
fn every_encoding_reads_its_own_values() {
    let read =
        |e: DepthEncoding, raw: u16| DepthMap::from_u16(1, 1, &[raw], &e).unwrap().at(PixelIdx::new(0, 0));
    assert_eq!(read(DepthEncoding::millimetres(), 1234), Some(1.234));
    assert_eq!(read(DepthEncoding::millimetres(), 65535), Some(65.535));
    assert_eq!(read(DepthEncoding::seven_scenes(), 65535), None);
    assert_eq!(read(DepthEncoding::tum(), 5000), Some(1.0));
    for encoding in [
        DepthEncoding::millimetres(),
        DepthEncoding::seven_scenes(),
        DepthEncoding::tum(),
        DepthEncoding::sunrgbd(),
    ] {
        assert_eq!(read(encoding, 0), None);
    }
    // 2000 mm with its bits turned left by three, as SUN RGB-D writes it.
    assert_eq!(read(DepthEncoding::sunrgbd(), 2000u16.rotate_left(3)), Some(2.0));
    let raw = 43217u16;
    let formula = (raw >> 3) | ((u32::from(raw) << 13) % 65536) as u16;
    assert_eq!(raw.rotate_right(3), formula);
    assert_eq!(read(DepthEncoding::sunrgbd(), 8001u16.rotate_left(3)), None);
    let near = DepthEncoding { min_m: 0.5, max_m: 4.0, ..DepthEncoding::millimetres() };
    assert_eq!([499, 500, 4000, 4001].map(|v| read(near.clone(), v).is_some()), [false, true, true, false]);
}

#[test]
fn wrong_sizes_and_scales_are_refused() {
    let mm = DepthEncoding::millimetres();
    let wrong = DepthError::WrongLength { width: 3, height: 2, expected: 6, got: 5 };
    assert_eq!(DepthMap::from_u16(3, 2, &[1; 5], &mm), Err(wrong.clone()));
    assert_eq!(DepthMap::from_metres(3, 2, vec![1.0; 5]), Err(wrong));
    for metres_per_unit in [0.0, -1e-3, f64::NAN, f64::INFINITY] {
        let encoding = DepthEncoding { metres_per_unit, ..mm.clone() };
        assert!(matches!(DepthMap::from_u16(1, 1, &[1], &encoding), Err(DepthError::BadScale { .. })));
    }
    let map = DepthMap::empty(4, 3);
    let other = camera(3, 4, 10.0, Lens::Pinhole);
    assert_eq!(map.check_camera(&other), Err(DepthError::WrongCamera { depth: (4, 3), camera: (3, 4) }));
    let message = map.check_camera(&other).unwrap_err().to_string();
    assert!(message.contains("resize the camera"), "{message}");
}

#[test]
#[should_panic(expected = "the depth map is (4, 3) pixels")]
fn lifting_with_a_camera_of_another_size_is_a_mistake() {
    let _ = DepthMap::empty(4, 3).lift::<Camera>(&camera(3, 4, 10.0, Lens::Pinhole));
}

#[test]
fn empty_maps_are_maps() {
    let none = DepthMap::from_metres(0, 0, Vec::new()).unwrap();
    assert_eq!(
        (none.n_valid(), none.resized(2, 2).n_valid(), none.flipped_horizontally().n_valid()),
        (0, 0, 0)
    );
    assert_eq!(none.sample_bilinear(Pixel::new(0.0, 0.0)), None);
    let blind = DepthMap::empty(4, 3);
    let cam = camera(4, 3, 10.0, Lens::Pinhole);
    assert!(blind.lift::<Camera>(&cam).is_empty());
    assert!(blind.normals::<Camera>(&cam).iter().all(Option::is_none));
    assert_eq!(blind.seen_by(&cam, &Rigid3::<Camera, Camera>::identity(), &cam), blind);
}

#[test]
fn senseless_metres_are_no_measurements() {
    let values = vec![1.0, 0.0, -2.0, f32::NAN, f32::INFINITY, 3.0];
    let map = DepthMap::from_metres(3, 2, values).unwrap();
    assert_eq!(map.n_valid(), 2);
    assert_eq!(map.at(PixelIdx::new(1, 2)), Some(3.0));
    assert_eq!(map.at(PixelIdx::new(2, 0)), None);
    assert_eq!(map.at(PixelIdx::new(0, 3)), None);
}

#[test]
fn bilinear_is_exact_on_a_slope_and_honest_at_gaps() {
    let mut metres: Vec<f32> =
        (0..5 * 4).map(|i| 1.0 + 0.25 * (i % 5) as f32 + 0.5 * (i / 5) as f32).collect();
    let slope = DepthMap::from_metres(5, 4, metres.clone()).unwrap();
    let want = |u: f64, v: f64| 1.0 + 0.25 * (u - 0.5) + 0.5 * (v - 0.5);
    for (u, v) in [(0.5, 0.5), (2.0, 2.0), (1.3, 2.9), (4.5, 3.5), (3.21, 0.87)] {
        assert!(
            (f64::from(slope.sample_bilinear(Pixel::new(u, v)).unwrap()) - want(u, v)).abs() < 1e-6,
            "{u}, {v}"
        );
    }
    // Half a pixel of border takes the border's value.
    assert_eq!(slope.sample_bilinear(Pixel::new(0.0, 0.0)), Some(1.0));
    assert_eq!(slope.sample_bilinear(Pixel::new(4.999, 3.999)), Some(3.5));
    for outside in
        [Pixel::new(5.0, 1.0), Pixel::new(-0.01, 1.0), Pixel::new(1.0, 4.0), Pixel::new(f64::NAN, 1.0)]
    {
        assert_eq!((slope.sample_bilinear(outside), slope.sample_nearest(outside)), (None, None));
    }
    metres[5 + 2] = f32::NAN;
    let holed = DepthMap::from_metres(5, 4, metres).unwrap();
    assert_eq!(holed.sample_bilinear(Pixel::new(2.0, 1.6)), None);
    // On the centres beside the gap it has no weight.
    assert_eq!(holed.sample_bilinear(Pixel::new(1.5, 1.5)), Some(1.75));
    assert_eq!(holed.sample_nearest(Pixel::new(2.01, 1.01)), None);
    assert_eq!(holed.sample_nearest(Pixel::new(1.99, 1.01)), Some(1.75));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_lifted_pixel_projects_onto_its_centre(
        which in 0..5usize,
        metres in prop::collection::vec(prop_oneof![3 => 0.2..9.0f32, 1 => Just(f32::NAN)], 24 * 18),
    ) {
        let camera = match which {
            0 => camera(24, 18, 20.0, Lens::Pinhole),
            1 => camera(24, 18, 20.0, Lens::brown_conrady_opencv([-0.2, 0.05, 1e-3, -1e-3, 0.0])),
            2 => camera(24, 18, 20.0, Lens::rational_opencv([0.3, 0.1, 1e-3, 0.0, 0.0, 0.2, 0.0, 0.0])),
            3 => camera(24, 18, 9.0, Lens::kannala_brandt_opencv([0.02, -0.01, 0.0, 0.0])),
            _ => CameraModel::equirectangular(24, 18).unwrap(),
        }.flipped_horizontally();
        let map = DepthMap::from_metres(24, 18, metres).unwrap();
        let lifted = map.lift::<Camera>(&camera);
        prop_assert_eq!(lifted.len(), map.n_valid());
        prop_assert!(lifted.is_sorted_by_key(|l| l.pixel));
        for l in &lifted {
            let (want, got) = (l.pixel.centre(), camera.project(l.point).unwrap());
            prop_assert!((want.u - got.u).abs() < 1e-9 && (want.v - got.v).abs() < 1e-9);
            let depth_m = map.at(l.pixel).unwrap();
            prop_assert!((camera.depth_of(l.point) - f64::from(depth_m)).abs() < 1e-9);
        }
    }

    /// Image operations on a map and on its camera fit together: the points stay where they are.
    #[test]
    fn mirrored_and_cropped_maps_lift_to_the_same_points(
        metres in prop::collection::vec(prop_oneof![3 => 0.2..9.0f32, 1 => Just(f32::NAN)], 12 * 9),
        col0 in -3..8i64, row0 in -3..6i64,
    ) {
        let camera = camera(12, 9, 10.0, Lens::brown_conrady_opencv([-0.1, 0.0, 1e-3, -1e-3, 0.0]));
        let map = DepthMap::from_metres(12, 9, metres).unwrap();
        let sorted = |map: &DepthMap, camera: &CameraModel| {
            let mut points: Vec<[f64; 3]> = map.lift::<Camera>(camera).iter().map(|l| l.point.to_array()).collect();
            points.sort_by(|a, b| a.partial_cmp(b).unwrap());
            points
        };
        let same = |a: &[[f64; 3]], b: &[[f64; 3]]| {
            a.len() == b.len() && a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-9)
        };
        let mirrored = sorted(&map.flipped_horizontally(), &camera.flipped_horizontally());
        prop_assert!(same(&mirrored, &sorted(&map, &camera)));
        prop_assert_eq!(map.flipped_horizontally().flipped_horizontally(), map.clone());
        let window = map.cropped(col0, row0, 7, 5);
        let of_window = sorted(&window, &camera.cropped(col0 as f64, row0 as f64, 7, 5));
        let mut want: Vec<[f64; 3]> = map.lift::<Camera>(&camera).iter()
            .filter(|l| (col0..col0 + 7).contains(&l.pixel.col.into()) && (row0..row0 + 5).contains(&l.pixel.row.into()))
            .map(|l| l.point.to_array()).collect();
        want.sort_by(|a, b| a.partial_cmp(b).unwrap());
        prop_assert!(same(&of_window, &want));
    }
}

#[test]
fn resizing_keeps_the_surface_where_it_is() {
    let big = camera(64, 48, 60.0, Lens::Pinhole);
    let n = [0.3, -0.2, 1.0];
    let map = plane(&big, n, 2.0);
    for (w, h) in [(32, 24), (21, 48), (128, 96)] {
        let (small, small_camera) = (map.resized(w, h), big.resized(w, h));
        assert_eq!((small.width(), small.height(), small.n_valid()), (w, h, (w * h) as usize));
        for l in small.lift::<Camera>(&small_camera) {
            // A pixel's depth is that of the old pixel holding its centre: at most half an old pixel beside.
            let off = (l.point.coords().dot(&Vector3::from(n)) - 2.0).abs();
            assert!(off < 0.03, "{w}×{h}: {off}");
        }
    }
    // At an odd factor the centres fall on centres, and nothing is off at all.
    let third = map.resized(64 / 3 + 1, 16).cropped(0, 0, 21, 16);
    assert_eq!(third.height(), 16);
    assert_eq!(map.resized(64, 16).at(PixelIdx::new(5, 7)), map.at(PixelIdx::new(16, 7)));
}

#[test]
fn normals_of_a_plane_are_its_own_and_face_the_camera() {
    let n = Vector3::new(0.3, -0.4, -1.0).normalize();
    for lens in [Lens::Pinhole, Lens::brown_conrady_opencv([-0.1, 0.02, 0.0, 0.0, 0.0])] {
        for camera in [camera(40, 30, 50.0, lens), camera(40, 30, 50.0, lens).flipped_horizontally()] {
            let map = plane(&camera, n.into(), -2.0);
            let normals = map.normals::<DepthCamera>(&camera);
            let inner: Vec<_> = normals.iter().flatten().collect();
            assert_eq!(inner.len(), 38 * 28);
            for normal in inner {
                assert!((normal.coords() - n).norm() < 1e-4, "{normal:?}");
            }
            assert!(normals[..40].iter().all(Option::is_none));
        }
    }
}

#[test]
fn no_normal_across_an_edge_or_beside_a_gap() {
    let cam = camera(10, 5, 50.0, Lens::Pinhole);
    let mut metres: Vec<f32> = (0..50).map(|i| if i % 10 < 5 { 1.0 } else { 2.0 }).collect();
    metres[2 * 10 + 2] = f32::NAN;
    let normals = DepthMap::from_metres(10, 5, metres).unwrap().normals::<Camera>(&cam);
    let at = |row: usize, col: usize| normals[row * 10 + col];
    assert!(at(2, 4).is_none() && at(2, 5).is_none());
    assert!(at(2, 1).is_none() && at(2, 2).is_none() && at(2, 3).is_none() && at(1, 2).is_none());
    assert_eq!(at(2, 7), Some(Direction3::new(0.0, 0.0, -1.0)));
}

#[test]
fn the_same_camera_measures_the_same() {
    let cam = camera(40, 30, 35.0, Lens::Pinhole);
    let mut metres = plane(&cam, [0.2, 0.5, 1.0], 3.0).metres().to_vec();
    metres[100] = f32::NAN;
    metres[101] = 0.7;
    let map = DepthMap::from_metres(40, 30, metres).unwrap();
    let same = map.seen_by(&cam, &Rigid3::<Camera, Camera>::identity(), &cam);
    for (row, col) in (0..30).flat_map(|r| (0..40).map(move |c| (r, c))) {
        let (a, b) = (map.at(PixelIdx { row, col }), same.at(PixelIdx { row, col }));
        assert_eq!(a.is_some(), b.is_some(), "{row}, {col}");
        assert!(a.zip(b).is_none_or(|(a, b)| (a - b).abs() < 1e-5), "{row}, {col}: {a:?} {b:?}");
    }
}

#[test]
fn a_plane_registered_to_a_finer_camera_has_no_holes() {
    let n = Vector3::new(0.15, -0.1, 1.0);
    let depth_camera = camera(80, 60, 70.0, Lens::Pinhole);
    let map = plane(&depth_camera, n.into(), 2.0);
    // Three times as fine, turned by 3° and 5 cm aside; and a lens.
    let rotation = UnitQuaternion::from_scaled_axis(Vector3::new(0.01, 0.05, -0.02));
    let pose = Rigid3::<Camera, DepthCamera>::new(rotation, Vector3::new(-0.05, 0.01, 0.02));
    for lens in [Lens::Pinhole, Lens::brown_conrady_opencv([-0.1, 0.0, 1e-3, 0.0, 0.0])] {
        let colour = camera(240, 180, 260.0, lens);
        let seen = map.seen_by(&depth_camera, &pose, &colour);
        let mut n_seen = 0;
        for (row, col) in (0..180).flat_map(|r| (0..240).map(move |c| (r, c))) {
            let pixel = PixelIdx { row, col };
            // Where the ray of this pixel meets the plane, and whether the depth camera measured around there.
            let from_colour = pose.inverse();
            let ray = from_colour * colour.unproject(pixel.centre()).unwrap();
            let start = from_colour.translation();
            let along = (2.0 - n.dot(&start)) / n.dot(&ray.coords());
            let hit = Point3::<Camera>::from_coords(start + ray.coords() * along);
            let there = depth_camera.project(hit);
            let inside = there.is_ok_and(|p| p.u > 0.5 && p.v > 0.5 && p.u < 79.5 && p.v < 59.5);
            let in_colour = pose * Point3::<DepthCamera>::from_coords(hit.coords());
            match seen.at(pixel) {
                Some(depth_m) => {
                    n_seen += 1;
                    let off = (f64::from(depth_m) - colour.depth_of(in_colour)).abs();
                    // Exact for a pinhole; a lens bends the lines between measured pixels.
                    let tolerance = if lens == Lens::Pinhole { 1e-5 } else { 2e-3 };
                    assert!(off < tolerance, "{pixel:?}: off by {off}");
                }
                None => assert!(!inside, "a hole at {pixel:?}"),
            }
        }
        assert!(n_seen > 20_000, "{n_seen}");
    }
}

#[test]
fn what_is_near_hides_what_is_far_from_the_second_camera() {
    // A box 1 m away before a wall 3 m away, seen from 20 cm to the right.
    let cam = CameraModel::new(100, 20, [80.0, 80.0, 50.0, 10.0], Lens::Pinhole).unwrap();
    let metres = (0..2000).map(|i| if (40..60).contains(&(i % 100)) { 1.0 } else { 3.0 }).collect();
    let map = DepthMap::from_metres(100, 20, metres).unwrap();
    // And from 20 cm to the left, which is the same picture mirrored: whichever surface is drawn last.
    for (shift, mirrored) in [(-0.2, false), (0.2, true)] {
        let pose = Rigid3::<Camera, DepthCamera>::from_translation([shift, 0.0, 0.0]);
        let seen = map.seen_by(&cam, &pose, &cam);
        let seen = if mirrored { seen.flipped_horizontally() } else { seen };
        // The box moves by 80 · 0.2 / 1 = 16 pixels to the left, the wall by 5.33.
        for col in 0..94 {
            let want = match col {
                // Drawn at the centres between the outermost measured ones.
                24..44 => Some(1.0),
                // What the box hid from the first camera is unknown.
                44..55 => None,
                _ => Some(3.0),
            };
            let got = seen.at(PixelIdx::new(10, col));
            let close = match (want, got) {
                (Some(want), Some(got)) => (want - got).abs() < 1e-5,
                (want, got) => want == got,
            };
            assert!(close, "shift {shift}, column {col}: {got:?}, not {want:?}");
        }
    }
}

#[test]
fn a_panorama_is_not_torn_at_its_seam() {
    let pano = CameraModel::equirectangular(64, 32).unwrap();
    let map = DepthMap::from_metres(64, 32, vec![2.0; 64 * 32]).unwrap();
    // Turned by 90° about the vertical: the old seam lies at a side of the new image.
    let rotation = UnitQuaternion::from_scaled_axis(Vector3::new(0.0, std::f64::consts::FRAC_PI_2, 0.0));
    let pose = Rigid3::<Camera, DepthCamera>::new(rotation, Vector3::zeros());
    let seen = map.seen_by(&pano, &pose, &pano);
    assert!(seen.metres().iter().all(|d| d.is_nan() || (d - 2.0).abs() < 1e-4));
    // Only the columns at the two seams can miss.
    assert!(seen.n_valid() > 60 * 30, "{}", seen.n_valid());
}
