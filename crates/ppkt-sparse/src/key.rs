//! Coordinates packed into 64-bit keys whose order is (batch, Morton).
//!
//! A key is the batch index in the upper 10 bits and below it the bits of x, y and z interleaved, x lowest, each
//! shifted by a bias so that it is not negative. Voxels of an aligned cube of edge 2^n then have consecutive keys:
//! the parent of a voxel is its key shifted by three bits, and a sorted list stays sorted on the way to the parents.

/// Bits of x, of y and of z in a key.
pub(crate) const AXIS_BITS: u32 = 18;
/// Bits of the Morton code.
pub(crate) const MORTON_BITS: u32 = 3 * AXIS_BITS;
/// Largest batch index.
pub(crate) const MAX_BATCH: i32 = (1 << (64 - MORTON_BITS)) - 1;
/// Added to the coordinates of the finest grid.
pub(crate) const BIAS: i32 = 1 << (AXIS_BITS - 1);
/// Number of biased values along an axis.
pub(crate) const AXIS_END: i32 = 1 << AXIS_BITS;

/// Spreads the lower 21 bits so that two zero bits follow each.
pub(crate) const fn spread(v: u32) -> u64 {
    let mut v = v as u64 & 0x1f_ffff;
    v = (v | v << 32) & 0x001f_0000_0000_ffff;
    v = (v | v << 16) & 0x001f_0000_ff00_00ff;
    v = (v | v << 8) & 0x100f_00f0_0f00_f00f;
    v = (v | v << 4) & 0x10c3_0c30_c30c_30c3;
    (v | v << 2) & 0x1249_2492_4924_9249
}

/// Undoes [`spread`], ignoring the bits between.
pub(crate) const fn compact(v: u64) -> u32 {
    let mut v = v & 0x1249_2492_4924_9249;
    v = (v | v >> 2) & 0x10c3_0c30_c30c_30c3;
    v = (v | v >> 4) & 0x100f_00f0_0f00_f00f;
    v = (v | v >> 8) & 0x001f_0000_ff00_00ff;
    v = (v | v >> 16) & 0x001f_0000_0000_ffff;
    (v | v >> 32) as u32 & 0x1f_ffff
}

/// The key of batch, x, y, z; `None` where they do not fit.
pub(crate) fn pack([batch, x, y, z]: [i32; 4], bias: i32) -> Option<u64> {
    let fits = |v: i32| (-bias..AXIS_END - bias).contains(&v);
    if !(0..=MAX_BATCH).contains(&batch) || !fits(x) || !fits(y) || !fits(z) {
        return None;
    }
    let morton = |v: i32| spread((v + bias) as u32);
    Some((batch as u64) << MORTON_BITS | morton(x) | morton(y) << 1 | morton(z) << 2)
}

/// Undoes [`pack`].
pub(crate) fn unpack(key: u64, bias: i32) -> [i32; 4] {
    let axis = |shift: u32| compact((key & ((1 << MORTON_BITS) - 1)) >> shift) as i32 - bias;
    [batch_of(key), axis(0), axis(1), axis(2)]
}

/// The batch index of a key.
pub(crate) const fn batch_of(key: u64) -> i32 {
    (key >> MORTON_BITS) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_undone_at_any_place_and_bias() {
        for bias in [BIAS, BIAS >> 5, 1, 0] {
            for v in [-bias, 1 - bias, AXIS_END / 3 - bias, AXIS_END - 1 - bias] {
                for coord in [[0, v, v, v], [MAX_BATCH, v, -bias, AXIS_END - 1 - bias], [7, -bias, v, v]] {
                    assert_eq!(unpack(pack(coord, bias).unwrap(), bias), coord);
                }
            }
            assert!(pack([0, -bias - 1, 0, 0], bias).is_none());
            assert!(pack([0, -bias, -bias, AXIS_END - bias], bias).is_none());
            assert!(pack([MAX_BATCH + 1, -bias, -bias, -bias], bias).is_none());
        }
    }

    #[test]
    fn bits_are_spread_three_apart() {
        for v in [0, 1, 0x15_5555, 0x1f_ffff, 0x10_0001] {
            let want = (0..21).map(|i| (u64::from(v) >> i & 1) << (3 * i)).sum::<u64>();
            assert_eq!(spread(v), want);
            assert_eq!(compact(want | want << 1 | want << 2), v);
        }
    }
}
