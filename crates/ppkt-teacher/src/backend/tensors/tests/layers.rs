//! Each layer, on both backends.

use candle_core::{Device, Tensor};
use ppkt_testkit::assert_close;

use super::super::Tensors;
use super::super::attention::{Angles, attention};
use super::super::map::Map;
use super::numbers;
use crate::backend::{Backend, Cpu, Pixels};
use crate::engine::{Activation, ConvGeometry};
use crate::images::Images;
use crate::options::TeacherOptions;
use crate::preprocess::{Normaliser, Statistics};
use crate::weights::Config;

/// Sums of f32 in two orders.
const TOLERANCE: f64 = 1e-5;

const ACTIVATIONS: [Activation; 6] = [
    Activation::None,
    Activation::Relu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Silu,
];

fn tensor(shape: [usize; 4], seed: u32) -> Tensor {
    Tensor::from_vec(numbers(shape.iter().product(), seed), shape.as_slice(), &Device::Cpu).unwrap()
}

fn scaled(shape: [usize; 4], seed: u32, by: f64, plus: f64) -> Tensor {
    tensor(shape, seed).affine(by, plus).unwrap()
}

/// A map of a backend and its values.
fn given<B: Backend>(backend: &B, map: &B::Map) -> (Vec<usize>, Vec<f32>) {
    let values = backend.tensor(map).unwrap();
    assert!(values.is_contiguous());
    (values.dims().to_vec(), values.flatten_all().unwrap().to_vec1().unwrap())
}

fn same(what: &str, got: (Vec<usize>, Vec<f32>), want: (Vec<usize>, Vec<f32>)) {
    assert_eq!(got.0, want.0, "{what}");
    let want: Vec<f64> = want.1.iter().map(|v| f64::from(*v)).collect();
    assert_close(what, &got.1, &want, TOLERANCE);
}

/// A map on a device, as pixels and as planes.
fn both_orders(on: &Tensors, values: &Tensor) -> [Map; 2] {
    let map = on.map(&values.to_device(&on.device).unwrap()).unwrap();
    let planes = Map::Planes(map.planes().unwrap());
    [map, planes]
}

#[test]
fn device_convolutions_are_those_of_the_engine() {
    // Input, channels out; kernel, stride, padding, dilation, groups.
    let cases: [([usize; 4], usize, [usize; 5]); 12] = [
        ([1, 1, 1, 1], 1, [1, 1, 0, 1, 1]),
        ([3, 5, 7, 20], 33, [1, 1, 0, 1, 1]),
        ([3, 5, 8, 6], 9, [1, 2, 0, 1, 1]),
        ([2, 7, 5, 8], 16, [3, 2, 1, 1, 1]),
        ([1, 9, 11, 16], 33, [3, 1, 2, 2, 1]),
        ([1, 13, 9, 4], 12, [3, 2, 4, 4, 1]),
        ([2, 11, 14, 3], 24, [7, 2, 3, 1, 1]),
        ([2, 8, 12, 3], 10, [4, 4, 0, 1, 1]),
        // What does not fill a kernel is left out.
        ([1, 9, 15, 5], 7, [2, 2, 0, 1, 1]),
        ([2, 9, 7, 64], 64, [3, 1, 1, 1, 16]),
        ([1, 9, 7, 36], 60, [3, 2, 2, 2, 3]),
        ([1, 5, 5, 9], 18, [1, 1, 0, 1, 9]),
    ];
    for device in ppkt_testkit::devices() {
        let (on, cpu) = (Tensors::new(&device), Cpu::new());
        for (shape, outer, [kernel, stride, padding, dilation, groups]) in cases {
            let geometry = ConvGeometry { kernel, stride, padding, dilation, groups };
            let weight = numbers(outer * shape[3] / groups * kernel * kernel, 1);
            let bias = numbers(outer, 2);
            let conv = on.conv(&weight, &bias, [shape[3], outer], geometry).unwrap();
            let want_conv = cpu.conv(&weight, &bias, [shape[3], outer], geometry).unwrap();
            let x = scaled(shape, 3, 2.0, 0.1);
            let (h, w) = (geometry.output(shape[1]), geometry.output(shape[2]));
            let residual = tensor([shape[0], h, w, outer], 4);
            for (activation, with) in ACTIVATIONS.into_iter().zip([false, true].into_iter().cycle()) {
                let want_residual = cpu.map(&residual).unwrap();
                let want_x = cpu.map(&x).unwrap();
                let want =
                    cpu.convolve(&want_conv, &want_x, with.then_some(&want_residual), activation).unwrap();
                for (order, x) in both_orders(&on, &x).iter().enumerate() {
                    for residual in &both_orders(&on, &residual) {
                        let got = on.convolve(&conv, x, with.then_some(residual), activation).unwrap();
                        let what = format!("{shape:?} {outer} {geometry:?} {activation:?} {order}");
                        same(&what, given(&on, &got), given(&cpu, &want));
                    }
                }
            }
        }
    }
}

#[test]
fn device_depthwise_convolutions_are_those_of_the_engine() {
    for device in ppkt_testkit::devices() {
        let (on, cpu) = (Tensors::new(&device), Cpu::new());
        for shape in [[1, 1, 1, 1], [2, 5, 9, 16], [1, 33, 21, 5], [3, 3, 17, 96]] {
            let (weight, bias) = (numbers(shape[3] * 49, 1), numbers(shape[3], 2));
            let x = tensor(shape, 3);
            let conv = cpu.depthwise(&weight, &bias).unwrap();
            let want = cpu.convolve_depthwise(&conv, &cpu.map(&x).unwrap()).unwrap();
            let conv = on.depthwise(&weight, &bias).unwrap();
            for x in both_orders(&on, &x) {
                let got = on.convolve_depthwise(&conv, &x).unwrap();
                same(&format!("{shape:?}"), given(&on, &got), given(&cpu, &want));
            }
        }
    }
}

#[test]
fn device_norms_and_pooling_are_those_of_the_engine() {
    for device in ppkt_testkit::devices() {
        let (on, cpu) = (Tensors::new(&device), Cpu::new());
        for shape in [[1, 1, 1, 3], [2, 5, 7, 37], [1, 6, 4, 384], [1, 2, 3, 1500]] {
            let channels = shape[3];
            let (weight, bias) = (numbers(channels, 1), numbers(channels, 2));
            // With a mean that a difference of squares would not survive.
            for x in [tensor(shape, 3), scaled(shape, 4, 0.5, 300.0)] {
                let norm = cpu.layer_norm(weight.clone(), bias.clone(), 1e-5).unwrap();
                let want = cpu.normalise(&norm, &cpu.map(&x).unwrap()).unwrap();
                let norm = on.layer_norm(weight.clone(), bias.clone(), 1e-5).unwrap();
                for map in both_orders(&on, &x) {
                    let got = given(&on, &on.normalise(&norm, &map).unwrap());
                    let want = given(&cpu, &want);
                    let want64: Vec<f64> = want.1.iter().map(|v| f64::from(*v)).collect();
                    // The mean of a large one is rounded.
                    assert_close(&format!("norm {shape:?}"), &got.1, &want64, 1e-3);
                    if x.max_all().unwrap().to_scalar::<f32>().unwrap() < 2.0 {
                        same("norm", got, want);
                    }
                }
            }
            // All negative, so that a border of zeros would win.
            let x = scaled(shape, 5, 1.0, -2.0);
            let want = cpu.max_pool(&cpu.map(&x).unwrap()).unwrap();
            for map in both_orders(&on, &x) {
                let got = given(&on, &on.max_pool(&map).unwrap());
                assert_eq!(got, given(&cpu, &want), "pooling {shape:?}");
            }
        }
    }
}

#[test]
fn device_attention_is_that_of_the_engine() {
    for device in ppkt_testkit::devices() {
        let (on, cpu) = (Tensors::new(&device), Cpu::new());
        for (n, tokens, heads, d) in [(1, 1, 1, 4), (2, 50, 3, 16), (1, 197, 2, 64), (3, 7, 4, 8)] {
            let x = scaled([n, 1, tokens, 3 * heads * d], 1, 3.0, 0.0);
            for n_prefix in [tokens, tokens.min(5), 0] {
                let half = d / 2;
                let angles = numbers((tokens - n_prefix) * half, 2);
                let cos: Vec<f32> = angles.iter().map(|a| (3.0 * a).cos()).collect();
                let sin: Vec<f32> = angles.iter().map(|a| (3.0 * a).sin()).collect();
                let want_angles = cpu.angles(cos.clone(), sin.clone(), half, n_prefix).unwrap();
                let got_angles = on.angles(cos, sin, half, n_prefix).unwrap();
                let what = format!("{tokens} tokens, {n_prefix} not turned, {heads} heads of {d}");
                for turned in [false, true] {
                    let qkv = cpu.map(&x).unwrap();
                    let want = cpu.attend(qkv, heads, turned.then_some(&want_angles)).unwrap();
                    let qkv = on.map(&x.to_device(&device).unwrap()).unwrap();
                    let got = on.attend(qkv, heads, turned.then_some(&got_angles)).unwrap();
                    same(&what, given(&on, &got), given(&cpu, &want));
                }
            }
        }
    }
}

#[test]
fn device_attention_may_take_queries_in_parts() {
    for device in ppkt_testkit::devices() {
        let qkv = tensor([2, 1, 23, 3 * 2 * 8], 1).to_device(&device).unwrap();
        let angles = Angles::new(&device, numbers(20 * 4, 2), numbers(20 * 4, 3), 4, 3).unwrap();
        let values = |most: usize| -> Vec<f32> {
            attention(&qkv, 2, Some(&angles), most).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let whole: Vec<f64> = values(usize::MAX).into_iter().map(f64::from).collect();
        // One query at a time, some, and all but one.
        for most in [1, 4 * 23 * 5, 4 * 23 * 22] {
            assert_close("parts", &values(most), &whole, TOLERANCE);
        }
    }
}

#[test]
fn device_tokens_and_maps_are_put_together_as_by_the_engine() {
    for device in ppkt_testkit::devices() {
        let (on, cpu) = (Tensors::new(&device), Cpu::new());
        let (there, here) =
            (|t: &Tensor| on.map(&t.to_device(&device).unwrap()).unwrap(), |t: &Tensor| cpu.map(t).unwrap());
        let x = tensor([3, 5, 4, 6], 1);
        let (prefix, positions) = (numbers(2 * 6, 2), numbers(20 * 6, 3));
        for (with_prefix, with_positions) in [(true, true), (true, false), (false, true)] {
            let constants = |values: &Vec<f32>, with: bool| {
                (on.constant(values.clone(), 6).ok().filter(|_| with), Some(values.clone()).filter(|_| with))
            };
            let (got_prefix, want_prefix) = constants(&prefix, with_prefix);
            let (got_positions, want_positions) = constants(&positions, with_positions);
            let got = on.tokens(&there(&x), got_prefix.as_ref(), got_positions.as_ref()).unwrap();
            let want = cpu.tokens(&here(&x), want_prefix.as_ref(), want_positions.as_ref()).unwrap();
            let n_prefix = if with_prefix { 2 } else { 0 };
            let back = [on.patches(&got, n_prefix, [5, 4]).unwrap()].map(|m| given(&on, &m));
            same("patches", back[0].clone(), given(&cpu, &cpu.patches(&want, n_prefix, [5, 4]).unwrap()));
            same("tokens", given(&on, &got), given(&cpu, &want));
        }

        // Sizes that a coarser grid covers and reaches beyond, and strides that are equal.
        let maps = [([2, 7, 5, 3], 8), ([2, 4, 3, 2], 16), ([2, 2, 2, 4], 32), ([2, 7, 5, 1], 8)];
        let tensors = maps.map(|(shape, stride)| (tensor(shape, 5), stride));
        let got = on.side_by_side(&tensors.clone().map(|(t, s)| (there(&t), s))).unwrap();
        let want = cpu.side_by_side(&tensors.map(|(t, s)| (here(&t), s))).unwrap();
        same("side by side", given(&on, &got), given(&cpu, &want));

        for size in [[5, 4], [3, 4], [1, 1]] {
            let got = on.cut(there(&x), size).unwrap();
            same("cut", given(&on, &got), given(&cpu, &cpu.cut(here(&x), size).unwrap()));
        }
        let by = tensor([3, 5, 4, 6], 6);
        let got = on.multiply(there(&x), &there(&by)).unwrap();
        same("multiply", given(&on, &got), given(&cpu, &cpu.multiply(here(&x), &here(&by)).unwrap()));

        // A pixel of zeros among others.
        let zero = Tensor::cat(&[tensor([1, 1, 2, 6], 7), tensor([1, 1, 1, 6], 8).zeros_like().unwrap()], 2);
        let zero = zero.unwrap();
        let got = on.unit_length(there(&zero)).unwrap();
        same("length", given(&on, &got), given(&cpu, &cpu.unit_length(here(&zero)).unwrap()));
    }
}

#[test]
fn device_images_are_normalised_and_continued_as_by_the_engine() {
    let (height, width) = (9, 13);
    let rgb = (0..3 * height * width * 3).map(|i| (i * 7919 % 256) as u8).collect();
    let images = Images::new(3, height, width, rgb).unwrap();
    let normaliser = || Normaliser::new(&Config::default(), &TeacherOptions::default(), Statistics::CLIP);
    for device in ppkt_testkit::devices() {
        let (on, cpu) = (Tensors::new(&device), Cpu::new());
        for (multiple, geometry) in [
            (1, ConvGeometry { kernel: 7, stride: 2, padding: 3, dilation: 1, groups: 1 }),
            (4, ConvGeometry { kernel: 4, stride: 4, padding: 0, dilation: 1, groups: 1 }),
        ] {
            let (weight, bias) = (numbers(8 * 3 * geometry.kernel.pow(2), 1), numbers(8, 2));
            let normalisers = (on.normaliser(normaliser()).unwrap(), cpu.normaliser(normaliser()).unwrap());
            let (images, range) = (&images, 1..3);
            let pixels = Pixels { normaliser: &normalisers.1, images, range: range.clone(), multiple };
            let conv = cpu.conv(&weight, &bias, [3, 8], geometry).unwrap();
            let want = cpu.stem(&conv, &pixels, Activation::Relu).unwrap();
            let pixels = Pixels { normaliser: &normalisers.0, images, range, multiple };
            let conv = on.conv(&weight, &bias, [3, 8], geometry).unwrap();
            let got = on.stem(&conv, &pixels, Activation::Relu).unwrap();
            same(&format!("{geometry:?}"), given(&on, &got), given(&cpu, &want));
        }
    }
}
