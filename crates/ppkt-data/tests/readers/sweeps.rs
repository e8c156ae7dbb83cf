//! LiDAR sweeps with photographs: KITTI, written small, damaged, and real where it is.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use ppkt_data::{DataError, DataUri, Dataset, LinkConfig, Scene, Split, link, verify};
use ppkt_geometry::nalgebra::{Matrix4, Vector4};
use ppkt_testkit::shared_or_skip;

pub(crate) const SIZE: [u32; 2] = [128, 48];

pub(crate) fn open(uri: &str, split: Split) -> Result<Box<dyn Dataset>, DataError> {
    uri.parse::<DataUri>().unwrap().open(split)
}

pub(crate) fn uri(scheme: &str, folder: &Path, query: &str) -> String {
    format!("{scheme}:{}{query}", folder.display())
}

/// A wall 12 m ahead and a post 5 m ahead, `forward` telling which axis is ahead; intensity rises to one side.
pub(crate) fn wall(forward: impl Fn(f32, f32, f32) -> [f32; 3]) -> Vec<[f32; 4]> {
    let mut points = Vec::new();
    for (ahead, half) in [(12.0, 60), (5.0, 2)] {
        for i in -half..=half {
            for j in -10..=10 {
                let (side, up) = (i as f32 * 0.1, j as f32 * 0.1);
                let [x, y, z] = forward(ahead, side, up);
                points.push([x, y, z, (i + half) as f32 / (2 * half) as f32]);
            }
        }
    }
    // Behind the car: in the cloud, in no photograph.
    let [x, y, z] = forward(-9.0, 0.5, 0.0);
    points.push([x, y, z, 0.25]);
    points
}

pub(crate) fn photo(path: &Path, shade: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(SIZE[0], SIZE[1], |x, y| Rgb([(x * 2) as u8, (y * 5) as u8, shade]))
        .save(path)
        .unwrap();
}

pub(crate) fn numbers(path: &Path, values: impl IntoIterator<Item = f32>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
}

const P2: [f64; 12] = [80.0, 0.0, 63.0, 3.5, 0.0, 82.0, 24.5, -0.3, 0.0, 0.0, 1.0, 0.004];
/// A turn by 0.02 about the vertical axis.
const R0: [f64; 9] = [
    0.9998000066665778,
    0.0,
    0.01999866669333308,
    0.0,
    1.0,
    0.0,
    -0.01999866669333308,
    0.0,
    0.9998000066665778,
];
const TR: [f64; 12] = [0.0, -1.0, 0.0, 0.03, 0.0, 0.0, -1.0, -0.07, 1.0, 0.0, 0.0, -0.27];

fn kitti(n: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..n {
        let file = |folder: &str, ending: &str| dir.path().join(format!("training/{folder}/{i:06}.{ending}"));
        numbers(&file("velodyne", "bin"), wall(|ahead, side, up| [ahead, side, up]).into_iter().flatten());
        photo(&file("image_2", "png"), i as u8);
        let line = |name: &str, m: &[f64]| {
            format!("{name}: {}\n", m.iter().map(|v| format!("{v:e}")).collect::<Vec<_>>().join(" "))
        };
        let text = line("P2", &P2) + &line("R0_rect", &R0) + &line("Tr_velo_to_cam", &TR);
        fs::create_dir_all(file("calib", "txt").parent().unwrap()).unwrap();
        fs::write(file("calib", "txt"), text).unwrap();
    }
    dir
}

/// Rows of a matrix with fewer than four rows or columns, filled up with the identity's.
pub(crate) fn matrix(values: &[f64], columns: usize) -> Matrix4<f64> {
    let mut m = Matrix4::identity();
    for (i, v) in values.iter().enumerate() {
        m[(i / columns, i % columns)] = *v;
    }
    m
}

/// Every link lies where `pixel_from_point`, a product of matrices, puts the point; and there are enough of them.
pub(crate) fn check_links(scene: &Scene, view: u32, pixel_from_point: Matrix4<f64>, at_least: usize) {
    let links = link(scene, &LinkConfig { splat_px: 0, ..LinkConfig::default() });
    let own: Vec<_> = links.iter().filter(|l| l.view == view).collect();
    assert!(own.len() >= at_least, "{} links of view {view}", own.len());
    for l in own {
        let [x, y, z] = scene.cloud.points[l.point as usize].map(f64::from);
        let p = pixel_from_point * Vector4::new(x, y, z, 1.0);
        assert!(p.z > 0.0);
        // The data sets count from the first pixel's centre, we from its corner.
        let (u, v) = (p.x / p.z + 0.5, p.y / p.z + 0.5);
        assert!((f64::from(l.u) - u).abs() < 1e-3 && (f64::from(l.v) - v).abs() < 1e-3, "{l:?} {u} {v}");
    }
}

#[test]
fn kitti_is_read_as_its_devkit_says() {
    let dir = kitti(2);
    for place in [dir.path().to_owned(), dir.path().join("training")] {
        let data = open(&uri("kitti", &place, ""), Split::All).unwrap();
        assert_eq!((data.len(), data.frame_name(1)), (2, "000001".to_owned()));
        let scene = data.sample(1).unwrap();
        let points = wall(|ahead, side, up| [ahead, side, up]);
        assert_eq!(scene.cloud.points.len(), points.len());
        let intensity = scene.cloud.intensity.as_ref().unwrap();
        assert!(points.iter().zip(&scene.cloud.points).all(|(a, b)| a[..3] == b[..]));
        assert!(points.iter().zip(intensity).all(|(a, b)| a[3] == *b));
        check_links(&scene, 0, matrix(&P2, 4) * matrix(&R0, 3) * matrix(&TR, 4), 1000);
    }
}

#[test]
fn points_have_the_colour_of_the_photograph_or_are_grey() {
    let dir = kitti(1);
    let scene = open(&uri("kitti", dir.path(), ""), Split::All).unwrap().sample(0).unwrap();
    let n = scene.cloud.points.len();
    assert_eq!(scene.cloud.colours[n - 1], [0.5; 3], "the point behind the car");
    let links = link(&scene, &LinkConfig { tolerance_m: 0.3, tolerance_share: 0.05, splat_px: 3 });
    assert!(links.len() > 1000);
    for l in &links {
        let wanted = scene.views[0].image.get_pixel(l.u as u32, l.v as u32).0.map(|c| f32::from(c) / 255.0);
        assert_eq!(scene.cloud.colours[l.point as usize], wanted);
    }
    // The wall right behind the post is hidden.
    let post = |p: &[f32; 3]| p[0] == 12.0 && p[1].abs() < 0.3 && p[2].abs() < 0.5;
    assert!(links.iter().all(|l| !post(&scene.cloud.points[l.point as usize])));
}

#[test]
fn kitti_is_split_by_its_lists_or_by_names() {
    let dir = kitti(6);
    let names = |query: &str, split: Split| -> Vec<String> {
        let data = open(&uri("kitti", dir.path(), query), split).unwrap();
        (0..data.len()).map(|i| data.frame_name(i)).collect()
    };
    let (train, validation) = (names("?holdout=0.5", Split::Train), names("?holdout=0.5", Split::Validation));
    assert_eq!(train.len() + validation.len(), 6);
    assert!(!train.is_empty() && !validation.is_empty() && train.iter().all(|n| !validation.contains(n)));
    assert!(matches!(
        open(&uri("kitti", dir.path(), "?holdout=0"), Split::Validation),
        Err(DataError::EmptySplit { .. })
    ));
    fs::create_dir(dir.path().join("ImageSets")).unwrap();
    fs::write(dir.path().join("ImageSets/train.txt"), "000003\n000001\n").unwrap();
    fs::write(dir.path().join("ImageSets/val.txt"), "000004\n").unwrap();
    assert_eq!(names("", Split::Train), ["000001", "000003"]);
    assert_eq!(names("", Split::Validation), ["000004"]);
    assert_eq!(names("?every=2", Split::All), ["000001", "000004"]);
    let data = open(&uri("kitti", dir.path(), ""), Split::All).unwrap();
    assert!(data.notes().iter().any(|n| n.contains("3 frames")), "{:?}", data.notes());
}

#[test]
fn min_range_leaves_out_what_is_near() {
    let dir = kitti(1);
    let scene = open(&uri("kitti", dir.path(), "?min_range=6"), Split::All).unwrap().sample(0).unwrap();
    assert!(scene.cloud.points.iter().all(|p| p[0].abs() > 5.5));
    assert_eq!(scene.cloud.intensity.unwrap().len(), scene.cloud.points.len());
    let error = open(&uri("kitti", dir.path(), "?min_range=99"), Split::All).unwrap().sample(0).unwrap_err();
    assert!(matches!(error, DataError::NoPoints { .. }), "{error}");
    assert!(open(&uri("kitti", dir.path(), "?min_range=-1"), Split::All).err().unwrap().is_configuration());
}

#[test]
fn damaged_kitti_frames_are_named_with_their_fault() {
    type Damage = fn(&Path);
    let faults: [(&str, Damage); 10] = [
        ("cut off", |root| truncate(&root.join("training/velodyne/000001.bin"), 777)),
        ("none beyond", |root| truncate(&root.join("training/velodyne/000001.bin"), 0)),
        ("no sensor sees", |root| {
            numbers(&root.join("training/velodyne/000001.bin"), [1.0, f32::NAN, 0.0, 0.5])
        }),
        ("no sensor sees", |root| numbers(&root.join("training/velodyne/000001.bin"), [1.0, 2.0, 1e30, 0.5])),
        ("intensity 3", |root| numbers(&root.join("training/velodyne/000001.bin"), [1.0, 2.0, 3.0, 3.0])),
        ("photo", |root| fs::remove_file(root.join("training/image_2/000001.png")).unwrap()),
        ("photo cannot be decoded", |root| truncate(&root.join("training/image_2/000001.png"), 200)),
        ("calibration", |root| fs::remove_file(root.join("training/calib/000001.txt")).unwrap()),
        ("no line \"P2\"", |root| fs::write(root.join("training/calib/000001.txt"), "P0: 1 2 3\n").unwrap()),
        ("has 1 numbers, not 12", |root| {
            fs::write(root.join("training/calib/000001.txt"), "P2: 7\n").unwrap()
        }),
    ];
    for (words, damage) in faults {
        let dir = kitti(3);
        damage(dir.path());
        let data = open(&uri("kitti", dir.path(), ""), Split::All).unwrap();
        let error = data.sample(1).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!error.is_configuration());
        assert!(data.sample(0).is_ok() && data.sample(2).is_ok());
        let report = verify(&uri("kitti", dir.path(), "").parse().unwrap(), None).unwrap();
        assert_eq!((report.checked, report.good, report.errors()), (3, 2, 1), "{words}: {:?}", report.faults);
        assert_eq!(report.faults[0].frame.as_deref(), Some("000001"));
    }
}

pub(crate) fn truncate(path: &Path, bytes: usize) {
    let all = fs::read(path).unwrap();
    fs::write(path, &all[..bytes]).unwrap();
}

#[test]
fn a_calibration_that_is_none_is_refused() {
    let good = |name: &str, m: &[f64]| {
        format!("{name}: {}\n", m.iter().map(f64::to_string).collect::<Vec<_>>().join(" "))
    };
    let nan = [f64::NAN; 12];
    let stretched = TR.map(|v| 2.0 * v);
    for (text, words) in [
        (good("P2", &nan) + &good("R0_rect", &R0) + &good("Tr_velo_to_cam", &TR), "not finite"),
        (good("P2", &TR) + &good("R0_rect", &R0) + &good("Tr_velo_to_cam", &TR), "no camera matrix"),
        (good("P2", &P2) + &good("R0_rect", &R0) + &good("Tr_velo_to_cam", &stretched), "Tr_velo_to_cam"),
        (good("P2", &P2) + &good("R0_rect", &R0), "no line \"Tr_velo_to_cam\""),
        ("P2: one two".to_owned(), "no number"),
    ] {
        let dir = kitti(1);
        fs::write(dir.path().join("training/calib/000000.txt"), text).unwrap();
        let error = open(&uri("kitti", dir.path(), ""), Split::All).unwrap().sample(0).unwrap_err();
        assert!(matches!(error, DataError::Camera { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_photograph_that_sees_no_point_is_suspicious() {
    let dir = kitti(1);
    // The camera looks backwards.
    let path = dir.path().join("training/calib/000000.txt");
    let text = fs::read_to_string(&path).unwrap();
    let back = "Tr_velo_to_cam: 0 1 0 0 0 0 -1 0 -1 0 0 0\n";
    fs::write(&path, text.lines().take(2).collect::<Vec<_>>().join("\n") + "\n" + back).unwrap();
    let report = verify(&uri("kitti", dir.path(), "").parse().unwrap(), None).unwrap();
    assert_eq!(report.errors(), 0);
    assert!(report.faults.iter().any(|f| f.kind == "calibration"), "{:?}", report.faults);
}

#[test]
fn folders_that_hold_nothing_of_the_kind_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for scheme in ["kitti", "nuscenes"] {
        let error = open(&uri(scheme, dir.path(), ""), Split::All).err().unwrap();
        assert!(matches!(error, DataError::Empty { .. }) && error.is_configuration(), "{error}");
        let error = open(&uri(scheme, &dir.path().join("none"), ""), Split::All).err().unwrap();
        assert!(matches!(error, DataError::NoFolder { .. }), "{error}");
    }
}

#[test]
fn real_kitti_frames_meet_their_photographs() {
    let Some(folder) = shared_or_skip("data/lidar/kitti_object") else { return };
    let data = open(&uri("kitti", &folder, ""), Split::All).unwrap();
    assert_eq!(data.len(), 2);
    for (index, points, size) in [(0, 115_384, (1224, 370)), (1, 126_891, (1242, 375))] {
        let scene = data.sample(index).unwrap();
        assert_eq!((scene.cloud.points.len(), scene.views[0].image.dimensions()), (points, size));
        // About 20,000 points fall in the image, of which some are hidden.
        let all = link(&scene, &LinkConfig { tolerance_m: 1e3, ..LinkConfig::default() }).len();
        let seen = link(&scene, &LinkConfig { tolerance_m: 0.3, tolerance_share: 0.05, splat_px: 3 }).len();
        assert!((17_000..23_000).contains(&all), "{all}");
        assert!(seen * 10 > all * 7 && seen < all, "{seen} of {all}");
        let camera = scene.views[0].world_from_camera.translation();
        // Above the middle of the car, the camera is 27 cm ahead of the scanner and 8 cm below it.
        assert!(
            (camera.x - 0.27).abs() < 0.1 && camera.y.abs() < 0.2 && (camera.z + 0.08).abs() < 0.1,
            "{camera}"
        );
    }
}
