//! Every vector of the reference implementation, loss and gradients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use candle_core::{Device, Tensor, Var};
use ppkt_objective::{
    CentredCosine, Cosine, Embeddings, InfoNce, L2, Objective, PooledInfoNce, SegmentedEmbeddings,
};
use ppkt_testkit::{Vectors, assert_close, reference_files};

/// f32 against f64: the goal of the house. What is met today is better than 1e-5.
const TOLERANCE: f64 = 1e-4;

fn var(v: &Vectors, name: &str) -> Var {
    Var::from_tensor(&Tensor::from_vec(v.f32s(name), v.shape(name), &Device::Cpu).unwrap()).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn check_pairs(v: &Vectors, objective: &dyn Objective) {
    let (point, pixel) = (var(v, "point"), var(v, "pixel"));
    let embeddings = Embeddings { point: point.as_tensor().clone(), pixel: pixel.as_tensor().clone() };
    let loss = objective.loss(&embeddings).unwrap();
    let name = v.name();
    assert_close(
        &format!("{name}: loss"),
        &[loss.value.to_scalar::<f32>().unwrap()],
        &v.f64s("loss"),
        TOLERANCE,
    );
    let grads = loss.value.backward().unwrap();
    for (side, var) in [("point", &point), ("pixel", &pixel)] {
        let got = flat(grads.get(var).unwrap());
        assert_close(&format!("{name}: grad_{side}"), &got, &v.f64s(&format!("grad_{side}")), TOLERANCE);
    }
}

#[test]
fn reference_ppnce() {
    for file in reference_files("ppnce_") {
        let v = Vectors::load(&file);
        let temperature = v.json("temperature").as_f64().unwrap();
        let symmetric = v.json("symmetric").as_bool().unwrap();
        check_pairs(&v, &InfoNce { temperature, symmetric });
    }
}

#[test]
fn reference_l2() {
    for file in reference_files("l2_") {
        check_pairs(&Vectors::load(&file), &L2);
    }
}

#[test]
fn reference_cosine() {
    for file in reference_files("cosine_") {
        check_pairs(&Vectors::load(&file), &Cosine);
    }
}

#[test]
fn reference_centred_cosine() {
    for file in reference_files("centred_cosine_") {
        check_pairs(&Vectors::load(&file), &CentredCosine);
    }
}

#[test]
fn reference_pooled_nce() {
    for file in reference_files("pooled_nce_") {
        let v = Vectors::load(&file);
        let (point, feature_map) = (var(&v, "point"), var(&v, "feature_map"));
        // A negative segment is none.
        let u32s = |name: &str| {
            v.i64s(name).into_iter().map(|x| u32::try_from(x).unwrap_or(SegmentedEmbeddings::NO_SEGMENT))
        };
        let input = SegmentedEmbeddings {
            point: point.as_tensor().clone(),
            // The file is channels first; candle brings the gradient back through the permutation.
            feature_map: feature_map.permute((0, 2, 3, 1)).unwrap(),
            segments: u32s("segments").collect(),
            segments_per_view: u32::try_from(v.json("segments_per_view").as_u64().unwrap()).unwrap(),
            pixels: u32s("pair_view")
                .zip(u32s("pair_row"))
                .zip(u32s("pair_col"))
                .map(|((view, row), col)| [view, row, col])
                .collect(),
        };
        let temperature = v.json("temperature").as_f64().unwrap();
        let loss = PooledInfoNce { temperature }.loss(&input).unwrap();
        let name = v.name();
        assert_close(&name, &[loss.value.to_scalar::<f32>().unwrap()], &v.f64s("loss"), TOLERANCE);
        let grads = loss.value.backward().unwrap();
        for (side, var) in [("point", &point), ("feature_map", &feature_map)] {
            let got = flat(grads.get(var).unwrap());
            assert_close(&format!("{name}: grad_{side}"), &got, &v.f64s(&format!("grad_{side}")), TOLERANCE);
        }
    }
}
