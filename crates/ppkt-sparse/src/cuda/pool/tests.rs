//! Pooling by the kernels, run on the processor, against the processor's own.

use candle_core::{Device, Tensor, Var};
use ppkt_device::launch::Memory;

use super::*;
use crate::conv::Direction;
use crate::cuda::map::DeviceKeys;
use crate::cuda::samples::{OF_BF16, assert_close, gpu, narrow, numbers, sheet, wide};
use crate::{
    ConvSpec, SparseTensor, avg_pool, global_avg_pool, global_max_pool, global_sum_pool, max_pool, sum_pool,
};

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Features on voxels, given in the order of the rows.
fn on(voxels: &[[i32; 4]], channels: usize) -> (SparseTensor, Var, Vec<f32>) {
    let x = numbers(voxels.len() * channels, 1);
    let zeros = Tensor::zeros((voxels.len(), channels), candle_core::DType::F32, &Device::Cpu).unwrap();
    let (tensor, _) = SparseTensor::with_batch_size(voxels, zeros, 4).unwrap();
    let features = Tensor::from_slice(&x, (voxels.len(), channels), &Device::Cpu).unwrap();
    let var = Var::from_tensor(&features).unwrap();
    (tensor.with_features(var.as_tensor().clone()).unwrap(), var, x)
}

/// A result of the processor, and the gradient of its product with some numbers, which come back too.
fn on_processor(y: &Tensor, var: &Var) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let grad = numbers(y.elem_count(), 2);
    let times = Tensor::from_slice(&grad, y.shape(), &Device::Cpu).unwrap();
    let grads = (y * times).unwrap().sum_all().unwrap().backward().unwrap();
    (flat(y), grad, grads.get(var).map(flat).unwrap_or_default())
}

#[test]
fn local_pooling_and_its_gradient() {
    let Some(gpu) = gpu() else { return };
    let sheet = sheet(18);
    let cases: [(&[[i32; 4]], usize); 3] = [(&sheet, 5), (&sheet[..40], 33), (&sheet[..1], 2)];
    let specs = [ConvSpec::new(2, 2), ConvSpec::new(3, 1), ConvSpec::new(3, 2), ConvSpec::new(2, 3)];
    for ((voxels, c), spec) in cases.into_iter().flat_map(|case| specs.map(|spec| (case, spec))) {
        let (input, var, x) = on(voxels, c);
        let map = input.manager().kernel_map(1, spec).unwrap();
        let fine = input.coordinate_set().clone();
        let coarse = input.manager().coarser(1, spec.stride).unwrap();
        let [fine, coarse] = [&fine, &coarse].map(|s| DeviceKeys::new(&gpu, s.keys(), s.bias()).unwrap());
        let table = Table::new(&gpu, &coarse, &fine, map.spec(), Direction::ToCoarse).unwrap();
        let back = if spec.is_symmetric() {
            Table::new(&gpu, &fine, &fine, spec, Direction::ToCoarse).unwrap()
        } else {
            Table::new(&gpu, &fine, &coarse, spec, Direction::ToFine).unwrap()
        };
        let scales = scales(&gpu, &table).unwrap();

        for (scales, result) in [(None, sum_pool(&input, spec)), (Some(&scales), avg_pool(&input, spec))] {
            let (want, grad, want_dx) = on_processor(result.unwrap().features(), &var);
            let (on_gpu, grad) = (gpu.array(&x), gpu.array(&grad));
            assert_eq!(sum(&gpu, on_gpu.view(), &table, c, scales).unwrap().values(), want);
            let dx = gradient(&gpu, grad.view(), &back, c, scales, None).unwrap();
            assert_eq!(dx.values(), want_dx);
            let small = sum(&gpu, gpu.array(&narrow(&x)).view(), &table, c, scales).unwrap();
            assert_close(&wide(&small.values()), &want, 2.0 * OF_BF16);
        }
        let (want, grad, want_dx) = on_processor(max_pool(&input, spec).unwrap().features(), &var);
        let (got, largest) = max(&gpu, gpu.array(&x).view(), &table, c).unwrap();
        assert_eq!(got.values(), want);
        let dx = gradient(&gpu, gpu.array(&grad).view(), &back, c, None, Some(largest.view())).unwrap();
        assert_eq!(dx.values(), want_dx);
    }
}

#[test]
fn global_pooling_and_its_gradient() {
    let Some(gpu) = gpu() else { return };
    let sheet = sheet(40);
    let cases: [(&[[i32; 4]], usize); 3] = [(&sheet, 3), (&sheet[..5], 40), (&[], 4)];
    for (voxels, channels) in cases {
        let (input, var, x) = on(voxels, channels);
        let ranges: Vec<_> = (0..input.batch_size()).map(|i| input.coordinate_set().batch_rows(i)).collect();
        let items = Items::new(&gpu, &ranges).unwrap();
        let rows = Rows { n: voxels.len(), channels };
        let on_gpu = gpu.array(&x);
        for (mean, result) in [(false, global_sum_pool(&input)), (true, global_avg_pool(&input))] {
            let (want, grad, want_dx) = on_processor(&result.unwrap(), &var);
            assert_eq!(items.sum(&gpu, on_gpu.view(), channels, mean).unwrap().values(), want);
            let dx = items.gradient(&gpu, gpu.array(&grad).view(), rows, mean, None).unwrap();
            assert_eq!(dx.values(), want_dx);
        }
        let (want, grad, want_dx) = on_processor(&global_max_pool(&input).unwrap(), &var);
        let (got, largest) = items.max(&gpu, on_gpu.view(), channels).unwrap();
        assert_eq!(got.values(), want);
        let dx = items.gradient(&gpu, gpu.array(&grad).view(), rows, false, Some(largest.view())).unwrap();
        assert_eq!(dx.values(), want_dx);
        let (small, _) = items.max(&gpu, gpu.array(&narrow(&x)).view(), channels).unwrap();
        assert_eq!(small.values(), narrow(&want));
    }
}

#[test]
fn a_nan_is_the_largest() {
    let Some(gpu) = gpu() else { return };
    let items = Items::new(&gpu, &[0..4, 4..4]).unwrap();
    let x = gpu.array(&[1.0f32, f32::NAN, 5.0, f32::NAN]);
    let (y, rows) = items.max(&gpu, x.view(), 1).unwrap();
    let (y, rows) = (y.values(), rows.values());
    assert!(y[0].is_nan() && y[1] == 0.0 && rows == [1, u32::MAX]);
}
