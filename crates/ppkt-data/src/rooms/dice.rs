//! Seeded randomness of the rooms: who may draw from which stream, and hash noise for pixels.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Who the rooms are for. It is part of the 256-bit ChaCha key, beside the user's seed, so that no seed of one
/// domain can ever give the stream of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// Everybody: `synthetic:rooms`, the demo, tests, benches.
    Public,
    /// Only the training (and held-out measurement) of the embedded teacher.
    TeacherTraining,
}

/// What a stream is drawn for. Also part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The room, its furniture and lights; the stream is the room's index.
    Room,
    /// A view: pose, exposure, noise; the stream is the frame's index.
    Frame,
}

/// A ChaCha8 stream with the draws that the rooms need. The conversions from bits to values are ours, so a new
/// release of a random-number crate can't change the rooms.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64, domain: Domain, purpose: Purpose, stream: u64) -> Dice {
        let domain_tag: u64 = match domain {
            Domain::Public => 0x7075_626c_6963_0001,
            Domain::TeacherTraining => 0x7465_6163_6865_7202,
        };
        let purpose_tag: u64 = match purpose {
            Purpose::Room => 1,
            Purpose::Frame => 2,
        };
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&domain_tag.to_le_bytes());
        key[16..24].copy_from_slice(&purpose_tag.to_le_bytes());
        key[24..].copy_from_slice(b"pp rooms");
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(stream);
        Dice(rng)
    }

    /// A stream within a stream: what is built from it twice comes out the same.
    pub(crate) fn from_bits(bits: u32) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(u64::from(bits)))
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        unit_of(self.bits())
    }

    /// Uniform in [low, high).
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Uniform among low ..= high.
    pub(crate) fn count(&mut self, low: u32, high: u32) -> u32 {
        low + ((u64::from(self.bits()) * u64::from(high - low + 1)) >> 32) as u32
    }

    pub(crate) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.count(0, options.len() as u32 - 1) as usize]
    }

    /// Either -1 or 1.
    pub(crate) fn sign(&mut self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }
}

/// The upper 24 bits as a float in [0, 1).
pub(crate) fn unit_of(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Mixes bits (the finaliser of the lowbias32 family): the noise of pixels and textures, where a stream would
/// be too slow and its order would matter.
pub(crate) fn hash(x: u32) -> u32 {
    let mut x = x ^ (x >> 16);
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Hash of two cell numbers and a key.
pub(crate) fn hash2(i: i32, j: i32, key: u32) -> u32 {
    hash(hash((i as u32).wrapping_add(key)) ^ (j as u32).wrapping_mul(0x9e37_79b9))
}

/// Roughly normal, zero mean and unit variance, from a key: the sum of four uniform bytes pairs. The tails end at
/// 3.5 standard deviations, which suits sensor noise.
pub(crate) fn normal_of(key: u32) -> f32 {
    let a = hash(key);
    let b = hash(a ^ 0x68bc_21eb);
    let sum = (a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16);
    (sum as f32 * (1.0 / 65_535.0) - 2.0) * 1.732_050_8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_purposes_and_streams_differ() {
        let first = |d, p, s| {
            let mut dice = Dice::new(7, d, p, s);
            [dice.bits(), dice.bits()]
        };
        let reference = first(Domain::Public, Purpose::Room, 3);
        assert_eq!(reference, first(Domain::Public, Purpose::Room, 3));
        assert_ne!(reference, first(Domain::TeacherTraining, Purpose::Room, 3));
        assert_ne!(reference, first(Domain::Public, Purpose::Frame, 3));
        assert_ne!(reference, first(Domain::Public, Purpose::Room, 4));
    }

    #[test]
    fn noise_is_centred_with_unit_variance() {
        let n = 100_000_u32;
        let values: Vec<f64> = (0..n).map(|i| f64::from(normal_of(i.wrapping_mul(2_654_435_761)))).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.03, "variance {variance}");
    }
}
