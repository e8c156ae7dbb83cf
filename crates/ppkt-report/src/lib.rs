#![doc = include_str!("../README.md")]

mod error;
mod page;
mod plot;
mod run;
mod section;

pub use error::{ReportError, Result};
pub use page::{PAGE, Written, write};
pub use plot::labels_svg;
pub use run::evaluation::{ClassScore, Evaluation};
pub use run::labels::{Difference, LabelResults, LabelRun, ShareRow, SideScore};
