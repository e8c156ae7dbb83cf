//! The real samples beside the workspace, where they are.

use ppkt_data::{DataUri, Dataset, Scene, Split};
use ppkt_geometry::{Direction3, PixelIdx, Point3, frame};
use ppkt_testkit::shared_or_skip;

fn open(scheme: &str, folder: &str, query: &str, split: Split) -> Option<Box<dyn Dataset>> {
    let path = shared_or_skip(&format!("data/rgbd/{folder}"))?;
    let uri: DataUri = format!("{scheme}:{}{query}", path.display()).parse().unwrap();
    Some(uri.open(split).unwrap())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Every point lies, as its view sees it, at the pixel whose colour and class it has, and not behind the depth there.
fn check_scene(scene: &Scene) {
    let view = &scene.views[0];
    let depth = view.depth.as_ref().unwrap();
    assert_eq!((depth.width(), depth.height()), view.image.dimensions());
    assert_eq!((view.camera.width(), view.camera.height()), view.image.dimensions());
    let camera_from_world = view.world_from_camera.inverse();
    let mut stray = 0;
    for (i, p) in scene.cloud.points.iter().enumerate().step_by(37) {
        let p_camera = camera_from_world * Point3::<frame::World>::from_f32(*p);
        let Ok(pixel) = view.camera.project(p_camera) else {
            stray += 1;
            continue;
        };
        let PixelIdx { row, col } = pixel.containing();
        let seen = view.image.get_pixel(col, row).0.map(|c| f32::from(c) / 255.0);
        let class = view.classes.as_ref().map(|c| c[(row * view.image.width() + col) as usize]);
        // Positions are f32: one on the border of two pixels may fall to either side.
        stray += usize::from(seen != scene.cloud.colours[i]);
        assert_eq!(class.is_some(), scene.cloud.classes.is_some());
        let front = depth.sample_nearest(pixel).unwrap();
        assert!(p_camera.z() as f32 <= front * 1.03 + 0.03, "{} behind {front}", p_camera.z());
    }
    assert!(stray * 37 * 200 < scene.cloud.points.len() * 37, "{stray} stray points");
}

#[test]
fn nyuv2_has_its_two_parts_and_a_floor_below_the_camera() {
    let Some(train) = open("nyuv2", "nyuv2", "?classes=40", Split::Train) else { return };
    let validation = open("nyuv2", "nyuv2", "?classes=40", Split::Validation).unwrap();
    assert_eq!((train.len(), validation.len()), (400, 200));
    assert_eq!(train.classes().unwrap().names()[2], "floor");
    let mut heights = Vec::new();
    for index in (0..train.len()).step_by(8) {
        let scene = train.sample(index).unwrap();
        check_scene(&scene);
        if let Some(height) = floor_height(&scene) {
            heights.push(height);
        }
    }
    assert!(heights.len() > 10, "{}", heights.len());
    let height = median(&mut heights);
    println!("floor {height:.3} m below the camera, median of {}", heights.len());
    assert!((1.25..1.44).contains(&height), "{height}");
}

/// Distance of the camera from the plane through the points of the floor, where there are enough of them.
fn floor_height(scene: &Scene) -> Option<f64> {
    let classes = scene.cloud.classes.as_ref()?;
    let floor: Vec<[f64; 3]> = scene
        .cloud
        .points
        .iter()
        .zip(classes)
        .filter(|(_, c)| **c == 2)
        .map(|(p, _)| p.map(f64::from))
        .collect();
    if floor.len() < 20_000 {
        return None;
    }
    // z = a x + b y + c by least squares: with the camera level, a floor is never steep.
    let n = floor.len() as f64;
    let mean = floor.iter().fold([0.0; 3], |m, p| [0, 1, 2].map(|i| m[i] + p[i] / n));
    let mut s = [0.0; 5];
    for p in &floor {
        let [x, y, z] = [0, 1, 2].map(|i| p[i] - mean[i]);
        for (sum, term) in s.iter_mut().zip([x * x, x * y, y * y, x * z, y * z]) {
            *sum += term;
        }
    }
    let determinant = s[0] * s[2] - s[1] * s[1];
    let a = (s[3] * s[2] - s[4] * s[1]) / determinant;
    let b = (s[0] * s[4] - s[1] * s[3]) / determinant;
    let camera_above = -(mean[2] - a * mean[0] - b * mean[1]);
    Some(camera_above / (1.0 + a * a + b * b).sqrt())
}

#[test]
fn nyuv2_pictures_lose_their_white_border() {
    let Some(whole) = open("nyuv2", "nyuv2", "?crop=none&every=25", Split::All) else { return };
    let cropped = open("nyuv2", "nyuv2", "?every=25", Split::All).unwrap();
    // Mean share of white pixels in the four lines `inset` pixels from the edges.
    let white = |data: &dyn Dataset, inset: u32| {
        let shares = (0..data.len()).map(|index| {
            let image = data.sample(index).unwrap().views[0].image.clone();
            let (w, h) = image.dimensions();
            let is_white = |(x, y): (u32, u32)| image.get_pixel(x, y).0.iter().all(|c| *c > 235);
            let rows = (inset..w - inset).flat_map(|x| [(x, inset), (x, h - 1 - inset)]);
            let columns = (inset..h - inset).flat_map(|y| [(inset, y), (w - 1 - inset, y)]);
            let all: Vec<bool> = rows.chain(columns).map(is_white).collect();
            all.iter().filter(|w| **w).count() as f64 / all.len() as f64
        });
        shares.sum::<f64>() / data.len() as f64
    };
    assert!(white(&*whole, 5) > 0.7);
    assert!(white(&*cropped, 0) < 0.05, "{}", white(&*cropped, 0));
}

#[test]
fn sevenscenes_frames_agree_with_each_other() {
    let Some(data) = open("sevenscenes", "7scenes_redkitchen", "", Split::All) else { return };
    assert_eq!(data.len(), 140);
    assert_eq!(data.frame_name(2), "frame-000010");
    let mut differences = Vec::new();
    for index in (0..data.len() - 2).step_by(12) {
        let (a, b) = (data.sample(index).unwrap(), data.sample(index + 2).unwrap());
        check_scene(&a);
        let view = &b.views[0];
        let camera_from_world = view.world_from_camera.inverse();
        for p in a.cloud.points.iter().step_by(23) {
            let p_camera = camera_from_world * Point3::<frame::World>::from_f32(*p);
            let Ok(pixel) = view.camera.project(p_camera) else { continue };
            let Some(depth) = view.depth.as_ref().unwrap().sample_nearest(pixel) else { continue };
            differences.push((f64::from(depth) - p_camera.z()).abs());
        }
    }
    let within = differences.iter().filter(|d| **d < 0.05).count() as f64 / differences.len() as f64;
    let middle = median(&mut differences);
    println!("frames 10 apart: median {:.1} mm, {:.1} % within 5 cm", middle * 1e3, within * 1e2);
    assert!(middle < 0.009, "{middle}");
    assert!(within > 0.95, "{within}");
}

#[test]
fn sevenscenes_world_has_z_up() {
    let Some(data) = open("sevenscenes", "7scenes_redkitchen", "?every=20", Split::All) else { return };
    for index in 0..data.len() {
        let pose = data.sample(index).unwrap().views[0].world_from_camera;
        let down = pose * Direction3::<frame::Camera>::from_array([0.0, 1.0, 0.0]);
        assert!(down.z() < -0.5, "a kitchen is not filmed upside down: {:?}", down.to_array());
    }
}

#[test]
fn sunrgbd_frame_is_level_and_in_metres() {
    let Some(data) = open("sunrgbd", "sunrgbd", "", Split::All) else { return };
    assert_eq!(data.len(), 1);
    let scene = data.sample(0).unwrap();
    assert_eq!(scene.views[0].image.dimensions(), (730, 530));
    check_scene(&scene);
    let mut z: Vec<f64> = scene.cloud.points.iter().map(|p| f64::from(p[2])).collect();
    let depth = scene.views[0].depth.as_ref().unwrap();
    let (near, far) =
        depth.metres().iter().filter(|d| !d.is_nan()).fold((9f32, 0f32), |(a, b), d| (a.min(*d), b.max(*d)));
    println!("depth {near} to {far} m, median height {:.2}", median(&mut z));
    assert!(near > 0.3 && far <= 8.0);
    // Level surfaces gather many points in one slice of height; turned the wrong way nothing does.
    let fullest = |turn: f64| {
        let mut slices = std::collections::BTreeMap::<i64, usize>::new();
        for p in &scene.cloud.points {
            let height = f64::from(p[2]) * turn.cos() + f64::from(p[1]) * turn.sin();
            *slices.entry((height / 0.02).floor() as i64).or_default() += 1;
        }
        slices.values().copied().max().unwrap()
    };
    let level = fullest(0.0);
    for turn in [-0.7, -0.35, -0.1, 0.1, 0.35, 0.7] {
        println!("{turn}: {} against {level}", fullest(turn));
        assert!(level > fullest(turn), "turned by {turn}: {} against {level}", fullest(turn));
    }
}
