//! Finds the neighbours of voxels under all offsets of a kernel.
//!
//! In Morton order the voxels of an aligned cube of 4³ are consecutive, so a set is a list of *blocks*, each a 64-bit
//! occupancy mask and the row of its first voxel; the row of any voxel is that row plus the number of mask bits below
//! its own. The neighbours of a whole block under one offset are its neighbouring blocks' masks, shifted, axis by
//! axis; only voxels that do meet are then looked at one by one.

use std::ops::Range;

use crate::ConvSpec;
use crate::coords::Coords;
use crate::kernel_map::{BLOCK, BlockPairs};
use crate::key::{self, AXIS_BITS, MORTON_BITS};

/// Bits of a key that tell the voxels of a block apart.
const LOCAL_BITS: u32 = 6;
/// Blocks along an axis of the range.
const AXIS_BLOCKS: i32 = 1 << (AXIS_BITS - 2);

/// The occupied blocks of a sorted set.
#[derive(Debug, Clone)]
pub(crate) struct BlockGrid {
    /// One more than there are blocks: the last is empty and stands for every block that is absent.
    masks: Vec<u64>,
    starts: Vec<u32>,
    /// Open addressing: block key and block number. A power of two at least twice the number of blocks.
    table: Vec<(u64, u32)>,
}

/// No block has this key: the bits of a block key end below.
const FREE: u64 = u64::MAX;

impl BlockGrid {
    pub(crate) fn new(keys: &[u64]) -> Self {
        let (mut masks, mut starts, mut block_keys) = (Vec::new(), Vec::new(), Vec::new());
        for (&key, row) in keys.iter().zip(0u32..) {
            let block = key >> LOCAL_BITS;
            if block_keys.last() != Some(&block) {
                block_keys.push(block);
                masks.push(0);
                starts.push(row);
            }
            if let Some(mask) = masks.last_mut() {
                *mask |= 1u64 << (key & 63);
            }
        }
        masks.push(0);
        starts.push(0);
        let mut grid =
            Self { masks, starts, table: vec![(FREE, 0); (block_keys.len() * 2).next_power_of_two()] };
        for (&key, number) in block_keys.iter().zip(0..) {
            let mut at = grid.home(key);
            while grid.table[at].0 != FREE {
                at = (at + 1) & (grid.table.len() - 1);
            }
            grid.table[at] = (key, number);
        }
        grid
    }

    /// Where the search for a key begins.
    fn home(&self, key: u64) -> usize {
        // Fibonacci hashing: the upper bits of the product depend on all bits of the key.
        let bits = self.table.len().trailing_zeros();
        key.wrapping_mul(0x9e37_79b9_7f4a_7c15).checked_shr(64 - bits).unwrap_or(0) as usize
    }

    /// The number of a block; that of the empty one where it is absent.
    #[inline(always)]
    fn find(&self, key: u64) -> u32 {
        let mut at = self.home(key);
        loop {
            let (k, number) = self.table[at];
            if k == key {
                return number;
            }
            if k == FREE {
                return self.masks.len() as u32 - 1;
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }
}

/// Where a place within a block goes under an offset along one axis.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    /// Which of the axis' displacements leads to the block.
    slot: usize,
    /// Place along the axis in that block.
    place: usize,
}

/// Where a voxel of a block goes under an offset.
#[derive(Debug, Clone, Copy, Default)]
struct Jump {
    /// Which of the neighbouring blocks.
    slot: u16,
    /// Which of its voxels.
    voxel: u8,
}

/// Bit of a Morton index for place 0..4 along axis x; axis y is one bit further, axis z two.
const PLACE_BIT: [u32; 4] = [0, 1, 8, 9];

/// The voxels of a block at each place along each axis.
const PLANES: [[u64; 4]; 3] = {
    let mut planes = [[0u64; 4]; 3];
    let mut voxel = 0u32;
    while voxel < 64 {
        let mut axis = 0;
        while axis < 3 {
            let place = (voxel >> axis & 1) | (voxel >> (axis + 3) & 1) << 1;
            planes[axis as usize][place as usize] |= 1 << voxel;
            axis += 1;
        }
        voxel += 1;
    }
    planes
};

/// The search for the neighbours of the voxels of one set in another.
pub(crate) struct Search<'a> {
    fine: &'a Coords,
    coarse: &'a Coords,
    grid: &'a BlockGrid,
    stride: i32,
    kernel: usize,
    /// Distances, in blocks and along an axis, to the blocks in which neighbours can lie.
    displacements: Vec<i32>,
    /// For each offset along an axis, where each place goes.
    steps: Vec<[Step; 4]>,
    /// For each offset and voxel of a block; `64 * k + voxel`.
    jumps: Vec<Jump>,
}

/// Voxels of the coarse set within one block of the fine one, with consecutive rows in the order of the mask's bits.
struct Group {
    batch: u64,
    block: [i32; 3],
    anchors: u64,
    /// Row of the first, counted from the first of the rows that are looked at.
    first: u32,
}

impl<'a> Search<'a> {
    pub(crate) fn new(fine: &'a Coords, coarse: &'a Coords, spec: ConvSpec) -> Self {
        let stride = spec.stride as i32;
        let k = spec.kernel as i32;
        let centre = if k % 2 == 1 { k / 2 } else { 0 };
        let offsets = || (0..k).map(move |i| (i - centre) * spec.dilation as i32);
        // Voxels of a coarser set lie only at multiples of the stride, if blocks do.
        let places = || (0..4).filter(move |p| !aligned(fine, coarse, stride) || p % stride == 0);
        let mut displacements: Vec<i32> =
            offsets().flat_map(|o| places().map(move |p: i32| (p + o).div_euclid(4))).collect();
        displacements.sort_unstable();
        displacements.dedup();
        let step = |o: i32, p: i32| {
            let block = (p + o).div_euclid(4);
            let slot = displacements.iter().position(|&d| d == block).unwrap_or(0);
            Step { slot, place: (p + o).rem_euclid(4) as usize }
        };
        let steps: Vec<[Step; 4]> = offsets()
            .map(|o| {
                let mut steps = [Step::default(); 4];
                for p in places() {
                    steps[p as usize] = step(o, p);
                }
                steps
            })
            .collect();
        let n = displacements.len();
        let mut jumps = Vec::with_capacity(spec.volume() * 64);
        for (z, y, x) in cube(spec.kernel) {
            for voxel in 0..64usize {
                let place = |axis: usize| (voxel >> axis & 1) | (voxel >> (axis + 3) & 1) << 1;
                let [x, y, z] = [steps[x][place(0)], steps[y][place(1)], steps[z][place(2)]];
                let slot = ((z.slot * n + y.slot) * n + x.slot) as u16;
                let voxel = (PLACE_BIT[x.place] | PLACE_BIT[y.place] << 1 | PLACE_BIT[z.place] << 2) as u8;
                jumps.push(Jump { slot, voxel });
            }
        }
        Self { fine, coarse, grid: fine.grid(), stride, kernel: spec.kernel, displacements, steps, jumps }
    }

    /// The pairs of block `block` of the coarse set's rows.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(
            unsafe_code,
            reason = "counting bits takes one instruction where there is one, and twelve elsewhere"
        )
    )]
    pub(crate) fn block_pairs(&self, block: usize) -> BlockPairs {
        let rows = block * BLOCK..self.coarse.len().min((block + 1) * BLOCK);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
        {
            // SAFETY: the instructions are there.
            return unsafe { self.pairs_with_popcnt(rows) };
        }
        self.pairs(rows)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "popcnt,bmi1,bmi2")]
    fn pairs_with_popcnt(&self, rows: Range<usize>) -> BlockPairs {
        self.pairs(rows)
    }

    #[inline(always)]
    fn pairs(&self, rows: Range<usize>) -> BlockPairs {
        let volume = self.kernel.pow(3);
        let n_slots = self.displacements.len().pow(3);
        let groups = self.groups(rows);
        // For each group its neighbouring blocks, and for each offset which of its voxels meet one.
        let mut blocks = vec![0u32; groups.len() * n_slots];
        let mut hits = vec![0u64; groups.len() * volume];
        let mut scratch = Scratch::new(self.displacements.len(), self.kernel);
        for (i, group) in groups.iter().enumerate() {
            let blocks = &mut blocks[i * n_slots..(i + 1) * n_slots];
            self.find_blocks(group, blocks);
            self.find_hits(group.anchors, blocks, &mut scratch, &mut hits[i * volume..(i + 1) * volume]);
        }
        let n_pairs = hits.iter().map(|h| h.count_ones() as usize).sum();
        let mut pairs = BlockPairs::with_capacity(volume, n_pairs);
        for k in 0..volume {
            let jumps = &self.jumps[k * 64..(k + 1) * 64];
            for (i, group) in groups.iter().enumerate() {
                let mut left = hits[i * volume + k];
                while left != 0 {
                    let jump = jumps[left.trailing_zeros() as usize];
                    let below = (left & left.wrapping_neg()) - 1;
                    left &= left - 1;
                    let found = blocks[i * n_slots + jump.slot as usize] as usize;
                    let rank = (self.grid.masks[found] & ((1 << jump.voxel) - 1)).count_ones();
                    let anchor_rank = (group.anchors & below).count_ones();
                    pairs.push(self.grid.starts[found] + rank, (group.first + anchor_rank) as u8);
                }
            }
            pairs.end_group();
        }
        pairs
    }

    /// The voxels of some rows of the coarse set, by blocks of the fine one.
    #[inline(always)]
    fn groups(&self, rows: Range<usize>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let aligned = aligned(self.fine, self.coarse, self.stride);
        let shift = 3 * self.stride.trailing_zeros();
        let mut last = FREE;
        for (&key, first) in self.coarse.keys()[rows].iter().zip(0u32..) {
            let batch = key >> MORTON_BITS;
            if aligned {
                let morton = (key & ((1 << MORTON_BITS) - 1)) << shift;
                let block = batch << MORTON_BITS | morton >> LOCAL_BITS;
                let anchor = 1u64 << (morton & 63);
                match groups.last_mut() {
                    Some(group) if block == last => group.anchors |= anchor,
                    _ => {
                        let axis = |a: u32| key::compact(morton >> (LOCAL_BITS + a)) as i32;
                        groups.push(Group {
                            batch,
                            block: [axis(0), axis(1), axis(2)],
                            anchors: anchor,
                            first,
                        });
                    }
                }
                last = block;
            } else {
                // Rows are not in the order of the fine set's blocks: each by itself.
                let [_, x, y, z] = key::unpack(key, self.coarse.bias());
                let at = [x, y, z].map(|v| v * self.stride + self.fine.bias());
                let place = at.map(|v| PLACE_BIT[v.rem_euclid(4) as usize]);
                let anchors = 1 << (place[0] | place[1] << 1 | place[2] << 2);
                groups.push(Group { batch, block: at.map(|v| v.div_euclid(4)), anchors, first });
            }
        }
        groups
    }

    /// The numbers of the blocks in which neighbours of a group can lie.
    #[inline(always)]
    fn find_blocks(&self, group: &Group, found: &mut [u32]) {
        let absent = self.grid.masks.len() as u32 - 1;
        let n = self.displacements.len();
        let spread = |axis: usize, slot: usize| {
            let v = group.block[axis] + self.displacements[slot];
            (0..AXIS_BLOCKS).contains(&v).then(|| key::spread(v as u32) << axis)
        };
        for z in 0..n {
            let sz = spread(2, z);
            for y in 0..n {
                let sy = spread(1, y);
                for x in 0..n {
                    let number = match (spread(0, x), sy, sz) {
                        (Some(x), Some(y), Some(z)) => {
                            self.grid.find(group.batch << (MORTON_BITS - LOCAL_BITS) | x | y | z)
                        }
                        _ => absent,
                    };
                    found[(z * n + y) * n + x] = number;
                }
            }
        }
    }

    /// For each offset, which of the anchors have a neighbour.
    #[inline(always)]
    fn find_hits(&self, anchors: u64, blocks: &[u32], scratch: &mut Scratch, hits: &mut [u64]) {
        let (n, k) = (self.displacements.len(), self.kernel);
        let Scratch { x, y } = scratch;
        // Shifted along x: [z slot][y slot][x offset]; then along y: [z slot][y offset][x offset]; then along z.
        for zy in 0..n * n {
            for i in 0..k {
                x[zy * k + i] =
                    shift(0, &self.steps[i], |slot| self.grid.masks[blocks[zy * n + slot] as usize]);
            }
        }
        for z in 0..n {
            for j in 0..k {
                for i in 0..k {
                    y[(z * k + j) * k + i] = shift(1, &self.steps[j], |slot| x[(z * n + slot) * k + i]);
                }
            }
        }
        for l in 0..k {
            for ji in 0..k * k {
                hits[l * k * k + ji] = anchors & shift(2, &self.steps[l], |slot| y[slot * k * k + ji]);
            }
        }
    }
}

/// Masks that are shifted along one and along two axes.
struct Scratch {
    x: Vec<u64>,
    y: Vec<u64>,
}

impl Scratch {
    fn new(n_displacements: usize, kernel: usize) -> Self {
        let (n, k) = (n_displacements, kernel);
        Self { x: vec![0; n * n * k], y: vec![0; n * k * k] }
    }
}

/// The mask whose voxels at each place have what the sources have at the place where the step leads.
#[inline(always)]
fn shift(axis: usize, steps: &[Step; 4], source: impl Fn(usize) -> u64) -> u64 {
    let mut mask = 0;
    for (place, step) in steps.iter().enumerate() {
        let plane = source(step.slot) & PLANES[axis][step.place];
        // The bits of a plane do not wrap: a rotation shifts them either way.
        mask |=
            plane.rotate_left((PLACE_BIT[place] << axis).wrapping_sub(PLACE_BIT[step.place] << axis) & 63);
    }
    mask
}

/// All of `0..n` cubed, the last varying fastest.
fn cube(n: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..n).flat_map(move |z| (0..n).flat_map(move |y| (0..n).map(move |x| (z, y, x))))
}

/// Whether a coarse key, shifted, is the key of the same place in the fine set.
fn aligned(fine: &Coords, coarse: &Coords, stride: i32) -> bool {
    stride.count_ones() == 1 && coarse.bias().checked_mul(stride) == Some(fine.bias())
}
