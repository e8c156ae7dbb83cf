//! Where the images of a frame are: in files of its own, or at a place in the recording of its scan.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use ppkt_geometry::DepthEncoding;

use super::folder::check_size;
use super::rig::Rig;
use super::scannet::Recorded;
use crate::{DataError, ImageMap};

/// Where a frame's images and cameras come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Files of its own, and the cameras of the whole folder.
    Files,
    /// Files of its own, and the cameras of its scan.
    Scan(Arc<Sensor>),
    /// A place in a recording, and the cameras of that.
    Recorded(Arc<Sensor>, Recorded),
    /// Nothing can be read of it, and why. It keeps its place, so that nothing is dropped in silence.
    Damaged(String),
}

/// The cameras of a scan, in folders whose scans come from several sensors.
#[derive(Debug)]
pub(crate) struct Sensor {
    /// The cameras; that of the photographs for the size that they are brought to.
    pub(crate) rig: Arc<Rig>,
    /// Width and height of the photographs as they are stored.
    pub(crate) stored: (u32, u32),
    /// How the numbers of depth images become metres.
    pub(crate) encoding: DepthEncoding,
}

impl Source {
    /// The cameras of the frame's scan, if it has its own.
    pub(crate) fn sensor(&self) -> Option<&Arc<Sensor>> {
        match self {
            Self::Scan(sensor) | Self::Recorded(sensor, _) => Some(sensor),
            Self::Files | Self::Damaged(_) => None,
        }
    }
}

impl Sensor {
    /// A photograph as stored, brought to the size of its camera.
    pub(crate) fn fit(&self, photo: RgbImage, path: &Path) -> Result<RgbImage, DataError> {
        check_size(
            "photo",
            photo.dimensions(),
            self.stored,
            "the size of the other photos of its scan",
            path,
        )?;
        let wanted = (self.rig.colour.width(), self.rig.colour.height());
        if photo.dimensions() == wanted {
            return Ok(photo);
        }
        Ok(ImageMap::whole(self.stored.into(), wanted.into()).image(&photo))
    }

    /// A label image, which may have the size of the photographs as stored or any of nearly the same aspect, brought to
    /// the size of the camera: each pixel has the number of the one nearest to its centre.
    pub(crate) fn fit_labels(
        &self,
        (width, height): (u32, u32),
        numbers: &[u16],
        path: &Path,
    ) -> Result<Vec<u16>, DataError> {
        /// ScanNet's 1296×968 beside 640×480 differ by 0.4 %.
        const NEARLY: f64 = 0.02;
        let wanted = (self.rig.colour.width(), self.rig.colour.height());
        let aspect = |(w, h): (u32, u32)| f64::from(w) / f64::from(h);
        if (aspect((width, height)) / aspect(self.stored) - 1.0).abs() > NEARLY {
            check_size("label image", (width, height), self.stored, "the size of the photo", path)?;
        }
        let nearest = |i: u32, n: u32, of: u32| {
            ((f64::from(i) + 0.5) * f64::from(of) / f64::from(n)).min(f64::from(of - 1)) as usize
        };
        let columns: Vec<usize> = (0..wanted.0).map(|x| nearest(x, wanted.0, width)).collect();
        let rows = (0..wanted.1).map(|y| nearest(y, wanted.1, height) * width as usize);
        Ok(rows.flat_map(|start| columns.iter().map(move |x| numbers[start + x])).collect())
    }
}
