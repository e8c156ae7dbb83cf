//! nuScenes: tables in JSON (`v1.0-…/`), key frames of a LiDAR and six cameras in `samples/`.
//!
//! Every sensor has its own time, so a point takes the long way to a pixel: LiDAR → car at the time of the sweep → map →
//! car at the time of the photograph → camera (Caesar et al.: *nuScenes: A multimodal dataset for autonomous driving*,
//! CVPR 2020, and the devkit's schema).

mod tables;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use ppkt_geometry::{Rigid3, frame};

use super::files::read_text;
use super::folder::holdout;
use super::listing::{lines, names};
use super::sweeps::{
    PointFormat, SweepCamera, SweepCameras, SweepFiles, SweepLayout, in_share, min_range, thin_out,
};
use crate::{DataError, DataUri};
use tables::{KeyFrame, Tables};

const EXPECTED: &str = "a folder v1.0-mini, v1.0-trainval or v1.0-test with tables, and samples/";
const LIDAR: &str = "LIDAR_TOP";
const CAMERAS: [&str; 6] =
    ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"];
/// x, y, z, intensity, ring.
const FORMAT: PointFormat = PointFormat { columns: 5, full_intensity: 255.0 };

/// The map that all poses of the car are given in.
enum Map {}

/// The car when the photograph was taken; [`frame::Ego`] is the car when the sweep was.
enum EgoThen {}

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<SweepLayout, DataError> {
    let options = uri.options();
    let version = version(uri, &folder)?;
    let cameras = wanted_cameras(uri)?;
    let share = holdout(options)?;
    let listed = options.text("held_out").map(|file| held_out_scenes(Path::new(file))).transpose()?;
    let tables = Tables::read(&folder.join(&version), LIDAR, &cameras)?;
    let mut notes = Vec::new();
    let scenes: BTreeSet<&str> = tables.key_frames.iter().map(|k| k.scene.as_str()).collect();
    if let Some((listed, path)) = &listed {
        let known = listed.iter().filter(|name| scenes.contains(name.as_str())).count();
        if known == 0 {
            let problem =
                "none of the scenes listed is in the tables; write names such as scene-0003, one a line"
                    .into();
            return Err(DataError::Descriptor { problem, path: path.clone() });
        }
        notes.push(format!("{known} of {} scenes are held out by a list", scenes.len()));
    } else {
        notes.push(
            "scenes are held out by a digest of their names, not by the official list (option held_out)"
                .into(),
        );
    }
    let n_known = tables.key_frames.len();
    let mut sweeps = Vec::with_capacity(n_known);
    for key_frame in &tables.key_frames {
        let points = inside(&folder, &key_frame.lidar.file, &tables.folder)?;
        if !points.exists() {
            continue;
        }
        let held_out = match &listed {
            Some((listed, _)) => listed.contains(&key_frame.scene),
            None => in_share(&key_frame.scene, share),
        };
        let views = cameras_of(key_frame, &folder, &tables.folder)?;
        sweeps.push(SweepFiles {
            name: format!("{}/{}", key_frame.scene, key_frame.timestamp),
            scene: key_frame.scene.clone(),
            points,
            cameras: SweepCameras::Known(views),
            held_out,
        });
    }
    if sweeps.is_empty() {
        return Err(DataError::Empty { layout: "nuscenes", expected: EXPECTED.into(), path: folder });
    }
    if sweeps.len() < n_known {
        let absent = n_known - sweeps.len();
        notes.push(format!(
            "{absent} of {n_known} key frames are left out: their sweeps are not in this folder"
        ));
    }
    thin_out(&mut sweeps, options)?;
    Ok(SweepLayout {
        min_range_m: min_range(options)?,
        uri: uri.clone(),
        folder,
        sweeps,
        format: FORMAT,
        notes,
        read: listed.map(|(_, path)| path).into_iter().collect(),
        split_remedy: "give another share with the option holdout, or a list of scenes with held_out",
    })
}

/// The folder of the tables: the one asked for, or the only one.
fn version(uri: &DataUri, folder: &Path) -> Result<String, DataError> {
    let there: Vec<String> =
        names(folder)?.into_iter().filter(|n| n.starts_with("v1.0-") && folder.join(n).is_dir()).collect();
    if let Some(asked) = uri.options().text("version") {
        let name = if asked.starts_with("v1.0-") { asked.to_owned() } else { format!("v1.0-{asked}") };
        return match there.contains(&name) {
            true => Ok(name),
            false => Err(DataError::BadOption {
                option: "version".into(),
                value: asked.into(),
                expected: format!("one of the folders there: {}", there.join(", ")),
            }),
        };
    }
    match there.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            Err(DataError::Empty { layout: "nuscenes", expected: EXPECTED.into(), path: folder.to_owned() })
        }
        several => Err(DataError::Undecided {
            question: format!(
                "there are several versions; choose with the option version: {}",
                several.join(", ")
            ),
            path: folder.to_owned(),
        }),
    }
}

/// The cameras asked for, in their usual order.
fn wanted_cameras(uri: &DataUri) -> Result<Vec<&'static str>, DataError> {
    let Some(text) = uri.options().text("cameras") else { return Ok(CAMERAS.to_vec()) };
    let asked: Vec<&str> = text.split(',').map(str::trim).collect();
    let same = |known: &str, asked: &str| known == asked || known.strip_prefix("CAM_") == Some(asked);
    let unknown = asked.iter().any(|a| !CAMERAS.iter().any(|c| same(c, a)));
    if unknown {
        return Err(DataError::BadOption {
            option: "cameras".into(),
            value: text.into(),
            expected: format!("names out of {}, with commas between", CAMERAS.join(",")),
        });
    }
    Ok(CAMERAS.into_iter().filter(|c| asked.iter().any(|a| same(c, a))).collect())
}

fn held_out_scenes(path: &Path) -> Result<(BTreeSet<String>, PathBuf), DataError> {
    let text = read_text(path, "list of scenes")?;
    Ok((lines(&text).map(|(_, name)| name.to_owned()).collect(), path.to_owned()))
}

/// A file that a table names, below the folder and nowhere else.
fn inside(folder: &Path, file: &str, tables: &Path) -> Result<PathBuf, DataError> {
    let plain = Path::new(file).components().all(|c| matches!(c, Component::Normal(_)));
    match plain && !file.is_empty() {
        true => Ok(folder.join(file)),
        false => Err(DataError::Text {
            what: "table of sample data",
            problem: format!("it names the file {file:?}, which is not below the folder of the dataset"),
            path: tables.join("sample_data.json"),
        }),
    }
}

/// The cameras of a key frame, in the frame of its LiDAR.
fn cameras_of(key_frame: &KeyFrame, folder: &Path, tables: &Path) -> Result<Vec<SweepCamera>, DataError> {
    let lidar = &key_frame.lidar;
    let ego_from_world: Rigid3<frame::Ego, frame::World> = lidar.ego_from_sensor.with_frames();
    let map_from_ego: Rigid3<Map, frame::Ego> = lidar.map_from_ego.with_frames();
    let world_from_map = (map_from_ego * ego_from_world).inverse();
    let camera = |photo: &tables::Recording| {
        let map_from_then: Rigid3<Map, EgoThen> = photo.map_from_ego.with_frames();
        let then_from_camera: Rigid3<EgoThen, frame::Camera> = photo.ego_from_sensor.with_frames();
        Ok(SweepCamera {
            photo: inside(folder, &photo.file, tables)?,
            intrinsics: photo.intrinsics,
            world_from_camera: world_from_map * map_from_then * then_from_camera,
        })
    };
    key_frame.photos.iter().map(camera).collect()
}
