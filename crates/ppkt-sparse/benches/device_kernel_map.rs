//! Kernel maps on the device that the bench was built for: milliseconds from keys to tables, medians of 20.
//!
//! The last line is one JSON object. `from_keys`: the set is on the device, with its hash table; `with_upload`: its keys
//! are sent there too, and the table is made.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::time::Instant;

use candle_core::Device;
use ppkt_sparse::{ConvSpec, CoordinateManager, Coords};

mod room;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 20;

/// Milliseconds, the median, of `prepare` on what `set` gives.
fn median(device: &Device, spec: ConvSpec, set: impl Fn() -> Coords) -> f64 {
    let mut times: Vec<f64> = (0..RUNS + 3)
        .map(|_| {
            let manager = CoordinateManager::new(set());
            // The coarser set is the processor's work.
            let map = manager.kernel_map(1, spec).unwrap();
            device.synchronize().unwrap();
            let started = Instant::now();
            map.prepare(device).unwrap();
            device.synchronize().unwrap();
            started.elapsed().as_secs_f64() * 1e3
        })
        .skip(3)
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn main() {
    let devices = ppkt_testkit::devices();
    let device = &devices[devices.len() - 1];
    let mut rows = Vec::new();
    for voxels in [100_000, 400_000] {
        let coords = room::room(voxels);
        let set = Coords::new(&coords).unwrap().0;
        let sorted = set.coords().to_vec();
        for (name, spec) in [
            ("3x3x3", ConvSpec::new(3, 1)),
            ("5x5x5", ConvSpec::new(5, 1)),
            ("2x2x2 stride 2", ConvSpec::new(2, 2)),
        ] {
            let from_keys = median(device, spec, || set.clone());
            let with_upload = median(device, spec, || Coords::new(&sorted).unwrap().0);
            println!("{} voxels, {name}: {from_keys:.3} ms, with upload {with_upload:.3} ms", set.len());
            rows.push(format!(
                r#"{{"voxels":{},"kernel":"{name}","from_keys_ms":{from_keys:.4},"with_upload_ms":{with_upload:.4}}}"#,
                set.len()
            ));
        }
    }
    println!(r#"{{"device":"{:?}","maps":[{}]}}"#, device.location(), rows.join(","));
}
