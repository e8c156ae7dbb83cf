//! What checking a dataset gives: facts for machines, sentences for people.

use std::path::PathBuf;

use serde::Serialize;

use crate::DataError;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A frame cannot be read, or is read wrongly.
    Error,
    /// It can be read, but is probably not what was meant.
    Warning,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is, in a word or two: the same for all faults of the kind.
    pub kind: &'static str,
    /// The frame, where it belongs to one.
    pub frame: Option<String>,
    /// The file, where it is one file's.
    pub path: Option<PathBuf>,
    /// What is wrong and what to do.
    pub message: String,
}

/// The answer of [`crate::verify`].
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The URI, as it was understood.
    pub uri: String,
    /// The dataset's full name.
    pub title: String,
    /// What its owners are known to say about its use.
    pub licence: String,
    /// Frames in the training part.
    pub train: usize,
    /// Frames held out.
    pub validation: usize,
    /// Frames that were checked.
    pub checked: usize,
    /// Frames among them without an error.
    pub good: usize,
    /// Width and height of the photographs, in the first good frame.
    pub image_size: Option<[u32; 2]>,
    /// Depth over all good frames.
    pub depth: Option<DepthSummary>,
    /// How photograph and depth lie over one another.
    pub registration: Option<Registration>,
    /// Median difference in depth between neighbouring frames, by their poses, metres.
    pub neighbours_differ_m: Option<f64>,
    /// Share of the pixels of each class, "unlabelled" first.
    pub classes: Option<Vec<ClassShare>>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What a user should know about how the data is read.
    pub notes: Vec<String>,
}

/// Depth in the frames.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DepthSummary {
    /// The depth that one in a hundred pixels is nearer than, median of the frames, metres.
    pub near_m: f64,
    /// The depth in the middle, median of the frames, metres.
    pub median_m: f64,
    /// The depth that one in a hundred pixels is beyond, median of the frames, metres.
    pub far_m: f64,
    /// Share of the depth pixels that are measurements.
    pub valid: f64,
    /// Share of the measurements that the photograph shows: 1 where depth is registered.
    pub seen: f64,
}

/// How photograph and depth lie over one another, judged by their edges.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Registration {
    /// The shift of depth, right and down, at which edges agree best, pixels at 640 of width.
    pub best_shift_px: [i32; 2],
    /// How much better they agree there than unshifted: 1 is no better.
    pub gain: f64,
    /// How much more colour gradient is under depth edges than elsewhere: 1 is chance.
    pub contrast: f64,
}

/// How common a class is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassShare {
    /// Its name.
    pub name: String,
    /// Share of all pixels.
    pub share: f64,
}

impl Report {
    /// Whether no error was found; there may be warnings.
    pub fn is_good(&self) -> bool {
        self.errors() == 0
    }

    /// How many faults are errors.
    pub fn errors(&self) -> usize {
        self.faults.iter().filter(|f| f.severity == Severity::Error).count()
    }
}

impl Fault {
    /// A warning.
    pub(crate) fn warning(kind: &'static str, frame: Option<&str>, message: String) -> Self {
        Self { severity: Severity::Warning, kind, frame: frame.map(String::from), path: None, message }
    }

    /// What an error means for a frame.
    pub(crate) fn of_error(error: &DataError, frame: Option<&str>) -> Self {
        Self {
            severity: Severity::Error,
            kind: kind_of(error),
            frame: frame.map(String::from),
            path: error.path().map(PathBuf::from),
            message: error.to_string(),
        }
    }
}

fn kind_of(error: &DataError) -> &'static str {
    match error {
        DataError::Empty { .. } | DataError::EmptySplit { .. } => "empty",
        DataError::Missing { .. } => "missing file",
        DataError::Read { .. } => "unreadable file",
        DataError::Image { .. } => "damaged image",
        DataError::WrongSize { .. } => "wrong size",
        DataError::Label { .. } => "bad labels",
        DataError::Text { .. } => "damaged text",
        DataError::Pose { .. } => "bad pose",
        DataError::Camera { .. } => "bad camera",
        DataError::NoPoints { .. } => "no overlap",
        DataError::Descriptor { .. } => "bad description",
        DataError::Undecided { .. } => "calibration missing",
        _ => "fault",
    }
}
