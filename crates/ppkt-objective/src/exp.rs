//! The exponential of a row of logits, as fast as the processor's vectors allow.
//!
//! `exp(x) = 2^n · exp(r)` with `n = round(x / ln 2)` and `|r| ≤ ln 2 / 2`, and `exp(r)` by its Taylor polynomial of
//! degree 7, whose remainder `r⁸ / 8!` is below 6e-9: less than the rounding of f32. The loop has no branch and no
//! call, so the compiler turns it into vector code for the instruction set of the function that it is inlined into;
//! the instruction set is chosen when the program runs.

/// Lanes of the sum: as many as the widest vector has, and fixed, so that all processors add in one order.
const LANES: usize = 16;

/// Below this, 2^n would leave the normal numbers; exp(-87) is 1.6e-38 and adds nothing to a sum that holds a 1.
const LOWEST: f32 = -87.0;

/// Replaces each `x` by `exp(x − top)` and returns the sum of the results; `top` is to be the largest of `row`.
pub(crate) fn exp_and_sum(row: &mut [f32], top: f32) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            #[expect(unsafe_code, reason = "four times faster than the portable build of the same loop")]
            // SAFETY: the processor has the instructions, as was asked the line before.
            return unsafe { exp_and_sum_avx512(row, top) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            #[expect(unsafe_code, reason = "twice as fast as the portable build of the same loop")]
            // SAFETY: the processor has the instructions, as was asked the line before.
            return unsafe { exp_and_sum_avx2(row, top) };
        }
    }
    // The products and sums of NEON fuse as well, and there it is part of the base instruction set.
    exp_and_sum_in::<{ cfg!(target_arch = "aarch64") }>(row, top)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn exp_and_sum_avx512(row: &mut [f32], top: f32) -> f64 {
    exp_and_sum_in::<true>(row, top)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn exp_and_sum_avx2(row: &mut [f32], top: f32) -> f64 {
    exp_and_sum_in::<true>(row, top)
}

#[inline(always)]
fn exp_and_sum_in<const FUSED: bool>(row: &mut [f32], top: f32) -> f64 {
    let mut sum = 0f64;
    // The lanes are emptied now and then: in f32, a long sum would lose what small terms bring.
    for part in row.chunks_mut(LANES * 64) {
        let mut lanes = [0f32; LANES];
        let mut chunks = part.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for (x, lane) in chunk.iter_mut().zip(&mut lanes) {
                *x = exp::<FUSED>(*x - top);
                *lane += *x;
            }
        }
        sum += lanes.iter().map(|&l| f64::from(l)).sum::<f64>();
        for x in chunks.into_remainder() {
            *x = exp::<FUSED>(*x - top);
            sum += f64::from(*x);
        }
    }
    sum
}

/// `a · b + c`, in one rounding where the processor has it; where it has not, `mul_add` would be a slow call.
#[inline(always)]
fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `exp(x)` for `x ≤ 0`; anything below [`LOWEST`] as if it were that.
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer, which then sits in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few digits, so that n · LN_2_HIGH is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let x = x.max(LOWEST);
    let shifted = mul_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FUSED>(n, -LN_2_LOW, mul_add::<FUSED>(n, -LN_2_HIGH, x));

    let mut p = mul_add::<FUSED>(1.0 / 5040.0, r, 1.0 / 720.0);
    p = mul_add::<FUSED>(p, r, 1.0 / 120.0);
    p = mul_add::<FUSED>(p, r, 1.0 / 24.0);
    p = mul_add::<FUSED>(p, r, 1.0 / 6.0);
    p = mul_add::<FUSED>(p, r, 0.5);
    p = mul_add::<FUSED>(p, r, 1.0);
    p = mul_add::<FUSED>(p, r, 1.0);
    // Times 2^n, by adding n to the exponent bits.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two units in the last place.
    const TOLERANCE: f64 = 2.4e-7;

    #[test]
    fn every_build_is_accurate() {
        type Build = fn(&mut [f32], f32) -> f64;
        let builds: [(&str, Build); 3] = [
            ("chosen", exp_and_sum),
            ("fused", |r, t| exp_and_sum_in::<true>(r, t)),
            ("portable", |r, t| exp_and_sum_in::<false>(r, t)),
        ];
        // 87 · 1000 steps and an odd rest beside the lanes.
        let xs: Vec<f32> = (0..=87_001).map(|i| (-(i as f32) * 1e-3).max(LOWEST)).collect();
        for (name, build) in builds {
            let mut row = xs.clone();
            let sum = build(&mut row, 0.0);
            for (x, got) in xs.iter().zip(&row) {
                let want = f64::from(*x).exp();
                assert!((f64::from(*got) - want).abs() <= want * TOLERANCE, "{name}: exp({x}) = {got}");
            }
            let want: f64 = xs.iter().map(|&x| f64::from(x).exp()).sum();
            assert!((sum - want).abs() < want * 1e-6, "{name}: {sum} {want}");
        }
    }

    #[test]
    fn far_below_is_nothing_and_the_top_is_one() {
        let mut row = [5.0, -1e30, f32::MIN, -90.0, 5.0 - 200.0];
        let sum = exp_and_sum(&mut row, 5.0);
        assert_eq!(row[0], 1.0);
        assert!(row[1..].iter().all(|&x| (0.0..2e-38).contains(&x)), "{row:?}");
        assert!((sum - 1.0).abs() < 1e-30);
    }
}
