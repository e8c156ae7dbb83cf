//! NYU Depth V2, the labelled frames: `image/ID.jpg`, `depth/ID.png`, `label40/ID.png`, `train.txt`, `test.txt`.
//!
//! Depth is registered to the photo, in millimetres. There are no poses: every frame stands alone, and its camera
//! counts as level.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppkt_geometry::{CameraModel, Rigid3};

use super::descriptor::{self, ClassEntry, Descriptor, classes_of};
use super::files::read_text;
use super::folder::{
    Cameras, Cropped, FrameFiles, LabelRule, Layout, PoseOf, PoseSource, limit_depth, thin_out,
};
use super::listing::{lines, names_if_any, photos};
use super::rig::{Rig, Window};
use super::source::Source;
use super::text::read_intrinsics;
use crate::{DataError, DataUri};

const EXPECTED: &str = "image/ID.jpg, depth/ID.png, train.txt and test.txt";

/// The part inside the white border that the photographs have, after the toolbox straightened them.
const INSIDE_BORDER: Window = Window { x0: 8, y0: 8, width: 624, height: 464 };
/// The part that the depth sensor saw, by the toolbox; outside of it depth is an invention of the hole filling.
const SEEN_BY_DEPTH: Window = Window { x0: 40, y0: 44, width: 561, height: 427 };

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<Layout, DataError> {
    let known = descriptor::nyuv2()?;
    let options = uri.options();
    let mut read = Vec::new();
    let mut notes = Vec::new();
    let mut frames = frames(&folder, &mut read)?;
    if frames.is_empty() {
        return Err(DataError::Empty { layout: "nyuv2", expected: EXPECTED.into(), path: folder });
    }
    thin_out(&mut frames, options)?;
    let camera = camera(&known, &folder, &mut read, &mut notes)?;
    let rig = Arc::new(Rig::registered(camera));
    let window = match options.one_of("crop", &["border", "valid", "none"])? {
        "border" => Some(INSIDE_BORDER),
        "valid" => Some(SEEN_BY_DEPTH),
        _ => None,
    };
    let labels = match options.one_of("classes", &["13", "40", "none"])? {
        "13" => Some(grouped(&known, &class_table(&known, &folder, &mut read)?)),
        "40" => Some(fine(&class_table(&known, &folder, &mut read)?)),
        _ => None,
    };
    let mut encoding = known.depth.encoding().map_err(|e| bad_descriptor(&e))?;
    limit_depth(&mut encoding, options)?;
    notes.push("no poses: every frame stands alone, its camera counts as level".into());
    Ok(Layout {
        uri: uri.clone(),
        folder,
        frames,
        cropped: window.map(|window| Cropped { window, rig: Arc::new(rig.cropped(window)) }),
        cameras: Cameras::Shared(rig),
        pose_of: PoseOf::Colour,
        world_from_file: Rigid3::identity(),
        encoding,
        labels,
        notes,
        read,
        split_remedy: "train.txt and test.txt list the ids of the two parts",
    })
}

fn bad_descriptor(problem: &str) -> DataError {
    DataError::Descriptor { problem: problem.into(), path: "datasets/nyuv2/dataset.toml".into() }
}

/// The frames of both lists, in their order; without lists, there is no telling the parts apart.
fn frames(folder: &Path, read: &mut Vec<PathBuf>) -> Result<Vec<FrameFiles>, DataError> {
    let image = folder.join("image");
    let photos = photos(&names_if_any(&image)?, &image, "", "");
    let mut frames = Vec::new();
    for (list, held_out) in [("train.txt", false), ("test.txt", true)] {
        let path = folder.join(list);
        if !path.exists() {
            if photos.is_empty() {
                return Ok(Vec::new());
            }
            let problem = format!("{list} is missing; it lists the ids of one part, one a line");
            return Err(DataError::Descriptor { problem, path });
        }
        for (_, id) in lines(&read_text(&path, "list of frames")?) {
            frames.push(frame(folder, &photos, id, held_out));
        }
        read.push(path);
    }
    Ok(frames)
}

fn frame(folder: &Path, photos: &BTreeMap<String, PathBuf>, id: &str, held_out: bool) -> FrameFiles {
    let expected = || folder.join("image").join(format!("{id}.jpg"));
    FrameFiles {
        name: id.to_owned(),
        // Nothing in this layout says which room a frame is of.
        scene: None,
        colour: photos.get(id).cloned().unwrap_or_else(expected),
        depth: folder.join("depth").join(format!("{id}.png")),
        labels: Some(folder.join("label40").join(format!("{id}.png"))),
        pose: PoseSource::Level,
        source: Source::Files,
        intrinsics: None,
        held_out,
    }
}

fn camera(
    known: &Descriptor,
    folder: &Path,
    read: &mut Vec<PathBuf>,
    notes: &mut Vec<String>,
) -> Result<CameraModel, DataError> {
    let entry = &known.camera["rgb"];
    let path = folder.join("camera-intrinsics.txt");
    if !path.exists() {
        notes.push("no camera-intrinsics.txt: the toolbox's intrinsics are used".into());
        return entry.model().map_err(|e| bad_descriptor(&e));
    }
    let [fx, fy, cx, cy] = read_intrinsics(&path)?;
    let camera = CameraModel::pinhole_opencv(entry.width, entry.height, fx, fy, cx, cy)
        .map_err(|e| DataError::Camera { what: "colour", problem: e.to_string(), path: path.clone() })?;
    read.push(path);
    Ok(camera)
}

/// NYU-40 with its groups: from the folder's `classes40.csv` where there is one, with the colours known by name.
fn class_table(
    known: &Descriptor,
    folder: &Path,
    read: &mut Vec<PathBuf>,
) -> Result<Vec<ClassEntry>, DataError> {
    let table = &known.classes["nyu40"];
    let path = folder.join("classes40.csv");
    if !path.exists() {
        return Ok(table.clone());
    }
    let text = read_text(&path, "list of classes")?;
    read.push(path.clone());
    let wrong = |line: usize, problem: &str| DataError::Text {
        what: "list of classes",
        problem: format!("line {line} {problem}"),
        path: path.clone(),
    };
    let mut entries = Vec::new();
    for (line, row) in lines(&text).skip(1) {
        let cells: Vec<&str> = row.split(',').map(str::trim).collect();
        let &[id, name, group, _] = cells.as_slice() else {
            return Err(wrong(line, "should be id40,name40,id13,name13"));
        };
        let id: usize = id.parse().map_err(|_| wrong(line, "does not begin with a number"))?;
        let group: u16 = group.parse().map_err(|_| wrong(line, "has no number in its third column"))?;
        if usize::from(group) > known.classes["nyu13"].len() {
            return Err(wrong(line, "has a group beyond the 13"));
        }
        if id == 0 {
            continue;
        }
        if id != entries.len() + 1 {
            return Err(wrong(line, "does not continue the ids 1, 2, …"));
        }
        let colour = table.iter().find(|c| c.name == name).and_then(|c| c.colour);
        entries.push(ClassEntry { name: name.into(), colour, group, id: 0 });
    }
    Ok(entries)
}

fn fine(table: &[ClassEntry]) -> LabelRule {
    LabelRule { map: (0..=table.len() as u16).collect(), classes: classes_of(table) }
}

fn grouped(known: &Descriptor, table: &[ClassEntry]) -> LabelRule {
    let map = std::iter::once(0).chain(table.iter().map(|c| c.group)).collect();
    LabelRule { map, classes: classes_of(&known.classes["nyu13"]) }
}
