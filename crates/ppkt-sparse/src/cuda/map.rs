//! Kernel maps on a GPU, built there from sorted keys.

use candle_core::Result;
use ppkt_device::kernels;
use ppkt_device::launch::{Geometry, Gpu, Kernels, Memory};

use super::sort::{running_sums, sort};
use crate::ConvSpec;
use crate::conv::Direction;

static MAP: Kernels = kernels!("map");

/// Positions of one tile: a tile shares a mask of kernel voxels.
pub(crate) const TILE: usize = 128;
/// Target rows of one chunk of a list of pairs, as in `map.cu`.
const CHUNK: usize = 2048;

/// The keys of a set, and where its voxels are found.
pub(crate) struct DeviceKeys<G: Gpu> {
    keys: G::Memory<u64>,
    n: usize,
    bias: i32,
    /// Hash table of the occupied blocks of 4³ voxels, four words each.
    slots: G::Memory<u64>,
    n_slots: usize,
}

/// The pairs of a [`KernelMap`](crate::KernelMap) in one direction: target rows are written, source rows read.
///
/// P is the number of target rows rounded up to a multiple of 128, K the number of kernel voxels.
pub(crate) struct Table<G: Gpu> {
    /// `[K, P]`: source row of target position `p` under kernel voxel `k`, or -1.
    pub(crate) neighbours: G::Memory<i32>,
    /// `[P]`: the target row of each position, those with the same kernel voxels side by side; -1 behind the last.
    pub(crate) order: G::Memory<i32>,
    /// `[P / 128, ceil(K / 32)]`: the kernel voxels that any position of a tile has.
    pub(crate) masks: G::Memory<u32>,
    /// `[K, 2, n_target]`: for each kernel voxel its source rows and their target rows, in ascending order of these;
    /// the first `counts[k]` are valid.
    pub(crate) pairs: G::Memory<i32>,
    /// `[K]`
    pub(crate) counts: G::Memory<i32>,
    /// K
    pub(crate) volume: usize,
    pub(crate) n_target: usize,
    pub(crate) n_source: usize,
}

/// A table in the memory of an NVIDIA GPU.
#[cfg(feature = "cuda")]
pub(crate) type DeviceTable = Table<candle_core::CudaDevice>;

impl<G: Gpu> DeviceKeys<G> {
    /// From the sorted keys of a set and the bias in them.
    pub(crate) fn new(gpu: &G, keys: &[u64], bias: i32) -> Result<Self> {
        Self::with_search(gpu, gpu.upload(keys)?, (keys.len(), n_blocks(keys)), bias)
    }

    /// Of the voxels `1 << shift` times as large that hold one of these. The processor has the same keys: `expected`
    /// says how many they are, without which the device would have to be asked. Nothing is sent to it.
    pub(crate) fn coarser(&self, gpu: &G, shift: u32, expected: &[u64], bias: i32) -> Result<Self> {
        let chunks = self.n.div_ceil(CHUNK);
        let mut offsets = gpu.uninit::<u32>(chunks)?;
        let (n, shift) = (self.n, shift as i32);
        let count = MAP.launch(gpu, "map_count_parents").read(&self.keys).count(n).value(shift);
        count.write(&mut offsets).run(Geometry::line(chunks, 256))?;
        running_sums(gpu, &mut offsets, (1, chunks), None)?;
        let mut parents = gpu.uninit::<u64>(expected.len())?;
        let write = MAP.launch(gpu, "map_write_parents").read(&self.keys).count(n).value(shift);
        write.read(&offsets).write(&mut parents).run(Geometry::line(chunks, 256))?;
        Self::with_search(gpu, parents, (expected.len(), n_blocks(expected)), bias)
    }

    fn with_search(gpu: &G, keys: G::Memory<u64>, (n, n_blocks): (usize, usize), bias: i32) -> Result<Self> {
        let n_slots = (2 * n_blocks).next_power_of_two();
        let mut slots = gpu.zeros(4 * n_slots)?;
        let launch = MAP.launch(gpu, "map_blocks").read(&keys).count(n).write(&mut slots);
        launch.value(n_slots as u32 - 1).run(Geometry::threads(n, 256))?;
        Ok(Self { keys, n, bias, slots, n_slots })
    }
}

/// Occupied blocks of 4³ voxels.
fn n_blocks(keys: &[u64]) -> usize {
    keys.chunk_by(|a, b| a >> 6 == b >> 6).count()
}

impl<G: Gpu> Table<G> {
    /// The table of one direction of a kernel map between two sets.
    ///
    /// For 400,000 voxels and 27 offsets about 20 launches and 250 MB of traffic.
    pub(crate) fn new(
        gpu: &G,
        target: &DeviceKeys<G>,
        source: &DeviceKeys<G>,
        spec: ConvSpec,
        direction: Direction,
    ) -> Result<Self> {
        let (n, volume) = (target.n, spec.volume());
        let mut found = gpu.uninit::<i32>(volume * n)?;
        let mut sort_keys = gpu.uninit::<u32>(n)?;
        let search = MAP.launch(gpu, "map_search").read(&target.keys).count(n).value(target.bias);
        let search = search.read(&source.slots).value(source.n_slots as u32 - 1).value(source.bias);
        let search = search.count(spec.kernel).count(spec.stride).count(spec.dilation);
        let search = search.value(direction == Direction::ToFine);
        search.write(&mut found).write(&mut sort_keys).run(Geometry::threads(n, 128))?;

        // One kernel voxel alone leaves nothing to be put side by side.
        let bits = if volume == 1 { 0 } else { volume.min(32) as u32 };
        let sorted = sort(gpu, sort_keys.view(), n, bits)?;
        let tiles = n.div_ceil(TILE);
        let words = volume.div_ceil(32);
        let mut neighbours = gpu.uninit::<i32>(volume * tiles * TILE)?;
        let mut order = gpu.uninit::<i32>(tiles * TILE)?;
        let mut masks = gpu.uninit::<u32>(tiles * words)?;
        let launch = MAP.launch(gpu, "map_tiles").read(&found).read(sorted.as_ref().map(|(_, order)| order));
        let launch = launch.count(n).count(volume).count(words);
        let launch = launch.write(&mut neighbours).write(&mut order).write(&mut masks);
        launch.run(Geometry::line(tiles, TILE as u32))?;

        let chunks = n.div_ceil(CHUNK);
        let geometry = Geometry::new([chunks, volume, 1], [256, 1, 1]);
        let mut offsets = gpu.uninit::<u32>(volume * chunks)?;
        let count = MAP.launch(gpu, "map_count_pairs").read(&found).count(n).write(&mut offsets);
        count.run(geometry)?;
        let mut counts = gpu.uninit::<i32>(volume)?;
        running_sums(gpu, &mut offsets, (volume, chunks), Some(&mut counts))?;
        let mut pairs = gpu.uninit::<i32>(volume * 2 * n)?;
        let write = MAP.launch(gpu, "map_write_pairs").read(&found).count(n).read(&offsets).write(&mut pairs);
        write.run(geometry)?;
        Ok(Self { neighbours, order, masks, pairs, counts, volume, n_target: n, n_source: source.n })
    }

    /// P
    pub(crate) fn positions(&self) -> usize {
        self.n_target.next_multiple_of(TILE)
    }
}

#[cfg(test)]
mod tests;
