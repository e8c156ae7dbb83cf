//! The whole configuration of a pretraining run.

use ppkt_data::{BatchConfig, DataError, DataUris, Dataset, Split};
use ppkt_sparse::Precision;
use ppkt_student::Arch;
use ppkt_teacher::{ByteSize, TeacherOptions, TeacherUri};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::objective::ObjectiveConfig;
use crate::optimizer::OptimizerConfig;
use crate::schedule::ScheduleConfig;

/// A pretraining run, complete: what is written into the run folder repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// Seed of everything that is drawn: initial weights, order of frames, augmentation, pairs, candidates.
    pub seed: u64,
    /// Optimiser steps of the run.
    pub steps: u64,
    /// Numbers that the 3D network is trained with: f32, or bf16 on NVIDIA GPUs and processors with avx512_bf16 (weights and
    /// all sums stay f32). What is measured in between and at the end is computed in f32.
    pub precision: Precision,
    /// Memory that a step may have in use, such as `6GB`: of the GPU where the run is on one, otherwise of the process; 0
    /// for no limit. Where a step would need more, its backward pass computes again what it would have kept, in
    /// the time of another forward pass and with the same results; where that does not suffice the run ends.
    pub memory_limit: ByteSize,
    /// Where frames come from.
    pub data: DataConfig,
    /// How frames become batches.
    pub batch: BatchConfig,
    /// The frozen 2D network.
    pub teacher: TeacherConfig,
    /// The 3D network to train.
    pub student: StudentConfig,
    /// What pulls pixels and points together.
    pub objective: ObjectiveConfig,
    /// How parameters are updated.
    pub optimizer: OptimizerConfig,
    /// How the learning rate moves.
    pub schedule: ScheduleConfig,
    /// How held-out frames are measured.
    pub validation: ValidationConfig,
    /// When the run is saved.
    pub checkpoint: CheckpointConfig,
    /// Which pictures are drawn at the end.
    pub pictures: PictureConfig,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 60_000,
            precision: Precision::F32,
            memory_limit: ByteSize(0),
            data: DataConfig::default(),
            batch: BatchConfig::default(),
            teacher: TeacherConfig::default(),
            student: StudentConfig::default(),
            objective: ObjectiveConfig::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            validation: ValidationConfig::default(),
            checkpoint: CheckpointConfig::default(),
            pictures: PictureConfig::default(),
        }
    }
}

/// Where frames come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Data URI of the frames to train on, such as `nyuv2:DIR`, or several with ` + ` between them; their held-out parts
    /// are not trained on.
    pub train: String,
    /// Data URI of the frames to validate on; empty: the held-out part of `train`.
    pub validation: String,
    /// Threads that read and prepare batches ahead of the training; 0 prepares them in line. Does not change results.
    pub workers: usize,
}

/// The frozen 2D network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherConfig {
    /// Teacher URI: `hf:org/name[@revision]`, `file:PATH` or `builtin:tiny`.
    pub uri: String,
    /// Folder in which its feature maps are kept, so that it sees each image once; empty: none are kept, and it runs in
    /// every step. Maps are then rounded to half precision, and `batch.plain_images` must be set.
    pub cache: String,
    /// Bytes that this folder may hold, such as `20GB`; when it is full no more maps are added.
    pub cache_limit: ByteSize,
    /// How its file is to be read, and which features are taken.
    pub options: TeacherOptions,
}

impl Default for TeacherConfig {
    fn default() -> Self {
        Self {
            uri: "builtin:tiny".into(),
            cache: String::new(),
            cache_limit: ByteSize(20_000_000_000),
            options: TeacherOptions::default(),
        }
    }
}

/// The 3D network to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StudentConfig {
    /// Architecture, such as MinkUNet34C.
    pub arch: Arch,
    /// Size of the first kernel: 3 (PointContrast, SLidR) or 5 (MinkowskiEngine's model zoo).
    pub first_kernel: usize,
    /// Momentum of the running statistics of stem, down and up norms (those inside residual blocks keep 0.1, as in
    /// the code that released checkpoints come from).
    pub bn_momentum: f64,
}

impl Default for StudentConfig {
    fn default() -> Self {
        Self { arch: Arch::MinkUNet34C, first_kernel: 3, bn_momentum: 0.05 }
    }
}

/// How held-out frames are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// Steps between two validations; one is always made before the first step and after the last.
    pub every: u64,
    /// Candidate pixels among which a point has to find its own.
    pub candidates: usize,
    /// Held-out frames that the candidates are spread over (at most; more are taken if these have too few).
    pub frames: usize,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self { every: 500, candidates: 1024, frames: 32 }
    }
}

/// When the run is saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints; one is always written at the end and on Ctrl-C.
    pub every: u64,
    /// Newest checkpoints that are kept.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 500, keep: 3 }
    }
}

/// Which pictures are drawn at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PictureConfig {
    /// Held-out frames that are drawn.
    pub frames: usize,
}

impl Default for PictureConfig {
    fn default() -> Self {
        Self { frames: 6 }
    }
}

impl PretrainConfig {
    /// Checks what can be checked without opening anything.
    ///
    /// # Errors
    /// [`TrainError::Config`] that names the key and says what it may be.
    pub fn check(&self) -> Result<()> {
        let problem = self
            .own_problem()
            .or_else(|| self.objective.problem())
            .or_else(|| self.optimizer.problem())
            .or_else(|| self.schedule.problem());
        match problem {
            Some(problem) => Err(TrainError::Config(problem)),
            None => Ok(self.batch.check()?),
        }
    }

    fn own_problem(&self) -> Option<String> {
        if self.steps == 0 {
            return Some("steps is 0; it must be at least 1".into());
        }
        if self.data.train.is_empty() {
            return Some("no data is named: give --data URI, such as synthetic:rooms or nyuv2:DIR".into());
        }
        if !self.teacher.cache.is_empty() && !self.batch.plain_images {
            return Some(
                "teacher.cache needs images that are the same in every epoch: set batch.plain_images=true (--cache \
                 sets both)"
                    .into(),
            );
        }
        if ![3, 5].contains(&self.student.first_kernel) {
            return Some(format!("student.first_kernel is {}; it must be 3 or 5", self.student.first_kernel));
        }
        if !(self.student.bn_momentum > 0.0 && self.student.bn_momentum <= 1.0) {
            return Some("student.bn_momentum must lie above 0 and not above 1".into());
        }
        if self.validation.candidates < 2 || self.validation.frames == 0 || self.validation.every == 0 {
            return Some("validation needs at least 2 candidates, 1 frame, and every at least 1".into());
        }
        if self.checkpoint.every == 0 || self.checkpoint.keep == 0 {
            return Some("checkpoint.every and checkpoint.keep must be at least 1".into());
        }
        None
    }

    /// The teacher's URI, parsed.
    pub fn teacher_uri(&self) -> Result<TeacherUri> {
        Ok(self.teacher.uri.parse()?)
    }

    /// Opens the frames to train on.
    pub fn open_training(&self) -> Result<Box<dyn Dataset>> {
        open_with_photographs(&self.data.train, Split::Train)
    }

    /// Opens the held-out frames.
    pub fn open_validation(&self) -> Result<Box<dyn Dataset>> {
        if self.data.validation.is_empty() {
            return open_with_photographs(&self.data.train, Split::Validation);
        }
        open_with_photographs(&self.data.validation, Split::All)
    }
}

/// Clouds alone are refused before anything is computed.
fn open_with_photographs(text: &str, split: Split) -> Result<Box<dyn Dataset>> {
    let uri: DataUris = text.parse()?;
    let dataset = uri.open(split)?;
    if !dataset.has_photographs() {
        return Err(DataError::NoPhotographs { data: dataset.name().to_owned() }.into());
    }
    Ok(dataset)
}
