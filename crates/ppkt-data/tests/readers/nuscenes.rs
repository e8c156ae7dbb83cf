//! nuScenes: tables and files in its own format, written small, damaged, and around a real key frame.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ppkt_data::{DataError, Dataset, Split, verify};
use ppkt_geometry::nalgebra::{Matrix3, Matrix4, Quaternion, UnitQuaternion, Vector3};
use ppkt_testkit::shared_or_skip;
use serde_json::{Value, json};

use crate::sweeps::{SIZE, check_links, matrix, numbers, open, photo, truncate, uri, wall};

/// A small nuScenes: `n` key frames in each of two scenes, two of the six cameras turned by 60° a step, everything with
/// a time and a pose of its own; and records that are no key frames, to be left out.
struct Nuscenes {
    dir: tempfile::TempDir,
    tables: BTreeMap<&'static str, Vec<Value>>,
}

const CAMERAS: [&str; 6] =
    ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"];
const K: [[f64; 3]; 3] = [[80.0, 0.0, 63.0], [0.0, 82.0, 24.5], [0.0, 0.0, 1.0]];

fn about_z(angle: f64) -> [f64; 4] {
    [(angle / 2.0).cos(), 0.0, 0.0, (angle / 2.0).sin()]
}

/// Rotation of a camera that looks along x of the car, turned clockwise by `angle`: z forward, x right, y down.
fn looking(angle: f64) -> [f64; 4] {
    let level = UnitQuaternion::from_quaternion(Quaternion::new(0.5, -0.5, 0.5, -0.5));
    let turn = UnitQuaternion::from_axis_angle(&Vector3::z_axis(), -angle);
    let q = turn * level;
    [q.w, q.i, q.j, q.k]
}

fn pose_matrix(record: &Value) -> Matrix4<f64> {
    let list = |key: &str| -> Vec<f64> { serde_json::from_value(record[key].clone()).unwrap() };
    let (t, q) = (list("translation"), list("rotation"));
    let rotation = UnitQuaternion::from_quaternion(Quaternion::new(q[0], q[1], q[2], q[3]));
    let mut m = rotation.to_homogeneous();
    (0..3).for_each(|i| m[(i, 3)] = t[i]);
    m
}

impl Nuscenes {
    fn new(n: usize) -> Self {
        let mut all = Self { dir: tempfile::tempdir().unwrap(), tables: BTreeMap::new() };
        let calibration = |token: &str, t: [f64; 3], q: [f64; 4], k: Value| {
            json!({"token": token, "sensor_token": format!("sensor {token}"), "translation": t, "rotation": q,
                   "camera_intrinsic": k})
        };
        // As in the real data, the LiDAR's x is to the right and its y ahead.
        let lidar = about_z(-std::f64::consts::FRAC_PI_2);
        all.add("calibrated_sensor", calibration("LIDAR_TOP", [0.94, 0.0, 1.84], lidar, json!([])));
        all.add(
            "calibrated_sensor",
            calibration("RADAR_FRONT", [3.4, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0], json!([])),
        );
        for (i, name) in CAMERAS.iter().enumerate() {
            let place = [1.5, 0.1 * i as f64, 1.5];
            all.add("calibrated_sensor", calibration(name, place, looking(i as f64 * 1.047), json!(K)));
        }
        for name in CAMERAS.iter().chain(&["LIDAR_TOP", "RADAR_FRONT"]) {
            let modality = name.split('_').next().unwrap().to_lowercase();
            all.add(
                "sensor",
                json!({"token": format!("sensor {name}"), "channel": name, "modality": modality}),
            );
        }
        for scene in ["scene-0003", "scene-0061"] {
            all.add("scene", json!({"token": format!("token {scene}"), "name": scene, "nbr_samples": n}));
            for i in 0..n {
                all.add_key_frame(scene, i);
            }
        }
        all.write();
        all
    }

    fn add(&mut self, table: &'static str, record: Value) {
        self.tables.entry(table).or_default().push(record);
    }

    fn add_key_frame(&mut self, scene: &str, i: usize) {
        let token = format!("{scene} {i}");
        let time = 1_532_402_927_000_000 + 500_000 * i;
        let scene_token = format!("token {scene}");
        self.add("sample", json!({"token": token, "timestamp": time, "scene_token": scene_token}));
        for (k, name) in CAMERAS.iter().chain(&["LIDAR_TOP", "RADAR_FRONT"]).enumerate() {
            let camera = name.starts_with("CAM");
            let file = format!("samples/{name}/{scene}-{i}.{}", if camera { "jpg" } else { "pcd.bin" });
            let path = self.dir.path().join(&file);
            if camera {
                photo(&path.with_extension("png"), (40 * k) as u8);
                fs::rename(path.with_extension("png"), &path).unwrap();
            } else if *name == "LIDAR_TOP" {
                let points = wall(|ahead, side, up| [-side, ahead, up]);
                numbers(&path, points.into_iter().flat_map(|[x, y, z, v]| [x, y, z, v * 255.0, 7.0]));
            }
            // The car drives and turns a little between the times of its sensors.
            let moved = i as f64 + 0.02 * k as f64;
            for (is_key, suffix) in [(true, ""), (false, " sweep")] {
                let pose = format!("pose {token} {name}{suffix}");
                let translation = [411.0 + 5.0 * moved, 1180.0 + moved, 0.0];
                self.add(
                    "ego_pose",
                    json!({"token": pose, "timestamp": time, "rotation": about_z(1.9 + 0.05 * moved),
                           "translation": translation}),
                );
                self.add(
                    "sample_data",
                    json!({"token": format!("data {pose}"), "sample_token": token, "ego_pose_token": pose,
                           "calibrated_sensor_token": name, "timestamp": time, "fileformat": "x",
                           "is_key_frame": is_key, "height": SIZE[1], "width": SIZE[0], "filename": file,
                           "prev": "", "next": ""}),
                );
            }
        }
    }

    fn table(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("v1.0-mini/{name}.json"))
    }

    fn write(&self) {
        fs::create_dir_all(self.dir.path().join("v1.0-mini")).unwrap();
        for (name, records) in &self.tables {
            fs::write(self.table(name), serde_json::to_string_pretty(records).unwrap()).unwrap();
        }
    }

    fn open(&self, query: &str) -> Result<Box<dyn Dataset>, DataError> {
        open(&uri("nuscenes", self.dir.path(), query), Split::All)
    }

    fn record(&self, table: &str, token: &str) -> &Value {
        self.tables[table].iter().find(|r| r["token"] == token).unwrap()
    }

    /// Changes every record of a table and writes all anew.
    fn change(mut self, table: &str, change: impl Fn(&mut Value)) -> Self {
        self.tables.get_mut(table).unwrap().iter_mut().for_each(change);
        self.write();
        self
    }
}

#[test]
fn nuscenes_goes_the_long_way_from_point_to_pixel() {
    let all = Nuscenes::new(2);
    let data = all.open("").unwrap();
    assert_eq!(data.len(), 4);
    assert_eq!(data.frame_name(3), "scene-0061/1532402927500000");
    assert_eq!(data.scene_name(3), "scene-0061");
    let scene = data.sample(3).unwrap();
    assert_eq!(scene.views.len(), 6);
    assert!(scene.cloud.intensity.as_ref().unwrap().iter().all(|i| (0.0..=1.0).contains(i)));
    let token = |name: &str| format!("pose scene-0061 1 {name}");
    let lidar = pose_matrix(all.record("ego_pose", &token("LIDAR_TOP")))
        * pose_matrix(all.record("calibrated_sensor", "LIDAR_TOP"));
    let k = Matrix3::from_fn(|r, c| K[r][c]).to_homogeneous();
    for (view, name) in CAMERAS.iter().enumerate() {
        let camera = pose_matrix(all.record("ego_pose", &token(name)))
            * pose_matrix(all.record("calibrated_sensor", name));
        let pixel_from_point = k * camera.try_inverse().unwrap() * lidar;
        // The wall is ahead: cameras that look to the back see nothing of it.
        let at_least = match *name {
            "CAM_FRONT" => 500,
            "CAM_FRONT_LEFT" | "CAM_FRONT_RIGHT" => 20,
            _ => 0,
        };
        check_links(&scene, view as u32, pixel_from_point, at_least);
    }
}

#[test]
fn nuscenes_options_choose_cameras_scenes_and_versions() {
    let all = Nuscenes::new(3);
    let scene = all.open("?cameras=CAM_BACK,FRONT&every=2").unwrap();
    assert_eq!(scene.len(), 3);
    let scene = scene.sample(0).unwrap();
    let blue: Vec<u8> = scene.views.iter().map(|v| v.image.get_pixel(3, 3).0[2]).collect();
    assert_eq!(blue, [0, 120], "the front camera, then the back one");
    for (query, words) in
        [("?cameras=CAM_TOP", "CAM_FRONT,"), ("?version=trainval", "v1.0-mini"), ("?holdout=2", "0 to 1")]
    {
        let error = all.open(query).err().unwrap();
        assert!(error.is_configuration() && error.to_string().contains(words), "{query}: {error}");
    }
    let list = all.dir.path().join("val.txt");
    let listed = format!("?held_out={}", list.display());
    fs::write(&list, "# official\nscene-0061\nscene-0916\n").unwrap();
    let part = |split| {
        let data = open(&uri("nuscenes", all.dir.path(), &listed), split).unwrap();
        (0..data.len()).map(|i| data.scene_name(i)).collect::<Vec<_>>()
    };
    assert_eq!(part(Split::Train), ["scene-0003"; 3]);
    assert_eq!(part(Split::Validation), ["scene-0061"; 3]);
    fs::write(&list, "61\n").unwrap();
    assert!(all.open(&listed).err().unwrap().to_string().contains("scene-0003"));
    // Whole scenes are held out, whatever the share.
    let train = open(&uri("nuscenes", all.dir.path(), "?holdout=1"), Split::Validation).unwrap();
    assert_eq!(train.len(), 6);
    fs::create_dir(all.dir.path().join("v1.0-test")).unwrap();
    let error = all.open("").err().unwrap();
    assert!(matches!(error, DataError::Undecided { .. }) && error.to_string().contains("version"), "{error}");
    assert_eq!(all.open("?version=mini").unwrap().len(), 6);
}

#[test]
fn a_part_of_the_blobs_is_enough_and_told_of() {
    let all = Nuscenes::new(2);
    fs::remove_file(all.dir.path().join("samples/LIDAR_TOP/scene-0003-1.pcd.bin")).unwrap();
    let data = all.open("").unwrap();
    assert_eq!(data.len(), 3);
    assert!(data.notes().iter().any(|n| n.contains("1 of 4")), "{:?}", data.notes());
    fs::remove_dir_all(all.dir.path().join("samples/LIDAR_TOP")).unwrap();
    assert!(matches!(all.open(""), Err(DataError::Empty { .. })));
}

#[test]
fn damaged_nuscenes_tables_are_named_with_their_fault() {
    let fault = |all: Nuscenes, words: &str, table: &str| {
        let error = all.open("").err().unwrap();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(error.path().unwrap().ends_with(format!("{table}.json")), "{error}");
    };
    for table in ["scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor"] {
        let all = Nuscenes::new(1);
        let length = fs::read(all.table(table)).unwrap().len();
        truncate(&all.table(table), length * 2 / 3);
        fault(all, "line", table);
        let all = Nuscenes::new(1);
        fs::write(all.table(table), "[{\"token\": 3}]").unwrap();
        fault(all, "line 1", table);
        let all = Nuscenes::new(1);
        fs::write(all.table(table), "{}").unwrap();
        fault(all, "a list of records", table);
        let all = Nuscenes::new(1);
        fs::remove_file(all.table(table)).unwrap();
        fault(all, "cannot read the table", table);
    }
    let new = || Nuscenes::new(1);
    fault(new().change("ego_pose", |r| r["token"] = json!("other")), "ego_pose.json has not", "sample_data");
    fault(new().change("sample", |r| r["token"] = json!("other")), "sample.json has not", "sample_data");
    fault(new().change("scene", |r| r["token"] = json!("other")), "scene.json has not", "sample");
    fault(
        new().change("sensor", |r| r["token"] = json!("other")),
        "sensor.json has not",
        "calibrated_sensor",
    );
    fault(new().change("ego_pose", |r| r["rotation"] = json!([0.0, 0.0, 0.0, 0.0])), "pose", "ego_pose");
    fault(
        new().change("calibrated_sensor", |r| r["camera_intrinsic"] = json!([[1.0]])),
        "intrinsics",
        "calibrated_sensor",
    );
    fault(
        new().change("sample_data", |r| r["filename"] = json!("../../etc/passwd")),
        "not below",
        "sample_data",
    );
    fault(new().change("sample_data", |r| r["filename"] = json!("/etc/passwd")), "not below", "sample_data");
    let no_lidar = |r: &mut Value| {
        if r["calibrated_sensor_token"] == "LIDAR_TOP" {
            r["is_key_frame"] = json!(false);
        }
    };
    fault(new().change("sample_data", no_lidar), "no key frame of LIDAR_TOP", "sample_data");
    let no_camera = |r: &mut Value| {
        if r["calibrated_sensor_token"] == "CAM_BACK" {
            r["is_key_frame"] = json!(false);
        }
    };
    fault(new().change("sample_data", no_camera), "no key frame of CAM_BACK", "sample_data");
}

#[test]
fn damaged_nuscenes_frames_are_named_with_their_fault() {
    let all = Nuscenes::new(2);
    truncate(&all.dir.path().join("samples/LIDAR_TOP/scene-0003-0.pcd.bin"), 1003);
    fs::remove_file(all.dir.path().join("samples/CAM_BACK/scene-0003-1.jpg")).unwrap();
    truncate(&all.dir.path().join("samples/CAM_FRONT/scene-0061-0.jpg"), 300);
    let data = all.open("").unwrap();
    for (index, words) in [(0, "multiple of the 20"), (1, "photo"), (2, "cannot be decoded")] {
        let error = data.sample(index).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(data.sample(3).is_ok());
    let report = verify(&uri("nuscenes", all.dir.path(), "").parse().unwrap(), None).unwrap();
    assert_eq!((report.checked, report.good, report.errors()), (4, 1, 3));
}

#[test]
fn the_fingerprint_is_that_of_files_poses_and_options() {
    let print = |all: &Nuscenes, query: &str| all.open(query).unwrap().fingerprint().unwrap();
    let all = Nuscenes::new(1);
    let first = print(&all, "");
    assert_eq!(first, print(&all, ""));
    assert_ne!(first, print(&all, "?min_range=1"));
    let moved =
        all.change("ego_pose", |r| r["translation"][0] = json!(r["translation"][0].as_f64().unwrap() * 1.01));
    assert_ne!(first, print(&moved, ""));
}

/// One published key frame, whose poses of LiDAR and cameras another program has multiplied out, written back as the
/// tables that they came from.
#[test]
fn a_real_nuscenes_key_frame_projects_as_published() {
    let Some(folder) = shared_or_skip("data/lidar/nuscenes_sample") else { return };
    let sample: Value = serde_json::from_slice(&fs::read(folder.join("sample.json")).unwrap()).unwrap();
    let read = |value: &Value| -> Matrix4<f64> {
        let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
        let columns = rows[0].len();
        matrix(&rows.concat(), columns)
    };
    let (map_from_ego, ego_from_lidar) = (read(&sample["ego2global"]), read(&sample["lidar"]["lidar2ego"]));
    let record = |token: &str, m: Matrix4<f64>| {
        let rotation = UnitQuaternion::from_matrix(&m.fixed_view::<3, 3>(0, 0).into_owned());
        json!({"token": token, "rotation": [rotation.w, rotation.i, rotation.j, rotation.k],
               "translation": [m[(0, 3)], m[(1, 3)], m[(2, 3)]]})
    };
    let mut all = Nuscenes { dir: tempfile::tempdir().unwrap(), tables: BTreeMap::new() };
    all.add("scene", json!({"token": "s", "name": "scene-0061"}));
    all.add("sample", json!({"token": "f", "timestamp": 1, "scene_token": "s"}));
    let mut add = |name: &str, path: &str, ego_from_sensor, map_from_ego, k: Value| {
        let mut calibration = record(name, ego_from_sensor);
        calibration["sensor_token"] = json!(name);
        calibration["camera_intrinsic"] = k;
        all.add("calibrated_sensor", calibration);
        all.add("sensor", json!({"token": name, "channel": name}));
        all.add("ego_pose", record(name, map_from_ego));
        all.add(
            "sample_data",
            json!({"sample_token": "f", "ego_pose_token": name, "calibrated_sensor_token": name,
                   "filename": path, "is_key_frame": true}),
        );
        let place = all.dir.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(folder.join(path), place).unwrap();
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    add("LIDAR_TOP", &text(&sample["lidar"]["path"]), ego_from_lidar, map_from_ego, json!([]));
    for name in CAMERAS {
        let camera = &sample["cameras"][name];
        let (ego_from_camera, camera_from_lidar) = (read(&camera["cam2ego"]), read(&camera["lidar2cam"]));
        // The published motion holds the car's at the time of the photograph, which the tables keep apart.
        let then = map_from_ego
            * ego_from_lidar
            * camera_from_lidar.try_inverse().unwrap()
            * ego_from_camera.try_inverse().unwrap();
        let driven = (map_from_ego.try_inverse().unwrap() * then).column(3).xyz().norm();
        assert!(driven < 1.0, "the car drove {driven} m within 50 ms");
        add(name, &text(&camera["path"]), ego_from_camera, then, camera["cam2img"].clone());
    }
    all.write();
    let scene = all.open("").unwrap().sample(0).unwrap();
    assert_eq!((scene.cloud.points.len(), scene.views.len()), (34_688, 6));
    for (view, name) in CAMERAS.iter().enumerate() {
        let camera = &sample["cameras"][name];
        let k = read(&camera["cam2img"]);
        check_links(&scene, view as u32, k * read(&camera["lidar2cam"]), 2000);
    }
}
