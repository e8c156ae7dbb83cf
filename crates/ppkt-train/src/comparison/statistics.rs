//! Means, spreads and paired differences over a few runs.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A paired difference with its 95 % confidence interval, by Student's t of the differences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// The side that is hoped to be better.
    pub of: String,
    /// The side it is compared to.
    pub to: String,
    /// Mean of the differences.
    pub mean: f64,
    /// Lower end of the interval; none with fewer than two pairs.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Number of pairs.
    pub n: usize,
}

impl PairedDifference {
    /// From the differences, pair by pair; `None` without any.
    pub(super) fn new(of: &str, to: &str, differences: &[f64]) -> Option<Self> {
        let mean = mean(differences)?;
        let n = differences.len();
        let half = deviation(differences).and_then(|s| Some(t_975(n - 1)? * s / (n as f64).sqrt()));
        Some(Self {
            of: of.to_owned(),
            to: to.to_owned(),
            mean,
            low: half.map(|h| mean - h),
            high: half.map(|h| mean + h),
            n,
        })
    }
}

/// The mean; `None` of nothing.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample's standard deviation (n − 1); `None` with fewer than two values.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The 97.5 % quantile of Student's t.
fn t_975(freedom: usize) -> Option<f64> {
    Some(StudentsT::new(0.0, 1.0, freedom as f64).ok()?.inverse_cdf(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Printed tables of Student's t, two-sided 95 %.
        for (freedom, value) in [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042)] {
            assert!((t_975(freedom).unwrap() - value).abs() < 5e-4, "{freedom}: {:?}", t_975(freedom));
        }
    }

    #[test]
    fn an_interval_by_hand() {
        let d = PairedDifference::new("a", "b", &[1.0, 2.0, 3.0]).unwrap();
        // Mean 2, deviation 1, t(2) = 4.3027: 2 ± 4.3027 / √3.
        assert!((d.mean - 2.0).abs() < 1e-12 && d.n == 3);
        assert!((d.high.unwrap() - 4.484_14).abs() < 1e-4 && (d.low.unwrap() + 0.484_14).abs() < 1e-4);
    }

    #[test]
    fn one_pair_has_no_interval_and_none_no_mean() {
        let one = PairedDifference::new("a", "b", &[0.5]).unwrap();
        assert_eq!((one.mean, one.low, one.high), (0.5, None, None));
        assert_eq!(PairedDifference::new("a", "b", &[]), None);
        assert_eq!((mean(&[]), deviation(&[1.0])), (None, None));
    }
}
