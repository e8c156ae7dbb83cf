//! Checking a dataset: every file of every frame, and whether the whole makes sense.

mod frame;
mod poses;
mod report;
mod scans;
mod shift;
mod sweeps;

use std::collections::BTreeMap;

use rayon::prelude::*;

pub use report::{ClassShare, DepthSummary, Fault, Registration, Report, Severity};

use crate::readers::{self, Found, Layout, PoseSource};
use crate::{DataError, DataUri, Scheme, Split};
use frame::{Checked, Facts};
use shift::ShiftScores;

/// So many frames are looked at for registration, and so many pairs for poses.
const SAMPLES: usize = 12;
/// Edges that agree this much better elsewhere, at least [`SHIFTED_PX`] away, are no accident.
const SHIFTED_GAIN: f64 = 1.08;
const SHIFTED_PX: i32 = 5;
/// Less colour gradient than this under depth edges, against anywhere near, is chance (registered data has 2 or more).
const LITTLE_CONTRAST: f64 = 1.15;

/// Checks a dataset and explains each fault: missing, truncated and wrong-sized images; poses that are missing, not
/// finite, no rotations, or probably inverted; labels beyond the classes; depth that is hardly in metres; depth and
/// photographs that do not lie over one another; frames that occur twice.
///
/// With `limit`, at most so many frames are read, spread evenly. The same data gives the same report.
///
/// # Errors
/// Only if the request is wrong (an option's value, a folder that does not exist): everything about the data, an
/// empty folder included, is in the report.
pub fn verify(uri: &DataUri, limit: Option<usize>) -> Result<Report, DataError> {
    let mut report = empty_report(uri)?;
    if uri.scheme() == Scheme::Synthetic {
        report.train = uri.open(Split::Train)?.len();
        report.validation = uri.open(Split::Validation)?.len();
        report.notes.push("made from a seed: there is no file to check".into());
        return Ok(report);
    }
    let layout = match readers::scan(uri) {
        Ok(Found::Frames(layout)) => layout,
        Ok(Found::Scans(layout)) => {
            scans::check(&layout, &spread(layout.scans.len(), limit.unwrap_or(usize::MAX)), &mut report);
            return Ok(report);
        }
        Ok(Found::Sweeps(layout)) => {
            sweeps::check(&layout, &spread(layout.sweeps.len(), limit.unwrap_or(usize::MAX)), &mut report);
            return Ok(report);
        }
        Err(error @ (DataError::BadOption { .. } | DataError::NoFolder { .. })) => return Err(error),
        Err(error) => {
            report.faults.push(Fault::of_error(&error, None));
            return Ok(report);
        }
    };
    report.train = layout.frames.iter().filter(|f| !f.held_out).count();
    report.validation = layout.frames.len() - report.train;
    report.notes.clone_from(&layout.notes);
    let chosen = spread(layout.frames.len(), limit.unwrap_or(usize::MAX));
    let checked: Vec<Checked> =
        chosen.par_iter().map(|i| frame::check(&layout, &layout.frames[*i])).collect();
    repeated_names(&layout, &mut report.faults);
    repeated_photos(&layout, &chosen, &checked, &mut report.faults);
    let readable: Vec<usize> =
        chosen.iter().zip(&checked).filter(|(_, c)| c.facts.is_some()).map(|(i, _)| *i).collect();
    summarise(&layout, checked, &mut report);
    check_registration(&layout, &readable, &mut report);
    check_poses(&layout, &mut report);
    Ok(report)
}

fn empty_report(uri: &DataUri) -> Result<Report, DataError> {
    let (title, licence) = readers::about(uri.scheme())?;
    Ok(Report {
        uri: uri.to_string(),
        title,
        licence,
        train: 0,
        validation: 0,
        checked: 0,
        good: 0,
        image_size: None,
        depth: None,
        registration: None,
        neighbours_differ_m: None,
        classes: None,
        faults: Vec::new(),
        notes: Vec::new(),
    })
}

/// At most `limit` numbers below `n`, spread evenly.
fn spread(n: usize, limit: usize) -> Vec<usize> {
    let take = n.min(limit);
    (0..take).map(|i| i * n / take).collect()
}

fn repeated_names(layout: &Layout, faults: &mut Vec<Fault>) {
    let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
    for frame in &layout.frames {
        let Some(before) = seen.insert(&frame.name, frame.held_out) else { continue };
        let message = if before == frame.held_out {
            "the frame is listed twice; remove one of the lines"
        } else {
            "the frame is in the training and in the validation part, so validation is not honest; remove it from one"
        };
        faults.push(Fault::warning("listed twice", Some(&frame.name), message.into()));
    }
}

fn repeated_photos(layout: &Layout, chosen: &[usize], checked: &[Checked], faults: &mut Vec<Fault>) {
    let mut seen: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    for (index, facts) in chosen.iter().zip(checked).filter_map(|(i, c)| Some((*i, c.facts.as_ref()?))) {
        let Some(&first) = seen.get(&facts.photo) else {
            seen.insert(facts.photo, index);
            continue;
        };
        let (first, frame) = (&layout.frames[first].name, &layout.frames[index].name);
        if first != frame {
            let message = format!("the photo is the same, pixel for pixel, as that of frame {first}");
            faults.push(Fault::warning("duplicate photo", Some(frame), message));
        }
    }
}

fn summarise(layout: &Layout, checked: Vec<Checked>, report: &mut Report) {
    report.checked = checked.len();
    let mut facts: Vec<Facts> = Vec::new();
    for one in checked {
        let has_error = one.faults.iter().any(|f| f.severity == Severity::Error);
        report.good += usize::from(!has_error);
        report.faults.extend(one.faults);
        facts.extend(one.facts);
    }
    report.image_size = facts.first().map(|f| f.image_size);
    let percentile = |k: usize| {
        let mut all: Vec<f64> =
            facts.iter().map(|f| f64::from(f.depth_m[k])).filter(|d| !d.is_nan()).collect();
        median(&mut all)
    };
    let mean = |value: fn(&Facts) -> f64| facts.iter().map(value).sum::<f64>() / facts.len() as f64;
    report.depth = match (percentile(0), percentile(1), percentile(2)) {
        (Some(near_m), Some(median_m), Some(far_m)) => {
            Some(DepthSummary { near_m, median_m, far_m, valid: mean(|f| f.valid), seen: mean(|f| f.seen) })
        }
        _ => None,
    };
    report.classes = layout.labels.as_ref().map(|rule| class_shares(rule.classes.names(), &facts));
}

fn class_shares(names: &[String], facts: &[Facts]) -> Vec<ClassShare> {
    let count = |class: usize| facts.iter().filter_map(|f| f.classes.get(class)).sum::<u64>() as f64;
    let total: f64 = (0..names.len()).map(count).sum();
    let share = |class| if total > 0.0 { count(class) / total } else { 0.0 };
    names.iter().enumerate().map(|(i, n)| ClassShare { name: n.clone(), share: share(i) }).collect()
}

fn check_registration(layout: &Layout, readable: &[usize], report: &mut Report) {
    let mut scores = ShiftScores::new();
    for i in spread(readable.len(), SAMPLES) {
        if let Ok(scene) = layout.sample(&layout.frames[readable[i]]) {
            scores.add(&scene);
        }
    }
    let (Some((best_shift_px, gain)), Some(contrast)) = (scores.best(), scores.contrast()) else { return };
    let [right, down] = best_shift_px;
    if gain > SHIFTED_GAIN && right.abs().max(down.abs()) >= SHIFTED_PX {
        let message = format!(
            "depth edges fall on colour edges best when depth is moved by {right} pixels right and {down} down: colour \
             and depth are probably not registered, or the offset between the cameras is wrong; look at the picture of \
             depth edges over a photo"
        );
        report.faults.push(Fault::warning("registration", None, message));
    } else if contrast < LITTLE_CONTRAST {
        let message = "depth edges hardly fall on colour edges: look at the picture of depth edges over a photo; do \
                       photo and depth belong together?";
        report.faults.push(Fault::warning("registration", None, message.into()));
    }
    report.registration = Some(Registration { best_shift_px, gain, contrast });
}

fn check_poses(layout: &Layout, report: &mut Report) {
    let posed = |i: &usize| !matches!(layout.frames[*i].pose, PoseSource::Level);
    let all: Vec<usize> = (0..layout.frames.len()).filter(posed).collect();
    if all.len() < 2 || layout.stand_alone() {
        return;
    }
    let mut pairs = Vec::new();
    let mut farthest_m = 0f64;
    for i in spread(all.len() - 1, SAMPLES) {
        let [a, b] = [i, i + 1].map(|k| &layout.frames[all[k]]);
        if a.scene != b.scene {
            continue;
        }
        let [a, b] = [a, b].map(|frame| layout.sample(frame));
        let (Ok(a), Ok(b)) = (a, b) else { continue };
        farthest_m = farthest_m.max(a.views[0].world_from_camera.translation().norm());
        pairs.extend(poses::disagreement(&a, &b, &layout.world_from_file));
    }
    let (differ, fault) = poses::judge(&pairs, farthest_m);
    report.neighbours_differ_m = differ;
    report.faults.extend(fault);
}

/// The middle value; `None` of none.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread() {
        assert_eq!(spread(10, 3), [0, 3, 6]);
        assert_eq!(spread(2, 9), [0, 1]);
        assert!(spread(0, 5).is_empty() && spread(5, 0).is_empty());
    }
}
