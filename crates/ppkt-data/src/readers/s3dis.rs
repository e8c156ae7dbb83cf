//! Stanford 3D Indoor Spaces: `Area_k/ROOM/Annotations/CLASS_i.txt`, one text an object, `x y z r g b` a line.
//!
//! `ROOM/ROOM.txt` holds the same points without classes and is not read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::descriptor::{self, classes_of};
use super::files::read_large;
use super::listing::{names, names_if_any};
use super::scans::{ReadScan, ScanFiles, ScanLayout, ScanSource};
use super::xyzrgb::{self, PointText};
use crate::{Cloud, DataError, DataUri};

const EXPECTED: &str = "Area_1 … Area_6 with ROOM/Annotations/CLASS_i.txt";
/// The folders that the archives unpack to.
const UNPACKED: [&str; 2] = ["Stanford3dDataset_v1.2_Aligned_Version", "Stanford3dDataset_v1.2"];
/// What an object of any other class counts as, "stairs" above all.
const REST: &str = "clutter";

/// The files of a room.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    annotations: PathBuf,
    /// Each object's class and file, by name.
    objects: Vec<(u16, PathBuf)>,
}

pub(crate) fn scan(uri: &DataUri, folder: PathBuf) -> Result<ScanLayout, DataError> {
    let classes = classes_of(&descriptor::s3dis()?.classes["s3dis"]);
    let held_out = uri.options().one_of("area", &["5", "1", "2", "3", "4", "6", "none"])?;
    let every = uri.options().get_if("every", 1usize, "a whole number from 1", |n| *n >= 1)?;
    let root = UNPACKED.iter().map(|name| folder.join(name)).find(|p| p.is_dir());
    let root = root.unwrap_or_else(|| folder.clone());
    let class_of: BTreeMap<&str, u16> =
        classes.names().iter().enumerate().skip(1).map(|(i, n)| (n.as_str(), i as u16)).collect();
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    let mut scans = Vec::new();
    for area in names(&root)?.iter().filter(|n| n.starts_with("Area_")) {
        let area_folder = root.join(area);
        for room in names_if_any(&area_folder)? {
            let room_folder = area_folder.join(&room);
            if !room_folder.is_dir() {
                continue;
            }
            scans.push(ScanFiles {
                name: format!("{area}/{room}"),
                scene: format!("{area}/{room}"),
                source: ScanSource::Room(Room::find(&room_folder, &class_of, &mut others)?),
                held_out: area.strip_prefix("Area_") == Some(held_out),
            });
        }
    }
    if scans.is_empty() {
        let inside = folder.file_name().is_some_and(|n| n.to_string_lossy().starts_with("Area_"));
        let hint = if inside { "; give the folder above this one" } else { "" };
        let expected = format!("{EXPECTED}{hint}");
        return Err(DataError::Empty { layout: "s3dis", expected, path: folder });
    }
    let scans = scans.into_iter().step_by(every).collect();
    let count = |(name, n): (String, usize)| {
        let objects = if n == 1 { "object" } else { "objects" };
        format!("{n} {objects} named {name:?} count as {REST}")
    };
    Ok(ScanLayout {
        uri: uri.clone(),
        folder,
        scans,
        classes: Some(classes),
        notes: others.into_iter().map(count).collect(),
        read: Vec::new(),
        split_remedy: "the option area says which area is held out",
    })
}

impl Room {
    fn find(
        folder: &Path,
        class_of: &BTreeMap<&str, u16>,
        others: &mut BTreeMap<String, usize>,
    ) -> Result<Self, DataError> {
        let annotations = folder.join("Annotations");
        let mut objects = Vec::new();
        for name in names_if_any(&annotations)? {
            let Some(stem) = name.strip_suffix(".txt") else { continue };
            let word = stem.rsplit_once('_').map_or(stem, |(word, _)| word);
            let class = class_of.get(word).copied().unwrap_or_else(|| {
                *others.entry(word.to_owned()).or_default() += 1;
                class_of[REST]
            });
            objects.push((class, annotations.join(name)));
        }
        Ok(Self { annotations, objects })
    }

    pub(super) fn files(&self) -> Vec<&PathBuf> {
        self.objects.iter().map(|(_, path)| path).collect()
    }

    /// Reads all objects, in the order of their names.
    pub(super) fn read(&self, name: &str) -> Result<ReadScan, DataError> {
        if self.objects.is_empty() {
            let (what, path) = ("Annotations folder", self.annotations.clone());
            return Err(DataError::Missing { what, frame: name.to_owned(), path });
        }
        let read = |(class, path): &(u16, PathBuf)| -> Result<(u16, PointText, Option<String>), DataError> {
            let text = xyzrgb::parse(&read_large(path, "object")?, path)?;
            let remark = text.remark(path);
            Ok((*class, text, remark))
        };
        let parts = self.objects.par_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let n = parts.iter().map(|(_, text, _)| text.points.len()).sum();
        let mut cloud =
            Cloud { points: Vec::with_capacity(n), colours: Vec::with_capacity(n), ..Cloud::default() };
        let mut classes = Vec::with_capacity(n);
        let mut remarks = Vec::new();
        for (class, text, remark) in parts {
            classes.resize(classes.len() + text.points.len(), class);
            cloud.points.extend(text.points);
            cloud.colours.extend(text.colours);
            remarks.extend(remark);
        }
        cloud.classes = Some(classes);
        Ok(ReadScan { cloud, remarks })
    }
}
