//! Which instruction set is used, found out at run time.

use std::sync::OnceLock;

use crate::SparseError;

/// The instruction sets that the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simd {
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 128-bit vectors, part of every 64-bit ARM processor that Rust knows by default.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// What the compiler makes of plain Rust.
    Plain,
}

/// Forces a path: `avx512`, `avx2`, `neon` or `plain`.
pub(super) const VARIABLE: &str = "PPKT_SIMD";

impl Simd {
    /// All that this processor has, best first.
    pub(crate) fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Self::Neon);
        }
        found.push(Self::Plain);
        found
    }

    /// The one to use: the best, or what the environment asks for.
    pub(crate) fn selected() -> Result<Self, SparseError> {
        static SELECTED: OnceLock<Result<Simd, String>> = OnceLock::new();
        let selected = SELECTED.get_or_init(|| match std::env::var_os(VARIABLE) {
            Some(name) => Self::named(&name.to_string_lossy()).ok_or(name.to_string_lossy().into_owned()),
            None => Ok(Self::available()[0]),
        });
        selected.clone().map_err(|asked| SparseError::Simd {
            asked,
            available: Self::available().into_iter().map(Self::name).collect(),
        })
    }

    fn named(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|s| s.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            Self::Plain => "plain",
        }
    }
}

/// The name of the instruction set that convolutions use on this machine: `avx512`, `avx2`, `neon` or `plain`.
///
/// The environment variable `PPKT_SIMD` forces one of them.
///
/// # Errors
/// [`SparseError::Simd`] where the variable asks for one that this machine does not have.
pub fn simd_path() -> Result<&'static str, SparseError> {
    Simd::selected().map(Simd::name)
}
