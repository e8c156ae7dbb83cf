//! 7-Scenes: `frame-NNNNNN.color.png`, `.depth.png`, `.pose.txt`, in the folder or in `seq-NN` folders below it.
//!
//! Poses belong to the depth camera. Colour and depth come from two cameras that the dataset does not register: read
//! as one they disagree by 22 pixels in the median. So a calibration is needed: from the folder, from a file, or the
//! estimate that comes with ppkt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppkt_geometry::{CameraModel, Rigid3, frame};
use serde::Deserialize;

use super::descriptor::{self, CameraEntry, Descriptor};
use super::files::read_text;
use super::folder::{
    Cameras, FrameFiles, Layout, PoseOf, PoseSource, hold_out_last, holdout, limit_depth, thin_out,
    turning_up,
};
use super::listing::{between, folder_name, lines, names, photos};
use super::rig::Rig;
use super::source::Source;
use super::text::{pose_of_rows, read_intrinsics, read_numbers};
use crate::uri::Options;
use crate::{DataError, DataUri};

const EXPECTED: &str = "frame-NNNNNN.color.png, .depth.png and .pose.txt, or folders seq-NN of them";
/// The way up in the world of a sequence: that of its first camera, held level.
const LEVEL_UP: [f64; 3] = [0.0, -1.0, 0.0];

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<Layout, DataError> {
    let known = descriptor::sevenscenes()?;
    let options = uri.options();
    let mut found = Found { folder, read: Vec::new(), notes: Vec::new() };
    let poses = options.one_of("poses", &["file", "none"])? == "file";
    let mut frames = found.frames(options, poses)?;
    thin_out(&mut frames, options)?;
    let rig = found.rig(&known, options)?;
    let mut encoding = known.depth.encoding().map_err(|e| bad_descriptor(&e))?;
    limit_depth(&mut encoding, options)?;
    let up = found.up()?;
    Ok(Layout {
        uri: uri.clone(),
        folder: found.folder,
        frames,
        cameras: Cameras::Shared(Arc::new(rig)),
        cropped: None,
        pose_of: PoseOf::Depth,
        world_from_file: turning_up(up),
        encoding,
        labels: None,
        notes: found.notes,
        read: found.read,
        split_remedy: "the option holdout says which share of the sequence is held out",
    })
}

fn bad_descriptor(problem: &str) -> DataError {
    DataError::Descriptor { problem: problem.into(), path: "datasets/sevenscenes/dataset.toml".into() }
}

/// A folder, and what was learnt on the way.
struct Found {
    folder: PathBuf,
    read: Vec<PathBuf>,
    notes: Vec<String>,
}

/// The colour camera and its offset, as in `color-calibration.*.json`. Unknown entries are remarks.
#[derive(Deserialize)]
struct Calibration {
    depth: Option<CameraEntry>,
    color: CameraEntry,
    #[serde(rename = "T_color_from_depth")]
    color_from_depth: [[f64; 4]; 4],
}

impl Found {
    /// The frames of the folder itself, or of its sequences.
    fn frames(&mut self, options: &Options, poses: bool) -> Result<Vec<FrameFiles>, DataError> {
        let share = holdout(options)?;
        let all = names(&self.folder)?;
        let mut frames = sequence(&self.folder, &all, "", poses);
        if !frames.is_empty() {
            hold_out_last(&mut frames, share);
            return Ok(frames);
        }
        let official = self.official_split()?;
        for name in all.iter().filter(|n| n.starts_with("seq-")) {
            let inside = self.folder.join(name);
            if !inside.is_dir() {
                continue;
            }
            let mut part = sequence(&inside, &names(&inside)?, &format!("{name}/"), poses);
            match name["seq-".len()..].parse::<u32>().ok().zip(official.as_ref()) {
                Some((number, test)) => part.iter_mut().for_each(|f| f.held_out = test.contains(&number)),
                None => hold_out_last(&mut part, share),
            }
            frames.extend(part);
        }
        if frames.is_empty() {
            let path = self.folder.clone();
            return Err(DataError::Empty { layout: "sevenscenes", expected: EXPECTED.into(), path });
        }
        Ok(frames)
    }

    /// Numbers of the sequences in `TestSplit.txt`, whose lines read `sequence3`.
    fn official_split(&mut self) -> Result<Option<BTreeSet<u32>>, DataError> {
        let path = self.folder.join("TestSplit.txt");
        if !path.exists() {
            return Ok(None);
        }
        let text = read_text(&path, "list of sequences")?;
        let number = |(line, text): (usize, &str)| {
            text.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().map_err(|_| DataError::Text {
                what: "list of sequences",
                problem: format!("line {line} should read like sequence3"),
                path: path.clone(),
            })
        };
        let test = lines(&text).map(number).collect::<Result<BTreeSet<u32>, _>>()?;
        self.notes.push("the sequences in TestSplit.txt are held out".into());
        self.read.push(path);
        Ok(Some(test))
    }

    fn rig(&mut self, known: &Descriptor, options: &Options) -> Result<Rig, DataError> {
        let depth = self.depth_camera(known)?;
        if options.one_of("registered", &["no", "yes"])? == "yes" {
            self.notes.push(
                "colour and depth are taken as registered, which they are not: expect about 22 pixels of error".into(),
            );
            return Ok(Rig::registered(depth));
        }
        if options.text("calibration") == Some("estimated") {
            return self.estimated(known, depth);
        }
        let path = match options.text("calibration") {
            Some(file) => Some(PathBuf::from(file)),
            None => self.calibration_in_folder()?,
        };
        let Some(path) = path else {
            return Err(DataError::Undecided {
                question: "colour and depth of 7-Scenes come from two cameras and are not registered, and the folder \
                           has no color-calibration.*.json; give one with calibration=FILE, take the estimate that \
                           comes with ppkt with calibration=estimated, or accept about 22 pixels of error with \
                           registered=yes"
                    .into(),
                path: self.folder.clone(),
            });
        };
        self.calibrated(depth, path)
    }

    fn depth_camera(&mut self, known: &Descriptor) -> Result<CameraModel, DataError> {
        let entry = &known.camera["depth"];
        let path = self.folder.join("camera-intrinsics.txt");
        if !path.exists() {
            return entry.model().map_err(|e| bad_descriptor(&e));
        }
        let [fx, fy, cx, cy] = read_intrinsics(&path)?;
        let camera = CameraModel::pinhole_opencv(entry.width, entry.height, fx, fy, cx, cy)
            .map_err(|e| DataError::Camera { what: "depth", problem: e.to_string(), path: path.clone() })?;
        self.read.push(path);
        Ok(camera)
    }

    fn calibration_in_folder(&self) -> Result<Option<PathBuf>, DataError> {
        let files = names(&self.folder)?;
        let found = files.iter().find(|n| n.starts_with("color-calibration") && n.ends_with(".json"));
        Ok(found.map(|n| self.folder.join(n)))
    }

    fn calibrated(&mut self, depth: CameraModel, path: PathBuf) -> Result<Rig, DataError> {
        let text = read_text(&path, "calibration")?;
        let wrong = |problem: String| DataError::Descriptor { problem, path: path.clone() };
        let file: Calibration = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        let colour = file.color.model().map_err(|e| wrong(format!("color: {e}")))?;
        let depth = match file.depth {
            Some(entry) => entry.model().map_err(|e| wrong(format!("depth: {e}")))?,
            None => depth,
        };
        let offset = pose_of_rows(file.color_from_depth.as_flattened())
            .map_err(|e| wrong(format!("T_color_from_depth: {e}")))?;
        self.read.push(path);
        Ok(Rig::two(colour, depth, offset))
    }

    /// The estimate that is compiled in.
    fn estimated(&mut self, known: &Descriptor, depth: CameraModel) -> Result<Rig, DataError> {
        let missing = || bad_descriptor("has no estimated colour camera");
        let colour =
            known.camera.get("colour").ok_or_else(missing)?.model().map_err(|e| bad_descriptor(&e))?;
        let offset: Rigid3<frame::Camera, frame::DepthCamera> =
            pose_of_rows(known.colour_from_depth.ok_or_else(missing)?.as_flattened())
                .map_err(|e| bad_descriptor(&e))?;
        self.notes.push("the colour camera is the estimate that comes with ppkt".into());
        Ok(Rig::two(colour, depth, offset))
    }

    /// The way up in the world of the poses.
    fn up(&mut self) -> Result<[f64; 3], DataError> {
        let path = self.folder.join("gravity-direction.txt");
        if !path.exists() {
            self.notes
                .push("no gravity-direction.txt: the first camera of the sequence counts as level".into());
            return Ok(LEVEL_UP);
        }
        let down: [f64; 3] = read_numbers(&path, "direction of gravity")?;
        let norm = down.iter().map(|c| c * c).sum::<f64>().sqrt();
        if !(norm.is_finite() && norm > 1e-3) {
            let problem = "it is no direction".into();
            return Err(DataError::Text { what: "direction of gravity", problem, path });
        }
        self.read.push(path);
        Ok(down.map(|c| -c))
    }
}

/// Every frame of which at least one file is there.
fn sequence(folder: &Path, names: &[String], prefix: &str, poses: bool) -> Vec<FrameFiles> {
    let colour = photos(names, folder, "frame-", ".color");
    let depth = between(names, folder, "frame-", ".depth.png");
    let pose = between(names, folder, "frame-", ".pose.txt");
    let ids: BTreeSet<&String> = colour.keys().chain(depth.keys()).chain(pose.keys()).collect();
    let file = |found: &BTreeMap<String, PathBuf>, id: &str, ending: &str| {
        found.get(id).cloned().unwrap_or_else(|| folder.join(format!("frame-{id}{ending}")))
    };
    // A sequence is one walk through one room.
    let scene = folder_name(folder);
    let frame = |id: &String| FrameFiles {
        name: format!("{prefix}frame-{id}"),
        scene: Some(scene.clone()),
        colour: file(&colour, id, ".color.png"),
        depth: file(&depth, id, ".depth.png"),
        labels: None,
        pose: if poses { PoseSource::File(file(&pose, id, ".pose.txt")) } else { PoseSource::Level },
        source: Source::Files,
        intrinsics: None,
        held_out: false,
    };
    ids.into_iter().map(frame).collect()
}
