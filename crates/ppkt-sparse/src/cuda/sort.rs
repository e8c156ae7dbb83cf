//! Stable radix sort.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, Memory, Number, View};

static SORT: Kernels = kernels!("sort");

/// Keys of one tile, as in `sort.cu`.
const TILE: usize = 2048;
const THREADS: u32 = 256;
/// Bits of a pass.
const BITS: u32 = 8;

/// A key that can be sorted.
pub(crate) trait Key: Number {
    const COUNT: &'static str;
    const SCATTER: &'static str;
}

impl Key for u32 {
    const COUNT: &'static str = "sort_count_u32";
    const SCATTER: &'static str = "sort_scatter_u32";
}

impl Key for u64 {
    const COUNT: &'static str = "sort_count_u64";
    const SCATTER: &'static str = "sort_scatter_u64";
}

/// Sorted keys, and of each where it came from.
type Sorted<G, K> = (<G as Gpu>::Memory<K>, <G as Gpu>::Memory<u32>);

/// Sorts `n` keys by their lowest `bits` bits; equal ones keep their order. Returns the sorted keys, and of each where
/// it came from; `None` where there is nothing to sort by.
pub(crate) fn sort<G: Gpu, K: Key>(
    gpu: &G,
    keys: View<'_, K>,
    n: usize,
    bits: u32,
) -> Result<Option<Sorted<G, K>>> {
    let mut sorted: Option<Sorted<G, K>> = None;
    for shift in (0..bits).step_by(BITS as usize) {
        sorted = Some(match &sorted {
            None => pass::<G, K>(gpu, keys, None, n, shift)?,
            Some((keys, values)) => pass(gpu, keys.view(), Some(values.view()), n, shift)?,
        });
    }
    Ok(sorted)
}

/// Sorts by the eight bits from `shift` on.
fn pass<G: Gpu, K: Key>(
    gpu: &G,
    keys: View<'_, K>,
    values: Option<View<'_, u32>>,
    n: usize,
    shift: u32,
) -> Result<Sorted<G, K>> {
    let tiles = n.div_ceil(TILE);
    let geometry = Geometry::line(tiles, THREADS);
    let mut offsets = gpu.uninit::<u32>(256 * tiles)?;
    let count = SORT.launch(gpu, K::COUNT).read(keys).count(n).value(shift as i32).write(&mut offsets);
    count.run(geometry)?;
    running_sums(gpu, &mut offsets, (1, 256 * tiles), None)?;
    let (mut to, mut to_values) = (gpu.uninit::<K>(n)?, gpu.uninit::<u32>(n)?);
    let scatter = SORT.launch(gpu, K::SCATTER).read(keys).read(values).count(n).value(shift as i32);
    let scatter = scatter.read(&offsets).write(&mut to).write(&mut to_values);
    scatter.run(geometry)?;
    Ok((to, to_values))
}

/// Running sums of each row of `[rows, length]`, the element itself not counted, in place; and the rows' sums.
pub(crate) fn running_sums<G: Gpu>(
    gpu: &G,
    data: &mut G::Memory<u32>,
    (rows, length): (usize, usize),
    totals: Option<&mut G::Memory<i32>>,
) -> Result<()> {
    let launch = SORT.launch(gpu, "running_sums").write(data).count(length).write(totals);
    launch.run(Geometry::line(rows, 1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::samples::gpu;

    /// Numbers without order.
    fn numbers(n: usize) -> Vec<u64> {
        (0..n as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i << 40).collect()
    }

    #[test]
    fn keys_are_sorted_and_equal_ones_keep_their_order() {
        let Some(gpu) = gpu() else { return };
        for n in [1, 2, 31, 33, 2048, 2049, 5000] {
            // Few distinct keys, so that many are equal.
            let keys: Vec<u32> = numbers(n).iter().map(|v| (v >> 20) as u32 % 1000).collect();
            let (sorted, order) = sort(&gpu, gpu.array(&keys).view(), n, 10).unwrap().unwrap();
            let mut want: Vec<(u32, u32)> = keys.iter().copied().zip(0..).collect();
            want.sort();
            let got: Vec<_> = sorted.values().into_iter().zip(order.values()).collect();
            assert_eq!(got, want, "{n} keys");
        }
        let keys = numbers(3000);
        let (sorted, order) = sort(&gpu, gpu.array(&keys).view(), 3000, 64).unwrap().unwrap();
        let (sorted, order) = (sorted.values(), order.values());
        assert!(sorted.is_sorted());
        assert!(sorted.iter().zip(order).all(|(k, from)| *k == keys[from as usize]));
    }

    #[test]
    fn nothing_is_sorted_without_keys_or_bits() {
        let Some(gpu) = gpu() else { return };
        assert!(sort(&gpu, gpu.array(&[3u32, 1]).view(), 2, 0).unwrap().is_none());
        let (keys, order) = sort(&gpu, gpu.array(&[0u32; 0]).view(), 0, 8).unwrap().unwrap();
        assert!(keys.view().is_empty() && order.view().is_empty());
    }

    #[test]
    fn running_sums_of_rows() {
        let Some(gpu) = gpu() else { return };
        for length in [1, 5, 4096, 4097, 9000] {
            let data: Vec<u32> = numbers(3 * length).iter().map(|v| (v >> 30) as u32 % 100).collect();
            let (mut sums, mut totals) = (gpu.array(&data), gpu.array(&[0i32; 3]));
            running_sums(&gpu, &mut sums, (3, length), Some(&mut totals)).unwrap();
            let (sums, totals) = (sums.values(), totals.values());
            for (row, (data, sums)) in data.chunks(length).zip(sums.chunks(length)).enumerate() {
                let mut sum = 0;
                for (v, s) in data.iter().zip(sums) {
                    assert_eq!(*s, sum);
                    sum += v;
                }
                assert_eq!(totals[row] as u32, sum);
            }
        }
    }
}
