//! Depthwise 7×7 convolutions: every channel has a kernel of its own, as in ConvNeXt.
//!
//! A task takes one vector of channels and a band of rows. It gathers the band with its border into a scratch buffer
//! of neighbouring vectors, so that the kernel needs no test for edges and its inputs stay in the first-level cache;
//! a tile of eight outputs then stays in registers over all 49 taps.

#![expect(unsafe_code, reason = "vector intrinsics, and tasks that write disjoint parts of one output")]

use rayon::prelude::*;

use super::isa::Isa;
use super::lines::Lines;
use super::map::{Buffers, Map};

/// Side of the kernel.
const SIDE: usize = 7;
/// Pixels of border on each side.
const BORDER: usize = SIDE / 2;
/// Rows of a band: its border is read twice, so it should not be small.
const BAND: usize = 14;
/// Output columns of a tile: as many sums as the multiply-add units need to be busy.
const TILE: usize = 8;
/// Floats of the widest vector.
const MAX_LANES: usize = 16;

/// A depthwise 7×7 convolution with stride 1 and a border of three zeros, ready to run.
pub(crate) struct Depthwise7 {
    isa: Isa,
    channels: usize,
    /// `[block of channels][tap][lane]`, padded with zeros.
    weights: Lines,
    /// Padded as the weights are.
    bias: Lines,
}

/// The output, shared by tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: tasks write disjoint rectangles (rows × channels).
unsafe impl Send for Output {}
// SAFETY: as above; nothing is read that another task writes.
unsafe impl Sync for Output {}

impl Output {
    /// Address of a float. A method, so that closures take the wrapper and not the bare pointer.
    fn at(self, i: usize) -> *mut f32 {
        self.0.wrapping_add(i)
    }
}

impl Depthwise7 {
    /// Packs a kernel.
    ///
    /// # Shapes
    /// `weight` is `[channels, 7, 7]`, `bias` is `[channels]`.
    ///
    /// # Panics
    /// If the lengths are others.
    pub(crate) fn new(isa: Isa, weight: &[f32], bias: &[f32]) -> Self {
        let (channels, lanes) = (bias.len(), isa.lanes());
        assert_eq!(weight.len(), channels * SIDE * SIDE, "weight is not [channels, 7, 7]");
        let padded = channels.next_multiple_of(lanes);
        let (mut weights, mut padded_bias) = (Lines::zeros(padded * SIDE * SIDE), Lines::zeros(padded));
        for (c, kernel) in weight.chunks_exact(SIDE * SIDE).enumerate() {
            let block = c / lanes * lanes * SIDE * SIDE;
            for (tap, w) in kernel.iter().enumerate() {
                weights[block + tap * lanes + c % lanes] = *w;
            }
        }
        padded_bias[..channels].copy_from_slice(bias);
        Self { isa, channels, weights, bias: padded_bias }
    }

    /// `conv(x) + bias`, of the shape of `x`.
    ///
    /// # Panics
    /// If the channels do not fit.
    pub(crate) fn forward(&self, x: &Map, buffers: &Buffers) -> Map {
        assert_eq!(x.channels, self.channels, "channels");
        let mut out = Map::take(buffers, [x.n, x.height, x.width, x.channels]);
        let target = Output(out.data.as_mut_ptr());
        let (blocks, bands) = (self.channels.div_ceil(self.isa.lanes()), x.height.div_ceil(BAND));
        // Neighbouring tasks share rows, and the cache lines that do not end with a vector.
        (0..x.n * bands * blocks).into_par_iter().for_each(|task| {
            let (block, band, image) = (task % blocks, task / blocks % bands, task / blocks / bands);
            self.run_task(x, image, band, block, target, buffers);
        });
        out
    }

    fn run_task(&self, x: &Map, image: usize, band: usize, block: usize, target: Output, buffers: &Buffers) {
        let lanes = self.isa.lanes();
        let (first_row, first_channel) = (band * BAND, block * lanes);
        let rows = BAND.min(x.height - first_row);
        let valid = lanes.min(self.channels - first_channel);
        let width = x.width.next_multiple_of(TILE) + 2 * BORDER;
        let mut scratch = buffers.take((rows + 2 * BORDER) * width * lanes);
        for (r, line) in scratch.chunks_exact_mut(width * lanes).enumerate() {
            let y = (first_row + r).wrapping_sub(BORDER);
            if y >= x.height {
                line.fill(0.0);
                continue;
            }
            let (left, rest) = line.split_at_mut(BORDER * lanes);
            let (middle, right) = rest.split_at_mut(x.width * lanes);
            left.fill(0.0);
            right.fill(0.0);
            let pixels = x.data[(image * x.height + y) * x.width * self.channels..]
                .chunks_exact(self.channels)
                .map(|pixel| &pixel[first_channel..first_channel + valid]);
            for (to, from) in middle.chunks_exact_mut(lanes).zip(pixels) {
                to[..valid].copy_from_slice(from);
                to[valid..].fill(0.0);
            }
        }
        let weights = &self.weights[first_channel * SIDE * SIDE..][..lanes * SIDE * SIDE];
        let bias = &self.bias[first_channel..][..lanes];
        let mut sums = [0f32; TILE * MAX_LANES];
        for column in (0..x.width).step_by(TILE) {
            for row in 0..rows {
                let inputs = &scratch[(row * width + column) * lanes..];
                tile(self.isa, inputs, width * lanes, weights, bias, &mut sums);
                let at = ((image * x.height + first_row + row) * x.width + column) * self.channels;
                for (j, sums) in sums.chunks_exact(lanes).take(TILE.min(x.width - column)).enumerate() {
                    let at = target.at(at + j * self.channels + first_channel);
                    // SAFETY: `valid` channels of a pixel within the output, which this task alone writes.
                    unsafe { std::slice::from_raw_parts_mut(at, valid) }.copy_from_slice(&sums[..valid]);
                }
            }
        }
    }
}

/// Eight neighbouring outputs of one vector of channels, `[TILE][lanes]`, into `out`.
///
/// `inputs` begins at the first output's first tap and has rows of `stride` floats.
fn tile(isa: Isa, inputs: &[f32], stride: usize, weights: &[f32], bias: &[f32], out: &mut [f32]) {
    let lanes = isa.lanes();
    assert!(
        inputs.len() >= (SIDE - 1) * stride + (TILE + SIDE - 1) * lanes
            && weights.len() >= SIDE * SIDE * lanes
            && bias.len() >= lanes
            && out.len() >= TILE * lanes,
        "a tile and its border"
    );
    match isa {
        Isa::Portable => portable(inputs, stride, weights, bias, out),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the instruction set was detected, and the sizes were checked above.
        Isa::Neon => unsafe { arm::neon(inputs, stride, weights, bias, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set was detected, and the sizes were checked above.
        Isa::Avx2 => unsafe { x86::avx2(inputs, stride, weights, bias, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { x86::avx512(inputs, stride, weights, bias, out) },
    }
}

fn portable(inputs: &[f32], stride: usize, weights: &[f32], bias: &[f32], out: &mut [f32]) {
    const LANES: usize = Isa::Portable.lanes();
    let mut sums = [[0f32; LANES]; TILE];
    sums.iter_mut().for_each(|sum| sum.copy_from_slice(&bias[..LANES]));
    let (weights, _) = weights.as_chunks::<LANES>();
    for (tap, weight) in weights.iter().enumerate().take(SIDE * SIDE) {
        let (inputs, _) = inputs[tap / SIDE * stride + tap % SIDE * LANES..].as_chunks::<LANES>();
        for (sum, input) in sums.iter_mut().zip(inputs) {
            for ((s, x), w) in sum.iter_mut().zip(input).zip(weight) {
                *s += x * w;
            }
        }
    }
    out[..TILE * LANES].copy_from_slice(sums.as_flattened());
}

/// One tile; the instruction sets differ in names only.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! tile {
    ($name:ident, $features:literal, $lanes:literal, $load:ident, $store:ident, $fma:ident) => {
        /// # Safety
        /// The slices must be as long as `super::tile` asserts.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(
            inputs: &[f32],
            stride: usize,
            weights: &[f32],
            bias: &[f32],
            out: &mut [f32],
        ) {
            // SAFETY: the caller promises the lengths.
            unsafe {
                let mut sums = [$load(bias.as_ptr()); TILE];
                for ky in 0..SIDE {
                    for kx in 0..SIDE {
                        let weight = $load(weights.as_ptr().add((ky * SIDE + kx) * $lanes));
                        let input = inputs.as_ptr().add(ky * stride + kx * $lanes);
                        for j in 0..TILE {
                            sums[j] = $fma($load(input.add(j * $lanes)), weight, sums[j]);
                        }
                    }
                }
                for j in 0..TILE {
                    $store(out.as_mut_ptr().add(j * $lanes), sums[j]);
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{SIDE, TILE};

    tile!(avx2, "avx2,fma", 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);
    tile!(avx512, "avx512f", 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::{SIDE, TILE};

    /// `x · w + sum`, in the order of arguments that x86 has.
    #[inline]
    #[target_feature(enable = "neon")]
    fn fma(x: float32x4_t, w: float32x4_t, sum: float32x4_t) -> float32x4_t {
        vfmaq_f32(sum, x, w)
    }

    tile!(neon, "neon", 4, vld1q_f32, vst1q_f32, fma);
}
