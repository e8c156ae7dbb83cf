//! Operations on rows against the processor's, and their gradients against candle's graph of them.

use candle_core::{Device, Tensor, Var};
use ppkt_wgsl::Gpu;

use super::{assert_agree, numbers};
use crate::dense::{cat_rows, relu_rows};
use crate::metal::rows::{
    Merging, cat, columns, merge, merge_gradient, relu, relu_gradient, unit, unit_gradient,
};
use crate::unit_norm;

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn var(values: &[f32], shape: (usize, usize)) -> Var {
    Var::from_slice(values, shape, &Device::Cpu).unwrap()
}

/// The gradients by `vars` of the sum of `y * grad`.
fn gradients<const N: usize>(y: &Tensor, grad: &[f32], vars: [&Var; N]) -> [Vec<f32>; N] {
    let grad = Tensor::from_slice(grad, y.shape(), &Device::Cpu).unwrap();
    let grads = (y * grad).unwrap().sum_all().unwrap().backward().unwrap();
    vars.map(|v| values(grads.get(v).unwrap()))
}

#[test]
fn relu_and_its_gradient_agree() {
    let Some(gpu) = Gpu::get() else { return };
    for n in [0, 1, 255, 256, 10_001] {
        let mut x = numbers(1, n);
        if n > 2 {
            (x[0], x[1], x[2]) = (0.0, -0.0, f32::NAN);
        }
        let grad = numbers(2, n);
        let x_var = var(&x, (n, 1));
        let y = relu_rows(x_var.as_tensor()).unwrap();
        let got = relu(gpu, &gpu.of(&x), n).unwrap();
        let (got, want) = (gpu.words(&got), values(&y).iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        assert_eq!(got, want, "the same bits");
        if n == 0 {
            continue;
        }
        let [want] = gradients(&y, &grad, [&x_var]);
        let got = relu_gradient(gpu, &gpu.of(&values(&y)), &gpu.of(&grad), n).unwrap();
        assert_eq!(gpu.floats(&got), want);
    }
}

#[test]
fn columns_side_by_side_and_apart_agree() {
    let Some(gpu) = Gpu::get() else { return };
    for (rows, left, right) in [(0, 3, 2), (1, 1, 1), (100, 0, 5), (777, 33, 64)] {
        let (l, r) = (numbers(1, rows * left), numbers(2, rows * right));
        let (gl, gr) = (gpu.of(&l), gpu.of(&r));
        let got = cat(gpu, (&gl, left), (&gr, right), rows).unwrap();
        if left > 0 && rows > 0 {
            let tensors = (var(&l, (rows, left)), var(&r, (rows, right)));
            let want = cat_rows(tensors.0.as_tensor(), tensors.1.as_tensor()).unwrap();
            assert_eq!(gpu.floats(&got), values(&want));
        }
        for (first, width, want) in [(0, left, &l), (left, right, &r)] {
            let part = columns(gpu, &got, rows, (first, width, left + right)).unwrap();
            assert_eq!(&gpu.floats(&part), want);
        }
    }
}

#[test]
fn rows_of_length_one_and_their_gradient_agree() {
    let Some(gpu) = Gpu::get() else { return };
    for (rows, columns) in [(1, 1), (2, 3), (65, 64), (300, 130)] {
        let mut x = numbers(1, rows * columns);
        // A row without direction, and one whose square f32 does not hold.
        x[..columns].fill(0.0);
        if rows > 1 {
            x[columns..2 * columns].iter_mut().for_each(|v| *v *= 1e30);
        }
        let grad = numbers(2, rows * columns);
        let x_var = var(&x, (rows, columns));
        let y = unit_norm(x_var.as_tensor()).unwrap();
        let (gx, ggrad) = (gpu.of(&x), gpu.of(&grad));
        let gy = unit(gpu, &gx, rows, columns).unwrap();
        assert_agree("unit", &gpu.floats(&gy), &values(&y));
        let [want] = gradients(&y, &grad, [&x_var]);
        let got = gpu.floats(&unit_gradient(gpu, [&gx, &gy, &ggrad], rows, columns).unwrap());
        for (got, want) in got.chunks(columns).zip(want.chunks(columns)) {
            assert_agree("gradient of unit", got, want);
        }
    }
    let got = gpu.floats(&unit(gpu, &gpu.of(&[1.0, f32::NAN]), 1, 2).unwrap());
    assert!(got.iter().all(|v| v.is_nan()));
}

#[test]
fn merged_rows_and_their_gradient_are_sums_and_means() {
    let Some(gpu) = Gpu::get() else { return };
    let x = gpu.of(&[1.0, 10.0, 2.0, 20.0, 6.0, 60.0]);
    for (mean, want, by) in [(true, [4.0, 40.0], 0.5), (false, [8.0, 80.0], 1.0)] {
        // Rows 1 and 2 become the second, row 0 stays alone.
        let merging = Merging { starts: &[0, 1, 3], inputs: &[0, 1, 2], row_of_input: &[0, 1, 1], mean };
        let y = merge(gpu, &x, merging, 2).unwrap();
        assert_eq!(gpu.floats(&y), [1.0, 10.0, want[0], want[1]]);
        let dx = merge_gradient(gpu, &gpu.of(&[3.0, 5.0, 7.0, 9.0]), merging, 2).unwrap();
        assert_eq!(gpu.floats(&dx), [3.0, 5.0, 7.0 * by, 9.0 * by, 7.0 * by, 9.0 * by]);
    }
}
