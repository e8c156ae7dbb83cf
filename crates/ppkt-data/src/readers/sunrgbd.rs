//! SUN RGB-D: one folder a frame, at any depth: `image/`, `depth/`, `depth_bfx/`, `intrinsics.txt`, `extrinsics/`.
//!
//! Depth is registered to colour and its bits are rotated. Four kinds of sensor: every frame has intrinsics of its
//! own. The extrinsics turn the camera so that it is level; there are no positions.

use std::path::{Path, PathBuf};

use ppkt_geometry::{Rigid3, frame};

use super::descriptor;
use super::folder::{
    Cameras, FileWorld, FrameFiles, Layout, PoseOf, PoseSource, hold_out_by_name, holdout, level_pose,
    limit_depth, thin_out,
};
use super::listing::{PHOTO_ENDINGS, names, names_if_any};
use super::source::Source;
use crate::{DataError, DataUri};

const EXPECTED: &str = "frames in folders with image/, depth/ and intrinsics.txt";
/// Folders are nested this deep in the whole dataset (kv1/NYUdata/NYU0001), and a bit more for the user's own.
const MAX_NESTING: usize = 8;

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<Layout, DataError> {
    let known = descriptor::sunrgbd()?;
    let options = uri.options();
    let depth = if options.one_of("depth", &["raw", "filled"])? == "raw" { "depth" } else { "depth_bfx" };
    let mut frames = Vec::new();
    find(&folder, &folder, depth, 0, &mut frames)?;
    if frames.is_empty() {
        return Err(DataError::Empty { layout: "sunrgbd", expected: EXPECTED.into(), path: folder });
    }
    thin_out(&mut frames, options)?;
    hold_out_by_name(&mut frames, holdout(options)?);
    let mut encoding = known.depth.encoding().map_err(|e| bad_descriptor(&e))?;
    limit_depth(&mut encoding, options)?;
    let world_from_file: Rigid3<frame::World, FileWorld> = level_pose();
    Ok(Layout {
        uri: uri.clone(),
        folder,
        frames,
        cameras: Cameras::PerFrame,
        cropped: None,
        pose_of: PoseOf::Colour,
        world_from_file,
        encoding,
        labels: None,
        notes: vec!["no positions: every frame stands alone, turned so that it is level".into()],
        read: Vec::new(),
        split_remedy: "which frames are held out is drawn from their names; the option holdout says which share",
    })
}

fn bad_descriptor(problem: &str) -> DataError {
    DataError::Descriptor { problem: problem.into(), path: "datasets/sunrgbd/dataset.toml".into() }
}

/// Every folder below with an `intrinsics.txt` or both an `image` and a `depth` folder is a frame.
fn find(
    root: &Path,
    folder: &Path,
    depth: &str,
    nesting: usize,
    frames: &mut Vec<FrameFiles>,
) -> Result<(), DataError> {
    let inside = names(folder)?;
    let has = |name: &str| inside.iter().any(|n| n == name);
    if has("intrinsics.txt") || (has("image") && has(depth)) {
        frames.push(frame(root, folder, depth)?);
        return Ok(());
    }
    if nesting == MAX_NESTING {
        return Ok(());
    }
    for name in &inside {
        let below = folder.join(name);
        if below.is_dir() {
            find(root, &below, depth, nesting + 1, frames)?;
        }
    }
    Ok(())
}

fn frame(root: &Path, folder: &Path, depth: &str) -> Result<FrameFiles, DataError> {
    let name = folder.strip_prefix(root).ok().filter(|p| !p.as_os_str().is_empty());
    let name = name.map(|p| p.to_string_lossy().replace('\\', "/"));
    let name = name.or_else(|| Some(folder.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned()));
    // The extrinsics are named by the day they were made; the last is the one that holds.
    let extrinsics = folder.join("extrinsics");
    let last = names_if_any(&extrinsics)?.into_iter().rfind(|n| n.ends_with(".txt"));
    Ok(FrameFiles {
        scene: name.as_deref().and_then(room),
        name: name.unwrap_or_else(|| folder.to_string_lossy().into_owned()),
        colour: only(&folder.join("image"), &PHOTO_ENDINGS)?,
        depth: only(&folder.join(depth), &["png"])?,
        labels: None,
        pose: PoseSource::File(last.map_or_else(|| extrinsics.join("*.txt"), |n| extrinsics.join(n))),
        source: Source::Files,
        intrinsics: Some(folder.join("intrinsics.txt")),
        held_out: false,
    })
}

/// The room of a frame: the part that comes from SUN3D has a folder for each room, `…/sun3ddata/PLACE/ROOM/FRAME`; the
/// others have all frames of a sensor side by side and do not tell.
fn room(name: &str) -> Option<String> {
    let (room, _) = name.rsplit_once('/')?;
    room.split('/').any(|part| part == "sun3ddata").then(|| room.to_owned())
}

/// The one picture of a folder; where there is none, a path that says what was looked for.
fn only(folder: &Path, endings: &[&str]) -> Result<PathBuf, DataError> {
    let fits = |name: &String| {
        let ending = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
        ending.is_some_and(|e| endings.contains(&e.as_str()))
    };
    let found = names_if_any(folder)?.into_iter().find(fits);
    Ok(folder.join(found.unwrap_or_else(|| format!("*.{}", endings[0]))))
}
