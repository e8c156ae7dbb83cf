//! Numbers and voxels for the tests of kernels.

use half::bf16;
use ppkt_testkit::EmulatedGpu;

/// The processor, running the kernels of this folder; `None`, with the reason printed, where it cannot.
pub(crate) fn gpu() -> Option<EmulatedGpu> {
    // Which slot of a table a block of voxels gets depends on who comes first; what is found in the table does not.
    Some(EmulatedGpu::new("src/cuda")?.with_unordered(&["map_blocks"]))
}

/// Numbers between -1 and 1 without order, and among them exact zeros.
pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let one = |i: u64| {
        let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed << 32);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * if mixed.is_multiple_of(17) { 0.0 } else { 1.0 }
    };
    (0..n as u64).map(one).collect()
}

pub(crate) fn narrow(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&v| bf16::from_f32(v)).collect()
}

pub(crate) fn wide(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|v| v.to_f32()).collect()
}

/// Compares with a tolerance relative to the largest wanted number.
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance * largest;
        assert!(same, "element {i}: {g}, not {w}");
    }
}

/// Rounding of bf16 and a little more, relative to the largest number.
pub(crate) const OF_BF16: f32 = 0.01;

/// A wavy sheet of `edge²` voxels in the batch items 0 and 2, and four at the ends of the range in item 1.
pub(crate) fn sheet(edge: i32) -> Vec<[i32; 4]> {
    let mut voxels = Vec::new();
    for b in [0, 2] {
        for x in 0..edge {
            for y in 0..edge {
                let z = (x * x + 3 * y + b) % 7 / 2;
                voxels.push([b, x - edge / 2, y - 3, z - 2]);
            }
        }
    }
    let (low, high) = (-131_072, 131_071);
    // The last two are neighbours of each other, and of the second only where an axis were a ring.
    voxels.extend([
        [1, low, low, high],
        [1, low, high, high],
        [1, high, high, high],
        [1, high - 1, high, high],
    ]);
    voxels
}
