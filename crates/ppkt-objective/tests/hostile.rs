//! Numbers and shapes that no training should bring: told plainly or passed cleanly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use candle_core::{DType, Device, Tensor};
use common::{noise, objectives, run, scalar};
use ppkt_objective::{
    CentredCosine, Cosine, Embeddings, InfoNce, L2, Objective, ObjectiveError, PooledInfoNce,
    SegmentedEmbeddings,
};

const DIM: usize = 8;

#[test]
fn a_value_that_is_not_finite_is_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (good, mut broken) = (noise(300 * DIM, 1), noise(300 * DIM, 2));
        broken[200 * DIM + 3] = bad;
        broken[250 * DIM] = bad;
        for objective in objectives() {
            let error = run(&*objective, &broken, &good, DIM).unwrap_err();
            assert!(matches!(error, ObjectiveError::NotFinite { what: "point", row: 200 }), "{error}");
            let error = run(&*objective, &good, &broken, DIM).unwrap_err();
            assert!(matches!(error, ObjectiveError::NotFinite { what: "pixel", row: 200 }), "{error}");
        }
    }
}

#[test]
fn rows_of_any_length_pass() {
    let mut point = noise(20 * DIM, 1);
    let pixel = noise(20 * DIM, 2);
    point[..DIM].fill(0.0);
    // Their squares leave f32 in both directions.
    point[DIM..2 * DIM].iter_mut().for_each(|x| *x *= 1e30);
    point[2 * DIM..3 * DIM].iter_mut().for_each(|x| *x *= 1e-30);
    point[3 * DIM..4 * DIM].fill(f32::MIN_POSITIVE / 4.0);
    point[4 * DIM..5 * DIM].fill(f32::MAX);
    for objective in objectives() {
        let (loss, a, b) = run(&*objective, &point, &pixel, DIM).unwrap();
        assert!(scalar(&loss).is_finite(), "{}", objective.name());
        assert!(a.iter().chain(&b).all(|g| g.is_finite()), "{}", objective.name());
    }
    // No direction, no gradient.
    let (_, grad, _) = run(&InfoNce::default(), &point, &pixel, DIM).unwrap();
    assert!(grad[..DIM].iter().all(|&g| g == 0.0));
    assert!(grad[5 * DIM..6 * DIM].iter().any(|&g| g != 0.0));
}

#[test]
fn huge_logits_stay_stable() {
    let (point, pixel) = (noise(200 * DIM, 1), noise(200 * DIM, 2));
    for temperature in [1e-3, 1e-6, 1e-30] {
        for symmetric in [false, true] {
            let objective = InfoNce { temperature, symmetric };
            let (loss, a, b) = run(&objective, &point, &pixel, DIM).unwrap();
            assert!(scalar(&loss).is_finite() && scalar(&loss) > 0.0, "{temperature}");
            assert!(a.iter().chain(&b).all(|g| g.is_finite()), "{temperature}");
        }
    }
    // Perfect pairs: nothing left to learn, however sharp.
    let (loss, grad, _) = run(&InfoNce { temperature: 1e-4, symmetric: false }, &point, &point, DIM).unwrap();
    assert!(scalar(&loss) < 1e-30 && loss.retrieval_at_1().unwrap() == 1.0);
    assert!(grad.iter().all(|&g| g.abs() < 1e-6));
}

#[test]
fn collapsed_embeddings_retrieve_nothing() {
    let same = [1.0f32, -2.0, 0.5].repeat(150);
    let (loss, a, _) = run(&InfoNce::default(), &same, &same, 3).unwrap();
    assert!((scalar(&loss) - 150f32.ln()).abs() < 1e-4);
    assert_eq!(loss.retrieval_at_1().unwrap(), 0.0);
    assert!(a.iter().all(|g| g.abs() < 1e-4));
    for objective in [&L2 as &dyn Objective, &Cosine] {
        let (loss, a, _) = run(objective, &same, &same, 3).unwrap();
        assert!(scalar(&loss).abs() < 1e-6);
        assert_eq!(loss.retrieval_at_1().unwrap(), 0.0);
        assert!(a.iter().all(|g| g.abs() < 1e-6));
    }
}

#[test]
fn one_pair() {
    for objective in objectives() {
        let (loss, a, b) = run(&*objective, &[3.0, 4.0], &[3.0, 4.1], 2).unwrap();
        assert_eq!(loss.retrieval_at_1().unwrap(), 1.0);
        assert!(a.iter().chain(&b).all(|g| g.is_finite()));
    }
    let (loss, ..) = run(&InfoNce::default(), &[3.0, 4.0], &[-1.0, 4.0], 2).unwrap();
    assert!(scalar(&loss).abs() < 1e-30, "there is nothing to confuse it with");
    let (loss, ..) = run(&CentredCosine, &[3.0, 4.0], &[-1.0, 4.0], 2).unwrap();
    assert_eq!(scalar(&loss), 1.0, "less its own mean, nothing is left to compare");
}

#[test]
fn what_does_not_fit_is_told() {
    let tensor = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    for objective in objectives() {
        let loss = |point: &Tensor, pixel: &Tensor| {
            let e = Embeddings { point: point.clone(), pixel: pixel.clone() };
            objective.loss(&e).unwrap_err()
        };
        let good = tensor(&[4, 3]);
        for (point, pixel) in [(vec![4, 3], vec![5, 3]), (vec![4, 3], vec![4, 2]), (vec![12], vec![12])] {
            let error = loss(&tensor(&point), &tensor(&pixel));
            assert!(matches!(error, ObjectiveError::Shape { .. }), "{error}");
        }
        assert!(matches!(loss(&tensor(&[0, 3]), &tensor(&[0, 3])), ObjectiveError::Empty { .. }));
        assert!(matches!(loss(&tensor(&[4, 0]), &tensor(&[4, 0])), ObjectiveError::Empty { .. }));
        let double = good.to_dtype(DType::F64).unwrap();
        assert!(matches!(loss(&good, &double), ObjectiveError::DType { what: "pixel", .. }));
    }
}

#[test]
fn a_temperature_that_does_not_divide_is_told() {
    for temperature in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e-300] {
        let error =
            run(&InfoNce { temperature, symmetric: false }, &noise(6, 1), &noise(6, 2), 3).unwrap_err();
        assert!(matches!(error, ObjectiveError::Temperature { .. }), "{error}");
    }
}

#[test]
fn segments_that_do_not_fit_are_told() {
    let good = SegmentedEmbeddings {
        point: Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap(),
        feature_map: Tensor::ones((1, 2, 2, 3), DType::F32, &Device::Cpu).unwrap(),
        segments: vec![0, 1, 1, SegmentedEmbeddings::NO_SEGMENT],
        segments_per_view: 2,
        pixels: vec![[0, 0, 0], [0, 1, 0]],
    };
    let objective = PooledInfoNce::default();
    objective.loss(&good).unwrap();
    // Ids may be far apart.
    let mut sparse = good.clone();
    (sparse.segments_per_view, sparse.segments[1]) = (u32::MAX, u32::MAX - 1);
    objective.loss(&sparse).unwrap();
    let broken = |break_it: fn(&mut SegmentedEmbeddings)| {
        let mut input = good.clone();
        break_it(&mut input);
        objective.loss(&input).unwrap_err()
    };
    let e = broken(|i| i.segments[1] = 2);
    assert!(matches!(e, ObjectiveError::Segment { pixel: 1, got: 2, .. }), "{e}");
    for pixel in [[1, 0, 0], [0, 2, 0], [0, 0, 2], [u32::MAX; 3]] {
        let mut input = good.clone();
        input.pixels[1] = pixel;
        let e = objective.loss(&input).unwrap_err();
        assert!(matches!(e, ObjectiveError::Pair { pair: 1, .. }), "{e}");
    }
    assert!(matches!(broken(|i| i.segments.truncate(3)), ObjectiveError::Shape { what: "segments", .. }));
    assert!(matches!(broken(|i| i.pixels.truncate(1)), ObjectiveError::Shape { what: "point", .. }));
    assert!(matches!(broken(|i| i.pixels = vec![[0, 1, 1]; 2]), ObjectiveError::Empty { .. }));
}
