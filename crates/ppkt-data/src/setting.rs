//! Checks of settings, so that every mistake is reported in the same words.

use crate::DataError;

/// An error that names the setting, unless it is `fine`.
pub(crate) fn require(
    fine: bool,
    setting: &str,
    value: &impl std::fmt::Debug,
    expected: &str,
) -> Result<(), DataError> {
    if fine {
        return Ok(());
    }
    Err(DataError::BadSetting {
        setting: setting.to_owned(),
        value: format!("{value:?}"),
        expected: expected.to_owned(),
    })
}

/// A range (low, high) within `low` and `high`.
pub(crate) fn range(setting: &str, value: [f32; 2], [low, high]: [f32; 2]) -> Result<(), DataError> {
    let fine = value[0] <= value[1] && value[0] >= low && value[1] <= high && value[1].is_finite();
    let bounds = match (low.is_finite(), high.is_finite()) {
        (true, true) => format!(" between {low} and {high}"),
        (true, false) => format!(" from {low} up"),
        _ => String::new(),
    };
    require(fine && value[0].is_finite(), setting, &value, &format!("two numbers, the lower first,{bounds}"))
}

/// A probability or share.
pub(crate) fn share(setting: &str, value: f32) -> Result<(), DataError> {
    require((0.0..=1.0).contains(&value), setting, &value, "between 0 and 1")
}

/// An amount that may be zero.
pub(crate) fn amount(setting: &str, value: f32) -> Result<(), DataError> {
    require(value >= 0.0 && value.is_finite(), setting, &value, "zero or more")
}
