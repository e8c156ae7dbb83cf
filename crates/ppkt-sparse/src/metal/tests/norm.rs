//! Batch normalisation against the processor's, whose sums are f64.

use ppkt_device::wgsl::Compute;
use ppkt_wgsl::Gpu;

use super::{TOLERANCE, assert_agree, numbers};
use crate::metal::norm::{
    Backward, Shape, backward, batch_statistics, count, move_running, normalise, residual_gradient,
    running_statistics,
};
use crate::norm_kernel::{self, NormBackward, batch_moments, running_moments};
use crate::norm_tensor::Through;

const EPS: f64 = 1e-5;

/// One row, blocks cut short, and enough blocks (more than 256) for a second round of merging.
const SIZES: [(usize, usize); 6] = [(2, 1), (3, 33), (255, 32), (257, 5), (1000, 96), (70_000, 3)];

#[test]
fn moments_keep_their_digits_under_a_large_mean() {
    let Some(gpu) = Gpu::get() else { return };
    for (rows, channels) in SIZES {
        for mean in [0.0, 1000.0] {
            let x: Vec<f32> = numbers(7, rows * channels).iter().map(|v| v + mean).collect();
            let want = batch_moments(&x, channels, EPS);
            let shape = Shape { rows, channels, eps: EPS };
            let got = gpu.floats(&batch_statistics(gpu, &gpu.of(&x), shape).unwrap());
            let what = format!("{rows} rows of {channels} about {mean}");
            // The numbers spread by 1 about the mean, whatever remains of them in the end.
            let near = |g: &f32, w: &f32| (g - w).abs() <= 1e-6 * (1.0 + mean);
            assert!(got.iter().zip(&want.mean).all(|(g, w)| near(g, w)), "mean, {what}");
            assert_agree(&format!("deviation, {what}"), &got[channels..2 * channels], &want.inv_std);
            assert_agree(&format!("variance, {what}"), &got[2 * channels..3 * channels], &want.unbiased_var);
        }
    }
}

#[test]
fn forward_and_backward_agree_with_the_processor() {
    let Some(gpu) = Gpu::get() else { return };
    for (rows, channels) in SIZES {
        for (relu, with_residual, batch) in
            [(false, false, true), (true, false, true), (true, true, true), (true, true, false)]
        {
            let what =
                format!("{rows} rows of {channels}, relu {relu}, residual {with_residual}, batch {batch}");
            let shape = Shape { rows, channels, eps: EPS };
            let x: Vec<f32> = numbers(1, rows * channels).iter().map(|v| 3.0 * v + 1.0).collect();
            let (residual, grad) = (numbers(2, rows * channels), numbers(3, rows * channels));
            let gamma: Vec<f32> = numbers(4, channels).iter().map(|v| v + 1.5).collect();
            let beta = numbers(5, channels);
            let (mean, var) = (numbers(6, channels), vec![0.7; channels]);
            let moments =
                if batch { batch_moments(&x, channels, EPS) } else { running_moments(&mean, &var, EPS) };
            let residual = with_residual.then_some(&residual[..]);
            let y = norm_kernel::normalise(&x, &moments, &gamma, &beta, residual, relu);

            let [gx, gmean, gvar, ggrad] = [&x, &mean, &var, &grad].map(|v| gpu.of(v));
            let affine = gpu.of(&[&gamma[..], &beta[..]].concat());
            let statistics = if batch {
                batch_statistics(gpu, &gx, shape).unwrap()
            } else {
                running_statistics(gpu, &gmean, &gvar, shape).unwrap()
            };
            let gresidual = residual.map(|r| gpu.of(r));
            let gy = normalise(gpu, &gx, &statistics, &affine, gresidual.as_ref(), relu, shape).unwrap();
            assert_agree(&format!("forward, {what}"), &gpu.floats(&gy), &y);

            // From the processor's result, so that a value next to 0 is on the same side for both.
            let gy = gpu.of(&y);
            let want = NormBackward {
                x: &x,
                relu_of: relu.then_some(&y[..]),
                grad: &grad,
                moments: &moments,
                gamma: &gamma,
                batch_statistics: batch,
                want_dx: true,
                want_dresidual: relu,
            }
            .run();
            let mut ways = vec![if relu { Through::Positive(&gy) } else { Through::All }];
            // What the norm alone decided need not be kept.
            ways.extend((relu && !with_residual).then_some(Through::OfNorm));
            for through in ways {
                let what =
                    format!("{what}, {}", if matches!(through, Through::OfNorm) { "again" } else { "" });
                let inputs = Backward {
                    x: &gx,
                    statistics: &statistics,
                    affine: &affine,
                    grad: &ggrad,
                    through,
                    batch,
                };
                let got = backward(gpu, &inputs, true, shape).unwrap();
                // A sum of numbers of both signs is as far off as the numbers are large.
                let in_scale = |name: &str, got: &[f32], want: &[f32], scale: f32| {
                    let worst = got.iter().zip(want).fold(0f32, |m, (g, w)| m.max((g - w).abs()));
                    assert!(worst <= TOLERANCE * scale, "{name}, {what}: differs by {worst} of {scale}");
                };
                let scale = moments.inv_std.iter().fold(0f32, |m, v| m.max(*v)) * 2.5;
                in_scale("dx", &gpu.floats(&got.dx.unwrap()), want.dx.as_ref().unwrap(), scale);
                let daffine = gpu.floats(&got.daffine);
                let scale = (rows as f32).sqrt();
                in_scale("gamma", &daffine[..channels], &want.dgamma, scale);
                in_scale("beta", &daffine[channels..], &want.dbeta, scale);
                if relu {
                    let got = residual_gradient(gpu, &inputs, shape).unwrap();
                    assert_agree(&format!("residual, {what}"), &gpu.floats(&got), &want.dresidual);
                }
            }
        }
    }
}

#[test]
fn rows_of_one_value_have_no_variance_and_nan_stays() {
    let Some(gpu) = Gpu::get() else { return };
    let shape = Shape { rows: 300, channels: 2, eps: EPS };
    let mut x: Vec<f32> = (0..600).map(|i| if i % 2 == 0 { 5.0 } else { 0.0 }).collect();
    x[7] = f32::NAN;
    let x = gpu.of(&x);
    let statistics = batch_statistics(gpu, &x, shape).unwrap();
    let values = gpu.floats(&statistics);
    assert_eq!((values[0], values[4]), (5.0, 0.0));
    assert!(values[1].is_nan() && values[3].is_nan());
    let y = normalise(gpu, &x, &statistics, &gpu.of(&[1.0, 1.0, 0.0, 0.0]), None, true, shape).unwrap();
    let y = gpu.floats(&y);
    assert!(y.chunks(2).all(|row| row[0] == 0.0 && row[1].is_nan()), "ReLU lets NaN through");
}

#[test]
fn running_statistics_move_and_batches_are_counted() {
    let Some(gpu) = Gpu::get() else { return };
    let (running, batch) = (gpu.of(&[1.0, -2.0, 0.0]), gpu.of(&[3.0, 0.0, 8.0]));
    move_running(gpu, &running, &batch, 3, 0.25).unwrap();
    assert_eq!(gpu.floats(&running), [1.5, -1.5, 2.0]);
    for (before, after) in [([0, 0], [1, 0]), ([u32::MAX, 4], [0, 5])] {
        let counter = gpu.upload(&before).unwrap();
        count(gpu, &counter).unwrap();
        assert_eq!(gpu.words(&counter), after);
    }
}
