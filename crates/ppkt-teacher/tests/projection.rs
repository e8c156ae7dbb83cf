//! The upsampling projection: reference vectors, gradients, places, and what lies outside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use ppkt_teacher::{AlignCorners, FeatureMap, PixelRef, TeacherError, UpsampleProjection};
use ppkt_testkit::{Vectors, assert_close, devices, reference_files};

/// f32 against f64: the goal of the house. What is met today is better than 1e-5.
const TOLERANCE: f64 = 1e-4;

/// Reproducible numbers from -1 to 1.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// A projection on given parameters, with the variables to ask gradients of.
fn projection(weight: &Tensor, bias: &Tensor, corners: AlignCorners) -> (UpsampleProjection, [Var; 2]) {
    let vars = [Var::from_tensor(weight).unwrap(), Var::from_tensor(bias).unwrap()];
    let named = [("decoder.0.weight", &vars[0]), ("decoder.0.bias", &vars[1])];
    let named: HashMap<String, Tensor> =
        named.iter().map(|(n, v)| ((*n).to_owned(), v.as_tensor().clone())).collect();
    let vb = VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
    let (d, c) = (weight.dim(0).unwrap(), weight.dim(1).unwrap());
    (UpsampleProjection::new(c, d, corners, vb).unwrap(), vars)
}

/// A random projection of 5 channels to 3 over two images of 3 × 4 cells of 8 pixels.
fn small(corners: AlignCorners) -> (UpsampleProjection, [Var; 2], FeatureMap) {
    let (projection, vars) =
        projection(&tensor(&noise(15, 1), &[3, 5, 1, 1]), &tensor(&noise(3, 2), &[3]), corners);
    let tokens = tensor(&noise(2 * 3 * 4 * 5, 3), &[2, 3, 4, 5]);
    (projection, vars, FeatureMap { tokens, image_size: (24, 32), stride: 8 })
}

const BOTH: [AlignCorners; 2] = [AlignCorners::True, AlignCorners::False];

#[test]
fn reference_align_corners() {
    for file in reference_files("align_corners_") {
        let v = Vectors::load(&file);
        let name = v.name();
        let load = |n: &str| tensor(&v.f32s(n), &v.shape(n));
        let corners =
            if v.json("align_corners").as_bool().unwrap() { AlignCorners::True } else { AlignCorners::False };
        let (projection, vars) = projection(&load("weight"), &load("bias"), corners);
        let stride = usize::try_from(v.json("stride").as_u64().unwrap()).unwrap();
        let tokens = load("feature_map").permute((0, 2, 3, 1)).unwrap();
        let (_, h, w, _) = tokens.dims4().unwrap();
        let map = FeatureMap { tokens, image_size: (h * stride, w * stride), stride };
        let pixels: Vec<PixelRef> = v
            .i64s("view")
            .iter()
            .zip(v.i64s("row"))
            .zip(v.i64s("col"))
            // The file counts pixels; ours are places, with the centre of the first at one half.
            .map(|((&view, row), col)| PixelRef {
                view: view as u32,
                u: col as f32 + 0.5,
                v: row as f32 + 0.5,
            })
            .collect();

        let unnormalised = projection.forward(&map, &pixels).unwrap();
        assert_close(&format!("{name}: value"), &flat(&unnormalised), &v.f64s("unnormalised"), TOLERANCE);
        let norm = unnormalised.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
        let embedding = unnormalised.broadcast_div(&norm).unwrap();
        assert_close(&format!("{name}: embedding"), &flat(&embedding), &v.f64s("embedding"), TOLERANCE);
        let grads = (embedding * load("cotangent")).unwrap().sum_all().unwrap().backward().unwrap();
        for (n, var) in ["grad_weight", "grad_bias"].iter().zip(&vars) {
            let got = flat(grads.get(var).unwrap());
            assert_close(&format!("{name}: {n}"), &got, &v.f64s(n), TOLERANCE);
        }
    }
}

/// Where the bilinear value along one axis is known by hand: two cells of 4 pixels with values 0 and 1.
#[test]
fn places_between_and_beyond_the_cells() {
    let cases = [
        // Centres of cells at 2 and 6: clamped before and after, a quarter of the way at 3.
        (
            AlignCorners::False,
            [(0.0, 0.0), (1.9, 0.0), (2.0, 0.0), (3.0, 0.25), (4.0, 0.5), (6.0, 1.0), (8.0, 1.0)],
        ),
        // Centres of cells at 0.5 and 7.5.
        (
            AlignCorners::True,
            [(0.0, 0.0), (0.5, 0.0), (2.25, 0.25), (4.0, 0.5), (5.75, 0.75), (7.5, 1.0), (8.0, 1.0)],
        ),
    ];
    let one = tensor(&[1.0], &[1, 1, 1, 1]);
    for (corners, places) in cases {
        let (projection, _) = projection(&one, &tensor(&[0.0], &[1]), corners);
        for (place, want) in places {
            for (shape, u, v) in [([1, 1, 2, 1], place, 1.0), ([1, 2, 1, 1], 1.0, place)] {
                let tokens = tensor(&[0.0, 1.0], &shape);
                let map = FeatureMap { image_size: (shape[1] * 4, shape[2] * 4), tokens, stride: 4 };
                let got = flat(&projection.forward(&map, &[PixelRef { view: 0, u, v }]).unwrap());
                assert!((got[0] - want).abs() < 1e-6, "{corners:?} at {place}: {} and not {want}", got[0]);
            }
        }
    }
}

#[test]
fn a_stride_that_does_not_divide_keeps_the_cells_in_place() {
    // 7 pixels in cells of 4: the second cell reaches from 4 to 8, beyond the image.
    let (projection, _) =
        projection(&tensor(&[1.0], &[1, 1, 1, 1]), &tensor(&[0.0], &[1]), AlignCorners::False);
    let map = FeatureMap { tokens: tensor(&[0.0, 1.0], &[1, 1, 2, 1]), image_size: (4, 7), stride: 4 };
    let got = flat(&projection.forward(&map, &[PixelRef { view: 0, u: 5.0, v: 2.0 }]).unwrap());
    assert_eq!(got, [0.75]);
}

#[test]
fn pictures_and_pairs_agree() {
    for corners in BOTH {
        let (projection, _, map) = small(corners);
        let whole = projection.project_map(&map).unwrap();
        assert_eq!(whole.dims(), [2, 3, 4, 3]);
        // The last cell of the last image, where both conventions put it: in the last corner.
        let corner = PixelRef { view: 1, u: 32.0, v: 24.0 };
        let got = flat(&projection.forward(&map, &[corner]).unwrap());
        let whole = flat(&whole);
        for (a, b) in got.iter().zip(&whole[whole.len() - 3..]) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}

fn some_pixels(n: usize) -> Vec<PixelRef> {
    let place = |i: usize, size: f32, seed| (noise(n, seed)[i] + 1.0) / 2.0 * size;
    (0..n).map(|i| PixelRef { view: (i % 2) as u32, u: place(i, 32.0, 7), v: place(i, 24.0, 8) }).collect()
}

#[test]
fn gradients_agree_with_finite_differences() {
    // The layer is linear in each of the three, so a large step costs no accuracy.
    let step = 0.5f32;
    let pixels = some_pixels(50);
    let cotangent = tensor(&noise(150, 9), &[50, 3]);
    for corners in BOTH {
        let (_, vars, map) = small(corners);
        let tokens = Var::from_tensor(&map.tokens).unwrap();
        let value = |weight: &Tensor, bias: &Tensor, tokens: &Tensor| {
            let (projection, vars) = projection(weight, bias, corners);
            let map = FeatureMap { tokens: tokens.clone(), ..map.clone() };
            let out = projection.forward(&map, &pixels).unwrap();
            ((out * &cotangent).unwrap().sum_all().unwrap(), vars)
        };
        let [weight, bias] = &vars;
        let base = [weight.as_tensor(), bias.as_tensor(), tokens.as_tensor()];
        let (loss, [w, b]) = value(base[0], base[1], base[2]);
        let grads = loss.backward().unwrap();
        for (which, var) in [&w, &b, &tokens].into_iter().enumerate() {
            let direction = tensor(&noise(var.elem_count(), 10), var.dims());
            let moved = |step: f32| {
                let mut at = base.map(Tensor::clone);
                at[which] = (&at[which] + (&direction * f64::from(step)).unwrap()).unwrap().detach();
                value(&at[0], &at[1], &at[2]).0.to_scalar::<f32>().unwrap()
            };
            let want = (moved(step) - moved(-step)) / (2.0 * step);
            let got = (grads.get(var).unwrap() * direction).unwrap().sum_all().unwrap();
            let got = got.to_scalar::<f32>().unwrap();
            assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{corners:?} {which}: {got} {want}");
        }
    }
}

#[test]
fn frozen_and_trained_maps_give_the_same() {
    let (projection, vars, map) = small(AlignCorners::True);
    let tracked = FeatureMap { tokens: Var::from_tensor(&map.tokens).unwrap().into_inner(), ..map.clone() };
    let pixels = some_pixels(20);
    let results: Vec<Vec<f32>> = [&map, &tracked]
        .iter()
        .map(|map| {
            let out = projection.forward(map, &pixels).unwrap();
            let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let grad = |v: &Var| flat(grads.get(v).unwrap());
            [flat(&out), grad(&vars[0]), grad(&vars[1])].concat()
        })
        .collect();
    for (a, b) in results[0].iter().zip(&results[1]) {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (c, d) = (96, 32);
    let weight = tensor(&noise(c * d, 1), &[d, c, 1, 1]);
    let tokens = tensor(&noise(2 * 15 * 20 * c, 2), &[2, 15, 20, c]);
    let map = FeatureMap { tokens, image_size: (480, 640), stride: 32 };
    let pixels: Vec<PixelRef> =
        some_pixels(4000).iter().map(|p| PixelRef { u: p.u * 20.0, v: p.v * 20.0, ..*p }).collect();
    let all = || {
        let (projection, vars) = projection(&weight, &tensor(&noise(d, 3), &[d]), AlignCorners::True);
        let out = projection.forward(&map, &pixels).unwrap();
        let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let all = [flat(&out), flat(grads.get(&vars[0]).unwrap()), flat(grads.get(&vars[1]).unwrap())];
        all.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let with = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(all);
    let one = with(1);
    for n in [2, 5] {
        assert!(with(n) == one, "{n} threads");
    }
}

#[test]
fn no_pixels_no_embeddings() {
    let (projection, _, map) = small(AlignCorners::True);
    assert_eq!(projection.forward(&map, &[]).unwrap().dims(), [0, 3]);
}

#[test]
fn a_pixel_outside_is_told() {
    let (projection, _, map) = small(AlignCorners::False);
    let good = PixelRef { view: 0, u: 0.5, v: 0.5 };
    let outside = [
        PixelRef { view: 2, ..good },
        PixelRef { u: -0.01, ..good },
        PixelRef { u: 32.01, ..good },
        PixelRef { v: 24.01, ..good },
        PixelRef { v: f32::NAN, ..good },
        PixelRef { u: f32::INFINITY, ..good },
    ];
    for bad in outside {
        let error = projection.forward(&map, &[good, bad]).unwrap_err();
        assert!(matches!(error, TeacherError::Pixel { index: 1, .. }), "{error}");
    }
}

#[test]
fn a_map_of_another_teacher_is_told() {
    let (projection, _, map) = small(AlignCorners::True);
    let other = FeatureMap { tokens: tensor(&noise(2 * 12 * 6, 1), &[2, 3, 4, 6]), ..map };
    let error = projection.forward(&other, &some_pixels(3)).unwrap_err();
    assert!(matches!(error, TeacherError::Tensor(_)), "{error}");
}

#[test]
fn device_projections_are_those_of_the_cpu() {
    let (c, d, size) = (37, 20, [2, 6, 7]);
    let (weight, bias) = (noise(c * d, 1), noise(d, 2));
    let tokens = noise(2 * 6 * 7 * c, 3);
    let run = |device: &Device, map_on: &Device, corners, n: usize| {
        let var = |values: &[f32], shape: &[usize]| {
            Var::from_tensor(&Tensor::from_slice(values, shape, device).unwrap()).unwrap()
        };
        let vars = [var(&weight, &[d, c, 1, 1]), var(&bias, &[d])];
        let names = ["decoder.0.weight", "decoder.0.bias"].map(str::to_owned);
        let named = names.into_iter().zip(vars.each_ref().map(|v| v.as_tensor().clone())).collect();
        let vb = VarBuilder::from_tensors(named, DType::F32, device);
        let projection = UpsampleProjection::new(c, d, corners, vb).unwrap();
        let tokens = Tensor::from_slice(&tokens, (size[0], size[1], size[2], c), map_on).unwrap();
        let map = FeatureMap { tokens, image_size: (48, 56), stride: 8 };
        let pixels: Vec<PixelRef> =
            some_pixels(n).iter().map(|p| PixelRef { u: p.u * 1.75, v: p.v * 2.0, ..*p }).collect();
        let out = projection.forward(&map, &pixels).unwrap();
        let whole = projection.project_map(&map).unwrap();
        let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        [flat(&out), flat(&whole), flat(grads.get(&vars[0]).unwrap()), flat(grads.get(&vars[1]).unwrap())]
    };
    for corners in BOTH {
        // Fewer pixels than cells, and more.
        for n in [20, 3000] {
            let want = run(&Device::Cpu, &Device::Cpu, corners, n);
            for device in devices() {
                for map_on in [&device, &Device::Cpu] {
                    let what = format!("{corners:?} {n} {:?} {:?}", device.location(), map_on.location());
                    let got = run(&device, map_on, corners, n);
                    for (got, want) in got.iter().zip(&want) {
                        let want: Vec<f64> = want.iter().map(|&v| f64::from(v)).collect();
                        assert_close(&what, got, &want, 1e-5);
                    }
                    assert!(run(&device, map_on, corners, n) == got, "{what}: other bits");
                }
            }
        }
    }
}
