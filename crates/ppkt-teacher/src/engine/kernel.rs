//! The micro-kernels: a tile of a few output rows and one panel of output channels, held in registers.
//!
//! They are written with intrinsics because the same loops over arrays were seen to run twenty times slower when the
//! compiler decided against keeping the accumulators in registers.

#![expect(unsafe_code, reason = "vector intrinsics and row addresses; twenty times faster than what is safe")]

use super::isa::Isa;

/// What a tile computes: for row `r` and column `j`,
/// `sum over taps t and channels c of row[t][r][c] * panel[t, c][j]`, added to what is in `out` where `resume`.
pub(super) struct Tile {
    /// `[n_taps][rows]` addresses of runs of channels.
    pub(super) taps: *const *const f32,
    /// Taps to sum over.
    pub(super) n_taps: usize,
    /// Channels to skip at the start of each run.
    pub(super) skip: usize,
    /// Channels to sum over in each run.
    pub(super) run: usize,
    /// `[n_taps * run][width]` weights.
    pub(super) panel: *const f32,
    /// First output; rows are `out_stride` apart.
    pub(super) out: *mut f32,
    /// Floats between output rows.
    pub(super) out_stride: usize,
    /// Whether `out` holds the sum over earlier taps.
    pub(super) resume: bool,
    /// What to do with the finished sum; `None` stores it as it is.
    pub(super) finish: Option<Finish>,
}

/// The end of a tile: bias, then residual, then ReLU.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    /// `[width]`.
    pub(super) bias: *const f32,
    /// First value to add, or null; rows are `residual_stride` apart.
    pub(super) residual: *const f32,
    /// Floats between residual rows.
    pub(super) residual_stride: usize,
    /// Whether negative results become zero.
    pub(super) relu: bool,
}

/// Computes one tile of `isa.rows(vectors)` rows and `vectors * isa.lanes()` columns.
///
/// # Safety
/// The processor must have `isa`; `vectors` must be in `1..=isa.panel_vectors()`. All addresses of `tile` must be valid
/// for the rows, columns, taps and channels that it states, and `out` must not overlap what is read, except for the
/// residual, which may not be `out` where `resume` is set or more tiles of the same sum follow.
pub(super) unsafe fn run_tile(isa: Isa, vectors: usize, tile: &Tile) {
    // SAFETY: the caller promises the instruction set and the addresses; the row counts are those of `Isa::rows`.
    unsafe {
        match (isa, vectors) {
            (Isa::Portable, 1) => portable::<4>(tile),
            (Isa::Portable, 2) => portable::<8>(tile),
            (Isa::Portable, 3) => portable::<12>(tile),
            (Isa::Portable, _) => portable::<16>(tile),
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, 1) => arm::neon::<8, 1>(tile),
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, 2) => arm::neon::<8, 2>(tile),
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, 3) => arm::neon::<8, 3>(tile),
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, _) => arm::neon::<6, 4>(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, 1) => x86::avx2::<8, 1>(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, _) => x86::avx2::<6, 2>(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 1) => x86::avx512::<8, 1>(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 2) => x86::avx512::<8, 2>(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, 3) => x86::avx512::<8, 3>(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, _) => x86::avx512::<6, 4>(tile),
        }
    }
}

/// Four rows of `W` columns in plain Rust.
///
/// # Safety
/// As [`run_tile`].
unsafe fn portable<const W: usize>(tile: &Tile) {
    const ROWS: usize = 4;
    let mut acc = [[0f32; W]; ROWS];
    // SAFETY: the caller promises that every address below is valid for the extents that `tile` states.
    unsafe {
        if tile.resume {
            for (r, row) in acc.iter_mut().enumerate() {
                for (j, a) in row.iter_mut().enumerate() {
                    *a = *tile.out.add(r * tile.out_stride + j);
                }
            }
        }
        let mut b = tile.panel;
        for t in 0..tile.n_taps {
            let rows = &*tile.taps.add(t * ROWS).cast::<[*const f32; ROWS]>();
            for c in tile.skip..tile.skip + tile.run {
                let weights = &*b.cast::<[f32; W]>();
                for (row, p) in acc.iter_mut().zip(rows) {
                    let x = *p.add(c);
                    for (a, w) in row.iter_mut().zip(weights) {
                        *a += x * w;
                    }
                }
                b = b.add(W);
            }
        }
        for (r, row) in acc.iter().enumerate() {
            for (j, &a) in row.iter().enumerate() {
                let mut v = a;
                if let Some(f) = tile.finish {
                    v += *f.bias.add(j);
                    if !f.residual.is_null() {
                        v += *f.residual.add(r * f.residual_stride + j);
                    }
                    if f.relu && v < 0.0 {
                        v = 0.0;
                    }
                }
                *tile.out.add(r * tile.out_stride + j) = v;
            }
        }
    }
}

/// One micro-kernel; the instruction sets differ in names only.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! micro_kernel {
    ($name:ident, $features:literal, $lanes:literal, $vector:ty, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident, $max:ident) => {
        /// `MR` rows of `NV` vectors.
        ///
        /// # Safety
        /// As [`super::run_tile`].
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name<const MR: usize, const NV: usize>(tile: &Tile) {
            let mut acc: [[$vector; NV]; MR] = [[$zero(); NV]; MR];
            // SAFETY: the caller promises that every address below is valid for the extents that `tile` states.
            unsafe {
                if tile.resume {
                    for r in 0..MR {
                        for v in 0..NV {
                            acc[r][v] = $load(tile.out.add(r * tile.out_stride + v * $lanes));
                        }
                    }
                }
                let mut b = tile.panel;
                for t in 0..tile.n_taps {
                    let mut rows = *tile.taps.add(t * MR).cast::<[*const f32; MR]>();
                    for row in &mut rows {
                        *row = row.add(tile.skip);
                    }
                    for c in 0..tile.run {
                        let mut weights = [$zero(); NV];
                        for v in 0..NV {
                            weights[v] = $load(b.add(v * $lanes));
                        }
                        for r in 0..MR {
                            let x = $splat(*rows[r].add(c));
                            for v in 0..NV {
                                acc[r][v] = $fma(x, weights[v], acc[r][v]);
                            }
                        }
                        b = b.add(NV * $lanes);
                    }
                }
                if let Some(f) = tile.finish {
                    for v in 0..NV {
                        let bias = $load(f.bias.add(v * $lanes));
                        for r in 0..MR {
                            acc[r][v] = $add(acc[r][v], bias);
                        }
                    }
                    if !f.residual.is_null() {
                        for r in 0..MR {
                            for v in 0..NV {
                                let at = f.residual.add(r * f.residual_stride + v * $lanes);
                                acc[r][v] = $add(acc[r][v], $load(at));
                            }
                        }
                    }
                    if f.relu {
                        for r in 0..MR {
                            for v in 0..NV {
                                // The zero comes second, so that NaN stays NaN and is seen.
                                acc[r][v] = $max($zero(), acc[r][v]);
                            }
                        }
                    }
                }
                for r in 0..MR {
                    for v in 0..NV {
                        $store(tile.out.add(r * tile.out_stride + v * $lanes), acc[r][v]);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Tile;
    use std::arch::x86_64::*;

    micro_kernel!(
        avx2,
        "avx2,fma",
        8,
        __m256,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_max_ps
    );

    micro_kernel!(
        avx512,
        "avx512f",
        16,
        __m512,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_max_ps
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Tile;
    use std::arch::aarch64::*;

    #[inline]
    #[target_feature(enable = "neon")]
    fn zero() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    /// `x · w + sum`, in the order of arguments that x86 has.
    #[inline]
    #[target_feature(enable = "neon")]
    fn fma(x: float32x4_t, w: float32x4_t, sum: float32x4_t) -> float32x4_t {
        vfmaq_f32(sum, x, w)
    }

    micro_kernel!(
        neon,
        "neon",
        4,
        float32x4_t,
        zero,
        vld1q_f32,
        vst1q_f32,
        vdupq_n_f32,
        fma,
        vaddq_f32,
        vmaxq_f32
    );
}
