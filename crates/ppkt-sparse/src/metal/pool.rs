//! Pooling on the device.

use std::ops::Range;

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums_into, grid, kernel_source, word};

use super::map::Table;
use crate::pool::Reduction;

pub(crate) static POOL: KernelSource = kernel_source!("pool");

fn code(reduction: Reduction) -> u32 {
    match reduction {
        Reduction::Sum => 0,
        Reduction::Mean => 1,
        Reduction::Max => 2,
    }
}

fn threads(n: usize) -> [usize; 3] {
    grid(n.div_ceil(256))
}

/// What pooling leaves for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct Pooled<B> {
    /// `[M, C]`
    pub(crate) out: B,
    /// `[M, C]`: the row that each largest value came from.
    pub(crate) came_from: B,
    /// `[M]`: how many rows were under the kernel.
    pub(crate) counts: B,
}

/// Pools the rows under the kernel.
pub(crate) fn local<G: Compute>(
    gpu: &G,
    table: &Table<G::Buffer>,
    x: &G::Buffer,
    channels: usize,
    reduction: Reduction,
) -> Result<Pooled<G::Buffer>> {
    let n = table.n_target * channels;
    let pooled =
        Pooled { out: gpu.buffer(n)?, came_from: gpu.buffer(n)?, counts: gpu.buffer(table.n_target)? };
    if n > 0 {
        let neighbours = table.neighbours.as_ref().map_or(x, |n| &n.rows);
        let buffers = [neighbours, x, &pooled.out, &pooled.came_from, &pooled.counts];
        gpu.run(&POOL, "pool", threads(n), &buffers, &parameters(table, channels, reduction))?;
    }
    Ok(pooled)
}

/// `[N, C]`: its gradient; `table` is that of the way back.
pub(crate) fn local_gradient<G: Compute>(
    gpu: &G,
    table: &Table<G::Buffer>,
    grad: &G::Buffer,
    pooled: &Pooled<G::Buffer>,
    channels: usize,
    reduction: Reduction,
) -> Result<G::Buffer> {
    let n = table.n_target * channels;
    let out = gpu.buffer(n)?;
    if n > 0 {
        let neighbours = table.neighbours.as_ref().map_or(grad, |n| &n.rows);
        let buffers = [neighbours, grad, &pooled.came_from, &pooled.counts, &out];
        gpu.run(&POOL, "pool_grad", threads(n), &buffers, &parameters(table, channels, reduction))?;
    }
    Ok(out)
}

fn parameters<B>(table: &Table<B>, channels: usize, reduction: Reduction) -> [u32; 5] {
    let dense = u32::from(table.neighbours.is_none());
    [word(table.n_target), word(channels), word(table.volume), code(reduction), dense]
}

/// What pooling over batch items leaves for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct Items<B> {
    /// `[items, C]`
    pub(crate) out: B,
    /// `[items, C]`: the row that each largest value came from, where that was asked for.
    came_from: Option<B>,
    starts: B,
    n_items: usize,
}

/// Pools the rows of each batch item, which are `items`, one after the other.
pub(crate) fn global<G: Compute>(
    gpu: &G,
    items: &[Range<usize>],
    x: &G::Buffer,
    channels: usize,
    reduction: Reduction,
) -> Result<Items<G::Buffer>> {
    let mut starts: Vec<u32> = items.iter().map(|rows| word(rows.start)).collect();
    starts.push(word(items.last().map_or(0, |rows| rows.end)));
    let starts = gpu.upload(&starts)?;
    let n = items.len() * channels;
    let out = gpu.buffer(n)?;
    let parameters = [word(items.len()), word(channels), 0, code(reduction), 0];
    let mut came_from = None;
    if n > 0 && reduction == Reduction::Max {
        let from = gpu.buffer(n)?;
        gpu.run(&POOL, "largest", threads(n), &[x, &out, &from, &starts], &parameters)?;
        came_from = Some(from);
    } else if n > 0 {
        let sums = gpu.buffer(n)?;
        for (item, rows) in items.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            column_sums_into(gpu, x, rows.clone(), channels, (&sums, item))?;
        }
        gpu.run(&POOL, "scale_items", threads(n), &[&sums, &out, &starts], &parameters)?;
    }
    Ok(Items { out, came_from, starts, n_items: items.len() })
}

/// `[rows, C]`: its gradient.
pub(crate) fn global_gradient<G: Compute>(
    gpu: &G,
    items: &Items<G::Buffer>,
    grad: &G::Buffer,
    (rows, channels): (usize, usize),
    reduction: Reduction,
) -> Result<G::Buffer> {
    let out = gpu.buffer(rows * channels)?;
    if rows * channels > 0 {
        let parameters = [word(rows), word(channels), word(items.n_items), code(reduction), 0];
        let from = items.came_from.as_ref().unwrap_or(&items.starts);
        let buffers = [grad, from, &out, &items.starts];
        gpu.run(&POOL, "items_grad", threads(rows * channels), &buffers, &parameters)?;
    }
    Ok(out)
}
