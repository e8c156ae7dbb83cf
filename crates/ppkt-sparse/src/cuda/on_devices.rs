//! What is made once for each device.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;
use candle_core::cuda::{CudaDevice, DeviceId};

/// Something in the memory of GPUs, for each GPU that has asked for it. Clones share it.
pub(crate) struct OnDevices<T>(Arc<Mutex<Vec<Made<T>>>>);

/// One, and the device that it is on.
type Made<T> = (DeviceId, Arc<T>);

impl<T> OnDevices<T> {
    /// What there is for `device`, or what `make` makes.
    pub(crate) fn get_or_make(
        &self,
        device: &CudaDevice,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        // A panic elsewhere leaves the list whole: entries are only ever added.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, one)) = made.iter().find(|(id, _)| *id == device.id()) {
            return Ok(one.clone());
        }
        let one = Arc::new(make()?);
        made.push((device.id(), one.clone()));
        Ok(one)
    }
}

impl<T> Default for OnDevices<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for OnDevices<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for OnDevices<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDevices")
    }
}
