//! Kernel maps on an NVIDIA GPU: milliseconds from keys to tables, medians of eleven by the device's own events.
//!
//! The last line is one JSON object. `from_keys_ms`: the set is on the device, with its hash table; `with_upload_ms`: its
//! keys are sent there too, and the table is made.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use ppkt_sparse::{ConvSpec, CoordinateManager, Coords};
use ppkt_testkit::DeviceBench;
use serde_json::json;

mod room;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let bench = DeviceBench::open();
    let mut rows = Vec::new();
    for voxels in [100_000, 400_000] {
        let set = Coords::new(&room::room(bench.size(voxels))).unwrap().0;
        let sorted = set.coords().to_vec();
        for (kernel, spec) in [
            ("3x3x3", ConvSpec::new(3, 1)),
            ("5x5x5", ConvSpec::new(5, 1)),
            ("2x2x2 stride 2", ConvSpec::new(2, 2)),
        ] {
            let time = |set: &dyn Fn() -> Coords| {
                // The coarser set is the processor's work.
                let map = || CoordinateManager::new(set()).kernel_map(1, spec).unwrap();
                bench.time_with(map, |map| map.prepare(bench.device()).map_err(candle_core::Error::wrap))
            };
            // Clones share what is on the device.
            let (from_keys, with_upload) = (time(&|| set.clone()), time(&|| Coords::new(&sorted).unwrap().0));
            rows.push(json!({
                "voxels": set.len(), "kernel": kernel,
                "from_keys_ms": from_keys.median, "from_keys_fastest_ms": from_keys.fastest,
                "with_upload_ms": with_upload.median, "with_upload_fastest_ms": with_upload.fastest,
            }));
        }
    }
    bench.print("kernel maps", json!({ "rows": rows, "memory_mib": bench.peak_mib() }));
}
