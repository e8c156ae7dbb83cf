//! Section `geometry`: from depth and points to voxels.

use anyhow::Result;
use ppkt_geometry::{CameraModel, DepthMap, Point3, Rigid3, frame, voxelise};

use super::case::Work;
use super::input::Noise;
use super::runner::Runner;

/// Runs the section.
pub(super) fn run(runner: &mut Runner) -> Result<()> {
    // One RGB-D frame of most sensors, every pixel measured.
    runner.on("480×640");
    let camera = CameraModel::pinhole_opencv(640, 480, 577.6, 578.7, 318.9, 242.7)?;
    let metres = Noise::new(5).take(480 * 640).into_iter().map(|v| 2.0 + v).collect();
    let depth = DepthMap::from_metres(640, 480, metres)?;
    let world_from_camera = Rigid3::<frame::World, frame::Camera>::from_translation([0.1, 0.2, 0.3]);
    let pixels = 480.0 * 640.0;
    runner.case("back-projection to the world, 480×640", Work::new(0.0, pixels * (4.0 + 12.0)), || {
        let lifted = depth.lift::<frame::Camera>(&camera);
        Ok(lifted.iter().map(|l| (world_from_camera * l.point).to_f32()).collect::<Vec<_>>())
    })?;
    let lifted = depth.lift::<frame::Camera>(&camera);
    let points: Vec<Point3<frame::Camera>> = lifted.iter().map(|l| l.point).collect();
    runner.alone("projection, 307,200 points", Work::new(0.0, pixels * (24.0 + 16.0)), || {
        Ok(points.iter().filter(|p| camera.project(**p).is_ok()).count())
    })?;

    // A scan of a small room, at the voxels of ScanNet and of the paper's indoor recipe.
    let points = runner.inputs.points()?;
    runner.on(if runner.inputs.folder.is_some() { "points_300k" } else { "room" });
    for voxel_size_m in [0.02, 0.05] {
        // A point is read, the number of its voxel and its key are written.
        let work = Work::new(0.0, points.len() as f64 * (12.0 + 4.0 + 8.0));
        let name = format!("voxelise 300,000 points at {:.0} cm", voxel_size_m * 100.0);
        runner.case(&name, work, || Ok(voxelise(&points, voxel_size_m)?))?;
    }
    Ok(())
}
