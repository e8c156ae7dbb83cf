//! Which numbers a network computes with.

use std::fmt;
use std::str::FromStr;

use half::bf16;
use serde::{Deserialize, Serialize};

use crate::SparseError;
use crate::element::Element;

/// The numbers of features and of their gradients. Parameters, their gradients and all sums are f32 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits of precision.
    #[default]
    F32,
    /// The upper half of an f32, 8 bits of precision: half the memory of features and, on a processor with
    /// `avx512_bf16`, 0.6 to 0.75 of the time of a training step (`docs/benchmarks/cpu.md`).
    Bf16,
}

impl Precision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The name that files and commands use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Whether this machine computes with these numbers.
    ///
    /// bf16 needs `avx512_bf16`. With `PPKT_SIMD=plain` it is computed in plain Rust, many times slower than f32, for
    /// tests.
    ///
    /// # Errors
    /// [`SparseError::Bf16`] and [`SparseError::Simd`].
    pub fn check(self) -> Result<(), SparseError> {
        match self {
            Self::F32 => f32::path().map(drop),
            Self::Bf16 => bf16::path().map(drop),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = SparseError;

    fn from_str(name: &str) -> Result<Self, SparseError> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == name)
            .ok_or_else(|| SparseError::Precision { got: name.to_owned() })
    }
}
