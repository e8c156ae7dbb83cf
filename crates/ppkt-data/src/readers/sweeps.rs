//! What all folders of LiDAR sweeps have in common: a list of points, cameras around it; and the dataset made of them.
//!
//! The world of a sweep is the frame of its LiDAR: the sensor stands at the origin, z is up as far as the car is level.

use std::path::{Path, PathBuf};

use ppkt_geometry::{CameraModel, Lens, Rigid3, frame};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::files;
use super::kitti;
use crate::fingerprint::Fingerprint;
use crate::uri::Options;
use crate::{Cloud, DataError, DataUri, Dataset, LinkConfig, Scene, Split, View, link};

/// Colour of a point that no photograph shows.
const GREY: [f32; 3] = [0.5; 3];

/// Which photograph sees a point, for its colour. Points are several pixels apart, so each has to cover its
/// surroundings; a sloping road may rise by this much between two of them.
const SEEN: LinkConfig = LinkConfig { tolerance_m: 0.3, tolerance_share: 0.05, splat_px: 3 };

/// One sweep on disk. Files that should be there and are not keep their place: reading the sweep says what is missing.
#[derive(Clone, Debug)]
pub(crate) struct SweepFiles {
    pub(crate) name: String,
    /// The drive that it was taken in.
    pub(crate) scene: String,
    pub(crate) points: PathBuf,
    pub(crate) cameras: SweepCameras,
    /// Whether it belongs to the validation part.
    pub(crate) held_out: bool,
}

/// The cameras of a sweep.
#[derive(Clone, Debug)]
pub(crate) enum SweepCameras {
    /// KITTI: one photograph, and a file with its calibration.
    Kitti { photo: PathBuf, calibration: PathBuf },
    /// Tables of the dataset have them.
    Known(Vec<SweepCamera>),
}

/// One photograph, the pinhole that took it, and its pose.
#[derive(Clone, Debug)]
pub(crate) struct SweepCamera {
    pub(crate) photo: PathBuf,
    /// fx, fy, cx, cy as in OpenCV.
    pub(crate) intrinsics: [f64; 4],
    pub(crate) world_from_camera: Rigid3<frame::World, frame::Camera>,
}

/// How points are stored: little-endian f32, x, y, z and intensity first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PointFormat {
    /// Numbers of a point.
    pub(crate) columns: usize,
    /// The largest intensity that the sensor gives.
    pub(crate) full_intensity: f32,
}

/// A folder as found: everything but points and pixels.
#[derive(Clone, Debug)]
pub(crate) struct SweepLayout {
    pub(crate) uri: DataUri,
    pub(crate) folder: PathBuf,
    pub(crate) sweeps: Vec<SweepFiles>,
    pub(crate) format: PointFormat,
    /// Points nearer to the sensor are left out, metres.
    pub(crate) min_range_m: f32,
    /// What a user should know: assumptions, sweeps left out.
    pub(crate) notes: Vec<String>,
    /// Short texts that were read to understand the folder: part of the fingerprint.
    pub(crate) read: Vec<PathBuf>,
    /// How to get sweeps into an empty part.
    pub(crate) split_remedy: &'static str,
}

impl SweepLayout {
    /// Reads one sweep.
    pub(crate) fn sample(&self, files: &SweepFiles) -> Result<Scene, DataError> {
        let name = files.name.clone();
        let cameras = match &files.cameras {
            SweepCameras::Known(cameras) => cameras.clone(),
            SweepCameras::Kitti { photo, calibration } => {
                there("calibration", calibration, &name)?;
                vec![kitti::camera(photo, calibration)?]
            }
        };
        there("points", &files.points, &name)?;
        let mut cloud = read_points(&files.points, self.format)?;
        if self.min_range_m > 0.0 {
            let far =
                |p: &[f32; 3]| p.iter().map(|c| c * c).sum::<f32>() >= self.min_range_m * self.min_range_m;
            let kept: Vec<u32> =
                (0..cloud.points.len() as u32).filter(|i| far(&cloud.points[*i as usize])).collect();
            cloud.keep(&kept);
        }
        if cloud.points.is_empty() {
            let problem = format!("its file holds none beyond {} m", self.min_range_m);
            return Err(DataError::NoPoints { frame: name, problem });
        }
        let views = cameras.par_iter().map(|camera| view(camera, &name)).collect::<Result<_, _>>()?;
        let mut scene = Scene { name, cloud, views };
        colour(&mut scene);
        Ok(scene)
    }
}

fn there(what: &'static str, path: &Path, frame: &str) -> Result<(), DataError> {
    match path.exists() {
        true => Ok(()),
        false => Err(DataError::Missing { what, frame: frame.to_owned(), path: path.to_owned() }),
    }
}

fn view(camera: &SweepCamera, frame: &str) -> Result<View, DataError> {
    there("photo", &camera.photo, frame)?;
    let image = files::read_photo(&camera.photo)?;
    let model =
        CameraModel::new_opencv(image.width(), image.height(), camera.intrinsics, Lens::Pinhole).map_err(
            |e| DataError::Camera { what: "colour", problem: e.to_string(), path: camera.photo.clone() },
        )?;
    Ok(View { image, camera: model, world_from_camera: camera.world_from_camera, depth: None, classes: None })
}

/// Points and intensities; grey for now.
pub(crate) fn read_points(path: &Path, format: PointFormat) -> Result<Cloud, DataError> {
    let wrong = |problem: String| DataError::Text { what: "list of points", problem, path: path.to_owned() };
    let bytes = files::read(path, "points", files::MAX_FILE_BYTES)?;
    let size = 4 * format.columns;
    if !bytes.len().is_multiple_of(size) {
        return Err(wrong(format!(
            "it has {} bytes, no multiple of the {size} of a point; it is cut off or of another format",
            bytes.len()
        )));
    }
    let mut cloud = Cloud::default();
    let mut intensities = Vec::with_capacity(bytes.len() / size);
    for (i, point) in bytes.chunks_exact(size).enumerate() {
        let mut numbers = point.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        let [x, y, z, intensity] = std::array::from_fn(|_| numbers.next().unwrap_or(f32::NAN));
        // A kilometre is beyond every sensor's range: other numbers, or other bytes.
        if ![x, y, z].iter().all(|c| c.abs() <= 1e3) {
            return Err(wrong(format!(
                "point {i} is at {:?}, which no sensor sees; is it damaged?",
                [x, y, z]
            )));
        }
        if !(0.0..=format.full_intensity).contains(&intensity) {
            let most = format.full_intensity;
            return Err(wrong(format!(
                "point {i} has the intensity {intensity}, but they go from 0 to {most}"
            )));
        }
        cloud.points.push([x, y, z]);
        intensities.push(intensity / format.full_intensity);
    }
    cloud.colours = vec![GREY; cloud.points.len()];
    cloud.intensity = Some(intensities);
    Ok(cloud)
}

/// Gives each point the colour of the first photograph that shows it.
fn colour(scene: &mut Scene) {
    let links = link(scene, &SEEN);
    // Backwards, so that of several photographs the first has the last word.
    for l in links.iter().rev() {
        let image = &scene.views[l.view as usize].image;
        let (col, row) = ((l.u as u32).min(image.width() - 1), (l.v as u32).min(image.height() - 1));
        scene.cloud.colours[l.point as usize] = image.get_pixel(col, row).0.map(|c| f32::from(c) / 255.0);
    }
}

/// The options that all sweeps share: each N-th, and the nearest range.
pub(crate) fn thin_out(sweeps: &mut Vec<SweepFiles>, options: &Options) -> Result<(), DataError> {
    let every = options.get_if("every", 1usize, "a whole number from 1", |n| *n >= 1)?;
    if every > 1 {
        *sweeps = std::mem::take(sweeps).into_iter().step_by(every).collect();
    }
    Ok(())
}

/// Points nearer than this are left out, metres.
pub(crate) fn min_range(options: &Options) -> Result<f32, DataError> {
    options.get_if("min_range", 0.0, "a number of metres from 0", |m| (0.0..=1e3).contains(m))
}

/// Whether a share of all names holds this one, decided by its digest alone.
pub(crate) fn in_share(name: &str, share: f64) -> bool {
    let digest = Sha256::digest(name.as_bytes());
    f64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) < share * 2f64.powi(32)
}

/// The sweeps of a folder that belong to a split.
pub(crate) struct SweepDataset {
    name: String,
    layout: SweepLayout,
    chosen: Vec<usize>,
}

impl SweepDataset {
    /// The part of a layout asked for.
    pub(crate) fn new(layout: SweepLayout, split: Split) -> Result<Self, DataError> {
        let held_out = layout.sweeps.iter().map(|s| s.held_out);
        let chosen = split.choose(held_out, layout.split_remedy, &layout.folder)?;
        Ok(Self { name: layout.uri.to_string(), layout, chosen })
    }

    fn files(&self, index: usize) -> Option<&SweepFiles> {
        self.chosen.get(index).map(|i| &self.layout.sweeps[*i])
    }
}

impl Dataset for SweepDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn frame_name(&self, index: usize) -> String {
        self.files(index).map(|s| s.name.clone()).unwrap_or_default()
    }

    fn scene_name(&self, index: usize) -> String {
        self.files(index).map(|s| s.scene.clone()).unwrap_or_default()
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        let out = || DataError::OutOfRange { index, len: self.len(), dataset: self.name.clone() };
        self.layout.sample(self.files(index).ok_or_else(out)?)
    }

    /// Digest of options, lists, calibrations, names and file sizes.
    fn fingerprint(&self) -> Result<String, DataError> {
        let read = self.layout.read.iter().map(|path| files::read_description(path));
        let mut all = Fingerprint::of_folder(&self.layout.uri, read)?;
        for sweep in self.chosen.iter().map(|i| &self.layout.sweeps[*i]) {
            all.add(sweep.name.as_bytes());
            all.add_size(&sweep.points);
            match &sweep.cameras {
                SweepCameras::Kitti { photo, calibration } => {
                    all.add_size(photo);
                    all.add(&std::fs::read(calibration).unwrap_or_default());
                }
                SweepCameras::Known(cameras) => {
                    for camera in cameras {
                        all.add_size(&camera.photo);
                        all.add(camera.intrinsics.map(f64::to_le_bytes).as_flattened());
                        all.add(camera.world_from_camera.to_tum().map(f64::to_le_bytes).as_flattened());
                    }
                }
            }
        }
        Ok(all.finish())
    }

    fn notes(&self) -> &[String] {
        &self.layout.notes
    }
}
