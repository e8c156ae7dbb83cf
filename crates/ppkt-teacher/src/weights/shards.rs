//! Which files a network consists of.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::TeacherError;

/// What a folder is looked through for, the first first.
const NAMES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The weights that a path names: the file itself; of a folder its `model.safetensors`, or what PyTorch has written in its
/// place; of a folder or a file `….index.json` the shards that the index lists.
pub(super) fn files_of(path: &Path) -> Result<Vec<PathBuf>, TeacherError> {
    let mut path = path.to_owned();
    if path.is_dir() {
        let found = NAMES.iter().find(|name| path.join(name).exists());
        path = path.join(found.unwrap_or(&NAMES[0]));
    }
    if path.to_string_lossy().ends_with(".index.json") { shards(&path) } else { Ok(vec![path]) }
}

fn shards(index: &Path) -> Result<Vec<PathBuf>, TeacherError> {
    let wrong = |what: String| TeacherError::Config { what, path: index.to_owned() };
    let bytes =
        std::fs::read(index).map_err(|source| TeacherError::Read { source, path: index.to_owned() })?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| wrong(format!("it is no JSON ({e})")))?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let names = map.into_iter().flatten().filter_map(|(_, file)| file.as_str());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    // A shard lies beside its index; a name that leads elsewhere is no name of a shard.
    if let Some(name) = names.iter().find(|n| n.contains(['/', '\\']) || n.starts_with('.')) {
        return Err(wrong(format!("shard {name:?} is not beside the index")));
    }
    if names.is_empty() {
        return Err(wrong("it lists no shard in \"weight_map\"".to_owned()));
    }
    Ok(names.into_iter().map(|n| index.with_file_name(n)).collect())
}
