//! What all folders of scans have in common: labelled clouds without photographs; and the dataset made of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::files;
use super::s3dis::Room;
use super::scannet::Mesh;
use crate::fingerprint::Fingerprint;
use crate::{Classes, Cloud, DataError, DataUri, Dataset, Scene, Split};

/// One scan on disk. Files that should be there and are not keep their place: reading the scan says what is missing.
#[derive(Clone, Debug)]
pub(crate) struct ScanFiles {
    pub(crate) name: String,
    /// The room it was taken in.
    pub(crate) scene: String,
    pub(crate) source: ScanSource,
    /// Whether it belongs to the validation part.
    pub(crate) held_out: bool,
}

/// How a scan is stored.
#[derive(Clone, Debug)]
pub(crate) enum ScanSource {
    /// A room of S3DIS: texts, one an object.
    Room(Room),
    /// A mesh of ScanNet with its labels.
    Mesh(Mesh),
}

/// A cloud as read, and what a user should know of it, one sentence each.
#[derive(Debug)]
pub(crate) struct ReadScan {
    pub(crate) cloud: Cloud,
    pub(crate) remarks: Vec<String>,
}

/// A folder as found: everything but the points.
#[derive(Clone, Debug)]
pub(crate) struct ScanLayout {
    pub(crate) uri: DataUri,
    pub(crate) folder: PathBuf,
    pub(crate) scans: Vec<ScanFiles>,
    pub(crate) classes: Option<Classes>,
    /// What a user should know: assumptions, scans left out.
    pub(crate) notes: Vec<String>,
    /// Files that were read to understand the folder: part of the fingerprint.
    pub(crate) read: Vec<PathBuf>,
    /// How to get scans into an empty part.
    pub(crate) split_remedy: &'static str,
}

impl ScanFiles {
    /// Reads the scan.
    pub(crate) fn read(&self) -> Result<ReadScan, DataError> {
        let read = match &self.source {
            ScanSource::Room(room) => room.read(&self.name)?,
            ScanSource::Mesh(mesh) => mesh.read(&self.name)?,
        };
        if read.cloud.points.is_empty() {
            let problem = "its files hold none".into();
            return Err(DataError::NoPoints { frame: self.name.clone(), problem });
        }
        Ok(read)
    }

    fn files(&self) -> Vec<&PathBuf> {
        match &self.source {
            ScanSource::Room(room) => room.files(),
            ScanSource::Mesh(mesh) => mesh.files(),
        }
    }
}

/// The scans of a folder that belong to a split: scenes with a cloud and no view.
pub(crate) struct ScanDataset {
    name: String,
    layout: ScanLayout,
    chosen: Vec<usize>,
    /// Scans whose remarks were told: a scan is read in every epoch, and told of once.
    told: Vec<AtomicBool>,
}

impl ScanDataset {
    /// The part of a layout asked for.
    pub(crate) fn new(layout: ScanLayout, split: Split) -> Result<Self, DataError> {
        let held_out = layout.scans.iter().map(|s| s.held_out);
        let chosen = split.choose(held_out, layout.split_remedy, &layout.folder)?;
        let told = chosen.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { name: layout.uri.to_string(), layout, chosen, told })
    }
}

impl Dataset for ScanDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn frame_name(&self, index: usize) -> String {
        self.chosen.get(index).map(|i| self.layout.scans[*i].name.clone()).unwrap_or_default()
    }

    fn scene_name(&self, index: usize) -> String {
        self.chosen.get(index).map(|i| self.layout.scans[*i].scene.clone()).unwrap_or_default()
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        let chosen = self.chosen.get(index).ok_or_else(|| DataError::OutOfRange {
            index,
            len: self.len(),
            dataset: self.name.clone(),
        })?;
        let scan = &self.layout.scans[*chosen];
        let ReadScan { cloud, remarks } = scan.read()?;
        if !remarks.is_empty() && !self.told[index].swap(true, Ordering::Relaxed) {
            for remark in remarks {
                tracing::warn!("{}: {remark}", scan.name);
            }
        }
        Ok(Scene { name: scan.name.clone(), cloud, views: Vec::new() })
    }

    fn has_photographs(&self) -> bool {
        false
    }

    fn classes(&self) -> Option<&Classes> {
        self.layout.classes.as_ref()
    }

    /// Digest of options, lists, scan names and file sizes.
    fn fingerprint(&self) -> Result<String, DataError> {
        let read = self.layout.read.iter().map(|path| files::read_description(path));
        let mut all = Fingerprint::of_folder(&self.layout.uri, read)?;
        for scan in self.chosen.iter().map(|i| &self.layout.scans[*i]) {
            all.add(scan.name.as_bytes());
            for path in scan.files() {
                all.add(path.file_name().unwrap_or_default().as_encoded_bytes());
                all.add_size(path);
            }
        }
        Ok(all.finish())
    }

    fn notes(&self) -> &[String] {
        &self.layout.notes
    }
}
