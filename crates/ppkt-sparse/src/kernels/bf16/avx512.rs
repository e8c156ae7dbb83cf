//! Micro-kernels for processors with `avx512_bf16`: tiles of up to 8 rows and 64 columns of sums in registers.
//!
//! The functions that are not `unsafe` are called where [`super::Path::available`] has found the instructions.
#![expect(
    clippy::needless_range_loop,
    reason = "loops over registers are to be unrolled, and read best by index"
)]
#![expect(unsafe_code, reason = "intrinsics and rows picked by number")]

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_castps_si512,
    _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mask_storeu_epi32, _mm512_mask_storeu_ps, _mm512_maskz_loadu_epi16,
    _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_permutex2var_epi16, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
};

use half::bf16;

use super::Side;
use super::pack::LANES;
use super::product::Product;
use super::wgrad::Outer;

/// Elements of bf16 in a cache line.
const LINE: usize = 32;

/// Rows of a tile `v` vectors wide: sums, one row of the panel and a broadcast must fit 32 registers, and enough sums
/// must be under way to hide the latency of an instruction.
const fn rows(v: usize) -> usize {
    if v == 4 { 6 } else { 8 }
}

fn mask(lanes: usize) -> __mmask16 {
    u16::MAX >> (LANES - lanes)
}

/// Lanes of the vector that begins at column `at` of `columns`.
fn lanes(at: usize, columns: usize) -> usize {
    LANES.min(columns - at)
}

fn pairs(v: __m512i) -> __m512bh {
    // SAFETY: 512 bits either way.
    unsafe { std::mem::transmute(v) }
}

fn bits(v: __m512bh) -> __m512i {
    // SAFETY: 512 bits either way.
    unsafe { std::mem::transmute(v) }
}

/// See [`super::pack::PairRows`].
pub(super) fn pair_rows(a: &[f32], b: Option<&[f32]>, to: &mut [u32]) {
    assert!(a.len() == to.len() && b.is_none_or(|b| b.len() == to.len()));
    // SAFETY: the instructions were detected, and all rows are as long.
    unsafe { pair_rows_of(a.as_ptr(), b.map(<[f32]>::as_ptr), to) }
}

/// # Safety
/// The instructions must be there, and both rows as long as `to`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pair_rows_of(a: *const f32, b: Option<*const f32>, to: &mut [u32]) {
    for at in (0..to.len()).step_by(LANES) {
        let mask = mask(lanes(at, to.len()));
        // SAFETY: the mask ends with the rows.
        unsafe {
            let round = |row: *const f32| {
                let rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, row.add(at)));
                _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(rounded))
            };
            let mut both = round(a);
            if let Some(b) = b {
                both = _mm512_or_si512(both, _mm512_slli_epi32::<16>(round(b)));
            }
            _mm512_mask_storeu_epi32(to.as_mut_ptr().add(at).cast(), mask, both);
        }
    }
}

/// See [`super::pack::PairNeighbours`].
pub(super) fn pair_neighbours(a: &[f32], to: &mut [u32]) {
    assert_eq!(a.len().div_ceil(2), to.len());
    // SAFETY: the instructions were detected, and `to` has an element for each two of `a`.
    unsafe { pair_neighbours_of(a, to) }
}

/// # Safety
/// The instructions must be there, and `to` must have an element for each two of `a`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pair_neighbours_of(a: &[f32], to: &mut [u32]) {
    for at in (0..a.len()).step_by(2 * LANES) {
        let left = a.len() - at;
        let second = left.saturating_sub(LANES).min(LANES);
        // SAFETY: the masks end with the row, and with its pairs.
        unsafe {
            let from = a.as_ptr().add(at);
            let low = _mm512_maskz_loadu_ps(mask(left.min(LANES)), from);
            let high = if second == 0 {
                _mm512_setzero_ps()
            } else {
                _mm512_maskz_loadu_ps(mask(second), from.add(LANES))
            };
            let mask = mask(lanes(at / 2, to.len()));
            let both = bits(_mm512_cvtne2ps_pbh(high, low));
            _mm512_mask_storeu_epi32(to.as_mut_ptr().add(at / 2).cast(), mask, both);
        }
    }
}

/// As [`super::plain::interleave`].
pub(super) fn interleave(side: &Side<'_, bf16>, rows: &[u32], to: &mut [u32], stride: usize, first: usize) {
    assert!(to.len() == rows.len().div_ceil(2) * stride && first + side.channels <= stride);
    // SAFETY: the instructions were detected. Rows are those of a kernel map, of which the side has as many; each has
    // its place in `to`.
    unsafe {
        match side.channels % LINE {
            0 => interleave_rows::<false>(side, rows, to.as_mut_ptr().wrapping_add(first), stride),
            _ => interleave_rows::<true>(side, rows, to.as_mut_ptr().wrapping_add(first), stride),
        }
    }
}

/// Element numbers of two vectors, those of the second from 32: one of each in turn, from element `first`.
const fn alternating(first: u16) -> [u16; 32] {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 16 {
        order[2 * i] = first + i as u16;
        order[2 * i + 1] = 32 + first + i as u16;
        i += 1;
    }
    order
}

/// With `MASKED`, rows that do not fill their last cache line.
///
/// # Safety
/// The instructions must be there, the rows the side's, and `to` valid for writes of the side's channels in a row of
/// `stride` for each two of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn interleave_rows<const MASKED: bool>(
    side: &Side<'_, bf16>,
    rows: &[u32],
    mut to: *mut u32,
    stride: usize,
) {
    const LOW: [u16; 32] = alternating(0);
    const HIGH: [u16; 32] = alternating(16);
    let (data, channels) = (side.data.as_ptr(), side.channels);
    // SAFETY: the caller vouches for rows and places; masks end with both.
    unsafe {
        let row = |i: usize| data.add(*rows.get_unchecked(i) as usize * channels);
        let low = _mm512_loadu_si512(LOW.as_ptr().cast());
        let high = _mm512_loadu_si512(HIGH.as_ptr().cast());
        let zero = _mm512_castps_si512(_mm512_setzero_ps());
        for i in (0..rows.len()).step_by(2) {
            let (a, b) = (row(i), (i + 1 < rows.len()).then(|| row(i + 1)));
            for ahead in [i + AHEAD, i + AHEAD + 1] {
                let ahead = row(ahead.min(rows.len() - 1));
                for line in (0..channels).step_by(LINE) {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.add(line).cast());
                }
            }
            for at in (0..channels).step_by(LINE) {
                let left = if MASKED { (channels - at).min(LINE) } else { LINE };
                let load = |row: *const bf16| match MASKED {
                    true => _mm512_maskz_loadu_epi16(u32::MAX >> (LINE - left), row.add(at).cast()),
                    false => _mm512_loadu_si512(row.add(at).cast()),
                };
                let (a, b) = (load(a), b.map_or(zero, load));
                let (first, second) =
                    (_mm512_permutex2var_epi16(a, low, b), _mm512_permutex2var_epi16(a, high, b));
                let to = to.add(at);
                if MASKED {
                    _mm512_mask_storeu_epi32(to.cast(), mask(left.min(LANES)), first);
                    if left > LANES {
                        _mm512_mask_storeu_epi32(to.add(LANES).cast(), mask(left - LANES), second);
                    }
                } else {
                    _mm512_storeu_si512(to.cast(), first);
                    _mm512_storeu_si512(to.add(LANES).cast(), second);
                }
            }
            to = to.wrapping_add(stride);
        }
    }
}

/// Rows by which they are asked for before they are needed: their order is one that no processor foresees.
const AHEAD: usize = 16;

/// One list of pairs of rows and one panel.
pub(super) fn product(p: Product<'_>) {
    // Rows, panel and sums as [`super::product`] has them; what it has checked is checked again where it costs nothing.
    assert_eq!(p.source.len(), p.target.len());
    let depth: usize = p.sides.iter().map(|s| s.channels.div_ceil(2)).sum();
    assert_eq!(p.panel.len(), depth * p.vectors * LANES);
    // SAFETY: the instructions were detected. Sources are rows of the sides and targets rows of the block, as kernel
    // maps have them.
    unsafe {
        match p.vectors {
            1 => product_of::<1>(p),
            2 => product_of::<2>(p),
            3 => product_of::<3>(p),
            _ => product_of::<4>(p),
        }
    }
}

/// # Safety
/// The instructions must be there, every source must be a row of each side, `sums` must have a row of `V` vectors for
/// each target, and `panel` one for each inner pair.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn product_of<const V: usize>(p: Product<'_>) {
    let sums = p.sums.as_mut_ptr();
    let n = p.source.len();
    let tiles = n.div_ceil(rows(V));
    for i in 0..tiles {
        // Tiles of like height: a low one would wait for its own sums.
        let (at, end) = (n * i / tiles, n * (i + 1) / tiles);
        // SAFETY: the caller vouches for rows and instructions, and the pairs `at..end` exist.
        unsafe {
            match end - at {
                1 => tile::<1, V>(&p, sums, at),
                2 => tile::<2, V>(&p, sums, at),
                3 => tile::<3, V>(&p, sums, at),
                4 => tile::<4, V>(&p, sums, at),
                5 => tile::<5, V>(&p, sums, at),
                6 => tile::<6, V>(&p, sums, at),
                7 => tile::<7, V>(&p, sums, at),
                _ => tile::<8, V>(&p, sums, at),
            }
        }
    }
}

/// Pairs of rows `at..at + R` of a list.
///
/// # Safety
/// As [`product_of`], and the list has at least `at + R` pairs.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn tile<const R: usize, const V: usize>(p: &Product<'_>, sums: *mut f32, at: usize) {
    const UNROLL: usize = 4;
    let mut c = [std::ptr::null_mut::<f32>(); R];
    let mut acc = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: the caller vouches that the pairs exist and that their rows lie within the sides and the sums; inner
    // pairs stay below half the channels of a side, and those of all sides together are the panel's. An odd channel at
    // the end is read by itself.
    unsafe {
        for r in 0..R {
            c[r] = sums.add(usize::from(*p.target.get_unchecked(at + r)) * V * LANES);
            for v in 0..V {
                acc[r][v] = _mm512_loadu_ps(c[r].add(v * LANES));
            }
        }
        let mut b = p.panel.as_ptr();
        for side in p.sides {
            let (data, channels) = (side.data.as_ptr(), side.channels);
            let mut a = [std::ptr::null::<bf16>(); R];
            for r in 0..R {
                a[r] = data.add(*p.source.get_unchecked(at + r) as usize * channels);
            }
            for r in 0..R {
                let next = *p.source.get_unchecked((at + R + r).min(p.source.len() - 1)) as usize;
                for line in (0..channels).step_by(LINE) {
                    _mm_prefetch::<_MM_HINT_T0>(data.add(next * channels + line).cast());
                }
            }
            let depth = channels / 2;
            let pair = |a: *const bf16, i: usize| a.cast::<i32>().add(i).read_unaligned();
            let mut i = 0;
            while i + UNROLL <= depth {
                for u in 0..UNROLL {
                    step::<R, V>(&mut acc, b.add((i + u) * V * LANES), |r| pair(a[r], i + u));
                }
                i += UNROLL;
            }
            while i < depth {
                step::<R, V>(&mut acc, b.add(i * V * LANES), |r| pair(a[r], i));
                i += 1;
            }
            if channels % 2 == 1 {
                let last = |r: usize| i32::from((*a[r].add(channels - 1)).to_bits());
                step::<R, V>(&mut acc, b.add(depth * V * LANES), last);
            }
            b = b.add(channels.div_ceil(2) * V * LANES);
        }
        for r in 0..R {
            for v in 0..V {
                _mm512_storeu_ps(c[r].add(v * LANES), acc[r][v]);
            }
        }
    }
}

/// `acc[r] += a(r) * b` for all rows.
///
/// # Safety
/// The instructions must be there, and `b` must have `V` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn step<const R: usize, const V: usize>(
    acc: &mut [[__m512; V]; R],
    b: *const u32,
    a: impl Fn(usize) -> i32,
) {
    let mut row = [_mm512_castps_si512(_mm512_setzero_ps()); V];
    for v in 0..V {
        // SAFETY: the caller vouches for the elements.
        row[v] = unsafe { _mm512_loadu_si512(b.add(v * LANES).cast()) };
    }
    for r in 0..R {
        let x = pairs(_mm512_set1_epi32(a(r)));
        for v in 0..V {
            acc[r][v] = _mm512_dpbf16_ps(acc[r][v], x, pairs(row[v]));
        }
    }
}

/// `dw[c][j] += Σ x[i][c] · g[i][j]` over pairs of pairs `i`.
pub(super) fn outer(p: Outer<'_>) {
    let steps = p.x.len() / p.cin;
    assert!(p.grad.len() == steps * p.grad_stride && p.dw.len() == p.cin * p.cout);
    assert!(p.grad_stride >= p.cout.next_multiple_of(LANES));
    let dw = p.dw.as_mut_ptr();
    for column in (0..p.cout).step_by(WIDTH) {
        let columns = (p.cout - column).min(WIDTH);
        // SAFETY: the instructions were detected, and the lengths were checked.
        unsafe {
            match columns.div_ceil(LANES) {
                1 => outer_of::<1>(&p, dw, column),
                2 => outer_of::<2>(&p, dw, column),
                3 => outer_of::<3>(&p, dw, column),
                _ => outer_of::<4>(&p, dw, column),
            }
        }
    }
}

/// Columns of the widest tile.
const WIDTH: usize = 4 * LANES;

/// All rows of the matrix, `V` vectors of columns from `column`.
///
/// # Safety
/// The instructions must be there, the lengths as [`outer`] checks them, and `dw` the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn outer_of<const V: usize>(p: &Outer<'_>, dw: *mut f32, column: usize) {
    let most = if V < 3 { 12 } else { rows(V) };
    let tiles = p.cin.div_ceil(most);
    for i in 0..tiles {
        let (row, end) = (p.cin * i / tiles, p.cin * (i + 1) / tiles);
        // SAFETY: the caller vouches for everything, and the rows `row..end` exist.
        unsafe {
            match end - row {
                1 => outer_tile::<1, V>(p, dw, column, row),
                2 => outer_tile::<2, V>(p, dw, column, row),
                3 => outer_tile::<3, V>(p, dw, column, row),
                4 => outer_tile::<4, V>(p, dw, column, row),
                5 => outer_tile::<5, V>(p, dw, column, row),
                6 => outer_tile::<6, V>(p, dw, column, row),
                7 => outer_tile::<7, V>(p, dw, column, row),
                8 => outer_tile::<8, V>(p, dw, column, row),
                9 => outer_tile::<9, V>(p, dw, column, row),
                10 => outer_tile::<10, V>(p, dw, column, row),
                11 => outer_tile::<11, V>(p, dw, column, row),
                _ => outer_tile::<12, V>(p, dw, column, row),
            }
        }
    }
}

/// Rows `row..row + R` of the matrix.
///
/// # Safety
/// As [`outer_of`], and `row + R <= cin`.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn outer_tile<const R: usize, const V: usize>(p: &Outer<'_>, dw: *mut f32, column: usize, row: usize) {
    const UNROLL: usize = 2;
    let mask_of = |v: usize| mask(lanes(column + v * LANES, p.cout));
    let mut acc = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: the caller vouches for the elements; masks end with the rows of the matrix.
    unsafe {
        let at = |r: usize, v: usize| dw.add((row + r) * p.cout + column + v * LANES);
        for r in 0..R {
            for v in 0..V {
                acc[r][v] = _mm512_maskz_loadu_ps(mask_of(v), at(r, v));
            }
        }
        let steps = p.x.len() / p.cin;
        let (mut x, mut g) = (p.x.as_ptr().add(row), p.grad.as_ptr().add(column));
        let mut i = 0;
        while i + UNROLL <= steps {
            for _ in 0..UNROLL {
                step::<R, V>(&mut acc, g, |r| *x.add(r) as i32);
                (x, g) = (x.wrapping_add(p.cin), g.wrapping_add(p.grad_stride));
            }
            i += UNROLL;
        }
        if i < steps {
            step::<R, V>(&mut acc, g, |r| *x.add(r) as i32);
        }
        for r in 0..R {
            for v in 0..V {
                _mm512_mask_storeu_ps(at(r, v), mask_of(v), acc[r][v]);
            }
        }
    }
}
