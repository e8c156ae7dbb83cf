//! A training step of the published network on an NVIDIA GPU: forward and backward, f32 and bf16.
//!
//! Prints one JSON object. Without a GPU it fails: nothing is measured on the processor instead. Four rooms of 100,000
//! voxels are a batch; kernel maps are made before, as a loader does. Times are medians around calls that the device
//! has finished.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use ppkt_device::DeviceChoice;
use ppkt_sparse::{SparseTensor, VarStore, allow_tf32};
use ppkt_student::{Arch, MinkUNet, MinkUNetConfig};
use serde_json::json;

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

fn main() {
    let device = match DeviceChoice::Cuda(0).open() {
        Ok(device) => device,
        Err(error) => {
            eprintln!("this bench needs an NVIDIA GPU: {error}");
            std::process::exit(1);
        }
    };
    let about = ppkt_device::findings().into_iter().find(|f| f.device == "cuda").map(|f| f.about);
    let coords = rooms(4, 100_000);
    let config = MinkUNetConfig { arch: Arch::MinkUNet34C, ..Default::default() };
    let store = VarStore::new(0);
    let net = MinkUNet::new(&config, store.builder(&device)).unwrap();
    let colours: Vec<f32> = (0..3 * coords.len()).map(|i| (i % 251) as f32 / 251.0).collect();
    let colours = Tensor::from_vec(colours, (coords.len(), 3), &Device::Cpu).unwrap();
    let (x, _) = SparseTensor::with_batch_size(&coords, colours, 4).unwrap();
    let mut steps = Vec::new();
    for (name, dtype, tf32) in
        [("bf16", DType::BF16, false), ("tf32", DType::F32, true), ("f32", DType::F32, false)]
    {
        allow_tf32(tf32);
        let features = x.features().to_device(&device).unwrap().to_dtype(dtype).unwrap();
        let x = x.with_features(features).unwrap();
        let step = || {
            let start = Instant::now();
            let loss = net.forward(&x, true).unwrap().features().to_dtype(DType::F32).unwrap().sqr().unwrap();
            let gradients = loss.mean_all().unwrap().backward().unwrap();
            device.synchronize().unwrap();
            drop(gradients);
            start.elapsed().as_secs_f64() * 1e3
        };
        for _ in 0..3 {
            step();
        }
        let mut all: Vec<f64> = (0..11).map(|_| step()).collect();
        all.sort_by(f64::total_cmp);
        steps.push(json!({ "precision": name, "forward_backward_ms": all[5], "fastest_ms": all[0] }));
    }
    println!(
        "{}",
        json!({ "bench": "MinkUNet34C, forward and backward", "device": about, "voxels": coords.len(), "steps": steps })
    );
}
