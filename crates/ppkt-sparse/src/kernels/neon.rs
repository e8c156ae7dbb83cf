//! Micro-kernels for NEON: tiles of up to 8 rows and 16 columns in registers, and squares of 4 transposed.
//!
//! Four channels of a row that is read are one load, and the multiply-add takes one of them for all columns
//! (`fmla` by element), so that no broadcast is needed.
#![expect(
    clippy::needless_range_loop,
    reason = "loops over registers are to be unrolled, and read best by index"
)]

use std::arch::aarch64::{
    float32x4_t, vcombine_f32, vdup_n_f32, vdupq_n_f32, vfmaq_laneq_f32, vget_low_f32, vld1_f32,
    vld1q_dup_f32, vld1q_f32, vld1q_lane_f32, vreinterpretq_f32_f64, vreinterpretq_f64_f32, vst1_f32,
    vst1q_f32, vst1q_lane_f32, vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64,
};

use super::product::{Product, ProductIsa};
use super::wgrad::{Wgrad, WgradIsa};

const LANES: usize = 4;

pub(super) static PRODUCT: ProductIsa = ProductIsa {
    lanes: LANES,
    by_vectors: &[product::<1>, product::<2>, product::<3>, product::<4>],
    transpose,
};

pub(super) static WGRAD: WgradIsa =
    WgradIsa { lanes: LANES, by_vectors: &[wgrad::<1>, wgrad::<2>, wgrad::<3>, wgrad::<4>] };

/// Loads a vector of which `lanes` elements exist.
///
/// # Safety
/// NEON; the elements that exist must be readable.
#[inline]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "loads into registers")]
unsafe fn load_some(p: *const f32, lanes: usize) -> float32x4_t {
    // SAFETY: the caller vouches for the elements; no other is touched.
    unsafe {
        match lanes {
            1 => vld1q_lane_f32::<0>(p, vdupq_n_f32(0.0)),
            2 => vcombine_f32(vld1_f32(p), vdup_n_f32(0.0)),
            3 => vld1q_lane_f32::<2>(p.add(2), vcombine_f32(vld1_f32(p), vdup_n_f32(0.0))),
            _ => vld1q_f32(p),
        }
    }
}

/// Undoes [`load_some`].
///
/// # Safety
/// NEON; the elements that exist must be writable.
#[inline]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "stores from registers")]
unsafe fn store_some(p: *mut f32, lanes: usize, r: float32x4_t) {
    // SAFETY: the caller vouches for the elements; no other is touched.
    unsafe {
        match lanes {
            1 => vst1q_lane_f32::<0>(p, r),
            2 => vst1_f32(p, vget_low_f32(r)),
            3 => {
                vst1_f32(p, vget_low_f32(r));
                vst1q_lane_f32::<2>(p.add(2), r);
            }
            _ => vst1q_f32(p, r),
        }
    }
}

/// Loads a row of `V` vectors of which the last has `last` elements.
///
/// # Safety
/// NEON; the elements that exist must be readable.
#[inline]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "loads into registers")]
unsafe fn load<const V: usize>(p: *const f32, last: usize) -> [float32x4_t; V] {
    let mut r = [vdupq_n_f32(0.0); V];
    for v in 0..V {
        // SAFETY: the caller vouches for the elements.
        r[v] = unsafe {
            if v + 1 < V { vld1q_f32(p.add(v * LANES)) } else { load_some(p.add(v * LANES), last) }
        };
    }
    r
}

/// Undoes [`load`].
///
/// # Safety
/// NEON; the elements that exist must be writable.
#[inline]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "stores from registers")]
unsafe fn store<const V: usize>(p: *mut f32, last: usize, r: [float32x4_t; V]) {
    for v in 0..V {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            if v + 1 < V {
                vst1q_f32(p.add(v * LANES), r[v]);
            } else {
                store_some(p.add(v * LANES), last, r[v]);
            }
        }
    }
}

/// One list of pairs, `V` vectors of columns. The accumulators, four channels of each row that is read, and what is at
/// hand of the panel's row must fit 32 registers.
///
/// # Safety
/// As [`ProductIsa::by_vectors`].
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn product<const V: usize>(p: &Product<'_>) {
    let n = p.source.len();
    let mut at = 0;
    // SAFETY: the caller vouches for rows and instruction set; every call ends at or before pair `n`.
    unsafe {
        let most = match V {
            4 => 6,
            3 => 7,
            _ => 8,
        };
        while at + most <= n {
            match V {
                4 => tile::<6, V>(p, at),
                3 => tile::<7, V>(p, at),
                _ => tile::<8, V>(p, at),
            }
            at += most;
        }
        match n - at {
            1 => tile::<1, V>(p, at),
            2 => tile::<2, V>(p, at),
            3 => tile::<3, V>(p, at),
            4 => tile::<4, V>(p, at),
            5 => tile::<5, V>(p, at),
            6 => tile::<6, V>(p, at),
            7 => tile::<7, V>(p, at),
            _ => {}
        }
    }
}

/// Pairs `at..at + R` of a list.
///
/// # Safety
/// As [`ProductIsa::by_vectors`], and the list has at least `at + R` pairs.
#[inline(never)]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn tile<const R: usize, const V: usize>(p: &Product<'_>, at: usize) {
    let mut c = [std::ptr::null_mut::<f32>(); R];
    let mut acc = [[vdupq_n_f32(0.0); V]; R];
    // SAFETY: the caller vouches that the pairs exist and that their rows lie within the sides and the result; `i`
    // stays below the depth of a side's rows, and the depths of all sides together are the panel's.
    unsafe {
        for r in 0..R {
            c[r] = p.out.add(*p.target.get_unchecked(at + r) as usize * p.out_stride);
            acc[r] = load::<V>(c[r], p.last_lanes);
        }
        let mut b = p.panel.as_ptr();
        for side in p.sides {
            let (data, depth) = (side.data.as_ptr(), side.channels);
            let mut a = [std::ptr::null::<f32>(); R];
            for r in 0..R {
                a[r] = data.add(*p.source.get_unchecked(at + r) as usize * depth);
            }
            let mut x = [vdupq_n_f32(0.0); R];
            let mut i = 0;
            while i + LANES <= depth {
                for r in 0..R {
                    x[r] = vld1q_f32(a[r].add(i));
                }
                step::<R, V, 0>(&mut acc, &x, b);
                step::<R, V, 1>(&mut acc, &x, b.add(V * LANES));
                step::<R, V, 2>(&mut acc, &x, b.add(2 * V * LANES));
                step::<R, V, 3>(&mut acc, &x, b.add(3 * V * LANES));
                b = b.add(LANES * V * LANES);
                i += LANES;
            }
            while i < depth {
                for r in 0..R {
                    x[r] = vld1q_dup_f32(a[r].add(i));
                }
                step::<R, V, 0>(&mut acc, &x, b);
                b = b.add(V * LANES);
                i += 1;
            }
        }
        for r in 0..R {
            store::<V>(c[r], p.last_lanes, acc[r]);
        }
    }
}

/// `acc[r] += x[r][LANE] * b` for all rows.
///
/// # Safety
/// NEON; `b` has `V` vectors.
#[inline]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "the innermost step of the products")]
unsafe fn step<const R: usize, const V: usize, const LANE: i32>(
    acc: &mut [[float32x4_t; V]; R],
    x: &[float32x4_t; R],
    b: *const f32,
) {
    for v in 0..V {
        // SAFETY: the caller vouches for the elements.
        let column = unsafe { vld1q_f32(b.add(v * LANES)) };
        for r in 0..R {
            acc[r][v] = vfmaq_laneq_f32::<LANE>(acc[r][v], column, x[r]);
        }
    }
}

/// Some pairs of a list, all rows of the matrix, `V` vectors of its columns.
///
/// # Safety
/// As [`WgradIsa::by_vectors`].
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn wgrad<const V: usize>(p: &Wgrad<'_>) {
    let mut c = 0;
    // SAFETY: the caller vouches for rows and instruction set; every call ends at or before row `cin`.
    unsafe {
        if p.last_lanes < LANES {
            // No layer of a network's body is so wide: small tiles will do.
            while c + 4 <= p.cin {
                wgrad_tile::<4, V, false>(p, c);
                c += 4;
            }
            while c < p.cin {
                wgrad_tile::<1, V, false>(p, c);
                c += 1;
            }
            return;
        }
        let most = match V {
            4 => 6,
            3 => 8,
            _ => 12,
        };
        while c + most <= p.cin {
            match V {
                4 => wgrad_tile::<6, V, true>(p, c),
                3 => wgrad_tile::<8, V, true>(p, c),
                _ => wgrad_tile::<12, V, true>(p, c),
            }
            c += most;
        }
        match p.cin - c {
            1 => wgrad_tile::<1, V, true>(p, c),
            2 => wgrad_tile::<2, V, true>(p, c),
            3 => wgrad_tile::<3, V, true>(p, c),
            4 => wgrad_tile::<4, V, true>(p, c),
            5 => wgrad_tile::<5, V, true>(p, c),
            6 => wgrad_tile::<6, V, true>(p, c),
            7 => wgrad_tile::<7, V, true>(p, c),
            8 => wgrad_tile::<8, V, true>(p, c),
            9 => wgrad_tile::<9, V, true>(p, c),
            10 => wgrad_tile::<10, V, true>(p, c),
            11 => wgrad_tile::<11, V, true>(p, c),
            _ => {}
        }
    }
}

/// Rows `c..c + R` of the matrix; `FULL` where the last vector of its columns is complete.
///
/// # Safety
/// As [`WgradIsa::by_vectors`], and `c + R <= cin`.
#[inline(never)]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn wgrad_tile<const R: usize, const V: usize, const FULL: bool>(p: &Wgrad<'_>, c: usize) {
    let last = if FULL { LANES } else { p.last_lanes };
    let mut acc = [[vdupq_n_f32(0.0); V]; R];
    // SAFETY: the caller vouches for the rows of `dw`, `x` and `grad`.
    unsafe {
        for r in 0..R {
            acc[r] = load::<V>(p.dw.add((c + r) * p.cout), last);
        }
        for (&s, &t) in p.source.iter().zip(p.target) {
            let x = p.x.as_ptr().add(s as usize * p.cin + c);
            let g = load::<V>(p.grad.as_ptr().add(t as usize * p.cout), last);
            let fours = R - R % LANES;
            for r in (0..fours).step_by(LANES) {
                let x = vld1q_f32(x.add(r));
                add::<V, 0>(&mut acc[r], &g, x);
                add::<V, 1>(&mut acc[r + 1], &g, x);
                add::<V, 2>(&mut acc[r + 2], &g, x);
                add::<V, 3>(&mut acc[r + 3], &g, x);
            }
            for r in fours..R {
                add::<V, 0>(&mut acc[r], &g, vld1q_dup_f32(x.add(r)));
            }
        }
        for r in 0..R {
            store::<V>(p.dw.add((c + r) * p.cout), last, acc[r]);
        }
    }
}

/// `acc += x[LANE] * g`
#[inline]
#[target_feature(enable = "neon")]
fn add<const V: usize, const LANE: i32>(acc: &mut [float32x4_t; V], g: &[float32x4_t; V], x: float32x4_t) {
    for v in 0..V {
        acc[v] = vfmaq_laneq_f32::<LANE>(acc[v], g[v], x);
    }
}

/// 4 by 4.
///
/// # Safety
/// As [`super::TransposeSquare`], with NEON.
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "loads and stores of rows of a matrix")]
unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: the caller vouches for 4 rows of 4 on both sides.
    unsafe {
        let row = |i: usize| vld1q_f32(from.add(i * from_stride));
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (even_ab, odd_ab) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
        let (even_cd, odd_cd) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
        let wide = |v| vreinterpretq_f64_f32(v);
        let store = |i: usize, v| vst1q_f32(to.add(i * to_stride), vreinterpretq_f32_f64(v));
        store(0, vtrn1q_f64(wide(even_ab), wide(even_cd)));
        store(1, vtrn1q_f64(wide(odd_ab), wide(odd_cd)));
        store(2, vtrn2q_f64(wide(even_ab), wide(even_cd)));
        store(3, vtrn2q_f64(wide(odd_ab), wide(odd_cd)));
    }
}
