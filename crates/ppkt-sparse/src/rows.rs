//! Row blocks: how the dense operations share a `[N, C]` tensor among threads.
//!
//! Every reduction over rows is made of partial sums over blocks of [`BLOCK_ROWS`] rows, added in the order of the
//! blocks. The blocks depend on `N` alone, so results have the same bits for any number of threads.

use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Layout, Storage, Tensor};
use rayon::prelude::*;

/// Rows of one block: with 64 channels a block is 64 KiB, which stays in a second-level cache.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Below this many numbers, waking other threads costs more than they save.
const SERIAL_BELOW: usize = 1 << 14;

/// `f` of every block of rows, in the order of the blocks.
pub(crate) fn map_blocks<T: Send>(rows: usize, cols: usize, f: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let range = |block: usize| block * BLOCK_ROWS..rows.min((block + 1) * BLOCK_ROWS);
    let blocks = rows.div_ceil(BLOCK_ROWS);
    if rows * cols < SERIAL_BELOW {
        (0..blocks).map(|b| f(range(b))).collect()
    } else {
        (0..blocks).into_par_iter().map(|b| f(range(b))).collect()
    }
}

/// As [`map_blocks`], with each block's part of `out` (of `cols` columns) to write to.
pub(crate) fn map_blocks_mut<E: Send, T: Send>(
    out: &mut [E],
    cols: usize,
    f: impl Fn(Range<usize>, &mut [E]) -> T + Sync,
) -> Vec<T> {
    if cols == 0 {
        return Vec::new();
    }
    let small = out.len() < SERIAL_BELOW;
    let one = |(block, part): (usize, &mut [E])| {
        let first = block * BLOCK_ROWS;
        f(first..first + part.len() / cols, part)
    };
    if small {
        out.chunks_mut(BLOCK_ROWS * cols).enumerate().map(one).collect()
    } else {
        out.par_chunks_mut(BLOCK_ROWS * cols).enumerate().map(one).collect()
    }
}

/// A new array of `len` zeros, of which `f` overwrites blocks of `size`, each of its number.
///
/// A block is zeroed by the thread that writes it, while it is in the cache: `vec![0.0; len]` is a pass over memory of
/// its own wherever the allocator gives out pages that were used before.
#[expect(unsafe_code, reason = "zeros are written to memory that is not initialised")]
pub(crate) fn new_by_blocks(len: usize, size: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut out: Vec<f32> = Vec::with_capacity(len);
    let one = |(block, part): (usize, &mut [MaybeUninit<f32>])| {
        part.iter_mut().for_each(|value| {
            value.write(0.0);
        });
        // SAFETY: all elements were just written.
        f(block, unsafe { std::slice::from_raw_parts_mut(part.as_mut_ptr().cast(), part.len()) });
    };
    let all = &mut out.spare_capacity_mut()[..len];
    if len < SERIAL_BELOW {
        all.chunks_mut(size.max(1)).enumerate().for_each(one);
    } else {
        all.par_chunks_mut(size.max(1)).enumerate().for_each(one);
    }
    // SAFETY: the blocks are all of the `len` elements.
    unsafe { out.set_len(len) };
    out
}

/// The part of a row-major `[N, cols]` slice that belongs to a range of rows.
pub(crate) fn of_rows<E>(data: &[E], rows: Range<usize>, cols: usize) -> &[E] {
    &data[rows.start * cols..rows.end * cols]
}

/// The numbers of a contiguous f32 storage.
pub(crate) fn f32_slice<'a>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op }.bt()),
    }
}

/// A borrowed view of a contiguous f32 tensor on the CPU; `G` is candle's read guard.
pub(crate) struct CpuView<G> {
    storage: G,
    range: Range<usize>,
}

/// The numbers of a contiguous f32 tensor on the CPU.
pub(crate) fn cpu_view<'a>(
    op: &'static str,
    tensor: &'a Tensor,
) -> candle_core::Result<CpuView<impl Deref<Target = Storage> + 'a>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(candle_core::Error::RequiresContiguous { op }.bt());
    };
    match &*storage {
        Storage::Cpu(cpu) => cpu.as_slice::<f32>().map(|_| ())?,
        _ => candle_core::bail!("{op}: only tensors on the CPU can be read yet"),
    }
    Ok(CpuView { storage, range: start..end })
}

impl<G: Deref<Target = Storage>> Deref for CpuView<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            // `cpu_view` has checked both the device and the type.
            Storage::Cpu(CpuStorage::F32(all)) => &all[self.range.clone()],
            _ => &[],
        }
    }
}

/// Defines a function whose loops are compiled twice, once for AVX2, and chosen at run time. On 64-bit ARM they are
/// compiled once: NEON is part of the baseline there.
///
/// The wider vectors change no bits: lanes are independent (columns), and Rust never contracts `a * b + c`.
macro_rules! wide {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn plain($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) {
                    plain($($arg),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    #[expect(unsafe_code, reason = "the baseline's 128-bit vectors halve the speed of these loops")]
                    // SAFETY: the processor was just found to have AVX2, the only thing `avx2` asks for.
                    unsafe {
                        avx2($($arg),*);
                    }
                    return;
                }
            }
            plain($($arg),*);
        }
    };
}
pub(crate) use wide;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_row_once() {
        for rows in [0, 1, 255, 256, 257, 1000, 5000] {
            let ranges = map_blocks(rows, 64, |r| r);
            let all: Vec<usize> = ranges.into_iter().flatten().collect();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
            let mut out = vec![0.0; rows * 3];
            map_blocks_mut(&mut out, 3, |r, part| {
                for (row, p) in r.zip(part.chunks_mut(3)) {
                    p.fill(row as f32);
                }
            });
            assert!(out.chunks(3).enumerate().all(|(i, p)| p == [i as f32; 3]));
            let new = new_by_blocks(rows * 3, 300, |block, part| {
                assert!(part.iter().all(|&v| v == 0.0));
                part.iter_mut().zip(block * 300..).for_each(|(p, i)| *p = i as f32);
            });
            assert!(new.len() == rows * 3 && new.iter().enumerate().all(|(i, &v)| v == i as f32));
        }
    }
}
