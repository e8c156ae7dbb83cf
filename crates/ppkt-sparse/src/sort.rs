//! Sorting keys together with their rows.

use std::mem::{swap, take};

/// Bits of a digit: the counts of all its values stay in the first cache.
const DIGIT_BITS: u32 = 11;

/// Up to so many keys, comparing them is as fast as counting digits.
const FEW: usize = 1 << 10;

/// Sorts by key, rows of equal keys in ascending order; the rows must ascend before.
///
/// By digits from the lowest, over the bits in which keys differ at all: those of a room are a few of the 64.
pub(crate) fn sort_by_key(keyed: &mut Vec<(u64, u32)>) {
    if keyed.is_sorted() {
        return;
    }
    if keyed.len() <= FEW {
        keyed.sort_unstable();
        return;
    }
    let (common, any) = keyed.iter().fold((u64::MAX, 0), |(common, any), k| (common & k.0, any | k.0));
    let mut differing = common ^ any;
    let mut from = take(keyed);
    let mut to = vec![(0, 0); from.len()];
    while differing != 0 {
        let low = differing.trailing_zeros();
        let digit = |key: u64| (key >> low) as usize & ((1 << DIGIT_BITS) - 1);
        pass(&from, &mut to, digit);
        swap(&mut from, &mut to);
        differing = differing
            .checked_shr(low + DIGIT_BITS)
            .and_then(|d| d.checked_shl(low + DIGIT_BITS))
            .unwrap_or(0);
    }
    *keyed = from;
}

/// Puts elements in the order of a digit, those with the same one in the order that they have.
fn pass(from: &[(u64, u32)], to: &mut [(u64, u32)], digit: impl Fn(u64) -> usize) {
    let mut place = vec![0u32; 1 << DIGIT_BITS];
    for &(key, _) in from {
        place[digit(key)] += 1;
    }
    let mut before = 0;
    for place in &mut place {
        before += std::mem::replace(place, before);
    }
    for &element in from {
        let place = &mut place[digit(element.0)];
        to[*place as usize] = element;
        *place += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sort_of_pairs() {
        // Bits at both ends, in the middle, and hardly any.
        for mask in [u64::MAX, 0x8000_0000_0000_0001, 0x0030_0000_07ff_ffff, 0xff00, 1, 0] {
            for n in [0usize, 1, 2, FEW, FEW + 1, 5000] {
                let mut state = 7u64;
                let mut next = || {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state ^ state >> 29) & mask
                };
                let mut keyed: Vec<(u64, u32)> = (0..n as u32).map(|row| (next(), row)).collect();
                let mut wanted = keyed.clone();
                wanted.sort_unstable();
                sort_by_key(&mut keyed);
                assert!(keyed == wanted, "{mask:x} {n}");
            }
        }
    }
}
