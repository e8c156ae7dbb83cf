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

pub(crate) use files::read as read_bytes;
pub(crate) use folder::{FolderDataset, FrameFiles, Layout, PoseSource};

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

/// Title and licence of a dataset.
pub(crate) fn about(scheme: Scheme) -> Result<(String, String), DataError> {
    let known = match scheme {
        Scheme::Nyuv2 => descriptor::nyuv2()?,
        Scheme::SevenScenes => descriptor::sevenscenes()?,
        Scheme::Tum => descriptor::tum()?,
        Scheme::SunRgbd => descriptor::sunrgbd()?,
        Scheme::Frames => return Ok(("your own RGB-D frames".into(), "yours to say".into())),
        Scheme::Synthetic => {
            return Ok(("rendered rooms".into(), "made by ppkt, free of rights of others".into()));
        }
    };
    Ok((known.title, known.licence))
}
