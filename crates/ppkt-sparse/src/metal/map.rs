//! Neighbour tables on the device.

use candle_core::Result;
use ppkt_device::wgsl::{Compute, KernelSource, kernel_source, word};

use crate::conv::Direction;
use crate::coords::Coords;
use crate::kernel_map::KernelMap;

pub(crate) static MAP: KernelSource = kernel_source!("map");

/// Rows of a tile of the convolution.
pub(crate) const TILE: usize = 64;

/// One direction of a kernel map, as the kernels read it.
#[derive(Debug, Clone)]
pub(crate) struct Table<B> {
    pub(crate) n_target: usize,
    pub(crate) volume: usize,
    /// None where every row meets itself, and nothing else.
    pub(crate) neighbours: Option<Neighbours<B>>,
}

/// Who meets whom.
#[derive(Debug, Clone)]
pub(crate) struct Neighbours<B> {
    /// `[K, n_target]`: source rows, -1 where there is none.
    pub(crate) rows: B,
    /// `[n_target / 64, K]`: whether a tile of targets meets any.
    pub(crate) occupied: B,
}

/// Builds the table of one direction from the keys of both sets.
pub(crate) fn table<G: Compute>(gpu: &G, map: &KernelMap, direction: Direction) -> Result<Table<G::Buffer>> {
    let spec = map.spec();
    let (fine, coarse) = map.sets();
    let (target, source) = match direction {
        Direction::ToCoarse => (coarse, fine),
        Direction::ToFine => (fine, coarse),
    };
    let volume = spec.volume();
    let mut table = Table { n_target: target.len(), volume, neighbours: None };
    if spec.is_pointwise() || target.is_empty() {
        return Ok(table);
    }
    let stride = spec.stride as i32;
    let (multiply, divide, sign) = match direction {
        Direction::ToCoarse => (stride, 1, 1),
        Direction::ToFine => (1, stride, -1),
    };
    let centre = if spec.kernel % 2 == 1 { spec.kernel as i32 / 2 } else { 0 };
    let signed = [centre, spec.dilation as i32, multiply, divide, sign, target.bias(), source.bias()];
    let mut parameters = vec![word(target.len()), word(source.len()), word(spec.kernel)];
    parameters.extend(signed.map(|v| v as u32));
    let (target_keys, source_keys) = (gpu.upload(&words(target))?, gpu.upload(&words(source))?);
    let rows = gpu.buffer(volume * target.len())?;
    let groups = [target.len().div_ceil(256), volume, 1];
    gpu.run(&MAP, "neighbours", groups, &[&target_keys, &source_keys, &rows], &parameters)?;
    let tiles = target.len().div_ceil(TILE);
    let occupied = gpu.buffer(tiles * volume)?;
    gpu.run(&MAP, "tiles", [tiles.div_ceil(64), volume, 1], &[&rows, &occupied], &parameters)?;
    table.neighbours = Some(Neighbours { rows, occupied });
    Ok(table)
}

/// Keys as pairs of words, the lower first; one pair at least.
fn words(coords: &Coords) -> Vec<u32> {
    let keys = coords.keys();
    let pair = |&key: &u64| [key as u32, (key >> 32) as u32];
    if keys.is_empty() { vec![0; 2] } else { keys.iter().flat_map(pair).collect() }
}
