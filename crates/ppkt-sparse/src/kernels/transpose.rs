//! Squares of a matrix, transposed in registers: a weight of 256 by 256 channels is read and written once, not element
//! by element.

use std::arch::x86_64::{
    __m256, __m512, _mm256_castpd_ps, _mm256_castps_pd, _mm256_loadu_ps, _mm256_permute2f128_ps,
    _mm256_setzero_ps, _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps, _mm256_unpacklo_pd,
    _mm256_unpacklo_ps, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

/// 16 by 16.
///
/// # Safety
/// As [`super::TransposeSquare`], with AVX-512F.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "loads and stores of rows of a matrix")]
pub(super) unsafe fn avx512(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    let mut rows: [__m512; 16] = [_mm512_setzero_ps(); 16];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller vouches for 16 rows of 16.
        *row = unsafe { _mm512_loadu_ps(from.add(i * from_stride)) };
    }
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    // Lane `l` of `fours[4 i + j]` is column `4 l + j` of rows `4 i..4 i + 4`.
    let mut fours = pairs;
    for i in 0..4 {
        for j in 0..2 {
            let (a, b) = (_mm512_castps_pd(pairs[4 * i + j]), _mm512_castps_pd(pairs[4 * i + j + 2]));
            fours[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            fours[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for j in 0..4 {
        let even_a = _mm512_shuffle_f32x4::<0x88>(fours[j], fours[4 + j]);
        let even_b = _mm512_shuffle_f32x4::<0x88>(fours[8 + j], fours[12 + j]);
        let odd_a = _mm512_shuffle_f32x4::<0xdd>(fours[j], fours[4 + j]);
        let odd_b = _mm512_shuffle_f32x4::<0xdd>(fours[8 + j], fours[12 + j]);
        // SAFETY: the caller vouches for 16 rows of 16.
        unsafe {
            _mm512_storeu_ps(to.add(j * to_stride), _mm512_shuffle_f32x4::<0x88>(even_a, even_b));
            _mm512_storeu_ps(to.add((4 + j) * to_stride), _mm512_shuffle_f32x4::<0x88>(odd_a, odd_b));
            _mm512_storeu_ps(to.add((8 + j) * to_stride), _mm512_shuffle_f32x4::<0xdd>(even_a, even_b));
            _mm512_storeu_ps(to.add((12 + j) * to_stride), _mm512_shuffle_f32x4::<0xdd>(odd_a, odd_b));
        }
    }
}

/// 8 by 8.
///
/// # Safety
/// As [`super::TransposeSquare`], with AVX2.
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "loads and stores of rows of a matrix")]
pub(super) unsafe fn avx2(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    let mut rows: [__m256; 8] = [_mm256_setzero_ps(); 8];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller vouches for 8 rows of 8.
        *row = unsafe { _mm256_loadu_ps(from.add(i * from_stride)) };
    }
    let mut pairs = rows;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    // Lane `l` of `fours[4 i + j]` is column `4 l + j` of rows `4 i..4 i + 4`.
    let mut fours = pairs;
    for i in 0..2 {
        for j in 0..2 {
            let (a, b) = (_mm256_castps_pd(pairs[4 * i + j]), _mm256_castps_pd(pairs[4 * i + j + 2]));
            fours[4 * i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            fours[4 * i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    }
    for j in 0..4 {
        // SAFETY: the caller vouches for 8 rows of 8.
        unsafe {
            _mm256_storeu_ps(to.add(j * to_stride), _mm256_permute2f128_ps::<0x20>(fours[j], fours[4 + j]));
            _mm256_storeu_ps(
                to.add((4 + j) * to_stride),
                _mm256_permute2f128_ps::<0x31>(fours[j], fours[4 + j]),
            );
        }
    }
}
