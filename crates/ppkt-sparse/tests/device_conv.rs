//! Convolution and its gradients on every device, against the processor's.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor, Var};
use ppkt_sparse::{ConvSpec, SparseTensor, allow_tf32, conv, conv_cat, conv_transpose};
use ppkt_testkit::{devices, rows_allowed};

/// Whether tf32 is allowed is of the whole program: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// `n` voxels of a wavy sheet in two batch items.
fn sheet(n: usize) -> Vec<[i32; 4]> {
    let edge = (n as f64 / 2.0).sqrt().ceil().max(1.0) as usize;
    let voxel = |i: usize| {
        let (b, x, y) = ((i / (edge * edge)) as i32, (i / edge % edge) as i32, (i % edge) as i32);
        [b, x - 3, y, (x * x + 3 * y) % 11 / 3]
    };
    (0..n).map(voxel).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    OfTwo,
    Transposed,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    voxels: usize,
    spec: ConvSpec,
    kind: Kind,
    cin: usize,
    cout: usize,
}

const fn case(voxels: usize, kernel: usize, cin: usize, cout: usize) -> Case {
    Case { voxels, spec: ConvSpec::new(kernel, 1), kind: Kind::Plain, cin, cout }
}

fn cases() -> Vec<Case> {
    let between = ConvSpec::new(2, 2);
    vec![
        case(0, 3, 16, 32),
        case(1, 3, 16, 32),
        case(257, 3, 13, 7),
        case(3000, 5, 3, 32),
        case(3000, 1, 96, 20),
        case(5000, 3, 96, 96),
        Case { kind: Kind::OfTwo, ..case(5000, 3, 128, 96) },
        Case { spec: between, ..case(5000, 2, 32, 64) },
        Case { spec: between, kind: Kind::Transposed, ..case(5000, 2, 64, 32) },
        case(100_000, 3, 64, 64),
        case(40_000, 3, 128, 128),
    ]
}

/// The result, and the gradients by the inputs and the weight, as f32 on the processor.
fn run(case: Case, device: &Device, dtype: DType) -> Vec<Vec<f32>> {
    // Every device multiplies the numbers that `dtype` can hold.
    let tensor = |seed: u32, shape: &[usize], to: DType| {
        let t = Tensor::from_vec(numbers(seed, shape.iter().product()), shape, &Device::Cpu).unwrap();
        let t = t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        t.to_dtype(to).unwrap().to_device(device).unwrap()
    };
    let coords = sheet(rows_allowed(case.voxels));
    let none = Tensor::zeros((coords.len(), 1), DType::F32, &Device::Cpu).unwrap();
    let (x, _) = SparseTensor::with_batch_size(&coords, none, 2).unwrap();
    let manager = x.manager();
    let coarse = manager.coarser(1, case.spec.stride).unwrap();
    let (stride, n) = match case.kind {
        Kind::Transposed => (case.spec.stride as u32, coarse.len()),
        _ => (1, coords.len()),
    };
    let widths = if case.kind == Kind::OfTwo { vec![case.cin / 4 * 3, case.cin / 4] } else { vec![case.cin] };
    let inputs: Vec<Var> = widths
        .iter()
        .enumerate()
        .map(|(i, &c)| Var::from_tensor(&tensor(i as u32 + 1, &[n, c], dtype)).unwrap())
        .collect();
    let w = Var::from_tensor(&tensor(5, &[case.spec.volume(), case.cin, case.cout], DType::F32)).unwrap();
    let on = |v: &Var| SparseTensor::on(manager, stride, v.as_tensor().clone()).unwrap();
    let y = match (case.kind, &inputs[..]) {
        (Kind::Transposed, [x]) => conv_transpose(&on(x), &w, case.spec),
        (_, [x]) => conv(&on(x), &w, case.spec),
        (_, [l, r]) => conv_cat(&on(l), &on(r), &w, case.spec),
        _ => unreachable!(),
    };
    let y = y.unwrap().features().clone();
    assert_eq!(y.dtype(), dtype);
    let grad = tensor(7, y.dims(), dtype);
    let grads = y.mul(&grad).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| -> Vec<f32> {
        t.to_device(&Device::Cpu)
            .unwrap()
            .to_dtype(DType::F32)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    };
    let mut all = vec![flat(&y)];
    all.extend(inputs.iter().chain([&w]).map(|v| grads.get(v).map_or_else(Vec::new, flat)));
    all
}

/// ‖got - want‖ / ‖want‖
fn apart(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |v: f64| v * v;
    let size: f64 = want.iter().map(|&w| square(f64::from(w))).sum();
    let off: f64 = got.iter().zip(want).map(|(&g, &w)| square(f64::from(g) - f64::from(w))).sum();
    if size == 0.0 { off } else { (off / size).sqrt() }
}

fn check(device: &Device, dtype: DType, bound: f64) {
    for case in cases() {
        let want = run(case, &Device::Cpu, DType::F32);
        let got = run(case, device, dtype);
        for (what, (got, want)) in got.iter().zip(&want).enumerate() {
            let apart = apart(got, want);
            assert!(apart <= bound, "{case:?} on {device:?} in {dtype:?}: result {what} is {apart:e} off");
        }
        assert_eq!(
            run(case, device, dtype),
            got,
            "{case:?} on {device:?} in {dtype:?}: other bits the second time"
        );
    }
}

#[test]
fn device_convolution_is_the_processors() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for device in devices() {
        check(&device, DType::F32, 1e-5);
    }
}

#[test]
fn device_convolution_in_bf16_is_near() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for device in devices().iter().filter(|d| d.is_cuda()) {
        check(device, DType::BF16, 4e-3);
    }
}

#[test]
fn device_convolution_in_tf32_is_near() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    allow_tf32(true);
    let result = std::panic::catch_unwind(|| {
        for device in devices().iter().filter(|d| d.is_cuda()) {
            check(device, DType::F32, 1e-3);
        }
    });
    allow_tf32(false);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
