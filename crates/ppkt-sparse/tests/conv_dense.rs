//! Convolutions against a dense convolution in f64, on random patterns.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use ppkt_sparse::{ConvSpec, CoordinateManager, Coords, SparseTensor, cat, conv, conv_cat, conv_transpose};
use ppkt_testkit::assert_close;
use proptest::prelude::*;

mod common;
use common::{Numbers, dense_conv, sparse, values};

/// Sums of up to a few thousand products in f32 against f64.
const TOLERANCE: f64 = 5e-6;

/// Compares forward and both gradients of one layer on `x` with the dense ones.
fn check(
    x: &SparseTensor,
    features: &candle_core::Var,
    spec: ConvSpec,
    cout: usize,
    up: bool,
    n: &mut Numbers,
) {
    let cin = x.channels();
    let weight = n.var(&[spec.volume(), cin, cout]);
    let y = if up { conv_transpose(x, &weight, spec) } else { conv(x, &weight, spec) }.unwrap();
    assert_eq!(y.features().dims(), [y.len(), cout]);
    let grad = n.tensor(&[y.len(), cout]);
    let (fine, coarse) = if up { (&y, x) } else { (x, &y) };
    let want = dense_conv(
        fine.coords(),
        coarse.coords(),
        fine.stride() as i32,
        spec,
        up,
        &values(features),
        &values(&weight),
        &values(&grad),
        (cin, cout),
    );
    let what = format!("{spec:?} {cin} to {cout}, {} to {} rows, up {up}", x.len(), y.len());
    assert_close(&format!("{what}: out"), &values(y.features()), &want.out, TOLERANCE);
    let grads = (y.features() * grad).unwrap().sum_all().unwrap().backward().unwrap();
    let dx = values(grads.get(features).unwrap());
    assert_close(&format!("{what}: dx"), &dx, &want.dx, TOLERANCE);
    assert_close(&format!("{what}: dw"), &values(grads.get(&weight).unwrap()), &want.dw, TOLERANCE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_patterns_agree_with_dense(
        seed in 0u64..1 << 40,
        kernel in prop::sample::select(vec![1usize, 2, 3, 4, 5]),
        stride in 1usize..=4,
        dilation in 1usize..=3,
        (cin, cout) in (1usize..24, 1usize..40),
        share in 0.02f32..0.9,
        edge in 1i32..8,
    ) {
        let mut n = Numbers::new(seed);
        let spec = ConvSpec::new(kernel, stride).with_dilation(dilation);
        let coords = n.pattern(2, edge, share);
        let (x, features) = sparse(&coords, cin, &mut n);
        check(&x, &features, spec, cout, false, &mut n);

        // And from the coarser set back.
        let coarse = x.manager().coarser(1, stride).unwrap();
        let features = n.var(&[coarse.len(), cin]);
        let x = SparseTensor::on(x.manager(), coarse.stride(), features.as_tensor().clone()).unwrap();
        check(&x, &features, spec, cout, true, &mut n);
    }
}

#[test]
fn channel_counts_of_every_kind_agree_with_dense() {
    // One vector, several, whole and with a rest, of 8 and of 16 lanes; more rows than a block.
    let mut n = Numbers::new(7);
    let coords = n.pattern(1, 9, 0.45);
    assert!(coords.len() > 256);
    for (cin, cout) in [(3, 8), (8, 3), (1, 17), (16, 16), (33, 48), (20, 65), (96, 7), (5, 96), (2, 130)] {
        let (x, features) = sparse(&coords, cin, &mut n);
        check(&x, &features, ConvSpec::new(3, 1), cout, false, &mut n);
        check(&x, &features, ConvSpec::new(2, 2), cout, false, &mut n);
    }
}

#[test]
fn levels_below_the_first_agree_with_dense() {
    let mut n = Numbers::new(8);
    let coords = n.pattern(2, 12, 0.3);
    let (x, _) = sparse(&coords, 1, &mut n);
    for stride in [2usize, 4, 8] {
        let set = x.manager().coarser(1, stride).unwrap();
        let features = n.var(&[set.len(), 4]);
        let x = SparseTensor::on(x.manager(), set.stride(), features.as_tensor().clone()).unwrap();
        check(&x, &features, ConvSpec::new(3, 1), 5, false, &mut n);
        check(&x, &features, ConvSpec::new(3, 1).with_dilation(2), 5, false, &mut n);
        check(&x, &features, ConvSpec::new(2, 2), 5, false, &mut n);
        check(&x, &features, ConvSpec::new(2, 2), 5, true, &mut n);
        check(&x, &features, ConvSpec::new(3, 2), 5, true, &mut n);
    }
}

#[test]
fn gradients_agree_with_differences() {
    // The operation is linear in each argument: differences are exact but for rounding, whatever the step.
    let mut n = Numbers::new(9);
    let coords = n.pattern(2, 6, 0.4);
    let (x, features) = sparse(&coords, 6, &mut n);
    let spec = ConvSpec::new(3, 2);
    let weight = n.var(&[27, 6, 9]);
    let scale = {
        let rows = conv(&x, &weight, spec).unwrap().len();
        n.tensor(&[rows, 9])
    };
    let loss = |x: &SparseTensor, w: &candle_core::Tensor| {
        (conv(x, w, spec).unwrap().features() * &scale).unwrap().sum_all().unwrap()
    };
    let at = loss(&x, &weight);
    let grads = at.backward().unwrap();
    let number = |t: candle_core::Tensor| f64::from(t.to_scalar::<f32>().unwrap());
    for _ in 0..5 {
        let (dx, dw) = (n.tensor(features.dims()), n.tensor(weight.dims()));
        let moved = x.with_features((features.as_tensor() + &dx).unwrap()).unwrap();
        let slope = number((grads.get(&features).unwrap() * &dx).unwrap().sum_all().unwrap());
        let difference = number(loss(&moved, &weight)) - number(at.clone());
        assert!((slope - difference).abs() < 1e-3 * slope.abs().max(1.0), "features: {slope} {difference}");
        let moved = (weight.as_tensor() + &dw).unwrap();
        let slope = number((grads.get(&weight).unwrap() * &dw).unwrap().sum_all().unwrap());
        let difference = number(loss(&x, &moved)) - number(at.clone());
        assert!((slope - difference).abs() < 1e-3 * slope.abs().max(1.0), "weight: {slope} {difference}");
    }
}

#[test]
fn arguments_that_nobody_trains_get_no_gradient() {
    let mut n = Numbers::new(10);
    let coords = n.pattern(1, 5, 0.4);
    let (x, features) = sparse(&coords, 4, &mut n);
    let spec = ConvSpec::new(3, 1);
    let frozen = n.tensor(&[27, 4, 4]);
    let grads = conv(&x, &frozen, spec).unwrap().features().backward().unwrap();
    assert!(grads.get(&features).is_some() && grads.get(&frozen).is_none());

    // A frozen input below a trained layer, and a trained one above a frozen layer.
    let weight = n.var(&[27, 4, 4]);
    let input = x.with_features(features.as_tensor().detach()).unwrap();
    let y = conv(&conv(&input, &weight, spec).unwrap(), &frozen, spec).unwrap();
    let grads = y.features().backward().unwrap();
    assert!(grads.get(&weight).is_some() && grads.get(input.features()).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    /// The result to the bit; the gradients are sums of the same products.
    #[test]
    fn two_inputs_are_their_concatenation(
        seed in 0u64..1 << 40,
        (kernel, stride) in prop::sample::select(vec![(1usize, 1usize), (3, 1), (2, 2), (5, 1)]),
        (left, right, cout) in (1usize..40, 1usize..40, 1usize..70),
        share in 0.0f32..0.6,
        edge in 1i32..9,
    ) {
        let mut n = Numbers::new(seed);
        let coords = n.pattern(2, edge, share);
        let (a, va) = sparse(&coords, left, &mut n);
        let vb = n.var(&[coords.len(), right]);
        let b = a.with_features(vb.as_tensor().clone()).unwrap();
        let spec = ConvSpec::new(kernel, stride);
        let weight = n.var(&[spec.volume(), left + right, cout]);
        let one = conv(&cat(&[&a, &b]).unwrap(), &weight, spec).unwrap();
        let two = conv_cat(&a, &b, &weight, spec).unwrap();
        prop_assert_eq!(values(one.features()), values(two.features()));
        let grad = n.tensor(one.features().dims());
        let grads = |y: &SparseTensor| (y.features() * &grad).unwrap().sum_all().unwrap().backward().unwrap();
        let (one, two) = (grads(&one), grads(&two));
        for (what, var) in [("left", &va), ("right", &vb), ("weight", &weight)] {
            let want: Vec<f64> = common::wide(&values(one.get(var).unwrap()));
            assert_close(what, &values(two.get(var).unwrap()), &want, 1e-6);
        }
    }
}

#[test]
fn two_inputs_that_do_not_fit_are_refused() {
    let mut n = Numbers::new(12);
    let coords = n.pattern(1, 5, 0.5);
    let (a, _) = sparse(&coords, 3, &mut n);
    let weight = n.var(&[27, 7, 2]);
    let elsewhere = CoordinateManager::new(Coords::new(&coords).unwrap().0);
    let b = SparseTensor::on(&elsewhere, 1, n.tensor(&[coords.len(), 4])).unwrap();
    let refused = conv_cat(&a, &b, &weight, ConvSpec::new(3, 1)).unwrap_err().to_string();
    assert!(refused.contains("conv_cat") && refused.contains("different coordinates"), "{refused}");
    let b = a.with_features(n.tensor(&[coords.len(), 5])).unwrap();
    let refused = conv_cat(&a, &b, &weight, ConvSpec::new(3, 1)).unwrap_err().to_string();
    assert!(refused.contains("[27, 8, channels]"), "{refused}");
}

#[test]
fn two_inputs_of_which_one_is_frozen() {
    let mut n = Numbers::new(13);
    let coords = n.pattern(1, 6, 0.5);
    let (a, va) = sparse(&coords, 3, &mut n);
    let b = a.with_features(n.tensor(&[coords.len(), 4])).unwrap();
    let frozen = n.tensor(&[27, 7, 2]);
    let grads = conv_cat(&b, &a, &frozen, ConvSpec::new(3, 1)).unwrap().features().backward().unwrap();
    assert!(grads.get(&va).is_some() && grads.get(b.features()).is_none() && grads.get(&frozen).is_none());
}
