//! Datasets in folders: layouts of frames, which are photographs with depth; of scans, which are
//! labelled clouds; of sweeps, which are LiDAR points with photographs around them.

mod descriptor;
mod files;
mod folder;
mod frames;
mod frames_toml;
mod kitti;
mod listing;
mod nuscenes;
mod nyuv2;
mod rig;
mod s3dis;
mod scannet;
mod scans;
mod sevenscenes;
mod source;
mod sunrgbd;
mod sweeps;
mod text;
mod tum;
mod xyzrgb;

pub(crate) use files::read as read_bytes;
pub(crate) use folder::{FolderDataset, FrameFiles, Layout, PoseSource};
pub(crate) use scans::{ScanDataset, ScanFiles, ScanLayout};
pub(crate) use sweeps::{SweepDataset, SweepFiles, SweepLayout};

use crate::{DataError, DataUri, Scheme};

/// What a folder holds.
pub(crate) enum Found {
    /// Photographs with depth.
    Frames(Layout),
    /// Labelled clouds.
    Scans(ScanLayout),
    /// LiDAR points with photographs.
    Sweeps(SweepLayout),
}

/// Finds the frames or scans of a folder and reads its calibration; no image or cloud is opened.
pub(crate) fn scan(uri: &DataUri) -> Result<Found, DataError> {
    let folder = uri.folder();
    if !folder.is_dir() {
        return Err(DataError::NoFolder { path: folder });
    }
    match uri.scheme() {
        Scheme::Nyuv2 => nyuv2::scan(uri, folder).map(Found::Frames),
        Scheme::SevenScenes => sevenscenes::scan(uri, folder).map(Found::Frames),
        Scheme::Tum => tum::scan(uri, folder).map(Found::Frames),
        Scheme::SunRgbd => sunrgbd::scan(uri, folder).map(Found::Frames),
        Scheme::S3dis => s3dis::scan(uri, folder).map(Found::Scans),
        Scheme::Scannet => scannet::scan(uri, folder),
        Scheme::Kitti => kitti::scan(uri, folder).map(Found::Sweeps),
        Scheme::Nuscenes => nuscenes::scan(uri, folder).map(Found::Sweeps),
        Scheme::Frames => frames::scan(uri, folder).map(Found::Frames),
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
        Scheme::S3dis => descriptor::s3dis()?,
        Scheme::Scannet => descriptor::scannet()?,
        Scheme::Kitti => descriptor::kitti()?,
        Scheme::Nuscenes => descriptor::nuscenes()?,
        Scheme::Frames => return Ok(("your own RGB-D frames".into(), "yours to say".into())),
        Scheme::Synthetic => {
            return Ok(("rendered rooms".into(), "made by ppkt, free of rights of others".into()));
        }
    };
    Ok((known.title, known.licence))
}
