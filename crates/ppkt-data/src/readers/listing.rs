//! What is in a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::DataError;

/// Endings of photographs, in the order in which they are preferred.
pub(crate) const PHOTO_ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Names of all files (or folders) in a folder, sorted; hidden ones are left out.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, DataError> {
    let fail = |source| DataError::Read { what: "folder", path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// As [`names`], but a folder that does not exist is an empty one.
pub(crate) fn names_if_any(folder: &Path) -> Result<Vec<String>, DataError> {
    if folder.is_dir() { names(folder) } else { Ok(Vec::new()) }
}

/// The name of a folder, links and `..` followed.
pub(crate) fn folder_name(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
}

/// Files of a folder that begin and end so, by what is between.
pub(crate) fn between(
    names: &[String],
    folder: &Path,
    before: &str,
    after: &str,
) -> BTreeMap<String, PathBuf> {
    let stem = |name: &String| {
        let stem = name.strip_prefix(before)?.strip_suffix(after)?;
        (!stem.is_empty()).then(|| (stem.to_owned(), folder.join(name)))
    };
    names.iter().filter_map(stem).collect()
}

/// Photographs of a folder that begin so, by what is between that and `after` and the ending.
pub(crate) fn photos(
    names: &[String],
    folder: &Path,
    before: &str,
    after: &str,
) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for ending in PHOTO_ENDINGS {
        for ending in [ending.to_owned(), ending.to_uppercase()] {
            for (stem, path) in between(names, folder, before, &format!("{after}.{ending}")) {
                found.entry(stem).or_insert(path);
            }
        }
    }
    found
}

/// Lines of a list that are neither empty nor comments.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim()));
    numbered.filter(|(_, l)| !l.is_empty() && !l.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_stems() {
        let names = [
            "frame-1.color.jpg",
            "frame-1.color.png",
            "frame-2.color.PNG",
            "frame-3.depth.png",
            "frame-.color.jpg",
        ]
        .map(String::from);
        let found = photos(&names, Path::new("d"), "frame-", ".color");
        assert_eq!(found.len(), 2);
        assert_eq!(found["1"], Path::new("d/frame-1.color.jpg"));
        assert_eq!(found["2"], Path::new("d/frame-2.color.PNG"));
    }

    #[test]
    fn lists_may_have_comments() {
        let text = "# header\n\n a b \n#c\nd";
        assert_eq!(lines(text).collect::<Vec<_>>(), [(3, "a b"), (5, "d")]);
    }
}
