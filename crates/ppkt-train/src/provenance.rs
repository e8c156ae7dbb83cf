//! What a run was made from: versions and fingerprints, so that it can be repeated and is not resumed on other data.

use candle_core::Device;
use ppkt_data::Dataset;
use ppkt_teacher::TeacherSpec;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::machine::{processor, today};
use crate::observer::Observer;
use crate::run_folder::{RunFolder, read_json, write_json};
use crate::weights::Weights;

/// Versions and fingerprints of a run, written as `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of this program.
    pub ppkt: String,
    /// Operating system and processor family.
    pub system: String,
    /// Vector kernels of the sparse network.
    pub kernels: String,
    /// What the networks that are trained are on: `cpu`, `cuda`, `cuda:1`, `metal`.
    #[serde(default = "cpu")]
    pub device: String,
    /// Name of the processor.
    #[serde(default)]
    pub processor: String,
    /// Cores that the process may use.
    #[serde(default)]
    pub cores: usize,
    /// Day on which the run began, YYYY-MM-DD.
    #[serde(default)]
    pub date: String,
    /// The command that began the run, word by word.
    #[serde(default)]
    pub command: Vec<String>,
    /// Frames to train on: name, number and fingerprint.
    pub training: DataFingerprint,
    /// Held-out frames.
    pub validation: DataFingerprint,
    /// Name of the teacher of a pretraining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// SHA-256 of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_sha256: Option<String>,
    /// File of weights that a training on labels begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
}

/// A dataset as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFingerprint {
    /// Its name.
    pub name: String,
    /// Number of frames.
    pub frames: usize,
    /// Digest of its frames' names, options, calibration and file sizes.
    pub fingerprint: String,
}

/// The device of runs that were begun before there was another.
fn cpu() -> String {
    "cpu".to_owned()
}

impl DataFingerprint {
    fn of(dataset: &dyn Dataset) -> Result<Self> {
        Ok(Self {
            name: dataset.name().to_owned(),
            frames: dataset.len(),
            fingerprint: dataset.fingerprint()?,
        })
    }
}

impl Provenance {
    /// That of a pretraining.
    ///
    /// # Errors
    /// If the size of a file of the data cannot be asked for.
    pub fn of_pretraining(
        training: &dyn Dataset,
        validation: &dyn Dataset,
        teacher: &TeacherSpec,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            teacher: Some(teacher.name.clone()),
            teacher_sha256: Some(teacher.fingerprint.clone()),
            ..Self::of(training, validation, device)?
        })
    }

    /// That of a training on labels: `training` are all labelled frames, of which `labels.json` lists those used.
    pub(crate) fn of_labels(
        training: &dyn Dataset,
        validation: &dyn Dataset,
        weights: Option<&Weights>,
        device: &Device,
    ) -> Result<Self> {
        Ok(Self {
            weights: weights.map(|w| w.path.display().to_string()),
            weights_sha256: weights.map(Weights::sha256).transpose()?,
            ..Self::of(training, validation, device)?
        })
    }

    fn of(training: &dyn Dataset, validation: &dyn Dataset, device: &Device) -> Result<Self> {
        Ok(Self {
            ppkt: env!("CARGO_PKG_VERSION").to_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            kernels: ppkt_sparse::simd_path()?.to_owned(),
            device: ppkt_device::name(device),
            processor: processor(),
            date: today(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            training: DataFingerprint::of(training)?,
            validation: DataFingerprint::of(validation)?,
            teacher: None,
            teacher_sha256: None,
            weights: None,
            weights_sha256: None,
        })
    }

    /// Writes it into a run folder that has none yet.
    pub fn write(&self, folder: &RunFolder) -> Result<()> {
        let path = folder.provenance();
        if path.exists() { Ok(()) } else { write_json(&path, self) }
    }

    /// Checks it against that of a run that is to go on; `observer` hears what may change the last digits.
    ///
    /// # Errors
    /// If frames or weights are not those that the run began with: a resumed run would not be the same run.
    pub fn compare(&self, folder: &RunFolder, observer: &mut dyn Observer) -> Result<()> {
        let path = folder.provenance();
        if !path.exists() {
            return Ok(());
        }
        let there: Self = read_json(&path)?;
        let changed = [
            ("the frames to train on", there.training.fingerprint != self.training.fingerprint),
            ("the held-out frames", there.validation.fingerprint != self.validation.fingerprint),
            ("the teacher's weights", there.teacher_sha256 != self.teacher_sha256),
            ("the weights of `from`", there.weights_sha256 != self.weights_sha256),
        ];
        if let Some((what, _)) = changed.iter().find(|(_, changed)| *changed) {
            return Err(TrainError::Config(format!(
                "{what} are not those that this run began with; begin another run with --out, or put them back: {path:?}"
            )));
        }
        for (what, before, now) in [
            ("version", &there.ppkt, &self.ppkt),
            ("system", &there.system, &self.system),
            ("vector kernels", &there.kernels, &self.kernels),
            ("device", &there.device, &self.device),
        ] {
            if before != now {
                observer.message(&format!(
                    "this run began with {what} {before} and goes on with {now}: losses may differ in the last digits"
                ));
            }
        }
        Ok(())
    }
}
