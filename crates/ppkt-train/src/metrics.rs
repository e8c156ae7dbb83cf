//! What is recorded of each step.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Seconds of one step, by stage.
///
/// A GPU works behind the host: there each stage but the last has the time of handing its work over, and the optimiser
/// has the wait for all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSeconds {
    /// Waiting for the batch.
    pub wait: f64,
    /// The frozen 2D network.
    pub teacher: f64,
    /// The 3D network, forward.
    pub student: f64,
    /// Projection, objective.
    pub objective: f64,
    /// Gradients.
    pub backward: f64,
    /// Checks, clipping and update.
    pub optimizer: f64,
}

impl StageSeconds {
    /// All stages together.
    pub fn total(&self) -> f64 {
        self.wait + self.teacher + self.student + self.objective + self.backward + self.optimizer
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Number of the step, from 0.
    pub step: u64,
    /// Value of the objective.
    pub loss: f64,
    /// Share of the pairs of this step whose point has its own pixel nearest.
    pub batch_retrieval_at_1: f64,
    /// Learning rate.
    pub lr: f64,
    /// Euclidean norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Pairs in the objective.
    pub pairs: usize,
    /// Points that the frames had after augmentation.
    pub points: usize,
    /// Voxels that the student saw.
    pub voxels: usize,
    /// Seconds by stage.
    pub seconds: StageSeconds,
    /// Resident memory, MiB, where the system tells it.
    pub memory_mib: Option<u64>,
    /// The most memory of the GPU that was in use so far, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_mib: Option<u64>,
    /// Whether convolutions were run again in the backward pass, so that the step kept to the memory limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub convolutions_again: bool,
    /// Frames left out because they were damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// Resident memory of this process in MiB, where the system tells it (Linux).
pub(crate) fn resident_mib() -> Option<u64> {
    resident_bytes().map(|bytes| bytes >> 20)
}

/// The same in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The most memory of a GPU that was in use so far, MiB, where it is counted.
pub(crate) fn gpu_mib(device: &candle_core::Device) -> Option<u64> {
    ppkt_device::peak_bytes(device).map(|bytes| bytes >> 20)
}

/// Adds up the time between calls.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn lap(&mut self, into: &mut f64) {
        let now = Instant::now();
        *into += (now - self.0).as_secs_f64();
        self.0 = now;
    }
}
