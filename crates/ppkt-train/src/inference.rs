//! The student where it is only looked at: validation, pictures, measuring, a trunk that stays as it is.

use std::sync::OnceLock;

use ppkt_sparse::SparseTensor;
use ppkt_student::{FoldedMinkUNet, MinkUNet, StudentError};

use crate::error::Result;

/// A network as it is now, for many voxel clouds: norms use their running statistics and, on the CPU, are folded into
/// the convolutions before them.
///
/// The folded weights are a copy, taken at the first cloud: later training does not reach them, so this is made anew
/// after each phase of training.
pub struct Inference {
    layers: MinkUNet,
    folded: OnceLock<FoldedMinkUNet>,
}

impl Inference {
    /// Of a network whose tensors have no graph.
    pub(crate) fn new(layers: &MinkUNet) -> Self {
        Self { layers: layers.clone(), folded: OnceLock::new() }
    }

    /// Embeddings or scores of all voxels.
    ///
    /// # Shapes
    /// `[N, C]` to `[N, D]`, rows in the order of `voxels`; not normalised.
    ///
    /// # Errors
    /// As [`MinkUNet::forward`].
    pub fn forward(&self, voxels: &SparseTensor) -> Result<SparseTensor> {
        Ok(match self.folded(voxels)? {
            Some(folded) => folded.forward(voxels)?,
            None => self.layers.forward(voxels, false)?,
        })
    }

    /// Features before the last layer.
    ///
    /// # Errors
    /// As [`MinkUNet::backbone`].
    pub(crate) fn backbone(&self, voxels: &SparseTensor) -> Result<SparseTensor> {
        Ok(match self.folded(voxels)? {
            Some(folded) => folded.backbone(voxels)?,
            None => self.layers.backbone(voxels, false)?,
        })
    }

    /// The folded network, which is one of the CPU.
    fn folded(&self, voxels: &SparseTensor) -> std::result::Result<Option<&FoldedMinkUNet>, StudentError> {
        if !voxels.features().device().is_cpu() {
            return Ok(None);
        }
        if let Some(folded) = self.folded.get() {
            return Ok(Some(folded));
        }
        let folded = self.layers.folded()?;
        Ok(Some(self.folded.get_or_init(|| folded)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use ppkt_sparse::VarStore;
    use ppkt_student::{Arch, MinkUNetConfig};

    use super::*;

    fn voxels() -> SparseTensor {
        let coords: Vec<[i32; 4]> =
            (0..40).flat_map(|a| (0..40).map(move |b| [0, a, b, (a * b) % 7])).collect();
        let values = (0..coords.len() * 3).map(|i| (i as f32 * 0.7).sin()).collect();
        let features = Tensor::from_vec(values, (coords.len(), 3), &Device::Cpu).unwrap();
        SparseTensor::new(&coords, features).unwrap().0
    }

    fn largest_difference(a: &SparseTensor, b: &SparseTensor) -> (f32, f32) {
        let values = |x: &SparseTensor| x.features().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (a, b) = (values(a), values(b));
        assert_eq!(a.len(), b.len());
        let scale = b.iter().fold(0f32, |m, v| m.max(v.abs()));
        (a.iter().zip(&b).fold(0f32, |m, (a, b)| m.max((a - b).abs())), scale)
    }

    #[test]
    fn it_is_the_network_as_it_was_when_it_was_made() {
        let config = MinkUNetConfig {
            arch: Arch::MinkUNet14A,
            in_channels: 3,
            out_channels: 9,
            first_kernel: 3,
            bn_momentum: 0.1,
        };
        let store = VarStore::new(3);
        let trained = MinkUNet::new(&config, store.builder(&Device::Cpu)).unwrap();
        let frozen = MinkUNet::new(&config, store.frozen(&Device::Cpu)).unwrap();
        let x = voxels();
        // Moves the running statistics away from 0 and 1.
        trained.forward(&x, true).unwrap();
        let before = Inference::new(&frozen);
        let (worst, scale) =
            largest_difference(&before.forward(&x).unwrap(), &frozen.forward(&x, false).unwrap());
        assert!(scale > 1e-3 && worst <= 1e-5 * scale, "{worst} of {scale}");
        let (worst, scale) =
            largest_difference(&before.backbone(&x).unwrap(), &frozen.backbone(&x, false).unwrap());
        assert!(scale > 1e-3 && worst <= 1e-5 * scale, "{worst} of {scale}");

        // Statistics that move on are seen by a new one alone.
        let then = before.forward(&x).unwrap();
        trained.forward(&x, true).unwrap();
        let now = frozen.forward(&x, false).unwrap();
        assert_eq!(largest_difference(&before.forward(&x).unwrap(), &then).0, 0.0);
        let (moved, scale) = largest_difference(&then, &now);
        assert!(moved > 1e-3 * scale, "{moved} of {scale}");
        let (worst, scale) = largest_difference(&Inference::new(&frozen).forward(&x).unwrap(), &now);
        assert!(worst <= 1e-5 * scale, "{worst} of {scale}");
    }
}
