//! Features on a set of voxels.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::{CoordinateManager, Coords, SparseError};

/// Features `[N, C]` on `N` voxels of one stride.
///
/// Cloning is cheap: features and coordinates are shared.
#[derive(Debug, Clone)]
pub struct SparseTensor {
    features: Tensor,
    coords: Arc<Coords>,
    manager: Arc<CoordinateManager>,
}

impl SparseTensor {
    /// A tensor from voxels of the finest grid, in any order, and their features.
    ///
    /// Rows are sorted by (batch, Morton). Also returns the order: row `i` of the tensor is row `order[i]` of the
    /// caller's lists; [`rows_of_input`](crate::rows_of_input) turns it round.
    ///
    /// # Shapes
    /// - `coords`: `N` times batch, x, y, z
    /// - `features`: `[N, C]`, f32
    ///
    /// # Errors
    /// As [`Coords::new`], and [`SparseError::Shape`] where the features do not match.
    pub fn new(coords: &[[i32; 4]], features: Tensor) -> Result<(Self, Vec<u32>), SparseError> {
        let (coords, order) = Coords::new(coords)?;
        Ok((Self::sorted(coords, &order, features)?, order))
    }

    /// As [`SparseTensor::new`], for a batch of `batch_size` items, of which any may be without voxels.
    ///
    /// # Errors
    /// As [`Coords::with_batch_size`], and [`SparseError::Shape`] where the features do not match.
    pub fn with_batch_size(
        coords: &[[i32; 4]],
        features: Tensor,
        batch_size: usize,
    ) -> Result<(Self, Vec<u32>), SparseError> {
        let (coords, order) = Coords::with_batch_size(coords, batch_size)?;
        Ok((Self::sorted(coords, &order, features)?, order))
    }

    fn sorted(coords: Coords, order: &[u32], features: Tensor) -> Result<Self, SparseError> {
        check_rows("sparse tensor", &features, order.len())?;
        let features = if order.iter().enumerate().all(|(i, &o)| i == o as usize) {
            features
        } else {
            features.index_select(&Tensor::from_slice(order, order.len(), features.device())?, 0)?
        };
        let manager = CoordinateManager::new(coords);
        let coords = manager.coarser(1, 1)?;
        Ok(Self { features, coords, manager })
    }

    /// Features on a set that a manager knows.
    ///
    /// # Errors
    /// [`SparseError::UnknownStride`] where the manager has no set of `stride`; [`SparseError::Shape`].
    pub fn on(manager: &Arc<CoordinateManager>, stride: u32, features: Tensor) -> Result<Self, SparseError> {
        let coords = manager.coarser(stride, 1)?;
        check_rows("sparse tensor", &features, coords.len())?;
        Ok(Self { features, coords, manager: manager.clone() })
    }

    /// The same voxels with other features.
    ///
    /// # Errors
    /// [`SparseError::Shape`] where `features` is not `[N, C]` with this tensor's `N`.
    pub fn with_features(&self, features: Tensor) -> Result<Self, SparseError> {
        check_rows("with_features", &features, self.len())?;
        Ok(Self { features, coords: self.coords.clone(), manager: self.manager.clone() })
    }

    /// The same with its features on another device; to a GPU the keys of the voxels go as well, which the tables of
    /// its convolutions are made from. To an NVIDIA GPU all of it is put behind what was asked for before, and nobody
    /// waits. What led to the features is not differentiated.
    ///
    /// # Errors
    /// Of the device, such as memory that does not suffice.
    pub fn send(&self, device: &Device) -> Result<Self, SparseError> {
        let features = ppkt_device::send(&self.features, device)?;
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            self.coords.on_cuda(device)?;
        }
        self.with_features(features)
    }

    /// The features, `[N, C]`.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// The voxels, `[batch, x, y, z]` in voxels of the finest grid; multiples of the stride.
    pub fn coords(&self) -> &[[i32; 4]] {
        self.coords.coords()
    }

    /// The set of voxels.
    pub fn coordinate_set(&self) -> &Arc<Coords> {
        &self.coords
    }

    /// Edge of a voxel, in voxels of the finest grid.
    pub fn stride(&self) -> u32 {
        self.coords.stride()
    }

    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.coords.len()
    }

    /// Whether there is no voxel.
    pub fn is_empty(&self) -> bool {
        self.coords.is_empty()
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.features.dims().get(1).copied().unwrap_or(0)
    }

    /// Number of batch items, those without voxels included.
    pub fn batch_size(&self) -> usize {
        self.coords.batch_size()
    }

    /// What all tensors computed from one input share.
    pub fn manager(&self) -> &Arc<CoordinateManager> {
        &self.manager
    }

    /// Checks that another tensor lives on the same voxels, row by row.
    ///
    /// # Errors
    /// [`SparseError::DifferentCoordinates`], naming `op`.
    pub fn check_same_coords(&self, other: &Self, op: &'static str) -> Result<(), SparseError> {
        if Arc::ptr_eq(&self.coords, &other.coords) {
            return Ok(());
        }
        Err(SparseError::DifferentCoordinates {
            op,
            left: self.stride(),
            right: other.stride(),
            left_rows: self.len(),
            right_rows: other.len(),
        })
    }
}

pub(crate) fn check_rows(op: &'static str, features: &Tensor, rows: usize) -> Result<(), SparseError> {
    let known = match features.dtype() {
        DType::F32 => true,
        // On a GPU the convolutions' operands may be kept in the type that its tensor cores multiply.
        DType::BF16 => !features.device().is_cpu(),
        _ => false,
    };
    let ok = matches!(features.dims(), [n, _] if *n == rows) && known;
    if !ok {
        let expected = format!("[{rows}, channels] and type f32 (it is {:?})", features.dtype());
        return Err(SparseError::Shape { op, what: "features", expected, got: features.dims().to_vec() });
    }
    Ok(())
}
