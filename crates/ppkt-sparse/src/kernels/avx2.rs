//! Micro-kernels for AVX2: tiles of up to 8 rows and 16 columns in registers.
#![expect(
    clippy::needless_range_loop,
    reason = "loops over registers are to be unrolled, and read best by index"
)]

use std::arch::x86_64::{
    __m256, __m256i, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps,
    _mm256_maskstore_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps,
    _mm256_storeu_ps,
};

use super::product::{Product, ProductIsa};
use super::transpose;
use super::wgrad::{Wgrad, WgradIsa};

const LANES: usize = 8;

pub(super) static PRODUCT: ProductIsa =
    ProductIsa { lanes: LANES, by_vectors: &[product::<1>, product::<2>], transpose: transpose::avx2 };

pub(super) static WGRAD: WgradIsa = WgradIsa { lanes: LANES, by_vectors: &[wgrad::<1>, wgrad::<2>] };

/// Rows of a tile `v` vectors wide: accumulators, one row of the panel and a broadcast must fit 16 registers, and 8
/// sums must be under way at a time to hide the latency of a multiply-add.
const fn rows(v: usize) -> usize {
    if v == 2 { 6 } else { 8 }
}

#[target_feature(enable = "avx2,fma")]
fn mask(lanes: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Loads a row of `V` vectors of which the last may be incomplete.
///
/// # Safety
/// AVX2 with FMA; the elements that exist must be readable.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "loads into registers")]
unsafe fn load<const V: usize>(p: *const f32, last: __m256i) -> [__m256; V] {
    let mut r = [_mm256_setzero_ps(); V];
    for (v, r) in r.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the elements; masked-out ones are not touched.
        *r = unsafe {
            if v + 1 < V {
                _mm256_loadu_ps(p.add(v * LANES))
            } else {
                _mm256_maskload_ps(p.add(v * LANES), last)
            }
        };
    }
    r
}

/// Undoes [`load`].
///
/// # Safety
/// AVX2 with FMA; the elements that exist must be writable.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "stores from registers")]
unsafe fn store<const V: usize>(p: *mut f32, last: __m256i, r: [__m256; V]) {
    for (v, r) in r.into_iter().enumerate() {
        // SAFETY: the caller vouches for the elements; masked-out ones are not touched.
        unsafe {
            if v + 1 < V {
                _mm256_storeu_ps(p.add(v * LANES), r)
            } else {
                _mm256_maskstore_ps(p.add(v * LANES), last, r)
            }
        }
    }
}

/// One list of pairs, `V` vectors of columns.
///
/// # Safety
/// As [`ProductIsa::by_vectors`].
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn product<const V: usize>(p: &Product<'_>) {
    let n = p.source.len();
    let most = rows(V);
    let mut at = 0;
    // SAFETY: the caller vouches for rows and instruction set; every call ends at or before pair `n`.
    unsafe {
        while at + most <= n {
            if V == 2 {
                tile::<6, V>(p, at);
            } else {
                tile::<8, V>(p, at);
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
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn tile<const R: usize, const V: usize>(p: &Product<'_>, at: usize) {
    const UNROLL: usize = 4;
    let last = mask(p.last_lanes);
    let mut c = [std::ptr::null_mut::<f32>(); R];
    let mut acc = [[_mm256_setzero_ps(); V]; R];
    // SAFETY: the caller vouches that the pairs exist and that their rows lie within the sides and the result; `i`
    // stays below the depth of a side's rows, and the depths of all sides together are the panel's.
    unsafe {
        for r in 0..R {
            c[r] = p.out.add(*p.target.get_unchecked(at + r) as usize * p.out_stride);
            acc[r] = load::<V>(c[r], last);
        }
        let mut b = p.panel.as_ptr();
        for side in p.sides {
            let (data, depth) = (side.data.as_ptr(), side.channels);
            let mut a = [std::ptr::null::<f32>(); R];
            for r in 0..R {
                a[r] = data.add(*p.source.get_unchecked(at + r) as usize * depth);
            }
            let mut i = 0;
            while i + UNROLL <= depth {
                for u in 0..UNROLL {
                    step::<R, V>(&mut acc, &a, i + u, b.add((i + u) * V * LANES));
                }
                i += UNROLL;
            }
            while i < depth {
                step::<R, V>(&mut acc, &a, i, b.add(i * V * LANES));
                i += 1;
            }
            b = b.add(depth * V * LANES);
        }
        for r in 0..R {
            store::<V>(c[r], last, acc[r]);
        }
    }
}

/// `acc[r] += a[r][i] * b` for all rows.
///
/// # Safety
/// AVX2 with FMA; `a[r]` has more than `i` elements, `b` has `V` vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "the innermost step of the products")]
unsafe fn step<const R: usize, const V: usize>(
    acc: &mut [[__m256; V]; R],
    a: &[*const f32; R],
    i: usize,
    b: *const f32,
) {
    // SAFETY: the caller vouches for the instruction set and the elements.
    unsafe {
        let mut row = [_mm256_setzero_ps(); V];
        for v in 0..V {
            row[v] = _mm256_loadu_ps(b.add(v * LANES));
        }
        for r in 0..R {
            let x = _mm256_set1_ps(*a[r].add(i));
            for v in 0..V {
                acc[r][v] = _mm256_fmadd_ps(x, row[v], acc[r][v]);
            }
        }
    }
}

/// Some pairs of a list, all rows of the matrix, `V` vectors of its columns.
///
/// # Safety
/// As [`WgradIsa::by_vectors`].
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn wgrad<const V: usize>(p: &Wgrad<'_>) {
    let most = rows(V);
    let mut c = 0;
    // SAFETY: the caller vouches for rows and instruction set; every call ends at or before row `cin`.
    unsafe {
        while c + most <= p.cin {
            if V == 2 {
                wgrad_tile::<6, V>(p, c);
            } else {
                wgrad_tile::<8, V>(p, c);
            }
            c += most;
        }
        match p.cin - c {
            1 => wgrad_tile::<1, V>(p, c),
            2 => wgrad_tile::<2, V>(p, c),
            3 => wgrad_tile::<3, V>(p, c),
            4 => wgrad_tile::<4, V>(p, c),
            5 => wgrad_tile::<5, V>(p, c),
            6 => wgrad_tile::<6, V>(p, c),
            7 => wgrad_tile::<7, V>(p, c),
            _ => {}
        }
    }
}

/// Rows `c..c + R` of the matrix.
///
/// # Safety
/// As [`WgradIsa::by_vectors`], and `c + R <= cin`.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "intrinsics and rows picked by number")]
unsafe fn wgrad_tile<const R: usize, const V: usize>(p: &Wgrad<'_>, c: usize) {
    let last = mask(p.last_lanes);
    let mut acc = [[_mm256_setzero_ps(); V]; R];
    // SAFETY: the caller vouches for the rows of `dw`, `x` and `grad`.
    unsafe {
        for r in 0..R {
            acc[r] = load::<V>(p.dw.add((c + r) * p.cout), last);
        }
        for (&s, &t) in p.source.iter().zip(p.target) {
            let x = p.x.as_ptr().add(s as usize * p.cin + c);
            let g = load::<V>(p.grad.as_ptr().add(t as usize * p.cout), last);
            for r in 0..R {
                let x = _mm256_set1_ps(*x.add(r));
                for v in 0..V {
                    acc[r][v] = _mm256_fmadd_ps(x, g[v], acc[r][v]);
                }
            }
        }
        for r in 0..R {
            store::<V>(p.dw.add((c + r) * p.cout), last, acc[r]);
        }
    }
}
