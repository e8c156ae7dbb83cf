//! InfoNCE, tile by tile.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, View};

use super::{LANES, PairOutcome, ROW_THREADS};
use crate::fused::Tracked;
use crate::info_nce::Fused;

static NCE: Kernels = kernels!("nce");

/// `TILE` of `nce.cu`: rows of a block.
const TILE: usize = 64;
/// `THREADS` of `nce.cu`.
const THREADS: u32 = 256;
/// `CHANNELS` of `nce.cu`.
const CHANNELS: usize = 128;
/// Blocks that keep every GPU of today busy.
const ENOUGH_BLOCKS: usize = 512;

/// Parts that the other side is cut into. A function of the number of rows alone: sums are made in the same order on
/// every GPU.
fn parts(n: usize) -> usize {
    let tiles = n.div_ceil(TILE);
    ENOUGH_BLOCKS.div_ceil(tiles).min(tiles)
}

/// Rows of unit length, and their lengths.
pub(super) struct UnitRows<G: Gpu> {
    pub(super) values: G::Memory<f32>,
    pub(super) lengths: G::Memory<f64>,
}

impl<G: Gpu> UnitRows<G> {
    /// Brings rows to unit length.
    fn new(gpu: &G, raw: View<'_, f32>, n: usize, dim: usize) -> Result<Self> {
        let (mut values, mut lengths) = (gpu.uninit::<f32>(n * dim)?, gpu.uninit::<f64>(n)?);
        let launch = NCE.launch(gpu, "unit_rows").read(raw).count(dim).write(&mut values).write(&mut lengths);
        launch.run(Geometry::line(n, ROW_THREADS))?;
        Ok(Self { values, lengths })
    }
}

/// What each row's loss and gradient need of all the others.
pub(super) struct Rows<G: Gpu> {
    n: usize,
    dim: usize,
    inverse_temperature: f32,
    top: G::Memory<f32>,
    others: G::Memory<f32>,
    scale: G::Memory<f32>,
    /// `[n]` losses.
    pub(super) loss: G::Memory<f64>,
    /// `[n]`: 1 where the own key is nearer than all others.
    pub(super) hit: G::Memory<f32>,
}

impl<G: Gpu> Rows<G> {
    /// Looks at all similarities of `[n, dim]` queries and keys.
    pub(super) fn new(
        gpu: &G,
        query: &G::Memory<f32>,
        key: &G::Memory<f32>,
        (n, dim): (usize, usize),
        temperature: f64,
    ) -> Result<Self> {
        let (parts, tiles) = (parts(n), n.div_ceil(TILE));
        let inverse_temperature = (1.0 / temperature) as f32;
        let (mut top, mut others) = (gpu.uninit::<f32>(parts * n)?, gpu.uninit::<f32>(parts * n)?);
        let (mut own, mut scale) = (gpu.uninit::<f32>(n)?, gpu.uninit::<f32>(n)?);
        let (mut loss, mut hit) = (gpu.uninit::<f64>(n)?, gpu.uninit::<f32>(n)?);
        let launch = NCE.launch(gpu, "nce_rows").read(query).read(key).count(n).count(dim);
        let launch = launch.value(inverse_temperature).write(&mut top).write(&mut others).write(&mut own);
        launch.run(Geometry::new([tiles, parts, 1], [THREADS, 1, 1]))?;
        let launch = NCE.launch(gpu, "nce_merge").count(n).count(parts).value(temperature);
        let launch = launch.write(&mut top).write(&mut others).read(&own);
        let launch = launch.write(&mut scale).write(&mut loss).write(&mut hit);
        launch.run(Geometry::threads(n, LANES))?;
        Ok(Self { n, dim, inverse_temperature, top, others, scale, loss, hit })
    }

    /// The parts of the gradient by the queries, `[parts, n, dim]`.
    pub(super) fn by_query(
        &self,
        gpu: &G,
        query: &G::Memory<f32>,
        key: &G::Memory<f32>,
    ) -> Result<G::Memory<f32>> {
        self.gradient(gpu, "nce_query_gradient", query, key)
    }

    /// The parts of the gradient by the keys, `[parts, n, dim]`.
    pub(super) fn by_key(
        &self,
        gpu: &G,
        query: &G::Memory<f32>,
        key: &G::Memory<f32>,
    ) -> Result<G::Memory<f32>> {
        self.gradient(gpu, "nce_key_gradient", key, query)
    }

    fn gradient(
        &self,
        gpu: &G,
        kernel: &'static str,
        rows: &G::Memory<f32>,
        others: &G::Memory<f32>,
    ) -> Result<G::Memory<f32>> {
        let Self { n, dim, .. } = *self;
        let parts = parts(n);
        let mut part = gpu.uninit::<f32>(parts * n * dim)?;
        let launch = NCE.launch(gpu, kernel).read(rows).read(others).count(n).count(dim);
        let launch = launch.value(self.inverse_temperature);
        let launch = launch.read(&self.top).read(&self.others).read(&self.scale).write(&mut part);
        let grid = [n.div_ceil(TILE), parts, dim.div_ceil(CHANNELS)];
        launch.run(Geometry::new(grid, [THREADS, 1, 1]))?;
        Ok(part)
    }
}

/// The mean loss and the number of hits, each one number; `second` is the other half of a symmetric loss.
pub(super) fn loss_and_hits<G: Gpu>(
    gpu: &G,
    loss: &G::Memory<f64>,
    second: Option<&G::Memory<f64>>,
    hit: &G::Memory<f32>,
    n: usize,
) -> Result<(G::Memory<f32>, G::Memory<f32>)> {
    let (mut value, mut hits) = (gpu.uninit::<f32>(1)?, gpu.uninit::<f32>(1)?);
    let launch = NCE.launch(gpu, "loss_and_hits").read(loss).read(second).read(hit).count(n);
    launch.write(&mut value).write(&mut hits).run(Geometry::line(1, ROW_THREADS))?;
    Ok((value, hits))
}

/// Adds the parts of a gradient, halves them with those of the mirrored loss, and brings them back to the raw rows.
pub(super) fn finish<G: Gpu>(
    gpu: &G,
    part: &G::Memory<f32>,
    second: Option<&G::Memory<f32>>,
    unit: Option<&UnitRows<G>>,
    (n, dim): (usize, usize),
) -> Result<G::Memory<f32>> {
    let mut gradient = gpu.uninit::<f32>(n * dim)?;
    let launch = NCE.launch(gpu, "nce_finish").read(part).read(second);
    let launch = launch.count(parts(n)).count(n).count(dim);
    let launch = launch.read(unit.map(|u| &u.values)).read(unit.map(|u| &u.lengths)).write(&mut gradient);
    launch.run(Geometry::line(n, ROW_THREADS))?;
    Ok(gradient)
}

/// Points as queries and pixels as keys; where the loss is symmetric also the other way round.
pub(crate) fn info_nce<G: Gpu>(
    gpu: &G,
    loss: &Fused,
    [point, pixel]: [View<'_, f32>; 2],
    [point_tracked, pixel_tracked]: Tracked,
) -> Result<PairOutcome<G>> {
    let size @ (n, dim) = (loss.n_rows, loss.dim);
    let (p, q) = (UnitRows::new(gpu, point, n, dim)?, UnitRows::new(gpu, pixel, n, dim)?);
    let one = Rows::new(gpu, &p.values, &q.values, size, loss.temperature)?;
    let two = match loss.symmetric {
        true => Some(Rows::new(gpu, &q.values, &p.values, size, loss.temperature)?),
        false => None,
    };
    let (value, hits) = loss_and_hits(gpu, &one.loss, two.as_ref().map(|two| &two.loss), &one.hit, n)?;
    let mut grads = [None, None];
    if point_tracked {
        let part = one.by_query(gpu, &p.values, &q.values)?;
        let second = two.as_ref().map(|two| two.by_key(gpu, &q.values, &p.values)).transpose()?;
        grads[0] = Some(finish(gpu, &part, second.as_ref(), Some(&p), size)?);
    }
    if pixel_tracked {
        let part = one.by_key(gpu, &p.values, &q.values)?;
        let second = two.as_ref().map(|two| two.by_query(gpu, &q.values, &p.values)).transpose()?;
        grads[1] = Some(finish(gpu, &part, second.as_ref(), Some(&q), size)?);
    }
    Ok(PairOutcome { loss: value, hits, grads })
}
