//! A training step of the published network on an NVIDIA GPU: forward and backward.
//!
//! The last line is one JSON object. Four rooms of 100,000 voxels are a batch; times are of the device's own events,
//! medians of eleven: `maps_ready_ms` with kernel maps that are on the device already, `new_maps_ms` with those of a
//! batch that was sent there a moment before. `handed_over_ms` is how long the processor needs to ask for all of it: where
//! something waited for the device in between, it would be as long as the step. With `PPKT_BENCH_VOXELS` the voxels are
//! written to that file, so that others can be given the same.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use ppkt_sparse::{Precision, SparseTensor, VarStore, allow_tf32};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig};
use ppkt_testkit::DeviceBench;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The surfaces of `items` rooms, about `n` voxels each.
fn rooms(items: i32, n: usize) -> Vec<[i32; 4]> {
    let edge = (n as f64 / 3.0).sqrt() as i32;
    let mut set = std::collections::BTreeSet::new();
    for b in 0..items {
        for i in 0..edge {
            for j in 0..edge {
                // Floor with waves, and two walls.
                let wave = ((i + 7 * b) * (i + 7 * b) / 97 + j / 5) % 3;
                set.extend([[b, i, j, wave], [b, i, 0, j + 3], [b, 0, j, i + 3]]);
            }
        }
    }
    set.into_iter().collect()
}

/// Forward and backward, with the mean of squares as the loss.
fn step(net: &MinkUNet, x: &SparseTensor) -> Result<()> {
    let out = net.forward(x, true).map_err(candle_core::Error::wrap)?;
    let loss = out.features().to_dtype(DType::F32)?.sqr()?.mean_all()?;
    loss.backward().map(drop)
}

/// Milliseconds until a step has been asked for, the least of some.
fn handed_over(bench: &DeviceBench, mut step: impl FnMut() -> Result<()>) -> f64 {
    let times = (0..5).map(|_| {
        bench.device().synchronize().unwrap();
        let start = Instant::now();
        step().unwrap();
        start.elapsed().as_secs_f64() * 1e3
    });
    let least = times.fold(f64::INFINITY, f64::min);
    bench.device().synchronize().unwrap();
    least
}

fn measure(bench: &DeviceBench, net: &MinkUNet, coords: &[[i32; 4]], colours: &Tensor) -> Value {
    let made = || {
        let (x, _) = SparseTensor::with_batch_size(coords, colours.clone(), 4).unwrap();
        x.send(bench.device()).unwrap()
    };
    let ready = made();
    let maps_ready = bench.time(1, || step(net, &ready));
    let new_maps = bench.time_with(made, |x| step(net, x));
    json!({
        "maps_ready_ms": maps_ready.median, "maps_ready_fastest_ms": maps_ready.fastest,
        "new_maps_ms": new_maps.median, "new_maps_fastest_ms": new_maps.fastest,
        "handed_over_ms": handed_over(bench, || step(net, &ready)),
        // Of all so far: the precision that needs least comes first.
        "memory_mib": bench.peak_mib(),
    })
}

fn main() {
    let bench = DeviceBench::open();
    let coords = rooms(4, bench.size(100_000));
    if let Some(path) = std::env::var_os("PPKT_BENCH_VOXELS") {
        let bytes: Vec<u8> = coords.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(path, bytes).unwrap();
    }
    let config = MinkUNetConfig { arch: Arch::MinkUNet34C, ..Default::default() };
    let store = VarStore::new(0);
    let net = MinkUNet::new(&config, store.builder(bench.device())).unwrap();
    let colours: Vec<f32> = (0..3 * coords.len()).map(|i| (i % 251) as f32 / 251.0).collect();
    let colours = Tensor::from_vec(colours, (coords.len(), 3), &Device::Cpu).unwrap();
    let mut steps = Vec::new();
    for (name, precision, tf32) in
        [("bf16", Precision::Bf16, false), ("tf32", Precision::F32, true), ("f32", Precision::F32, false)]
    {
        if bench.device().is_cpu() && name == "tf32" {
            continue;
        }
        allow_tf32(tf32);
        let mut row = match net.clone().with_precision(precision) {
            Ok(net) => measure(&bench, &net, &coords, &colours),
            Err(error) => json!({ "error": error.to_string() }),
        };
        row["precision"] = name.into();
        steps.push(row);
    }
    let parameters: usize = store.trainable().iter().map(|(_, var)| var.elem_count()).sum();
    bench.print(
        "MinkUNet34C, forward and backward",
        json!({ "voxels": coords.len(), "parameters": parameters, "steps": steps }),
    );
}
