//! Voxels of a box that is not too large: a bit for each of its cells, and nothing is sorted.
//!
//! The bits stand in the order of the cells (x above y above z), so that the row of a voxel is the number of bits set
//! before its own: a count that is kept for each word, and the bits below in the same word.

use crate::voxel::{Bounds, Voxels};

/// Cells that a box may have for each of its points. With more, clearing the bits and missing the caches costs more
/// than sorting.
const MOST_CELLS: u64 = 256;

/// Voxels of cells, one a point; `None` where the box is too large.
pub(crate) fn group(cells: &[[i32; 3]], bounds: &Bounds) -> Option<Voxels> {
    let [nx, ny, nz] = bounds.edges();
    let n_cells = nx.checked_mul(ny)?.checked_mul(nz)?;
    if n_cells > (MOST_CELLS * cells.len() as u64).min(1 << 32) {
        return None;
    }
    let from_corner = |cell: &[i32; 3], axis: usize| cell[axis].wrapping_sub(bounds.low[axis]) as u32;
    // None is as large as the number of cells, so nothing wraps.
    let place = |cell: &[i32; 3]| {
        let xy = from_corner(cell, 0).wrapping_mul(ny as u32).wrapping_add(from_corner(cell, 1));
        xy.wrapping_mul(nz as u32).wrapping_add(from_corner(cell, 2))
    };
    let mut occupied = vec![0u64; n_cells.div_ceil(64) as usize];
    let mark = |cell: &[i32; 3]| {
        let place = place(cell);
        occupied[(place >> 6) as usize] |= 1 << (place & 63);
        place
    };
    let mut places: Vec<u32> = cells.iter().map(mark).collect();
    let mut n_voxels = 0;
    let before: Vec<u32> = occupied
        .iter()
        .map(|word| {
            let before = n_voxels;
            n_voxels += word.count_ones();
            before
        })
        .collect();

    // Number and lowest row, side by side because voxels are met in no order that a cache would like.
    let mut counted = vec![[0u32; 2]; n_voxels as usize];
    // From the last to the first: the lowest row of a voxel is what stays.
    for (row, place) in (0..cells.len() as u32).zip(&mut places).rev() {
        let word = (*place >> 6) as usize;
        let below = occupied[word] & ((1 << (*place & 63)) - 1);
        let voxel = before[word] + below.count_ones();
        *place = voxel;
        counted[voxel as usize] = [counted[voxel as usize][0] + 1, row];
    }
    Some(Voxels {
        coords: counted.iter().map(|&[_, row]| cells[row as usize]).collect(),
        voxel_of_point: places,
        representative: counted.iter().map(|&[_, row]| row).collect(),
        counts: counted.iter().map(|&[count, _]| count).collect(),
    })
}
