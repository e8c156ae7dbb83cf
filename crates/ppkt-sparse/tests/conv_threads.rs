//! Same bits for any number of threads.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use candle_core::Tensor;
use ppkt_sparse::{
    ConvSpec, SparseTensor, avg_pool, conv, conv_transpose, global_avg_pool, max_pool, simd_path,
};

mod common;
use common::{Numbers, sparse, values};

/// Everything that a small network computes, gradients included, in a pool of `threads`.
fn everything(threads: usize) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut n = Numbers::new(11);
        // Enough rows for several blocks and several parts of the weight gradient's sum.
        let coords = n.pattern(2, 24, 0.2);
        assert!(coords.len() > 4096);
        let (x, features) = sparse(&coords, 20, &mut n);
        let weights: Vec<_> = [(27, 20, 24), (8, 24, 40), (27, 40, 40), (8, 40, 24), (27, 24, 70)]
            .map(|(k, i, o)| n.var(&[k, i, o]))
            .into();
        let (same, half) = (ConvSpec::new(3, 1), ConvSpec::new(2, 2));
        let add = |a: &SparseTensor, b: &SparseTensor| {
            a.with_features((a.features() + b.features()).unwrap()).unwrap()
        };
        let y = conv(&x, &weights[0], same).unwrap();
        let down = conv(&y, &weights[1], half).unwrap();
        let deep = conv(&down, &weights[2], same).unwrap();
        let deep = add(&add(&deep, &max_pool(&deep, same).unwrap()), &avg_pool(&deep, same).unwrap());
        let up = conv_transpose(&deep, &weights[3], half).unwrap();
        let out = conv(&add(&up, &y), &weights[4], same).unwrap();
        let pooled = global_avg_pool(&out).unwrap();
        let loss = (out.features().sqr().unwrap().sum_all().unwrap() + pooled.sum_all().unwrap()).unwrap();
        let grads = loss.backward().unwrap();
        let mut bits = Vec::new();
        let mut note = |t: &Tensor| bits.extend(values(t).into_iter().map(f32::to_bits));
        note(out.features());
        note(&pooled);
        note(grads.get(&features).unwrap());
        weights.iter().for_each(|w| note(grads.get(w).unwrap()));
        bits
    })
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    println!("instruction set: {}", simd_path().unwrap());
    let one = everything(1);
    for threads in [2, 3, 7] {
        assert!(everything(threads) == one, "{threads} threads give other bits than one");
    }
}

#[test]
fn a_pool_that_shares_a_tensor_does_not_wait_for_itself() {
    use rayon::prelude::*;

    let mut n = Numbers::new(12);
    let coords = n.pattern(1, 24, 0.2);
    let (weight, down) = (n.tensor(&[27, 4, 4]), n.tensor(&[8, 4, 4]));
    for round in 0..20 {
        let (x, _) = sparse(&coords, 4, &mut n);
        let sums: Vec<f32> = (0..8)
            .into_par_iter()
            .map(|i| {
                let y = if i % 2 == 0 {
                    conv(&x, &weight, ConvSpec::new(3, 1))
                } else {
                    conv(&x, &down, ConvSpec::new(2, 2))
                };
                y.unwrap().features().sum_all().unwrap().to_scalar::<f32>().unwrap()
            })
            .collect();
        assert!(sums.iter().zip(&sums[2..]).all(|(a, b)| a == b), "round {round}");
    }
}
