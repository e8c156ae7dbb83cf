//! Whether a run can compute with the numbers that its configuration asks for.

use candle_core::Device;
use ppkt_sparse::Precision;

use crate::error::{Result, TrainError};

/// Refuses a precision that the device does not compute with, before anything is read.
pub(crate) fn check(precision: Precision, device: &Device) -> Result<()> {
    precision.check_on(device).map_err(|error| TrainError::Config(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FinetuneConfig, PretrainConfig, first_difference, to_toml, with_settings};

    #[test]
    fn precision_is_a_setting_that_is_recorded_and_compared() {
        let usual = PretrainConfig::default();
        assert_eq!(usual.precision, Precision::F32);
        assert!(to_toml(&usual).unwrap().contains("precision = \"f32\""));
        let set = |value: &str| [("precision".to_owned(), value.to_owned())];
        let other: PretrainConfig = with_settings(&usual, &set("\"bf16\"")).unwrap();
        assert_eq!(other.precision, Precision::Bf16);
        assert!(first_difference(&usual, &other).is_some_and(|d| d.contains("precision")));
        assert!(with_settings(&usual, &set("\"f16\"")).is_err());
        let labels = FinetuneConfig { precision: Precision::Bf16, ..FinetuneConfig::default() };
        assert!(to_toml(&labels).unwrap().contains("precision = \"bf16\""));
    }
}
