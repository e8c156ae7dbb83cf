//! Which voxel meets which under each weight of a kernel.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::ConvSpec;
use crate::coords::Coords;
use crate::key;

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
}

/// Rows in a block of a [`PairLists`]; row numbers within a block fit a byte.
pub(crate) const BLOCK: usize = 256;

/// Pairs of rows, grouped by blocks of [`BLOCK`] rows of the target side and, within a block, by kernel voxel, each
/// group in ascending order of target rows.
#[derive(Debug)]
pub(crate) struct PairLists {
    pub(crate) n_source: usize,
    pub(crate) n_target: usize,
    pub(crate) volume: usize,
    /// Group `block * volume + k` is `starts[g]..starts[g + 1]`.
    pub(crate) starts: Vec<u32>,
    /// Row that is read.
    pub(crate) source: Vec<u32>,
    /// Row that is written, counted from the block's first.
    pub(crate) target: Vec<u8>,
}

impl KernelMap {
    pub(crate) fn build(fine: Arc<Coords>, coarse: Arc<Coords>, spec: ConvSpec) -> Self {
        Self { spec, fine, coarse, by_coarse: OnceLock::new(), by_fine: OnceLock::new() }
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

    /// Number of pairs: a convolution does `2 * n_pairs * Cin * Cout` operations.
    pub fn n_pairs(&self) -> usize {
        self.by_coarse().source.len()
    }

    /// Number of pairs of each kernel voxel.
    pub fn counts(&self) -> Vec<usize> {
        let lists = self.by_coarse();
        let mut counts = vec![0; lists.volume];
        for (g, w) in lists.starts.windows(2).enumerate() {
            counts[g % lists.volume] += (w[1] - w[0]) as usize;
        }
        counts
    }

    /// All pairs as (kernel voxel, fine row, coarse row), sorted: for tests and for a look at small maps.
    pub fn pairs(&self) -> Vec<[u32; 3]> {
        let lists = self.by_coarse();
        let mut pairs = Vec::with_capacity(lists.source.len());
        for (g, w) in lists.starts.windows(2).enumerate() {
            let (block, k) = (g / lists.volume, g % lists.volume);
            for p in w[0] as usize..w[1] as usize {
                pairs.push([k as u32, lists.source[p], (block * BLOCK) as u32 + u32::from(lists.target[p])]);
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// Lists that read the finer side and write the coarser one.
    pub(crate) fn by_coarse(&self) -> &PairLists {
        self.by_coarse.get_or_init(|| {
            let rows: HashMap<u64, u32> = self.fine.keys().iter().zip(0..).map(|(&k, r)| (k, r)).collect();
            let offsets = self.spec.offsets();
            let mut lists = PairLists {
                n_source: self.fine.len(),
                n_target: self.coarse.len(),
                volume: offsets.len(),
                starts: vec![0],
                source: Vec::new(),
                target: Vec::new(),
            };
            let s = self.spec.stride as i32;
            for block in self.coarse.keys().chunks(BLOCK) {
                for o in &offsets {
                    for (t, &key) in block.iter().enumerate() {
                        let [b, x, y, z] = key::unpack(key, self.coarse.bias());
                        let c = [b, x * s + o[0], y * s + o[1], z * s + o[2]];
                        let hit = key::pack(c, self.fine.bias()).and_then(|k| rows.get(&k));
                        if let Some(&row) = hit {
                            lists.source.push(row);
                            lists.target.push(t as u8);
                        }
                    }
                    lists.starts.push(lists.source.len() as u32);
                }
            }
            lists
        })
    }

    /// Lists that read the coarser side and write the finer one.
    pub(crate) fn by_fine(&self) -> &PairLists {
        self.by_fine.get_or_init(|| self.by_coarse().transposed())
    }
}

impl PairLists {
    pub(crate) fn n_blocks(&self) -> usize {
        self.n_target.div_ceil(BLOCK)
    }

    /// The pairs of a block and a kernel voxel: rows that are read, and rows of the block that are written.
    pub(crate) fn group_slices(&self, block: usize, k: usize) -> (&[u32], &[u8]) {
        let g = block * self.volume + k;
        let range = self.starts[g] as usize..self.starts[g + 1] as usize;
        (&self.source[range.clone()], &self.target[range])
    }

    /// As [`Self::group_slices`], pair by pair.
    pub(crate) fn group(&self, block: usize, k: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (source, target) = self.group_slices(block, k);
        source.iter().zip(target).map(|(&s, &t)| (s as usize, t as usize))
    }

    /// The same pairs, grouped by blocks of the other side.
    fn transposed(&self) -> Self {
        let n_blocks = self.n_source.div_ceil(BLOCK);
        let mut starts = vec![0u32; n_blocks * self.volume + 1];
        let group = |source: u32, k: usize| source as usize / BLOCK * self.volume + k;
        let groups = || self.starts.windows(2).enumerate();
        for (g, w) in groups() {
            for p in w[0] as usize..w[1] as usize {
                starts[group(self.source[p], g % self.volume) + 1] += 1;
            }
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut source = vec![0; self.source.len()];
        let mut target = vec![0; self.source.len()];
        for (g, w) in groups() {
            for p in w[0] as usize..w[1] as usize {
                let at = &mut next[group(self.source[p], g % self.volume)];
                source[*at as usize] = (g / self.volume * BLOCK) as u32 + u32::from(self.target[p]);
                target[*at as usize] = (self.source[p] as usize % BLOCK) as u8;
                *at += 1;
            }
        }
        Self { n_source: self.n_target, n_target: self.n_source, volume: self.volume, starts, source, target }
    }
}
