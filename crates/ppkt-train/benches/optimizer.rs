//! One update of every parameter, at the sizes of the networks that are trained.
//!
//! Throughput counts trained numbers; weight, gradient and state are each read once and all but the gradient written.
#![allow(missing_docs, reason = "criterion makes public items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use candle_core::{Device, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ppkt_train::{Optimizer, OptimizerConfig, OptimizerKind};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Parameters of the demo's student, which stay in the caches, and of MinkUNet34C, which do not.
const SIZES: [(&str, usize); 2] = [("tiny 500k", 500_000), ("34C 37.8M", 37_800_000)];
/// Tensors that the parameters are cut into, about as many as a network has kernels.
const TENSORS: usize = 60;

fn optimizer(c: &mut Criterion) {
    let mut group = c.benchmark_group("optimizer_step");
    group.sample_size(10);
    for (name, n) in SIZES {
        group.throughput(Throughput::Elements(n as u64));
        let var = || Var::ones(n / TENSORS, candle_core::DType::F32, &Device::Cpu).unwrap();
        let vars: Vec<(String, Var)> = (0..TENSORS).map(|i| (format!("p{i}"), var())).collect();
        let sums: Vec<Tensor> = vars.iter().map(|(_, v)| v.sum_all().unwrap()).collect();
        let gradients = Tensor::stack(&sums, 0).unwrap().sum_all().unwrap().backward().unwrap();
        for kind in [OptimizerKind::Sgd, OptimizerKind::Adamw] {
            let config = OptimizerConfig { kind, ..Default::default() };
            let mut optimizer = Optimizer::new(&config, vars.clone()).unwrap();
            group.bench_function(format!("{kind:?} {name}"), |b| {
                b.iter(|| optimizer.step(&gradients, 1e-6, 1.0).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, optimizer);
criterion_main!(benches);
