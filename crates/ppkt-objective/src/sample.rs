//! Choosing the pairs of a step.

use std::collections::HashMap;

use rand::{Rng, RngExt};

/// Draws `m` different numbers below `n`, each set and each order as likely as another; all `n`, shuffled, if `m` is
/// not smaller.
///
/// The result depends on the random numbers alone. Takes time and memory of order `m`, whatever `n` is: the first `m`
/// steps of a Fisher–Yates shuffle, remembering only the places that were touched.
///
/// # Panics
/// If `n` does not fit 32 bits.
pub fn sample_without_replacement(n: usize, m: usize, rng: &mut impl Rng) -> Vec<u32> {
    let n = u32::try_from(n).expect("at most 2^32 - 1 pairs");
    let m = u32::try_from(m).unwrap_or(n).min(n);
    let mut moved: HashMap<u32, u32> = HashMap::with_capacity(m as usize);
    (0..m)
        .map(|i| {
            let j = rng.random_range(i..n);
            let at_i = moved.get(&i).copied().unwrap_or(i);
            // Place i is never looked at again, so only j has to be remembered.
            moved.insert(j, at_i).unwrap_or(if i == j { at_i } else { j })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn no_number_twice_and_none_outside() {
        for (n, m) in [(1, 1), (10, 10), (10, 3), (1000, 999), (5, 9), (1 << 30, 4096), (0, 3)] {
            let mut drawn = sample_without_replacement(n, m, &mut ChaCha8Rng::seed_from_u64(7));
            assert_eq!(drawn.len(), m.min(n));
            assert!(drawn.iter().all(|&i| (i as usize) < n));
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), m.min(n), "{m} of {n}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| sample_without_replacement(100, 20, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn every_ordered_pair_is_as_likely() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (n, n_draws) = (5usize, 20_000);
        let mut counts = [[0u32; 5]; 5];
        for _ in 0..n_draws {
            let drawn = sample_without_replacement(n, 2, &mut rng);
            counts[drawn[0] as usize][drawn[1] as usize] += 1;
        }
        // 1,000 of each expected; five standard deviations are 155.
        for (i, row) in counts.iter().enumerate() {
            for (j, &count) in row.iter().enumerate() {
                let fair = if i == j { count == 0 } else { count.abs_diff(1000) < 155 };
                assert!(fair, "({i}, {j}): {count}");
            }
        }
    }
}
