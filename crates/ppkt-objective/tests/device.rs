//! Every loss on every device that the tests were built for, against the CPU, and twice for the same bits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use candle_core::{Device, Tensor, Var};
use common::{flat, noise, objectives, scalar};
use ppkt_objective::{Embeddings, ObjectiveError, PooledInfoNce, SegmentationLoss, SegmentedEmbeddings};
use ppkt_testkit::{assert_close, devices, rows_allowed};

/// What f32 sums in another order may differ by; twice that where there is no f64.
fn tolerance(device: &Device) -> f64 {
    if device.is_metal() { 2e-5 } else { 1e-5 }
}

fn on(device: &Device, values: &[f32], shape: &[usize]) -> Var {
    Var::from_tensor(&Tensor::from_slice(values, shape, device).unwrap()).unwrap()
}

/// Loss, a figure, and gradients.
type Results = (f32, f64, Vec<Vec<f32>>);

/// Runs a body on every device, twice, and holds the results against the CPU's.
fn everywhere(what: &str, body: impl Fn(&Device) -> Results) {
    let want = body(&Device::Cpu);
    for device in devices() {
        let (what, tolerance) = (format!("{what} on {:?}", device.location()), tolerance(&device));
        let got = body(&device);
        assert_close(&format!("{what}: loss"), &[got.0], &[f64::from(want.0)], tolerance);
        assert_eq!(got.1, want.1, "{what}: figure");
        for (got, want) in got.2.iter().zip(&want.2) {
            let want: Vec<f64> = want.iter().map(|&v| f64::from(v)).collect();
            assert_close(&format!("{what}: gradient"), got, &want, tolerance);
        }
        let bits = |r: &Results| r.2.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
        let again = body(&device);
        assert!(got.0.to_bits() == again.0.to_bits() && bits(&got) == bits(&again), "{what}: other bits");
    }
}

#[test]
fn device_losses_of_pairs_are_those_of_the_cpu() {
    for (n, dim) in [(2, 5), (65, 8), (130, 140), (4096, 128)] {
        let pixel = noise(n * dim, 2);
        let point: Vec<f32> = noise(n * dim, 1).iter().zip(&pixel).map(|(p, q)| p + 0.5 * q).collect();
        for objective in objectives() {
            everywhere(&format!("{} {n}x{dim}", objective.name()), |device| {
                let sides = [on(device, &point, &[n, dim]), on(device, &pixel, &[n, dim])];
                let [point, pixel] = sides.each_ref().map(|v| v.as_tensor().clone());
                let loss = objective.loss(&Embeddings { point, pixel }).unwrap();
                let grads = loss.value.backward().unwrap();
                let found = f64::from(loss.retrieval_at_1().unwrap());
                (scalar(&loss), found, sides.iter().map(|v| flat(grads.get(v).unwrap())).collect())
            });
        }
    }
}

#[test]
fn device_losses_of_segments_are_those_of_the_cpu() {
    let (pairs, dim) = (3000, 24);
    let (point, map) = (noise(pairs * dim, 3), noise(2 * 40 * 50 * dim, 4));
    let mut segments: Vec<u32> = (0..2 * 40 * 50).map(|i| i * 7 / 11 % 90).collect();
    segments[17] = SegmentedEmbeddings::NO_SEGMENT;
    let pixels: Vec<_> = (0..pairs as u32).map(|i| [i % 2, i * 5 / 3 % 40, i * 3 % 50]).collect();
    everywhere("pooled", |device| {
        let sides = [on(device, &point, &[pairs, dim]), on(device, &map, &[2, 40, 50, dim])];
        let [point, feature_map] = sides.each_ref().map(|v| v.as_tensor().clone());
        let (segments, pixels) = (segments.clone(), pixels.clone());
        let input = SegmentedEmbeddings { point, feature_map, segments, segments_per_view: 90, pixels };
        let loss = PooledInfoNce::default().loss(&input).unwrap();
        let grads = loss.value.backward().unwrap();
        let found = f64::from(loss.retrieval_at_1().unwrap());
        (scalar(&loss), found, sides.iter().map(|v| flat(grads.get(v).unwrap())).collect())
    });
}

#[test]
fn device_losses_of_classes_are_those_of_the_cpu() {
    for (n, classes) in [(3, 2), (rows_allowed(30_000), 14)] {
        let mut scores: Vec<f32> = noise(n * classes, 3).iter().map(|s| 4.0 * s).collect();
        // Equal scores make equal errors.
        scores[..n * classes / 4].fill(0.25);
        let targets: Vec<u16> = (0..n).map(|i| ((i * 7 + i / 3 + 1) % classes) as u16).collect();
        let class_weights: Vec<f32> = (0..classes).map(|c| 0.5 + c as f32).collect();
        for loss in [
            SegmentationLoss::default(),
            SegmentationLoss { class_weights, label_smoothing: 0.2, lovasz: 0.7 },
        ] {
            everywhere(&format!("{n}x{classes} {loss:?}"), |device| {
                let input = on(device, &scores, &[n, classes]);
                let loss = loss.loss(&input, &targets).unwrap();
                let half = loss.value.affine(0.5, 0.0).unwrap();
                let grads = half.backward().unwrap();
                let value = loss.value.to_scalar::<f32>().unwrap();
                (value, loss.accuracy().unwrap(), vec![flat(grads.get(&input).unwrap())])
            });
        }
    }
}

#[test]
fn device_values_that_are_not_finite_are_seen() {
    let (n, dim) = (300, 8);
    for device in devices() {
        for bad in [f32::NAN, f32::INFINITY] {
            for objective in objectives() {
                let mut point = noise(n * dim, 1);
                point[200 * dim + 3] = bad;
                let point = Tensor::from_slice(&point, (n, dim), &device).unwrap();
                let pixel = Tensor::from_slice(&noise(n * dim, 2), (n, dim), &device).unwrap();
                match objective.loss(&Embeddings { point, pixel }) {
                    Err(ObjectiveError::NotFinite { row: 200, .. }) => assert!(device.is_cpu()),
                    Ok(loss) => assert!(!scalar(&loss).is_finite() && !device.is_cpu()),
                    Err(e) => panic!("{e}"),
                }
            }
        }
    }
}
