//! The tables, read record by record: those of the whole dataset have millions, of which key frames are few.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use ppkt_geometry::Rigid3;
use serde::Deserialize;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};

use crate::DataError;

/// A frame that is yet to be named.
#[derive(Debug)]
pub(super) enum Any {}

/// One sensor's part of a key frame.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// Below the dataset's folder.
    pub(super) file: String,
    /// fx, fy, cx, cy; of no meaning for a LiDAR.
    pub(super) intrinsics: [f64; 4],
    pub(super) ego_from_sensor: Rigid3<Any, Any>,
    pub(super) map_from_ego: Rigid3<Any, Any>,
}

/// A LiDAR sweep and the photographs that belong to it.
#[derive(Clone, Debug)]
pub(super) struct KeyFrame {
    pub(super) scene: String,
    /// Microseconds.
    pub(super) timestamp: u64,
    pub(super) lidar: Recording,
    /// In the order of the cameras asked for.
    pub(super) photos: Vec<Recording>,
}

/// What is needed of the tables.
pub(super) struct Tables {
    pub(super) folder: PathBuf,
    /// By scene, then by time.
    pub(super) key_frames: Vec<KeyFrame>,
}

#[derive(Deserialize)]
struct SceneRecord {
    token: String,
    name: String,
}

#[derive(Deserialize)]
struct SampleRecord {
    token: String,
    timestamp: u64,
    scene_token: String,
}

#[derive(Deserialize)]
struct SensorRecord {
    token: String,
    channel: String,
}

#[derive(Deserialize)]
struct CalibrationRecord {
    token: String,
    sensor_token: String,
    translation: [f64; 3],
    /// w, x, y, z.
    rotation: [f64; 4],
    /// Three rows of three, or nothing.
    camera_intrinsic: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct PoseRecord {
    token: String,
    translation: [f64; 3],
    rotation: [f64; 4],
}

#[derive(Deserialize)]
struct DataRecord {
    sample_token: String,
    ego_pose_token: String,
    calibrated_sensor_token: String,
    filename: String,
    is_key_frame: bool,
}

/// A calibrated sensor: which of the wanted ones, and where it sits.
struct Sensor {
    /// `None` is the LiDAR.
    camera: Option<usize>,
    ego_from_sensor: Rigid3<Any, Any>,
    intrinsics: [f64; 4],
}

impl Tables {
    /// Reads what belongs to the key frames of one LiDAR and some cameras.
    pub(super) fn read(folder: &Path, lidar: &str, cameras: &[&str]) -> Result<Self, DataError> {
        let table = |name: &str| folder.join(name);
        let wrong =
            |name: &str, problem: String| DataError::Text { what: "table", problem, path: table(name) };
        let mut scenes = HashMap::new();
        each(&table("scene.json"), |r: SceneRecord| {
            scenes.insert(r.token, r.name);
            Ok(())
        })?;
        let mut samples = HashMap::new();
        each(&table("sample.json"), |r: SampleRecord| {
            samples.insert(r.token, (r.scene_token, r.timestamp));
            Ok(())
        })?;
        let sensors = sensors(folder, lidar, cameras)?;
        let mut records = Vec::new();
        each(&table("sample_data.json"), |r: DataRecord| {
            if r.is_key_frame && sensors.contains_key(&r.calibrated_sensor_token) {
                records.push(r);
            }
            Ok(())
        })?;
        let poses = poses(&table("ego_pose.json"), &records)?;

        // Of each sample: the LiDAR's recording, and that of each camera.
        type Parts = (Option<Recording>, Vec<Option<Recording>>);
        let mut by_sample: BTreeMap<String, Parts> = BTreeMap::new();
        for r in records {
            let sensor = &sensors[&r.calibrated_sensor_token];
            let pose = poses.get(&r.ego_pose_token).ok_or_else(|| {
                wrong(
                    "sample_data.json",
                    format!("it names the pose {:?}, which ego_pose.json has not", r.ego_pose_token),
                )
            })?;
            let recording = Recording {
                file: r.filename,
                intrinsics: sensor.intrinsics,
                ego_from_sensor: sensor.ego_from_sensor,
                map_from_ego: *pose,
            };
            let parts = by_sample.entry(r.sample_token).or_insert_with(|| (None, vec![None; cameras.len()]));
            match sensor.camera {
                None => parts.0 = Some(recording),
                Some(i) => parts.1[i] = Some(recording),
            }
        }
        let mut key_frames = Vec::with_capacity(by_sample.len());
        for (token, (lidar_part, photos)) in by_sample {
            let (scene, timestamp) = samples.get(&token).ok_or_else(|| {
                wrong("sample_data.json", format!("it names the sample {token:?}, which sample.json has not"))
            })?;
            let scene = scenes.get(scene).ok_or_else(|| {
                wrong("sample.json", format!("it names the scene {scene:?}, which scene.json has not"))
            })?;
            let absent = |channel: &str| {
                wrong("sample_data.json", format!("the sample {token:?} has no key frame of {channel}"))
            };
            let lidar = lidar_part.ok_or_else(|| absent(lidar))?;
            let photos = photos.into_iter().zip(cameras).map(|(p, name)| p.ok_or_else(|| absent(name)));
            let photos = photos.collect::<Result<_, _>>()?;
            key_frames.push(KeyFrame { scene: scene.clone(), timestamp: *timestamp, lidar, photos });
        }
        key_frames.sort_by(|a, b| (&a.scene, a.timestamp).cmp(&(&b.scene, b.timestamp)));
        Ok(Self { folder: folder.to_owned(), key_frames })
    }
}

/// The calibrated sensors that are wanted, by token.
fn sensors(folder: &Path, lidar: &str, cameras: &[&str]) -> Result<HashMap<String, Sensor>, DataError> {
    let mut channels = HashMap::new();
    each(&folder.join("sensor.json"), |r: SensorRecord| {
        channels.insert(r.token, r.channel);
        Ok(())
    })?;
    let mut sensors = HashMap::new();
    each(&folder.join("calibrated_sensor.json"), |r: CalibrationRecord| {
        let Some(channel) = channels.get(&r.sensor_token) else {
            return Err(format!("it names the sensor {:?}, which sensor.json has not", r.sensor_token));
        };
        let camera = cameras.iter().position(|c| c == channel);
        if camera.is_none() && channel != lidar {
            return Ok(());
        }
        let named = |e: String| format!("calibrated sensor {:?}: {e}", r.token);
        let intrinsics = match camera {
            None => [0.0; 4],
            Some(_) => pinhole(&r.camera_intrinsic).map_err(named)?,
        };
        let ego_from_sensor = pose(r.translation, r.rotation).map_err(named)?;
        sensors.insert(r.token, Sensor { camera, ego_from_sensor, intrinsics });
        Ok(())
    })?;
    Ok(sensors)
}

/// The poses that the records name, by token.
fn poses(path: &Path, records: &[DataRecord]) -> Result<HashMap<String, Rigid3<Any, Any>>, DataError> {
    let wanted: HashSet<&str> = records.iter().map(|r| r.ego_pose_token.as_str()).collect();
    let mut poses = HashMap::with_capacity(wanted.len());
    each(path, |r: PoseRecord| {
        if wanted.contains(r.token.as_str()) {
            let pose = pose(r.translation, r.rotation).map_err(|e| format!("pose {:?}: {e}", r.token))?;
            poses.insert(r.token, pose);
        }
        Ok(())
    })?;
    Ok(poses)
}

fn pose([x, y, z]: [f64; 3], [qw, qx, qy, qz]: [f64; 4]) -> Result<Rigid3<Any, Any>, String> {
    Rigid3::from_tum([x, y, z, qx, qy, qz, qw]).map_err(|e| e.to_string())
}

fn pinhole(rows: &[Vec<f64>]) -> Result<[f64; 4], String> {
    let flat: Vec<f64> = rows.iter().flatten().copied().collect();
    match *flat.as_slice() {
        [fx, skew, cx, a, fy, cy, b, c, one]
            if [skew, a, b, c, one - 1.0].iter().all(|v| v.abs() < 1e-6) && fx > 0.0 && fy > 0.0 =>
        {
            Ok([fx, fy, cx, cy])
        }
        _ => Err("its intrinsics are no matrix of the form fx 0 cx, 0 fy cy, 0 0 1".into()),
    }
}

/// Gives every record of a table, which is a list of objects, to `take`.
fn each<T: DeserializeOwned>(
    path: &Path,
    take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), DataError> {
    let file = File::open(path).map_err(|source| DataError::Read {
        what: "table",
        path: path.to_owned(),
        source,
    })?;
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 20, file));
    let records = Records { take, of: PhantomData };
    let read = serde::Deserializer::deserialize_seq(&mut json, records).and_then(|()| json.end());
    read.map_err(|e| DataError::Text { what: "table", problem: e.to_string(), path: path.to_owned() })
}

struct Records<T, F> {
    take: F,
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Records<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut records: A) -> Result<(), A::Error> {
        while let Some(record) = records.next_element()? {
            (self.take)(record).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}
