//! What a training step is given, and the settings that decide it.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::augment::{Augment2d, Augment3d};
use crate::link::LinkConfig;
use crate::{DataError, VoxelConfig, setting};

/// A pixel and the voxel that holds the point it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Which of the batch's images.
    pub view: u32,
    /// To the right, pixels of that image as it is in the batch; the centre of the first pixel is at 0.5.
    pub u: f32,
    /// Down, pixels of that image as it is in the batch; the centre of the first pixel is at 0.5.
    pub v: f32,
    /// Which of the batch's voxels.
    pub voxel: u32,
}

/// Photographs, voxels and the pairs between them, of one or more frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The step of the run this batch is for.
    pub step: u64,
    /// The photographs, all of one size; a frame with several views has several.
    pub images: Vec<RgbImage>,
    /// The frame that each image belongs to, as an index into `frames`.
    pub frame_of_image: Vec<u32>,
    /// The voxels, each as frame, x, y, z: the frame as an index into `frames`, the rest in voxels. Sorted by frame;
    /// no voxel occurs twice.
    pub coords: Vec<[i32; 4]>,
    /// Features of the voxels, `[n_voxels, channels]`, row-major: the mean over the points of a voxel.
    pub features: Vec<f32>,
    /// Number of features of a voxel.
    pub channels: usize,
    /// The pairs, by frame, then by view. The same voxel may have several pixels, and a pixel several voxels.
    pub pairs: Vec<Pair>,
    /// Names of the frames.
    pub frames: Vec<String>,
    /// Number of points that were voxelised.
    pub n_points: usize,
    /// Names of damaged frames in whose place others were taken ([`OnDamaged::Skip`]).
    pub skipped: Vec<String>,
}

/// One group of features of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PointFeature {
    /// Red, green and blue, each 0 to 1 less 0.5.
    Rgb,
    /// The number one: occupancy.
    Ones,
    /// Place relative to the middle of the cloud's bounding box, metres, after augmentation.
    Xyz,
    /// Height above the lowest point of the cloud, metres, after augmentation.
    Height,
    /// How strongly the point sent the pulse of a LiDAR back, 0 to 1.
    Intensity,
}

impl PointFeature {
    /// Number of channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb | Self::Xyz => 3,
            Self::Ones | Self::Height | Self::Intensity => 1,
        }
    }
}

/// In which coordinates space is cut into voxels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Coordinates {
    /// Cubes: x, y, z.
    #[default]
    Cartesian,
    /// Rings around the vertical axis through the scene's origin, where a LiDAR stands: distance, azimuth, height. The
    /// seam at ±180° is not joined.
    Cylindrical,
}

/// What happens when a frame cannot be read, or has no pair of pixel and point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDamaged {
    /// The batch fails; the error names the frame.
    #[default]
    Fail,
    /// The next frame in the order takes its place; [`Batch::skipped`] names it.
    Skip,
}

/// How frames become batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Frames (scenes) in a batch.
    pub frames_per_batch: usize,
    /// Width and height of the photographs as the teacher sees them, pixels.
    pub image_size: [u32; 2],
    /// Whether the photographs stay as they are, resized alone: [`Self::augment2d`] then only chooses which pairs are
    /// kept, those in the part that it draws. A teacher so sees the same images in every epoch, which its features can
    /// be cached for.
    pub plain_images: bool,
    /// Side of a voxel, metres.
    pub voxel_size_m: f32,
    /// In which coordinates space is cut into voxels.
    pub coordinates: Coordinates,
    /// Azimuth that a cylindrical voxel covers, degrees.
    pub voxel_angle_deg: f32,
    /// What a voxel tells the network, in this order.
    pub features: Vec<PointFeature>,
    /// Points farther than this from every camera of the scene are left out, metres.
    pub max_depth_m: f32,
    /// At most this many points of a frame are used, drawn anew each time; 0 for all.
    pub max_points: usize,
    /// At most this many pairs of a frame are kept, drawn anew each time; 0 for all.
    pub max_pairs: usize,
    /// When a pixel counts as seeing a point.
    pub link: LinkConfig,
    /// What is done to the photographs.
    pub augment2d: Augment2d,
    /// What is done to the clouds.
    pub augment3d: Augment3d,
    /// What happens to a frame that cannot be used.
    pub on_damaged: OnDamaged,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            frames_per_batch: 4,
            image_size: [320, 240],
            plain_images: false,
            voxel_size_m: 0.025,
            coordinates: Coordinates::default(),
            voxel_angle_deg: 1.0,
            features: vec![PointFeature::Rgb],
            max_depth_m: 10.0,
            max_points: 0,
            max_pairs: 0,
            link: LinkConfig::default(),
            augment2d: Augment2d::default(),
            augment3d: Augment3d::default(),
            on_damaged: OnDamaged::default(),
        }
    }
}

impl BatchConfig {
    /// How the cloud of a frame becomes voxels.
    pub fn voxels(&self) -> VoxelConfig {
        VoxelConfig {
            voxel_size_m: self.voxel_size_m,
            coordinates: self.coordinates,
            voxel_angle_deg: self.voxel_angle_deg,
            features: self.features.clone(),
        }
    }

    /// The same sizes and features, with nothing left to chance but the thinning of points and pairs.
    #[must_use]
    pub fn without_augmentation(self) -> Self {
        Self { augment2d: Augment2d::none(), augment3d: Augment3d::none(), ..self }
    }

    /// Number of features of a voxel.
    pub fn channels(&self) -> usize {
        self.features.iter().map(|f| f.channels()).sum()
    }

    /// Looks for values that cannot be meant.
    ///
    /// # Errors
    /// [`DataError::BadSetting`] with the first one.
    pub fn check(&self) -> Result<(), DataError> {
        use setting::require;
        require(self.frames_per_batch > 0, "frames_per_batch", &self.frames_per_batch, "at least 1")?;
        let sides = 1..=16_384;
        let fine = self.image_size.iter().all(|side| sides.contains(side));
        require(fine, "image_size", &self.image_size, "width and height, each from 1 to 16384")?;
        let fine = self.voxel_size_m > 0.0 && self.voxel_size_m.is_finite();
        require(fine, "voxel_size_m", &self.voxel_size_m, "above zero")?;
        require(
            !self.features.is_empty(),
            "features",
            &self.features,
            "at least one of rgb, ones, xyz, height, intensity",
        )?;
        let fine = self.voxel_angle_deg > 0.0 && self.voxel_angle_deg <= 360.0;
        require(fine, "voxel_angle_deg", &self.voxel_angle_deg, "above 0 and at most 360")?;
        let fine = !(self.plain_images && self.augment2d.colour.changes_any());
        require(
            fine,
            "augment2d.colour",
            &self.augment2d.colour,
            "off where plain_images is set (or a cache)",
        )?;
        require(self.max_depth_m > 0.0, "max_depth_m", &self.max_depth_m, "above zero")?;
        self.link.check()?;
        self.augment2d.check()?;
        self.augment3d.check()
    }
}

impl Batch {
    /// Puts frames together, in order: images and voxels are numbered on, pairs follow.
    pub(crate) fn join(step: u64, channels: usize, parts: Vec<Batch>) -> Self {
        let mut whole = Self { step, channels, ..Self::default() };
        for part in parts {
            let [images, voxels, frames] = [whole.images.len(), whole.coords.len(), whole.frames.len()];
            let renumber =
                |p: &Pair| Pair { view: p.view + images as u32, voxel: p.voxel + voxels as u32, ..*p };
            whole.pairs.extend(part.pairs.iter().map(renumber));
            whole.coords.extend(part.coords.iter().map(|&[f, x, y, z]| [f + frames as i32, x, y, z]));
            whole.frame_of_image.extend(part.frame_of_image.iter().map(|f| f + frames as u32));
            whole.images.extend(part.images);
            whole.features.extend(part.features);
            whole.frames.extend(part.frames);
            whole.skipped.extend(part.skipped);
            whole.n_points += part.n_points;
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_round_trip_through_toml() {
        let config =
            BatchConfig { features: vec![PointFeature::Rgb, PointFeature::Xyz], ..Default::default() };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<BatchConfig>(&text).unwrap(), config);
        let part: BatchConfig = toml::from_str("voxel_size_m = 0.05\n[augment2d]\nflip = 0.0").unwrap();
        assert_eq!(part.voxel_size_m, 0.05);
        assert_eq!(part.augment2d, Augment2d { flip: 0.0, ..Augment2d::default() });
        assert!(
            toml::from_str::<BatchConfig>("voxelsize = 1").unwrap_err().to_string().contains("voxelsize")
        );
    }

    #[test]
    fn impossible_settings_are_named() {
        let fault = |config: BatchConfig| config.check().unwrap_err().to_string();
        let fine = BatchConfig::default;
        fine().check().unwrap();
        fine().without_augmentation().check().unwrap();
        assert!(fault(BatchConfig { voxel_size_m: f32::NAN, ..fine() }).contains("voxel_size_m"));
        assert!(fault(BatchConfig { image_size: [0, 5], ..fine() }).contains("image_size"));
        assert!(fault(BatchConfig { features: vec![], ..fine() }).contains("features"));
        assert!(fault(BatchConfig { frames_per_batch: 0, ..fine() }).contains("frames_per_batch"));
        assert!(fault(BatchConfig { voxel_angle_deg: 0.0, ..fine() }).contains("voxel_angle_deg"));
        let colour = crate::ColourJitter { hue: 0.1, ..Default::default() };
        let augment2d = Augment2d { colour, ..Augment2d::none() };
        BatchConfig { augment2d: augment2d.clone(), ..fine() }.check().unwrap();
        let plain = BatchConfig { augment2d, plain_images: true, ..fine() };
        assert!(fault(plain.clone()).contains("augment2d.colour"));
        plain.without_augmentation().check().unwrap();
        let augment3d = Augment3d { scale: [0.0, 1.0], ..Augment3d::none() };
        assert!(fault(BatchConfig { augment3d, ..fine() }).contains("augment3d.scale"));
    }
}
