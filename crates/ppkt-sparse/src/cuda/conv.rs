//! Convolution on a GPU: products over the pairs of a table, and their gradients.
//!
//! All of it is deterministic: no atomics, every sum in an order that sizes and pairs decide.

use candle_core::Result;
use half::bf16;

use super::conv_plan::{Math, Product, Wgrad, is_narrow, narrow_splits};
use super::gpu::{Geometry, Gpu, Launch, Source};
use super::map::{TILE, Table};

/// Numbers that are read, of either type that a tensor of features has.
pub(crate) enum Rows<'a, G: Gpu + 'a> {
    F32(G::View<'a, f32>),
    Bf16(G::View<'a, bf16>),
}

impl<'a, G: Gpu + 'a> Clone for Rows<'a, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, G: Gpu + 'a> Copy for Rows<'a, G> {}

/// Numbers that were computed.
pub(crate) enum Numbers<G: Gpu> {
    F32(G::Slice<f32>),
    Bf16(G::Slice<bf16>),
}

impl<G: Gpu> Numbers<G> {
    fn uninit(gpu: &G, f32: bool, len: usize) -> Result<Self> {
        Ok(if f32 { Self::F32(gpu.uninit(len)?) } else { Self::Bf16(gpu.uninit(len)?) })
    }

    fn write<'a>(&'a mut self, launch: Launch<'a, G>) -> Launch<'a, G> {
        match self {
            Self::F32(slice) => launch.write(slice),
            Self::Bf16(slice) => launch.write(slice),
        }
    }

    fn read<'a>(&'a self, launch: Launch<'a, G>) -> Launch<'a, G> {
        match self {
            Self::F32(slice) => launch.read(slice),
            Self::Bf16(slice) => launch.read(slice),
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

/// Rows that are read: of one tensor, or of two side by side.
pub(crate) struct Sides<'a, G: Gpu + 'a> {
    pub(crate) left: (Rows<'a, G>, usize),
    pub(crate) right: Option<(Rows<'a, G>, usize)>,
}

impl<'a, G: Gpu + 'a> Sides<'a, G> {
    fn channels(&self) -> (usize, usize) {
        (self.left.1, self.right.as_ref().map_or(0, |r| r.1))
    }

    fn name<'s>(&self, launch: Launch<'s, G>) -> Launch<'s, G>
    where
        'a: 's,
    {
        let launch = read(launch, self.left.0);
        match &self.right {
            Some((rows, _)) => read(launch, *rows),
            None => launch.view_or_null::<f32>(None),
        }
    }
}

fn read<'s, 'a: 's, G: Gpu>(launch: Launch<'s, G>, rows: Rows<'a, G>) -> Launch<'s, G> {
    match rows {
        Rows::F32(view) => launch.view(G::shorten(view)),
        Rows::Bf16(view) => launch.view(G::shorten(view)),
    }
}

/// A weight `[volume, cin, cout]`, and what is multiplied with.
pub(crate) struct Weight<'a, G: Gpu + 'a> {
    pub(crate) numbers: G::View<'a, f32>,
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

impl<'a, G: Gpu + 'a> Weight<'a, G> {
    fn outer(&self) -> usize {
        self.back.map_or(self.cout, |b| b.outer)
    }

    /// In the order that the kernels read, rounded to what is multiplied.
    fn packed(&self, gpu: &G, sides: (usize, usize), volume: usize, product: &Product) -> Result<Numbers<G>> {
        let (math, outer_padded) = (product.math, product.outer_padded(self.outer()));
        let inner_padded = math.inner_padded(sides);
        let mut packed = Numbers::uninit(gpu, math != Math::Bf16, volume * outer_padded * inner_padded)?;
        let Back { first, mirrored, .. } = self.back.unwrap_or(Back { first: 0, outer: 0, mirrored: false });
        let launch = packed.write(Launch::on(gpu).view(G::shorten(self.numbers)));
        let launch = launch.value(volume as i32).value(self.cin as i32).value(self.cout as i32);
        let launch = launch.value(i32::from(self.back.is_some())).value(i32::from(mirrored));
        let launch = launch.value(first as i32).value(self.outer() as i32).value(outer_padded as i32);
        let launch = launch.value(sides.0 as i32).value(sides.1 as i32).value(math.chunk_channels() as i32);
        let kernel = match math {
            Math::Bf16 => "conv_pack_bf16",
            Math::Tf32 => "conv_pack_tf32",
            Math::F32 => "conv_pack_f32",
        };
        let grid = [inner_padded / 32, outer_padded.div_ceil(32), volume].map(|n| n as u32);
        launch.run(Source::ConvPack, kernel, Geometry { grid, block: [32, 8, 1], shared_bytes: 0 })?;
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
    sides: &Sides<'_, G>,
    weight: &Weight<'_, G>,
    bias: Option<G::View<'_, f32>>,
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
    sides: &Sides<'_, G>,
    weight: &Weight<'_, G>,
    bias: Option<G::View<'_, f32>>,
    f32: bool,
) -> Result<Numbers<G>> {
    let (n, volume, outer) = (pairs.n_target(), pairs.volume(), weight.outer());
    let f32 = f32 || kernel.math != Math::Bf16;
    let mut out = Numbers::uninit(gpu, f32, n * outer)?;
    if n * outer == 0 {
        return Ok(out);
    }
    let packed = weight.packed(gpu, sides.channels(), volume, kernel)?;
    let launch = packed.read(sides.name(Launch::on(gpu))).view_or_null(bias.map(G::shorten));
    let launch = launch_product(out.write(launch), pairs, sides.channels());
    let launch = launch.value(outer as i32).value(kernel.outer_padded(outer) as i32);
    let launch = launch.value(volume as i32).value(n as i32).value(i32::from(f32));
    let geometry = Geometry {
        grid: [outer.div_ceil(kernel.cols) as u32, n.div_ceil(kernel.rows) as u32, 1],
        block: [kernel.threads, 1, 1],
        shared_bytes: kernel.shared_bytes(volume) as u32,
    };
    let source = match kernel.math {
        Math::Bf16 => Source::ConvBf16,
        Math::Tf32 => Source::ConvTf32,
        Math::F32 => Source::ConvF32,
    };
    launch.run(source, kernel.kernel, geometry)?;
    Ok(out)
}

fn launch_product<'s, 'a: 's, G: Gpu>(
    launch: Launch<'s, G>,
    pairs: Pairs<'a, G>,
    (left, right): (usize, usize),
) -> Launch<'s, G> {
    let table = pairs.table();
    let launch = launch.view_or_null(table.map(|t| G::view(&t.neighbours)));
    let launch = launch.view_or_null(table.map(|t| G::view(&t.order)));
    let launch = launch.view_or_null(table.map(|t| G::view(&t.masks)));
    launch.value(left as i32).value(right as i32)
}

/// [`product()`] of rows of few channels.
fn narrow<G: Gpu>(
    gpu: &G,
    math: Math,
    pairs: Pairs<'_, G>,
    sides: &Sides<'_, G>,
    weight: &Weight<'_, G>,
    bias: Option<G::View<'_, f32>>,
    f32: bool,
) -> Result<Numbers<G>> {
    let (n, outer) = (pairs.n_target(), weight.cout);
    let f32 = f32 || math != Math::Bf16;
    let mut out = Numbers::uninit(gpu, f32, n * outer)?;
    let launch =
        sides.name(Launch::on(gpu)).view(G::shorten(weight.numbers)).view_or_null(bias.map(G::shorten));
    let launch = launch_product(out.write(launch), pairs, sides.channels());
    let launch = launch.value(outer as i32).value(outer as i32);
    let launch = launch.value(pairs.volume() as i32).value(n as i32).value(i32::from(f32));
    let kernel = if math == Math::Bf16 { "conv_narrow_bf16" } else { "conv_narrow_f32" };
    let grid = [outer.div_ceil(32) as u32, n.div_ceil(TILE) as u32, 1];
    launch.run(Source::ConvNarrow, kernel, Geometry { grid, block: [TILE as u32, 1, 1], shared_bytes: 0 })?;
    Ok(out)
}

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs: `[volume, cin, cout]` of f32. What is read is of [`Math`]'s type.
pub(crate) fn weight_gradient<G: Gpu>(
    gpu: &G,
    math: Math,
    pairs: Pairs<'_, G>,
    sides: &Sides<'_, G>,
    (grad, cout): (Rows<'_, G>, usize),
) -> Result<G::Slice<f32>> {
    let (channels, n, volume) = (sides.channels(), pairs.n_target(), pairs.volume());
    let elements = (channels.0 + channels.1) * cout;
    if n * elements == 0 {
        return gpu.zeros(volume * elements);
    }
    let table = pairs.table();
    let (kernel, geometry, splits, left_blocks) = if is_narrow(channels) {
        let splits = narrow_splits(n, volume);
        let kernel = if math == Math::Bf16 { "conv_wgrad_narrow_bf16" } else { "conv_wgrad_narrow_f32" };
        let grid = [cout.div_ceil(32) as u32, 1, splits as u32];
        (kernel, Geometry { grid, block: [128, 1, 1], shared_bytes: 0 }, splits, 1)
    } else {
        let chosen = Wgrad::choose(math, channels, cout);
        let (rows, cols) = chosen.blocks(channels, cout);
        let splits = chosen.splits(rows * cols, n, volume);
        let grid = [rows as u32, cols as u32, splits as u32];
        let geometry = Geometry { grid, block: [128, 1, 1], shared_bytes: chosen.shared_bytes() as u32 };
        (chosen.kernel, geometry, splits, channels.0.div_ceil(chosen.side))
    };
    let mut parts = gpu.uninit::<f32>((splits + volume) * elements)?;
    let launch = read(sides.name(Launch::on(gpu)), grad).write(&mut parts);
    let launch = launch.view_or_null(table.map(|t| G::view(&t.pairs)));
    let launch = launch.view_or_null(table.map(|t| G::view(&t.counts)));
    let launch = launch.value(channels.0 as i32).value(channels.1 as i32).value(cout as i32);
    let launch = launch.value(volume as i32).value(n as i32).value(splits as i32).value(left_blocks as i32);
    launch.run(Source::ConvWgrad, kernel, geometry)?;

    let mut out = gpu.uninit::<f32>(volume * elements)?;
    let launch = Launch::on(gpu).read(&parts).write(&mut out);
    let launch = launch.view_or_null(table.map(|t| G::view(&t.counts))).value(elements as i32);
    let launch = launch.value(volume as i32).value(n as i32).value(splits as i32);
    let grid = [elements.div_ceil(256).min(4096) as u32, volume as u32, 1];
    launch.run(
        Source::ConvWgrad,
        "conv_wgrad_sum",
        Geometry { grid, block: [256, 1, 1], shared_bytes: 0 },
    )?;
    Ok(out)
}

#[cfg(test)]
mod tests;
