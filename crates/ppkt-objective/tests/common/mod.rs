//! Random embeddings, and running an objective with its gradients.
#![allow(dead_code, reason = "each test file takes what it needs")]

use candle_core::{Device, Tensor, Var};
use ppkt_objective::{CentredCosine, Cosine, Embeddings, InfoNce, L2, Loss, Objective, ObjectiveError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every objective over pairs.
pub(crate) fn objectives() -> Vec<Box<dyn Objective>> {
    vec![
        Box::new(InfoNce { temperature: 0.07, symmetric: false }),
        Box::new(InfoNce { temperature: 0.2, symmetric: true }),
        Box::new(L2),
        Box::new(Cosine),
        Box::new(CentredCosine),
    ]
}

/// Numbers from -1 to 1.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

pub(crate) fn var(values: &[f32], shape: &[usize]) -> Var {
    Var::from_tensor(&Tensor::from_slice(values, shape, &Device::Cpu).unwrap()).unwrap()
}

pub(crate) fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn scalar(loss: &Loss) -> f32 {
    loss.value.to_scalar().unwrap()
}

/// Loss and both gradients.
pub(crate) fn run(
    objective: &dyn Objective,
    point: &[f32],
    pixel: &[f32],
    dim: usize,
) -> Result<(Loss, Vec<f32>, Vec<f32>), ObjectiveError> {
    let shape = [point.len() / dim, dim];
    let (point, pixel) = (var(point, &shape), var(pixel, &shape));
    let embeddings = Embeddings { point: point.as_tensor().clone(), pixel: pixel.as_tensor().clone() };
    let loss = objective.loss(&embeddings)?;
    let grads = loss.value.backward()?;
    let grad = |v: &Var| flat(grads.get(v).unwrap());
    Ok((loss.clone(), grad(&point), grad(&pixel)))
}
