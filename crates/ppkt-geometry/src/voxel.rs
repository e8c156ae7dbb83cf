//! Points to voxels.
//!
//! The method: quantise and find the bounding box. If it is not too large, [a bit for each of its cells](crate::occupancy)
//! gives the voxels in their order. Otherwise pack each point's cell, counted from the corner of the box, and its row
//! into 64 bits; sort by radix on the bits of the cell alone; walk once over the sorted list. Sorting is stable and rows
//! enter in order, so the first of each run is the voxel's lowest row. A hash map would be about as fast for the first
//! half, but its voxels would still have to be sorted for an order that does not depend on hashing.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::VoxelError;
use crate::occupancy;
use crate::parallel::flat_map_range;

/// Which point lies in which voxel.
///
/// A voxel is a cell of a regular grid, `floor(p / voxel_size)` an axis (towards minus infinity), divided in f32 as
/// numpy and PyTorch do.
///
/// # Shapes
/// P points, V voxels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voxels {
    /// `[V]` whole coordinates of the occupied voxels, ascending by x, then y, then z; each once.
    pub coords: Vec<[i32; 3]>,
    /// `[P]` row in `coords` of each point.
    pub voxel_of_point: Vec<u32>,
    /// `[V]` the point that stands for the voxel: the lowest row in it.
    pub representative: Vec<u32>,
    /// `[V]` number of points in the voxel, at least 1.
    pub counts: Vec<u32>,
}

impl Voxels {
    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.coords.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.coords.is_empty()
    }

    /// Mean over the points of each voxel, summed in f64 in the order of the points.
    ///
    /// # Shapes
    /// `values` `[P, channels]` to `[V, channels]`, both row-major.
    ///
    /// # Panics
    /// If `values` does not hold `channels` for each point.
    #[track_caller]
    pub fn mean(&self, values: &[f32], channels: usize) -> Vec<f32> {
        assert_eq!(
            values.len(),
            self.voxel_of_point.len() * channels,
            "values must be [{}, {channels}], a row for each point",
            self.voxel_of_point.len()
        );
        if channels == 0 {
            return Vec::new();
        }
        let mut sums = vec![0.0f64; self.len() * channels];
        for (&voxel, value) in self.voxel_of_point.iter().zip(values.chunks_exact(channels)) {
            let sum = &mut sums[voxel as usize * channels..][..channels];
            for (s, v) in sum.iter_mut().zip(value) {
                *s += f64::from(*v);
            }
        }
        sums.chunks_exact(channels)
            .zip(&self.counts)
            .flat_map(|(sum, &n)| sum.iter().map(move |s| (s / f64::from(n)) as f32))
            .collect()
    }
}

/// Sorts points into cubic voxels.
///
/// ```
/// let cloud = [[0.01, 0.0, 0.0], [-0.01, 0.0, 0.0], [0.04, 0.0, 0.0]];
/// let voxels = ppkt_geometry::voxelise(&cloud, 0.05)?;
/// assert_eq!(voxels.coords, [[-1, 0, 0], [0, 0, 0]]);
/// assert_eq!(voxels.voxel_of_point, [1, 0, 1]);
/// assert_eq!(voxels.representative, [1, 0]);
/// # Ok::<(), ppkt_geometry::VoxelError>(())
/// ```
///
/// # Errors
/// [`VoxelError`] for a bad size, a point that is not finite, or one whose coordinate does not fit an `i32`; of
/// several such points the first is named.
pub fn voxelise(points: &[[f32; 3]], voxel_size_m: f32) -> Result<Voxels, VoxelError> {
    quantise(points, [voxel_size_m; 3], |p| p)
}

/// Sorts points into cells of cylindrical coordinates around the z axis: ρ by `rho_m` metres, φ by `phi_rad` radians,
/// z by `z_m` metres (see [`cylindrical_from_cartesian`]).
///
/// The seam at φ = ±π is **not** joined: neighbours across it are the first and the last cell of φ. Networks that are
/// trained on such cells expect it so.
///
/// # Errors
/// As [`voxelise`].
pub fn voxelise_cylindrical(
    points: &[[f32; 3]],
    rho_m: f32,
    phi_rad: f32,
    z_m: f32,
) -> Result<Voxels, VoxelError> {
    quantise(points, [rho_m, phi_rad, z_m], cylindrical_from_cartesian)
}

/// `(ρ, φ, z)` of a point: distance from the z axis, metres; azimuth `atan2(y, x)` in −π..=π, radians; height, metres.
#[inline]
pub fn cylindrical_from_cartesian([x, y, z]: [f32; 3]) -> [f32; 3] {
    let (x, y) = (f64::from(x), f64::from(y));
    [x.hypot(y) as f32, y.atan2(x) as f32, z]
}

fn quantise(
    points: &[[f32; 3]],
    sizes: [f32; 3],
    transform: impl Fn([f32; 3]) -> [f32; 3] + Sync,
) -> Result<Voxels, VoxelError> {
    if let Some(&size) = sizes.iter().find(|s| !(**s > 0.0 && s.is_finite())) {
        return Err(VoxelError::BadSize { size });
    }
    if u32::try_from(points.len()).is_err() {
        return Err(VoxelError::TooManyPoints { n_points: points.len() });
    }
    // That something is wrong is noted in passing; what it was is found out afterwards, off the hot path.
    let faulty = AtomicBool::new(false);
    let cells: Vec<[i32; 3]> = flat_map_range(points.len(), 1 << 15, |range, out| {
        out.reserve(range.len());
        let (groups, rest) = points[range].as_chunks::<GROUP>();
        let mut all_fit = true;
        for group in groups {
            let mut moved = *group;
            moved.iter_mut().for_each(|point| *point = transform(*point));
            let (cells, fit) = cells(moved, sizes);
            out.extend_from_slice(&cells);
            all_fit &= fit;
        }
        for &point in rest {
            let ([cell], fit) = cells([transform(point)], sizes);
            out.push(cell);
            all_fit &= fit;
        }
        if !all_fit {
            faulty.store(true, Ordering::Relaxed);
        }
    });
    if faulty.into_inner() {
        return Err(first_fault(points, sizes, transform));
    }
    Ok(group(&cells))
}

/// Points that are quantised together: their numbers are three vectors of four, whatever the processor.
const GROUP: usize = 4;

/// `floor(q / size)` an axis, and whether all of these are an `i32`; where not, they mean nothing.
#[inline(always)]
fn cells<const N: usize>(q: [[f32; 3]; N], sizes: [f32; 3]) -> ([[i32; 3]; N], bool) {
    let mut scaled = q;
    for q in &mut scaled {
        for axis in 0..3 {
            q[axis] /= sizes[axis];
        }
    }
    let scaled = scaled.as_flattened();
    let mut cells = [[0; 3]; N];
    // No way out of these loops, so that they become vectors. NaN is not near.
    let near = scaled.iter().fold(true, |near, v| near & (v.abs() < NEAR));
    if near {
        cells.as_flattened_mut().iter_mut().zip(scaled).for_each(|(cell, &v)| *cell = floor_near(v));
        return (cells, true);
    }
    cells.as_flattened_mut().iter_mut().zip(scaled).for_each(|(cell, &v)| *cell = floor_i32(v));
    // Both bounds are exact in f32. NaN is in no range.
    (cells, scaled.iter().all(|v| (-2147483648.0..2147483648.0).contains(v)))
}

/// Up to here [`floor_near`] is right.
const NEAR: f32 = 4194304.0;

/// `floor` for a number below 2²² in size. From 2²³ to 2²⁴ the numbers of f32 are the whole ones, in the order of their
/// bits: what is added to 1.5 · 2²³ is rounded, and can be read off. A conversion to `i32` would be three instructions
/// that no vector has, for the sake of numbers that do not fit.
#[inline(always)]
fn floor_near(value: f32) -> i32 {
    const MIDDLE: f32 = 12582912.0;
    let moved = value + MIDDLE;
    let rounded = moved - MIDDLE;
    (moved.to_bits() as i32).wrapping_sub(MIDDLE.to_bits() as i32) - i32::from(rounded > value)
}

/// `floor` for a number in the range of `i32`. Without SSE 4.1 `f32::floor` is a call; this is three instructions.
#[inline]
fn floor_i32(value: f32) -> i32 {
    let towards_zero = value as i32;
    towards_zero - i32::from(towards_zero as f32 > value)
}

#[cold]
fn first_fault(points: &[[f32; 3]], sizes: [f32; 3], transform: impl Fn([f32; 3]) -> [f32; 3]) -> VoxelError {
    let is_bad = |p: &[f32; 3]| !cells([transform(*p)], sizes).1;
    let point = points.iter().position(is_bad).unwrap_or_default();
    let coords = points[point];
    if coords.iter().all(|v| v.is_finite()) {
        VoxelError::OutOfRange { point, coords }
    } else {
        VoxelError::NotFinite { point, coords }
    }
}

/// Voxels of cells, one a point.
fn group(cells: &[[i32; 3]]) -> Voxels {
    let Some(bounds) = Bounds::of(cells) else { return Voxels::default() };
    if let Some(voxels) = occupancy::group(cells, &bounds) {
        return voxels;
    }
    let mut voxels = Voxels { voxel_of_point: vec![0; cells.len()], ..Voxels::default() };
    if let Some(packing) = Packing::of(&bounds, cells.len()) {
        let mut keys = packing.keys(cells);
        sort_by_bits(&mut keys, packing.row_bits, packing.cell_bits);
        let mut last = None;
        for key in keys {
            let (cell, row) = packing.split(key);
            if last != Some(cell) {
                voxels.start(packing.coord(cell), row);
                last = Some(cell);
            }
            voxels.add(row);
        }
    } else {
        // A box so large that its cells need more than 64 bits with the rows: slower, and right.
        let mut rows: Vec<([i32; 3], u32)> = cells.iter().copied().zip(0..).collect();
        rows.sort_unstable();
        for (coord, row) in rows {
            if voxels.coords.last() != Some(&coord) {
                voxels.start(coord, row);
            }
            voxels.add(row);
        }
    }
    voxels
}

impl Voxels {
    /// A new voxel, of which this is the lowest row.
    #[inline]
    fn start(&mut self, coord: [i32; 3], row: u32) {
        self.coords.push(coord);
        self.representative.push(row);
        self.counts.push(0);
    }

    /// A point of the newest voxel.
    #[inline]
    fn add(&mut self, row: u32) {
        let voxel = self.counts.len() - 1;
        self.counts[voxel] += 1;
        self.voxel_of_point[row as usize] = voxel as u32;
    }
}

/// The box around some cells.
pub(crate) struct Bounds {
    /// Lowest coordinates.
    pub(crate) low: [i32; 3],
    high: [i32; 3],
}

impl Bounds {
    /// `None` if there is no cell.
    fn of(cells: &[[i32; 3]]) -> Option<Self> {
        let first = Self { low: *cells.first()?, high: *cells.first()? };
        // Several at a time, so that they become vectors.
        let mut several: [Self; GROUP] = std::array::from_fn(|_| Self { ..first });
        let (groups, rest) = cells.as_chunks::<GROUP>();
        for group in groups {
            several.iter_mut().zip(group).for_each(|(bounds, cell)| bounds.include(cell, cell));
        }
        let mut all = first;
        rest.iter().for_each(|cell| all.include(cell, cell));
        several.iter().for_each(|bounds| all.include(&bounds.low, &bounds.high));
        Some(all)
    }

    #[inline(always)]
    fn include(&mut self, low: &[i32; 3], high: &[i32; 3]) {
        for axis in 0..3 {
            self.low[axis] = self.low[axis].min(low[axis]);
            self.high[axis] = self.high[axis].max(high[axis]);
        }
    }

    /// Cells along each axis, at least 1.
    pub(crate) fn edges(&self) -> [u64; 3] {
        [0, 1, 2].map(|axis| u64::from(self.high[axis].abs_diff(self.low[axis])) + 1)
    }
}

/// How a cell (x above y above z, counted from the corner of the bounding box) and a row share 64 bits.
struct Packing {
    corner: [i32; 3],
    y_bits: u32,
    z_bits: u32,
    cell_bits: u32,
    row_bits: u32,
}

impl Packing {
    fn of(bounds: &Bounds, n_points: usize) -> Option<Self> {
        let bits = |n: u64| u64::BITS - n.leading_zeros();
        let [x_bits, y_bits, z_bits] = bounds.edges().map(|edge| bits(edge - 1));
        let (cell_bits, row_bits) = (x_bits + y_bits + z_bits, bits(n_points as u64));
        (cell_bits + row_bits <= u64::BITS).then_some(Self {
            corner: bounds.low,
            y_bits,
            z_bits,
            cell_bits,
            row_bits,
        })
    }

    fn keys(&self, cells: &[[i32; 3]]) -> Vec<u64> {
        let from_corner = |cell: &[i32; 3], axis: usize| {
            // Wraps only if the box is wider than an i32 counts, and then the bits are still the right ones.
            u64::from(cell[axis].wrapping_sub(self.corner[axis]) as u32)
        };
        cells
            .iter()
            .zip(0u64..)
            .map(|(cell, row)| {
                let xy = (from_corner(cell, 0) << self.y_bits) | from_corner(cell, 1);
                (((xy << self.z_bits) | from_corner(cell, 2)) << self.row_bits) | row
            })
            .collect()
    }

    /// Packed cell and row of a key.
    #[inline]
    fn split(&self, key: u64) -> (u64, u32) {
        (key >> self.row_bits, (key & ((1 << self.row_bits) - 1)) as u32)
    }

    /// The coordinates of a packed cell.
    #[inline]
    fn coord(&self, cell: u64) -> [i32; 3] {
        let low_bits = |value: u64, bits: u32| (value & ((1 << bits) - 1)) as i32;
        let xy = cell >> self.z_bits;
        let from_corner =
            [(xy >> self.y_bits) as i32, low_bits(xy, self.y_bits), low_bits(cell, self.z_bits)];
        [0, 1, 2].map(|axis| self.corner[axis].wrapping_add(from_corner[axis]))
    }
}

/// Sorts by the `n_bits` bits from bit `from`, keeping the order of equals. Keys must be in ascending order of the
/// bits below `from` and have nothing above, so that the result is sorted as a whole.
fn sort_by_bits(keys: &mut Vec<u64>, from: u32, n_bits: u32) {
    // 2,048 counters stay in the first-level cache; below a few thousand keys clearing them costs more than sorting.
    const WIDEST: u32 = 11;
    const FEW: usize = 2048;
    if keys.len() < FEW {
        keys.sort_unstable();
        return;
    }
    // As few passes as the widest digit allows, and then the narrowest digit for that number of passes: the fewer
    // places a pass writes to, the better the cache holds them.
    let n_digits = n_bits.div_ceil(WIDEST);
    let digit_bits = n_bits.div_ceil(n_digits.max(1));
    let mut sorted = vec![0u64; keys.len()];
    for digit in 0..n_digits {
        let shift = from + digit * digit_bits;
        let digit_of = |key: u64| (key >> shift) as usize & ((1 << digit_bits) - 1) & ((1 << WIDEST) - 1);
        let mut starts = [0usize; 1 << WIDEST];
        for &key in keys.iter() {
            starts[digit_of(key)] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += std::mem::replace(start, sum);
        }
        for &key in keys.iter() {
            let start = &mut starts[digit_of(key)];
            sorted[*start] = key;
            *start += 1;
        }
        std::mem::swap(keys, &mut sorted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_agrees_with_the_library() {
        for value in
            [0.0f32, -0.0, 0.5, -0.5, 1.0, -1.0, 0.99999994, -1e-40, 8388607.5, -8388607.5, 16777216.0]
        {
            assert_eq!(floor_i32(value), value.floor() as i32, "{value}");
        }
        let (mut value, up) = (-NEAR, f32::next_up);
        while value < NEAR {
            for value in [value.next_down(), value, up(value), up(value.trunc()), value.trunc() + 0.5] {
                if value.abs() < NEAR {
                    assert_eq!(floor_near(value), value.floor() as i32, "{value}");
                }
            }
            value = up(value) + value.abs() * 1e-3;
        }
        for value in [0.0f32, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, -0.5, -1.0, 2.5, -2.5, -3.5] {
            assert_eq!(floor_near(value), value.floor() as i32, "{value}");
        }
        assert_eq!(floor_i32(-2147483648.0), i32::MIN);
        assert_eq!(floor_i32(2147483520.0), 2147483520);
    }

    #[test]
    fn radix_sorts_every_number_of_digits() {
        for bits in [1, 5, 11, 12, 22, 23, 44] {
            let mut x = 1u64;
            let mut keys: Vec<u64> = (0..5000u64)
                .map(|row| {
                    x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ((x >> (64 - bits)) << 13) | row
                })
                .collect();
            let mut want = keys.clone();
            want.sort_unstable();
            sort_by_bits(&mut keys, 13, bits);
            assert_eq!(keys, want, "{bits} bits");
        }
    }

    #[test]
    fn a_box_too_large_to_pack_gives_the_same_voxels() {
        let far = [[-2e9, -2e9, -2e9], [2e9, 2e9, 2e9], [-2e9, -2e9, -2e9], [0.0, 0.0, 0.5]];
        let (cells, fit) = cells(far, [1.0; 3]);
        assert!(fit);
        let bounds = Bounds::of(&cells).expect("cells");
        assert!(occupancy::group(&cells, &bounds).is_none() && Packing::of(&bounds, cells.len()).is_none());
        let voxels = voxelise(&far, 1.0).expect("voxels");
        assert_eq!(voxels.coords, [[-2_000_000_000; 3], [0, 0, 0], [2_000_000_000; 3]]);
        assert_eq!(voxels.voxel_of_point, [0, 2, 0, 1]);
        assert_eq!(voxels.representative, [0, 3, 1]);
        assert_eq!(voxels.counts, [2, 1, 1]);
    }
}
