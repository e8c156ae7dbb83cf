//! LiDAR sweeps, end to end: the recipe for the street with one flag changed, on folders in the formats of nuScenes and
//! KITTI.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use crate::common::{assert_done, finish, losses, ppkt};

const CAMERAS: [&str; 6] =
    ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"];

/// A road, walls of houses along it and a post: `forward` and `left` as unit vectors of the LiDAR's x and y.
fn street(shift: f32, place: impl Fn(f32, f32, f32) -> [f32; 3]) -> Vec<[f32; 4]> {
    let mut points = Vec::new();
    for i in -60..60 {
        let ahead = i as f32 * 0.4 + shift;
        for j in 0..10 {
            let side = j as f32 - 5.0;
            points.push((ahead, side, -1.6, 0.1 + 0.02 * j as f32));
            let high = j as f32 * 0.5 - 1.5;
            points.push((ahead, 7.0 + 0.3 * (0.7 * ahead).sin(), high, 0.5));
            points.push((ahead, -8.0, high, 0.3 + 0.2 * (0.5 * ahead).sin().abs()));
        }
    }
    points.extend((0..30).map(|j| (6.0, 2.0, j as f32 * 0.1 - 1.6, 0.9)));
    points
        .into_iter()
        .map(|(ahead, left, up, intensity)| {
            let [x, y, z] = place(ahead, left, up);
            [x, y, z, intensity]
        })
        .collect()
}

fn photo(path: &Path, seed: u32, size: [u32; 2]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let wave = |x: u32, y: u32, k: u32| {
        (((x * (3 + k) + y * 5 + seed * 37) as f32 * 0.05).sin() * 110.0 + 128.0) as u8
    };
    let image = RgbImage::from_fn(size[0], size[1], |x, y| {
        if y > size[1] / 2 {
            Rgb([90, 90, wave(x, y, 9)])
        } else {
            Rgb([wave(x, y, 0), wave(x, y, 1), wave(y, x, 2)])
        }
    });
    image.save_with_format(path, image::ImageFormat::Jpeg).unwrap();
}

fn numbers(path: &Path, values: impl IntoIterator<Item = f32>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
}

/// `w x y z` of a turn about z after another rotation.
fn turned(angle: f64, [w, x, y, z]: [f64; 4]) -> [f64; 4] {
    let (c, s) = ((angle / 2.0).cos(), (angle / 2.0).sin());
    [c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w]
}

/// A folder in the format of nuScenes: two scenes of two key frames, six cameras, and a list that holds one scene out.
fn nuscenes(folder: &Path) -> String {
    /// z forward, x right, y down, seen from a car with x forward and z up.
    const LEVEL: [f64; 4] = [0.5, -0.5, 0.5, -0.5];
    let mut tables: [(&str, Vec<Value>); 6] =
        ["scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor"]
            .map(|t| (t, Vec::new()));
    let [scenes, samples, data, poses, calibrations, sensors] = &mut tables;
    let sensor = |k: usize| if k < 6 { CAMERAS[k] } else { "LIDAR_TOP" };
    for k in 0..7 {
        let name = sensor(k);
        let (rotation, place) = match k {
            6 => (turned(-std::f64::consts::FRAC_PI_2, [1.0, 0.0, 0.0, 0.0]), [0.9, 0.0, 1.8]),
            _ => (turned(-std::f64::consts::TAU * k as f64 / 6.0, LEVEL), [1.0, 0.0, 1.5]),
        };
        let intrinsics =
            if k < 6 { json!([[90.0, 0.0, 79.5], [0.0, 90.0, 44.5], [0.0, 0.0, 1.0]]) } else { json!([]) };
        sensors.1.push(json!({"token": name, "channel": name, "modality": "any"}));
        calibrations
            .1
            .push(json!({"token": name, "sensor_token": name, "translation": place, "rotation": rotation,
                                   "camera_intrinsic": intrinsics}));
    }
    for (s, scene) in ["scene-0001", "scene-0002"].into_iter().enumerate() {
        scenes.1.push(json!({"token": scene, "name": scene}));
        for i in 0..2 {
            let token = format!("{scene} {i}");
            samples.1.push(json!({"token": token, "timestamp": 1000 * i + 7, "scene_token": scene}));
            for k in 0..7 {
                let (name, pose) = (sensor(k), format!("{token} {k}"));
                let file = format!("samples/{name}/{scene}-{i}.{}", if k < 6 { "jpg" } else { "pcd.bin" });
                match k {
                    6 => numbers(
                        &folder.join(&file),
                        street(0.3 * (i + 2 * s) as f32, |ahead, left, up| [-left, ahead, up])
                            .into_iter()
                            .flat_map(|[x, y, z, v]| [x, y, z, 255.0 * v, 3.0]),
                    ),
                    _ => photo(&folder.join(&file), (k + 10 * i + 20 * s) as u32, [160, 90]),
                }
                poses.1.push(json!({"token": pose, "timestamp": 0, "rotation": [1.0, 0.0, 0.0, 0.0],
                                    "translation": [100.0 + i as f64, 5.0, 0.0]}));
                data.1.push(json!({"token": pose, "sample_token": token, "ego_pose_token": pose,
                                   "calibrated_sensor_token": name, "timestamp": 0, "is_key_frame": true,
                                   "filename": file}));
            }
        }
    }
    fs::create_dir_all(folder.join("v1.0-mini")).unwrap();
    for (name, records) in tables {
        fs::write(folder.join(format!("v1.0-mini/{name}.json")), Value::from(records).to_string()).unwrap();
    }
    let list = folder.join("held-out.txt");
    fs::write(&list, "scene-0002\n").unwrap();
    format!("nuscenes:{}?held_out={}", folder.display(), list.display())
}

/// A folder in the format of KITTI, four frames, two of them held out by its lists.
fn kitti(folder: &Path) -> String {
    for i in 0..4 {
        let file = |kind: &str, ending: &str| folder.join(format!("training/{kind}/{i:06}.{ending}"));
        let points = street(0.3 * i as f32, |ahead, left, up| [ahead, left, up]);
        numbers(&file("velodyne", "bin"), points.into_iter().flatten());
        photo(&file("image_2", "jpg"), i, [160, 60]);
        fs::create_dir_all(folder.join("training/calib")).unwrap();
        let text = "P2: 90 0 79.5 0 0 90 29.5 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\n\
                    Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.3\n";
        fs::write(file("calib", "txt"), text).unwrap();
    }
    fs::create_dir(folder.join("ImageSets")).unwrap();
    fs::write(folder.join("ImageSets/train.txt"), "000000\n000002\n").unwrap();
    fs::write(folder.join("ImageSets/val.txt"), "000001\n000003\n").unwrap();
    format!("kitti:{}", folder.display())
}

/// The run that a user makes, but for its size: everything that is small is set alike for every teacher.
fn pretrain(data: &str, teacher: &str, out: &Path) {
    let small = [
        "steps=3",
        "data.workers=1",
        "batch.frames_per_batch=2",
        "batch.image_size=[136,72]",
        "student.arch=MinkUNet14Tiny",
        "objective.pairs=256",
        "validation.frames=2",
        "validation.candidates=48",
        "checkpoint.every=2",
        "pictures.frames=2",
    ];
    let mut command = ppkt();
    command.args(["pretrain", "--recipe", "ppkt-outdoor", "--data", data, "--teacher", teacher, "--out"]);
    let output = finish(command.arg(out).arg("--set").args(small));
    println!("{teacher}: {}", String::from_utf8_lossy(&output.stderr));
    assert_done(&output);
}

/// A small network of random weights, as its family's own library writes it.
fn teacher(name: &str) -> String {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ppkt-teacher/tests/goldens");
    format!("file:{}", goldens.join(name).join("model.safetensors").display())
}

fn run_is_whole(run: &Path) {
    assert_eq!(losses(run).len(), 3);
    let overview = image::open(run.join("pictures/overview.png")).unwrap().to_rgb8();
    // Photo, teacher and student of two frames, of which the student's panel is dark where no point was seen.
    let student = overview.view_of(2);
    let lit = student.iter().filter(|p| p.0.iter().any(|c| *c > 60)).count();
    assert!(lit > 100 && lit < student.len(), "{lit} of {}", student.len());
    let samples: Vec<PathBuf> =
        fs::read_dir(run.join("samples")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!samples.is_empty());
    for sample in samples {
        let cloud = ppkt_data::SampleCloud::read(&sample).unwrap();
        assert!(cloud.points.len() > 200 && cloud.viewpoint.is_some());
        assert!(cloud.teacher.is_some() && cloud.student.is_some() && cloud.colours.is_some());
    }
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("<canvas") && page.contains("data:image/"), "cloud and pictures are on the page");
}

/// The third part of a picture of three panels.
trait Panels {
    fn view_of(&self, panel: u32) -> Vec<Rgb<u8>>;
}

impl Panels for RgbImage {
    fn view_of(&self, panel: u32) -> Vec<Rgb<u8>> {
        let width = self.width() / 3;
        let inside = |x: u32| x > panel * width + 12 && x < (panel + 1) * width - 12;
        let pixels = self.enumerate_pixels().filter(|(x, y, _)| inside(*x) && *y > 24);
        pixels.map(|(_, _, p)| *p).collect()
    }
}

#[test]
fn one_recipe_three_teachers_one_flag_changed() {
    let dir = tempfile::tempdir().unwrap();
    let data = nuscenes(&dir.path().join("data"));
    let verify = finish(ppkt().args(["data", "verify", &data, "--pictures"]).arg(dir.path().join("check")));
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert_done(&verify);
    assert!(said.contains("no fault found") && said.contains("4, of which 4 are good"), "{said}");
    assert_eq!(fs::read_dir(dir.path().join("check")).unwrap().count(), 4, "{said}");
    let inspect = finish(ppkt().args(["data", "inspect", &data]));
    assert_done(&inspect);
    let said = String::from_utf8_lossy(&inspect.stdout).into_owned();
    assert!(
        said.contains("2 to train on, 2 held out") && said.matches("160×90 pixels").count() == 6,
        "{said}"
    );

    let families = ["hf_resnet_basic", "hf_dinov2_registers", "hf_dinov3"];
    let runs: Vec<PathBuf> = families.iter().map(|name| dir.path().join(name)).collect();
    for (name, run) in families.iter().zip(&runs) {
        pretrain(&data, &teacher(name), run);
        run_is_whole(run);
    }
    let config = |run: &Path| fs::read_to_string(run.join("config.toml")).unwrap();
    for other in &runs[1..] {
        assert_ne!(losses(other), losses(&runs[0]));
        let (a, b) = (config(&runs[0]), config(other));
        let lines: Vec<(&str, &str)> = a.lines().zip(b.lines()).filter(|(a, b)| a != b).collect();
        assert!(lines.len() == 1 && lines[0].0.starts_with("uri = "), "the teacher alone differs: {lines:?}");
    }

    // What comes out embeds a sweep of the dataset as the dataset has it.
    let sweep = dir.path().join("data/samples/LIDAR_TOP/scene-0002-0.pcd.bin");
    let features = |input: &str, more: &[&str]| {
        let out = dir.path().join("features.npy");
        let output = finish(
            ppkt().args(["features", input, "--from"]).arg(&runs[2]).args(more).arg("--out").arg(&out),
        );
        assert_done(&output);
        fs::read(out).unwrap()
    };
    assert!(features(&sweep.to_string_lossy(), &[]) == features(&data, &["--frame", "2"]));
}

#[test]
fn kitti_runs_as_nuscenes_does() {
    let dir = tempfile::tempdir().unwrap();
    let data = kitti(&dir.path().join("data"));
    let verify = finish(ppkt().args(["data", "verify", &data]));
    assert_done(&verify);
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(said.contains("no fault found"), "{said}");
    let run = dir.path().join("run");
    pretrain(&data, "builtin:tiny", &run);
    run_is_whole(&run);
}
