//! Which scans are trained on and which are held out: the official lists, or others such as those of fewer scans.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::files::read_text;
use super::super::folder::holdout;
use super::super::listing::lines;
use super::super::sweeps::in_share;
use super::room;
use crate::{DataError, DataUri};

/// The lists of a folder.
#[derive(Debug)]
pub(super) struct Parts {
    train: Option<List>,
    held_out: Option<List>,
    /// Share of the rooms that is held out without lists.
    share: f64,
}

#[derive(Debug)]
struct List {
    names: BTreeSet<String>,
    path: PathBuf,
}

impl Parts {
    /// Reads the lists that the options name, or that lie in the folder or the one above.
    pub(super) fn read(uri: &DataUri, folder: &Path) -> Result<Self, DataError> {
        let list = |key: &str, official: &str| -> Result<Option<List>, DataError> {
            let given = uri.options().text(key).map(PathBuf::from);
            let usual = || {
                let above = folder.parent().filter(|_| folder.ends_with("scans"));
                let places = [Some(folder), above].into_iter().flatten();
                places.map(|p| p.join(official)).find(|p| p.is_file())
            };
            given.or_else(usual).map(List::read).transpose()
        };
        let (train, held_out) =
            (list("train", "scannetv2_train.txt")?, list("held_out", "scannetv2_val.txt")?);
        if let (Some(train), Some(held_out)) = (&train, &held_out)
            && let Some(name) = train.names.intersection(&held_out.names).next()
        {
            let problem = format!("the scan {name} is in the list of training scans too; remove it from one");
            return Err(DataError::Descriptor { problem, path: held_out.path.clone() });
        }
        Ok(Self { train, held_out, share: holdout(uri.options())? })
    }

    /// Whether a scan is held out; `None` if it belongs to neither part.
    pub(super) fn held_out(&self, scan: &str) -> Option<bool> {
        match (&self.train, &self.held_out) {
            (None, None) => Some(in_share(room(scan), self.share)),
            (_, Some(held_out)) if held_out.names.contains(scan) => Some(true),
            (Some(train), _) => train.names.contains(scan).then_some(false),
            // With only the scans that are held out listed, all others are trained on.
            (None, Some(_)) => Some(false),
        }
    }

    /// What a user should know, with the scans that are there; and the lists' files.
    pub(super) fn notes(&self, there: &[String]) -> Result<Vec<String>, DataError> {
        let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
        let mut notes = Vec::new();
        for (list, what) in [(&self.train, "to train on"), (&self.held_out, "held out")] {
            let Some(list) = list else { continue };
            let n = list.names.iter().filter(|name| there.contains(name.as_str())).count();
            if n == 0 {
                let problem =
                    "none of the scans listed is in the folder; write names such as scene0000_00, one a line";
                return Err(DataError::Descriptor { problem: problem.into(), path: list.path.clone() });
            }
            let file = list.path.file_name().unwrap_or_default().to_string_lossy();
            notes.push(format!("{n} of the {} scans in {file} are here, {what}", list.names.len()));
        }
        let left_out = there.iter().filter(|scan| self.held_out(scan).is_none()).count();
        if left_out > 0 {
            notes.push(format!("{left_out} scans are in no list and left out"));
        }
        if notes.is_empty() {
            notes.push(
                "no scannetv2_train.txt and scannetv2_val.txt: rooms are held out by a digest of their names"
                    .into(),
            );
        }
        Ok(notes)
    }

    /// The files of the lists.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [&self.train, &self.held_out].into_iter().flatten().map(|list| list.path.clone()).collect()
    }
}

impl List {
    fn read(path: PathBuf) -> Result<Self, DataError> {
        let text = read_text(&path, "list of scans")?;
        // Lists of some tools name the files and not the scans.
        let name = |(_, line): (usize, &str)| line.split(['/', '.']).next().unwrap_or(line).to_owned();
        let names: BTreeSet<String> = lines(&text).map(name).collect();
        Ok(Self { names, path })
    }
}
