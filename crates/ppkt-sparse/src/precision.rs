//! Which numbers a network computes with.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};
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
    /// The upper half of an f32, 8 bits of precision: half the memory of features, the tensor cores of a GPU and, on a
    /// processor with `avx512_bf16`, 0.6 to 0.75 of the time of a training step (`docs/benchmarks/cpu.md`).
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

    /// Whether a device computes with these numbers.
    ///
    /// On the processor bf16 needs `avx512_bf16`. With `PPKT_SIMD=plain` it is computed in plain Rust, many times slower
    /// than f32, for tests. Every NVIDIA GPU that this crate has kernels for has it, and Apple's GPUs are used in f32
    /// alone.
    ///
    /// # Errors
    /// [`SparseError::Bf16`], [`SparseError::Simd`] and [`SparseError::Bf16OnDevice`].
    pub fn check_on(self, device: &Device) -> Result<(), SparseError> {
        match self {
            Self::F32 if device.is_cpu() => f32::path().map(drop),
            Self::Bf16 if device.is_cpu() => bf16::path().map(drop),
            Self::Bf16 if !device.is_cuda() => Err(SparseError::Bf16OnDevice { device: device.location() }),
            Self::F32 | Self::Bf16 => Ok(()),
        }
    }

    /// candle's name.
    pub(crate) const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
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
