//! A file of weights, and what it says of its network and of what that was trained on.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ppkt_data::{Coordinates, PointFeature};
use ppkt_student::State;
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;
use crate::error::{Result, TrainError};
use crate::run_folder::RunFolder;

/// The weights of a run folder or a file.
pub(crate) struct Weights {
    pub(crate) state: State,
    pub(crate) path: PathBuf,
}

impl Weights {
    /// Reads the file that `from` means: itself, or the student of a run folder.
    ///
    /// # Errors
    /// If it cannot be read or is no file of weights, or the run has not got so far.
    pub(crate) fn read(from: &str) -> Result<Self> {
        let place = Path::new(from);
        let path = if place.is_dir() { place.join("student.safetensors") } else { place.to_owned() };
        if place.is_dir() && !path.exists() {
            let problem = match RunFolder::config_in(place).is_file() {
                true => {
                    "this run has no student.safetensors yet: it is written at the end of a run, or after Ctrl-C"
                }
                false => "this folder holds no student.safetensors: give a run folder, or a file of weights",
            };
            return Err(TrainError::Config(format!("{problem}: {place:?}")));
        }
        Ok(Self { state: ppkt_student::load_state(&path)?, path })
    }

    /// SHA-256 of the file.
    ///
    /// # Errors
    /// If it cannot be read any more.
    pub(crate) fn sha256(&self) -> Result<String> {
        let read = |source| TrainError::output("read the weights", &self.path, source);
        let mut file = File::open(&self.path).map_err(read)?;
        let (mut digest, mut part) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut part).map_err(read)? {
                0 => break,
                n => digest.update(&part[..n]),
            }
        }
        Ok(hex(&digest.finalize()))
    }

    /// An error about this file.
    pub(crate) fn wrong(&self, problem: &str) -> TrainError {
        TrainError::Config(format!("{problem}: {:?}", self.path))
    }

    /// A word of the metadata.
    pub(crate) fn told(&self, key: &str) -> Option<&str> {
        self.state.metadata.get(key).map(String::as_str)
    }

    /// Side of the voxels that it was trained with, metres, if the file tells.
    pub(crate) fn voxel_size_m(&self) -> Result<Option<f32>> {
        self.number("voxel_size_m")
    }

    /// Azimuth of its cylindrical voxels, degrees, if the file tells.
    pub(crate) fn voxel_angle_deg(&self) -> Result<Option<f32>> {
        self.number("voxel_angle_deg")
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        let number = |text: &str| text.parse().map_err(|_| self.wrong(&format!("its {key} is not a number")));
        self.told(key).map(number).transpose()
    }

    /// The coordinates that it was trained in; cartesian if the file does not tell.
    pub(crate) fn coordinates(&self) -> Result<Coordinates> {
        let Some(text) = self.told("coordinates") else { return Ok(Coordinates::Cartesian) };
        serde_json::from_value(serde_json::Value::String(text.to_owned()))
            .map_err(|e| self.wrong(&format!("its coordinates cannot be understood ({e})")))
    }

    /// What its voxels told it, if the file tells.
    pub(crate) fn features(&self) -> Result<Option<Vec<PointFeature>>> {
        let names = |text: &str| {
            text.split(',')
                .map(|name| serde_json::from_value(serde_json::Value::String(name.to_owned())))
                .collect::<std::result::Result<_, _>>()
                .map_err(|e| self.wrong(&format!("its features cannot be understood ({e})")))
        };
        self.told("features").map(names).transpose()
    }
}
