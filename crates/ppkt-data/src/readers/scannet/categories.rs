//! What annotators called things, as numbers: `scannetv2-labels.combined.tsv`, `….segs.json`, `….aggregation.json`.
//!
//! The mesh is cut into segments; an object is a list of segments with a name; the table has a number for each name,
//! of which ScanNet200 uses 200 (the rule of the benchmark's own preparation: a later object wins a segment that two
//! claim, and a name without one of the 200 numbers is unlabelled).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::super::descriptor::ClassEntry;
use super::super::files::{read_large, read_text};
use crate::DataError;

/// The file with the numbers, in the folder of the dataset.
pub(super) const TABLE: &str = "scannetv2-labels.combined.tsv";

/// The class of each name that annotators gave.
pub(super) type Categories = HashMap<String, u16>;

#[derive(Deserialize)]
struct Segments {
    #[serde(rename = "segIndices")]
    of_vertex: Vec<u32>,
}

#[derive(Deserialize)]
struct Aggregation {
    #[serde(rename = "segGroups")]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    segments: Vec<u32>,
    label: String,
}

/// Reads the table: the class of each name whose number is a class's.
pub(super) fn read_table(path: &Path, classes: &[ClassEntry]) -> Result<Categories, DataError> {
    const WHAT: &str = "table of categories";
    let text = read_text(path, WHAT)?;
    let wrong = |problem: String| DataError::Text { what: WHAT, problem, path: path.to_owned() };
    let mut rows = text.lines().enumerate();
    let header: Vec<&str> =
        rows.next().map(|(_, l)| l.split('\t').map(str::trim).collect()).unwrap_or_default();
    let column = |name: &str| {
        let missing =
            || wrong(format!("its first line has no column {name:?}; is it the tab-separated table?"));
        header.iter().position(|h| *h == name).ok_or_else(missing)
    };
    let (id, name) = (column("id")?, column("raw_category")?);
    let class_of: HashMap<u16, u16> = (1..).zip(classes).map(|(class, entry)| (entry.id, class)).collect();
    let mut categories = Categories::new();
    let mut met = BTreeSet::new();
    for (i, row) in rows.filter(|(_, row)| !row.trim().is_empty()) {
        let cells: Vec<&str> = row.split('\t').map(str::trim).collect();
        let (Some(number), Some(name)) = (cells.get(id), cells.get(name)) else {
            return Err(wrong(format!(
                "line {} has {} columns, fewer than the first line",
                i + 1,
                cells.len()
            )));
        };
        let number: u16 =
            number.parse().map_err(|_| wrong(format!("line {}: the id {number:?} is no number", i + 1)))?;
        let class = class_of.get(&number).copied().unwrap_or(0);
        met.insert(class);
        // The first line of a name counts.
        categories.entry((*name).to_owned()).or_insert(class);
    }
    let missing = (1..=classes.len() as u16).filter(|class| !met.contains(class)).count();
    if missing > 0 {
        let of = classes.len();
        return Err(wrong(format!(
            "it has no name for {missing} of the {of} classes; is it of ScanNet v2, and whole?"
        )));
    }
    Ok(categories)
}

/// The class of each vertex, and how many objects have a name that the table lacks.
pub(super) fn classes_of_vertices(
    segments: &Path,
    aggregation: &Path,
    categories: &Categories,
) -> Result<(Vec<u16>, usize), DataError> {
    let Segments { of_vertex } = read_json(segments, "segments of the mesh")?;
    let Aggregation { objects } = read_json(aggregation, "list of objects")?;
    let mut class_of_segment: HashMap<u32, u16> = HashMap::new();
    let mut unknown = 0;
    for object in &objects {
        let class = categories.get(&object.label).copied().unwrap_or_else(|| {
            unknown += 1;
            0
        });
        class_of_segment.extend(object.segments.iter().map(|&segment| (segment, class)));
    }
    let classes = of_vertex.iter().map(|segment| class_of_segment.get(segment).copied().unwrap_or(0));
    Ok((classes.collect(), unknown))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, DataError> {
    let bytes = read_large(path, what)?;
    serde_json::from_slice(&bytes).map_err(|e| DataError::Text {
        what,
        problem: e.to_string(),
        path: path.to_owned(),
    })
}
