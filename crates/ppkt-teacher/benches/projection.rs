//! The upsampling projection at the sizes of pretraining.

#![allow(missing_docs, reason = "criterion makes public items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::collections::HashMap;
use std::hint::black_box;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ppkt_teacher::{AlignCorners, FeatureMap, PixelRef, UpsampleProjection};

/// 4,096 pairs of one image of 640 × 480, as many as a step of the paper's descendants has.
fn pixels() -> Vec<PixelRef> {
    (0..4096u32)
        .map(|i| PixelRef { view: 0, u: (i * 97 % 640) as f32 + 0.5, v: (i * 61 % 480) as f32 + 0.5 })
        .collect()
}

fn projection(c: &mut Criterion) {
    let mut group = c.benchmark_group("upsample_projection");
    let pixels = pixels();
    group.throughput(Throughput::Elements(pixels.len() as u64));
    // A ResNet-50 (stride 32) and a ViT-S/16 (stride 16), to the 64 channels of the descendants.
    for (name, stride, channels) in [("resnet50", 32, 2048), ("vit_s16", 16, 384)] {
        let (h, w, d) = (480 / stride, 640 / stride, 64);
        let tokens = Tensor::ones((1, h, w, channels), DType::F32, &Device::Cpu).unwrap();
        let map = FeatureMap { tokens, image_size: (480, 640), stride };
        let var = |shape: &[usize]| Var::ones(shape, DType::F32, &Device::Cpu).unwrap().into_inner();
        let named = HashMap::from([
            ("decoder.0.weight".to_owned(), var(&[d, channels, 1, 1])),
            ("decoder.0.bias".to_owned(), var(&[d])),
        ]);
        let vb = VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
        let projection = UpsampleProjection::new(channels, d, AlignCorners::True, vb).unwrap();
        group.bench_function(BenchmarkId::new("forward_backward", name), |b| {
            b.iter(|| {
                let out = projection.forward(&map, &pixels).unwrap();
                black_box(out.sum_all().unwrap().backward().unwrap());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, projection);
criterion_main!(benches);
