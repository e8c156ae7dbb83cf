//! TUM RGB-D: `rgb.txt`, `depth.txt` and `groundtruth.txt`, three lists of time stamps.
//!
//! Depth is registered to colour, but taken at other moments: a photo is paired with the depth image nearest in time,
//! each used once. Poses belong to the colour camera and are interpolated at the photo's time; their world has z up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppkt_geometry::{CameraModel, Rigid3, Trajectory, frame};

use super::descriptor::{self, Descriptor};
use super::files::{picture_size, read_text};
use super::folder::{
    Cameras, FileCamera, FileWorld, FrameFiles, Layout, PoseOf, PoseSource, hold_out_last, holdout,
    limit_depth, thin_out,
};
use super::listing::{folder_name, lines};
use super::rig::Rig;
use super::source::Source;
use super::text::number;
use crate::uri::Options;
use crate::{DataError, DataUri};

const EXPECTED: &str = "rgb.txt, depth.txt and groundtruth.txt";
const SECONDS: &str = "a number of seconds from 0";

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<Layout, DataError> {
    let known = descriptor::tum()?;
    let options = uri.options();
    let mut notes = Vec::new();
    let mut read = Vec::new();
    let mut list = |name: &str| -> Result<Vec<(f64, PathBuf)>, DataError> {
        let path = folder.join(name);
        if !path.exists() {
            return Err(DataError::Empty { layout: "tum", expected: EXPECTED.into(), path: folder.clone() });
        }
        let entries = pictures(&path, &folder)?;
        read.push(path);
        Ok(entries)
    };
    let (colour, depth) = (list("rgb.txt")?, list("depth.txt")?);
    let within = options.get_if("max_difference", 0.02, SECONDS, |s| *s >= 0.0)?;
    let pairs = associate(&colour, &depth, within);
    if pairs.len() < colour.len() {
        let left = colour.len() - pairs.len();
        notes.push(format!(
            "{left} of {} photos have no depth image of their own within {within} s",
            colour.len()
        ));
    }
    let poses = poses(&folder, options, &mut read, &mut notes)?;
    // A folder is one recording of one place.
    let scene = folder_name(&folder);
    let mut frames = Vec::new();
    let mut without_pose = Vec::new();
    for (c, d) in pairs {
        let (time_s, photo) = &colour[c];
        let pose = match &poses {
            None => PoseSource::Level,
            Some(trajectory) => match trajectory.at(*time_s) {
                Ok(pose) => PoseSource::Known(pose),
                Err(_) => {
                    without_pose.push(format!("{time_s:.6}"));
                    continue;
                }
            },
        };
        frames.push(FrameFiles {
            name: format!("{time_s:.6}"),
            scene: Some(scene.clone()),
            colour: photo.clone(),
            depth: depth[d].1.clone(),
            labels: None,
            pose,
            source: Source::Files,
            intrinsics: None,
            held_out: false,
        });
    }
    if let (Some(first), Some(last)) = (without_pose.first(), without_pose.last()) {
        let n = without_pose.len();
        notes.push(format!("{n} frames have no pose at their time and are left out ({first} to {last})"));
    }
    if frames.is_empty() {
        let expected = format!("photos with depth within {within} s and poses around them");
        return Err(DataError::Empty { layout: "tum", expected, path: folder });
    }
    thin_out(&mut frames, options)?;
    hold_out_last(&mut frames, holdout(options)?);
    let camera = camera(&known, &folder, &frames, options)?;
    let mut encoding = known.depth.encoding().map_err(|e| bad_descriptor(&e))?;
    limit_depth(&mut encoding, options)?;
    Ok(Layout {
        uri: uri.clone(),
        folder,
        frames,
        cameras: Cameras::Shared(Arc::new(Rig::registered(camera))),
        cropped: None,
        pose_of: PoseOf::Colour,
        world_from_file: Rigid3::<frame::World, FileWorld>::identity(),
        encoding,
        labels: None,
        notes,
        read,
        split_remedy: "the option holdout says which share of the sequence is held out",
    })
}

fn bad_descriptor(problem: &str) -> DataError {
    DataError::Descriptor { problem: problem.into(), path: "datasets/tum/dataset.toml".into() }
}

/// A list of `time file`, sorted by time.
fn pictures(path: &Path, folder: &Path) -> Result<Vec<(f64, PathBuf)>, DataError> {
    const WHAT: &str = "list of images";
    let text = read_text(path, WHAT)?;
    let wrong = |line: usize, problem: &str| DataError::Text {
        what: WHAT,
        problem: format!("line {line} {problem}"),
        path: path.to_owned(),
    };
    let mut entries = Vec::new();
    for (line, row) in lines(&text) {
        let (time, file) = row
            .split_once([' ', '\t', ','])
            .ok_or_else(|| wrong(line, "should be a time stamp and a file"))?;
        let time_s = number(time).ok().filter(|t| t.is_finite());
        let time_s = time_s.ok_or_else(|| wrong(line, "does not begin with a time stamp in seconds"))?;
        entries.push((time_s, folder.join(file.trim())));
    }
    entries.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(entries)
}

/// Pairs of rows near in time, the nearest pairs first, each row used once; sorted by the first list.
pub(crate) fn associate<T>(a: &[(f64, T)], b: &[(f64, T)], within: f64) -> Vec<(usize, usize)> {
    let mut candidates = Vec::new();
    let mut first = 0;
    for (i, (time, _)) in a.iter().enumerate() {
        while first < b.len() && b[first].0 < time - within {
            first += 1;
        }
        let near = b[first..].iter().take_while(|(t, _)| *t <= time + within);
        candidates.extend(near.enumerate().map(|(j, (t, _))| ((t - time).abs(), i, first + j)));
    }
    candidates.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)).then(x.2.cmp(&y.2)));
    let (mut used_a, mut used_b) = (BTreeSet::new(), BTreeSet::new());
    let mut pairs = Vec::new();
    for (_, i, j) in candidates {
        if !used_a.contains(&i) && !used_b.contains(&j) {
            used_a.insert(i);
            used_b.insert(j);
            pairs.push((i, j));
        }
    }
    pairs.sort_unstable();
    pairs
}

/// The trajectory, or `None` where the user asks for none.
fn poses(
    folder: &Path,
    options: &Options,
    read: &mut Vec<PathBuf>,
    notes: &mut Vec<String>,
) -> Result<Option<Trajectory<FileWorld, FileCamera>>, DataError> {
    let max_gap = options.get_if("max_gap", 0.1, SECONDS, |s| *s >= 0.0)?;
    if options.one_of("poses", &["file", "none"])? == "none" {
        return Ok(None);
    }
    let path = folder.join("groundtruth.txt");
    if !path.exists() {
        let question = "there is no groundtruth.txt with the poses; restore it, or read every frame alone with \
                        poses=none";
        return Err(DataError::Undecided { question: question.into(), path: folder.to_owned() });
    }
    let text = read_text(&path, "trajectory")?;
    let mut poses: Vec<(f64, Rigid3<FileWorld, FileCamera>)> = Vec::new();
    let mut broken = 0;
    for (line, row) in lines(&text) {
        let wrong = |problem: String| DataError::Text { what: "trajectory", problem, path: path.clone() };
        let numbers =
            row.split([' ', '\t', ',']).filter(|t| !t.is_empty()).map(number).collect::<Result<Vec<_>, _>>();
        let numbers = numbers.map_err(|e| wrong(format!("line {line}: {e}")))?;
        let &[time, tx, ty, tz, qx, qy, qz, qw] = numbers.as_slice() else {
            return Err(wrong(format!(
                "line {line} has {} numbers, not 8: time tx ty tz qx qy qz qw",
                numbers.len()
            )));
        };
        // Where the motion capture lost the camera there is no pose; frames there fall into a gap.
        match Rigid3::from_tum([tx, ty, tz, qx, qy, qz, qw]) {
            Ok(pose) if time.is_finite() => poses.push((time, pose)),
            _ => broken += 1,
        }
    }
    poses.sort_by(|a, b| a.0.total_cmp(&b.0));
    poses.dedup_by(|b, a| a.0 == b.0);
    if broken > 0 {
        notes.push(format!("{broken} lines of groundtruth.txt are no pose (NaN, or no unit quaternion)"));
    }
    read.push(path.clone());
    let problem =
        |e: ppkt_geometry::PoseError| DataError::Text { what: "trajectory", problem: e.to_string(), path };
    Trajectory::new(poses, max_gap).map(Some).map_err(problem)
}

/// The camera: named, as four numbers, or by the folder's name.
fn camera(
    known: &Descriptor,
    folder: &Path,
    frames: &[FrameFiles],
    options: &Options,
) -> Result<CameraModel, DataError> {
    let named = |name: &str| known.camera.get(name).map(|c| c.model().map_err(|e| bad_descriptor(&e)));
    if let Some(text) = options.text("camera") {
        if let Some(camera) = named(text) {
            return camera;
        }
        let bad = || DataError::BadOption {
            option: "camera".into(),
            value: text.into(),
            expected: "freiburg1, freiburg2, freiburg3, ros, or the four numbers fx,fy,cx,cy".into(),
        };
        let numbers = text.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>().map_err(|_| bad())?;
        let &[fx, fy, cx, cy] = numbers.as_slice() else { return Err(bad()) };
        let (width, height) = picture_size(&frames[0].colour, "photo")?;
        return CameraModel::pinhole_opencv(width, height, fx, fy, cx, cy).map_err(|_| bad());
    }
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = full.to_string_lossy().to_lowercase();
    // The last of the names in the path, so that .../freiburg1/…freiburg2_desk is freiburg2.
    let guess =
        ["freiburg1", "freiburg2", "freiburg3"].into_iter().filter_map(|n| Some((name.rfind(n)?, n))).max();
    guess.and_then(|(_, n)| named(n)).unwrap_or_else(|| {
        Err(DataError::Undecided {
            question: "the folder's name does not say which camera it is; add camera=freiburg1, freiburg2, \
                       freiburg3 or ros, or camera=FX,FY,CX,CY"
                .into(),
            path: folder.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_pairs_win_and_nothing_is_used_twice() {
        let a = [(0.0, ()), (0.03, ()), (0.10, ()), (5.0, ())];
        let b = [(0.018, ()), (0.031, ()), (0.105, ()), (0.2, ())];
        assert_eq!(associate(&a, &b, 0.02), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(associate(&a, &b, 0.01), [(1, 1), (2, 2)]);
        assert_eq!(associate::<()>(&[], &b, 1.0), []);
        // Two photos near one depth image: the nearer has it.
        assert_eq!(associate(&[(0.0, ()), (0.01, ())], &[(0.012, ())], 0.02), [(1, 0)]);
    }
}
