//! How long a device needs for something.

use std::time::Instant;

use candle_core::{Device, Result};

/// Milliseconds that `device` needs for what `work` asks of it. Waits for what it was at before, and until it is done.
///
/// On an NVIDIA GPU by the device's own events before and behind the work, elsewhere by the clock.
///
/// # Errors
/// Those of `work`, and of a device that has failed.
pub fn milliseconds<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<f64> {
    device.synchronize()?;
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return crate::cuda::milliseconds(device, work);
    }
    let start = Instant::now();
    let made = work()?;
    device.synchronize()?;
    let taken = start.elapsed();
    drop(made);
    Ok(taken.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_and_its_error_is_told() {
        let mut calls = 0;
        let work = || {
            calls += 1;
            std::thread::sleep(std::time::Duration::from_millis(2));
            Ok(())
        };
        assert!(milliseconds(&Device::Cpu, work).unwrap() >= 2.0);
        assert_eq!(calls, 1);
        let fails = || -> Result<()> { candle_core::bail!("it fell over") };
        assert!(milliseconds(&Device::Cpu, fails).unwrap_err().to_string().contains("fell over"));
    }
}
