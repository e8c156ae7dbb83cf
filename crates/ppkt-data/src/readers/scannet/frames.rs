//! Frames of ScanNet: photographs with depth and pose, from recordings or exported from them.
//!
//! Where the tracker was lost, a frame's pose is written as −∞: such frames are left out and counted.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ppkt_geometry::{CameraModel, DepthEncoding, Rigid3, frame};
use rayon::prelude::*;

use super::super::descriptor::{Descriptor, classes_of};
use super::super::files::picture_size;
use super::super::folder::{
    Cameras, FileCamera, FileWorld, FrameFiles, LabelRule, Layout, PoseOf, PoseSource, limit_depth,
};
use super::super::frames::natural_order;
use super::super::listing::{between, names, names_if_any, photos};
use super::super::rig::Rig;
use super::super::source::{Sensor, Source};
use super::super::text::{intrinsics_of, pose_of_rows, read_intrinsics, read_pose};
use super::lists::Parts;
use super::mesh::class_of_nyu;
use super::sens::{Calibration, Recording, check_size};
use super::{ClassList, Scan, room};
use crate::{DataError, DataUri};

/// Of a recording each 25th frame is taken unless the user says otherwise, as in the paper: the ones between show the
/// same.
const EVERY: usize = 25;
/// The size that the intrinsics of colour and of depth speak of in the published recordings.
const RECORDED_COLOUR: (u32, u32) = (1296, 968);
const RECORDED_DEPTH: (u32, u32) = (640, 480);
/// The principal point is nearer to the middle of the image than this share of its sides.
const NEAR_THE_MIDDLE: f64 = 0.15;

/// The scans of a folder as frames.
pub(super) fn layout(
    uri: &DataUri,
    folder: PathBuf,
    all: Vec<Scan>,
    parts: &Parts,
    known: &Descriptor,
    classes: ClassList,
) -> Result<Layout, DataError> {
    let options = uri.options();
    let every = match options.text("every") {
        None => None,
        Some(_) => Some(options.get_if("every", 1usize, "a whole number from 1", |n| *n >= 1)?),
    };
    let mut encoding = known
        .depth
        .encoding()
        .map_err(|problem| DataError::Descriptor { problem, path: "datasets/scannet/dataset.toml".into() })?;
    limit_depth(&mut encoding, options)?;
    let there: Vec<Scan> = all.into_iter().filter(|s| s.sens.is_some() || s.exported.is_some()).collect();
    let names: Vec<String> = there.iter().map(|s| s.name.clone()).collect();
    let mut notes = parts.notes(&names)?;
    let chosen: Vec<(&Scan, bool)> =
        there.iter().filter_map(|scan| Some((scan, parts.held_out(&scan.name)?))).collect();
    let rule = label_rule(known, classes, &chosen, options.text("classes").is_some())?;
    let reader = Reader {
        every,
        small: options.one_of("photos", &["small", "full"])? == "small",
        labelled: rule.is_some(),
        encoding,
        sensors: Mutex::default(),
    };
    let found: Vec<Found> = chosen.par_iter().map(|(scan, held_out)| reader.scan(scan, *held_out)).collect();
    let (lost, taken): (usize, usize) =
        found.iter().fold((0, 0), |(l, t), f| (l + f.lost, t + f.lost + f.frames.len()));
    if lost > 0 {
        notes.push(format!(
            "{lost} of {taken} frames have no pose, where the tracker was lost, and are left out"
        ));
    }
    if every.is_none() && chosen.iter().any(|(scan, _)| scan.exported.is_none()) {
        notes.push(format!("each {EVERY}th frame of a recording is taken (option every)"));
    }
    let frames: Vec<FrameFiles> = found.into_iter().flat_map(|f| f.frames).collect();
    if frames.is_empty() {
        let expected = "frames with a pose in the scans that the lists name".into();
        return Err(DataError::Empty { layout: "scannet", expected, path: folder });
    }
    Ok(Layout {
        uri: uri.clone(),
        folder,
        frames,
        cameras: Cameras::PerScan,
        cropped: None,
        pose_of: PoseOf::Colour,
        // The worlds of the scans have z up.
        world_from_file: Rigid3::<frame::World, FileWorld>::identity(),
        encoding: reader.encoding,
        labels: rule,
        notes,
        read: parts.paths(),
        split_remedy: "scannetv2_train.txt and scannetv2_val.txt in the folder, or the options train and held_out, list \
                       the scans of the two parts",
    })
}

/// How label images are read, if the frames have any.
fn label_rule(
    known: &Descriptor,
    classes: ClassList,
    chosen: &[(&Scan, bool)],
    asked: bool,
) -> Result<Option<LabelRule>, DataError> {
    let there =
        chosen.iter().any(|(scan, _)| scan.exported.as_ref().is_some_and(|f| f.join("label").is_dir()));
    let refuse = |value: &str, expected: &str| {
        Err(DataError::BadOption { option: "classes".into(), value: value.into(), expected: expected.into() })
    };
    let entries = &known.classes["scannet20"];
    match classes {
        ClassList::None => Ok(None),
        ClassList::TwoHundred => refuse("200", "20 or none with take=frames; take=scans has all 200"),
        ClassList::Twenty if !there && asked => {
            refuse("20", "none: the frames have no folder label/ with label images; take=scans has labels")
        }
        ClassList::Twenty if !there => Ok(None),
        ClassList::Twenty => Ok(Some(LabelRule { map: class_of_nyu(entries), classes: classes_of(entries) })),
    }
}

/// The frames of one scan, and how many were left out.
#[derive(Default)]
struct Found {
    frames: Vec<FrameFiles>,
    lost: usize,
}

/// Reads scans alike, and shares the cameras of those that one device recorded.
struct Reader {
    every: Option<usize>,
    small: bool,
    labelled: bool,
    encoding: DepthEncoding,
    sensors: Mutex<HashMap<Vec<u64>, Arc<Sensor>>>,
}

/// Two cameras as a scan describes them.
struct ScanCameras {
    colour: CameraModel,
    depth: CameraModel,
    colour_from_depth: Rigid3<frame::Camera, frame::DepthCamera>,
    metres_per_unit: f64,
}

type Pose = Rigid3<FileWorld, FileCamera>;

impl Reader {
    fn scan(&self, scan: &Scan, held_out: bool) -> Found {
        let part = Part { name: &scan.name, held_out };
        match (&scan.exported, &scan.sens) {
            (Some(folder), _) => self.exported(&part, folder),
            (None, Some(file)) => self.recording(&part, file),
            (None, None) => Found::default(),
        }
    }

    /// The frames of a recording.
    fn recording(&self, part: &Part<'_>, path: &Path) -> Found {
        let damaged = |number: u64, problem: String| {
            part.frame(&number.to_string(), [path, path], Source::Damaged(problem), PoseSource::Level)
        };
        let whole = |problem: String| Found { frames: vec![damaged(0, problem)], lost: 0 };
        let recording = match Recording::open(path, self.every.unwrap_or(EVERY)) {
            Ok(recording) => recording,
            Err(problem) => return whole(problem),
        };
        let cameras = match ScanCameras::of_recording(&recording) {
            Ok(cameras) => cameras,
            Err(problem) => return whole(problem),
        };
        // Poses are of the frame that both extrinsics lead to.
        let base_from_colour: Rigid3<FileCamera, FileCamera> =
            match pose_of_rows(&recording.colour.extrinsics) {
                Ok(pose) => pose,
                Err(problem) => return whole(format!("the extrinsics of colour: {problem}")),
            };
        let sensor = self.sensor(cameras);
        let mut found = Found::default();
        for frame in recording.frames {
            let Some(pose) = pose_of(&frame.pose) else {
                found.lost += 1;
                continue;
            };
            let pose = match pose {
                Ok(pose) => PoseSource::Known(pose * base_from_colour),
                Err(problem) => {
                    let problem = format!("in frame {} {problem}", frame.number);
                    PoseSource::Broken { problem, path: path.to_owned() }
                }
            };
            let source = Source::Recorded(Arc::clone(&sensor), frame.place);
            found.frames.push(part.frame(&frame.number.to_string(), [path, path], source, pose));
        }
        found.frames.extend(recording.damage.map(|(number, problem)| damaged(number, problem)));
        found
    }

    /// The frames of a folder with `color/`, `depth/` and `pose/`.
    fn exported(&self, part: &Part<'_>, folder: &Path) -> Found {
        let [colour, depth, pose] = ["color", "depth", "pose"].map(|name| folder.join(name));
        let listed = names_if_any(&colour).and_then(|c| Ok((c, names(&depth)?)));
        let (in_colour, in_depth) = match listed {
            Ok(both) => both,
            Err(error) => {
                let source = Source::Damaged(error.to_string());
                let frame = part.frame("0", [folder, folder], source, PoseSource::Level);
                return Found { frames: vec![frame], lost: 0 };
            }
        };
        let photos = photos(&in_colour, &colour, "", "");
        let depths = between(&in_depth, &depth, "", ".png");
        let ids: BTreeSet<&String> = photos.keys().chain(depths.keys()).collect();
        let mut ids: Vec<&String> = ids.into_iter().collect();
        ids.sort_by(|a, b| natural_order(a, b));
        let source = match self.exported_cameras(folder, photos.values().next(), depths.values().next()) {
            Ok(cameras) => Source::Scan(self.sensor(cameras)),
            Err(problem) => Source::Damaged(problem),
        };
        let frame = |id: &&String| {
            let photo = photos.get(*id).cloned().unwrap_or_else(|| colour.join(format!("{id}.jpg")));
            let depth = depths.get(*id).cloned().unwrap_or_else(|| depth.join(format!("{id}.png")));
            let pose = exported_pose(&pose.join(format!("{id}.txt")), id)?;
            let mut frame = part.frame(id, [&photo, &depth], source.clone(), pose);
            frame.labels = self.labelled.then(|| folder.join("label").join(format!("{id}.png")));
            Some(frame)
        };
        let chosen: Vec<&String> = ids.into_iter().step_by(self.every.unwrap_or(1)).collect();
        // Poses are small files, thousands of them.
        let frames: Vec<Option<FrameFiles>> = chosen.par_iter().map(frame).collect();
        let lost = frames.iter().filter(|f| f.is_none()).count();
        Found { frames: frames.into_iter().flatten().collect(), lost }
    }

    fn exported_cameras(
        &self,
        folder: &Path,
        photo: Option<&PathBuf>,
        depth: Option<&PathBuf>,
    ) -> Result<ScanCameras, String> {
        let file = |what: &str, camera: &str| {
            // As the exporter of the dataset names them, and as the smaller download does.
            let places = [format!("intrinsic/{what}_{camera}.txt"), format!("{what}s_{camera}.txt")];
            places.into_iter().map(|p| folder.join(p)).find(|p| p.is_file())
        };
        let camera = |name: &str, picture: Option<&PathBuf>, recorded| {
            let path = file("intrinsic", name)
                .ok_or_else(|| format!("the scan has no intrinsic/intrinsic_{name}.txt in {folder:?}"))?;
            let picture =
                picture.ok_or_else(|| format!("the scan has no image in {:?}", folder.join(name)))?;
            let numbers = read_intrinsics(&path).map_err(|e| e.to_string())?;
            let size = picture_size(picture, "image").map_err(|e| e.to_string())?;
            check_size(name, size).map_err(|problem| format!("{problem} ({picture:?})"))?;
            camera_of(numbers, size, recorded).map_err(|problem| format!("{problem} ({path:?})"))
        };
        let extrinsics = |name: &str| -> Result<Rigid3<frame::Camera, frame::DepthCamera>, String> {
            match file("extrinsic", name) {
                None => Ok(Rigid3::identity()),
                Some(path) => read_pose(&path, name).map_err(|e| e.to_string()),
            }
        };
        let base_from_colour: Rigid3<frame::Camera, frame::Camera> = extrinsics("color")?.with_frames();
        Ok(ScanCameras {
            colour: camera("color", photo, RECORDED_COLOUR)?,
            depth: camera("depth", depth, RECORDED_DEPTH)?,
            colour_from_depth: base_from_colour.inverse() * extrinsics("depth")?,
            metres_per_unit: self.encoding.metres_per_unit,
        })
    }

    /// The sensor with these cameras; rays through its pixels take megabytes, so that equal ones are one.
    fn sensor(&self, cameras: ScanCameras) -> Arc<Sensor> {
        let ScanCameras { colour, depth, colour_from_depth, metres_per_unit } = cameras;
        let numbers =
            |c: &CameraModel| [f64::from(c.width()), f64::from(c.height()), c.fx(), c.fy(), c.cx(), c.cy()];
        let all = numbers(&colour).into_iter().chain(numbers(&depth)).chain(colour_from_depth.to_tum());
        let key = all.chain([metres_per_unit]).map(f64::to_bits).collect();
        let build = || {
            let shown = if self.small { colour.resized(depth.width(), depth.height()) } else { colour };
            Arc::new(Sensor {
                rig: Arc::new(Rig::two(shown, depth, colour_from_depth)),
                stored: (colour.width(), colour.height()),
                encoding: DepthEncoding { metres_per_unit, ..self.encoding.clone() },
            })
        };
        let mut sensors = self.sensors.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sensors.entry(key).or_insert_with(build))
    }
}

/// What the frames of a scan have in common.
struct Part<'a> {
    name: &'a str,
    held_out: bool,
}

impl Part<'_> {
    fn frame(&self, id: &str, [colour, depth]: [&Path; 2], source: Source, pose: PoseSource) -> FrameFiles {
        FrameFiles {
            name: format!("{}/{id}", self.name),
            scene: Some(room(self.name).to_owned()),
            colour: colour.to_owned(),
            depth: depth.to_owned(),
            labels: None,
            pose,
            source,
            intrinsics: None,
            held_out: self.held_out,
        }
    }
}

impl ScanCameras {
    fn of_recording(recording: &Recording) -> Result<Self, String> {
        let camera = |what: &str, c: &Calibration| {
            let wrong = |problem: String| format!("the {what} camera cannot be used: {problem}");
            let [fx, fy, cx, cy] = intrinsics_of(&c.intrinsics).map_err(wrong)?;
            CameraModel::pinhole_opencv(c.width, c.height, fx, fy, cx, cy).map_err(|e| wrong(e.to_string()))
        };
        let extrinsics = |what: &str, c: &Calibration| {
            pose_of_rows::<frame::Camera, frame::DepthCamera>(&c.extrinsics)
                .map_err(|problem| format!("the extrinsics of {what}: {problem}"))
        };
        let base_from_colour: Rigid3<frame::Camera, frame::Camera> =
            extrinsics("colour", &recording.colour)?.with_frames();
        Ok(Self {
            colour: camera("colour", &recording.colour)?,
            depth: camera("depth", &recording.depth)?,
            colour_from_depth: base_from_colour.inverse() * extrinsics("depth", &recording.depth)?,
            metres_per_unit: recording.metres_per_unit,
        })
    }
}

/// A pose from its numbers; `None` where the tracker was lost.
fn pose_of(rows: &[f64]) -> Option<Result<Pose, String>> {
    rows.iter().all(|v| v.is_finite()).then(|| pose_of_rows(rows))
}

/// The pose of an exported frame; `None` where the tracker was lost. A file that is missing is told when it is read.
fn exported_pose(path: &Path, frame: &str) -> Option<PoseSource> {
    if !path.is_file() {
        return Some(PoseSource::File(path.to_owned()));
    }
    let rows = std::fs::read_to_string(path).ok().and_then(|text| super::super::text::numbers(&text).ok());
    if rows.is_some_and(|rows| rows.len() == 16 && rows.iter().any(|v| !v.is_finite())) {
        return None;
    }
    Some(match read_pose(path, frame) {
        Ok(pose) => PoseSource::Known(pose),
        Err(DataError::Pose { problem, path, .. }) => PoseSource::Broken { problem, path },
        Err(other) => PoseSource::Broken { problem: other.to_string(), path: path.to_owned() },
    })
}

/// The camera of images of a size. Exporters may shrink images and leave the intrinsics as they were: the principal
/// point, which is near the middle, says which size these speak of.
fn camera_of(
    [fx, fy, cx, cy]: [f64; 4],
    size: (u32, u32),
    recorded: (u32, u32),
) -> Result<CameraModel, String> {
    let middle = |(width, height): (u32, u32)| {
        let off = |c: f64, side: u32| (c / f64::from(side) - 0.5).abs();
        off(cx, width) < NEAR_THE_MIDDLE && off(cy, height) < NEAR_THE_MIDDLE
    };
    let of = [size, recorded].into_iter().find(|s| middle(*s)).ok_or_else(|| {
        format!(
            "the principal point ({cx}, {cy}) is neither near the middle of the images, {}×{}, nor of {}×{}, the size \
             that ScanNet recorded",
            size.0, size.1, recorded.0, recorded.1
        )
    })?;
    let camera = CameraModel::pinhole_opencv(of.0, of.1, fx, fy, cx, cy).map_err(|e| e.to_string())?;
    Ok(if of == size { camera } else { camera.resized(size.0, size.1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_principal_point_tells_the_size_that_intrinsics_speak_of() {
        let published = [1170.187988, 1170.187988, 647.75, 483.75];
        let whole = camera_of(published, RECORDED_COLOUR, RECORDED_COLOUR).unwrap();
        assert_eq!(whole.intrinsics_opencv(), published);
        let small = camera_of(published, (640, 480), RECORDED_COLOUR).unwrap();
        assert!((small.fx() - 577.870_611).abs() < 1e-5 && (small.fy() - 580.258_506).abs() < 1e-5);
        let own = camera_of([577.0, 577.0, 319.5, 239.5], (640, 480), RECORDED_COLOUR).unwrap();
        assert_eq!(own.fx(), 577.0);
        let fault = camera_of([577.0, 577.0, 319.5, 239.5], (320, 240), RECORDED_COLOUR).unwrap_err();
        assert!(fault.contains("320×240") && fault.contains("1296×968"), "{fault}");
    }

    #[test]
    fn a_lost_tracker_is_no_pose() {
        assert!(pose_of(&[f64::NEG_INFINITY; 16]).is_none());
        assert!(pose_of(&[f64::NAN; 16]).is_none());
        assert!(pose_of(&[1.0; 16]).unwrap().is_err());
    }
}
