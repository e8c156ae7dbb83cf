//! KITTI's object benchmark: `velodyne/ID.bin`, `image_2/ID.png`, `calib/ID.txt`, in `training/` or right below.
//!
//! A pixel of the left colour camera is P2 · R0_rect · Tr_velo_to_cam · X (Geiger, Lenz, Urtasun: *Are we ready for
//! autonomous driving?*, CVPR 2012, and the devkit's readme).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ppkt_geometry::{Rigid3, frame};

use super::files::read_text;
use super::folder::holdout;
use super::listing::{between, lines, names_if_any, photos};
use super::sweeps::{
    PointFormat, SweepCamera, SweepCameras, SweepFiles, SweepLayout, in_share, min_range, thin_out,
};
use super::text::number;
use crate::{DataError, DataUri};

const EXPECTED: &str = "velodyne/ID.bin, image_2/ID.png and calib/ID.txt, in training/ or right below";
const FORMAT: PointFormat = PointFormat { columns: 4, full_intensity: 1.0 };

/// The frame of camera 0, to which the scanner was calibrated.
enum Camera0 {}

/// The same after rectification, in which all of KITTI's cameras meet.
enum Rectified {}

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<SweepLayout, DataError> {
    let root = if folder.join("training").is_dir() { folder.join("training") } else { folder.clone() };
    let clouds = between(&names_if_any(&root.join("velodyne"))?, &root.join("velodyne"), "", ".bin");
    let images = photos(&names_if_any(&root.join("image_2"))?, &root.join("image_2"), "", "");
    let ids: BTreeSet<&String> = clouds.keys().chain(images.keys()).collect();
    if clouds.is_empty() {
        return Err(DataError::Empty { layout: "kitti", expected: EXPECTED.into(), path: folder });
    }
    let (lists, read) = lists(&folder)?;
    let share = holdout(uri.options())?;
    let mut notes = Vec::new();
    match &lists {
        Some(_) => notes.push("split by ImageSets/train.txt and ImageSets/val.txt".to_owned()),
        None => notes.push(
            "no ImageSets/train.txt and val.txt: frames are held out by name, and neighbours in time may be on both sides"
                .to_owned(),
        ),
    }
    let sweep = |id: &&String| {
        let held_out = match &lists {
            Some(lists) => *lists.get(*id)?,
            None => in_share(id, share),
        };
        let file = |folder: &str, ending: &str| root.join(folder).join(format!("{id}.{ending}"));
        let photo = images.get(*id).cloned().unwrap_or_else(|| file("image_2", "png"));
        Some(SweepFiles {
            name: (*id).clone(),
            scene: (*id).clone(),
            points: file("velodyne", "bin"),
            cameras: SweepCameras::Kitti { photo, calibration: file("calib", "txt") },
            held_out,
        })
    };
    let mut sweeps: Vec<SweepFiles> = ids.iter().filter_map(sweep).collect();
    let unlisted = ids.len() - sweeps.len();
    if unlisted > 0 {
        notes.push(format!("{unlisted} frames are in neither list and left out"));
    }
    thin_out(&mut sweeps, uri.options())?;
    Ok(SweepLayout {
        min_range_m: min_range(uri.options())?,
        uri: uri.clone(),
        folder,
        sweeps,
        format: FORMAT,
        notes,
        read,
        split_remedy: "give another share with the option holdout, or lists ImageSets/train.txt and val.txt",
    })
}

/// Whether each frame is held out, by the lists that are customary, and these; `None` without both lists.
#[expect(clippy::type_complexity, reason = "used once, right above")]
fn lists(folder: &Path) -> Result<(Option<BTreeMap<String, bool>>, Vec<PathBuf>), DataError> {
    let files = ["train.txt", "val.txt"].map(|name| folder.join("ImageSets").join(name));
    if !files.iter().all(|f| f.is_file()) {
        return Ok((None, Vec::new()));
    }
    let mut held_out = BTreeMap::new();
    for (file, held) in files.iter().zip([false, true]) {
        for (_, id) in lines(&read_text(file, "list of frames")?) {
            held_out.insert(id.to_owned(), held);
        }
    }
    Ok((Some(held_out), files.to_vec()))
}

/// The left colour camera of a frame, in the LiDAR's frame.
pub(super) fn camera(photo: &Path, calibration: &Path) -> Result<SweepCamera, DataError> {
    let text = read_text(calibration, "calibration")?;
    let parsed = parse(&text).map_err(|problem| DataError::Camera {
        what: "colour",
        problem,
        path: calibration.to_owned(),
    });
    let (intrinsics, world_from_camera) = parsed?;
    Ok(SweepCamera { photo: photo.to_owned(), intrinsics, world_from_camera })
}

type Calibration = ([f64; 4], Rigid3<frame::World, frame::Camera>);

fn parse(text: &str) -> Result<Calibration, String> {
    let p2: [f64; 12] = numbers(text, "P2")?;
    // Some conversions of the dataset write the second name.
    let r0: [f64; 9] = numbers(text, "R0_rect").or_else(|e| numbers(text, "R_rect").map_err(|_| e))?;
    let tr: [f64; 12] =
        numbers(text, "Tr_velo_to_cam").or_else(|e| numbers(text, "Tr_velo_cam").map_err(|_| e))?;
    let [fx, fy, cx, cy] = [p2[0], p2[5], p2[2], p2[6]];
    if ![p2[1], p2[4], p2[8], p2[9], p2[10] - 1.0].iter().all(|v| v.abs() < 1e-6) || fx <= 0.0 || fy <= 0.0 {
        return Err("P2 is no camera matrix: fx 0 cx, 0 fy cy, 0 0 1 and a column".into());
    }
    // P2 = K · [I | t]: its last column is where the rectified origin lies for camera 2, times K.
    let t = [(p2[3] - cx * p2[11]) / fx, (p2[7] - cy * p2[11]) / fy, p2[11]];
    let rotation = |m: &[f64], width: usize| [0, 1, 2].map(|r| [0, 1, 2].map(|c| m[r * width + c]));
    let named = |name: &'static str| move |e: ppkt_geometry::PoseError| format!("{name}: {e}");
    let camera_from_rectified = Rigid3::<frame::Camera, Rectified>::from_translation(t);
    let rectified_from_camera0 = Rigid3::<Rectified, Camera0>::from_rotation_rows(rotation(&r0, 3), [0.0; 3])
        .map_err(named("R0_rect"))?;
    let camera0_from_world =
        Rigid3::<Camera0, frame::World>::from_rotation_rows(rotation(&tr, 4), [tr[3], tr[7], tr[11]])
            .map_err(named("Tr_velo_to_cam"))?;
    Ok(([fx, fy, cx, cy], (camera_from_rectified * rectified_from_camera0 * camera0_from_world).inverse()))
}

/// The numbers of the line `name: …`.
fn numbers<const N: usize>(text: &str, name: &str) -> Result<[f64; N], String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix(':'));
    let line = line.ok_or_else(|| format!("it has no line {name:?}"))?;
    let values = line.split_whitespace().map(number).collect::<Result<Vec<f64>, _>>();
    let values = values.map_err(|e| format!("{e} in the line {name:?}"))?;
    let n = values.len();
    let values: [f64; N] =
        values.try_into().map_err(|_| format!("the line {name:?} has {n} numbers, not {N}"))?;
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(values),
        false => Err(format!("the line {name:?} has a number that is not finite")),
    }
}
