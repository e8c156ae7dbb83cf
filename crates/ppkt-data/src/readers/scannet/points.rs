//! Lists of the few points of each scan whose labels are used ("limited annotations" of the data-efficient benchmark).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::super::files::read_large;
use super::super::listing::lines;
use crate::DataError;

const WHAT: &str = "list of points";

/// Vertices of each scan whose labels are used.
pub(super) type PointLists = HashMap<String, Arc<[u32]>>;

/// Reads a list: JSON (`{"scene0000_00": [12, 7, …], …}`), or text with a scan and its vertices a line.
pub(super) fn read(path: &Path) -> Result<PointLists, DataError> {
    let wrong = |problem: String| DataError::Text { what: WHAT, problem, path: path.to_owned() };
    let bytes = read_large(path, WHAT)?;
    let lists = match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
        None => return Err(wrong("it is empty".into())),
        Some(b'{') => of_json(&bytes).map_err(wrong)?,
        Some(_) => of_text(&bytes).map_err(wrong)?,
    };
    match lists.is_empty() {
        true => Err(wrong("it names no scan".into())),
        false => Ok(lists),
    }
}

fn of_json(bytes: &[u8]) -> Result<PointLists, String> {
    let lists: HashMap<String, Vec<u32>> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    Ok(lists.into_iter().map(|(scan, points)| (scan, points.into())).collect())
}

fn of_text(bytes: &[u8]) -> Result<PointLists, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        "it is neither JSON nor text; the README of the dataset has a line that converts published lists"
            .to_owned()
    })?;
    let mut lists = PointLists::new();
    for (line, row) in lines(text) {
        let mut cells = row.split([' ', '\t', ',', ':']).filter(|c| !c.is_empty());
        let scan = cells.next().unwrap_or_default().to_owned();
        let points = cells
            .map(|cell| cell.parse().map_err(|_| format!("line {line}: {cell:?} is no number of a vertex")))
            .collect::<Result<Vec<u32>, _>>()?;
        if lists.insert(scan.clone(), points.into()).is_some() {
            return Err(format!("line {line} names {scan} again"));
        }
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8]) -> Result<PointLists, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points20");
        std::fs::write(&path, bytes).unwrap();
        read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn both_forms_say_the_same() {
        let json = read_bytes(br#"{"scene0000_00": [3, 1], "scene0001_00": []}"#).unwrap();
        let text = read_bytes(b"# scan and vertices\nscene0000_00 3 1\nscene0001_00\n").unwrap();
        assert_eq!(json, text);
        assert_eq!(&*json["scene0000_00"], [3, 1]);
    }

    #[test]
    fn nonsense_is_named() {
        for (bytes, words) in [
            (&b""[..], "empty"),
            (b"\n# nothing\n", "no scan"),
            (b"{}", "no scan"),
            (b"{\"scene0000_00\": [1, -2]}", "-2"),
            (b"{\"scene0000_00\": [1", "EOF"),
            (b"scene0000_00 1 x", "line 1"),
            (b"scene0000_00 99999999999", "line 1"),
            (b"a 1\na 2", "again"),
            (b"\xff\xfe\x00", "README"),
        ] {
            let fault = read_bytes(bytes).unwrap_err();
            assert!(fault.contains(words), "{fault}");
        }
    }
}
