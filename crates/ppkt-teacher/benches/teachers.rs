//! Forward passes of frozen networks with random weights, at the sizes that pretraining uses.
//!
//! Compare with PyTorch on the CPU with the same number of threads (`RAYON_NUM_THREADS`).

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use ppkt_teacher::{Images, ResNet, Stage, Teacher, TeacherOptions, VisionTransformer};

#[path = "../tests/common/mod.rs"]
mod common;

fn image(height: usize, width: usize) -> Images {
    let rgb = (0..height * width * 3).map(|i| (i * 7919 % 251) as u8).collect();
    Images::new(1, height, width, rgb).expect("sizes fit")
}

fn resnet50(folder: &Path, stage: u8) -> ResNet {
    let path = folder.join("resnet50.safetensors");
    if !path.exists() {
        common::resnet(&[3, 4, 6, 3], true, 64).write(&path);
    }
    let options = TeacherOptions { stage: Some(Stage::Layer(stage)), ..TeacherOptions::default() };
    ResNet::open(&path, &options).expect("a whole network was written")
}

fn benches(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("forward");
    group.sample_size(10);
    // Half of VGA, what RGB-D recipes feed a teacher with, and VGA itself.
    for (height, width) in [(240, 320), (480, 640)] {
        let image = image(height, width);
        for stage in [3, 4] {
            let net = resnet50(folder.path(), stage);
            group.bench_function(format!("resnet50 layer{stage} {height}x{width}"), |b| {
                b.iter(|| net.features(&image).expect("sizes fit"));
            });
        }
    }
    // DeiT-Ti at the size of its training, and ViT-S/14 at the size that driving recipes use.
    for (name, channels, depth, patch, grid, height, width) in
        [("deit-tiny", 192, 12, 16, 14, 224, 224), ("vit-s14", 384, 12, 14, 37, 224, 308)]
    {
        let path = folder.path().join(format!("{name}.safetensors"));
        common::vit(channels, depth, patch, grid).write(&path);
        let net =
            VisionTransformer::open(&path, &TeacherOptions::default()).expect("a whole network was written");
        let image = image(height, width);
        group.bench_function(format!("{name} {height}x{width}"), |b| {
            b.iter(|| net.features(&image).expect("sizes fit"));
        });
    }
}

criterion_group!(teachers, benches);
criterion_main!(teachers);
