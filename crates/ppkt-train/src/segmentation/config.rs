//! The whole configuration of a training on labels.

use std::sync::Arc;

use ppkt_data::{CloudConfig, DataUris, Dataset, LabelConfig, Split, Subset, keep_back};
use ppkt_sparse::Precision;
use ppkt_student::Arch;
use ppkt_teacher::ByteSize;
use serde::{Deserialize, Serialize};

use crate::config::CheckpointConfig;
use crate::error::{Result, TrainError};
use crate::optimizer::OptimizerConfig;
use crate::recipe::Recipe;
use crate::schedule::ScheduleConfig;

/// A training on labels, complete: what is written into the run folder repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// Seed of everything that is drawn: the labelled share, initial weights, order of frames, augmentation.
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
    /// Where training begins: a run folder or a .safetensors file; empty for random weights ("from scratch").
    pub from: String,
    /// What becomes of the layers before the head.
    pub trunk: Trunk,
    /// Where frames come from.
    pub data: FinetuneDataConfig,
    /// How much of the labels is used.
    pub labels: LabelConfig,
    /// How frames become batches.
    pub batch: CloudConfig,
    /// The 3D network; given by the file of `from` where there is one.
    pub student: FinetuneStudentConfig,
    /// What is learnt by.
    pub loss: SegmentationLossConfig,
    /// How parameters are updated; `lr` is the trunk's.
    pub optimizer: OptimizerConfig,
    /// Learning rate of the head; 0 for that of the trunk.
    pub head_lr: f64,
    /// Factor on the learning rate from each stage of the network to the one before it; 1 for none.
    pub layer_decay: f64,
    /// How the learning rate moves.
    pub schedule: ScheduleConfig,
    /// How held-out frames are measured.
    pub measure: MeasureConfig,
    /// When the run is saved.
    pub checkpoint: CheckpointConfig,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 2_000,
            precision: Precision::F32,
            memory_limit: ByteSize(0),
            from: String::new(),
            trunk: Trunk::Trained,
            data: FinetuneDataConfig::default(),
            labels: LabelConfig::default(),
            batch: CloudConfig::default(),
            student: FinetuneStudentConfig::default(),
            loss: SegmentationLossConfig::default(),
            optimizer: OptimizerConfig { lr: 0.05, ..OptimizerConfig::default() },
            head_lr: 0.0,
            layer_decay: 1.0,
            schedule: ScheduleConfig::default(),
            measure: MeasureConfig::default(),
            checkpoint: CheckpointConfig::default(),
        }
    }
}

/// What becomes of the layers before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trunk {
    /// They are trained on (fine-tuning).
    Trained,
    /// They stay as they are, with norms in inference mode; only the head learns (linear probe).
    Frozen,
}

/// Where frames come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneDataConfig {
    /// Data URI of labelled frames, such as `nyuv2:DIR`; its held-out part is not trained on.
    pub train: String,
    /// Data URI of the frames to measure on; empty: the held-out part of `train`.
    pub test: String,
    /// Share of the scenes of `train` that is kept back: never trained on, and measured at the end beside the test
    /// frames, so that settings can be chosen without looking at those.
    pub validation_share: f64,
    /// Threads that prepare batches ahead of the training; 0 prepares them in line. Does not change results.
    pub workers: usize,
    /// Clouds that were read are kept in memory up to this, MiB. Does not change results.
    pub memory_mib: usize,
}

impl Default for FinetuneDataConfig {
    fn default() -> Self {
        Self {
            train: String::new(),
            test: String::new(),
            validation_share: 0.0,
            workers: 1,
            memory_mib: 2048,
        }
    }
}

/// The 3D network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneStudentConfig {
    /// Architecture, such as MinkUNet34C.
    pub arch: Arch,
    /// Size of the first kernel: 3 or 5.
    pub first_kernel: usize,
    /// Momentum of the running statistics of stem, down and up norms.
    pub bn_momentum: f64,
}

impl Default for FinetuneStudentConfig {
    fn default() -> Self {
        Self { arch: Arch::MinkUNet34C, first_kernel: 3, bn_momentum: 0.02 }
    }
}

/// How classes count in the cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All alike.
    Equal,
    /// By the inverse root of a class's share of the labelled points, with a mean of 1; a class without points counts
    /// nothing.
    Balanced,
}

/// What is learnt by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentationLossConfig {
    /// equal or balanced.
    pub class_weights: ClassWeights,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// Factor of the Lovász-softmax loss beside the cross-entropy; 0 leaves it out.
    pub lovasz: f64,
}

impl Default for SegmentationLossConfig {
    fn default() -> Self {
        Self { class_weights: ClassWeights::Equal, label_smoothing: 0.0, lovasz: 1.0 }
    }
}

/// How held-out frames are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeasureConfig {
    /// Looks at each frame, turned and mirrored, whose probabilities are added up; 1 for the frame as it is.
    pub votes: usize,
    /// At most this many frames; 0 for all.
    pub frames: usize,
}

impl Default for MeasureConfig {
    fn default() -> Self {
        Self { votes: 1, frames: 0 }
    }
}

impl Recipe for FinetuneConfig {
    const BUILTIN: &'static [(&'static str, &'static str)] = &[
        ("segmentation", include_str!("../../recipes/segmentation.toml")),
        ("probe", include_str!("../../recipes/probe.toml")),
        ("s3dis", include_str!("../../recipes/s3dis.toml")),
        ("scannet", include_str!("../../recipes/scannet.toml")),
    ];
}

impl FinetuneConfig {
    /// Checks what can be checked without opening anything.
    ///
    /// # Errors
    /// [`TrainError::Config`] that names the key and says what it may be.
    pub fn check(&self) -> Result<()> {
        let problem =
            self.own_problem().or_else(|| self.optimizer.problem()).or_else(|| self.schedule.problem());
        if let Some(problem) = problem {
            return Err(TrainError::Config(problem));
        }
        self.labels.check()?;
        Ok(self.batch.check()?)
    }

    fn own_problem(&self) -> Option<String> {
        let at_least = |fine: bool, what: &str| (!fine).then(|| what.to_owned());
        at_least(self.steps > 0, "steps is 0; it must be at least 1")
            .or_else(|| {
                let named = !self.data.train.is_empty();
                at_least(named, "no data is named: give --data URI, such as nyuv2:DIR")
            })
            .or_else(|| {
                let fine = [3, 5].contains(&self.student.first_kernel);
                at_least(fine, "student.first_kernel must be 3 or 5")
            })
            .or_else(|| {
                let fine = self.head_lr >= 0.0 && self.head_lr.is_finite();
                at_least(fine, "head_lr must be 0 (as the trunk) or above")
            })
            .or_else(|| {
                let fine = self.layer_decay > 0.0 && self.layer_decay <= 1.0;
                at_least(fine, "layer_decay must lie above 0 and not above 1")
            })
            .or_else(|| {
                let fine = (0.0..1.0).contains(&self.loss.label_smoothing) && self.loss.lovasz >= 0.0;
                at_least(fine, "loss.label_smoothing must lie from 0 to below 1, loss.lovasz not below 0")
            })
            .or_else(|| at_least(self.measure.votes > 0, "measure.votes must be at least 1"))
            .or_else(|| {
                let fine = self.checkpoint.every > 0 && self.checkpoint.keep > 0;
                at_least(fine, "checkpoint.every and checkpoint.keep must be at least 1")
            })
    }

    /// Opens the frames to train on, all of their labels, and those kept back.
    pub(crate) fn open_training(&self) -> Result<TrainingFrames> {
        let uri: DataUris = self.data.train.parse()?;
        let all: Arc<dyn Dataset> = Arc::from(uri.open(Split::Train)?);
        let (train, back) = keep_back(all.as_ref(), self.data.validation_share)?;
        if back.is_empty() {
            return Ok(TrainingFrames { train: all, kept_back: None });
        }
        Ok(TrainingFrames {
            train: Arc::new(Subset::new(all.clone(), train, "to train on")),
            kept_back: Some(Arc::new(Subset::new(all, back, "kept back"))),
        })
    }

    /// Opens the frames to measure on.
    pub(crate) fn open_test(&self) -> Result<Arc<dyn Dataset>> {
        let (text, split) = match self.data.test.is_empty() {
            true => (&self.data.train, Split::Validation),
            false => (&self.data.test, Split::All),
        };
        let uri: DataUris = text.parse()?;
        Ok(Arc::from(uri.open(split)?))
    }
}

/// Labelled frames, parted into those to train on and those to choose settings by.
pub(crate) struct TrainingFrames {
    pub(crate) train: Arc<dyn Dataset>,
    /// None if none are kept back.
    pub(crate) kept_back: Option<Arc<dyn Dataset>>,
}
