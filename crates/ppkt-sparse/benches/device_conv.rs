//! Sub-manifold convolution on an NVIDIA GPU, beside the card's own rate for dense matrices.
//!
//! The last line is one JSON object. Operations are counted as in the bench `conv`: two for each pair of voxels that
//! meet, input channel and output channel, so without what a block multiplies by zeros. Times are of the device's own
//! events around ten calls at a time, medians of eleven. A gradient's time is that of forward and backward together,
//! less forward: what candle adds to it is in it.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::cuda::set_gemm_reduced_precision_f32;
use candle_core::{DType, Device, Tensor, Var};
use ppkt_sparse::{ConvSpec, SparseTensor, allow_tf32, conv};
use ppkt_testkit::DeviceBench;
use serde_json::{Value, json};

mod room;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPEC: ConvSpec = ConvSpec::new(3, 1);
const CALLS: usize = 10;

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
fn dense(bench: &DeviceBench, dtype: DType) -> f64 {
    let n = bench.size(8192);
    let (a, b) = (numbers(bench.device(), &[n, n], dtype), numbers(bench.device(), &[n, n], dtype));
    2.0 * (n as f64).powi(3) / bench.time(CALLS, || a.matmul(&b)).median / 1e9
}

/// Every width, precision and pass.
fn convolutions(bench: &DeviceBench, coords: &[[i32; 4]], dense_bf16: f64) -> (usize, Vec<Value>) {
    let device = bench.device();
    let none = Tensor::zeros((coords.len(), 1), DType::F32, &Device::Cpu).unwrap();
    let (x, _) = SparseTensor::new(coords, none).unwrap();
    let manager = x.manager();
    let n_pairs = manager.kernel_map(1, SPEC).unwrap().n_pairs();
    let mut rows = Vec::new();
    for channels in [64, 128] {
        for (precision, dtype, tf32) in
            [("bf16", DType::BF16, false), ("tf32", DType::F32, true), ("f32", DType::F32, false)]
        {
            if device.is_cpu() && precision != "f32" {
                continue;
            }
            allow_tf32(tf32);
            let features = numbers(device, &[coords.len(), channels], dtype);
            let weight = numbers(device, &[27, channels, channels], DType::F32);
            let run = |x: &Tensor, w: &Tensor| -> candle_core::Result<Tensor> {
                let x = SparseTensor::on(manager, 1, x.clone()).map_err(candle_core::Error::wrap)?;
                Ok(conv(&x, w, SPEC).map_err(candle_core::Error::wrap)?.features().clone())
            };
            let (x, w) = (Var::from_tensor(&features).unwrap(), Var::from_tensor(&weight).unwrap());
            let forward = bench.time(CALLS, || run(&features, &weight)).median;
            let both = |x: &Tensor, w: &Tensor| bench.time(CALLS, || run(x, w)?.backward()).median;
            for (pass, ms) in [
                ("forward", forward),
                ("gradient by features", both(&x, &weight) - forward),
                ("gradient by weight", both(&features, &w) - forward),
            ] {
                let tflops = 2.0 * (n_pairs * channels * channels) as f64 / ms / 1e9;
                rows.push(json!({
                    "channels": channels, "precision": precision, "pass": pass, "ms": ms, "tflops": tflops,
                    "share_of_dense_bf16": tflops / dense_bf16,
                }));
            }
        }
    }
    allow_tf32(false);
    (n_pairs, rows)
}

fn main() {
    let bench = DeviceBench::open();
    // The processor multiplies no bf16 matrices for candle.
    let dense_bf16 = dense(&bench, if bench.device().is_cpu() { DType::F32 } else { DType::BF16 });
    let dense_f32 = dense(&bench, DType::F32);
    set_gemm_reduced_precision_f32(true);
    let dense_tf32 = dense(&bench, DType::F32);
    set_gemm_reduced_precision_f32(false);
    let coords = room::room(bench.size(300_000));
    let (pairs, rows) = convolutions(&bench, &coords, dense_bf16);
    bench.print(
        "submanifold convolution, 3x3x3",
        json!({
            "dense_bf16_tflops": dense_bf16, "dense_tf32_tflops": dense_tf32, "dense_f32_tflops": dense_f32,
            "voxels": coords.len(), "pairs": pairs, "rows": rows, "memory_mib": bench.peak_mib(),
        }),
    );
}
