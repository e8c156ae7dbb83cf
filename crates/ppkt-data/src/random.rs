//! Numbered streams of random numbers, so that an item's draws never depend on other items or on threads.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is for. Each purpose draws from streams of its own, so that turning one augmentation on does not
/// change the order of frames or the draws of another.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Image = 2,
    Cloud = 3,
    Thinning = 4,
    Labels = 5,
    KeptBack = 6,
}

/// The stream of one purpose for one item: the epoch for [`Purpose::Order`], else the place in the run's order.
pub(crate) fn stream(seed: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Items stay far below 2^56, so the purpose has the top byte to itself.
    rng.set_stream(((purpose as u64) << 56) | (item & ((1 << 56) - 1)));
    rng
}

/// Uniform between two bounds; the bound itself where they are equal.
pub(crate) fn uniform(rng: &mut ChaCha8Rng, [low, high]: [f32; 2]) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// Yes with probability `p`; always consumes one draw.
pub(crate) fn chance(rng: &mut ChaCha8Rng, p: f32) -> bool {
    rng.random::<f32>() < p
}

/// `n` of the numbers below `of`, ascending, each subset equally likely (Knuth's selection sampling).
pub(crate) fn subset(rng: &mut ChaCha8Rng, of: usize, n: usize) -> Vec<u32> {
    let mut taken = Vec::with_capacity(n.min(of));
    for i in 0..of {
        let wanted = n - taken.len();
        if wanted == 0 {
            break;
        }
        // 32 random bits scaled to the numbers left: the bias is below n / 2^32.
        let draw = (u64::from(rng.random::<u32>()) * (of - i) as u64) >> 32;
        if (draw as usize) < wanted {
            taken.push(i as u32);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_has_the_size_asked_for_and_is_ascending() {
        let mut rng = stream(1, Purpose::Thinning, 0);
        for (of, n) in [(0, 0), (5, 0), (5, 5), (5, 9), (1000, 10), (1000, 999)] {
            let taken = subset(&mut rng, of, n);
            assert_eq!(taken.len(), n.min(of));
            assert!(taken.windows(2).all(|w| w[0] < w[1]));
            assert!(taken.iter().all(|&i| (i as usize) < of));
        }
    }

    #[test]
    fn a_subset_is_uniform() {
        let mut rng = stream(2, Purpose::Thinning, 0);
        let mut hits = [0u32; 10];
        for _ in 0..4000 {
            for i in subset(&mut rng, 10, 3) {
                hits[i as usize] += 1;
            }
        }
        // 1,200 expected, standard deviation 29.
        assert!(hits.iter().all(|&h| (1080..1320).contains(&h)), "{hits:?}");
    }

    #[test]
    fn purposes_and_items_draw_differently() {
        let first = |p, i| stream(7, p, i).random::<u64>();
        let all = [first(Purpose::Image, 0), first(Purpose::Image, 1), first(Purpose::Cloud, 0)];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
        assert_eq!(first(Purpose::Image, 5), first(Purpose::Image, 5));
    }
}
