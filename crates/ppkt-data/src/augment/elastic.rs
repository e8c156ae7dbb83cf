//! Elastic distortion: every point moves by a smooth random field.
//!
//! The scheme is the one usual for sparse-voxel networks (Choy, Gwak and Savarese, CVPR 2019): white noise on a
//! lattice, smoothed twice by a box of three nodes along each axis, interpolated linearly between nodes. Two fields
//! are customary, a fine one and a coarse one. The noise here is uniform with unit variance instead of normal, so
//! that the displacement has a bound.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Where the lattice would have more nodes than this (a scan of a whole street), it is widened until it fits.
const MAX_NODES: f64 = 2e6;

/// One field of displacement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// Distance between the nodes of the lattice, metres.
    pub granularity_m: f32,
    /// Factor on the smoothed noise, metres. Smoothing leaves about 0.11 of it as standard deviation on each axis
    /// at a node; √3 times it is never passed.
    pub magnitude_m: f32,
}

impl Elastic {
    /// Moves the points. Non-finite coordinates are the caller's to keep out.
    pub(super) fn apply(&self, points: &mut [[f32; 3]], rng: &mut ChaCha8Rng) {
        if points.is_empty() || self.magnitude_m == 0.0 {
            return;
        }
        let lattice = Lattice::new(points, self.granularity_m, rng);
        for point in points {
            let moved = lattice.at(*point);
            (0..3).for_each(|c| point[c] += self.magnitude_m * moved[c]);
        }
    }
}

/// Smoothed noise over the bounding box of a cloud, one node beyond it on each side. x runs fastest.
struct Lattice {
    origin: [f32; 3],
    nodes_per_m: f32,
    size: [usize; 3],
    /// x, y, z and a lane of zeros, so that a node is one register.
    nodes: Vec<[f32; 4]>,
}

impl Lattice {
    fn new(points: &[[f32; 3]], granularity_m: f32, rng: &mut ChaCha8Rng) -> Self {
        let (low, high) = super::cloud::bounds(points);
        let mut step = granularity_m;
        let nodes_at =
            |step: f32| (0..3).map(|c| f64::from((high[c] - low[c]) / step) + 3.0).product::<f64>();
        while nodes_at(step) > MAX_NODES {
            step *= 1.25;
        }
        let size = [0, 1, 2].map(|c| ((high[c] - low[c]) / step) as usize + 3);
        let bound = 3f32.sqrt();
        let mut draw = || (2.0 * rng.random::<f32>() - 1.0) * bound;
        let nodes = (0..size.iter().product()).map(|_| [draw(), draw(), draw(), 0.0]).collect();
        let mut lattice = Self { origin: low.map(|v| v - step), nodes_per_m: 1.0 / step, size, nodes };
        for _ in 0..2 {
            (0..3).for_each(|axis| lattice.smooth(axis));
        }
        lattice
    }

    /// Mean of each node and its two neighbours along one axis; beyond the lattice the field is zero.
    fn smooth(&mut self, axis: usize) {
        let stride = self.size[..axis].iter().product::<usize>();
        let length = self.size[axis];
        for block in self.nodes.chunks_mut(stride * length) {
            for start in 0..stride {
                let mut previous = [0.0; 4];
                for i in 0..length {
                    let here = block[start + i * stride];
                    let next = if i + 1 < length { block[start + (i + 1) * stride] } else { [0.0; 4] };
                    block[start + i * stride] =
                        std::array::from_fn(|c| (previous[c] + here[c] + next[c]) / 3.0);
                    previous = here;
                }
            }
        }
    }

    fn at(&self, point: [f32; 3]) -> [f32; 4] {
        let (mut cell, mut share) = ([0usize; 3], [0f32; 3]);
        for c in 0..3 {
            let x = (point[c] - self.origin[c]) * self.nodes_per_m;
            cell[c] = (x as usize).min(self.size[c] - 2);
            share[c] = (x - cell[c] as f32).clamp(0.0, 1.0);
        }
        let [width, height, _] = self.size;
        let corner = cell[0] + width * (cell[1] + height * cell[2]);
        let row = |i: usize| between(self.nodes[i], self.nodes[i + 1], share[0]);
        let plane = |i: usize| between(row(i), row(i + width), share[1]);
        between(plane(corner), plane(corner + width * height), share[2])
    }
}

/// From `a` to `b` by a share. A plain loop, which the compiler turns into one operation on four lanes.
#[inline]
fn between(mut a: [f32; 4], b: [f32; 4], share: f32) -> [f32; 4] {
    for lane in 0..4 {
        a[lane] += share * (b[lane] - a[lane]);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    const FIELD: Elastic = Elastic { granularity_m: 0.2, magnitude_m: 0.4 };

    fn line(n: usize) -> Vec<[f32; 3]> {
        (0..n).map(|i| [i as f32 * 0.01, (i % 7) as f32 * 0.3, 1.0]).collect()
    }

    fn displacement(points: &[[f32; 3]], seed: u64) -> Vec<[f32; 3]> {
        let mut moved = points.to_vec();
        FIELD.apply(&mut moved, &mut stream(seed, Purpose::Cloud, 0));
        moved.iter().zip(points).map(|(m, p)| [0, 1, 2].map(|c| m[c] - p[c])).collect()
    }

    #[test]
    fn it_moves_and_is_bounded() {
        let moved = displacement(&line(2000), 3);
        let largest = moved.iter().flatten().fold(0f32, |m, d| m.max(d.abs()));
        assert!(largest > 0.02, "nothing moved: {largest}");
        assert!(largest <= 3f32.sqrt() * FIELD.magnitude_m);
        let variance =
            moved.iter().flatten().map(|d| f64::from(d * d)).sum::<f64>() / (3.0 * moved.len() as f64);
        assert!((0.01..0.09).contains(&variance.sqrt()), "{}", variance.sqrt());
    }

    #[test]
    fn it_is_smooth() {
        // Neighbouring nodes differ by at most 6/9 of the bound of the noise: the differences of the smoothing
        // weights 1 2 3 2 1 (over 9) sum to that.
        let steepest = 6.0 / 9.0 * 3f32.sqrt() * FIELD.magnitude_m / FIELD.granularity_m;
        let points: Vec<[f32; 3]> = (0..3000).map(|i| [i as f32 * 0.001, 0.0, 0.0]).collect();
        let moved = displacement(&points, 5);
        for (a, b) in moved.iter().zip(&moved[1..]) {
            (0..3).for_each(|c| assert!((a[c] - b[c]).abs() <= steepest * 0.001 + 1e-5));
        }
    }

    #[test]
    fn degenerate_clouds_are_no_trouble() {
        let mut rng = stream(1, Purpose::Cloud, 0);
        FIELD.apply(&mut [], &mut rng);
        let mut one = [[5.0, -3.0, 1.0]];
        FIELD.apply(&mut one, &mut rng);
        assert!(one[0].iter().all(|v| v.is_finite()));
        let mut wide = [[-4000.0, 0.0, 0.0], [4000.0, 4000.0, 100.0]];
        FIELD.apply(&mut wide, &mut rng);
        assert!(wide.iter().flatten().all(|v| v.is_finite()));
    }
}
