//! From f32 to bf16 and back.

use half::bf16;
use rayon::prelude::*;

use crate::rows::wide;

/// The same number.
#[inline(always)]
pub(crate) fn wide1(v: bf16) -> f32 {
    // Not `bf16::to_f32`, whose care for signalling NaNs keeps loops from being vectors.
    f32::from_bits(u32::from(v.to_bits()) << 16)
}

/// The nearest number, the even one of two; a NaN stays one.
#[inline(always)]
pub(crate) fn narrow1(v: f32) -> bf16 {
    let bits = v.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits >> 16 | 0x40;
    bf16::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { nearest } as u16)
}

/// Elements that one thread converts at a time.
const CHUNK: usize = 1 << 14;

/// All of a tensor, rounded.
pub(crate) fn narrow(from: &[f32]) -> Vec<bf16> {
    let mut to = vec![bf16::ZERO; from.len()];
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| narrow_to(from, to));
    to
}

/// All of a tensor.
pub(crate) fn widen(from: &[bf16]) -> Vec<f32> {
    let mut to = vec![0f32; from.len()];
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| widen_to(from, to));
    to
}

wide! {
    /// Rounds into `to`.
    pub(super) fn narrow_to(from: &[f32], to: &mut [bf16]) {
        for (to, &v) in to.iter_mut().zip(from) {
            *to = narrow1(v);
        }
    }
}

wide! {
    /// Copies into `to`.
    pub(super) fn widen_to(from: &[bf16], to: &mut [f32]) {
        for (to, &v) in to.iter_mut().zip(from) {
            *to = wide1(v);
        }
    }
}
