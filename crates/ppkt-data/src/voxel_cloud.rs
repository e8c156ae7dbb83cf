//! A cloud in the voxels that a network was trained on, and the way back to its points.

use ppkt_geometry::{VoxelError, Voxels, voxelise, voxelise_cylindrical};
use serde::{Deserialize, Serialize};

use crate::batch::{Coordinates, PointFeature};
use crate::frame::features;
use crate::{Cloud, DataError, setting};

/// How a cloud becomes voxels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VoxelConfig {
    /// Side of a voxel, metres.
    pub voxel_size_m: f32,
    /// In which coordinates space is cut.
    pub coordinates: Coordinates,
    /// Azimuth that a cylindrical voxel covers, degrees.
    pub voxel_angle_deg: f32,
    /// What a voxel tells the network, in this order.
    pub features: Vec<PointFeature>,
}

impl VoxelConfig {
    /// Number of features of a voxel.
    pub fn channels(&self) -> usize {
        self.features.iter().map(|f| f.channels()).sum()
    }

    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// [`DataError::BadSetting`] with the first one.
    pub fn check(&self) -> Result<(), DataError> {
        let fine = self.voxel_size_m > 0.0 && self.voxel_size_m.is_finite();
        setting::require(fine, "voxel_size_m", &self.voxel_size_m, "above zero")?;
        let fine = self.voxel_angle_deg > 0.0 && self.voxel_angle_deg <= 180.0;
        setting::require(fine, "voxel_angle_deg", &self.voxel_angle_deg, "above 0 and up to 180")?;
        setting::require(!self.features.is_empty(), "features", &self.features, "at least one")
    }

    pub(crate) fn voxels(&self, points: &[[f32; 3]]) -> Result<Voxels, VoxelError> {
        let size_m = self.voxel_size_m;
        match self.coordinates {
            Coordinates::Cartesian => voxelise(points, size_m),
            Coordinates::Cylindrical => {
                voxelise_cylindrical(points, size_m, self.voxel_angle_deg.to_radians(), size_m)
            }
        }
    }
}

/// A whole cloud in voxels, as training makes them of a frame that is not augmented.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoxelCloud {
    /// The voxels, ascending by x, then y, then z; none twice.
    pub coords: Vec<[i32; 3]>,
    /// Features of the voxels, `[n_voxels, channels]`, row-major: the mean over the points of a voxel.
    pub features: Vec<f32>,
    /// Number of features of a voxel.
    pub channels: usize,
    /// Voxel of each point, in the order of the points.
    pub voxel_of_point: Vec<u32>,
}

impl VoxelCloud {
    /// Sorts the points of a cloud into voxels; `name` is the cloud's in errors.
    ///
    /// # Errors
    /// If the cloud is empty, its lists differ in length, it lacks a feature, or a point cannot be placed.
    pub fn new(cloud: &Cloud, name: &str, config: &VoxelConfig) -> Result<Self, DataError> {
        let bad = |problem: String| DataError::BadScene { frame: name.to_owned(), problem };
        let n = cloud.points.len();
        if n == 0 {
            return Err(bad("it has no points".into()));
        }
        let intensities = cloud.intensity.as_ref().map_or(n, Vec::len);
        if cloud.colours.len() != n || intensities != n {
            return Err(bad(format!("it has {n} points, but {} colours", cloud.colours.len())));
        }
        if config.features.contains(&PointFeature::Intensity) && cloud.intensity.is_none() {
            return Err(bad("the network takes intensity, which it was not measured with".into()));
        }
        let voxels = config.voxels(&cloud.points).map_err(|e| bad(format!("{e}; is it in metres?")))?;
        let features = features(cloud, &config.features, &voxels);
        let Voxels { coords, voxel_of_point, .. } = voxels;
        Ok(Self { coords, features, channels: config.channels(), voxel_of_point })
    }
}
