//! Labelled scans of ScanNet: the vertices of `SCAN_vh_clean_2.ply`, with the classes of `SCAN_vh_clean_2.labels.ply`
//! (NYU-40 numbers) or of what annotators wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::descriptor::{ClassEntry, Descriptor, classes_of};
use super::super::scans::{ReadScan, ScanFiles, ScanLayout, ScanSource};
use super::categories::{self, Categories};
use super::lists::Parts;
use super::points::{self, PointLists};
use super::{ClassList, Scan, room};
use crate::{Cloud, DataError, DataUri, Ply, PlyColumn};

/// The largest NYU-40 number. A few published files have a larger one at some vertices.
pub(super) const NYU40: u16 = 40;
/// More of the vertices with a number beyond NYU-40 mean another kind of file.
const FEW_UNKNOWN: f64 = 0.1;

/// The files of a labelled scan.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    mesh: PathBuf,
    labels: Labels,
    /// Where the labels are: one file of NYU-40 numbers, or the segments and the objects.
    label_files: Vec<PathBuf>,
    /// The vertices whose labels are used, if not all.
    points: Option<Arc<[u32]>>,
}

/// Where labels come from.
#[derive(Clone, Debug)]
enum Labels {
    None,
    /// The class of each NYU-40 number.
    Nyu(Arc<[u16]>),
    /// The class of each name.
    Names(Arc<Categories>),
}

/// The scans of a folder.
pub(super) fn layout(
    uri: &DataUri,
    folder: PathBuf,
    all: Vec<Scan>,
    parts: Parts,
    known: &Descriptor,
    classes: ClassList,
) -> Result<ScanLayout, DataError> {
    let options = uri.options();
    let every = options.get_if("every", 1usize, "a whole number from 1", |n| *n >= 1)?;
    let there: Vec<Scan> = all.into_iter().filter(|s| s.mesh.is_some()).collect();
    let names: Vec<String> = there.iter().map(|s| s.name.clone()).collect();
    let mut notes = parts.notes(&names)?;
    let mut read = parts.paths();
    let (labels, entries) = labels(known, classes, &folder, &mut read)?;
    let lists = options.text("points").map(PathBuf::from);
    let limited = lists.as_deref().map(points::read).transpose()?;
    if matches!((&limited, &labels), (Some(_), Labels::None)) {
        let (option, value) = ("points".into(), options.text("points").unwrap_or_default().into());
        let expected = "left out with classes=none: there are no labels to use".into();
        return Err(DataError::BadOption { option, value, expected });
    }
    let mut scans = Vec::new();
    for scan in &there {
        let (Some(held_out), Some(inside)) = (parts.held_out(&scan.name), &scan.mesh) else { continue };
        let points = match (&limited, &lists) {
            (Some(limited), Some(path)) if !held_out => Some(points_of(limited, &scan.name, path)?),
            _ => None,
        };
        scans.push(ScanFiles {
            name: scan.name.clone(),
            scene: room(&scan.name).to_owned(),
            source: ScanSource::Mesh(Mesh::new(inside, &scan.name, labels.clone(), points)),
            held_out,
        });
    }
    if let Some(path) = lists {
        let n = scans.iter().filter(|s| !s.held_out).count();
        notes.push(format!(
            "labels of the points listed are used in the {n} scans to train on, of all in the others"
        ));
        read.push(path);
    }
    Ok(ScanLayout {
        uri: uri.clone(),
        folder,
        scans: scans.into_iter().step_by(every).collect(),
        classes: entries.map(classes_of),
        notes,
        read,
        split_remedy: "scannetv2_train.txt and scannetv2_val.txt in the folder, or the options train and held_out, list \
                       the scans of the two parts",
    })
}

fn labels<'a>(
    known: &'a Descriptor,
    classes: ClassList,
    folder: &Path,
    read: &mut Vec<PathBuf>,
) -> Result<(Labels, Option<&'a [ClassEntry]>), DataError> {
    match classes {
        ClassList::None => Ok((Labels::None, None)),
        ClassList::Twenty => {
            let entries = &known.classes["scannet20"];
            Ok((Labels::Nyu(class_of_nyu(entries).into()), Some(entries)))
        }
        ClassList::TwoHundred => {
            let entries = &known.classes["scannet200"];
            let above = folder.parent().filter(|_| folder.ends_with("scans"));
            let places = [Some(folder), above].into_iter().flatten().map(|p| p.join(categories::TABLE));
            let Some(path) = places.into_iter().find(|p| p.is_file()) else {
                let question =
                    format!("classes=200 needs {}, which comes with the dataset", categories::TABLE);
                return Err(DataError::Undecided { question, path: folder.to_owned() });
            };
            let table = categories::read_table(&path, entries)?;
            read.push(path);
            Ok((Labels::Names(Arc::new(table)), Some(entries)))
        }
    }
}

/// The class of each NYU-40 number from 0, which is unlabelled.
pub(super) fn class_of_nyu(entries: &[ClassEntry]) -> Vec<u16> {
    let mut map = vec![0; usize::from(NYU40) + 1];
    (1..).zip(entries).for_each(|(class, entry)| map[usize::from(entry.id)] = class);
    map
}

fn points_of(lists: &PointLists, scan: &str, path: &Path) -> Result<Arc<[u32]>, DataError> {
    lists.get(scan).cloned().ok_or_else(|| DataError::Descriptor {
        problem: format!(
            "it has no points of {scan}, which is to be trained on; name the scans to train on with train"
        ),
        path: path.to_owned(),
    })
}

impl Mesh {
    fn new(folder: &Path, name: &str, labels: Labels, points: Option<Arc<[u32]>>) -> Self {
        let file = |ending: &str| folder.join(format!("{name}{ending}"));
        let label_files = match labels {
            Labels::None => Vec::new(),
            Labels::Nyu(_) => vec![file("_vh_clean_2.labels.ply")],
            Labels::Names(_) => vec![file("_vh_clean_2.0.010000.segs.json"), file(".aggregation.json")],
        };
        Self { mesh: file("_vh_clean_2.ply"), labels, label_files, points }
    }

    pub(crate) fn files(&self) -> Vec<&PathBuf> {
        std::iter::once(&self.mesh).chain(&self.label_files).collect()
    }

    /// Reads the vertices and their classes.
    pub(crate) fn read(&self, name: &str) -> Result<ReadScan, DataError> {
        for (path, what) in self.files().into_iter().zip(["mesh", "labels", "list of objects"]) {
            if !path.exists() {
                return Err(DataError::Missing { what, frame: name.to_owned(), path: path.clone() });
            }
        }
        let ply = Ply::read(&self.mesh)?;
        let mut cloud = Cloud {
            points: triples(&ply, ["x", "y", "z"], &self.mesh)?,
            colours: triples(&ply, ["red", "green", "blue"], &self.mesh)?,
            ..Cloud::default()
        };
        cloud.colours.as_flattened_mut().iter_mut().for_each(|c| *c /= 255.0);
        let mut remarks = Vec::new();
        cloud.classes = match (&self.labels, self.label_files.as_slice()) {
            (Labels::Nyu(class_of), [path]) => Some(nyu_classes(path, class_of, &mut remarks)?),
            (Labels::Names(names), [segments, objects]) => {
                let (classes, unknown) = categories::classes_of_vertices(segments, objects, names)?;
                if unknown > 0 {
                    remarks.push(format!("{unknown} of its objects have a name that the table lacks"));
                }
                Some(classes)
            }
            _ => None,
        };
        let n = cloud.points.len();
        if let (Some(classes), Some(path)) = (&mut cloud.classes, self.label_files.first()) {
            if classes.len() != n {
                let problem =
                    format!("it has {} vertices, the mesh {n}; are they of one scan?", classes.len());
                return Err(DataError::Text { what: "label file", problem, path: path.clone() });
            }
            if let Some(used) = &self.points {
                *classes = only(used, classes, name)?;
            }
        }
        Ok(ReadScan { cloud, remarks })
    }
}

/// Three properties of each vertex.
fn triples(ply: &Ply, names: [&str; 3], path: &Path) -> Result<Vec<[f32; 3]>, DataError> {
    let wrong = |problem: String| DataError::Text { what: "mesh", problem, path: path.to_owned() };
    let mut rows = vec![[0.0; 3]; ply.len()];
    for (k, name) in names.into_iter().enumerate() {
        let column =
            ply.column(name).ok_or_else(|| wrong(format!("its vertices have no property {name}")))?;
        match column {
            PlyColumn::F32(values) => rows.iter_mut().zip(values).for_each(|(row, &v)| row[k] = v),
            other => rows.iter_mut().zip(other.to_f64()).for_each(|(row, v)| row[k] = v as f32),
        }
    }
    match rows.iter().position(|row| row.iter().any(|v| !v.is_finite())) {
        None => Ok(rows),
        Some(at) => Err(wrong(format!("vertex {at} has a number that is not finite"))),
    }
}

/// The class of each vertex by its NYU-40 number. Numbers beyond NYU-40, which a few of the published files have at some
/// vertices, count as unlabelled and are told.
fn nyu_classes(path: &Path, class_of: &[u16], remarks: &mut Vec<String>) -> Result<Vec<u16>, DataError> {
    let wrong = |problem: String| DataError::Text { what: "label file", problem, path: path.to_owned() };
    let ply = Ply::read(path)?;
    let column = ply.column("label").ok_or_else(|| wrong("its vertices have no property label".into()))?;
    let numbers = column.to_u16().ok_or_else(|| wrong("a label is no whole number from 0".into()))?;
    let beyond = numbers.iter().filter(|n| **n > NYU40).count();
    if beyond as f64 > FEW_UNKNOWN * numbers.len() as f64 {
        let of = numbers.len();
        return Err(wrong(format!(
            "{beyond} of its {of} vertices have a number beyond the {NYU40} classes of NYU; is it of ScanNet v2?"
        )));
    }
    if beyond > 0 {
        remarks
            .push(format!("{beyond} vertices have a number beyond the {NYU40} classes of NYU: unlabelled"));
    }
    Ok(numbers.into_iter().map(|n| class_of.get(usize::from(n)).copied().unwrap_or(0)).collect())
}

/// The classes of the vertices listed; all others are unlabelled.
fn only(used: &[u32], classes: &[u16], name: &str) -> Result<Vec<u16>, DataError> {
    let mut kept = vec![0; classes.len()];
    for &vertex in used {
        let Some(class) = classes.get(vertex as usize) else {
            let n = classes.len();
            let problem = format!("the list of points names vertex {vertex}, but there are {n}");
            return Err(DataError::BadScene { frame: name.to_owned(), problem });
        };
        kept[vertex as usize] = *class;
    }
    Ok(kept)
}
