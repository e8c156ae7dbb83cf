//! Which instructions the processor has, and the shapes of the tiles that suit them.

/// Instruction sets that there is a micro-kernel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain Rust; the compiler vectorises it as far as the target allows.
    Portable,
    /// 128-bit vectors of 64-bit ARM, with fused multiply-add.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 256-bit vectors and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The best that this processor has.
    pub(crate) fn detect() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// All that this processor has, slowest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Self::Neon);
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f") {
                    all.push(Self::Avx512);
                }
            }
        }
        all
    }

    /// Floats in a vector.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Portable => 4,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => 4,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
        }
    }

    /// Vectors in the widest panel of weights.
    pub(crate) const fn panel_vectors(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 2,
            _ => 4,
        }
    }

    /// Output rows that one call of the micro-kernel computes for a panel of `vectors` vectors: as many accumulators
    /// as the register file holds beside the weights and one broadcast, and no more row addresses than fit in
    /// general registers.
    pub(crate) const fn rows(self, vectors: usize) -> usize {
        match self {
            Self::Portable => 4,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => {
                if vectors == 4 {
                    6
                } else {
                    8
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                if vectors == 2 {
                    6
                } else {
                    8
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                if vectors == 4 {
                    6
                } else {
                    8
                }
            }
        }
    }
}

/// The largest tile of any instruction set, in floats: 8 rows of 48 or 6 of 64.
pub(super) const MAX_TILE: usize = 8 * 64;
