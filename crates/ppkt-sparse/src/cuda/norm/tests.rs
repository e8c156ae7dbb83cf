//! Batch normalisation by the kernels, run on the processor, against the processor's own.

use ppkt_device::launch::Memory;
use ppkt_testkit::{EmulatedGpu, EmulatedMemory};

use super::*;
use crate::cuda::samples::{OF_BF16, assert_close, gpu, narrow, numbers, wide};
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
    let Some(gpu) = gpu() else { return };
    for (n, channels) in SIZES.into_iter().filter(|s| s.0 > 1) {
        let rows = Rows { n, channels };
        // A mean that is large beside the deviation.
        let x: Vec<f32> = numbers(rows.elements(), 1).iter().map(|v| 50.0 + v).collect();
        let got = batch_moments(&gpu, gpu.array(&x).view(), rows, EPS).unwrap().values();
        let want = norm_kernel::batch_moments(&x, channels, EPS);
        let got = moments_of(&got, channels);
        assert_close(&got.mean, &want.mean, 1e-6);
        assert_close(&got.inv_std, &want.inv_std, 1e-5);
        assert_close(&got.unbiased_var, &want.unbiased_var, 1e-5);
        let small = narrow(&x);
        let got = batch_moments(&gpu, gpu.array(&small).view(), rows, EPS).unwrap();
        let got = moments_of(&got.values(), channels);
        assert_close(&got.mean, &norm_kernel::batch_moments(&wide(&small), channels, EPS).mean, 1e-6);
    }
    let (mean, var) = (numbers(37, 2), numbers(37, 3).iter().map(|v| v.abs()).collect::<Vec<_>>());
    let got = running_moments(&gpu, gpu.array(&mean).view(), gpu.array(&var).view(), 37, EPS).unwrap();
    assert_eq!(moments_of(&got.values(), 37), norm_kernel::running_moments(&mean, &var, EPS));
}

#[test]
fn rows_are_normalised_as_on_the_processor() {
    let Some(gpu) = gpu() else { return };
    for (n, channels) in SIZES {
        let rows = Rows { n, channels };
        let (x, residual) = (numbers(rows.elements(), 4), numbers(rows.elements(), 5));
        let moments: Vec<f32> = numbers(3 * channels, 6).iter().map(|v| v + 1.5).collect();
        let affine = numbers(2 * channels, 7);
        let (gamma, beta) = affine.split_at(channels);
        for (with_residual, relu) in [(false, false), (false, true), (true, true)] {
            let residual = with_residual.then_some(&residual[..]);
            let [on_gpu, moments_there, affine_there] = [&x, &moments, &affine].map(|v| gpu.array(v));
            let numbers = (moments_there.view(), affine_there.view());
            let residual_there = residual.map(|r| gpu.array(r));
            let residual_view = residual_there.as_ref().map(Memory::view);
            let got =
                normalise(&gpu, on_gpu.view(), numbers.0, numbers.1, residual_view, relu, rows).unwrap();
            let of = moments_of(&moments, channels);
            let want = norm_kernel::normalise(&x, &of, gamma, beta, residual, relu);
            assert_eq!(
                got.values(),
                want,
                "the same operations in the same order: {n} rows, {channels} channels"
            );
            let (x, residual) = (narrow(&x), residual.map(narrow));
            let (on_gpu, residual_there) = (gpu.array(&x), residual.as_ref().map(|r| gpu.array(r)));
            let residual_view = residual_there.as_ref().map(Memory::view);
            let got =
                normalise(&gpu, on_gpu.view(), numbers.0, numbers.1, residual_view, relu, rows).unwrap();
            let residual = residual.as_deref().map(wide);
            let want = norm_kernel::normalise(&wide(&x), &of, gamma, beta, residual.as_deref(), relu);
            assert_close(&wide(&got.values()), &want, OF_BF16);
        }
    }
}

/// The ReLU's places found from the norm again are those of the result that was kept.
#[test]
fn a_relu_behind_the_norm_alone_needs_no_result() {
    fn check<T: Feature + Into<f32> + Default + PartialEq + std::fmt::Debug>(
        gpu: &EmulatedGpu,
        rows: Rows,
        [x, grad]: [&[T]; 2],
    ) {
        let moments: Vec<f32> = numbers(3 * rows.channels, 6).iter().map(|v| v + 1.5).collect();
        let affine = numbers(2 * rows.channels, 7);
        let ([x, grad], [moments, affine]) =
            ([x, grad].map(|v| gpu.array(v)), [&moments, &affine].map(|v| gpu.array(v)));
        let y = normalise(gpu, x.view(), moments.view(), affine.view(), None, true, rows).unwrap();
        let backward = |through| {
            let backward = Backward {
                x: x.view(),
                through,
                grad: grad.view(),
                moments: moments.view(),
                affine: affine.view(),
                batch_statistics: true,
                want_dx: true,
                want_dresidual: true,
            };
            backward.run(gpu, rows).unwrap()
        };
        let (kept, found) = (backward(Through::Positive(y.view())), backward(Through::OfNorm));
        let values = |memory: Option<EmulatedMemory<T>>| memory.unwrap().values();
        assert_eq!(kept.daffine.values(), found.daffine.values());
        assert_eq!(values(kept.dx), values(found.dx));
        assert_eq!(values(kept.dresidual), values(found.dresidual));
        let through = y.values().into_iter().filter(|&y| y.into() > 0.0).count();
        assert!(rows.elements() < 100 || (through > 10 && through < rows.elements() - 10));
    }
    let Some(gpu) = gpu() else { return };
    for (n, channels) in SIZES {
        let rows = Rows { n, channels };
        let (x, grad) = (numbers(rows.elements(), 1), numbers(rows.elements(), 3));
        check::<f32>(&gpu, rows, [&x, &grad]);
        check::<half::bf16>(&gpu, rows, [&narrow(&x), &narrow(&grad)]);
    }
}

#[test]
fn gradients_are_those_of_the_processor() {
    let Some(gpu) = gpu() else { return };
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
            let there = [&x, &y, &grad, &moments, &affine].map(|v| gpu.array(v));
            let [x_view, y_view, grad_view, moments_view, affine_view] = there.each_ref().map(Memory::view);
            let got = Backward {
                x: x_view,
                through: if relu { Through::Positive(y_view) } else { Through::All },
                grad: grad_view,
                moments: moments_view,
                affine: affine_view,
                batch_statistics,
                want_dx,
                want_dresidual,
            }
            .run(&gpu, rows)
            .unwrap();
            let daffine = got.daffine.values();
            assert_close(&daffine[..channels], &want.dgamma, 1e-5);
            assert_close(&daffine[channels..], &want.dbeta, 1e-5);
            assert_eq!(got.dx.is_some(), want_dx);
            let values = |memory: Option<EmulatedMemory<f32>>| memory.map_or(Vec::new(), |m| m.values());
            assert_close(&values(got.dx), &want.dx.unwrap_or_default(), 1e-5);
            assert_eq!(values(got.dresidual), want.dresidual);

            let [x, y, grad] = [&x, &y, &grad].map(|v| narrow(v));
            let there = [&x, &y, &grad].map(|v| gpu.array(v));
            let [x_view, y_view, grad_view] = there.each_ref().map(Memory::view);
            let got = Backward {
                x: x_view,
                through: if relu { Through::Positive(y_view) } else { Through::All },
                grad: grad_view,
                moments: moments_view,
                affine: affine_view,
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
            assert_close(&wide(&got.dx.unwrap().values()), &want.dx.unwrap_or_default(), OF_BF16);
            assert_close(&got.daffine.values()[..channels], &want.dgamma, 1e-5);
        }
    }
}

#[test]
fn running_statistics_move_and_batches_are_counted() {
    let Some(gpu) = gpu() else { return };
    let (running, batch) = (numbers(300, 1), numbers(300, 2));
    let move_one = |(r, b): (&f32, &f32)| (0.9 * f64::from(*r) + 0.1 * f64::from(*b)) as f32;
    let want: Vec<f32> = running.iter().zip(&batch).map(move_one).collect();
    let mut running = gpu.array(&running);
    move_running(&gpu, running.view_mut(), gpu.array(&batch).view(), 300, 0.1).unwrap();
    assert_close(&running.values(), &want, 1e-7);
    let mut batches = gpu.array(&[41i64]);
    count(&gpu, batches.view_mut()).unwrap();
    assert_eq!(batches.values(), [42]);
}
