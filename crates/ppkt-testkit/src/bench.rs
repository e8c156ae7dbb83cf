//! What benches of devices share: one device, one method, one line of JSON at the end.

use candle_core::{Device, Result};
use ppkt_device::{DeviceChoice, milliseconds};
use serde_json::{Value, json};

/// Sizes are divided by this, for a rehearsal; the result says so.
const DIVIDED: &str = "PPKT_BENCH_DIVIDE";
/// The device, where it is not the first NVIDIA GPU; the result says which it was.
const DEVICE: &str = "PPKT_DEVICE";

/// Calls before the first sample: kernels are loaded and memory is taken from the system in these.
const WARM: usize = 3;
/// Samples that a median is of.
const SAMPLES: usize = 11;

/// A bench on one device.
pub struct DeviceBench {
    device: Device,
    divided: usize,
}

/// Milliseconds of one call.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The median of the samples.
    pub median: f64,
    /// The fastest.
    pub fastest: f64,
}

impl DeviceBench {
    /// Opens the first NVIDIA GPU, or what `PPKT_DEVICE` names. Without it the process ends with an error: nothing is
    /// measured on the processor that was not asked for.
    pub fn open() -> Self {
        let asked = std::env::var(DEVICE).ok();
        let choice = asked.as_deref().map_or(Ok(DeviceChoice::Cuda(0)), str::parse);
        let device = choice.and_then(DeviceChoice::open).unwrap_or_else(|error| {
            eprintln!("this bench has no device: {error}");
            std::process::exit(1)
        });
        let divided = std::env::var(DIVIDED).ok().and_then(|n| n.parse().ok()).unwrap_or(1);
        Self { device, divided: divided.max(1) }
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A size, or the part of it that a rehearsal has.
    pub fn size(&self, full: usize) -> usize {
        (full / self.divided).max(64)
    }

    /// Milliseconds of a call of `f`: of samples of `calls` calls each, after some that do not count, by the device's
    /// own events.
    ///
    /// # Panics
    /// If `f` fails.
    pub fn time<T>(&self, calls: usize, mut f: impl FnMut() -> Result<T>) -> Times {
        self.time_with(|| (), |()| (0..calls).try_for_each(|_| f().map(drop))).of(calls)
    }

    /// As [`Self::time`] of single calls, each with something that is made before and not counted.
    ///
    /// # Panics
    /// If `f` fails.
    pub fn time_with<S, T>(&self, mut made: impl FnMut() -> S, mut f: impl FnMut(&S) -> Result<T>) -> Times {
        let mut samples = Vec::new();
        for i in 0..WARM + SAMPLES {
            let made = made();
            let taken = milliseconds(&self.device, || f(&made)).unwrap_or_else(|e| panic!("{e}"));
            if i >= WARM {
                samples.push(taken);
            }
        }
        Times::of_samples(samples)
    }

    /// The most memory of the device that this process had in use so far, MiB.
    pub fn peak_mib(&self) -> Option<u64> {
        ppkt_device::peak_bytes(&self.device).map(|bytes| bytes >> 20)
    }

    /// Prints the one line of the result: `fields`, an object, with what it was measured on.
    ///
    /// # Panics
    /// If `fields` is no object.
    pub fn print(&self, name: &str, fields: Value) {
        let device = ppkt_device::name(&self.device);
        let about = ppkt_device::findings().into_iter().find(|f| f.device == device).map(|f| f.about);
        let mut result = json!({ "bench": name, "device": device, "about": about });
        if self.divided > 1 {
            result["rehearsal_divided_by"] = self.divided.into();
        }
        let (Value::Object(all), Value::Object(fields)) = (&mut result, fields) else {
            panic!("the fields of a result are an object")
        };
        all.extend(fields);
        println!("{result}");
    }
}

impl Times {
    fn of_samples(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { median: samples[samples.len() / 2], fastest: samples[0] }
    }

    fn of(self, calls: usize) -> Self {
        let calls = calls.max(1) as f64;
        Self { median: self.median / calls, fastest: self.fastest / calls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_what_comes_after_warming_up() {
        let bench = DeviceBench { device: Device::Cpu, divided: 1000 };
        assert_eq!((bench.size(400_000), bench.size(100)), (400, 64));
        let mut calls = 0;
        let slow_at_first = || {
            calls += 1;
            std::thread::sleep(std::time::Duration::from_millis(if calls <= 2 * WARM { 30 } else { 1 }));
            Ok(())
        };
        let times = bench.time(2, slow_at_first);
        assert!(times.fastest <= times.median && times.median < 20.0, "{times:?}");
        assert_eq!(calls, 2 * (WARM + SAMPLES));
    }

    #[test]
    #[should_panic(expected = "it fell over")]
    fn what_fails_is_not_measured() {
        let bench = DeviceBench { device: Device::Cpu, divided: 1 };
        bench.time(1, || -> Result<()> { candle_core::bail!("it fell over") });
    }
}
