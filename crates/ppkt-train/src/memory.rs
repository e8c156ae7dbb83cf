//! Keeping a training step within an amount of memory.
//!
//! A batch is not cut into smaller ones for that: norms go by all voxels of a batch and objectives by all of its pairs,
//! so gradients would be others. What the backward pass keeps is cut instead, which changes no bit of them.

use std::sync::OnceLock;

use candle_core::Device;
use ppkt_sparse::{Recompute, SparseTensor};
use ppkt_student::MinkUNet;
use ppkt_teacher::ByteSize;

use crate::error::{Result, TrainError};
use crate::metrics::resident_bytes;

/// What a run may have in use, and how its steps keep to that.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    /// 0 for none.
    limit: ByteSize,
    /// On the processor: resident before the first step. What is freed after one stays with the allocator.
    before: OnceLock<u64>,
}

impl MemoryLimit {
    /// # Errors
    /// [`TrainError::Config`] where nothing tells how much is in use.
    pub(crate) fn new(limit: ByteSize, device: &Device) -> Result<Self> {
        if limit.0 > 0 && in_use(device).is_none() {
            return Err(TrainError::Config(format!(
                "memory_limit is {limit}, and nothing tells how much memory is in use on {}: it is known on the \
                 processor under Linux and on NVIDIA GPUs; set memory_limit=0",
                ppkt_device::name(device)
            )));
        }
        Ok(Self { limit, before: OnceLock::new() })
    }

    /// What the backward pass of a step has to compute again, as little as there is room for.
    ///
    /// # Errors
    /// [`TrainError::Memory`] where there is room for nothing.
    pub(crate) fn recompute(&self, network: &MinkUNet, voxels: &SparseTensor) -> Result<Recompute> {
        let device = voxels.features().device();
        let (true, Some(now)) = (self.limit.0 > 0, in_use(device)) else { return Ok(Recompute::default()) };
        let in_use = if device.is_cpu() { *self.before.get_or_init(|| now) } else { now };
        let mut least = u64::MAX;
        for recompute in Recompute::ALL {
            let step = network.training_memory(voxels, recompute)? as u64;
            if in_use + step <= self.limit.0 {
                return Ok(recompute);
            }
            least = least.min(step);
        }
        Err(TrainError::Memory {
            limit: self.limit,
            in_use: mib(in_use),
            step: mib(least),
            voxels: voxels.len(),
        })
    }
}

fn in_use(device: &Device) -> Option<u64> {
    if device.is_cpu() { resident_bytes() } else { ppkt_device::used_bytes(device) }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;
    use ppkt_sparse::VarStore;
    use ppkt_student::{Arch, MinkUNetConfig};

    use super::*;

    #[test]
    fn a_step_keeps_as_much_as_there_is_room_for() {
        let Some(now) = in_use(&Device::Cpu) else {
            println!("skipped: nothing tells how much memory is in use here");
            return;
        };
        let config = MinkUNetConfig { arch: Arch::MinkUNet18A, ..Default::default() };
        let network = MinkUNet::new(&config, VarStore::new(1).builder(&Device::Cpu)).unwrap();
        let coords: Vec<[i32; 4]> = (0..40_000).map(|i| [0, i % 200, i / 200, (i % 7) / 3]).collect();
        let features = Tensor::ones((coords.len(), 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let (x, _) = SparseTensor::new(&coords, features).unwrap();
        let [most, least] = Recompute::ALL.map(|r| network.training_memory(&x, r).unwrap() as u64);
        assert!(least < most);
        let choose = |limit: u64| {
            let limit = MemoryLimit { limit: ByteSize(limit), before: now.into() };
            limit.recompute(&network, &x)
        };
        assert_eq!(choose(0).unwrap(), Recompute::Cheap);
        assert_eq!(choose(now + most).unwrap(), Recompute::Cheap);
        assert_eq!(choose(now + most - 1).unwrap(), Recompute::Convolutions);
        assert_eq!(choose(now + least).unwrap(), Recompute::Convolutions);
        let error = choose(now + least - 1).unwrap_err().to_string();
        assert!(error.contains("40000 voxels") && error.contains("bf16"), "{error}");
    }
}
