//! InfoNCE on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, column_sums, grid, kernel_source, word};

use super::PairOutcome;
use crate::fused::Tracked;
use crate::info_nce::Fused;

pub(crate) static NCE: KernelSource = kernel_source!("nce");

/// Rows of a tile.
const TILE: usize = 64;
/// Work groups that a launch is to have at least, so that a GPU is busy.
const GROUPS: usize = 512;

/// How the other side's rows are cut into ranges: a function of the number of rows alone, and with it the order of sums.
#[derive(Debug, Clone, Copy)]
struct Cut {
    tiles: usize,
    /// Tiles in a range.
    range: usize,
    ranges: usize,
}

impl Cut {
    fn new(rows: usize) -> Self {
        let tiles = rows.div_ceil(TILE);
        let range = tiles.div_ceil(GROUPS.div_ceil(tiles).min(tiles));
        Self { tiles, range, ranges: tiles.div_ceil(range) }
    }
}

/// What all launches are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    rows: usize,
    dim: usize,
    inverse_temperature: f32,
    cut: Cut,
}

impl Told {
    /// `[rows, dim]` against as many.
    pub(super) fn new(rows: usize, dim: usize, temperature: f64) -> Self {
        Self { rows, dim, inverse_temperature: (1.0 / temperature) as f32, cut: Cut::new(rows) }
    }

    fn parameters(&self, by_key: bool, factor: f32, first: usize) -> [u32; 8] {
        [
            word(self.rows),
            word(self.dim),
            word(self.cut.range),
            word(self.cut.ranges),
            self.inverse_temperature.to_bits(),
            u32::from(by_key),
            factor.to_bits(),
            word(first),
        ]
    }
}

/// One side's unit rows, and the lengths of its raw ones.
pub(super) struct Unit<B> {
    pub(super) values: B,
    pub(super) lengths: B,
}

/// Loss, hits and gradients of `[n_rows, dim]` points and pixels.
pub(crate) fn info_nce<G: Compute>(
    gpu: &G,
    loss: &Fused,
    [point, pixel]: [&G::Buffer; 2],
    tracked: Tracked,
) -> Result<PairOutcome<G::Buffer>> {
    let &Fused { n_rows: rows, dim, temperature, symmetric } = loss;
    let told = Told::new(rows, dim, temperature);
    let (p, q) = (unit(gpu, point, &told)?, unit(gpu, pixel, &told)?);
    let there = Way::new(gpu, &p.values, &q.values, &told)?;
    let back = symmetric.then(|| Way::new(gpu, &q.values, &p.values, &told)).transpose()?;
    let (value, hits) = value_and_hits(gpu, &told, &there, back.as_ref())?;

    // A side is the queries on the way there and the keys on the way back, or the other way round.
    let gradient = |mine: &Unit<G::Buffer>, other: &Unit<G::Buffer>, is_key: bool| -> Result<G::Buffer> {
        let mut ways = vec![(&there, is_key)];
        ways.extend(back.as_ref().map(|back| (back, !is_key)));
        let by_unit = by_rows(gpu, &told, &mine.values, &other.values, &ways)?;
        let by_raw = gpu.buffer(rows * dim)?;
        let buffers = [&mine.values, &by_unit, &mine.lengths, &by_raw];
        gpu.run(&NCE, "pull_back", grid(rows), &buffers, &told.parameters(false, 1.0, 0))?;
        Ok(by_raw)
    };
    let by_point = tracked[0].then(|| gradient(&p, &q, false)).transpose()?;
    let by_pixel = tracked[1].then(|| gradient(&q, &p, true)).transpose()?;
    Ok(PairOutcome { loss: value, hits, grads: [by_point, by_pixel] })
}

/// Raw rows brought to unit length.
pub(super) fn unit<G: Compute>(gpu: &G, raw: &G::Buffer, told: &Told) -> Result<Unit<G::Buffer>> {
    let (values, lengths) = (gpu.buffer(told.rows * told.dim)?, gpu.buffer(told.rows)?);
    let parameters = told.parameters(false, 1.0, 0);
    gpu.run(&NCE, "unit", grid(told.rows), &[raw, &values, &lengths], &parameters)?;
    Ok(Unit { values, lengths })
}

/// The mean loss of one way or of two, and the hits of the first.
pub(super) fn value_and_hits<G: Compute>(
    gpu: &G,
    told: &Told,
    there: &Way<G::Buffer>,
    back: Option<&Way<G::Buffer>>,
) -> Result<(G::Buffer, G::Buffer)> {
    let (value, hits) = (gpu.buffer(1)?, gpu.buffer(1)?);
    let other = back.map_or(&there.sums, |back| &back.sums);
    let factor = if back.is_some() { 0.5 } else { 1.0 };
    let parameters = told.parameters(back.is_some(), factor, 0);
    gpu.run(&NCE, "finish", [1, 1, 1], &[&there.sums, other, &value, &hits], &parameters)?;
    Ok((value, hits))
}

/// The gradient of the mean over `ways` by the rows of one side, which are the keys of a way where that says so.
pub(super) fn by_rows<G: Compute>(
    gpu: &G,
    told: &Told,
    mine: &G::Buffer,
    other: &G::Buffer,
    ways: &[(&Way<G::Buffer>, bool)],
) -> Result<G::Buffer> {
    let Told { rows, dim, cut, .. } = *told;
    let n_parts = cut.ranges * ways.len();
    let parts = gpu.buffer(n_parts * rows * dim)?;
    let groups = [cut.tiles, cut.ranges, dim.div_ceil(TILE)];
    let factor = 1.0 / ways.len() as f32;
    for (i, &(way, is_key)) in ways.iter().enumerate() {
        let parameters = told.parameters(is_key, factor, i * cut.ranges);
        gpu.run(&NCE, "gradient", groups, &[mine, other, &way.softmax, &parts], &parameters)?;
    }
    column_sums(gpu, &parts, n_parts, rows * dim)
}

/// The softmax of queries over keys.
pub(super) struct Way<B> {
    /// `[rows, 3]`
    softmax: B,
    /// `[2]`: sums of losses and hits.
    pub(super) sums: B,
}

impl<B: Clone> Way<B> {
    pub(super) fn new<G: Compute<Buffer = B>>(gpu: &G, query: &B, key: &B, told: &Told) -> Result<Self> {
        let Told { rows, cut, .. } = *told;
        let parameters = told.parameters(false, 1.0, 0);
        let seen = gpu.buffer(cut.ranges * rows * 3)?;
        gpu.run(&NCE, "scores", [cut.tiles, cut.ranges, 1], &[query, key, &seen], &parameters)?;
        let (softmax, of_rows) = (gpu.buffer(rows * 3)?, gpu.buffer(rows * 2)?);
        let groups = [rows.div_ceil(64), 1, 1];
        gpu.run(&NCE, "merge", groups, &[&seen, &softmax, &of_rows], &parameters)?;
        Ok(Self { softmax, sums: column_sums(gpu, &of_rows, rows, 2)? })
    }
}
