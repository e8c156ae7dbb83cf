//! The devices that a test body runs on.

use candle_core::Device;
use ppkt_device::{DeviceChoice, DeviceError};

/// Set on a machine with a GPU: a GPU that cannot be used is then a failure, so that a test that did not run there
/// cannot look like one that passed.
const REQUIRED: &str = "PPKT_REQUIRE_GPU";

/// The most rows that a test over devices takes, for where a GPU is stood in for by a processor.
const MOST_ROWS: &str = "PPKT_DEVICE_ROWS";

/// The processor, and the GPU that the tests were built for (features `cuda` and `metal`).
///
/// A test over these has a name that begins with `device_`; that is how a machine with a GPU finds it.
///
/// # Panics
/// With `PPKT_REQUIRE_GPU` set, where there is no GPU that can be used; without it, that is printed.
pub fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    let mut missing = Vec::new();
    for choice in [DeviceChoice::Cuda(0), DeviceChoice::Metal] {
        match choice.open() {
            Ok(device) => devices.push(device),
            Err(DeviceError::NotBuilt { .. }) => {}
            Err(error) => missing.push(error.to_string()),
        }
    }
    let required = std::env::var_os(REQUIRED).is_some();
    assert!(!required || devices.len() > 1, "{REQUIRED} is set, and there is no GPU: {missing:?}");
    missing.iter().for_each(|why| println!("on the processor alone, not on a GPU: {why}"));
    devices
}

/// `n` rows, or as many as `PPKT_DEVICE_ROWS` allows.
///
/// # Panics
/// Where that is no number.
pub fn rows_allowed(n: usize) -> usize {
    let most = std::env::var(MOST_ROWS).ok();
    let most = most.map(|text| text.parse().unwrap_or_else(|_| panic!("{MOST_ROWS} is no number: {text:?}")));
    n.min(most.unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    #[test]
    fn device_lists_begin_with_the_processor() {
        assert!(super::devices()[0].is_cpu());
    }
}
