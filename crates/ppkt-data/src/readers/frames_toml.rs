//! What `frames.toml` may say. `docs/frames.md` explains it to users.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::descriptor::{CameraEntry, DepthEntry, EncodingName};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FramesToml {
    pub(crate) colour: ColourEntry,
    pub(crate) depth: DepthSection,
    pub(crate) pose: Option<PoseEntry>,
    pub(crate) labels: Option<LabelsEntry>,
    #[serde(default)]
    pub(crate) split: SplitEntry,
    /// A file with the names of the frames to use, one a line, where it is not all.
    pub(crate) only: Option<PathBuf>,
    /// A file that says which scene each frame is of, lines of `NAME SCENE`; else all are of one if they have poses.
    pub(crate) scenes: Option<PathBuf>,
    /// Frames one by one, instead of patterns.
    #[serde(default)]
    pub(crate) frame: Vec<FrameEntry>,
}

/// The photographs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColourEntry {
    pub(crate) files: Option<String>,
    pub(crate) camera: CameraEntry,
}

/// The depth images.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DepthSection {
    pub(crate) files: Option<String>,
    encoding: Option<EncodingName>,
    metres_per_unit: Option<f64>,
    invalid: Option<Vec<u16>>,
    min_m: Option<f64>,
    max_m: Option<f64>,
    /// Registered to the photo, but of this size.
    pub(crate) size: Option<[u32; 2]>,
    /// A camera of its own; then `colour_from_depth` says where it is.
    pub(crate) camera: Option<CameraEntry>,
    pub(crate) colour_from_depth: Option<[[f64; 4]; 4]>,
}

impl DepthSection {
    /// The part that says how numbers become metres.
    pub(crate) fn entry(&self) -> DepthEntry {
        DepthEntry {
            encoding: self.encoding,
            metres_per_unit: self.metres_per_unit,
            invalid: self.invalid.clone(),
            min_m: self.min_m,
            max_m: self.max_m,
        }
    }
}

/// The poses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoseEntry {
    /// One file a frame, a 4×4 matrix.
    pub(crate) files: Option<String>,
    /// One file for all: lines of `name tx ty tz qx qy qz qw`.
    pub(crate) list: Option<PathBuf>,
    pub(crate) of: Option<WhichCamera>,
    #[serde(default)]
    pub(crate) direction: Direction,
    /// The way up in the world of the poses.
    #[serde(default = "up_is_z")]
    pub(crate) up: [f64; 3],
}

fn up_is_z() -> [f64; 3] {
    [0.0, 0.0, 1.0]
}

/// One of the two cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WhichCamera {
    Colour,
    Depth,
}

/// Which way a pose leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    #[default]
    WorldFromCamera,
    CameraFromWorld,
}

/// The labels, in the photograph's pixels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelsEntry {
    pub(crate) files: Option<String>,
    pub(crate) classes: Vec<LabelClass>,
}

/// A class: by name alone, or with a colour and the numbers that stand for it.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a class is a name, or a table with name, colour = [r, g, b] and numbers = [n, …]"
)]
pub(crate) enum LabelClass {
    Name(String),
    Full(FullClass),
}

/// The long form of a class.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullClass {
    pub(crate) name: String,
    pub(crate) colour: Option<[u8; 3]>,
    pub(crate) numbers: Option<Vec<u16>>,
}

/// Which frames are held out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitEntry {
    pub(crate) validation: Option<Validation>,
    pub(crate) choose: Option<Choose>,
}

/// A share, a file of names, or the names.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "validation is a share such as 0.2, a file of names, or a list of names")]
pub(crate) enum Validation {
    Share(f64),
    File(PathBuf),
    Names(Vec<String>),
}

/// How a share is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Choose {
    /// The last part of the list.
    Last,
    /// By a digest of the names.
    ByName,
}

/// One frame.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrameEntry {
    pub(crate) name: Option<String>,
    pub(crate) scene: Option<String>,
    pub(crate) colour: PathBuf,
    pub(crate) depth: PathBuf,
    pub(crate) labels: Option<PathBuf>,
    pub(crate) pose: Option<PoseValue>,
}

/// A pose in a file, or written out.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "pose is a file, or a 4×4 matrix as a list of four rows")]
pub(crate) enum PoseValue {
    File(PathBuf),
    Matrix([[f64; 4]; 4]),
}

/// Files by what the star of a pattern stood for.
pub(crate) type ByName = BTreeMap<String, PathBuf>;
