//! Operations on rows by the kernels, run on the processor, against the processor's own.

use candle_core::{Device, Tensor, Var};
use ppkt_device::launch::Memory;
use ppkt_testkit::EmulatedGpu;

use super::*;
use crate::cuda::samples::{OF_BF16, assert_close, gpu, narrow, numbers, wide};
use crate::dense;

const SIZES: [(usize, usize); 6] = [(1, 1), (7, 3), (520, 20), (1025, 33), (2, 300), (0, 4)];

fn tensor(values: &[f32], rows: Rows) -> Var {
    Var::from_tensor(&Tensor::from_slice(values, (rows.n, rows.channels), &Device::Cpu).unwrap()).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The gradient of `(y * grad).sum()` by `x`.
fn gradient(y: &Tensor, grad: &[f32], x: &Var) -> Vec<f32> {
    let grad = Tensor::from_slice(grad, y.shape(), &Device::Cpu).unwrap();
    let grads = (y * grad).unwrap().sum_all().unwrap().backward().unwrap();
    flat(grads.get(x).unwrap())
}

fn all_sizes(test: impl Fn(&EmulatedGpu, Rows, &[f32], &[f32])) {
    let Some(gpu) = gpu() else { return };
    for (n, channels) in SIZES {
        let rows = Rows { n, channels };
        test(&gpu, rows, &numbers(rows.elements(), 1), &numbers(rows.elements(), 2));
    }
}

#[test]
fn relu_and_its_gradient() {
    all_sizes(|gpu, rows, x, grad| {
        let var = tensor(x, rows);
        let want = dense::relu_rows(&var).unwrap();
        let y = relu(gpu, gpu.array(x).view(), x.len()).unwrap().values();
        assert_eq!(y, flat(&want));
        let dx = relu_gradient(gpu, gpu.array(&y).view(), gpu.array(grad).view(), x.len()).unwrap().values();
        if rows.n > 0 {
            assert_eq!(dx, gradient(&want, grad, &var));
        }
        let small = relu(gpu, gpu.array(&narrow(x)).view(), x.len()).unwrap();
        assert_eq!(small.values(), narrow(&y));
        let dx_small = relu_gradient(gpu, small.view(), gpu.array(&narrow(grad)).view(), x.len()).unwrap();
        assert_eq!(dx_small.values(), narrow(&dx));
    });
    let Some(gpu) = gpu() else { return };
    assert!(
        relu(&gpu, gpu.array(&[f32::NAN]).view(), 1).unwrap().values()[0].is_nan(),
        "a NaN is let through"
    );
}

#[test]
fn channels_side_by_side_and_apart() {
    all_sizes(|gpu, rows, x, _| {
        let right = numbers(rows.n * 5, 3);
        let want = dense::cat_rows(&tensor(x, rows), &tensor(&right, Rows { channels: 5, ..rows })).unwrap();
        let both =
            cat(gpu, (gpu.array(x).view(), rows.channels), (gpu.array(&right).view(), 5), rows.n).unwrap();
        assert_eq!(both.values(), flat(&want));
        let of_both = Rows { channels: rows.channels + 5, ..rows };
        assert_eq!(columns(gpu, both.view(), of_both, (0, rows.channels)).unwrap().values(), x);
        assert_eq!(columns(gpu, both.view(), of_both, (rows.channels, 5)).unwrap().values(), right);
        let [x, right] = [x, &right].map(|v| gpu.array(&narrow(v)));
        let small = cat(gpu, (x.view(), rows.channels), (right.view(), 5), rows.n).unwrap();
        assert_eq!(small.values(), narrow(&both.values()));
    });
}

#[test]
fn sums_over_rows() {
    all_sizes(|gpu, rows, x, _| {
        let got = column_sums(gpu, gpu.array(x).view(), rows).unwrap().values();
        assert_close(&got, &dense::column_sums(x, rows.n, rows.channels), 1e-6);
        let small = narrow(x);
        let got = column_sums(gpu, gpu.array(&small).view(), rows).unwrap().values();
        assert_close(&got, &dense::column_sums(&wide(&small), rows.n, rows.channels), 1e-6);
    });
}

#[test]
fn rows_of_length_one() {
    all_sizes(|gpu, rows, x, grad| {
        let mut x = x.to_vec();
        // A row without a direction.
        x.iter_mut().take(rows.channels).for_each(|v| *v = 0.0);
        let var = tensor(&x, rows);
        let want = crate::unit_norm(&var).unwrap();
        let on_gpu = gpu.array(&x);
        let y = unit(gpu, on_gpu.view(), rows).unwrap();
        assert_close(&y.values(), &flat(&want), 1e-6);
        let on_gpu_grad = gpu.array(grad);
        let dx = unit_gradient(gpu, [&on_gpu, &y, &on_gpu_grad].map(Memory::view), rows).unwrap();
        if rows.n > 0 {
            assert_close(&dx.values(), &gradient(&want, grad, &var), 1e-5);
        }
        let small = unit(gpu, gpu.array(&narrow(&x)).view(), rows).unwrap();
        assert_close(&wide(&small.values()), &y.values(), OF_BF16);
    });
}

#[test]
fn merged_rows() {
    let Some(gpu) = gpu() else { return };
    let row_of_input = [2, 0, 1, 0, 2, 2, 3];
    let (starts, inputs) = ([0, 2, 3, 6, 7], [1, 3, 2, 0, 4, 5, 6]);
    for channels in [1, 33] {
        let x = numbers(7 * channels, 1);
        for mean in [false, true] {
            let merging = Merging { starts: &starts, inputs: &inputs, row_of_input: &row_of_input, mean };
            let y = merging.forward(&gpu, gpu.array(&x).view(), channels).unwrap().values();
            let grad = numbers(4 * channels, 2);
            let dx = merging.backward(&gpu, gpu.array(&grad).view(), channels).unwrap().values();
            for c in 0..channels {
                for row in 0..4 {
                    let of_row = |r: &usize| row_of_input[*r] as usize == row;
                    let rows: Vec<usize> = (0..7).filter(of_row).collect();
                    let divisor = if mean { rows.len() as f64 } else { 1.0 };
                    let sum: f64 = rows.iter().map(|r| f64::from(x[r * channels + c])).sum();
                    assert_eq!(y[row * channels + c], (sum / divisor) as f32);
                    for r in rows {
                        let want = (f64::from(grad[row * channels + c]) / divisor) as f32;
                        assert_eq!(dx[r * channels + c], want);
                    }
                }
            }
        }
    }
}
