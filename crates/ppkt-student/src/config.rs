//! What a network is made from.

use serde::{Deserialize, Serialize};

use crate::{Arch, StudentError};

/// Everything that decides the shape of a network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MinkUNetConfig {
    /// Network of the family, as in `"MinkUNet34C"`.
    pub arch: Arch,
    /// Channels of the voxels: 3 for colour.
    pub in_channels: usize,
    /// Channels of the result: the embedding's dimension, or the number of classes.
    pub out_channels: usize,
    /// Edge of the first convolution, 3 or 5: PointContrast, PPKT and SLidR use 3, MinkowskiEngine's own models 5.
    pub first_kernel: usize,
    /// Share of a new batch in the running statistics, for the norms of stem, down, up and shortcut; the norms inside
    /// the blocks keep 0.1, as in all published networks of the family.
    pub bn_momentum: f64,
}

impl Default for MinkUNetConfig {
    /// The paper's: MinkUNet34C from colour to 128 dimensions.
    fn default() -> Self {
        Self {
            arch: Arch::MinkUNet34C,
            in_channels: 3,
            out_channels: 128,
            first_kernel: 3,
            bn_momentum: 0.05,
        }
    }
}

impl MinkUNetConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`StudentError::FirstKernel`] and [`StudentError::Setting`].
    pub fn check(&self) -> Result<(), StudentError> {
        if ![3, 5].contains(&self.first_kernel) {
            return Err(StudentError::FirstKernel { got: self.first_kernel });
        }
        for (field, value) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            if value == 0 {
                return Err(StudentError::Setting { field, expected: "at least 1", got: value.to_string() });
            }
        }
        if !(0.0..=1.0).contains(&self.bn_momentum) {
            let got = self.bn_momentum.to_string();
            return Err(StudentError::Setting { field: "bn_momentum", expected: "from 0 to 1", got });
        }
        Ok(())
    }
}
