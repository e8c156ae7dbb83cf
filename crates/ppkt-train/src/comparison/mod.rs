//! What labels are worth with and without pretraining: the same training on the same labels from both beginnings, over
//! shares of labels and seeds.

mod config;
mod driver;
mod results;
mod statistics;

pub use config::ComparisonConfig;
pub use driver::{ComparisonSummary, compare};
pub use results::{Choice, Comparison, ComparisonRow, ComparisonRun, Side, SideScores};
pub use statistics::PairedDifference;
