//! What was measured: a case, its work, and the limits of the machine it ran on.

use serde::{Deserialize, Serialize};

use super::clock::{self, Sample};

/// The work of one call of a case.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Work {
    /// Floating-point operations that the result needs, a multiply-add being two: pairs of voxels that exist, no
    /// padding. 0 where counting them says nothing.
    pub(super) flop: f64,
    /// Bytes that have to cross to memory if nothing stays in the caches between operations: every array that an
    /// operation reads or writes, once. 0 where it is not counted.
    pub(super) bytes: f64,
}

impl Work {
    /// Both counts.
    pub(super) fn new(flop: f64, bytes: f64) -> Self {
        Self { flop, bytes }
    }

    /// Whether anything was counted.
    pub(super) fn is_counted(&self) -> bool {
        self.flop > 0.0 || self.bytes > 0.0
    }

    /// The least seconds that a machine of these limits needs, and whether arithmetic or memory sets them.
    pub(super) fn roof(&self, peak: &Peak) -> (f64, Limit) {
        let (compute, memory) = (self.flop / (peak.fma_gflops * 1e9), self.bytes / (peak.memory_gbs * 1e9));
        if compute >= memory { (compute, Limit::Compute) } else { (memory, Limit::Memory) }
    }
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flop: self.flop + other.flop, bytes: self.bytes + other.bytes }
    }
}

impl std::ops::Mul<f64> for Work {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self { flop: self.flop * times, bytes: self.bytes * times }
    }
}

/// Which of the machine's limits an operation meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Multiply-adds.
    Compute,
    /// Memory traffic.
    Memory,
}

/// The limits of the machine for a number of threads, measured in the same run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Peak {
    /// Threads that ran.
    pub(super) threads: usize,
    /// Bits of the widest vector.
    pub(super) vector_bits: usize,
    /// Fused multiply-adds of f32, two operations each.
    pub(super) fma_gflops: f64,
    /// Memory that is read and written, both counted.
    pub(super) memory_gbs: f64,
    /// Whether others used the machine in every attempt: the limits are then too low, and shares of them too high.
    pub(super) disturbed: bool,
}

/// One case with its samples: a line that a worker prints, and an entry of the JSON file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Case {
    /// Name of the section.
    pub(super) section: String,
    /// Name, unique within a section.
    pub(super) name: String,
    /// What it was measured on.
    pub(super) input: String,
    /// Threads that computed.
    pub(super) threads: usize,
    /// The work of one call.
    pub(super) work: Work,
    /// Timings.
    pub(super) samples: Vec<Sample>,
    /// Most memory that the case had at a time, beyond what the process had before it, in MB (10⁶ bytes).
    pub(super) peak_mb: Option<f64>,
}

impl Case {
    /// Median of the quiet samples, seconds.
    pub(super) fn median(&self) -> f64 {
        clock::quiet_median(&self.samples)
    }

    /// Shortest sample, seconds.
    pub(super) fn min(&self) -> f64 {
        self.samples.iter().map(|s| s.seconds).fold(f64::INFINITY, f64::min)
    }

    /// Whether others used the machine during every sample.
    pub(super) fn disturbed(&self) -> bool {
        !self.samples.is_empty() && clock::disturbed(&self.samples)
    }

    /// Whether it is the same case as another one, on the same number of threads.
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.section, &self.name, self.threads) == (&other.section, &other.name, other.threads)
    }
}

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// A case that is finished.
    Case(Case),
    /// The limits of the machine.
    Peak(Peak),
    /// The stages of a training step.
    Profile(super::profile::Profile),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roof_is_the_slower_of_the_two() {
        let peak =
            Peak { threads: 1, vector_bits: 512, fma_gflops: 100.0, memory_gbs: 10.0, disturbed: false };
        assert_eq!(Work::new(2e11, 1e10).roof(&peak), (2.0, Limit::Compute));
        assert_eq!(Work::new(1e10, 1e10).roof(&peak), (1.0, Limit::Memory));
    }
}
