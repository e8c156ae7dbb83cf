//! Weights of a network: tensors by torchvision's or timm's names, whatever the file calls them.

mod checkpoint;
mod config;
mod entry;
mod header;
mod names;
mod pickle;
mod shards;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub(crate) use config::Config;
use entry::{Entry, Unreadable};

use crate::error::TeacherError;
use crate::spec::Family;

/// A tensor widened to f32.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// One file, whole.
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Opened weights: one file, or the shards of one network.
pub(crate) struct Weights {
    files: Vec<File>,
    entries: BTreeMap<String, Entry>,
    used: BTreeSet<String>,
    pub(crate) family: Family,
    pub(crate) naming: &'static str,
    /// Where the network's tensors are in the file, and other copies of it.
    wrapper: (String, Vec<String>),
    pub(crate) fingerprint: String,
    pub(crate) config: Config,
}

impl Weights {
    /// Reads a file, or `model.safetensors` or the shards of a folder, and `config.json` and `preprocessor_config.json`
    /// beside it where they are.
    pub(crate) fn read(path: &Path) -> Result<Self, TeacherError> {
        let paths = shards::files_of(path)?;
        let folder = paths.first().and_then(|p| p.parent()).unwrap_or(Path::new("")).to_owned();
        let preprocessor = folder.join("preprocessor_config.json");
        Self::read_files(&paths, Some(&preprocessor), Some(&folder.join("config.json")))
    }

    /// Reads the files of one network; configurations that are absent are no error.
    pub(crate) fn read_files(
        paths: &[PathBuf],
        preprocessor: Option<&Path>,
        config: Option<&Path>,
    ) -> Result<Self, TeacherError> {
        let read = |path: &PathBuf| match std::fs::read(path) {
            Ok(bytes) => Ok(File { path: path.clone(), bytes }),
            Err(source) => Err(TeacherError::Read { source, path: path.clone() }),
        };
        let files: Result<Vec<File>, TeacherError> = paths.iter().map(read).collect();
        let mut weights = Self::from_files(files?)?;
        weights.config.add(preprocessor, config)?;
        Ok(weights)
    }

    /// Reads a file that is in memory; `path` names it in messages.
    pub(crate) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, TeacherError> {
        Self::from_files(vec![File { path: path.to_owned(), bytes }])
    }

    fn from_files(files: Vec<File>) -> Result<Self, TeacherError> {
        let (mut tensors, mut text, mut hash) = (BTreeMap::new(), Text::new(), Sha256::new());
        for (i, file) in files.iter().enumerate() {
            let found = if checkpoint::looks_like_one(&file.bytes) {
                checkpoint::entries(&file.bytes, &file.path, i)?
            } else {
                let (found, metadata) = header::entries(&file.bytes, &file.path, i)?;
                text.extend(metadata);
                found
            };
            tensors.extend(found.into_iter().map(|entry| (entry.name.clone(), entry)));
            hash.update(&file.bytes);
        }
        let path = files.first().map(|f| f.path.clone()).unwrap_or_default();
        let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        let Some(found) = names::recognise(&names) else {
            let first = names.iter().take(5).map(|n| (*n).to_owned()).collect();
            return Err(TeacherError::UnknownFamily { n_tensors: names.len(), first, path });
        };
        let config = Config::from_metadata(text, &path)?;
        let fingerprint = hash.finalize().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let entries = tensors.into_iter().map(|(name, entry)| (found.canonical(&name), entry)).collect();
        Ok(Self {
            files,
            entries,
            used: BTreeSet::new(),
            family: found.family,
            naming: found.naming,
            wrapper: (found.prefix, found.others),
            fingerprint,
            config,
        })
    }

    /// The (first) file, for messages.
    pub(crate) fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |f| &f.path)
    }

    /// The file that a tensor is in.
    fn path_of(&self, name: &str) -> PathBuf {
        self.entries.get(name).map_or(self.path(), |e| &self.files[e.file].path).to_owned()
    }

    /// Whether there is a tensor of this (canonical) name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Its shape, if there is such a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| &e.shape[..])
    }

    /// What a user calls it: its name in the file, or the canonical one where it is absent.
    fn name_in_file(&self, name: &str) -> String {
        self.entries.get(name).map_or_else(|| name.to_owned(), |e| e.name.clone())
    }

    /// The error for an absent tensor.
    pub(crate) fn missing(&self, name: &str, why: impl Into<String>) -> TeacherError {
        TeacherError::MissingTensor { tensor: name.to_owned(), why: why.into(), path: self.path().to_owned() }
    }

    /// The error for a tensor of a wrong shape.
    pub(crate) fn wrong_shape(&self, name: &str, expected: impl Into<String>) -> TeacherError {
        TeacherError::WrongShape {
            tensor: self.name_in_file(name),
            expected: expected.into(),
            got: self.shape(name).unwrap_or_default().to_vec(),
            path: self.path_of(name),
        }
    }

    /// Takes a tensor that must be there, in any shape.
    pub(crate) fn take(&mut self, name: &str, why: &str) -> Result<Values, TeacherError> {
        let Some(entry) = self.entries.get(name) else { return Err(self.missing(name, why)) };
        let file = &self.files[entry.file];
        let data = entry.read(&file.bytes).map_err(|why| match why {
            Unreadable::Type => TeacherError::WrongType {
                tensor: entry.name.clone(),
                dtype: format!("{:?}", entry.dtype),
                path: file.path.clone(),
            },
            Unreadable::Repeated => self.wrong_shape(name, "no more numbers than the file holds of it"),
        })?;
        if !data.iter().all(|v| v.is_finite()) {
            return Err(TeacherError::NotFinite { tensor: entry.name.clone(), path: file.path.clone() });
        }
        let values = Values { shape: entry.shape.clone(), data };
        self.used.insert(name.to_owned());
        Ok(values)
    }

    /// Takes a tensor that must be there, in this shape.
    pub(crate) fn take_shaped(
        &mut self,
        name: &str,
        shape: &[usize],
        why: &str,
    ) -> Result<Vec<f32>, TeacherError> {
        match self.shape(name) {
            None => Err(self.missing(name, why)),
            Some(found) if found == shape => Ok(self.take(name, why)?.data),
            Some(_) => Err(self.wrong_shape(name, format!("{shape:?}"))),
        }
    }

    /// Takes a tensor that must be there with so many numbers, in any shape that is no more than these and ones.
    pub(crate) fn take_sized(&mut self, name: &str, n: usize, why: &str) -> Result<Vec<f32>, TeacherError> {
        match self.shape(name) {
            None => Err(self.missing(name, why)),
            Some(shape) if shape.iter().product::<usize>() == n => Ok(self.take(name, why)?.data),
            Some(_) => Err(self.wrong_shape(name, format!("{n} numbers"))),
        }
    }

    /// Which of the file's dictionaries was taken, where there is a choice or a wrapper.
    pub(crate) fn wrapper_note(&self) -> Option<String> {
        let (prefix, others) = &self.wrapper;
        let quoted = |p: &String| format!("{:?}", p.trim_end_matches('.'));
        match others.len() {
            0 if prefix.is_empty() => None,
            0 => Some(format!("the network is below {}", quoted(prefix))),
            _ => {
                let others: Vec<String> = others.iter().map(quoted).collect();
                Some(format!(
                    "the network below {} was taken; others in the file: {}",
                    quoted(prefix),
                    others.join(", ")
                ))
            }
        }
    }

    /// Tensors that nothing was made of, by their names in the file, without the counters that batch norms keep in
    /// training.
    pub(crate) fn unmatched(&self) -> Vec<String> {
        let unused = self.entries.iter().filter(|(name, _)| !self.used.contains(*name));
        let mut names: Vec<String> = unused.map(|(_, e)| e.name.clone()).collect();
        names.retain(|n| !n.ends_with("num_batches_tracked"));
        names.sort();
        names
    }

    /// The error for a part of the network that nothing was made of, if there is a tensor below one of `prefixes` that
    /// was not taken: features without it would be wrong.
    pub(crate) fn refuse_unread(&self, prefixes: &[&str]) -> Result<(), TeacherError> {
        let unread = self.entries.iter().find(|(name, _)| {
            let counter = name.ends_with("num_batches_tracked");
            !counter && !self.used.contains(*name) && prefixes.iter().any(|p| name.starts_with(p))
        });
        match unread {
            None => Ok(()),
            Some((_, e)) => Err(TeacherError::UnknownPart {
                tensor: e.name.clone(),
                path: self.files[e.file].path.clone(),
            }),
        }
    }

    /// How many numbered modules `{prefix}{i}.` there are, from `first` on.
    ///
    /// # Errors
    /// [`TeacherError::MissingTensor`] if one before the last has no `leaf`: a gap is damage, not an early end.
    pub(crate) fn count(&self, prefix: &str, first: usize, leaf: &str) -> Result<usize, TeacherError> {
        let numbers =
            self.entries.keys().filter_map(|n| n.strip_prefix(prefix)?.split('.').next()?.parse().ok());
        let end = numbers.max().map_or(first, |last: usize| last.saturating_add(1));
        for i in first..end {
            let name = format!("{prefix}{i}.{leaf}");
            if !self.has(&name) {
                return Err(self.missing(
                    &name,
                    format!("other tensors of {prefix}{i} or of what follows it are there"),
                ));
            }
        }
        Ok(end - first)
    }

    /// Counts the tensors below `prefix` as understood, though nothing is made of them.
    pub(crate) fn leave_out(&mut self, prefix: &str) {
        let names = self.entries.keys().filter(|n| n.starts_with(prefix)).cloned();
        self.used.extend(names.collect::<Vec<_>>());
    }

    /// Tensors in the file, and numbers in them.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.values().map(|e| e.shape.iter().product::<usize>()).sum())
    }
}

/// Metadata as a map from name to text.
type Text = HashMap<String, String>;
