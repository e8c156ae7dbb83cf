//! The limits of the machine: multiply-adds with the widest vectors, and memory traffic.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::case::Peak;
use super::clock;

/// Independent chains of multiply-adds: more than two units with a latency of four or five cycles can have under way.
const CHAINS: usize = 12;
/// Steps of each chain in a sample: some milliseconds.
const STEPS: usize = 2_000_000;
/// Bytes of an array that is read and written: many times the largest cache.
const COPIED: usize = 256 << 20;
/// The best of so many samples counts: a limit is what the machine can do, not what it does on average.
const SAMPLES: usize = 9;

/// Attempts to find the machine quiet, and the pause between them.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// Measures with all threads of the pool; the best of the attempts, which end with the first quiet one.
pub(super) fn measure() -> Peak {
    let mut best: Option<Peak> = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let (peak, disturbed) = clock::was_disturbed(attempt_once);
        let known = best.map_or((0.0, 0.0), |b| (b.fma_gflops, b.memory_gbs));
        let (fma_gflops, memory_gbs) = (peak.fma_gflops.max(known.0), peak.memory_gbs.max(known.1));
        best = Some(Peak { fma_gflops, memory_gbs, disturbed, ..peak });
        if !disturbed {
            break;
        }
    }
    best.unwrap_or_else(attempt_once)
}

fn attempt_once() -> Peak {
    let threads = rayon::current_num_threads();
    let kernel = Kernel::widest();
    let flop = (2 * kernel.lanes() * CHAINS * STEPS * threads) as f64;
    let seconds = best(|| {
        rayon::broadcast(|_| black_box(kernel.run()));
    });
    let memory_gbs = 2.0 * COPIED as f64 / memory_seconds(threads) / 1e9;
    let (vector_bits, fma_gflops) = (kernel.lanes() * 32, flop / seconds / 1e9);
    Peak { threads, vector_bits, fma_gflops, memory_gbs, disturbed: false }
}

fn best(mut run: impl FnMut()) -> f64 {
    let one = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..SAMPLES).map(one).fold(f64::INFINITY, f64::min)
}

/// Seconds to read and to write an array once, in the faster of two ways: copying it to another place, where most
/// processors also read what they overwrite, and changing it in place. Each thread has its part.
fn memory_seconds(threads: usize) -> f64 {
    let n = COPIED / 8;
    let (from, mut to) = (vec![1u64; n], vec![2u64; n]);
    let part = n.div_ceil(threads);
    let copy = best(|| {
        rayon::scope(|scope| {
            for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                scope.spawn(move |_| to.copy_from_slice(black_box(from)));
            }
        });
        black_box(&mut to);
    });
    let change = best(|| {
        rayon::scope(|scope| {
            for to in to.chunks_mut(part) {
                scope.spawn(move |_| to.iter_mut().for_each(|v| *v ^= 1));
            }
        });
        black_box(&mut to);
    });
    copy.min(change)
}

/// Instructions that multiply and add.
#[derive(Debug, Clone, Copy)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler makes of four lanes: on aarch64 that is NEON.
    Portable,
}

impl Kernel {
    fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            Self::Portable => 4,
        }
    }

    #[cfg_attr(
        target_arch = "x86_64",
        expect(unsafe_code, reason = "instructions that not every processor has")
    )]
    fn run(self) -> f32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `widest` found AVX-512F, the only feature that the function asks for.
            Self::Avx512 => unsafe { avx512() },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `widest` found AVX2 and FMA, the only features that the function asks for.
            Self::Avx2 => unsafe { avx2() },
            Self::Portable => portable(),
        }
    }
}

/// Factor and addend of the chains: values stay near 1, far from the slow denormal numbers.
const FACTOR: f32 = 0.999_999;
const ADDEND: f32 = 1e-6;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (factor, addend) = (_mm512_set1_ps(black_box(FACTOR)), _mm512_set1_ps(black_box(ADDEND)));
    let mut chains = [_mm512_set1_ps(black_box(1.0)); CHAINS];
    // Different starts, or the chains could be seen to be one.
    for (i, chain) in chains.iter_mut().enumerate() {
        *chain = _mm512_set1_ps(black_box(1.0 + i as f32));
    }
    for _ in 0..STEPS {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, addend);
        }
    }
    chains.iter().map(|&c| _mm512_reduce_add_ps(c)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() -> f32 {
    use std::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, addend) = (_mm256_set1_ps(black_box(FACTOR)), _mm256_set1_ps(black_box(ADDEND)));
    let mut chains = [_mm256_set1_ps(black_box(1.0)); CHAINS];
    for (i, chain) in chains.iter_mut().enumerate() {
        *chain = _mm256_set1_ps(black_box(1.0 + i as f32));
    }
    for _ in 0..STEPS {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, factor, addend);
        }
    }
    chains.iter().map(|&c| _mm256_cvtss_f32(c)).sum()
}

fn portable() -> f32 {
    let (factor, addend) = (black_box(FACTOR), black_box(ADDEND));
    let mut chains = [[black_box(1.0f32); 4]; CHAINS];
    for _ in 0..STEPS {
        for lane in chains.iter_mut().flatten() {
            // A processor without fused multiply-add would call a slow function for `mul_add`.
            *lane = if cfg!(target_feature = "neon") {
                lane.mul_add(factor, addend)
            } else {
                *lane * factor + addend
            };
        }
    }
    chains.iter().flatten().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain as a formula: x ← f x + a, k times, ends at a / (1 - f) + fᵏ (x - a / (1 - f)).
    #[test]
    fn every_kernel_computes_its_chains() {
        let (f, a) = (f64::from(FACTOR), f64::from(ADDEND));
        let fixed = a / (1.0 - f);
        let end = |x: f64| fixed + f.powi(STEPS as i32) * (x - fixed);
        let kernel = Kernel::widest();
        let lanes = match kernel.lanes() {
            16 => 16.0,
            8 => 1.0,
            _ => return,
        };
        let expected: f64 = (0..CHAINS).map(|i| end(1.0 + i as f64)).sum::<f64>() * lanes;
        let got = f64::from(kernel.run());
        // Two million roundings of f32 in each chain.
        assert!((got / expected - 1.0).abs() < 0.2, "{got} and not {expected}");
        assert!(portable().is_finite());
    }
}
