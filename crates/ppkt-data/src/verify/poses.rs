//! Whether the poses of a sequence mean what they are taken to mean.

use ppkt_geometry::{Point3, Rigid3, frame};

use super::report::Fault;
use crate::Scene;

/// Neighbouring frames that differ by more than this do not show one room as the poses say.
const DISAGREE_M: f64 = 0.15;
/// A room is not this large: millimetres, most likely.
const FAR_AWAY_M: f64 = 100.0;

/// Median difference in depth between two frames by their poses, and by their poses inverted; metres.
///
/// `a` and `b` see the same room; their points are compared where both see them.
pub(super) fn disagreement<F>(
    a: &Scene,
    b: &Scene,
    world_from_file: &Rigid3<frame::World, F>,
) -> Option<[f64; 2]> {
    let (view_a, view_b) = (a.views.first()?, b.views.first()?);
    let (pose_a, pose_b) = (view_a.world_from_camera, view_b.world_from_camera);
    let as_given = pose_b.inverse() * pose_a;
    // If the files' matrices lead from world to camera, the motion is the other product of them.
    let file_from_world = world_from_file.inverse();
    let (matrix_a, matrix_b) = (file_from_world * pose_a, file_from_world * pose_b);
    let inverted =
        matrix_b.with_frames::<frame::Camera, F>() * matrix_a.with_frames::<frame::Camera, F>().inverse();
    let camera_from_world = pose_a.inverse();
    let depth = view_b.depth.as_ref()?;
    let median = |b_from_a: Rigid3<frame::Camera, frame::Camera>| {
        let mut differences: Vec<f64> = Vec::new();
        for p in a.cloud.points.iter().step_by((a.cloud.points.len() / 4000).max(1)) {
            let p_b = b_from_a * (camera_from_world * Point3::<frame::World>::from_f32(*p));
            let Ok(pixel) = view_b.camera.project(p_b) else { continue };
            let Some(depth_m) = depth.sample_nearest(pixel) else { continue };
            differences.push((f64::from(depth_m) - p_b.z()).abs());
        }
        // Where the two hardly overlap nothing is said.
        (differences.len() > 400).then(|| super::median(&mut differences))?
    };
    Some([median(as_given)?, median(inverted).unwrap_or(f64::INFINITY)])
}

/// What the disagreements of several pairs say.
pub(super) fn judge(pairs: &[[f64; 2]], farthest_m: f64) -> (Option<f64>, Option<Fault>) {
    let mut given: Vec<f64> = pairs.iter().map(|p| p[0]).collect();
    let mut inverted: Vec<f64> = pairs.iter().map(|p| p[1]).collect();
    let (Some(given), Some(inverted)) = (super::median(&mut given), super::median(&mut inverted)) else {
        return (None, far_away(farthest_m));
    };
    let fault = if given > 0.05 && inverted < 0.5 * given {
        Some(format!(
            "neighbouring frames differ by {given:.2} m in the median, but by {inverted:.2} m with the poses inverted: \
             do they lead from world to camera?"
        ))
    } else if given > DISAGREE_M {
        Some(format!(
            "neighbouring frames differ by {given:.2} m in the median: are the poses of this camera, in metres, and \
             the axes x right, y down, z forward?"
        ))
    } else {
        return (Some(given), far_away(farthest_m));
    };
    (Some(given), fault.map(|message| Fault::warning("poses disagree", None, message)))
}

fn far_away(farthest_m: f64) -> Option<Fault> {
    (farthest_m > FAR_AWAY_M).then(|| {
        let message = format!("a camera is {farthest_m:.0} m from the origin; are the poses in metres?");
        Fault::warning("poses far away", None, message)
    })
}
