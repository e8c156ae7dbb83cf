//! Gradients against finite differences, and results against the number of threads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use candle_core::{Device, Tensor};
use common::{flat, noise, objectives, run, scalar, var};
use ppkt_objective::{Embeddings, InfoNce, Objective, PooledInfoNce, SegmentedEmbeddings};

/// The loss is an f32, so a difference of two over this step is good to some 1e-4 of its size.
const TOLERANCE: f64 = 2e-3;
const STEP: f32 = 3e-3;

fn along(values: &[f32], direction: &[f32], step: f32) -> Vec<f32> {
    values.iter().zip(direction).map(|(v, d)| v + step * d).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Compares `grad · direction` with the slope of `loss` along the direction, for some directions.
fn check(what: &str, values: &[f32], grad: &[f32], loss: impl Fn(&[f32]) -> f32) {
    for seed in 0..3 {
        let direction = noise(values.len(), 100 + seed);
        let up = f64::from(loss(&along(values, &direction, STEP)));
        let down = f64::from(loss(&along(values, &direction, -STEP)));
        let (want, got) = ((up - down) / f64::from(2.0 * STEP), dot(grad, &direction));
        // A direction that hardly moves the loss is compared on the gradient's own scale.
        let scale = want.abs().max(0.1 * dot(grad, grad).sqrt());
        assert!((got - want).abs() <= TOLERANCE * scale.max(1e-3), "{what}: {got} and {want}");
    }
}

#[test]
fn pairs_agree_with_finite_differences() {
    // One pair, fewer than a block, a block and one, several groups.
    for (n, dim) in [(1, 5), (7, 3), (65, 8), (300, 16)] {
        let (point, pixel) = (noise(n * dim, 1), noise(n * dim, 2));
        for objective in objectives() {
            let (_, point_grad, pixel_grad) = run(&*objective, &point, &pixel, dim).unwrap();
            let what = format!("{} {n}x{dim}", objective.name());
            let loss = |point: &[f32], pixel: &[f32]| scalar(&run(&*objective, point, pixel, dim).unwrap().0);
            check(&format!("{what} point"), &point, &point_grad, |p| loss(p, &pixel));
            check(&format!("{what} pixel"), &pixel, &pixel_grad, |q| loss(&point, q));
        }
    }
}

/// Two views of 6 × 5 pixels in 4 segments (one pixel in none), 40 pairs, of which some see segment-less pixels.
fn segmented(point: &[f32], map: &[f32], dim: usize) -> (SegmentedEmbeddings, [candle_core::Var; 2]) {
    let n_pixels = 2 * 6 * 5;
    let mut segments: Vec<u32> = (0..n_pixels as u32).map(|i| (i * 7 / 11) % 4).collect();
    segments[17] = SegmentedEmbeddings::NO_SEGMENT;
    let pixels = (0..40u32).map(|i| [i % 2, (i * 5 / 3) % 6, (i * 3) % 5]).collect();
    let point = var(point, &[40, dim]);
    let map = var(map, &[2, 6, 5, dim]);
    let input = SegmentedEmbeddings {
        point: point.as_tensor().clone(),
        feature_map: map.as_tensor().clone(),
        segments,
        segments_per_view: 4,
        pixels,
    };
    (input, [point, map])
}

#[test]
fn pooled_agrees_with_finite_differences() {
    let dim = 6;
    let (point, map) = (noise(40 * dim, 3), noise(60 * dim, 4));
    let objective = PooledInfoNce { temperature: 0.1 };
    let (input, [point_var, map_var]) = segmented(&point, &map, dim);
    let grads = objective.loss(&input).unwrap().value.backward().unwrap();
    let loss = |point: &[f32], map: &[f32]| scalar(&objective.loss(&segmented(point, map, dim).0).unwrap());
    check("point", &point, &flat(grads.get(&point_var).unwrap()), |p| loss(p, &map));
    check("map", &map, &flat(grads.get(&map_var).unwrap()), |m| loss(&point, m));
    // The pixel without a segment has no part in it.
    assert!(flat(grads.get(&map_var).unwrap())[17 * dim..18 * dim].iter().all(|&g| g == 0.0));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let dim = 24;
    let (point, pixel) = (noise(1100 * dim, 5), noise(1100 * dim, 6));
    let (few, map) = (noise(40 * dim, 7), noise(60 * dim, 8));
    let all = || {
        let mut bits = Vec::new();
        for objective in objectives() {
            let (loss, a, b) = run(&*objective, &point, &pixel, dim).unwrap();
            bits.extend(
                [scalar(&loss), loss.retrieval_at_1().unwrap()]
                    .iter()
                    .chain(&a)
                    .chain(&b)
                    .map(|x| x.to_bits()),
            );
        }
        let (input, vars) = segmented(&few, &map, dim);
        let loss = PooledInfoNce::default().loss(&input).unwrap();
        bits.push(scalar(&loss).to_bits());
        let grads = loss.value.backward().unwrap();
        for var in &vars {
            bits.extend(flat(grads.get(var).unwrap()).iter().map(|x| x.to_bits()));
        }
        bits
    };
    let with = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(all);
    let one = with(1);
    for n in [2, 5] {
        assert!(with(n) == one, "{n} threads");
    }
}

#[test]
fn a_scaled_loss_scales_its_gradients() {
    let dim = 4;
    let (point, pixel) = (noise(10 * dim, 1), noise(10 * dim, 2));
    let (_, plain, _) = run(&InfoNce::default(), &point, &pixel, dim).unwrap();
    let point = var(&point, &[10, dim]);
    let pixel = Tensor::from_slice(&pixel, (10, dim), &Device::Cpu).unwrap();
    let embeddings = Embeddings { point: point.as_tensor().clone(), pixel };
    let loss = InfoNce::default().loss(&embeddings).unwrap();
    let grads = (loss.value * 0.25).unwrap().backward().unwrap();
    for (a, b) in plain.iter().zip(flat(grads.get(&point).unwrap())) {
        assert!((a * 0.25 - b).abs() <= 1e-6 * a.abs(), "{a} {b}");
    }
}

#[test]
fn gradients_flow_through_what_came_before() {
    // A side that is no variable itself but made from one, and a side that needs no gradient.
    let dim = 4;
    let raw = var(&noise(10 * dim, 1), &[dim, 10]);
    let pixel = Tensor::from_slice(&noise(10 * dim, 2), (10, dim), &Device::Cpu).unwrap();
    for objective in objectives() {
        // A transposed view: not contiguous.
        let point = raw.t().unwrap();
        let loss = objective.loss(&Embeddings { point, pixel: pixel.clone() }).unwrap();
        let grads = loss.value.backward().unwrap();
        let grad = grads.get(&raw).unwrap();
        assert_eq!(grad.dims(), [dim, 10], "{}", objective.name());
        assert!(flat(grad).iter().any(|&g| g != 0.0), "{}", objective.name());
    }
}

#[test]
fn a_loss_nobody_trains_on_needs_no_gradient() {
    let dim = 4;
    let side = |seed| Tensor::from_slice(&noise(10 * dim, seed), (10, dim), &Device::Cpu).unwrap();
    let embeddings = Embeddings { point: side(1), pixel: side(2) };
    for objective in objectives() {
        let fixed = scalar(&objective.loss(&embeddings).unwrap());
        let (trained, ..) = run(&*objective, &noise(40, 1), &noise(40, 2), dim).unwrap();
        assert_eq!(fixed, scalar(&trained), "{}", objective.name());
    }
}
