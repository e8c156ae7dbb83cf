//! Pooling against the processor's operations and candle's graph of them.

use candle_core::{Device, Tensor, Var};
use ppkt_wgsl::Gpu;

use super::{assert_agree, numbers, surface};
use crate::conv::Direction;
use crate::metal::map::table;
use crate::metal::pool::{global, global_gradient, local, local_gradient};
use crate::pool::Reduction;
use crate::{ConvSpec, SparseError, SparseTensor};

const ALL: [Reduction; 3] = [Reduction::Sum, Reduction::Mean, Reduction::Max];

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The result of `op` and the gradient by `x` of its product with `grad`.
fn on_cpu(
    x: &SparseTensor,
    op: impl Fn(&SparseTensor) -> Result<Tensor, SparseError>,
    grad: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let var = Var::from_tensor(x.features()).unwrap();
    let y = op(&x.with_features(var.as_tensor().clone()).unwrap()).unwrap();
    let grad = Tensor::from_slice(&grad[..y.elem_count()], y.shape(), &Device::Cpu).unwrap();
    let grads = (&y * grad).unwrap().sum_all().unwrap().backward().unwrap();
    (values(&y), values(grads.get(&var).unwrap()))
}

fn tensor(n: usize, channels: usize) -> SparseTensor {
    let manager = surface(n);
    let rows = manager.coords(1).unwrap().len();
    // Few distinct values, so that the largest is often shared.
    let x: Vec<f32> = numbers(1, rows * channels).iter().map(|v| (v * 4.0).round() - 5.0).collect();
    SparseTensor::on(&manager, 1, Tensor::from_vec(x, (rows, channels), &Device::Cpu).unwrap()).unwrap()
}

#[test]
fn pooling_under_a_kernel_agrees_with_the_processor() {
    let Some(gpu) = Gpu::get() else { return };
    for (n, channels) in [(1, 3), (65, 1), (3000, 20)] {
        let x = tensor(n, channels);
        for spec in [ConvSpec::new(2, 2), ConvSpec::new(3, 1), ConvSpec::new(1, 2), ConvSpec::new(1, 1)] {
            let map = x.manager().kernel_map(1, spec).unwrap();
            let there = table(gpu, &map, Direction::ToCoarse).unwrap();
            let back = table(gpu, &map, Direction::ToFine).unwrap();
            let gx = gpu.of(&values(x.features()));
            let grad = numbers(2, there.n_target * channels);
            for reduction in ALL {
                let what = format!("{n} voxels, {spec:?}, {reduction:?}");
                let op = |x: &SparseTensor| {
                    let y = match reduction {
                        Reduction::Sum => crate::sum_pool(x, spec),
                        Reduction::Mean => crate::avg_pool(x, spec),
                        Reduction::Max => crate::max_pool(x, spec),
                    }?;
                    Ok(y.features().clone())
                };
                let (y, dx) = on_cpu(&x, op, &grad);
                let pooled = local(gpu, &there, &gx, channels, reduction).unwrap();
                assert_agree(&what, &gpu.floats(&pooled.out), &y);
                let got = local_gradient(gpu, &back, &gpu.of(&grad), &pooled, channels, reduction).unwrap();
                assert_agree(&format!("gradient, {what}"), &gpu.floats(&got), &dx);
            }
        }
    }
}

#[test]
fn pooling_of_items_agrees_with_the_processor() {
    let Some(gpu) = Gpu::get() else { return };
    for (n, channels) in [(0, 2), (1, 3), (3000, 20)] {
        let x = tensor(n, channels);
        let items: Vec<_> = (0..x.batch_size()).map(|i| x.coordinate_set().batch_rows(i)).collect();
        let gx = gpu.of(&values(x.features()));
        let grad = numbers(2, items.len() * channels);
        for reduction in ALL {
            let what = format!("{n} voxels, {reduction:?}");
            let op = |x: &SparseTensor| match reduction {
                Reduction::Sum => crate::global_sum_pool(x),
                Reduction::Mean => crate::global_avg_pool(x),
                Reduction::Max => crate::global_max_pool(x),
            };
            let (y, dx) = on_cpu(&x, op, &grad);
            let pooled = global(gpu, &items, &gx, channels, reduction).unwrap();
            assert_agree(&what, &gpu.floats(&pooled.out), &y);
            let shape = (x.len(), channels);
            let got = global_gradient(gpu, &pooled, &gpu.of(&grad), shape, reduction).unwrap();
            assert_agree(&format!("gradient, {what}"), &gpu.floats(&got), &dx);
        }
    }
}

#[test]
fn a_nan_is_the_largest() {
    let Some(gpu) = Gpu::get() else { return };
    let items = std::slice::from_ref(&(0..3));
    let x = gpu.of(&[1.0, f32::NAN, 2.0]);
    let pooled = global(gpu, items, &x, 1, Reduction::Max).unwrap();
    assert!(gpu.floats(&pooled.out)[0].is_nan());
}
