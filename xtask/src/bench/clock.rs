//! Timing of one case: a warm-up, then samples, each with the load that others put on the machine meanwhile.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How long a case is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Fewest samples.
    at_least: usize,
    /// Most samples.
    at_most: usize,
    /// No sample is begun after this many seconds, once there are enough.
    seconds: f64,
}

impl Effort {
    /// Quick figures for a look, or such that can be published.
    pub(super) fn new(quick: bool) -> Self {
        if quick {
            Self { at_least: 3, at_most: 10, seconds: 0.3 }
        } else {
            Self { at_least: 4, at_most: 30, seconds: 1.5 }
        }
    }
}

/// One sample.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Seconds for one call.
    pub(super) seconds: f64,
    /// Cores that everything else on the machine kept busy; 0 where the system does not tell.
    pub(super) foreign: f64,
}

/// A sample shorter than this repeats its call, so that the clock's own cost disappears.
const SHORTEST_SAMPLE: f64 = 0.005;

/// A case that takes so many times as long as it should ends with this many samples.
const PATIENCE: f64 = 8.0;
const ENOUGH: usize = 2;

/// Above this many foreign cores a sample is not called quiet; the scripts of the peers draw the same line.
const QUIET: f64 = 0.3;

/// Runs `call` once to warm up, then takes samples.
pub(super) fn sample<T>(
    effort: Effort,
    mut call: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Vec<Sample>> {
    let mut once = || -> anyhow::Result<f64> {
        let start = Instant::now();
        std::hint::black_box(call()?);
        Ok(start.elapsed().as_secs_f64())
    };
    // The second call is the first that finds its pages and caches as they will be.
    let mut one = once()?;
    if one < effort.seconds {
        one = once()?;
    }
    let repeats = (SHORTEST_SAMPLE / one.max(1e-9)).ceil().clamp(1.0, 1e6) as usize;
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < effort.at_most
        && (samples.len() < effort.at_least || begin.elapsed().as_secs_f64() < effort.seconds)
        && (samples.len() < ENOUGH || begin.elapsed().as_secs_f64() < PATIENCE * effort.seconds)
    {
        let (others, start) = (Others::now(), Instant::now());
        for _ in 0..repeats {
            once()?;
        }
        let wall = start.elapsed().as_secs_f64();
        samples.push(Sample { seconds: wall / repeats as f64, foreign: Others::now().since(others) / wall });
    }
    Ok(samples)
}

/// Runs something, and tells whether others used the machine meanwhile.
pub(super) fn was_disturbed<T>(run: impl FnOnce() -> T) -> (T, bool) {
    let (others, start) = (Others::now(), Instant::now());
    let result = run();
    let foreign = Others::now().since(others) / start.elapsed().as_secs_f64();
    (result, foreign >= QUIET)
}

/// Median over the quiet samples; over all where there is no quiet one.
pub(super) fn quiet_median(samples: &[Sample]) -> f64 {
    let quiet: Vec<f64> = samples.iter().filter(|s| s.foreign < QUIET).map(|s| s.seconds).collect();
    if quiet.is_empty() { median(samples.iter().map(|s| s.seconds)) } else { median(quiet) }
}

/// Whether no sample was quiet.
pub(super) fn disturbed(samples: &[Sample]) -> bool {
    samples.iter().all(|s| s.foreign >= QUIET)
}

/// Middle of the sorted values; 0 for none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => 0.0,
        _ if n % 2 == 1 => sorted[n / 2],
        _ => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Seconds of processor time that others had until now: all of the machine less this process.
#[derive(Debug, Clone, Copy)]
struct Others(f64);

impl Others {
    fn now() -> Self {
        Self(others().unwrap_or(0.0))
    }

    fn since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0).max(0.0)
    }
}

/// From Linux's accounts in /proc, which count in hundredths of a second on every architecture.
fn others() -> Option<f64> {
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let field: Vec<f64> =
        machine.lines().next()?.split_whitespace().skip(1).filter_map(|v| v.parse().ok()).collect();
    // user, nice, system, irq, softirq, steal; not idle and waiting.
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| field.get(i)).sum();
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th fields after it.
    let own: Vec<f64> =
        own.rsplit(')').next()?.split_whitespace().skip(11).take(2).filter_map(|v| v.parse().ok()).collect();
    Some((busy - own.iter().sum::<f64>()) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn quiet_samples_come_first() {
        let at = |seconds, foreign| Sample { seconds, foreign };
        assert_eq!(quiet_median(&[at(1.0, 0.0), at(9.0, 1.0), at(8.0, 1.0)]), 1.0);
        assert_eq!(quiet_median(&[at(9.0, 1.0), at(7.0, 1.0)]), 8.0);
        assert!(disturbed(&[at(1.0, 0.5)]) && !disturbed(&[at(1.0, 0.5), at(1.0, 0.1)]));
    }

    #[test]
    fn samples_are_as_many_as_asked_for_and_measure_time() {
        let wait = || {
            std::thread::sleep(std::time::Duration::from_millis(6));
            Ok(())
        };
        let samples = sample(Effort { at_least: 3, at_most: 3, seconds: 1.0 }, wait).unwrap();
        assert_eq!(samples.len(), 3);
        assert!(samples.iter().all(|s| s.seconds >= 0.006));
        // Patience is at its end before the wanted number is reached.
        assert_eq!(sample(Effort { at_least: 9, at_most: 9, seconds: 0.0 }, wait).unwrap().len(), ENOUGH);
    }
}
