//! Convolution on a GPU: products over the pairs of a table, and their gradients.
//!
//! All of it is deterministic: no atomics, every sum in an order that sizes and pairs decide.

use candle_core::Result;
use half::bf16;
use ppkt_device::kernels;
use ppkt_device::launch::{Arg, Geometry, Gpu, Kernels, Launch, Readable, View, Writable};

use super::conv_plan::{Math, Product, Wgrad, is_narrow, narrow_splits};
use super::map::{TILE, Table};

static BF16: Kernels = kernels!("conv_bf16");
static TF32: Kernels = kernels!("conv_tf32");
static F32: Kernels = kernels!("conv_f32");
static NARROW: Kernels = kernels!("conv_narrow");
static PACK: Kernels = kernels!("conv_pack");
static WGRAD: Kernels = kernels!("conv_wgrad");

/// Numbers that are read, of either type that a tensor of features has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    F32(View<'a, f32>),
    Bf16(View<'a, bf16>),
}

impl<'a> Readable<'a> for Rows<'a> {
    fn read(self) -> Arg {
        match self {
            Self::F32(view) => view.read(),
            Self::Bf16(view) => view.read(),
        }
    }
}

/// Numbers that were computed.
pub(crate) enum Numbers<G: Gpu> {
    F32(G::Memory<f32>),
    Bf16(G::Memory<bf16>),
}

impl<G: Gpu> Numbers<G> {
    fn uninit(gpu: &G, f32: bool, len: usize) -> Result<Self> {
        Ok(if f32 { Self::F32(gpu.uninit(len)?) } else { Self::Bf16(gpu.uninit(len)?) })
    }
}

impl<'a, G: Gpu> Readable<'a> for &'a Numbers<G> {
    fn read(self) -> Arg {
        match self {
            Numbers::F32(memory) => memory.read(),
            Numbers::Bf16(memory) => memory.read(),
        }
    }
}

impl<'a, G: Gpu> Writable<'a> for &'a mut Numbers<G> {
    fn write(self) -> Arg {
        match self {
            Numbers::F32(memory) => memory.write(),
            Numbers::Bf16(memory) => memory.write(),
        }
    }
}

/// Which rows meet under which kernel voxel.
pub(crate) enum Pairs<'a, G: Gpu> {
    Table(&'a Table<G>),
    /// Every row with itself, under the one kernel voxel.
    Same(usize),
}

impl<'a, G: Gpu> Clone for Pairs<'a, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, G: Gpu> Copy for Pairs<'a, G> {}

impl<'a, G: Gpu> Pairs<'a, G> {
    fn table(self) -> Option<&'a Table<G>> {
        match self {
            Self::Table(table) => Some(table),
            Self::Same(_) => None,
        }
    }

    fn volume(self) -> usize {
        self.table().map_or(1, |t| t.volume)
    }

    pub(crate) fn n_target(self) -> usize {
        match self {
            Self::Table(table) => table.n_target,
            Self::Same(rows) => rows,
        }
    }
}

/// Rows that are read, and their channels: of one tensor, or of two side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides<'a> {
    pub(crate) left: (Rows<'a>, usize),
    pub(crate) right: Option<(Rows<'a>, usize)>,
}

impl<'a> Sides<'a> {
    fn channels(&self) -> (usize, usize) {
        (self.left.1, self.right.map_or(0, |r| r.1))
    }

    /// As all kernels begin.
    fn begin<'s, G: Gpu>(&self, launch: Launch<'s, G>) -> Launch<'s, G>
    where
        'a: 's,
    {
        launch.read(self.left.0).read(self.right.map(|r| r.0))
    }
}

/// A weight `[volume, cin, cout]`, and what is multiplied with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub(crate) numbers: View<'a, f32>,
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    /// For the gradient by the input's channels `first..first + outer`: the product with the transpose, where kernel
    /// voxel `k` means matrix `volume - 1 - k` if it is mirrored.
    pub(crate) back: Option<Back>,
}

/// See [`Weight`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Back {
    pub(crate) first: usize,
    pub(crate) outer: usize,
    pub(crate) mirrored: bool,
}

impl Weight<'_> {
    fn outer(&self) -> usize {
        self.back.map_or(self.cout, |b| b.outer)
    }

    /// In the order that the kernels read, rounded to what is multiplied.
    fn packed<G: Gpu>(
        &self,
        gpu: &G,
        sides: (usize, usize),
        volume: usize,
        product: &Product,
    ) -> Result<Numbers<G>> {
        let (math, outer_padded) = (product.math, product.outer_padded(self.outer()));
        let inner_padded = math.inner_padded(sides);
        let mut packed = Numbers::uninit(gpu, math != Math::Bf16, volume * outer_padded * inner_padded)?;
        let Back { first, mirrored, .. } = self.back.unwrap_or(Back { first: 0, outer: 0, mirrored: false });
        let kernel = match math {
            Math::Bf16 => "conv_pack_bf16",
            Math::Tf32 => "conv_pack_tf32",
            Math::F32 => "conv_pack_f32",
        };
        let launch = PACK.launch(gpu, kernel).read(self.numbers).write(&mut packed);
        let launch = launch.count(volume).count(self.cin).count(self.cout);
        let launch = launch.value(self.back.is_some()).value(mirrored);
        let launch = launch.count(first).count(self.outer()).count(outer_padded);
        let launch = launch.count(sides.0).count(sides.1).count(math.chunk_channels());
        launch.run(Geometry::new([inner_padded / 32, outer_padded.div_ceil(32), volume], [32, 8, 1]))?;
        Ok(packed)
    }
}

/// `out[t] = bias + Σ x[s] · weight[k]` over the pairs, `[n_target, outer]`; of f32, or with [`Math::Bf16`] of bf16
/// where `f32` does not ask for f32.
///
/// What is read is of [`Math`]'s type: bf16 for [`Math::Bf16`], else f32.
pub(crate) fn product<G: Gpu>(
    gpu: &G,
    math: Math,
    pairs: Pairs<'_, G>,
    sides: &Sides<'_>,
    weight: &Weight<'_>,
    bias: Option<View<'_, f32>>,
    f32: bool,
) -> Result<Numbers<G>> {
    let channels = sides.channels();
    if is_narrow(channels) && weight.back.is_none() {
        return narrow(gpu, math, pairs, sides, weight, bias, f32);
    }
    let (n, volume) = (pairs.n_target(), pairs.volume());
    let chosen = Product::choose(math, channels, weight.outer(), n, volume, gpu.limits()?);
    product_by(gpu, chosen, pairs, sides, weight, bias, f32)
}

/// As [`product()`], by a kernel of the caller's choice.
pub(crate) fn product_by<G: Gpu>(
    gpu: &G,
    kernel: &Product,
    pairs: Pairs<'_, G>,
    sides: &Sides<'_>,
    weight: &Weight<'_>,
    bias: Option<View<'_, f32>>,
    f32: bool,
) -> Result<Numbers<G>> {
    let (n, volume, outer) = (pairs.n_target(), pairs.volume(), weight.outer());
    let f32 = f32 || kernel.math != Math::Bf16;
    let mut out = Numbers::uninit(gpu, f32, n * outer)?;
    if n * outer == 0 {
        return Ok(out);
    }
    let packed = weight.packed(gpu, sides.channels(), volume, kernel)?;
    let source = match kernel.math {
        Math::Bf16 => &BF16,
        Math::Tf32 => &TF32,
        Math::F32 => &F32,
    };
    let launch = sides.begin(source.launch(gpu, kernel.kernel)).read(&packed).read(bias).write(&mut out);
    let launch = with_table(launch, pairs, sides.channels());
    let launch = launch.count(outer).count(kernel.outer_padded(outer));
    let launch = launch.count(volume).count(n).value(f32);
    let grid = [outer.div_ceil(kernel.cols), n.div_ceil(kernel.rows), 1];
    let geometry = Geometry::new(grid, [kernel.threads, 1, 1]);
    launch.run(geometry.with_shared(kernel.shared_bytes(volume)))?;
    Ok(out)
}

/// Names the table, as all kernels of products take it, and the channels that are read.
fn with_table<'a, G: Gpu>(
    launch: Launch<'a, G>,
    pairs: Pairs<'a, G>,
    (left, right): (usize, usize),
) -> Launch<'a, G> {
    let table = pairs.table();
    let launch = launch.read(table.map(|t| &t.neighbours)).read(table.map(|t| &t.order));
    launch.read(table.map(|t| &t.masks)).count(left).count(right)
}

/// [`product()`] of rows of few channels.
fn narrow<G: Gpu>(
    gpu: &G,
    math: Math,
    pairs: Pairs<'_, G>,
    sides: &Sides<'_>,
    weight: &Weight<'_>,
    bias: Option<View<'_, f32>>,
    f32: bool,
) -> Result<Numbers<G>> {
    let (n, outer) = (pairs.n_target(), weight.cout);
    let f32 = f32 || math != Math::Bf16;
    let mut out = Numbers::uninit(gpu, f32, n * outer)?;
    let kernel = if math == Math::Bf16 { "conv_narrow_bf16" } else { "conv_narrow_f32" };
    let launch = sides.begin(NARROW.launch(gpu, kernel)).read(weight.numbers).read(bias).write(&mut out);
    let launch = with_table(launch, pairs, sides.channels()).count(outer).count(outer);
    let launch = launch.count(pairs.volume()).count(n).value(f32);
    launch.run(Geometry::new([outer.div_ceil(32), n.div_ceil(TILE), 1], [TILE as u32, 1, 1]))?;
    Ok(out)
}

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs: `[volume, cin, cout]` of f32. What is read is of [`Math`]'s type.
pub(crate) fn weight_gradient<G: Gpu>(
    gpu: &G,
    math: Math,
    pairs: Pairs<'_, G>,
    sides: &Sides<'_>,
    (grad, cout): (Rows<'_>, usize),
) -> Result<G::Memory<f32>> {
    let (channels, n, volume) = (sides.channels(), pairs.n_target(), pairs.volume());
    let elements = (channels.0 + channels.1) * cout;
    if n * elements == 0 {
        return gpu.zeros(volume * elements);
    }
    let table = pairs.table();
    let (kernel, geometry, splits, left_blocks) = if is_narrow(channels) {
        let splits = narrow_splits(n, volume);
        let kernel = if math == Math::Bf16 { "conv_wgrad_narrow_bf16" } else { "conv_wgrad_narrow_f32" };
        let geometry = Geometry::new([cout.div_ceil(32), 1, splits], [128, 1, 1]);
        (kernel, geometry, splits, 1)
    } else {
        let chosen = Wgrad::choose(math, channels, cout);
        let (rows, cols) = chosen.blocks(channels, cout);
        let splits = chosen.splits(rows * cols, n, volume);
        let geometry = Geometry::new([rows, cols, splits], [128, 1, 1]).with_shared(chosen.shared_bytes());
        (chosen.kernel, geometry, splits, channels.0.div_ceil(chosen.side))
    };
    let counts = table.map(|t| &t.counts);
    let mut parts = gpu.uninit::<f32>((splits + volume) * elements)?;
    let launch = sides.begin(WGRAD.launch(gpu, kernel)).read(grad).write(&mut parts);
    let launch = launch.read(table.map(|t| &t.pairs)).read(counts);
    let launch = launch.count(channels.0).count(channels.1).count(cout);
    launch.count(volume).count(n).count(splits).count(left_blocks).run(geometry)?;

    let mut out = gpu.uninit::<f32>(volume * elements)?;
    let launch = WGRAD.launch(gpu, "conv_wgrad_sum").read(&parts).write(&mut out);
    let launch = launch.read(counts).count(elements).count(volume).count(n).count(splits);
    launch.run(Geometry::new([elements.div_ceil(256).min(4096), volume, 1], [256, 1, 1]))?;
    Ok(out)
}

#[cfg(test)]
mod tests;
