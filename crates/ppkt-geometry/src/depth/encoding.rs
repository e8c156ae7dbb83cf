//! What the 16-bit values of a depth image mean.

use crate::DepthError;

/// How a sensor or data set writes depth into 16 bits.
///
/// A value becomes metres as `rotate_right(value, rotate_bits) · metres_per_unit`; a value in `invalid`, or one
/// whose depth is outside `min_m..=max_m`, is no measurement.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct DepthEncoding {
    /// Length of one unit, metres.
    pub metres_per_unit: f64,
    /// Raw values that mean "no measurement". Zero almost always; some sensors add 65535 or others.
    pub invalid: Vec<u16>,
    /// Smallest depth taken for a measurement, metres.
    pub min_m: f64,
    /// Largest depth taken for a measurement, metres.
    pub max_m: f64,
    /// Bits by which the value is rotated to the right first: 3 in SUN RGB-D, else 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub rotate_bits: u32,
}

impl DepthEncoding {
    /// Units of the given length, 0 for no measurement, any depth.
    pub fn with_unit(metres_per_unit: f64) -> Self {
        Self { metres_per_unit, invalid: vec![0], min_m: 0.0, max_m: f64::MAX, rotate_bits: 0 }
    }

    /// Millimetres, 0 for no measurement: ScanNet, NYU as commonly exported, RealSense, Kinect drivers.
    pub fn millimetres() -> Self {
        Self::with_unit(1e-3)
    }

    /// 7-Scenes: millimetres, 0 and 65535 for no measurement.
    pub fn seven_scenes() -> Self {
        Self { invalid: vec![0, u16::MAX], ..Self::millimetres() }
    }

    /// TUM RGB-D: 5000 units a metre, 0 for no measurement.
    pub fn tum() -> Self {
        Self::with_unit(1.0 / 5000.0)
    }

    /// SUN RGB-D: millimetres rotated left by three bits, 0 for no measurement.
    ///
    /// The set's own tools write 8 m over everything farther. Such a value is a bound and not a measurement, and as
    /// points it would be a wall that is not there, so beyond 8 m nothing is taken.
    pub fn sunrgbd() -> Self {
        Self { max_m: 8.0, rotate_bits: 3, ..Self::millimetres() }
    }

    /// Metres of a raw value, or NaN for no measurement.
    #[inline]
    pub fn metres(&self, raw: u16) -> f32 {
        if self.invalid.contains(&raw) {
            return f32::NAN;
        }
        let depth_m = f64::from(raw.rotate_right(self.rotate_bits)) * self.metres_per_unit;
        if depth_m > 0.0 && depth_m >= self.min_m && depth_m <= self.max_m {
            depth_m as f32
        } else {
            f32::NAN
        }
    }

    pub(crate) fn check(&self) -> Result<(), DepthError> {
        let metres_per_unit = self.metres_per_unit;
        if metres_per_unit > 0.0 && metres_per_unit.is_finite() {
            Ok(())
        } else {
            Err(DepthError::BadScale { metres_per_unit })
        }
    }
}
