//! Scales with round ticks, and numbers as people write them.

/// An axis from the data to pixels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    pub low: f64,
    pub high: f64,
    /// Between two ticks.
    pub step: f64,
    /// Pixels of `low` and `high`.
    pub pixels: (f64, f64),
}

impl Scale {
    /// An axis that holds all values, from round number to round number, with about `ticks` ticks.
    pub(crate) fn round(values: impl Iterator<Item = f64>, ticks: usize, pixels: (f64, f64)) -> Self {
        let (mut low, mut high) = bounds(values);
        if high - low < 1e-12 * high.abs().max(1e-300) || high <= low {
            let half = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
            (low, high) = (low - half, high + half);
        }
        let step = round_step((high - low) / ticks.max(1) as f64);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step, pixels }
    }

    /// An axis that ends where the data ends, with round ticks within.
    pub(crate) fn tight(values: impl Iterator<Item = f64>, ticks: usize, pixels: (f64, f64)) -> Self {
        let (low, high) = bounds(values);
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, step: round_step((high - low) / ticks.max(1) as f64), pixels }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    pub(crate) fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step - 1e-9).ceil() as i64;
        let last = (self.high / self.step + 1e-9).floor() as i64;
        (first..=last.min(first + 1000)).map(|i| i as f64 * self.step).collect()
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|v| v.is_finite() && v.abs() < 1e300);
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// 1, 2 or 5 times a power of ten, the least that is not below `rough`.
fn round_step(rough: f64) -> f64 {
    let rough = rough.max(1e-300);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|s| s * power >= rough * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// A whole number with thin spaces between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number with so many significant digits.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..7).contains(&magnitude) {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    let after = (digits as i32 - 1 - magnitude).max(0) as usize;
    format!("{value:.after$}")
}

/// A share of 0 to 1 as percent.
pub(crate) fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$}\u{202f}%", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_the_data() {
        let scale = Scale::round([4.97, 8.25].into_iter(), 4, (100.0, 0.0));
        assert_eq!(scale.ticks(), [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!((scale.at(4.0), scale.at(9.0)), (100.0, 0.0));
        let scale = Scale::round([0.0, 0.094].into_iter(), 4, (0.0, 1.0));
        assert_eq!(scale.ticks().len(), 3);
        assert!(scale.high >= 0.094);
    }

    #[test]
    fn hostile_values_still_make_an_axis() {
        for values in [
            vec![],
            vec![f64::NAN],
            vec![0.0],
            vec![-3.0, -3.0],
            vec![f64::INFINITY, 1.0],
            vec![1e-310, 2e-310],
            vec![-1e299, 1e299],
            vec![f64::MAX, f64::MIN],
        ] {
            for scale in [
                Scale::round(values.iter().copied(), 4, (0.0, 100.0)),
                Scale::tight(values.iter().copied(), 4, (0.0, 100.0)),
            ] {
                assert!(scale.low < scale.high && scale.step > 0.0, "{values:?} {scale:?}");
                assert!(scale.ticks().len() < 1002, "{values:?}");
            }
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(1200), "1200");
        assert_eq!(grouped(60_000), "60\u{202f}000");
        assert_eq!(significant(4.9661, 4), "4.966");
        assert_eq!(significant(0.000_012, 2), "1.2e-5");
        assert_eq!(significant(1234.5, 2), "1234");
        assert_eq!(percent(0.094, 1), "9.4\u{202f}%");
    }
}
