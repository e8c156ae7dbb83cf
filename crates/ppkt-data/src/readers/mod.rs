//! Datasets of frames in folders: five layouts, one dataset.

mod descriptor;
mod files;
mod folder;
mod frames;
mod frames_toml;
mod listing;
mod nyuv2;
mod rig;
mod sevenscenes;
mod sunrgbd;
mod text;
mod tum;

pub(crate) use folder::{FolderDataset, Layout};

use crate::{DataError, DataUri, Scheme};

/// Finds the frames of a folder and reads its calibration; no image is opened.
pub(crate) fn scan(uri: &DataUri) -> Result<Layout, DataError> {
    let folder = uri.folder();
    if !folder.is_dir() {
        return Err(DataError::NoFolder { path: folder });
    }
    match uri.scheme() {
        Scheme::Nyuv2 => nyuv2::scan(uri, folder),
        Scheme::SevenScenes => sevenscenes::scan(uri, folder),
        Scheme::Tum => tum::scan(uri, folder),
        Scheme::SunRgbd => sunrgbd::scan(uri, folder),
        Scheme::Frames => frames::scan(uri, folder),
        Scheme::Synthetic => Err(DataError::NoFolder { path: folder }),
    }
}
