//! Amounts of bytes as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, written `20GB`, `1.5 TB`, `512MiB` or `1000000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

/// Largest first; of two that divide an amount the decimal one is written.
const UNITS: [(&str, u64); 9] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no amount of bytes: write a number and a unit, such as 20GB or 512MiB");
        let text_of_number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[text_of_number.len()..];
        let factor = match unit {
            "" => 1,
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
        };
        let number = text_of_number.trim();
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(wrong);
        }
        let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
        let fits = bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64;
        if fits { Ok(Self(bytes.round() as u64)) } else { Err(wrong()) }
    }
}

impl fmt::Display for ByteSize {
    /// Exactly, in the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) =
            UNITS.into_iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(("B", 1));
        if self.0 == 0 { write!(f, "0B") } else { write!(f, "{}{name}", self.0 / unit) }
    }
}

impl ByteSize {
    /// For people: three digits, rounded.
    pub fn rounded(self) -> String {
        let Some((name, unit)) = UNITS[..4].iter().find(|(_, unit)| self.0 >= *unit) else {
            return format!("{} bytes", self.0);
        };
        let value = self.0 as f64 / *unit as f64;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        format!("{value:.digits$} {name}")
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_exactly() {
        for (text, bytes) in [
            ("20GB", 20_000_000_000),
            ("20 gb", 20_000_000_000),
            ("1.5TB", 1_500_000_000_000),
            ("512MiB", 512 << 20),
            ("17", 17),
            ("0.5kB", 500),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size, "{text}");
        }
        assert_eq!(ByteSize(20_000_000_000).to_string(), "20GB");
        assert_eq!(ByteSize(0).to_string(), "0B");
        for text in ["", "GB", "-1GB", "1XB", "1 2GB", "inf", "nanGB", "99999999999TB", "1e300GB"] {
            let error = text.parse::<ByteSize>().unwrap_err();
            assert!(error.contains("20GB"), "{text}: {error}");
        }
    }

    #[test]
    fn amounts_for_people_have_three_digits() {
        let shown: Vec<String> =
            [999, 1_234, 45_600_000, 789_000_000_000].map(|n| ByteSize(n).rounded()).to_vec();
        assert_eq!(shown, ["999 bytes", "1.23 kB", "45.6 MB", "789 GB"]);
    }
}
