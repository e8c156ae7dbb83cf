//! Checking LiDAR sweeps: every file of each, and whether points and photographs meet.

use rayon::prelude::*;

use super::report::{Fault, Report};
use crate::readers::{SweepFiles, SweepLayout};
use crate::{DataError, LinkConfig, Scene, link};

/// A view that sees fewer points than this is hardly calibrated: one of a car's cameras sees thousands.
const FEW_SEEN: usize = 100;

/// Reads the sweeps chosen and writes what they say into the report.
pub(super) fn check(layout: &SweepLayout, chosen: &[usize], report: &mut Report) {
    report.train = layout.sweeps.iter().filter(|s| !s.held_out).count();
    report.validation = layout.sweeps.len() - report.train;
    report.notes.clone_from(&layout.notes);
    let judged = |i: &usize| {
        let sweep = &layout.sweeps[*i];
        judge(sweep, layout.sample(sweep))
    };
    let judged: Vec<_> = chosen.par_iter().map(judged).collect();
    for (size, faults) in judged {
        report.checked += 1;
        report.good += usize::from(size.is_some());
        report.image_size = report.image_size.or(size);
        report.faults.extend(faults);
    }
}

/// The size of the first photograph, if the sweep can be read, and what is wrong with it.
fn judge(sweep: &SweepFiles, scene: Result<Scene, DataError>) -> (Option<[u32; 2]>, Vec<Fault>) {
    let scene = match scene {
        Ok(scene) => scene,
        Err(error) => return (None, vec![Fault::of_error(&error, Some(&sweep.name))]),
    };
    let mut faults = Vec::new();
    let mut warn = |kind, message| faults.push(Fault::warning(kind, Some(&sweep.name), message));
    let mut seen = vec![0; scene.views.len()];
    link(&scene, &LinkConfig::default()).iter().for_each(|l| seen[l.view as usize] += 1);
    for (view, n) in seen.iter().enumerate().filter(|(_, n)| **n < FEW_SEEN) {
        warn("calibration", format!("photograph {view} sees {n} points; does its calibration belong to it?"));
    }
    if scene.cloud.intensity.iter().flatten().all(|i| *i == 0.0) {
        warn("no intensity", "every intensity is zero; was it lost in a conversion?".into());
    }
    (Some(scene.views.first().map_or([0, 0], |v| v.image.dimensions().into())), faults)
}
