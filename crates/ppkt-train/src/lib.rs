#![doc = include_str!("../README.md")]

mod ahead;
mod checkpoint;
mod comparison;
mod config;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod error;
mod features;
mod inference;
mod machine;
mod memory;
#[cfg(any(feature = "metal", test))]
mod metal;
mod metrics;
mod model;
mod objective;
mod observer;
mod optimizer;
mod pca;
mod pictures;
mod precision;
mod pretrain;
mod provenance;
mod recipe;
mod resume;
mod rows_at;
mod run_folder;
mod samples;
mod schedule;
mod segmentation;
mod teacher;
mod tensorboard;
mod validation;
mod weights;

pub use checkpoint::{Checkpoint, RunState};
pub use comparison::{
    Choice, Comparison, ComparisonConfig, ComparisonRow, ComparisonRun, ComparisonSummary, PairedDifference,
    Side, SideScores, compare,
};
pub use config::{
    CheckpointConfig, DataConfig, PictureConfig, PretrainConfig, StudentConfig, TeacherConfig,
    ValidationConfig,
};
pub use error::{Result, TrainError};
pub use features::{EmbedConfig, Embedder, Embeddings, FeatureLayer, check_feature_file};
pub use inference::Inference;
pub use machine::{machine, processor, today};
pub use metrics::{StageSeconds, StepMetrics};
pub use model::{Model, Pass};
pub use objective::{ObjectiveConfig, ObjectiveKind};
pub use observer::{Observer, Quiet};
pub use optimizer::{Optimizer, OptimizerConfig, OptimizerKind, StepReport};
pub use pictures::{draw_features, file_name};
pub use ppkt_sparse::Precision;
pub use pretrain::{BeforeAfter, FirstLast, Summary, pretrain};
pub use provenance::{DataFingerprint, Provenance};
pub use recipe::{Recipe, first_difference, recipe_names, resolve, to_toml, with_settings};
pub use resume::Start;
pub use run_folder::{MetricsLog, RunFolder, write_whole};
pub use samples::write_sample;
pub use schedule::{Decay, ScheduleConfig};
pub use segmentation::{
    ClassScore, ClassWeights, Confusion, EvalConfig, FinetuneConfig, FinetuneDataConfig, FinetuneMetrics,
    FinetuneSeconds, FinetuneStudentConfig, FinetuneSummary, MeasureConfig, Scores, SegmentationLossConfig,
    Trunk, evaluate, finetune, settings_of_weights,
};
pub use teacher::fill_cache;
pub use validation::Retrieval;
