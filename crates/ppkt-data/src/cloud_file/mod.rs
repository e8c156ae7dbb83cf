//! Clouds in files of their own, in the formats that people have them in: PLY, arrays of numpy, lists of LiDAR points.
//!
//! Whatever the format, a file becomes a [`Table`] of named columns, and the table a [`CloudFile`].

mod binary;
mod columns;
mod npy;
mod npz;

use std::path::{Path, PathBuf};

use crate::readers::read_bytes;
use crate::{Cloud, DataError, Ply, PlyColumn, PointFeature};

/// Files larger than this are refused: all of a cloud is in memory, and 64 GiB are 4 billion points already.
const MAX_BYTES: u64 = 64 << 30;

/// What the names of files end in, for messages.
const FORMATS: &str = ".ply, .npy, .npz, .bin or .pcd.bin";

/// How a file is to be read, where it does not say so itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CloudFileOptions {
    /// What the columns of an array or a list of points are, from the first: `x`, `y`, `z`, `red`, `green`, `blue`,
    /// `intensity`, or `_` for one that is not read. Empty for the usual: by number of columns.
    pub columns: Vec<String>,
    /// The largest intensity that the sensor gives, such as 255; `None` to take it from the values.
    pub intensity_max: Option<f32>,
}

/// The points of a file, in its order, and what it says of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CloudFile {
    /// Positions less [`Self::offset_m`], metres.
    pub points: Vec<[f32; 3]>,
    /// What was subtracted from the positions of the file: zero, unless they are so far from the origin (maps in
    /// national coordinates) that 32 bits would not tell them apart.
    pub offset_m: [f64; 3],
    /// Red, green and blue, each 0 to 1.
    pub colours: Option<Vec<[f32; 3]>>,
    /// Intensity of the LiDAR's return, 0 to 1.
    pub intensity: Option<Vec<f32>>,
    /// What was assumed in reading the file, one sentence each.
    pub notes: Vec<String>,
    path: PathBuf,
}

/// Columns of numbers with names, all of one length.
pub(crate) struct Table {
    pub(crate) len: usize,
    pub(crate) columns: Vec<(String, PlyColumn)>,
    /// What was assumed, one sentence each.
    pub(crate) notes: Vec<String>,
    /// The largest intensity, where the format fixes it.
    pub(crate) intensity_max: Option<f32>,
}

impl CloudFile {
    /// Whether a path looks like a file that [`Self::read`] reads, by its name alone.
    pub fn is_named_like_one(path: &Path) -> bool {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        ["ply", "npy", "npz", "bin"].contains(&ending.as_str())
    }

    /// Reads a file; its name's ending says the format.
    ///
    /// - `.ply`: vertices with `x y z` of any type; colour as `red green blue` (also `r g b`, `diffuse_red` …), 0 to
    ///   255 in whole numbers, 0 to 1 or 0 to 255 in others; intensity as `intensity`, `reflectance` and the like.
    /// - `.npy`: an array `[n, columns]`, or `[n]` of a type with names. Three columns are x, y, z; four x, y, z,
    ///   intensity; six x, y, z, red, green, blue; other numbers need [`CloudFileOptions::columns`].
    /// - `.npz`: arrays of one length named as `points`, `colors`, `intensity` (and other usual names), or one array
    ///   as in a `.npy`.
    /// - `.bin`: KITTI's list, 32-bit x, y, z, intensity (0 to 1); `.pcd.bin`: nuScenes', with a ring as fifth number
    ///   and intensities to 255.
    ///
    /// # Errors
    /// If the file cannot be read, is cut off or no such file, a position is not finite, or a colour or intensity lies
    /// outside of every usual range; the error names the file and the remedy.
    pub fn read(path: &Path, options: &CloudFileOptions) -> Result<Self, DataError> {
        let wrong = |problem: String| DataError::Text { what: "point cloud", problem, path: path.to_owned() };
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if !Self::is_named_like_one(path) {
            return Err(wrong(format!("its name does not end in {FORMATS}, so its format is not known")));
        }
        let bytes = read_bytes(path, "point cloud", MAX_BYTES)?;
        let table = match ending {
            "ply" => Ply::parse(&bytes).map(Table::of_ply),
            "npy" => npy::table(&bytes, options),
            "npz" => npz::table(&bytes, options),
            _ => binary::table(&bytes, name.ends_with(".pcd.bin"), options),
        };
        drop(bytes);
        let mut cloud = table.and_then(|table| columns::cloud(table, options)).map_err(wrong)?;
        cloud.path = path.to_owned();
        Ok(cloud)
    }

    /// The cloud that a network is fed with, which takes the features `wanted`.
    ///
    /// # Errors
    /// [`DataError::Lacking`] if the file does not have one of them.
    pub fn to_cloud(&self, wanted: &[PointFeature]) -> Result<Cloud, DataError> {
        let lacking = |what| DataError::Lacking { what, path: self.path.clone() };
        if wanted.contains(&PointFeature::Rgb) && self.colours.is_none() {
            return Err(lacking("colour"));
        }
        if wanted.contains(&PointFeature::Intensity) && self.intensity.is_none() {
            return Err(lacking("intensity"));
        }
        Ok(Cloud {
            points: self.points.clone(),
            colours: self.colours.clone().unwrap_or_else(|| vec![[0.5; 3]; self.points.len()]),
            intensity: self.intensity.clone(),
            classes: None,
        })
    }
}

impl Table {
    fn of_ply(ply: Ply) -> Self {
        let len = ply.len();
        Self { len, columns: ply.into_columns(), notes: Vec::new(), intensity_max: None }
    }

    pub(crate) fn column(&self, name: &str) -> Option<&PlyColumn> {
        self.columns.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, column)| column)
    }
}

/// The names of `n` columns without names: those given, or the usual ones for their number, which `notes` then tells.
fn names_of_columns(
    n: usize,
    options: &CloudFileOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, String> {
    const KNOWN: [&str; 8] = ["x", "y", "z", "red", "green", "blue", "intensity", "_"];
    let given = &options.columns;
    if given.is_empty() {
        let usual: &[&str] = match n {
            3 => &["x", "y", "z"],
            4 => &["x", "y", "z", "intensity"],
            6 => &["x", "y", "z", "red", "green", "blue"],
            _ => {
                return Err(format!(
                    "it has {n} columns, which may be anything; say what they are, such as columns \
                     x,y,z,red,green,blue,_ (with _ for each that is not to be read)"
                ));
            }
        };
        notes.push(format!("its {n} columns are taken to be {}", usual.join(", ")));
        return Ok(usual.iter().map(|name| (*name).to_owned()).collect());
    }
    if let Some(strange) = given.iter().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("{strange:?} is no column; there are {}", KNOWN.join(", ")));
    }
    for (i, name) in given.iter().enumerate() {
        if name != "_" && given[..i].contains(name) {
            return Err(format!("the column {name:?} is named twice"));
        }
    }
    match given.len() == n {
        true => Ok(given.clone()),
        false => Err(format!("it has {n} columns, and {} were named", given.len())),
    }
}
