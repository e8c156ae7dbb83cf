//! What can go wrong between a data URI and a batch.

use std::path::{Path, PathBuf};

/// Everything that this crate reports.
///
/// Two kinds matter to a program: a mistake in what was asked ([`DataError::is_configuration`], exit code 2) and
/// data that is damaged or missing (exit code 1).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A text that is no data URI at all.
    #[error(
        "{text:?} is no data URI: {problem}; write SCHEME:PLACE, for example nyuv2:DIR (schemes: {known})"
    )]
    NotAUri {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
        /// The schemes there are.
        known: String,
    },
    /// A scheme that does not exist.
    #[error("unknown data scheme {scheme:?}; there are {known}")]
    UnknownScheme {
        /// What was given.
        scheme: String,
        /// The schemes there are.
        known: String,
    },
    /// An option that the scheme does not have.
    #[error("{scheme}: has no option {option:?}; it has {known}")]
    UnknownOption {
        /// The scheme.
        scheme: String,
        /// What was given.
        option: String,
        /// The options there are.
        known: String,
    },
    /// An option whose value cannot be meant.
    #[error("option {option} is {value:?}, but should be {expected}")]
    BadOption {
        /// The option's key.
        option: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A setting outside of a URI (batch, augmentation) that cannot be meant.
    #[error("{setting} is {value}, but should be {expected}")]
    BadSetting {
        /// The setting's name.
        setting: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The folder named does not exist, or is no folder.
    #[error("there is no such folder; check the path after the colon: {path:?}")]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is there, but holds no frame of the layout asked for.
    #[error(
        "no frame found: a {layout} folder holds {expected}; is it the right folder and scheme? {path:?}"
    )]
    Empty {
        /// The layout's name.
        layout: &'static str,
        /// What such a folder holds.
        expected: String,
        /// The folder.
        path: PathBuf,
    },
    /// A split without frames.
    #[error("the {split} part has no frame; {remedy}: {path:?}")]
    EmptySplit {
        /// Which part.
        split: &'static str,
        /// What to do.
        remedy: String,
        /// The folder.
        path: PathBuf,
    },
    /// A descriptor of a dataset (`frames.toml`, calibration) that is not right.
    #[error("{problem}: {path:?}")]
    Descriptor {
        /// What is wrong, with the remedy.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// Without an answer to this, the data would be read wrongly.
    #[error("{question}: {path:?}")]
    Undecided {
        /// What must be decided, and how.
        question: String,
        /// The folder.
        path: PathBuf,
    },
    /// A file of a frame does not exist.
    #[error("the {what} of frame {frame} is missing; restore the file or remove the frame: {path:?}")]
    Missing {
        /// Which of the frame's files.
        what: &'static str,
        /// The frame's name.
        frame: String,
        /// The file.
        path: PathBuf,
    },
    /// The operating system could not give the file.
    #[error("cannot read the {what}: {path:?}")]
    Read {
        /// What kind of file it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write the {what}: {path:?}")]
    Write {
        /// What the file is.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture that cannot be decoded: truncated, damaged, or not of the type needed.
    #[error("the {what} cannot be decoded ({problem}); fetch or export the file again: {path:?}")]
    Image {
        /// Which picture.
        what: &'static str,
        /// What the decoder says.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// A picture of another size than the camera has.
    #[error(
        "the {what} is {got_width}×{got_height}, but {expected_width}×{expected_height} is needed ({reason}): {path:?}"
    )]
    WrongSize {
        /// Which picture.
        what: &'static str,
        /// Its width.
        got_width: u32,
        /// Its height.
        got_height: u32,
        /// The width it should have.
        expected_width: u32,
        /// The height it should have.
        expected_height: u32,
        /// Why it should.
        reason: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A label image with a number that stands for no class.
    #[error(
        "the label image has the number {number}, but the classes end at {last}; is it of this list of classes? {path:?}"
    )]
    Label {
        /// The number found.
        number: u16,
        /// The largest number that stands for a class.
        last: usize,
        /// The file.
        path: PathBuf,
    },
    /// Numbers in a text file that are missing, not numbers, or too many.
    #[error("the {what} is not right: {problem}: {path:?}")]
    Text {
        /// What the file holds.
        what: &'static str,
        /// What is wrong.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// A pose that is no rigid motion (NaN, not a rotation), or cannot be had for this time.
    #[error("the pose of frame {frame} cannot be used: {problem}: {path:?}")]
    Pose {
        /// The frame's name.
        frame: String,
        /// What is wrong.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// Cameras that cannot be built from the numbers given.
    #[error("the {what} camera cannot be used: {problem}: {path:?}")]
    Camera {
        /// Which camera.
        what: &'static str,
        /// What is wrong.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// A cloud without something that a network is to be fed with.
    #[error(
        "the network takes {what}, and the points of this file have none; give a cloud with {what}, or a network that \
         was trained without it (its batch.features): {path:?}"
    )]
    Lacking {
        /// `colour` or `intensity`.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Scenes without a photograph, where the 2D network has to see one.
    #[error(
        "{data} has no photographs, and pretraining learns from nothing else: take frames that have them (rooms of \
         2D-3D-S as frames:DIR, recordings of ScanNet as scannet:DIR?take=frames, your own as frames:DIR), and these \
         clouds for `ppkt finetune`"
    )]
    NoPhotographs {
        /// The dataset, or the scan.
        data: String,
    },
    /// A frame without a single point that can be used.
    #[error("frame {frame} has no usable point: {problem}")]
    NoPoints {
        /// The frame's name.
        frame: String,
        /// Why.
        problem: String,
    },
    /// A scene whose parts do not fit together, or whose points cannot be placed in voxels.
    #[error("frame {frame} cannot be used: {problem}")]
    BadScene {
        /// The frame's name.
        frame: String,
        /// What does not fit.
        problem: String,
    },
    /// So many frames in a row are damaged that none could take their place.
    #[error(
        "no frame can take the place of damaged ones: {tried} in a row cannot be used; look at them with \
         `ppkt data verify`; the last one: {last}"
    )]
    TooManyDamaged {
        /// How many were tried.
        tried: usize,
        /// What is wrong with the last one.
        last: Box<DataError>,
    },
    /// Code that reads or prepares a frame panicked: a fault of the program, or a file that breaks a decoder.
    #[error("reading frame {frame} panicked: {message}")]
    Panicked {
        /// The frame's name.
        frame: String,
        /// The panic's message.
        message: String,
    },
    /// A frame number beyond the end.
    #[error("frame {index} asked for, but {dataset} has {len}")]
    OutOfRange {
        /// The number asked for.
        index: usize,
        /// How many there are.
        len: usize,
        /// The dataset.
        dataset: String,
    },
}

impl DataError {
    /// Whether the request was wrong (command line, option, descriptor, a folder that is not what it was said to
    /// be) rather than a piece of data damaged: exit code 2 rather than 1.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::NotAUri { .. }
                | Self::UnknownScheme { .. }
                | Self::UnknownOption { .. }
                | Self::BadOption { .. }
                | Self::BadSetting { .. }
                | Self::NoFolder { .. }
                | Self::Empty { .. }
                | Self::EmptySplit { .. }
                | Self::Descriptor { .. }
                | Self::Undecided { .. }
                | Self::Lacking { .. }
                | Self::NoPhotographs { .. }
        )
    }

    /// The file or folder at fault, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::NoFolder { path }
            | Self::Empty { path, .. }
            | Self::EmptySplit { path, .. }
            | Self::Descriptor { path, .. }
            | Self::Undecided { path, .. }
            | Self::Missing { path, .. }
            | Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Image { path, .. }
            | Self::WrongSize { path, .. }
            | Self::Label { path, .. }
            | Self::Text { path, .. }
            | Self::Pose { path, .. }
            | Self::Camera { path, .. }
            | Self::Lacking { path, .. } => Some(path),
            _ => None,
        }
    }
}

// Results of loading travel through channels by the million: the error must not make them fat.
const _: () = assert!(size_of::<DataError>() <= 128);
