//! A set of voxel coordinates, sorted by (batch, Morton).

#[cfg(feature = "cuda")]
use std::sync::Arc;
use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use candle_core::CudaDevice;

use crate::SparseError;
#[cfg(feature = "cuda")]
use crate::cuda::{DeviceKeys, OnDevices};
use crate::key::{self, BIAS, MAX_BATCH, MORTON_BITS};
use crate::neighbours::BlockGrid;
use crate::sort::sort_by_key;

/// A set of distinct voxels of one stride, sorted by batch item and Morton code.
///
/// Coordinates are `[batch, x, y, z]` in voxels of the finest grid, of any sign; those of a set with stride `s` are
/// multiples of `s`. Neighbours in space are near each other in memory, which is where the convolution's speed comes
/// from.
#[derive(Debug, Clone)]
pub struct Coords {
    stride: u32,
    batch_size: usize,
    /// Keys of the coordinates divided by the stride, biased by `bias`; strictly increasing.
    keys: Vec<u64>,
    bias: i32,
    coords: Vec<[i32; 4]>,
    made: Made,
}

/// What is made of the keys for the search for neighbours, at its first use.
#[derive(Debug, Clone, Default)]
struct Made {
    grid: OnceLock<BlockGrid>,
    #[cfg(feature = "cuda")]
    on_cuda: OnDevices<DeviceKeys<CudaDevice>>,
    /// The set that this one's keys follow from by a shift of so many bits along each axis.
    #[cfg(feature = "cuda")]
    finer: Option<(Arc<Coords>, u32)>,
}

/// The largest stride that keeps every voxel of the range apart from its neighbours' keys.
pub(crate) const MAX_STRIDE: u32 = 1 << 16;

impl Coords {
    /// Sorts a list of distinct coordinates of the finest grid (stride 1).
    ///
    /// Also returns the order: row `i` of the set is row `order[i]` of the caller's list. A list that is sorted
    /// already is not sorted again.
    ///
    /// # Errors
    /// [`SparseError::OutOfRange`] where x, y or z is not in `-131072..=131071` or the batch index not in `0..=1023`;
    /// [`SparseError::Duplicate`] where two rows are equal.
    pub fn new(coords: &[[i32; 4]]) -> Result<(Self, Vec<u32>), SparseError> {
        Self::with_batch_size(coords, batch_size_of(coords))
    }

    /// As [`Coords::new`], for a batch of `batch_size` items, of which any may be without voxels.
    ///
    /// # Errors
    /// Also [`SparseError::BatchSize`] where a row belongs to an item that the batch does not have.
    pub fn with_batch_size(coords: &[[i32; 4]], batch_size: usize) -> Result<(Self, Vec<u32>), SparseError> {
        let keyed = Self::keyed(coords, batch_size)?;
        if let Some(w) = keyed.windows(2).find(|w| w[0].0 == w[1].0) {
            let (first, second) = (w[0].1 as usize, w[1].1 as usize);
            return Err(SparseError::Duplicate { first, second, coord: coords[first] });
        }
        let order: Vec<u32> = keyed.iter().map(|k| k.1).collect();
        let keys = keyed.iter().map(|k| k.0).collect();
        let coords = order.iter().map(|&row| coords[row as usize]).collect();
        Ok((Self { stride: 1, batch_size, keys, bias: BIAS, coords, made: Made::default() }, order))
    }

    /// As [`Coords::new`], of coordinates that may occur more than once.
    ///
    /// Returns the set's row of each row of the list, not the order.
    ///
    /// # Errors
    /// As [`Coords::new`], but for duplicates.
    pub fn merged(coords: &[[i32; 4]]) -> Result<(Self, Vec<u32>), SparseError> {
        let batch_size = batch_size_of(coords);
        let keyed = Self::keyed(coords, batch_size)?;
        let (mut keys, mut distinct): (Vec<u64>, Vec<[i32; 4]>) = (Vec::new(), Vec::new());
        let mut row_of_input = vec![0; coords.len()];
        for (key, input) in keyed {
            if keys.last() != Some(&key) {
                keys.push(key);
                distinct.push(coords[input as usize]);
            }
            row_of_input[input as usize] = keys.len() as u32 - 1;
        }
        let set = Self { stride: 1, batch_size, keys, bias: BIAS, coords: distinct, made: Made::default() };
        Ok((set, row_of_input))
    }

    /// Keys and rows of a list, sorted.
    fn keyed(coords: &[[i32; 4]], batch_size: usize) -> Result<Vec<(u64, u32)>, SparseError> {
        if coords.len() >= u32::MAX as usize {
            return Err(SparseError::TooManyRows { rows: coords.len(), max: u32::MAX as usize - 1 });
        }
        let mut keyed = Vec::with_capacity(coords.len());
        for (row, &coord) in coords.iter().enumerate() {
            let key = key::pack(coord, BIAS).ok_or(SparseError::OutOfRange {
                row,
                coord,
                max_batch: MAX_BATCH,
                min: -BIAS,
                max: BIAS - 1,
            })?;
            if coord[0] as usize >= batch_size {
                return Err(SparseError::BatchSize { row, batch: coord[0], batch_size });
            }
            keyed.push((key, row as u32));
        }
        sort_by_key(&mut keyed);
        Ok(keyed)
    }

    /// The set of the voxels `factor` times as large that hold a voxel of this one (floor division).
    pub(crate) fn coarser(&self, factor: u32) -> Result<Self, SparseError> {
        let stride = self.stride.checked_mul(factor).filter(|&s| s <= MAX_STRIDE);
        let stride = stride.ok_or(SparseError::StrideTooLarge {
            stride: self.stride,
            factor: factor as usize,
            max: MAX_STRIDE,
        })?;
        let shift = factor.trailing_zeros();
        let (keys, bias) = if factor.is_power_of_two() && self.bias & (factor as i32 - 1) == 0 {
            let mut keys: Vec<u64> = Vec::with_capacity(self.keys.len() / 2);
            let morton = (1u64 << MORTON_BITS) - 1;
            for &k in &self.keys {
                let parent = (k & !morton) | (k & morton) >> (3 * shift);
                if keys.last() != Some(&parent) {
                    keys.push(parent);
                }
            }
            (keys, self.bias >> shift)
        } else {
            let divide = |v: i32| v.div_euclid(factor as i32);
            let pack = |&k: &u64| {
                let [b, x, y, z] = key::unpack(k, self.bias);
                key::pack([b, divide(x), divide(y), divide(z)], BIAS)
            };
            let mut keys: Vec<u64> = self.keys.iter().filter_map(pack).collect();
            keys.sort_unstable();
            keys.dedup();
            (keys, BIAS)
        };
        let s = stride as i32;
        let coords = keys.iter().map(|&k| key::unpack(k, bias)).map(|[b, x, y, z]| [b, x * s, y * s, z * s]);
        let coords = coords.collect();
        Ok(Self { stride, batch_size: self.batch_size, keys, bias, coords, made: Made::default() })
    }

    /// The voxels, `[batch, x, y, z]`, in the order of the rows.
    pub fn coords(&self) -> &[[i32; 4]] {
        &self.coords
    }

    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no voxel.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Edge of a voxel, in voxels of the finest grid.
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// Number of batch items, those without voxels included.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The rows of a batch item; empty where it has no voxels.
    pub fn batch_rows(&self, item: usize) -> std::ops::Range<usize> {
        let start = |b: usize| self.keys.partition_point(|&k| (key::batch_of(k) as usize) < b);
        start(item)..start(item + 1)
    }

    /// The occupied blocks of 4³ voxels.
    pub(crate) fn grid(&self) -> &BlockGrid {
        self.made.grid.get_or_init(|| BlockGrid::new(&self.keys))
    }

    /// The keys and the search for them, in the memory of a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_cuda(&self, device: &CudaDevice) -> candle_core::Result<Arc<DeviceKeys<CudaDevice>>> {
        self.made.on_cuda.get_or_make(device, || match &self.made.finer {
            Some((finer, shift)) => finer.on_cuda(device)?.coarser(device, *shift, &self.keys, self.bias),
            None => DeviceKeys::new(device, &self.keys, self.bias),
        })
    }

    /// Remembers of what finer set this one was made: a GPU then makes its keys of those that it has.
    #[cfg(feature = "cuda")]
    pub(crate) fn made_of(mut self, finer: &Arc<Coords>) -> Self {
        let factor = self.stride / finer.stride;
        if factor.is_power_of_two() && finer.bias & (factor as i32 - 1) == 0 {
            self.made.finer = Some((finer.clone(), factor.trailing_zeros()));
        }
        self
    }

    pub(crate) fn keys(&self) -> &[u64] {
        &self.keys
    }

    pub(crate) fn bias(&self) -> i32 {
        self.bias
    }
}

/// Batch items that a list tells of.
fn batch_size_of(coords: &[[i32; 4]]) -> usize {
    coords.iter().map(|c| c[0]).max().map_or(0, |b| b.max(0) as usize + 1)
}

/// Turns an order as returned by [`Coords::new`] round: entry `r` is the row of the set that row `r` of the caller's
/// list has become.
pub fn rows_of_input(order: &[u32]) -> Vec<u32> {
    let mut rows = vec![0; order.len()];
    for (row, &source) in order.iter().enumerate() {
        rows[source as usize] = row as u32;
    }
    rows
}
