//! Learning rates over the steps of a run.

use serde::{Deserialize, Serialize};

/// How the learning rate moves from its peak to its end, after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// Half a cosine from the peak to `final_factor` (SGDR without restarts, arXiv 1608.03983).
    Cosine,
    /// `(1 − t)^power` (DeepLab's "poly").
    Polynomial,
    /// Rises from `1 / div` to the peak over `rise_share` of the steps and falls to `final_factor` of it, both by
    /// half a cosine (1cycle, arXiv 1708.07120).
    OneCycle,
    /// Multiplied by `gamma` at each of `milestones`.
    Step,
    /// Multiplied by `gamma` every `period` steps (PointContrast: 0.99 every 250).
    Exponential,
}

/// The learning-rate schedule of a run: a factor on the peak rate for each step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Form of the decay: constant, cosine, polynomial, one-cycle, step, exponential.
    pub decay: Decay,
    /// Share of the run in which the rate rises linearly from near zero to the peak, from 0 to below 1.
    pub warmup_share: f64,
    /// Factor that cosine and one-cycle end at, just after the last step.
    pub final_factor: f64,
    /// Exponent of the polynomial.
    pub power: f64,
    /// Factor of one step or period, for step and exponential.
    pub gamma: f64,
    /// Steps between two multiplications, for exponential.
    pub period: u64,
    /// Steps at which the rate is multiplied by `gamma`, for step, as shares of the run from 0 to 1.
    pub milestones: Vec<f64>,
    /// Share of the run in which one-cycle rises.
    pub rise_share: f64,
    /// One-cycle starts at the peak divided by this.
    pub div: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            decay: Decay::Cosine,
            warmup_share: 0.0,
            final_factor: 0.0,
            power: 0.9,
            gamma: 0.99,
            period: 250,
            milestones: vec![0.6, 0.8],
            rise_share: 0.3,
            div: 25.0,
        }
    }
}

impl ScheduleConfig {
    /// Explains what is wrong with these values, if anything.
    pub fn problem(&self) -> Option<String> {
        if !(0.0..1.0).contains(&self.warmup_share) {
            return Some(format!(
                "schedule.warmup_share is {}; it must lie from 0 to below 1",
                self.warmup_share
            ));
        }
        if self.decay == Decay::OneCycle && self.warmup_share > 0.0 {
            return Some(
                "schedule.warmup_share must be 0 for one-cycle, which rises by itself (rise_share)".into(),
            );
        }
        if self.period == 0 {
            return Some("schedule.period is 0; it must be at least 1".into());
        }
        if self.milestones.iter().any(|m| !(0.0..=1.0).contains(m)) {
            return Some("schedule.milestones are shares of the run and must lie from 0 to 1".into());
        }
        if !(self.div >= 1.0 && (0.0..1.0).contains(&self.rise_share)) {
            return Some("schedule.div must be at least 1 and schedule.rise_share from 0 to below 1".into());
        }
        let finite = [self.final_factor, self.power, self.gamma];
        if finite.iter().any(|v| !v.is_finite() || *v < 0.0) {
            return Some("schedule.final_factor, power and gamma must be finite and not negative".into());
        }
        None
    }

    /// Factor on the peak learning rate at `step` (from 0) of a run of `steps`.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let warmup = (self.warmup_share * steps as f64).round() as u64;
        if step < warmup {
            return (step + 1) as f64 / (warmup + 1) as f64;
        }
        let done = (step - warmup) as f64;
        let t = (done / (steps.saturating_sub(warmup)).max(1) as f64).min(1.0);
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => half_cosine(1.0, self.final_factor, t),
            Decay::Polynomial => (1.0 - t).powf(self.power),
            Decay::OneCycle if t < self.rise_share => half_cosine(1.0 / self.div, 1.0, t / self.rise_share),
            Decay::OneCycle => {
                half_cosine(1.0, self.final_factor, (t - self.rise_share) / (1.0 - self.rise_share))
            }
            Decay::Step => {
                let share = step as f64 / steps.max(1) as f64;
                self.gamma.powi(self.milestones.iter().filter(|m| share >= **m).count() as i32)
            }
            Decay::Exponential => self.gamma.powf((done as u64 / self.period) as f64),
        }
    }
}

fn half_cosine(from: f64, to: f64, t: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> ScheduleConfig {
        ScheduleConfig { decay, ..Default::default() }
    }

    #[test]
    fn warm_up_rises_to_the_peak() {
        let s = ScheduleConfig { warmup_share: 0.4, ..schedule(Decay::Constant) };
        let factors: Vec<f64> = (0..6).map(|i| s.factor(i, 10)).collect();
        for (got, want) in factors.iter().zip([0.2, 0.4, 0.6, 0.8, 1.0, 1.0]) {
            assert!((got - want).abs() < 1e-12, "{factors:?}");
        }
    }

    #[test]
    fn cosine_halves_in_the_middle_and_ends_at_the_final_factor() {
        let s = ScheduleConfig { final_factor: 0.1, ..schedule(Decay::Cosine) };
        assert_eq!(s.factor(0, 100), 1.0);
        assert!((s.factor(50, 100) - 0.55).abs() < 1e-12);
        assert!((s.factor(100, 100) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn polynomial_is_the_published_formula() {
        assert!((schedule(Decay::Polynomial).factor(25, 100) - 0.75f64.powf(0.9)).abs() < 1e-12);
    }

    #[test]
    fn one_cycle_starts_low_peaks_and_ends() {
        let s = schedule(Decay::OneCycle);
        assert!((s.factor(0, 100) - 0.04).abs() < 1e-12);
        assert!((s.factor(30, 100) - 1.0).abs() < 1e-12);
        assert!(s.factor(100, 100).abs() < 1e-12);
    }

    #[test]
    fn step_and_exponential_multiply() {
        let s = ScheduleConfig { gamma: 0.1, ..schedule(Decay::Step) };
        assert_eq!([s.factor(59, 100), s.factor(60, 100)], [1.0, 0.1]);
        let e = schedule(Decay::Exponential);
        assert!(
            (e.factor(249, 1000) - 1.0).abs() < 1e-12
                && (e.factor(500, 1000) - 0.99f64.powi(2)).abs() < 1e-12
        );
    }

    #[test]
    fn wrong_values_are_explained() {
        assert!(ScheduleConfig { warmup_share: 1.0, ..Default::default() }.problem().is_some());
        assert!(ScheduleConfig { period: 0, ..Default::default() }.problem().is_some());
        assert!(ScheduleConfig::default().problem().is_none());
    }
}
