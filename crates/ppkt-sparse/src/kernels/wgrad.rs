//! Drives the weight-gradient micro-kernels.

use rayon::prelude::*;

use super::Side;
use super::pack::Panels;
use super::product::SharedOut;
use crate::kernel_map::{BLOCK, PairLists};

/// What a micro-kernel needs for some pairs and one panel of columns: `dw += Σ x[s]ᵀ · grad[t]`.
pub(super) struct Wgrad<'a> {
    /// Rows of `x`.
    pub(super) source: &'a [u32],
    /// Rows of the block of `grad`, one for each source.
    pub(super) target: &'a [u8],
    /// Features of one side, `cin` to a row.
    pub(super) x: &'a [f32],
    /// Channels of this side.
    pub(super) cin: usize,
    /// The panel's first column in the block's first row of the gradient.
    pub(super) grad: &'a [f32],
    /// Channels of `grad` and columns of `dw`.
    pub(super) cout: usize,
    /// The panel's first column and the side's first row in the matrix of the kernel voxel.
    pub(super) dw: *mut f32,
    /// Columns of the panel's last vector that exist.
    pub(super) last_lanes: usize,
}

/// The micro-kernels of an instruction set.
pub(super) struct WgradIsa {
    /// Columns in a vector.
    pub(super) lanes: usize,
    /// The kernel for panels of 1, 2, … vectors.
    ///
    /// # Safety
    /// The instruction set must be there; sources and targets must be rows of `x` and `grad`; `dw` must be valid for
    /// reads and writes of the panel's columns in `cin` rows of `cout`, and no one else may touch these.
    pub(super) by_vectors: &'static [unsafe fn(&Wgrad<'_>)],
}

/// Most parts that the sum over the blocks is cut into.
const MAX_PARTS: usize = 4;
/// Blocks that a part has at least.
const MIN_BLOCKS: usize = 4;
/// Elements of all parts together, at most (unless there is but one): 8 MiB. More parts take memory at the peak of a
/// step and are no faster.
const MAX_ELEMENTS: usize = 2 << 20;
/// Elements of the matrices that a task goes through for every block: 512 KiB, so that they stay in the second cache.
const TASK_ELEMENTS: usize = 128 << 10;
/// Tasks for each thread that are aimed at.
const TASKS: usize = 4;

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs `(k, s, t)`.
#[expect(unsafe_code, reason = "micro-kernels and buffers that their writers initialise")]
pub(super) fn run(
    isa: &WgradIsa,
    lists: &PairLists,
    sides: &[Side<'_>],
    grad: &[f32],
    cout: usize,
) -> Vec<f32> {
    let cin: usize = sides.iter().map(|s| s.channels).sum();
    let len = lists.volume * cin * cout;
    let mut dw: Vec<f32> = Vec::with_capacity(len);
    if len == 0 {
        return dw;
    }
    let panels = Panels::new(cout, isa.lanes, isa.by_vectors.len());
    let n_units = lists.volume * panels.len();
    // The number of parts depends on the shapes alone, so that the order of the sums does too. That of the groups may
    // depend on the threads: an element is summed by one task whatever the group.
    let n_blocks = lists.n_blocks();
    let n_parts = MAX_PARTS.min(n_blocks / MIN_BLOCKS).min(MAX_ELEMENTS / len).max(1);
    let n_groups = (TASKS * rayon::current_num_threads()).div_ceil(n_parts);
    let n_groups = n_groups.max(len.div_ceil(TASK_ELEMENTS)).min(n_units);

    let mut parts: Vec<f32> = Vec::with_capacity(if n_parts > 1 { n_parts * len } else { 0 });
    let shared = SharedOut(if n_parts > 1 { parts.as_mut_ptr() } else { dw.as_mut_ptr() });
    (0..n_parts * n_groups).into_par_iter().for_each(|task| {
        let (part, group) = (task / n_groups, task % n_groups);
        let units = n_units * group / n_groups..n_units * (group + 1) / n_groups;
        let unit_dw = |unit: usize| {
            let (k, panel) = (unit / panels.len(), unit % panels.len());
            // SAFETY: within the part's `len` elements.
            unsafe { shared.get().add(part * len + k * cin * cout + panels.start(panel)) }
        };
        for unit in units.clone() {
            let panel = unit % panels.len();
            let width = panels.width(panel);
            for row in 0..cin {
                // SAFETY: the panel's columns in the rows of this unit's matrix, which this task alone writes.
                unsafe { unit_dw(unit).add(row * cout).write_bytes(0, width) };
            }
        }
        for block in n_blocks * part / n_parts..n_blocks * (part + 1) / n_parts {
            for unit in units.clone() {
                let (k, panel) = (unit / panels.len(), unit % panels.len());
                let (source, target) = lists.group_slices(block, k);
                if source.is_empty() {
                    continue;
                }
                let mut dw = unit_dw(unit);
                for side in sides {
                    let wgrad = Wgrad {
                        source,
                        target,
                        x: side.data,
                        cin: side.channels,
                        grad: &grad[block * BLOCK * cout + panels.start(panel)..],
                        cout,
                        dw,
                        last_lanes: panels.last_lanes(panel),
                    };
                    // SAFETY: the instruction set was detected. Sources are rows of the side and targets rows of this
                    // block of `grad`, whose lengths the caller has checked; the unit's columns are this task's alone,
                    // and its rows are those of the sides, one side's after the other's.
                    unsafe { isa.by_vectors[panels.vectors(panel) - 1](&wgrad) };
                    dw = dw.wrapping_add(side.channels * cout);
                }
            }
        }
    });
    if n_parts == 1 {
        // SAFETY: the tasks have written every unit, that is, all `len` elements.
        unsafe { dw.set_len(len) };
        return dw;
    }
    // SAFETY: the tasks have written every unit of every part.
    unsafe { parts.set_len(n_parts * len) };
    dw.resize(len, 0.0);
    const CHUNK: usize = 4096;
    dw.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sum)| {
        for part in parts.chunks_exact(len) {
            for (s, &p) in sum.iter_mut().zip(&part[i * CHUNK..]) {
                *s += p;
            }
        }
    });
    dw
}
