//! Cameras, depth encodings and classes as they are written in TOML: in `frames.toml` and in the descriptors of
//! the datasets that ppkt knows.

use std::collections::BTreeMap;
use std::path::Path;

use ppkt_geometry::{CameraModel, DepthEncoding, Lens};
use serde::Deserialize;

use crate::{Classes, DataError};

/// A camera. Pixels as in OpenCV: the centre of the first pixel is (0, 0).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameraEntry {
    pub(crate) width: u32,
    pub(crate) height: u32,
    #[serde(default)]
    pub(crate) lens: LensName,
    pub(crate) fx: f64,
    pub(crate) fy: f64,
    pub(crate) cx: f64,
    pub(crate) cy: f64,
    #[serde(default)]
    pub(crate) distortion: Vec<f64>,
}

/// The lens models that a descriptor may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LensName {
    #[default]
    Pinhole,
    BrownConrady,
    Rational,
    KannalaBrandt,
}

impl CameraEntry {
    /// The camera, or what is wrong with the numbers.
    pub(crate) fn model(&self) -> Result<CameraModel, String> {
        let lens = self.lens.with(&self.distortion)?;
        CameraModel::new_opencv(self.width, self.height, [self.fx, self.fy, self.cx, self.cy], lens)
            .map_err(|e| e.to_string())
    }
}

impl LensName {
    /// The lens with its coefficients, in OpenCV's order.
    pub(crate) fn with(self, d: &[f64]) -> Result<Lens, String> {
        match (self, d) {
            (Self::Pinhole, d) if d.iter().all(|v| *v == 0.0) => Ok(Lens::Pinhole),
            (Self::Pinhole, _) => {
                Err("a pinhole has no distortion; name the lens, such as \"brown-conrady\"".into())
            }
            (Self::BrownConrady, &[k1, k2, p1, p2]) => Ok(Lens::BrownConrady { k1, k2, p1, p2, k3: 0.0 }),
            (Self::BrownConrady, &[k1, k2, p1, p2, k3]) => Ok(Lens::BrownConrady { k1, k2, p1, p2, k3 }),
            (Self::BrownConrady, d) => {
                Err(format!("brown-conrady has k1 k2 p1 p2 k3, not {} numbers", d.len()))
            }
            (Self::Rational, &[k1, k2, p1, p2, k3, k4, k5, k6]) => {
                Ok(Lens::Rational { k1, k2, p1, p2, k3, k4, k5, k6 })
            }
            (Self::Rational, d) => {
                Err(format!("rational has k1 k2 p1 p2 k3 k4 k5 k6, not {} numbers", d.len()))
            }
            (Self::KannalaBrandt, &[k1, k2, k3, k4]) => Ok(Lens::KannalaBrandt { k1, k2, k3, k4 }),
            (Self::KannalaBrandt, d) => {
                Err(format!("kannala-brandt has k1 k2 k3 k4, not {} numbers", d.len()))
            }
        }
    }
}

/// How 16-bit numbers become metres: one of the encodings known by name, or spelt out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DepthEntry {
    pub(crate) encoding: Option<EncodingName>,
    pub(crate) metres_per_unit: Option<f64>,
    pub(crate) invalid: Option<Vec<u16>>,
    pub(crate) min_m: Option<f64>,
    pub(crate) max_m: Option<f64>,
}

/// The depth encodings known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EncodingName {
    Millimetres,
    SevenScenes,
    Tum,
    Sunrgbd,
}

impl DepthEntry {
    /// The encoding, or what is wrong with the entry.
    pub(crate) fn encoding(&self) -> Result<DepthEncoding, String> {
        let mut encoding = match (self.encoding, self.metres_per_unit) {
            (Some(_), Some(_)) => return Err("give encoding or metres_per_unit, not both".into()),
            (None, None) => {
                return Err(
                    "say how depth is stored: encoding = \"millimetres\", or metres_per_unit = 0.001".into(),
                );
            }
            (Some(EncodingName::Millimetres), None) => DepthEncoding::millimetres(),
            (Some(EncodingName::SevenScenes), None) => DepthEncoding::seven_scenes(),
            (Some(EncodingName::Tum), None) => DepthEncoding::tum(),
            (Some(EncodingName::Sunrgbd), None) => DepthEncoding::sunrgbd(),
            (None, Some(scale)) if scale.is_finite() && scale > 0.0 => {
                DepthEncoding { metres_per_unit: scale, ..DepthEncoding::millimetres() }
            }
            (None, Some(scale)) => return Err(format!("metres_per_unit is {scale}, but should be positive")),
        };
        if let Some(invalid) = &self.invalid {
            encoding.invalid.clone_from(invalid);
        }
        if let Some(min_m) = self.min_m {
            encoding.min_m = min_m;
        }
        if let Some(max_m) = self.max_m {
            encoding.max_m = max_m;
        }
        if encoding.min_m.partial_cmp(&encoding.max_m) != Some(std::cmp::Ordering::Less) {
            return Err(format!(
                "min_m is {} and max_m is {}: nothing is between",
                encoding.min_m, encoding.max_m
            ));
        }
        Ok(encoding)
    }
}

/// One class: its name, its colour in pictures, and the class of a coarser grouping that it belongs to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassEntry {
    pub(crate) name: String,
    pub(crate) colour: Option<[u8; 3]>,
    #[serde(default)]
    pub(crate) group: u16,
    /// The number that stands for it in the dataset's files, where that is not its place in the list.
    #[serde(default)]
    pub(crate) id: u16,
}

/// Classes 1, 2, … from their entries; without colours for all of them, colours are spread.
pub(crate) fn classes_of(entries: &[ClassEntry]) -> Classes {
    let names = entries.iter().map(|c| c.name.clone()).collect();
    match entries.iter().map(|c| c.colour).collect::<Option<Vec<_>>>() {
        Some(colours) => Classes::new(names, colours),
        None => Classes::with_spread_colours(names),
    }
}

/// What ppkt knows of a dataset apart from its files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Descriptor {
    pub(crate) title: String,
    #[expect(dead_code, reason = "for people")]
    home: String,
    pub(crate) licence: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for people"))]
    splits: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) camera: BTreeMap<String, CameraEntry>,
    /// Absent where there are no depth images.
    #[serde(default)]
    pub(crate) depth: DepthEntry,
    pub(crate) colour_from_depth: Option<[[f64; 4]; 4]>,
    #[serde(default)]
    pub(crate) classes: BTreeMap<String, Vec<ClassEntry>>,
}

macro_rules! descriptors {
    ($($name:ident = $folder:literal),* $(,)?) => {$(
        /// The descriptor of this dataset, compiled in.
        pub(crate) fn $name() -> Result<Descriptor, DataError> {
            const FILE: &str = concat!("datasets/", $folder, "/dataset.toml");
            let text = include_str!(concat!("../../../../datasets/", $folder, "/dataset.toml"));
            parse(text, Path::new(FILE))
        }
    )*};
}
descriptors!(
    nyuv2 = "nyuv2",
    sevenscenes = "sevenscenes",
    tum = "tum",
    sunrgbd = "sunrgbd",
    s3dis = "s3dis",
    scannet = "scannet",
    kitti = "kitti",
    nuscenes = "nuscenes"
);

/// Reads TOML, with the line at fault in the message.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, DataError> {
    toml::from_str(text).map_err(|e: toml::de::Error| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let line = line.map(|l| format!("line {l}: ")).unwrap_or_default();
        DataError::Descriptor { problem: format!("{line}{}", e.message()), path: path.to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_descriptor_is_right() {
        for (d, has_depth) in [
            (nyuv2(), true),
            (sevenscenes(), true),
            (tum(), true),
            (sunrgbd(), true),
            (s3dis(), false),
            (scannet(), true),
            (kitti(), false),
            (nuscenes(), false),
        ] {
            let d = d.unwrap();
            assert!(!d.title.is_empty() && !d.licence.is_empty());
            assert!(d.splits.contains_key("train") && d.splits.contains_key("validation"));
            assert_eq!(d.depth.encoding().is_ok(), has_depth);
            for (name, camera) in &d.camera {
                camera.model().unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
        let nyu = nyuv2().unwrap();
        assert_eq!((nyu.classes["nyu13"].len(), nyu.classes["nyu40"].len()), (13, 40));
        let scannet = scannet().unwrap();
        assert_eq!((scannet.classes["scannet20"].len(), scannet.classes["scannet200"].len()), (20, 200));
        for list in scannet.classes.values() {
            assert!(list.windows(2).all(|pair| 0 < pair[0].id && pair[0].id < pair[1].id));
        }
        // The 20 are a part of NYU-40, by name and number.
        for class in &scannet.classes["scannet20"] {
            assert_eq!(nyu.classes["nyu40"][usize::from(class.id) - 1].name, class.name);
        }
        assert!(nyu.classes["nyu40"].iter().all(|c| (1..=13).contains(&c.group)));
    }

    #[test]
    fn mistakes_name_the_line() {
        let error = parse::<DepthEntry>("encoding = \"tum\"\nscale = 2\n", Path::new("f.toml")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("line 2") && text.contains("scale") && text.contains("metres_per_unit"),
            "{text}"
        );
        let error = parse::<DepthEntry>("encoding = \"cm\"", Path::new("f.toml")).unwrap_err().to_string();
        assert!(error.contains("millimetres"), "{error}");
    }

    #[test]
    fn depth_entries_are_checked() {
        let entry = |text: &str| toml::from_str::<DepthEntry>(text).unwrap().encoding();
        assert!(entry("encoding = \"tum\"").is_ok());
        assert!(entry("metres_per_unit = 0.0002\ninvalid = [0, 7]\nmax_m = 5").is_ok());
        for text in
            ["", "encoding = \"tum\"\nmetres_per_unit = 1", "metres_per_unit = -1", "metres_per_unit = nan"]
        {
            assert!(entry(text).is_err(), "{text}");
        }
        assert!(entry("encoding = \"tum\"\nmin_m = 3\nmax_m = 2").is_err());
    }

    #[test]
    fn lens_coefficients_are_counted() {
        assert!(LensName::Pinhole.with(&[]).is_ok());
        assert!(LensName::Pinhole.with(&[0.1]).is_err());
        assert!(LensName::BrownConrady.with(&[0.1, 0.2, 0.0, 0.0]).is_ok());
        assert!(LensName::BrownConrady.with(&[0.1]).is_err());
        assert!(LensName::Rational.with(&[0.0; 8]).is_ok());
        assert!(LensName::KannalaBrandt.with(&[0.0; 5]).is_err());
    }
}
