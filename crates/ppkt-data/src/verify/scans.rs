//! Checking labelled scans: every file of each, and whether size and labels make sense.

use rayon::prelude::*;

use super::report::{ClassShare, Fault, Report};
use crate::Cloud;
use crate::readers::{ScanFiles, ScanLayout};

/// A scan whose longest side is outside of this is hardly one in metres: a cupboard's, or a large building's.
const PLAUSIBLE_M: std::ops::RangeInclusive<f32> = 0.5..=300.0;
/// Fewer of the points labelled than this are hardly worth a scan.
const FEW_LABELLED: f64 = 0.01;

/// Reads the scans chosen and writes what they say into the report.
pub(super) fn check(layout: &ScanLayout, chosen: &[usize], report: &mut Report) {
    report.train = layout.scans.iter().filter(|s| !s.held_out).count();
    report.validation = layout.scans.len() - report.train;
    report.notes.clone_from(&layout.notes);
    // One after another, since each is read by all threads already, and a large one takes much memory.
    let mut counts = vec![0u64; layout.classes.as_ref().map_or(0, |c| c.len_with_unlabelled())];
    for scan in chosen.iter().map(|i| &layout.scans[*i]) {
        report.checked += 1;
        match scan.read() {
            Ok(read) => {
                report.good += 1;
                let remarks = read.remarks.into_iter();
                report.faults.extend(remarks.map(|r| Fault::warning("damaged lines", Some(&scan.name), r)));
                judge(scan, &read.cloud, layout.classes.is_some(), &mut report.faults);
                for class in read.cloud.classes.iter().flatten() {
                    if let Some(count) = counts.get_mut(usize::from(*class)) {
                        *count += 1;
                    }
                }
            }
            Err(error) => report.faults.push(Fault::of_error(&error, Some(&scan.name))),
        }
    }
    let total = counts.iter().sum::<u64>().max(1) as f64;
    report.classes = layout.classes.as_ref().map(|classes| {
        let share = |(name, n): (&String, &u64)| ClassShare { name: name.clone(), share: *n as f64 / total };
        classes.names().iter().zip(&counts).map(share).collect()
    });
}

fn judge(scan: &ScanFiles, cloud: &Cloud, labelled: bool, faults: &mut Vec<Fault>) {
    let longest = (0..3)
        .map(|axis| {
            let along = || cloud.points.par_iter().map(|p| p[axis]);
            along().reduce(|| f32::NEG_INFINITY, f32::max) - along().reduce(|| f32::INFINITY, f32::min)
        })
        .fold(0f32, f32::max);
    let mut warn = |kind, message| faults.push(Fault::warning(kind, Some(&scan.name), message));
    if !PLAUSIBLE_M.contains(&longest) {
        warn("size", format!("its longest side is {longest} m; is the scan in metres?"));
    }
    if cloud.colours.par_iter().all(|c| *c == [0.0; 3]) {
        warn("no colour", "every point is black; were the colours lost in a conversion?".into());
    }
    let n = cloud.classes.iter().flatten().filter(|c| **c != 0).count();
    if labelled && (n as f64) < FEW_LABELLED * cloud.points.len() as f64 {
        let of = cloud.points.len();
        warn(
            "few labels",
            format!("{n} of its {of} points have a label; is the list of classes the right one?"),
        );
    }
}
