//! Which voxel meets which under each weight of a kernel.

use std::sync::{Arc, OnceLock};

#[cfg(feature = "cuda")]
use candle_core::CudaDevice;
use candle_core::Device;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::conv::Direction;
use crate::coords::Coords;
#[cfg(feature = "cuda")]
use crate::cuda::{DeviceTable, OnDevices};
use crate::neighbours::Search;
use crate::{ConvSpec, SparseError};

/// The pairs of a convolution: under kernel voxel `k`, fine voxel `f` meets coarse voxel `c` where
/// `f = c + offset[k]`. With stride 1 both sides are the same set.
///
/// Kept as lists by blocks of rows of the side that is written; the lists of the other side are made when first
/// needed. A symmetric map (stride 1, odd kernel) needs no second: there offset `k` mirrors offset `K-1-k`.
#[derive(Debug)]
pub struct KernelMap {
    spec: ConvSpec,
    fine: Arc<Coords>,
    coarse: Arc<Coords>,
    by_coarse: OnceLock<PairLists>,
    by_fine: OnceLock<PairLists>,
    /// Tables that write the coarser and the finer side.
    #[cfg(feature = "cuda")]
    on_cuda: [OnDevices<DeviceTable>; 2],
    #[cfg(feature = "metal")]
    on_metal: crate::metal::ops::Tables,
}

/// Rows in a block of a [`PairLists`]; row numbers within a block fit a byte.
pub(crate) const BLOCK: usize = 256;

/// Pairs of rows, grouped by blocks of [`BLOCK`] rows of the target side and, within a block, by kernel voxel.
#[derive(Debug)]
pub(crate) struct PairLists {
    pub(crate) n_source: usize,
    pub(crate) n_target: usize,
    pub(crate) volume: usize,
    blocks: Vec<BlockPairs>,
}

/// The pairs of one block.
#[derive(Debug, Default, Clone)]
pub(crate) struct BlockPairs {
    /// Pairs of kernel voxel `k` are `starts[k]..starts[k + 1]`.
    starts: Vec<u32>,
    /// Row that is read.
    source: Vec<u32>,
    /// Row that is written, counted from the block's first.
    target: Vec<u8>,
}

impl BlockPairs {
    pub(crate) fn with_capacity(volume: usize, n_pairs: usize) -> Self {
        let mut starts = Vec::with_capacity(volume + 1);
        starts.push(0);
        Self { starts, source: Vec::with_capacity(n_pairs), target: Vec::with_capacity(n_pairs) }
    }

    /// Adds a pair of the kernel voxel whose turn it is.
    #[inline(always)]
    pub(crate) fn push(&mut self, source: u32, target: u8) {
        self.source.push(source);
        self.target.push(target);
    }

    /// Goes on to the next kernel voxel.
    pub(crate) fn end_group(&mut self) {
        self.starts.push(self.source.len() as u32);
    }
}

impl KernelMap {
    pub(crate) fn build(fine: Arc<Coords>, coarse: Arc<Coords>, spec: ConvSpec) -> Self {
        Self {
            spec,
            fine,
            coarse,
            by_coarse: OnceLock::new(),
            by_fine: OnceLock::new(),
            #[cfg(feature = "cuda")]
            on_cuda: Default::default(),
            #[cfg(feature = "metal")]
            on_metal: Default::default(),
        }
    }

    /// Kernel, stride and dilation.
    pub fn spec(&self) -> ConvSpec {
        self.spec
    }

    /// Rows of the finer side.
    pub fn n_fine(&self) -> usize {
        self.fine.len()
    }

    /// Rows of the coarser side.
    pub fn n_coarse(&self) -> usize {
        self.coarse.len()
    }

    /// The sets of both sides, the finer first.
    #[cfg(any(test, feature = "metal"))]
    pub(crate) fn sets(&self) -> (&Coords, &Coords) {
        (&self.fine, &self.coarse)
    }

    /// The tables in the memory of Apple GPUs, of those that write the coarser and the finer side.
    #[cfg(feature = "metal")]
    pub(crate) fn metal_tables(&self) -> &crate::metal::ops::Tables {
        &self.on_metal
    }

    /// Number of pairs: a convolution does `2 * n_pairs * Cin * Cout` operations.
    pub fn n_pairs(&self) -> usize {
        self.by_coarse().blocks.iter().map(|b| b.source.len()).sum()
    }

    /// Number of pairs of each kernel voxel.
    pub fn counts(&self) -> Vec<usize> {
        let lists = self.by_coarse();
        let count = |k| (0..lists.n_blocks()).map(|b| lists.group_slices(b, k).0.len()).sum();
        (0..lists.volume).map(count).collect()
    }

    /// All pairs as (kernel voxel, fine row, coarse row), sorted: for tests and for a look at small maps.
    pub fn pairs(&self) -> Vec<[u32; 3]> {
        let lists = self.by_coarse();
        let mut pairs = Vec::new();
        for (block, k, fine, target) in lists.all() {
            pairs.push([k as u32, fine, (block * BLOCK + target) as u32]);
        }
        pairs.sort_unstable();
        pairs
    }

    /// Makes what the convolutions on `device` will ask for, so that the first of them does not have to: the lists of
    /// pairs on the processor, the tables on an NVIDIA GPU, which are built there without waiting for it. Without
    /// effect where it has been made.
    ///
    /// # Errors
    /// Of the device, such as memory that does not suffice.
    pub fn prepare(&self, device: &Device) -> Result<(), SparseError> {
        match device {
            Device::Cpu => {
                self.by_coarse();
                if !self.spec.is_symmetric() {
                    self.by_fine();
                }
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(device) if !self.spec.is_pointwise() => {
                self.on_cuda(device, Direction::ToCoarse)?;
                if !self.spec.is_symmetric() {
                    self.on_cuda(device, Direction::ToFine)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The table of a direction in the memory of a GPU, built there at its first use.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_cuda(
        &self,
        device: &CudaDevice,
        direction: Direction,
    ) -> candle_core::Result<Arc<DeviceTable>> {
        let (target, source, made) = match direction {
            Direction::ToCoarse => (&self.coarse, &self.fine, &self.on_cuda[0]),
            Direction::ToFine => (&self.fine, &self.coarse, &self.on_cuda[1]),
        };
        made.get_or_make(device, || {
            let (target, source) = (target.on_cuda(device)?, source.on_cuda(device)?);
            DeviceTable::new(device, &target, &source, self.spec, direction)
        })
    }

    /// Lists that read the finer side and write the coarser one.
    pub(crate) fn by_coarse(&self) -> &PairLists {
        get_or_build(&self.by_coarse, || {
            if self.spec.is_pointwise() {
                return PairLists::identity(self.fine.len());
            }
            let search = Search::new(&self.fine, &self.coarse, self.spec);
            let n_blocks = self.coarse.len().div_ceil(BLOCK);
            PairLists {
                n_source: self.fine.len(),
                n_target: self.coarse.len(),
                volume: self.spec.volume(),
                blocks: (0..n_blocks).into_par_iter().map(|b| search.block_pairs(b)).collect(),
            }
        })
    }

    /// Lists that read the coarser side and write the finer one.
    pub(crate) fn by_fine(&self) -> &PairLists {
        get_or_build(&self.by_fine, || self.by_coarse().transposed())
    }
}

/// As `get_or_init`, but without keeping others out while `build` runs.
///
/// Threads of a pool that wait for their part of `build` take up other work, and if that needed the same lists, the
/// pool would wait for itself. Two threads that need the lists in the same moment may build them twice, alike; one of
/// the two is kept.
fn get_or_build(cell: &OnceLock<PairLists>, build: impl FnOnce() -> PairLists) -> &PairLists {
    if let Some(lists) = cell.get() {
        return lists;
    }
    let lists = build();
    cell.get_or_init(|| lists)
}

impl PairLists {
    /// Every row with itself.
    fn identity(rows: usize) -> Self {
        let block = |b: usize| {
            let source: Vec<u32> = (b * BLOCK..rows.min((b + 1) * BLOCK)).map(|r| r as u32).collect();
            let target = (0..source.len()).map(|t| t as u8).collect();
            BlockPairs { starts: vec![0, source.len() as u32], source, target }
        };
        let blocks = (0..rows.div_ceil(BLOCK)).map(block).collect();
        Self { n_source: rows, n_target: rows, volume: 1, blocks }
    }

    pub(crate) fn n_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The pairs of a block and a kernel voxel: rows that are read, and rows of the block that are written.
    pub(crate) fn group_slices(&self, block: usize, k: usize) -> (&[u32], &[u8]) {
        let pairs = &self.blocks[block];
        let range = pairs.starts[k] as usize..pairs.starts[k + 1] as usize;
        (&pairs.source[range.clone()], &pairs.target[range])
    }

    /// As [`Self::group_slices`], pair by pair.
    pub(crate) fn group(&self, block: usize, k: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (source, target) = self.group_slices(block, k);
        source.iter().zip(target).map(|(&s, &t)| (s as usize, t as usize))
    }

    /// All pairs as (block, kernel voxel, row that is read, row of the block that is written).
    fn all(&self) -> impl Iterator<Item = (usize, usize, u32, usize)> + '_ {
        (0..self.n_blocks()).flat_map(move |b| {
            (0..self.volume).flat_map(move |k| self.group(b, k).map(move |(s, t)| (b, k, s as u32, t)))
        })
    }

    /// The same pairs, grouped by blocks of the other side.
    fn transposed(&self) -> Self {
        let n_blocks = self.n_source.div_ceil(BLOCK);
        let mut blocks =
            vec![BlockPairs { starts: vec![0; self.volume + 1], ..Default::default() }; n_blocks];
        for (_, k, source, _) in self.all() {
            blocks[source as usize / BLOCK].starts[k + 1] += 1;
        }
        for block in &mut blocks {
            for k in 0..self.volume {
                block.starts[k + 1] += block.starts[k];
            }
            let n = block.starts[self.volume] as usize;
            block.source = vec![0; n];
            block.target = vec![0; n];
        }
        let mut next: Vec<Vec<u32>> = blocks.iter().map(|b| b.starts.clone()).collect();
        for (b, k, source, target) in self.all() {
            let to = source as usize / BLOCK;
            let at = next[to][k] as usize;
            next[to][k] += 1;
            blocks[to].source[at] = (b * BLOCK + target) as u32;
            blocks[to].target[at] = (source as usize % BLOCK) as u8;
        }
        Self { n_source: self.n_target, n_target: self.n_source, volume: self.volume, blocks }
    }
}
