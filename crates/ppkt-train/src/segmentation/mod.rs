//! Semantic segmentation: what a backbone is worth once there are labels.
//!
//! A task is a head (a new `final` layer), a loss ([`ppkt_objective::SegmentationLoss`]), a metric ([`Confusion`]) and
//! a reader of labels ([`ppkt_data::LabelledFrames`]).

mod config;
mod driver;
mod evaluation;
mod metrics;
mod network;

pub use config::{
    ClassWeights, FinetuneConfig, FinetuneDataConfig, FinetuneStudentConfig, MeasureConfig,
    SegmentationLossConfig, Trunk,
};
pub use driver::{FinetuneMetrics, FinetuneSeconds, FinetuneSummary, finetune};
pub use evaluation::{EvalConfig, evaluate};
pub use metrics::{ClassScore, Confusion, Scores};
pub use network::settings_of_weights;
