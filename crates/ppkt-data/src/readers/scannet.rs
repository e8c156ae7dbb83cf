//! ScanNet: recordings of rooms (`SCAN.sens`, or frames exported from one), and labelled meshes made of them.
//!
//! A folder for each scan, in `DIR/scans` as the download script leaves them, in `DIR/scannet_frames_25k`, or in `DIR`
//! itself. A scan is named `sceneSSSS_NN`: the NN-th of the room `sceneSSSS`.

mod categories;
mod frames;
mod lists;
mod mesh;
mod points;
mod sens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Found;
use super::descriptor;
use super::listing::{folder_name, names, names_if_any};
use crate::uri::Options;
use crate::{DataError, DataUri};
use lists::Parts;

pub(crate) use mesh::Mesh;
pub(crate) use sens::Recorded;

const EXPECTED: &str = "a folder for each scan, in scans/ or beside one another, with SCAN.sens, or color/, depth/ and \
                        pose/, or SCAN_vh_clean_2.ply";
/// Where folders of scans are, besides the folder itself.
const PLACES: [&str; 2] = ["scans", "scannet_frames_25k"];

/// What there is of a scan.
#[derive(Clone, Debug, Default)]
struct Scan {
    name: String,
    /// The recording.
    sens: Option<PathBuf>,
    /// A folder with frames exported from the recording.
    exported: Option<PathBuf>,
    /// The folder with the mesh.
    mesh: Option<PathBuf>,
}

/// The number of a class in each kind of file, by the class's number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClassList {
    Twenty,
    TwoHundred,
    None,
}

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<Found, DataError> {
    let options = uri.options();
    let classes = match options.one_of("classes", &["20", "200", "none"])? {
        "20" => ClassList::Twenty,
        "200" => ClassList::TwoHundred,
        _ => ClassList::None,
    };
    let all = find(&folder)?;
    let frames = all.iter().filter(|s| s.sens.is_some() || s.exported.is_some()).count();
    let meshes = all.iter().filter(|s| s.mesh.is_some()).count();
    let empty = |expected: &str| {
        Err(DataError::Empty { layout: "scannet", expected: expected.into(), path: folder.clone() })
    };
    let asked = match options.text("take") {
        None => None,
        Some(_) => Some(options.one_of("take", &["frames", "scans"])?),
    };
    let take = match (asked, frames, meshes) {
        (_, 0, 0) => return empty(EXPECTED),
        (Some("frames"), 0, _) => return empty("SCAN.sens, or color/ and depth/, in the folder of a scan"),
        (Some("scans"), _, 0) => return empty("SCAN_vh_clean_2.ply in the folder of a scan"),
        (Some(word), _, _) => word,
        (None, _, 0) => "frames",
        (None, 0, _) => "scans",
        (None, _, _) => {
            let question = "the folder has both recordings and meshes; add take=frames (photographs with depth, to \
                            pretrain on) or take=scans (labelled clouds, to fine-tune on)";
            return Err(DataError::Undecided { question: question.into(), path: folder });
        }
    };
    let parts = Parts::read(uri, &folder)?;
    let known = descriptor::scannet()?;
    if take == "frames" {
        check_unused(options, &["points"], take)?;
        return frames::layout(uri, folder, all, &parts, &known, classes).map(Found::Frames);
    }
    check_unused(options, &["photos", "min_depth", "max_depth"], take)?;
    mesh::layout(uri, folder, all, parts, &known, classes).map(Found::Scans)
}

/// An option that would change nothing is a mistake.
fn check_unused(options: &Options, keys: &[&str], take: &str) -> Result<(), DataError> {
    let Some((key, value)) = keys.iter().find_map(|key| Some((key, options.text(key)?))) else {
        return Ok(());
    };
    Err(DataError::BadOption {
        option: (*key).into(),
        value: value.into(),
        expected: format!("left out: with take={take} there is nothing that it could change"),
    })
}

/// The scans of the folder by name, or the one that it is.
fn find(folder: &Path) -> Result<Vec<Scan>, DataError> {
    let mut found: BTreeMap<String, Scan> = BTreeMap::new();
    for place in std::iter::once(folder.to_owned()).chain(PLACES.map(|p| folder.join(p))) {
        for name in names_if_any(&place)? {
            let inside = place.join(&name);
            if inside.is_dir() {
                look(&name, &inside, &mut found)?;
            }
        }
    }
    if found.is_empty() {
        look(&folder_name(folder), folder, &mut found)?;
    }
    Ok(found.into_values().collect())
}

/// Notes what a folder has of the scan by whose name it goes.
fn look(name: &str, folder: &Path, found: &mut BTreeMap<String, Scan>) -> Result<(), DataError> {
    let inside = names(folder)?;
    let has = |wanted: &str| inside.iter().any(|n| n == wanted);
    let sens = [format!("{name}.sens"), format!("{name}_vh.sens")].into_iter().find(|n| has(n));
    let exported = has("color") && has("depth");
    let mesh = has(&format!("{name}_vh_clean_2.ply"));
    if sens.is_none() && !exported && !mesh {
        return Ok(());
    }
    let scan = found.entry(name.to_owned()).or_default();
    scan.name = name.to_owned();
    scan.sens = scan.sens.take().or_else(|| sens.map(|n| folder.join(n)));
    scan.exported = scan.exported.take().or_else(|| exported.then(|| folder.to_owned()));
    scan.mesh = scan.mesh.take().or_else(|| mesh.then(|| folder.to_owned()));
    Ok(())
}

/// The room of a scan: `scene0012` of `scene0012_01`. A name of another form is a room's own.
fn room(scan: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match scan.rsplit_once('_') {
        Some((room, number)) if digits(number) && room.strip_prefix("scene").is_some_and(digits) => room,
        _ => scan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_of_one_room_have_its_name() {
        assert_eq!(room("scene0012_01"), "scene0012");
        for other in ["kitchen_01", "scene_01", "scene0012", "scene0012_a", "scene00x2_01"] {
            assert_eq!(room(other), other);
        }
    }
}
