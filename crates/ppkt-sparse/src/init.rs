//! Initial values: a function of a seed and a tensor's name.

use candle_core::Shape;
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the kernel of a convolution starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConvInit {
    /// MinkowskiEngine's own: uniform in ±1/√(Cin·K), for a transposed convolution ±1/√(Cout·K).
    #[default]
    Minkowski,
    /// Normal with deviation √(2/(Cout·K)), as MinkowskiEngine's example networks set it afterwards.
    KaimingFanOut,
}

impl ConvInit {
    /// The hint for a kernel of `volume` voxels.
    pub(crate) fn hint(self, cin: usize, cout: usize, volume: usize, transposed: bool) -> Init {
        match self {
            Self::Minkowski => uniform(if transposed { cout } else { cin } * volume),
            Self::KaimingFanOut => {
                Init::Randn { mean: 0.0, stdev: (2.0 / (cout * volume).max(1) as f64).sqrt() }
            }
        }
    }
}

/// Uniform in ±1/√fan.
pub(crate) fn uniform(fan: usize) -> Init {
    let bound = 1.0 / (fan.max(1) as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// Values for a tensor, row-major.
pub(crate) fn draw(seed: u64, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(name));
    let n = shape.elem_count();
    match init {
        Init::Const(v) => vec![v as f32; n],
        Init::Uniform { lo, up } => (0..n).map(|_| (lo + (up - lo) * unit(&mut rng)) as f32).collect(),
        Init::Randn { mean, stdev } => (0..n).map(|_| (mean + stdev * normal(&mut rng)) as f32).collect(),
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = non_linearity.gain() / (fan.for_shape(shape).max(1) as f64).sqrt();
            let bound = 3f64.sqrt() * stdev;
            let one = |rng: &mut ChaCha8Rng| match dist {
                NormalOrUniform::Uniform => bound * (2.0 * unit(rng) - 1.0),
                NormalOrUniform::Normal => stdev * normal(rng),
            };
            (0..n).map(|_| one(&mut rng) as f32).collect()
        }
    }
}

/// In [0, 1).
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Standard normal, by Box and Muller; the second number of each pair is left, so that one call is one draw.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// A hash that is the same in every version and on every machine (FNV-1a, 64 bits).
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(v: &[f32]) -> (f64, f64) {
        let n = v.len() as f64;
        let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        (mean, v.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn kernels_have_the_published_spread() {
        let shape = Shape::from((27, 16, 32));
        let own = draw(3, "k", &shape, ConvInit::Minkowski.hint(16, 32, 27, false));
        let bound = 1.0 / (16.0 * 27.0f64).sqrt();
        assert!(own.iter().all(|&v| f64::from(v).abs() <= bound));
        let (mean, var) = moments(&own);
        assert!(
            mean.abs() < bound / 50.0 && (var / (bound * bound / 3.0) - 1.0).abs() < 0.03,
            "{mean} {var}"
        );

        let transposed = draw(3, "k", &shape, ConvInit::Minkowski.hint(16, 32, 27, true));
        let bound = 1.0 / (32.0 * 27.0f64).sqrt();
        assert!(transposed.iter().all(|&v| f64::from(v).abs() <= bound));

        let kaiming = draw(3, "k", &shape, ConvInit::KaimingFanOut.hint(16, 32, 27, false));
        let (mean, var) = moments(&kaiming);
        let want: f64 = 2.0 / (32.0 * 27.0);
        assert!(mean.abs() < want.sqrt() / 50.0 && (var / want - 1.0).abs() < 0.05, "{mean} {var}");
    }

    #[test]
    fn every_kind_of_hint_is_drawn() {
        let shape = Shape::from((64, 32));
        let kaiming = draw(0, "w", &shape, candle_nn::init::DEFAULT_KAIMING_NORMAL);
        let (_, var) = moments(&kaiming);
        assert!((var / (2.0 / 32.0) - 1.0).abs() < 0.1, "{var}");
        assert!(draw(0, "w", &shape, candle_nn::init::DEFAULT_KAIMING_UNIFORM).iter().all(|v| v.is_finite()));
        assert_eq!(draw(0, "w", &Shape::from(()), Init::Const(2.5)), [2.5]);
    }
}
