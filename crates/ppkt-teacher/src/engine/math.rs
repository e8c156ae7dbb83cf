//! Element-wise functions and norms of transformers, compiled for each instruction set.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "functions compiled for instructions that were detected at run time")
)]

use super::isa::Isa;

/// Runs an inlined body compiled for the instruction set; on 64-bit ARM there is but one, which has NEON.
macro_rules! dispatch {
    ($isa:expr, $body:ident($($arg:ident: $type:ty),*)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) { $body($($arg),*) }
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($arg: $type),*) { $body($($arg),*) }
            match $isa {
                // SAFETY: `Isa` values beyond `Portable` are made by detection only.
                Isa::Avx2 => return unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                Isa::Avx512 => return unsafe { avx512($($arg),*) },
                Isa::Portable => {}
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = $isa;
        $body($($arg),*)
    }};
}

/// `x Φ(x)` in place, with the normal distribution's Φ to about 1e-7.
pub(crate) fn gelu(isa: Isa, x: &mut [f32]) {
    dispatch!(isa, gelu_body(x: &mut [f32]))
}

/// `x σ(x)` in place, with the logistic function σ; also called swish.
pub(crate) fn silu(isa: Isa, x: &mut [f32]) {
    dispatch!(isa, silu_body(x: &mut [f32]))
}

/// `x σ(1.702 x)` in place: CLIP's stand-in for GELU.
pub(crate) fn quick_gelu(isa: Isa, x: &mut [f32]) {
    dispatch!(isa, quick_gelu_body(x: &mut [f32]))
}

/// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2` in place: the other stand-in for GELU, SigLIP's.
pub(crate) fn gelu_tanh(isa: Isa, x: &mut [f32]) {
    dispatch!(isa, gelu_tanh_body(x: &mut [f32]))
}

/// Each row of `x` to zero mean and unit variance over its `weight.len()` channels, then scaled and shifted, into `out`.
pub(crate) fn layer_norm(isa: Isa, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    dispatch!(isa, layer_norm_body(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]))
}

/// Each row of `n` values to `exp(scale (x - max)) / sum`; what follows within `stride` becomes zero.
pub(crate) fn softmax(isa: Isa, x: &mut [f32], n: usize, stride: usize, scale: f32) {
    dispatch!(isa, softmax_body(x: &mut [f32], n: usize, stride: usize, scale: f32))
}

/// `e^x` for `x <= 0`, to two units in the last place: `2^k e^r` with `|r| <= ln 2 / 2` and the exponential's own
/// series, which ends where its terms fall below half a unit.
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    // Below this the result is denormal; the bound's value is as good as zero.
    let x = if x < -87.0 { -87.0 } else { x };
    // Adding 1.5 · 2^23 rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    // ln 2 in two parts, so that `k ln 2` is taken off without loss.
    let r = x - k * 0.693_359_4 + k * 2.121_944_4e-4;
    let mut series = 1.0 / 5040.0;
    series = series * r + 1.0 / 720.0;
    series = series * r + 1.0 / 120.0;
    series = series * r + 1.0 / 24.0;
    series = series * r + 1.0 / 6.0;
    series = series * r + 0.5;
    series = series * r + 1.0;
    series = series * r + 1.0;
    series * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

#[inline(always)]
fn gelu_body(x: &mut [f32]) {
    for v in x {
        let a = v.abs() * std::f32::consts::FRAC_1_SQRT_2;
        // Abramowitz and Stegun 7.1.26: erfc(a) = t (c1 + t (c2 + …)) exp(-a²), t = 1 / (1 + 0.3275911 a).
        let t = 1.0 / (1.0 + 0.327_591_1 * a);
        let mut poly = 1.061_405_4;
        poly = poly * t - 1.453_152_1;
        poly = poly * t + 1.421_413_7;
        poly = poly * t - 0.284_496_74;
        poly = poly * t + 0.254_829_6;
        let half_tail = 0.5 * poly * t * exp_negative(-a * a);
        *v *= if *v < 0.0 { half_tail } else { 1.0 - half_tail };
    }
}

/// `1 / (1 + e^-x)`, without overflow.
#[inline(always)]
fn logistic(x: f32) -> f32 {
    let e = exp_negative(-x.abs());
    let small = e / (1.0 + e);
    if x < 0.0 { small } else { 1.0 - small }
}

#[inline(always)]
fn silu_body(x: &mut [f32]) {
    for v in x {
        *v *= logistic(*v);
    }
}

#[inline(always)]
fn quick_gelu_body(x: &mut [f32]) {
    for v in x {
        *v *= logistic(1.702 * *v);
    }
}

#[inline(always)]
fn gelu_tanh_body(x: &mut [f32]) {
    // (1 + tanh u) / 2 = σ(2 u), and 2 √(2/π) = 1.595769.
    for v in x {
        *v *= logistic(1.595_769 * (*v + 0.044_715 * *v * *v * *v));
    }
}

/// Sums in sixteen lanes, so that the order does not depend on the instruction set's width.
#[inline(always)]
fn lane_sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (l, &v) in lanes.iter_mut().zip(chunk) {
            *l += f(v);
        }
    }
    for (l, &v) in lanes.iter_mut().zip(rest) {
        *l += f(v);
    }
    lanes.iter().sum()
}

#[inline(always)]
fn layer_norm_body(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let n = weight.len();
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let mean = lane_sum(x, |v| v) / n as f32;
        let variance = lane_sum(x, |v| (v - mean) * (v - mean)) / n as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((o, &v), &w), &b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *o = (v - mean) * scale * w + b;
        }
    }
}

#[inline(always)]
fn softmax_body(x: &mut [f32], n: usize, stride: usize, scale: f32) {
    for row in x.chunks_exact_mut(stride) {
        let (values, padding) = row.split_at_mut(n);
        let mut lanes = [f32::NEG_INFINITY; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (l, &v) in lanes.iter_mut().zip(chunk) {
                *l = if v > *l { v } else { *l };
            }
        }
        for (l, &v) in lanes.iter_mut().zip(rest) {
            *l = if v > *l { v } else { *l };
        }
        let max = lanes.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
        for v in values.iter_mut() {
            *v = exp_negative((*v - max) * scale);
        }
        let factor = 1.0 / lane_sum(values, |v| v);
        for v in values.iter_mut() {
            *v *= factor;
        }
        padding.fill(0.0);
    }
}
