//! Points to voxels.

use crate::VoxelError;

/// Which point lies in which voxel.
///
/// A voxel is a cell of a regular grid, `floor(p / voxel_size)` an axis (towards minus infinity), divided in f32 as
/// numpy and PyTorch do. P points, V voxels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voxels {
    /// `[V]` whole coordinates of the occupied voxels, ascending by x, then y, then z.
    pub coords: Vec<[i32; 3]>,
    /// `[P]` row in `coords` of each point.
    pub voxel_of_point: Vec<u32>,
    /// `[V]` the point that stands for the voxel: the lowest row in it.
    pub representative: Vec<u32>,
    /// `[V]` number of points in the voxel.
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

    /// Mean over the points of each voxel: `[P, channels]` to `[V, channels]`, both row-major. Summed in f64 in the
    /// order of the points.
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
/// # Errors
/// [`VoxelError`] for a bad size, a point that is not finite, or one whose coordinate does not fit an `i32`.
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
    transform: impl Fn([f32; 3]) -> [f32; 3],
) -> Result<Voxels, VoxelError> {
    for size in sizes {
        if !(size > 0.0 && size.is_finite()) {
            return Err(VoxelError::BadSize { size });
        }
    }
    if points.len() > u32::MAX as usize {
        return Err(VoxelError::TooManyPoints { n_points: points.len() });
    }
    let mut cells = Vec::with_capacity(points.len());
    for (row, &p) in points.iter().enumerate() {
        cells.push((cell(row, p, transform(p), sizes)?, row as u32));
    }
    cells.sort_unstable();
    let mut voxels = Voxels { voxel_of_point: vec![0; points.len()], ..Voxels::default() };
    for (coord, row) in cells {
        if voxels.coords.last() != Some(&coord) {
            voxels.coords.push(coord);
            voxels.representative.push(row);
            voxels.counts.push(0);
        }
        let voxel = voxels.coords.len() - 1;
        voxels.counts[voxel] += 1;
        voxels.voxel_of_point[row as usize] = voxel as u32;
    }
    Ok(voxels)
}

fn cell(row: usize, coords: [f32; 3], q: [f32; 3], sizes: [f32; 3]) -> Result<[i32; 3], VoxelError> {
    let mut out = [0; 3];
    for axis in 0..3 {
        let c = (q[axis] / sizes[axis]).floor();
        // 2³¹ is exact in f32, and so is −2³¹.
        if !(-2147483648.0..2147483648.0).contains(&c) {
            return Err(if coords.iter().all(|v| v.is_finite()) {
                VoxelError::OutOfRange { point: row, coords }
            } else {
                VoxelError::NotFinite { point: row, coords }
            });
        }
        out[axis] = c as i32;
    }
    Ok(out)
}
