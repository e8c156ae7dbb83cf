//! Data URIs: `SCHEME:PLACE?key=value&key=value`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::readers::{self, FolderDataset, Found, ScanDataset, SweepDataset};
use crate::{DataError, Dataset, Rooms, RoomsConfig, Split};

/// Which kind of dataset a URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `synthetic:rooms`: rendered rooms, no files needed.
    Synthetic,
    /// `nyuv2:DIR`: NYU Depth V2, labelled frames.
    Nyuv2,
    /// `sevenscenes:DIR`: a sequence of 7-Scenes.
    SevenScenes,
    /// `tum:DIR`: a sequence of the TUM RGB-D benchmark.
    Tum,
    /// `sunrgbd:DIR`: SUN RGB-D, frames in their own folders.
    SunRgbd,
    /// `s3dis:DIR`: Stanford 3D Indoor Spaces, labelled rooms.
    S3dis,
    /// `scannet:DIR`: ScanNet, recordings of rooms and labelled scans made of them.
    Scannet,
    /// `kitti:DIR`: KITTI's object benchmark, a LiDAR and a camera.
    Kitti,
    /// `nuscenes:DIR`: nuScenes, a LiDAR and six cameras.
    Nuscenes,
    /// `frames:DIR`: the neutral layout for a user's own RGB-D.
    Frames,
}

/// One option of a scheme: what follows the `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHelp {
    /// The key.
    pub key: &'static str,
    /// What its value looks like.
    pub value: &'static str,
    /// What it does, with its default.
    pub help: &'static str,
}

const fn option(key: &'static str, value: &'static str, help: &'static str) -> OptionHelp {
    OptionHelp { key, value, help }
}

/// Options that every folder of frames has.
const EVERY: OptionHelp = option("every", "N", "take each N-th frame (1)");
const HOLDOUT: OptionHelp =
    option("holdout", "SHARE", "share of the frames that is held out for validation (0.2)");
const MIN_DEPTH: OptionHelp = option("min_depth", "METRES", "depth below this is not used (0)");
const MAX_DEPTH: OptionHelp = option("max_depth", "METRES", "depth beyond this is not used (no limit)");

impl Scheme {
    /// All there are.
    pub const ALL: &[Self] = &[
        Self::Synthetic,
        Self::Nyuv2,
        Self::SevenScenes,
        Self::Tum,
        Self::SunRgbd,
        Self::S3dis,
        Self::Scannet,
        Self::Kitti,
        Self::Nuscenes,
        Self::Frames,
    ];

    /// The word before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Synthetic => "synthetic",
            Self::Nyuv2 => "nyuv2",
            Self::SevenScenes => "sevenscenes",
            Self::Tum => "tum",
            Self::SunRgbd => "sunrgbd",
            Self::S3dis => "s3dis",
            Self::Scannet => "scannet",
            Self::Kitti => "kitti",
            Self::Nuscenes => "nuscenes",
            Self::Frames => "frames",
        }
    }

    /// The options it understands.
    pub fn options(self) -> &'static [OptionHelp] {
        match self {
            Self::Synthetic => SYNTHETIC,
            Self::Nyuv2 => NYUV2,
            Self::SevenScenes => SEVEN_SCENES,
            Self::Tum => TUM,
            Self::SunRgbd => SUNRGBD,
            Self::S3dis => S3DIS,
            Self::Scannet => SCANNET,
            Self::Kitti => KITTI,
            Self::Nuscenes => NUSCENES,
            Self::Frames => FRAMES,
        }
    }

    fn known() -> String {
        let form = |s: &Self| match s {
            Self::Synthetic => "synthetic:rooms".into(),
            other => format!("{}:DIR", other.name()),
        };
        Self::ALL.iter().map(form).collect::<Vec<_>>().join(", ")
    }
}

const POSES: OptionHelp = option("poses", "file|none", "use the poses, or read every frame alone (file)");

/// The options of `synthetic:rooms`.
const SYNTHETIC: &[OptionHelp] = &[
    option("scenes", "N", "how many rooms, held-out ones included (200)"),
    option("views", "N", "how many frames of each room (1)"),
    option("seed", "N", "the seed of all rooms (1)"),
    option("width", "PIXELS", "width of the images (320)"),
    option("height", "PIXELS", "height of the images (240)"),
    option("depth_noise", "STRENGTH", "noise and holes in depth, 0 none, 1 as a cheap sensor's (1)"),
    option(
        "colour_noise",
        "STRENGTH",
        "noise, exposure and white balance, 0 none, 1 as a cheap camera's (1)",
    ),
    HOLDOUT,
];
const NYUV2: &[OptionHelp] = &[
    option("classes", "13|40|none", "which grouping of the labels (13)"),
    option(
        "crop",
        "border|valid|none",
        "cut off the white border, keep the part that the depth sensor saw, or all (border)",
    ),
    EVERY,
    MIN_DEPTH,
    MAX_DEPTH,
];
const SEVEN_SCENES: &[OptionHelp] = &[
    option(
        "calibration",
        "FILE|estimated",
        "colour camera and its offset (color-calibration.*.json in the folder)",
    ),
    option("registered", "yes|no", "take colour and depth as one camera, about 22 pixels wrong (no)"),
    POSES,
    EVERY,
    HOLDOUT,
    MIN_DEPTH,
    MAX_DEPTH,
];
const TUM: &[OptionHelp] = &[
    option("camera", "freiburg1|freiburg2|freiburg3|ros|FX,FY,CX,CY", "intrinsics (from the folder's name)"),
    option("max_difference", "SECONDS", "largest difference in time between colour and depth (0.02)"),
    option("max_gap", "SECONDS", "largest gap in the trajectory to interpolate over (0.1)"),
    POSES,
    EVERY,
    HOLDOUT,
    MIN_DEPTH,
    MAX_DEPTH,
];
const SUNRGBD: &[OptionHelp] = &[
    option("depth", "raw|filled", "measured depth (depth/) or with holes filled in (depth_bfx/) (raw)"),
    EVERY,
    HOLDOUT,
    MIN_DEPTH,
    MAX_DEPTH,
];
const S3DIS: &[OptionHelp] = &[
    option("area", "1|2|3|4|5|6|none", "the area that is held out (5)"),
    option("every", "N", "take each N-th room (1)"),
];
const SCANNET: &[OptionHelp] = &[
    option("take", "frames|scans", "photographs with depth, or labelled scans (whichever is there alone)"),
    option("classes", "20|200|none", "which classes: the benchmark's 20, ScanNet200, or no labels (20)"),
    option("train", "FILE", "names of the scans to train on, one a line (scannetv2_train.txt in the folder)"),
    option(
        "held_out",
        "FILE",
        "names of the scans that are held out, one a line (scannetv2_val.txt in the folder)",
    ),
    option("holdout", "SHARE", "share of the rooms that is held out, if there is no list (0.2)"),
    option("points", "FILE", "the points of each scan to train on whose labels are used (all)"),
    option("photos", "small|full", "photographs of the size of the depth images, or as recorded (small)"),
    option(
        "every",
        "N",
        "take each N-th frame of a scan (25 of a .sens file, else 1), or each N-th scan (1)",
    ),
    MIN_DEPTH,
    MAX_DEPTH,
];
const MIN_RANGE: OptionHelp = option(
    "min_range",
    "METRES",
    "points nearer to the LiDAR are left out, such as those on the car itself (0)",
);
const KITTI: &[OptionHelp] = &[EVERY, HOLDOUT, MIN_RANGE];
const NUSCENES: &[OptionHelp] = &[
    option("version", "mini|trainval|test", "which tables (the only ones there)"),
    option("cameras", "CAM_FRONT,CAM_BACK,…", "which of the six cameras (all)"),
    option("held_out", "FILE", "names of the scenes that are held out, one a line (a share of all)"),
    option("holdout", "SHARE", "share of the scenes that is held out, if there is no list (0.2)"),
    EVERY,
    MIN_RANGE,
];
const FRAMES: &[OptionHelp] = &[EVERY, HOLDOUT, MIN_DEPTH, MAX_DEPTH];

/// A dataset by name: `SCHEME:PLACE?key=value&key=value`.
///
/// Scheme and keys are checked when the text is read, values when the dataset is opened.
/// In the place, `~/` at the front is the home folder, and `%3F`, `%26`, `%25` stand for `?`, `&`, `%`.
///
/// ```
/// # fn main() -> Result<(), ppkt_data::DataError> {
/// let uri: ppkt_data::DataUri = "sevenscenes:data/redkitchen?every=2".parse()?;
/// assert_eq!(uri.to_string(), "sevenscenes:data/redkitchen?every=2");
/// assert!("sevenscenes:data?evry=2".parse::<ppkt_data::DataUri>().is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DataUri {
    scheme: Scheme,
    place: String,
    options: Options,
}

impl DataUri {
    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What stands between the colon and the question mark: a folder, or `rooms`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The value of an option, where given.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.0.get(key).map(String::as_str)
    }

    /// The same URI with another value for an option.
    ///
    /// # Errors
    /// If the scheme has no such option.
    pub fn with_option(mut self, key: &str, value: &str) -> Result<Self, DataError> {
        check_key(self.scheme, key)?;
        self.options.0.insert(key.to_owned(), value.to_owned());
        Ok(self)
    }

    /// Opens the dataset: finds its frames and reads its calibration, but no image.
    ///
    /// # Errors
    /// If the folder is missing, empty or not of the layout, or an option's value cannot be meant.
    pub fn open(&self, split: Split) -> Result<Box<dyn Dataset>, DataError> {
        match self.scheme {
            Scheme::Synthetic => Ok(Box::new(Rooms::new(self.rooms()?, split)?)),
            _ => match readers::scan(self)? {
                Found::Frames(layout) => Ok(Box::new(FolderDataset::new(layout, split)?)),
                Found::Scans(layout) => Ok(Box::new(ScanDataset::new(layout, split)?)),
                Found::Sweeps(layout) => Ok(Box::new(SweepDataset::new(layout, split)?)),
            },
        }
    }

    /// The rooms that the options describe.
    fn rooms(&self) -> Result<RoomsConfig, DataError> {
        const COUNT: &str = "a whole number from 1";
        const STRENGTH: &str = "a number from 0 to 4";
        let (o, d) = (&self.options, RoomsConfig::default());
        let strength = |s: &f32| (0.0..=4.0).contains(s);
        Ok(RoomsConfig {
            seed: o.get("seed", d.seed, "a whole number from 0")?,
            rooms: o.get_if("scenes", d.rooms, COUNT, |n| *n >= 1)?,
            frames_per_room: o.get_if("views", d.frames_per_room, COUNT, |n| *n >= 1)?,
            width: o.get_if("width", d.width, COUNT, |n| *n >= 1)?,
            height: o.get_if("height", d.height, COUNT, |n| *n >= 1)?,
            depth_noise: o.get_if("depth_noise", d.depth_noise, STRENGTH, strength)?,
            colour_noise: o.get_if("colour_noise", d.colour_noise, STRENGTH, strength)?,
            holdout: o.get_if("holdout", d.holdout, "a share from 0 to 1", |s| (0.0..=1.0).contains(s))?,
        })
    }

    /// The place as a path, with `~/` resolved.
    pub(crate) fn folder(&self) -> PathBuf {
        if let Some(rest) = self.place.strip_prefix("~/")
            && let Some(home) = std::env::var_os("HOME")
        {
            return PathBuf::from(home).join(rest);
        }
        PathBuf::from(&self.place)
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

fn check_key(scheme: Scheme, key: &str) -> Result<(), DataError> {
    if scheme.options().iter().any(|o| o.key == key) {
        return Ok(());
    }
    let known =
        scheme.options().iter().map(|o| format!("{}={}", o.key, o.value)).collect::<Vec<_>>().join(", ");
    Err(DataError::UnknownOption { scheme: scheme.name().into(), option: key.into(), known })
}

impl FromStr for DataUri {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let wrong = |problem: &str| DataError::NotAUri {
            text: text.to_owned(),
            problem: problem.to_owned(),
            known: Scheme::known(),
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("it has no colon"))?;
        let scheme =
            Scheme::ALL.iter().copied().find(|s| s.name() == scheme).ok_or_else(|| {
                DataError::UnknownScheme { scheme: scheme.to_owned(), known: Scheme::known() }
            })?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let place = decode(place);
        if place.is_empty() {
            return Err(wrong("nothing follows the colon"));
        }
        if scheme == Scheme::Synthetic && place != "rooms" {
            return Err(wrong("the only synthetic dataset is synthetic:rooms"));
        }
        let mut options = BTreeMap::new();
        for part in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| wrong("an option is written key=value"))?;
            check_key(scheme, key)?;
            if options.insert(key.to_owned(), decode(value)).is_some() {
                return Err(wrong("an option is given twice"));
            }
        }
        Ok(Self { scheme, place, options: Options(options) })
    }
}

impl fmt::Display for DataUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme.name(), encode(&self.place))?;
        for (i, (key, value)) in self.options.0.iter().enumerate() {
            write!(f, "{}{key}={}", if i == 0 { '?' } else { '&' }, encode(value))?;
        }
        Ok(())
    }
}

impl serde::Serialize for DataUri {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DataUri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const ESCAPED: [(char, &str); 3] = [('%', "%25"), ('?', "%3F"), ('&', "%26")];

fn encode(text: &str) -> String {
    ESCAPED.iter().fold(text.to_owned(), |t, (plain, code)| t.replace(*plain, code))
}

fn decode(text: &str) -> String {
    ESCAPED.iter().rev().fold(text.to_owned(), |t, (plain, code)| {
        t.replace(code, &plain.to_string()).replace(&code.to_lowercase(), &plain.to_string())
    })
}

/// The options of a URI, read by type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    /// All keys with their values, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// The text of an option.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// An option's value of a type that can be read from text, or the default.
    pub(crate) fn get<T: FromStr>(&self, key: &str, default: T, expected: &str) -> Result<T, DataError> {
        self.get_if(key, default, expected, |_| true)
    }

    /// As [`Self::get`], with a condition on the value.
    pub(crate) fn get_if<T: FromStr>(
        &self,
        key: &str,
        default: T,
        expected: &str,
        valid: impl Fn(&T) -> bool,
    ) -> Result<T, DataError> {
        let Some(text) = self.text(key) else { return Ok(default) };
        text.parse().ok().filter(valid).ok_or_else(|| DataError::BadOption {
            option: key.to_owned(),
            value: text.to_owned(),
            expected: expected.to_owned(),
        })
    }

    /// One of a list of words, or the first of them.
    pub(crate) fn one_of<'a>(&self, key: &str, words: &[&'a str]) -> Result<&'a str, DataError> {
        let Some(text) = self.text(key) else { return Ok(words[0]) };
        words.iter().find(|w| **w == text).copied().ok_or_else(|| DataError::BadOption {
            option: key.to_owned(),
            value: text.to_owned(),
            expected: words.join(" or "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in [
            "synthetic:rooms",
            "synthetic:rooms?scenes=200&seed=1",
            "nyuv2:/data/nyu?classes=40",
            "frames:a b/c%3Fd%26e%25f?every=3",
        ] {
            let uri: DataUri = text.parse().unwrap();
            assert_eq!(uri.to_string(), text);
        }
    }

    #[test]
    fn order_of_options_does_not_matter() {
        let a: DataUri = "synthetic:rooms?seed=1&scenes=2".parse().unwrap();
        let b: DataUri = "synthetic:rooms?scenes=2&seed=1".parse().unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn mistakes_say_what_there_is() {
        for (text, part) in [
            ("/data/nyu", "no colon"),
            ("nyu:/data", "nyuv2:DIR"),
            ("nyuv2:", "nothing follows"),
            ("nyuv2:d?classess=40", "classes=13|40|none"),
            ("nyuv2:d?classes", "key=value"),
            ("nyuv2:d?every=1&every=2", "twice"),
            ("synthetic:houses", "synthetic:rooms"),
        ] {
            let error = text.parse::<DataUri>().unwrap_err();
            assert!(error.is_configuration(), "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_read_by_type() {
        let uri: DataUri = "nyuv2:d?every=x&crop=valid".parse().unwrap();
        let error = uri.options.get::<usize>("every", 1, "a whole number").unwrap_err();
        assert!(error.to_string().contains("whole number"), "{error}");
        assert_eq!(uri.options.one_of("crop", &["border", "valid"]).unwrap(), "valid");
        assert_eq!(uri.options.get("min_depth", 0.5, "").unwrap(), 0.5);
    }
}
