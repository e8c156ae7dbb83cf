//! Convolution and kernel maps on an NVIDIA GPU, beside its own rate for dense matrices.
//!
//! Prints one JSON object. Without a GPU it fails: nothing is measured on the processor instead.
//!
//! Operations are counted as in the bench `conv`: two for each pair of voxels that meet, input channel and output
//! channel, so without what a block multiplies by zeros. Times are of the device's own events, around ten calls at a
//! time, medians of eleven. A gradient's time is that of forward and backward together, less forward: what candle adds
//! to it is in it.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::cuda::cudarc::driver::sys::CUevent_flags;
use candle_core::{DType, Device, Tensor, Var};
use ppkt_device::DeviceChoice;
use ppkt_sparse::{ConvSpec, CoordinateManager, Coords, SparseTensor, allow_tf32, conv};
use serde_json::{Value, json};

mod room;

const SPEC: ConvSpec = ConvSpec::new(3, 1);
const CALLS: usize = 10;
const SAMPLES: usize = 11;

/// Milliseconds of the device for one call of `f`.
fn time<T>(device: &Device, mut f: impl FnMut() -> T) -> f64 {
    let stream = device.as_cuda_device().unwrap().cuda_stream();
    let mut call = || drop(f());
    (0..3).for_each(|_| call());
    let mut sample = || {
        let event = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
        let start = event();
        (0..CALLS).for_each(|_| call());
        let end = event();
        f64::from(start.elapsed_ms(&end).unwrap()) / CALLS as f64
    };
    let mut samples: Vec<f64> = (0..SAMPLES).map(|_| sample()).collect();
    samples.sort_by(f64::total_cmp);
    samples[SAMPLES / 2]
}

/// Numbers in -1..1: zeros would let a GPU run faster than real ones do.
fn numbers(device: &Device, shape: &[usize], dtype: DType) -> Tensor {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let all: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(all, shape, device).unwrap().to_dtype(dtype).unwrap()
}

/// TFLOP/s of a large product of matrices by the vendor's library.
fn dense(device: &Device, dtype: DType) -> f64 {
    const N: usize = 8192;
    let (a, b) = (numbers(device, &[N, N], dtype), numbers(device, &[N, N], dtype));
    2.0 * (N as f64).powi(3) / time(device, || a.matmul(&b).unwrap()) / 1e9
}

fn convolutions(device: &Device, dense_bf16: f64) -> Vec<Value> {
    let coords = room::room(300_000);
    let none = Tensor::zeros((coords.len(), 1), DType::F32, &Device::Cpu).unwrap();
    let (x, _) = SparseTensor::new(&coords, none).unwrap();
    let manager = x.manager();
    let n_pairs = manager.kernel_map(1, SPEC).unwrap().n_pairs();
    let mut results = Vec::new();
    for channels in [64, 128] {
        for (name, dtype, tf32) in
            [("bf16", DType::BF16, false), ("tf32", DType::F32, true), ("f32", DType::F32, false)]
        {
            allow_tf32(tf32);
            let features = numbers(device, &[coords.len(), channels], dtype);
            let weight = numbers(device, &[27, channels, channels], DType::F32);
            let run = |x: &Tensor, w: &Tensor| {
                conv(&SparseTensor::on(manager, 1, x.clone()).unwrap(), w, SPEC).unwrap().features().clone()
            };
            let (x, w) = (Var::from_tensor(&features).unwrap(), Var::from_tensor(&weight).unwrap());
            let forward = time(device, || run(&features, &weight));
            let of_features = time(device, || run(&x, &weight).backward().unwrap()) - forward;
            let of_weight = time(device, || run(&features, &w).backward().unwrap()) - forward;
            for (pass, ms) in [
                ("forward", forward),
                ("gradient by features", of_features),
                ("gradient by weight", of_weight),
            ] {
                let tflops = 2.0 * (n_pairs * channels * channels) as f64 / ms / 1e9;
                results.push(json!({
                    "channels": channels, "precision": name, "pass": pass, "ms": ms, "tflops": tflops,
                    "share_of_dense_bf16": tflops / dense_bf16,
                }));
            }
        }
    }
    allow_tf32(false);
    results.push(json!({ "voxels": coords.len(), "pairs": n_pairs }));
    results
}

/// Milliseconds for the table of 27 offsets, once the sorted keys are on the device.
fn kernel_map(device: &Device) -> Value {
    let coords = room::room(400_000);
    let (set, _) = Coords::new(&coords).unwrap();
    // The keys go to the device with the first map.
    let make = || CoordinateManager::new(set.clone()).kernel_map(1, SPEC).unwrap().prepare(device).unwrap();
    json!({ "voxels": coords.len(), "ms": time(device, make) })
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
    let dense_bf16 = dense(&device, DType::BF16);
    let result = json!({
        "bench": "convolution",
        "device": about,
        "dense_bf16_tflops": dense_bf16,
        "dense_f32_tflops": dense(&device, DType::F32),
        "submanifold_3x3x3": convolutions(&device, dense_bf16),
        "kernel_map_27": kernel_map(&device),
    });
    println!("{result}");
}
