//! Checking one frame: all of its faults, not only the first.

use ppkt_geometry::DepthMap;
use sha2::{Digest, Sha256};

use super::report::Fault;
use crate::Scene;
use crate::readers::{FrameFiles, Layout};

/// Depth whose median is outside of this is hardly in metres.
const PLAUSIBLE_M: std::ops::RangeInclusive<f32> = 0.15..=30.0;
/// Fewer measurements than this are hardly worth a frame.
const FEW_VALID: f64 = 0.02;
/// Fewer of the measurements seen by the colour camera than this tell of a wrong offset.
const FEW_SEEN: f64 = 0.3;

/// What one frame says.
pub(super) struct Checked {
    pub(super) faults: Vec<Fault>,
    /// `None` if it cannot be read.
    pub(super) facts: Option<Facts>,
}

/// Facts about a frame that can be read.
pub(super) struct Facts {
    pub(super) image_size: [u32; 2],
    /// 1st, 50th and 99th percentile of depth, metres.
    pub(super) depth_m: [f32; 3],
    pub(super) valid: f64,
    pub(super) seen: f64,
    /// Pixels of each class.
    pub(super) classes: Vec<u64>,
    /// Digest of the photo's pixels.
    pub(super) photo: [u8; 32],
}

pub(super) fn check(layout: &Layout, files: &FrameFiles) -> Checked {
    let mut faults = Vec::new();
    if let Err(error) = layout.intact(files) {
        return Checked { faults: vec![Fault::of_error(&error, Some(&files.name))], facts: None };
    }
    // The parts are read one by one, so that a frame with two faults shows both.
    let pose = layout.pose(files).map_err(|e| faults.push(Fault::of_error(&e, Some(&files.name)))).ok();
    let photo = layout.photo(files).map_err(|e| faults.push(Fault::of_error(&e, Some(&files.name)))).ok();
    let size = photo.as_ref().map(|p| p.dimensions());
    let mut note = |e| faults.push(Fault::of_error(&e, Some(&files.name)));
    let rig = match size {
        Some(size) => layout.rig(files, size).map_err(&mut note).ok(),
        None => layout.shared_rig(),
    };
    // A photo of the wrong size is no reason not to look at the depth image.
    let rig_of_depth = rig.clone().or_else(|| layout.shared_rig());
    let depth = rig_of_depth.and_then(|rig| layout.depth(files, &rig).map_err(&mut note).ok());
    let labels = match size.filter(|_| rig.is_some()) {
        Some(size) => layout.labels(files, size).map_err(&mut note).ok(),
        None => None,
    };
    let (Some(pose), Some(photo), Some(rig), Some(depth), Some(labels)) = (pose, photo, rig, depth, labels)
    else {
        return Checked { faults, facts: None };
    };
    let digest = Sha256::digest(photo.as_raw()).into();
    if photo.as_raw().iter().all(|c| *c == photo.as_raw()[0]) {
        let message =
            "the photo is of one colour; is the camera's lens covered, or the export broken?".into();
        faults.push(Fault::warning("blank photo", Some(&files.name), message));
    }
    let (valid, depth_m) = summarise(&depth);
    let n_measured = layout.n_in_window(&depth);
    let scene = layout.build(files, &rig, photo, depth, labels, pose);
    let seen = if n_measured == 0 { 0.0 } else { scene.cloud.points.len() as f64 / n_measured as f64 };
    judge(&files.name, valid, depth_m, seen, &mut faults);
    let facts = scene.views.first().map(|view| Facts {
        image_size: view.image.dimensions().into(),
        depth_m,
        valid,
        seen,
        classes: count_classes(&scene),
        photo: digest,
    });
    Checked { faults, facts }
}

/// Share of measurements, and percentiles 1, 50, 99 of them.
fn summarise(depth: &DepthMap) -> (f64, [f32; 3]) {
    let mut values: Vec<f32> = depth.metres().iter().copied().filter(|d| !d.is_nan()).collect();
    if values.is_empty() {
        return (0.0, [f32::NAN; 3]);
    }
    let n = values.len();
    let percentiles = [n / 100, n / 2, n - 1 - n / 100];
    let depth_m = percentiles.map(|at| *values.select_nth_unstable_by(at, f32::total_cmp).1);
    (n as f64 / depth.metres().len() as f64, depth_m)
}

fn judge(name: &str, valid: f64, depth_m: [f32; 3], seen: f64, faults: &mut Vec<Fault>) {
    let [near, median, far] = depth_m;
    let mut warn = |kind, message| faults.push(Fault::warning(kind, Some(name), message));
    if valid == 0.0 {
        warn(
            "no depth",
            "not one depth pixel is a measurement; are the invalid values and limits right?".into(),
        );
    } else if valid < FEW_VALID {
        warn("little depth", format!("only {:.1} % of the depth pixels are measurements", valid * 100.0));
    } else if !PLAUSIBLE_M.contains(&median) {
        let message = format!("the median depth is {median} m; is the depth scale (metres per unit) right?");
        warn("depth scale", message);
    } else if near == far {
        warn("flat depth", format!("nearly all depth pixels say {median} m; is this a depth image?"));
    }
    if valid > 0.0 && seen == 0.0 {
        warn(
            "no overlap",
            "the colour camera sees not one depth pixel; is the offset between the cameras right?".into(),
        );
    } else if valid > 0.0 && seen < FEW_SEEN {
        let seen = seen * 100.0;
        warn(
            "little overlap",
            format!(
                "the colour camera sees {seen:.0} % of the depth pixels; is the offset the right way round, in metres?"
            ),
        );
    }
}

fn count_classes(scene: &Scene) -> Vec<u64> {
    let mut counts = Vec::new();
    for class in scene.views.iter().filter_map(|v| v.classes.as_ref()).flatten() {
        let class = usize::from(*class);
        if counts.len() <= class {
            counts.resize(class + 1, 0);
        }
        counts[class] += 1;
    }
    counts
}
