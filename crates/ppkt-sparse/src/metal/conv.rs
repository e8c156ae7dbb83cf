//! Convolution and its gradients on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums, kernel_source, word};

use super::map::{TILE, Table};

pub(crate) static PRODUCT: KernelSource = kernel_source!("product");
pub(crate) static WEIGHT_GRADIENT: KernelSource = kernel_source!("weight_gradient");

/// Features `[rows, channels]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a, B> {
    pub(crate) data: &'a B,
    pub(crate) channels: usize,
}

/// `[n_target, cout]`: the convolution of one tensor, or of several side by side.
///
/// `weight` is `[K, Σ channels, cout]`, `bias` `[cout]`.
pub(crate) fn forward<G: Compute>(
    gpu: &G,
    table: &Table<G::Buffer>,
    sides: &[Side<'_, G::Buffer>],
    weight: &G::Buffer,
    cout: usize,
    bias: Option<&G::Buffer>,
) -> Result<G::Buffer> {
    let cin: usize = sides.iter().map(|s| s.channels).sum();
    let out = gpu.buffer(table.n_target * cout)?;
    let mut first = 0;
    for (i, side) in sides.iter().enumerate() {
        let start = match (i, bias) {
            (0, None) => 0,
            (0, Some(_)) => 1,
            _ => 2,
        };
        let shape = Product {
            inner: side.channels,
            outer: cout,
            mirrored: false,
            first: first * cout,
            strides: [cin * cout, cout, 1],
            start,
        };
        product(gpu, table, side.data, weight, bias, &shape, &out)?;
        first += side.channels;
    }
    Ok(out)
}

/// `[n_target, channels]`: the gradient by features that stand at channels `first..` of the input; `table` is that of the
/// way back, or, for a `mirrored` map, of the way forth.
pub(crate) fn input_gradient<G: Compute>(
    gpu: &G,
    table: &Table<G::Buffer>,
    grad: Side<'_, G::Buffer>,
    weight: &G::Buffer,
    (cin, first, channels): (usize, usize, usize),
    mirrored: bool,
) -> Result<G::Buffer> {
    let cout = grad.channels;
    let out = gpu.buffer(table.n_target * channels)?;
    let shape = Product {
        inner: cout,
        outer: channels,
        mirrored,
        first: first * cout,
        strides: [cin * cout, 1, cout],
        start: 0,
    };
    product(gpu, table, grad.data, weight, None, &shape, &out)?;
    Ok(out)
}

/// What a product reads of a weight, and what it starts from.
struct Product {
    inner: usize,
    outer: usize,
    mirrored: bool,
    first: usize,
    /// From one kernel voxel, inner and outer channel to the next.
    strides: [usize; 3],
    start: u32,
}

fn product<G: Compute>(
    gpu: &G,
    table: &Table<G::Buffer>,
    source: &G::Buffer,
    weight: &G::Buffer,
    bias: Option<&G::Buffer>,
    shape: &Product,
    out: &G::Buffer,
) -> Result<()> {
    if table.n_target == 0 || shape.outer == 0 {
        return Ok(());
    }
    // What is not read still has to be bound.
    let (rows, occupied) = table.neighbours.as_ref().map_or((weight, weight), |n| (&n.rows, &n.occupied));
    let [by_k, by_inner, by_outer] = shape.strides.map(word);
    let parameters = [
        word(table.n_target),
        word(shape.inner),
        word(shape.outer),
        word(table.volume),
        u32::from(table.neighbours.is_none()),
        u32::from(shape.mirrored),
        word(shape.first),
        by_k,
        by_inner,
        by_outer,
        shape.start,
    ];
    let groups = [table.n_target.div_ceil(TILE), shape.outer.div_ceil(TILE), 1];
    let buffers = [rows, occupied, source, weight, bias.unwrap_or(weight), out];
    gpu.run(&PRODUCT, "product", groups, &buffers, &parameters)
}

/// Groups that a weight gradient is to have at least, so that a GPU is busy.
const GROUPS: usize = 512;

/// `[K, Σ channels, cout]`: the gradient by the weight of the convolution of `sides`.
pub(crate) fn weight_gradient<G: Compute>(
    gpu: &G,
    table: &Table<G::Buffer>,
    sides: &[Side<'_, G::Buffer>],
    grad: Side<'_, G::Buffer>,
) -> Result<G::Buffer> {
    let (volume, cout) = (table.volume, grad.channels);
    let cin: usize = sides.iter().map(|s| s.channels).sum();
    // Ranges of rows depend on the shapes alone, and with them the order of the sum.
    let n_tiles = table.n_target.div_ceil(TILE).max(1);
    let channel_tiles = cin.div_ceil(TILE).max(1) * cout.div_ceil(TILE).max(1);
    let ranges = GROUPS.div_ceil(volume * channel_tiles).min(n_tiles);
    let range = n_tiles.div_ceil(ranges);
    let ranges = n_tiles.div_ceil(range);
    let elements = volume * cin * cout;
    let parts = gpu.buffer(ranges * elements)?;
    let mut first = 0;
    for side in sides.iter().filter(|s| s.channels * cout > 0) {
        let (rows, occupied) =
            table.neighbours.as_ref().map_or((side.data, side.data), |n| (&n.rows, &n.occupied));
        let parameters = [
            word(table.n_target),
            word(side.channels),
            word(first),
            word(cin),
            word(cout),
            word(volume),
            u32::from(table.neighbours.is_none()),
            word(range),
        ];
        let groups = [side.channels.div_ceil(TILE) * cout.div_ceil(TILE), volume, ranges];
        let buffers = [rows, occupied, side.data, grad.data, &parts];
        gpu.run(&WEIGHT_GRADIENT, "weight_gradient", groups, &buffers, &parameters)?;
        first += side.channels;
    }
    if ranges == 1 || elements == 0 {
        return Ok(parts);
    }
    column_sums(gpu, &parts, ranges, elements)
}
