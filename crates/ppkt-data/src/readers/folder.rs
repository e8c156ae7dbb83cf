//! What all folders of frames have in common: a list of frames, cameras, an encoding; and the dataset made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use ppkt_geometry::{CameraModel, DepthEncoding, DepthMap, Rigid3, frame};
use sha2::{Digest, Sha256};

use super::files;
use super::rig::{Decoded, FramePose, Rig, Window, assemble};
use super::source::Source;
use super::text::{read_intrinsics, read_pose};
use crate::fingerprint::Fingerprint;
use crate::uri::Options;
use crate::{Classes, DataError, DataUri, Dataset, Scene, Split};

/// One frame on disk. Files that should be there and are not keep their place in the list: reading the frame says
/// what is missing.
#[derive(Clone, Debug)]
pub(crate) struct FrameFiles {
    pub(crate) name: String,
    /// The room or sequence that it was taken in; `None` where the dataset does not tell, and the frame counts alone.
    pub(crate) scene: Option<String>,
    pub(crate) colour: PathBuf,
    pub(crate) depth: PathBuf,
    pub(crate) labels: Option<PathBuf>,
    pub(crate) pose: PoseSource,
    /// Whose images and cameras these are.
    pub(crate) source: Source,
    /// A file with the intrinsics of this frame alone, where the frames come from different cameras.
    pub(crate) intrinsics: Option<PathBuf>,
    /// Whether it belongs to the validation part.
    pub(crate) held_out: bool,
}

/// Where the pose of a frame comes from, in the dataset's own world.
#[derive(Clone, Debug)]
pub(crate) enum PoseSource {
    /// There is none: the camera counts as level, at the origin.
    Level,
    /// A file with a matrix.
    File(PathBuf),
    /// A list of all poses has it.
    Known(Rigid3<FileWorld, FileCamera>),
    /// A list of all poses should have it, but does not, or what it has is no pose.
    Broken {
        /// Why.
        problem: String,
        /// The list.
        path: PathBuf,
    },
}

/// The world frame of a dataset's files, before it is turned so that z is up.
#[derive(Debug)]
pub(crate) enum FileWorld {}

/// Whichever camera the poses of a dataset belong to.
#[derive(Debug)]
pub(crate) enum FileCamera {}

/// Which camera the poses belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoseOf {
    Colour,
    Depth,
}

/// The cameras of the frames.
#[derive(Clone, Debug)]
pub(crate) enum Cameras {
    /// One rig for all.
    Shared(Arc<Rig>),
    /// A pinhole for each frame, registered; [`FrameFiles::intrinsics`] has its numbers, the photo its size.
    PerFrame,
    /// Those of each frame's scan: [`FrameFiles::source`] has them.
    PerScan,
}

/// How labels are read.
#[derive(Clone, Debug)]
pub(crate) struct LabelRule {
    /// Class of each number in the label image.
    pub(crate) map: Vec<u16>,
    pub(crate) classes: Classes,
}

/// The part of each image that is used, where that is not all of it (only with shared, registered cameras).
#[derive(Clone, Debug)]
pub(crate) struct Cropped {
    pub(crate) window: Window,
    /// The shared rig of the layout, for the window.
    pub(crate) rig: Arc<Rig>,
}

/// A folder as found: everything but the pixels.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) uri: DataUri,
    pub(crate) folder: PathBuf,
    pub(crate) frames: Vec<FrameFiles>,
    pub(crate) cameras: Cameras,
    pub(crate) pose_of: PoseOf,
    /// Turns the world of the files so that z is up.
    pub(crate) world_from_file: Rigid3<frame::World, FileWorld>,
    pub(crate) encoding: DepthEncoding,
    pub(crate) cropped: Option<Cropped>,
    pub(crate) labels: Option<LabelRule>,
    /// What a user should know: assumptions, frames left out.
    pub(crate) notes: Vec<String>,
    /// Files that were read to understand the folder: part of the fingerprint.
    pub(crate) read: Vec<PathBuf>,
    /// How to get frames into an empty part.
    pub(crate) split_remedy: &'static str,
}

impl Layout {
    /// Reads one frame.
    pub(crate) fn sample(&self, files: &FrameFiles) -> Result<Scene, DataError> {
        self.intact(files)?;
        let pose = self.pose(files)?;
        let photo = self.photo(files)?;
        let rig = self.rig(files, photo.dimensions())?;
        let depth = self.depth(files, &rig)?;
        let labels = self.labels(files, photo.dimensions())?;
        let scene = self.build(files, &rig, photo, depth, labels, pose);
        if scene.cloud.points.is_empty() {
            let problem = "no depth pixel is valid and seen by the colour camera".into();
            return Err(DataError::NoPoints { frame: files.name.clone(), problem });
        }
        Ok(scene)
    }

    /// The scene from its parts.
    pub(crate) fn build(
        &self,
        files: &FrameFiles,
        rig: &Rig,
        photo: RgbImage,
        depth: DepthMap,
        labels: Option<Vec<u16>>,
        pose: FramePose,
    ) -> Scene {
        let name = files.name.clone();
        let whole = Decoded { name, photo, depth, labels, pose };
        match &self.cropped {
            None => assemble(rig, whole),
            Some(cropped) => assemble(&cropped.rig, whole.cropped(cropped.window)),
        }
    }

    /// Refuses a frame of which nothing can be read.
    pub(crate) fn intact(&self, files: &FrameFiles) -> Result<(), DataError> {
        match &files.source {
            Source::Damaged(problem) => Err(DataError::Text {
                what: "recording",
                problem: problem.clone(),
                path: files.colour.clone(),
            }),
            Source::Recorded(_, place) => place.check(),
            Source::Files | Source::Scan(_) => Ok(()),
        }
    }

    /// The photograph, whole.
    pub(crate) fn photo(&self, files: &FrameFiles) -> Result<RgbImage, DataError> {
        self.there(files, "photo", &files.colour)?;
        let photo = match &files.source {
            Source::Recorded(_, place) => place.photo()?,
            _ => files::read_photo(&files.colour)?,
        };
        match files.source.sensor() {
            Some(sensor) => sensor.fit(photo, &files.colour),
            None => Ok(photo),
        }
    }

    /// The cameras, for whole images.
    pub(crate) fn rig(&self, files: &FrameFiles, photo: (u32, u32)) -> Result<Arc<Rig>, DataError> {
        if let Some(sensor) = files.source.sensor() {
            return Ok(Arc::clone(&sensor.rig));
        }
        match (&self.cameras, &files.intrinsics) {
            (Cameras::Shared(rig), _) => {
                let whole = (rig.colour.width(), rig.colour.height());
                check_size("photo", photo, whole, "the size of its camera", &files.colour)?;
                Ok(Arc::clone(rig))
            }
            (Cameras::PerFrame, Some(path)) => {
                self.there(files, "camera intrinsics", path)?;
                let [fx, fy, cx, cy] = read_intrinsics(path)?;
                let camera = CameraModel::pinhole_opencv(photo.0, photo.1, fx, fy, cx, cy).map_err(|e| {
                    DataError::Camera { what: "colour", problem: e.to_string(), path: path.clone() }
                })?;
                Ok(Arc::new(Rig::registered(camera)))
            }
            (Cameras::PerFrame, None) | (Cameras::PerScan, _) => Err(DataError::Missing {
                what: "camera intrinsics",
                frame: files.name.clone(),
                path: self.folder.clone(),
            }),
        }
    }

    /// The cameras that all frames share, if they do.
    pub(crate) fn shared_rig(&self) -> Option<Arc<Rig>> {
        match &self.cameras {
            Cameras::Shared(rig) => Some(Arc::clone(rig)),
            Cameras::PerFrame | Cameras::PerScan => None,
        }
    }

    /// Whether frames have nothing to do with one another: their poses only turn them level.
    pub(crate) fn stand_alone(&self) -> bool {
        matches!(self.cameras, Cameras::PerFrame)
    }

    /// Measurements in the part of a depth image that is used.
    pub(crate) fn n_in_window(&self, depth: &DepthMap) -> usize {
        match &self.cropped {
            None => depth.n_valid(),
            Some(Cropped { window: w, .. }) => {
                depth.cropped(w.x0.into(), w.y0.into(), w.width, w.height).n_valid()
            }
        }
    }

    /// The depth image in metres, whole.
    pub(crate) fn depth(&self, files: &FrameFiles, rig: &Rig) -> Result<DepthMap, DataError> {
        self.there(files, "depth image", &files.depth)?;
        let (width, height, raw) = match &files.source {
            Source::Recorded(_, place) => place.depth()?,
            _ => files::read_depth(&files.depth)?,
        };
        let encoding = files.source.sensor().map_or(&self.encoding, |sensor| &sensor.encoding);
        let reason = match rig.colour_from_depth {
            Some(_) => "the size of its camera",
            None => "it is registered to the photo, pixel by pixel",
        };
        let expected = (rig.depth.width(), rig.depth.height());
        check_size("depth image", (width, height), expected, reason, &files.depth)?;
        DepthMap::from_u16(width, height, &raw, encoding).map_err(|e| DataError::Image {
            what: "depth image",
            problem: e.to_string(),
            path: files.depth.clone(),
        })
    }

    /// The class of each pixel, whole.
    pub(crate) fn labels(
        &self,
        files: &FrameFiles,
        photo: (u32, u32),
    ) -> Result<Option<Vec<u16>>, DataError> {
        let (Some(rule), Some(path)) = (&self.labels, &files.labels) else { return Ok(None) };
        self.there(files, "label image", path)?;
        let (width, height, raw) = files::read_labels(path)?;
        let raw = match files.source.sensor() {
            Some(sensor) => sensor.fit_labels((width, height), &raw, path)?,
            None => {
                check_size("label image", (width, height), photo, "the size of the photo", path)?;
                raw
            }
        };
        let class = |v: u16| rule.map.get(usize::from(v)).copied().ok_or(v);
        let last = rule.map.len().saturating_sub(1);
        let classes = raw.into_iter().map(class).collect::<Result<_, _>>();
        classes.map(Some).map_err(|number| DataError::Label { number, last, path: path.clone() })
    }

    /// The pose, in a world with z up.
    pub(crate) fn pose(&self, files: &FrameFiles) -> Result<FramePose, DataError> {
        let pose = match &files.pose {
            PoseSource::Level => return Ok(FramePose::OfColour(level_pose())),
            PoseSource::Known(pose) => *pose,
            PoseSource::File(path) => {
                self.there(files, "pose", path)?;
                read_pose(path, &files.name)?
            }
            PoseSource::Broken { problem, path } => {
                return Err(DataError::Pose {
                    frame: files.name.clone(),
                    problem: problem.clone(),
                    path: path.clone(),
                });
            }
        };
        let pose = self.world_from_file * pose;
        Ok(match self.pose_of {
            PoseOf::Colour => FramePose::OfColour(pose.with_frames()),
            PoseOf::Depth => FramePose::OfDepth(pose.with_frames()),
        })
    }

    fn there(&self, files: &FrameFiles, what: &'static str, path: &Path) -> Result<(), DataError> {
        if path.as_os_str().is_empty() || !path.exists() {
            let path = if path.as_os_str().is_empty() { &self.folder } else { path };
            return Err(DataError::Missing { what, frame: files.name.clone(), path: path.to_owned() });
        }
        Ok(())
    }

    /// Digest of options, calibration, frame names and file sizes.
    fn fingerprint(&self, chosen: &[usize]) -> Result<String, DataError> {
        let read = self.read.iter().map(|path| files::read_description(path));
        let mut all = Fingerprint::of_folder(&self.uri, read)?;
        for files in chosen.iter().map(|i| &self.frames[*i]) {
            all.add(files.name.as_bytes());
            let paths = [Some(&files.colour), Some(&files.depth), files.labels.as_ref()];
            paths.into_iter().flatten().for_each(|path| all.add_size(path));
            if let Source::Recorded(_, place) = &files.source {
                all.add(place.numbers().map(u64::to_le_bytes).as_flattened());
            }
            all.add(&files.intrinsics.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default());
            match &files.pose {
                PoseSource::File(path) => all.add(&std::fs::read(path).unwrap_or_default()),
                PoseSource::Known(pose) => all.add(pose.to_tum().map(f64::to_le_bytes).as_flattened()),
                PoseSource::Level | PoseSource::Broken { .. } => all.add(&[]),
            }
        }
        Ok(all.finish())
    }
}

impl Decoded {
    /// Only the window of all images.
    fn cropped(self, window: Window) -> Self {
        let Window { x0, y0, width, height } = window;
        let from = self.photo.width() as usize;
        let labels = self.labels.map(|all| {
            let rows = all.chunks_exact(from).skip(y0 as usize).take(height as usize);
            rows.flat_map(|row| row[x0 as usize..][..width as usize].iter().copied()).collect()
        });
        Self {
            photo: image::imageops::crop_imm(&self.photo, x0, y0, width, height).to_image(),
            depth: self.depth.cropped(x0.into(), y0.into(), width, height),
            labels,
            ..self
        }
    }
}

pub(crate) fn check_size(
    what: &'static str,
    got: (u32, u32),
    expected: (u32, u32),
    reason: &'static str,
    path: &Path,
) -> Result<(), DataError> {
    if got == expected {
        return Ok(());
    }
    Err(DataError::WrongSize {
        what,
        got_width: got.0,
        got_height: got.1,
        expected_width: expected.0,
        expected_height: expected.1,
        reason,
        path: path.to_owned(),
    })
}

/// The frames of a folder that belong to a split.
pub(crate) struct FolderDataset {
    name: String,
    layout: Layout,
    chosen: Vec<usize>,
}

impl FolderDataset {
    /// The part of a layout asked for.
    pub(crate) fn new(layout: Layout, split: Split) -> Result<Self, DataError> {
        let held_out = layout.frames.iter().map(|f| f.held_out);
        let chosen = split.choose(held_out, layout.split_remedy, &layout.folder)?;
        Ok(Self { name: layout.uri.to_string(), layout, chosen })
    }
}

impl Dataset for FolderDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn frame_name(&self, index: usize) -> String {
        self.chosen.get(index).map(|i| self.layout.frames[*i].name.clone()).unwrap_or_default()
    }

    fn scene_name(&self, index: usize) -> String {
        let frame = self.chosen.get(index).map(|i| &self.layout.frames[*i]);
        frame.map(|f| f.scene.as_ref().unwrap_or(&f.name).clone()).unwrap_or_default()
    }

    fn sample(&self, index: usize) -> Result<Scene, DataError> {
        let frame = self.chosen.get(index).ok_or_else(|| DataError::OutOfRange {
            index,
            len: self.len(),
            dataset: self.name.clone(),
        })?;
        self.layout.sample(&self.layout.frames[*frame])
    }

    fn classes(&self) -> Option<&Classes> {
        self.layout.labels.as_ref().map(|l| &l.classes)
    }

    fn fingerprint(&self) -> Result<String, DataError> {
        self.layout.fingerprint(&self.chosen)
    }

    fn notes(&self) -> &[String] {
        &self.layout.notes
    }
}

/// Pose of a level camera at the origin, in a world with z up: the camera looks along y.
pub(crate) fn level_pose<Dst, Src>() -> Rigid3<Dst, Src> {
    turning_up([0.0, -1.0, 0.0])
}

/// The shortest turn that takes a direction to z.
pub(crate) fn turning_up<Dst, Src>(up: [f64; 3]) -> Rigid3<Dst, Src> {
    let norm = up.iter().map(|c| c * c).sum::<f64>().sqrt();
    let [x, y, z] = up.map(|c| c / norm);
    let rows = if z < -1.0 + 1e-9 {
        // Straight down: any half turn about a level axis does.
        [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]
    } else {
        let k = 1.0 / (1.0 + z);
        [[1.0 - k * x * x, -k * x * y, -x], [-k * x * y, 1.0 - k * y * y, -y], [x, y, z]]
    };
    // Orthonormal by construction; a direction of no length or NaN is refused before.
    Rigid3::from_rotation_rows(rows, [0.0; 3]).unwrap_or_default()
}

/// The options that all folders share, applied to a list of frames and an encoding.
pub(crate) fn thin_out(frames: &mut Vec<FrameFiles>, options: &Options) -> Result<(), DataError> {
    let every = options.get_if("every", 1usize, "a whole number from 1", |n| *n >= 1)?;
    if every > 1 {
        *frames = std::mem::take(frames).into_iter().step_by(every).collect();
    }
    Ok(())
}

/// Takes `min_depth` and `max_depth` into the encoding.
pub(crate) fn limit_depth(encoding: &mut DepthEncoding, options: &Options) -> Result<(), DataError> {
    const EXPECTED: &str = "a number of metres from 0";
    encoding.min_m = options.get_if("min_depth", encoding.min_m, EXPECTED, |m| *m >= 0.0)?;
    encoding.max_m =
        options.get_if("max_depth", encoding.max_m, "a number of metres above min_depth", |m| {
            *m > encoding.min_m
        })?;
    Ok(())
}

/// The share that is held out.
pub(crate) fn holdout(options: &Options) -> Result<f64, DataError> {
    options.get_if("holdout", 0.2, "a share from 0 to 1", |s| (0.0..=1.0).contains(s))
}

/// Holds out the last part of a sequence: neighbouring frames are nearly the same, so a random choice would put
/// twins of the training frames into validation.
pub(crate) fn hold_out_last(frames: &mut [FrameFiles], share: f64) {
    let n = (share * frames.len() as f64).round() as usize;
    let first = frames.len() - n.min(frames.len());
    for (i, frame) in frames.iter_mut().enumerate() {
        frame.held_out = i >= first;
    }
}

/// Holds out frames by a digest of their names: the choice for a frame does not change when others come or go.
pub(crate) fn hold_out_by_name(frames: &mut [FrameFiles], share: f64) {
    for frame in frames {
        let digest = Sha256::digest(frame.name.as_bytes());
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        frame.held_out = f64::from(number) < share * 2f64.powi(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppkt_geometry::Direction3;

    fn frames(n: usize) -> Vec<FrameFiles> {
        let frame = |i| FrameFiles {
            name: format!("frame-{i}"),
            scene: None,
            colour: PathBuf::new(),
            depth: PathBuf::new(),
            labels: None,
            pose: PoseSource::Level,
            source: Source::Files,
            intrinsics: None,
            held_out: false,
        };
        (0..n).map(frame).collect()
    }

    #[test]
    fn up_becomes_z() {
        for up in [[0.0, 0.0, 2.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [0.3, -0.8, -0.4], [1.0, 0.0, 0.0]] {
            let turn: Rigid3<frame::World, FileWorld> = turning_up(up);
            let norm = up.iter().map(|c| c * c).sum::<f64>().sqrt();
            let z = (turn * Direction3::from_array(up)).to_array();
            assert!(z[0].abs() < 1e-9 && z[1].abs() < 1e-9 && (z[2] - norm).abs() < 1e-9, "{up:?} {z:?}");
        }
    }

    #[test]
    fn a_level_camera_looks_along_y() {
        let pose: Rigid3<frame::World, frame::Camera> = level_pose();
        let turn =
            |d: [f64; 3]| (pose * Direction3::<frame::Camera>::from_array(d)).to_array().map(|c| c.round());
        assert_eq!(turn([1.0, 0.0, 0.0]), [1.0, 0.0, 0.0]);
        assert_eq!(turn([0.0, 0.0, 1.0]), [0.0, 1.0, 0.0]);
        assert_eq!(turn([0.0, 1.0, 0.0]), [0.0, 0.0, -1.0]);
    }

    #[test]
    fn the_last_part_is_held_out() {
        let mut list = frames(10);
        hold_out_last(&mut list, 0.2);
        assert!(list.iter().enumerate().all(|(i, f)| f.held_out == (i >= 8)));
        hold_out_last(&mut list, 1.0);
        assert!(list.iter().all(|f| f.held_out));
        hold_out_last(&mut list, 0.0);
        assert!(list.iter().all(|f| !f.held_out));
    }

    #[test]
    fn a_share_by_name_is_about_right_and_does_not_change() {
        let mut list = frames(2000);
        hold_out_by_name(&mut list, 0.2);
        let n = list.iter().filter(|f| f.held_out).count();
        assert!((340..460).contains(&n), "{n}");
        let mut fewer = frames(10);
        hold_out_by_name(&mut fewer, 0.2);
        assert!(fewer.iter().zip(&list).all(|(a, b)| a.held_out == b.held_out));
    }
}
