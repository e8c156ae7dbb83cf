//! Batch normalisation by the kernels, run on the processor, against the processor's own.

use super::*;
use crate::cuda::emulated::Processor;
use crate::cuda::samples::{OF_BF16, assert_close, narrow, numbers, wide};
use crate::norm_kernel;

const EPS: f64 = 1e-5;

/// Odd sizes, one row, several parts, channels that no pack of four divides.
const SIZES: [(usize, usize); 7] = [(2, 1), (1, 5), (33, 3), (513, 20), (1030, 36), (3, 130), (0, 4)];

fn moments_of(moments: &[f32], c: usize) -> norm_kernel::Moments {
    let part = |i: usize| moments[i * c..(i + 1) * c].to_vec();
    norm_kernel::Moments { mean: part(0), inv_std: part(1), unbiased_var: part(2) }
}

#[test]
fn moments_are_those_of_the_rows() {
    let Some(gpu) = Processor::new() else { return };
    for (n, channels) in SIZES.into_iter().filter(|s| s.0 > 1) {
        let rows = Rows { n, channels };
        // A mean that is large beside the deviation.
        let x: Vec<f32> = numbers(rows.elements(), 1).iter().map(|v| 50.0 + v).collect();
        let got = batch_moments(&gpu, &x[..], rows, EPS).unwrap();
        let want = norm_kernel::batch_moments(&x, channels, EPS);
        let got = moments_of(&got, channels);
        assert_close(&got.mean, &want.mean, 1e-6);
        assert_close(&got.inv_std, &want.inv_std, 1e-5);
        assert_close(&got.unbiased_var, &want.unbiased_var, 1e-5);
        let small = narrow(&x);
        let got = moments_of(&batch_moments(&gpu, &small[..], rows, EPS).unwrap(), channels);
        assert_close(&got.mean, &norm_kernel::batch_moments(&wide(&small), channels, EPS).mean, 1e-6);
    }
    let (mean, var) = (numbers(37, 2), numbers(37, 3).iter().map(|v| v.abs()).collect::<Vec<_>>());
    let got = running_moments(&gpu, &mean[..], &var[..], 37, EPS).unwrap();
    assert_eq!(moments_of(&got, 37), norm_kernel::running_moments(&mean, &var, EPS));
}

#[test]
fn rows_are_normalised_as_on_the_processor() {
    let Some(gpu) = Processor::new() else { return };
    for (n, channels) in SIZES {
        let rows = Rows { n, channels };
        let (x, residual) = (numbers(rows.elements(), 4), numbers(rows.elements(), 5));
        let moments: Vec<f32> = numbers(3 * channels, 6).iter().map(|v| v + 1.5).collect();
        let affine = numbers(2 * channels, 7);
        let (gamma, beta) = affine.split_at(channels);
        for (with_residual, relu) in [(false, false), (false, true), (true, true)] {
            let residual = with_residual.then_some(&residual[..]);
            let got = normalise(&gpu, &x[..], &moments[..], &affine[..], residual, relu, rows).unwrap();
            let of = moments_of(&moments, channels);
            let want = norm_kernel::normalise(&x, &of, gamma, beta, residual, relu);
            assert_eq!(got, want, "the same operations in the same order: {n} rows, {channels} channels");
            let (x, residual) = (narrow(&x), residual.map(narrow));
            let got =
                normalise(&gpu, &x[..], &moments[..], &affine[..], residual.as_deref(), relu, rows).unwrap();
            let residual = residual.as_deref().map(wide);
            let want = norm_kernel::normalise(&wide(&x), &of, gamma, beta, residual.as_deref(), relu);
            assert_close(&wide(&got), &want, OF_BF16);
        }
    }
}

/// The ReLU's places found from the norm again are those of the result that was kept.
#[test]
fn a_relu_behind_the_norm_alone_needs_no_result() {
    fn check<T: Feature + Into<f32> + Default + PartialEq + std::fmt::Debug>(
        gpu: &Processor,
        rows: Rows,
        [x, grad]: [&[T]; 2],
    ) {
        let moments: Vec<f32> = numbers(3 * rows.channels, 6).iter().map(|v| v + 1.5).collect();
        let affine = numbers(2 * rows.channels, 7);
        let y = normalise(gpu, x, &moments[..], &affine[..], None, true, rows).unwrap();
        let backward = |through| {
            let backward = Backward::<Processor, T> {
                x,
                through,
                grad,
                moments: &moments,
                affine: &affine,
                batch_statistics: true,
                want_dx: true,
                want_dresidual: true,
            };
            backward.run(gpu, rows).unwrap()
        };
        let (kept, found) = (backward(Through::Positive(&y[..])), backward(Through::OfNorm));
        assert_eq!(kept.daffine, found.daffine);
        assert_eq!(kept.dx, found.dx);
        assert_eq!(kept.dresidual, found.dresidual);
        let through = y.iter().filter(|&&y| y.into() > 0.0).count();
        assert!(rows.elements() < 100 || (through > 10 && through < rows.elements() - 10));
    }
    let Some(gpu) = Processor::new() else { return };
    for (n, channels) in SIZES {
        let rows = Rows { n, channels };
        let (x, grad) = (numbers(rows.elements(), 1), numbers(rows.elements(), 3));
        check::<f32>(&gpu, rows, [&x, &grad]);
        check::<half::bf16>(&gpu, rows, [&narrow(&x), &narrow(&grad)]);
    }
}

#[test]
fn gradients_are_those_of_the_processor() {
    let Some(gpu) = Processor::new() else { return };
    for (n, channels) in SIZES {
        let rows = Rows { n, channels };
        let (x, y, grad) =
            (numbers(rows.elements(), 1), numbers(rows.elements(), 2), numbers(rows.elements(), 3));
        let moments: Vec<f32> = numbers(3 * channels, 6).iter().map(|v| v + 1.5).collect();
        let affine = numbers(2 * channels, 7);
        for (relu, batch_statistics, want_dx, want_dresidual) in [
            (true, true, true, true),
            (false, true, true, false),
            (true, false, true, false),
            (true, true, false, false),
        ] {
            let want = norm_kernel::NormBackward {
                x: &x,
                relu_of: relu.then_some(&y),
                grad: &grad,
                moments: &moments_of(&moments, channels),
                gamma: &affine[..channels],
                batch_statistics,
                want_dx,
                want_dresidual,
            }
            .run();
            let got = Backward::<Processor, f32> {
                x: &x,
                through: if relu { Through::Positive(&y[..]) } else { Through::All },
                grad: &grad,
                moments: &moments,
                affine: &affine,
                batch_statistics,
                want_dx,
                want_dresidual,
            }
            .run(&gpu, rows)
            .unwrap();
            assert_close(&got.daffine[..channels], &want.dgamma, 1e-5);
            assert_close(&got.daffine[channels..], &want.dbeta, 1e-5);
            assert_eq!(got.dx.is_some(), want_dx);
            assert_close(&got.dx.unwrap_or_default(), &want.dx.unwrap_or_default(), 1e-5);
            assert_eq!(got.dresidual.unwrap_or_default(), want.dresidual);

            let [x, y, grad] = [&x, &y, &grad].map(|v| narrow(v));
            let got = Backward::<Processor, half::bf16> {
                x: &x,
                through: if relu { Through::Positive(&y[..]) } else { Through::All },
                grad: &grad,
                moments: &moments,
                affine: &affine,
                batch_statistics,
                want_dx: true,
                want_dresidual: false,
            }
            .run(&gpu, rows)
            .unwrap();
            let [x, y, grad] = [&x, &y, &grad].map(|v| wide(v));
            let want = norm_kernel::NormBackward {
                x: &x,
                relu_of: relu.then_some(&y),
                grad: &grad,
                moments: &moments_of(&moments, channels),
                gamma: &affine[..channels],
                batch_statistics,
                want_dx: true,
                want_dresidual: false,
            }
            .run();
            assert_close(&wide(&got.dx.unwrap_or_default()), &want.dx.unwrap_or_default(), OF_BF16);
            assert_close(&got.daffine[..channels], &want.dgamma, 1e-5);
        }
    }
}

#[test]
fn running_statistics_move_and_batches_are_counted() {
    let Some(gpu) = Processor::new() else { return };
    let (mut running, batch) = (numbers(300, 1), numbers(300, 2));
    let move_one = |(r, b): (&f32, &f32)| (0.9 * f64::from(*r) + 0.1 * f64::from(*b)) as f32;
    let want: Vec<f32> = running.iter().zip(&batch).map(move_one).collect();
    let arg = gpu.write(&mut running);
    move_running(&gpu, arg, &batch[..], 300, 0.1).unwrap();
    assert_close(&running, &want, 1e-7);
    let mut batches = vec![41i64];
    let arg = gpu.write(&mut batches);
    count(&gpu, arg).unwrap();
    assert_eq!(batches, [42]);
}
