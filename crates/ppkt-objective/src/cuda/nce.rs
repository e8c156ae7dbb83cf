//! InfoNCE, tile by tile.

use candle_core::Result;
use ppkt_device::{Arg, Compute, Kernels, Memory, View, blocks, int, kernels};

use super::{LANES, PairOutcome, ROW_THREADS, read_if};
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
pub(super) struct UnitRows<C: Compute> {
    pub(super) values: C::Memory<f32>,
    pub(super) lengths: C::Memory<f64>,
}

impl<C: Compute> UnitRows<C> {
    /// Brings rows to unit length.
    fn new(gpu: &C, raw: &View<'_>, n: usize, dim: usize) -> Result<Self> {
        let (mut values, mut lengths) = (gpu.uninit::<f32>(n * dim)?, gpu.uninit::<f64>(n)?);
        let args = [raw.read(), Arg::int(dim)?, values.write(), lengths.write()];
        gpu.launch(&NCE, "unit_rows", (int(n)? as u32, 1, 1), ROW_THREADS, &args)?;
        Ok(Self { values, lengths })
    }
}

/// What each row's loss and gradient need of all the others.
pub(super) struct Rows<C: Compute> {
    n: usize,
    dim: usize,
    inverse_temperature: f32,
    top: C::Memory<f32>,
    others: C::Memory<f32>,
    scale: C::Memory<f32>,
    /// `[n]` losses.
    pub(super) loss: C::Memory<f64>,
    /// `[n]`: 1 where the own key is nearer than all others.
    pub(super) hit: C::Memory<f32>,
}

impl<C: Compute> Rows<C> {
    /// Looks at all similarities of `[n, dim]` queries and keys.
    pub(super) fn new(
        gpu: &C,
        query: &C::Memory<f32>,
        key: &C::Memory<f32>,
        (n, dim): (usize, usize),
        temperature: f64,
    ) -> Result<Self> {
        let (parts, tiles) = (parts(n), n.div_ceil(TILE));
        let inverse_temperature = (1.0 / temperature) as f32;
        let (mut top, mut others) = (gpu.uninit::<f32>(parts * n)?, gpu.uninit::<f32>(parts * n)?);
        let (mut own, mut scale) = (gpu.uninit::<f32>(n)?, gpu.uninit::<f32>(n)?);
        let (mut loss, mut hit) = (gpu.uninit::<f64>(n)?, gpu.uninit::<f32>(n)?);
        let args = [
            query.read(),
            key.read(),
            Arg::int(n)?,
            Arg::int(dim)?,
            Arg::F32(inverse_temperature),
            top.write(),
            others.write(),
            own.write(),
        ];
        let grid = (int(tiles)? as u32, int(parts)? as u32, 1);
        gpu.launch(&NCE, "nce_rows", grid, THREADS, &args)?;
        let args = [
            Arg::int(n)?,
            Arg::int(parts)?,
            Arg::F64(temperature),
            top.write(),
            others.write(),
            own.read(),
            scale.write(),
            loss.write(),
            hit.write(),
        ];
        gpu.launch(&NCE, "nce_merge", (blocks(n, LANES)?, 1, 1), LANES, &args)?;
        Ok(Self { n, dim, inverse_temperature, top, others, scale, loss, hit })
    }

    /// The parts of the gradient by the queries, `[parts, n, dim]`.
    pub(super) fn by_query(
        &self,
        gpu: &C,
        query: &C::Memory<f32>,
        key: &C::Memory<f32>,
    ) -> Result<C::Memory<f32>> {
        self.gradient(gpu, "nce_query_gradient", query, key)
    }

    /// The parts of the gradient by the keys, `[parts, n, dim]`.
    pub(super) fn by_key(
        &self,
        gpu: &C,
        query: &C::Memory<f32>,
        key: &C::Memory<f32>,
    ) -> Result<C::Memory<f32>> {
        self.gradient(gpu, "nce_key_gradient", key, query)
    }

    fn gradient(
        &self,
        gpu: &C,
        kernel: &str,
        rows: &C::Memory<f32>,
        others: &C::Memory<f32>,
    ) -> Result<C::Memory<f32>> {
        let Self { n, dim, .. } = *self;
        let parts = parts(n);
        let mut part = gpu.uninit::<f32>(parts * n * dim)?;
        let args = [
            rows.read(),
            others.read(),
            Arg::int(n)?,
            Arg::int(dim)?,
            Arg::F32(self.inverse_temperature),
            self.top.read(),
            self.others.read(),
            self.scale.read(),
            part.write(),
        ];
        let [tiles, parts, channels] = [n.div_ceil(TILE), parts, dim.div_ceil(CHANNELS)].map(int);
        gpu.launch(&NCE, kernel, (tiles? as u32, parts? as u32, channels? as u32), THREADS, &args)?;
        Ok(part)
    }
}

/// The mean loss and the number of hits, each one number; `second` is the other half of a symmetric loss.
pub(super) fn loss_and_hits<C: Compute>(
    gpu: &C,
    loss: &C::Memory<f64>,
    second: Option<&C::Memory<f64>>,
    hit: &C::Memory<f32>,
    n: usize,
) -> Result<(C::Memory<f32>, C::Memory<f32>)> {
    let (mut value, mut hits) = (gpu.uninit::<f32>(1)?, gpu.uninit::<f32>(1)?);
    let args = [loss.read(), read_if(second), hit.read(), Arg::int(n)?, value.write(), hits.write()];
    gpu.launch(&NCE, "loss_and_hits", (1, 1, 1), ROW_THREADS, &args)?;
    Ok((value, hits))
}

/// Adds the parts of a gradient, halves them with those of the mirrored loss, and brings them back to the raw rows.
pub(super) fn finish<C: Compute>(
    gpu: &C,
    part: &C::Memory<f32>,
    second: Option<&C::Memory<f32>>,
    unit: Option<&UnitRows<C>>,
    (n, dim): (usize, usize),
) -> Result<C::Memory<f32>> {
    let mut gradient = gpu.uninit::<f32>(n * dim)?;
    let args = [
        part.read(),
        read_if(second),
        Arg::int(parts(n))?,
        Arg::int(n)?,
        Arg::int(dim)?,
        read_if(unit.map(|u| &u.values)),
        read_if(unit.map(|u| &u.lengths)),
        gradient.write(),
    ];
    gpu.launch(&NCE, "nce_finish", (int(n)? as u32, 1, 1), ROW_THREADS, &args)?;
    Ok(gradient)
}

/// Points as queries and pixels as keys; where the loss is symmetric also the other way round.
pub(crate) fn info_nce<C: Compute>(
    gpu: &C,
    loss: &Fused,
    [point, pixel]: [View<'_>; 2],
    [point_tracked, pixel_tracked]: Tracked,
) -> Result<PairOutcome<C>> {
    let size @ (n, dim) = (loss.n_rows, loss.dim);
    let (p, q) = (UnitRows::new(gpu, &point, n, dim)?, UnitRows::new(gpu, &pixel, n, dim)?);
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
