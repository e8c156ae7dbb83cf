//! Which kernel a convolution takes, and how its work is cut.
//!
//! Sizes alone decide, so that a given GPU gives the same bits for the same input. The choice between the kernels of a
//! product changes no bits; neither does it for gradients by weights, whose sums are cut by constants that no GPU
//! changes.

use ppkt_device::launch::Limits;

/// How products are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Math {
    /// Products of bf16 on tensor cores, sums in f32.
    Bf16,
    /// Products of f32 rounded to 10 bits of fraction on tensor cores, sums in f32.
    Tf32,
    /// f32 throughout.
    F32,
}

impl Math {
    /// Bytes of an element that is multiplied.
    pub(crate) fn bytes(self) -> usize {
        if self == Self::Bf16 { 2 } else { 4 }
    }

    /// Whether rows of `channels` can be copied 16 bytes at a time.
    fn aligned(self, channels: usize) -> bool {
        (channels * self.bytes()).is_multiple_of(16)
    }
}

/// Bytes of a row that one step of a product reads, as `CHUNK` in `conv_args.cuh`.
const CHUNK: usize = 128;
/// Steps that are copied while one is multiplied, and that one; as in `conv_tile.cuh` and `conv_wgrad.cuh`.
const STAGES: usize = 3;
/// Channels up to which rows take the kernels for few channels.
const NARROW: usize = 8;

/// A kernel of a product: the positions and channels of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Product {
    pub(crate) kernel: &'static str,
    pub(crate) math: Math,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) threads: u32,
    /// Rows must be multiples of 16 bytes.
    pub(crate) aligned: bool,
    /// The share of a multiprocessor's rate that a block reaches beside the best one; an estimate from what is read
    /// for each multiplication, to be replaced by measurements.
    rate: f64,
}

const fn product(
    kernel: &'static str,
    math: Math,
    (rows, cols): (usize, usize),
    threads: u32,
    rate: f64,
) -> Product {
    Product { kernel, math, rows, cols, threads, aligned: true, rate }
}

const fn any(kernel: &'static str, math: Math) -> Product {
    Product { kernel, math, rows: 128, cols: 64, threads: 128, aligned: false, rate: 0.2 }
}

/// All kernels of products.
pub(crate) const PRODUCTS: [Product; 14] = [
    product("conv_bf16_256x128", Math::Bf16, (256, 128), 256, 1.0),
    product("conv_bf16_256x96", Math::Bf16, (256, 96), 256, 0.92),
    product("conv_bf16_256x64", Math::Bf16, (256, 64), 256, 0.8),
    product("conv_bf16_256x32", Math::Bf16, (256, 32), 256, 0.6),
    product("conv_bf16_128x64", Math::Bf16, (128, 64), 128, 0.7),
    any("conv_bf16_128x64_any", Math::Bf16),
    product("conv_tf32_256x128", Math::Tf32, (256, 128), 256, 1.0),
    product("conv_tf32_256x96", Math::Tf32, (256, 96), 256, 0.92),
    product("conv_tf32_256x64", Math::Tf32, (256, 64), 256, 0.8),
    product("conv_tf32_256x32", Math::Tf32, (256, 32), 256, 0.6),
    product("conv_tf32_128x64", Math::Tf32, (128, 64), 128, 0.7),
    any("conv_tf32_128x64_any", Math::Tf32),
    product("conv_f32_128x64", Math::F32, (128, 64), 128, 1.0),
    any("conv_f32_128x64_any", Math::F32),
];

impl Product {
    /// The kernel for `[n_target, outer]` from rows of `left` and `right` channels.
    pub(crate) fn choose(
        math: Math,
        (left, right): (usize, usize),
        outer: usize,
        n_target: usize,
        volume: usize,
        limits: Limits,
    ) -> &'static Self {
        let aligned = math.aligned(left) && math.aligned(right);
        let fits = |p: &&Self| {
            p.math == math && p.aligned == aligned && p.shared_bytes(volume) <= limits.shared_bytes
        };
        let time = |p: &Self| {
            let blocks = n_target.div_ceil(p.rows) * outer.div_ceil(p.cols);
            (blocks.div_ceil(limits.multiprocessors) * p.rows * p.cols) as f64 / p.rate
        };
        let best = PRODUCTS.iter().filter(fits).min_by(|a, b| time(a).total_cmp(&time(b)));
        // Where none fits, the driver refuses the smallest with its own words.
        best.unwrap_or(&PRODUCTS[if aligned { 4 } else { 5 }])
    }

    /// Stages, and the list of kernel voxels.
    pub(crate) fn shared_bytes(&self, volume: usize) -> usize {
        STAGES * (self.rows + self.cols) * CHUNK + volume * 4
    }

    /// Channels of the packed weight that are written.
    pub(crate) fn outer_padded(&self, outer: usize) -> usize {
        outer.next_multiple_of(self.cols)
    }
}

impl Math {
    /// Channels that one step of a product reads.
    pub(crate) fn chunk_channels(self) -> usize {
        CHUNK / self.bytes()
    }

    /// Channels of the packed weight that are read.
    pub(crate) fn inner_padded(self, (left, right): (usize, usize)) -> usize {
        left.next_multiple_of(self.chunk_channels()) + right.next_multiple_of(self.chunk_channels())
    }
}

/// Whether rows of `left` and `right` channels take the kernels for few channels.
pub(crate) fn is_narrow((left, right): (usize, usize)) -> bool {
    right == 0 && left <= NARROW
}

/// A kernel of the gradient by the weight: channels of both sides of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wgrad {
    pub(crate) kernel: &'static str,
    pub(crate) math: Math,
    pub(crate) side: usize,
    /// Pairs of a stage.
    pairs: usize,
    pub(crate) aligned: bool,
    rate: f64,
}

const fn wgrad(kernel: &'static str, math: Math, side: usize, aligned: bool, rate: f64) -> Wgrad {
    let pairs = if matches!(math, Math::Bf16) { 64 } else { 32 };
    Wgrad { kernel, math, side, pairs, aligned, rate }
}

/// All kernels of gradients by weights but those for few channels.
pub(crate) const WGRADS: [Wgrad; 10] = [
    wgrad("conv_wgrad_bf16_128", Math::Bf16, 128, true, 1.0),
    wgrad("conv_wgrad_bf16_96", Math::Bf16, 96, true, 0.9),
    wgrad("conv_wgrad_bf16_64", Math::Bf16, 64, true, 0.7),
    wgrad("conv_wgrad_bf16_64_any", Math::Bf16, 64, false, 0.2),
    wgrad("conv_wgrad_tf32_128", Math::Tf32, 128, true, 1.0),
    wgrad("conv_wgrad_tf32_96", Math::Tf32, 96, true, 0.9),
    wgrad("conv_wgrad_tf32_64", Math::Tf32, 64, true, 0.7),
    wgrad("conv_wgrad_tf32_64_any", Math::Tf32, 64, false, 0.2),
    wgrad("conv_wgrad_f32_64", Math::F32, 64, true, 1.0),
    wgrad("conv_wgrad_f32_64_any", Math::F32, 64, false, 1.0),
];

impl Wgrad {
    /// The kernel for `[left + right, cout]`.
    pub(crate) fn choose(math: Math, (left, right): (usize, usize), cout: usize) -> &'static Self {
        let aligned = [left, right, cout].iter().all(|&c| math.aligned(c));
        let work = |w: &Self| {
            let (rows, cols) = w.blocks((left, right), cout);
            (rows * cols * w.side * w.side) as f64 / w.rate
        };
        let fits = WGRADS.iter().filter(|w| w.math == math && w.aligned == aligned);
        fits.min_by(|a, b| work(a).total_cmp(&work(b))).unwrap_or(&WGRADS[9])
    }

    /// Blocks along the channels of the rows that are read, and along those of the gradient.
    pub(crate) fn blocks(&self, (left, right): (usize, usize), cout: usize) -> (usize, usize) {
        (left.div_ceil(self.side) + right.div_ceil(self.side), cout.div_ceil(self.side))
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        STAGES * self.pairs * 2 * (self.side * self.math.bytes()).next_multiple_of(CHUNK)
    }

    /// Parts of the pairs: about as many as a large GPU runs blocks at a time, each of some stages at least.
    pub(crate) fn splits(&self, blocks: usize, n_target: usize, volume: usize) -> usize {
        let at_a_time = if self.side == 64 { 512 } else { 256 };
        splits(at_a_time / blocks.max(1), n_target * volume / (8 * self.pairs))
    }
}

/// Parts of the pairs for the kernels for few channels.
pub(crate) fn narrow_splits(n_target: usize, volume: usize) -> usize {
    splits(1024, n_target * volume / 256)
}

fn splits(wanted: usize, most: usize) -> usize {
    wanted.min(most).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: Limits = Limits { multiprocessors: 132, shared_bytes: 227 * 1024 };

    fn kernel(math: Math, sides: (usize, usize), outer: usize, n: usize, limits: Limits) -> &'static str {
        Product::choose(math, sides, outer, n, 27, limits).kernel
    }

    #[test]
    fn large_products_take_the_blocks_that_waste_no_channels() {
        let n = 300_000;
        for (outer, name) in
            [(128, "256x128"), (256, "256x128"), (96, "256x96"), (64, "256x64"), (32, "256x32")]
        {
            for (math, of) in [(Math::Bf16, "conv_bf16_"), (Math::Tf32, "conv_tf32_")] {
                assert_eq!(kernel(math, (128, 0), outer, n, H200), format!("{of}{name}"));
            }
        }
        assert_eq!(kernel(Math::F32, (64, 0), 64, n, H200), "conv_f32_128x64");
    }

    #[test]
    fn few_positions_and_small_gpus_take_small_blocks() {
        assert_eq!(kernel(Math::Bf16, (256, 0), 256, 3000, H200), "conv_bf16_128x64");
        let small = Limits { multiprocessors: 40, shared_bytes: 99 * 1024 };
        assert_eq!(kernel(Math::Bf16, (128, 0), 128, 300_000, small), "conv_bf16_128x64");
    }

    #[test]
    fn rows_that_are_no_multiple_of_16_bytes_take_the_kernels_for_any() {
        assert_eq!(kernel(Math::Bf16, (20, 0), 96, 1000, H200), "conv_bf16_128x64_any");
        assert_eq!(kernel(Math::Tf32, (20, 0), 96, 1_000_000, H200), "conv_tf32_256x96");
        assert_eq!(kernel(Math::F32, (64, 3), 96, 1000, H200), "conv_f32_128x64_any");
        assert_eq!(Wgrad::choose(Math::Bf16, (96, 0), 20).kernel, "conv_wgrad_bf16_64_any");
    }

    #[test]
    fn gradients_by_weights_waste_no_channels() {
        for (sides, cout, side) in
            [((128, 0), 128, 128), ((96, 0), 96, 96), ((64, 0), 64, 64), ((96, 32), 96, 96)]
        {
            assert_eq!(Wgrad::choose(Math::Bf16, sides, cout).side, side, "{sides:?}");
        }
        let w = Wgrad::choose(Math::Bf16, (128, 0), 128);
        assert_eq!((w.splits(1, 300_000, 27), w.splits(4, 300_000, 27), w.splits(1, 10, 27)), (256, 64, 1));
        assert!(WGRADS.iter().all(|w| w.shared_bytes() <= 99 * 1024));
    }
}
