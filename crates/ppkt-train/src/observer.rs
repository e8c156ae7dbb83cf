//! How a run tells the outside what it does: the program draws bars, a library user may log or ignore it.

use std::path::Path;

use crate::metrics::StepMetrics;
use crate::segmentation::FinetuneMetrics;
use crate::validation::Retrieval;

/// Hears of the progress of a run. Every method has an empty body, so an implementor takes what it needs.
pub trait Observer {
    /// Something worth a line of text.
    fn message(&mut self, _text: &str) {}

    /// A task beside the steps has done so much of its work.
    fn progress(&mut self, _task: &str, _done: u64, _total: u64) {}

    /// That task is finished.
    fn progress_done(&mut self, _task: &str) {}

    /// The steps begin, at `first_step` of `steps`.
    fn begin(&mut self, _first_step: u64, _steps: u64) {}

    /// A step is done.
    fn step(&mut self, _metrics: &StepMetrics) {}

    /// A step on labels is done.
    fn trained(&mut self, _metrics: &FinetuneMetrics) {}

    /// Held-out frames were measured after so many steps.
    fn validated(&mut self, _steps_done: u64, _retrieval: &Retrieval) {}

    /// A checkpoint is safe on the disk.
    fn checkpointed(&mut self, _place: &Path) {}

    /// The steps are over, finished or interrupted.
    fn end(&mut self) {}
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {}
