//! Reading a map from the cache against computing it: ResNet-50 to its last stage at 240×320, one image at a time, as
//! the first and the later epochs of pretraining do it.

use criterion::{Criterion, criterion_group, criterion_main};
use ppkt_teacher::{ByteSize, Cached, FeatureCache, Images, ResNet, Teacher, TeacherOptions};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[path = "../tests/common/mod.rs"]
mod common;

/// Images that are read in turn, so that none is in the processor's caches when it comes again.
const N_IMAGES: usize = 64;

fn benches(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("resnet50.safetensors");
    common::resnet(&[3, 4, 6, 3], true, 64).write(&path);
    let teacher = ResNet::open(&path, &TeacherOptions::default()).expect("a whole network was written");
    let image = |k: usize| {
        let rgb = (0..240 * 320 * 3).map(|i| ((i * 7919 + k * 104_729) % 251) as u8).collect();
        Images::new(1, 240, 320, rgb).expect("sizes fit")
    };
    let images: Vec<Images> = (0..N_IMAGES).map(image).collect();
    let mut group = c.benchmark_group("resnet50 240x320");
    group.sample_size(20);
    group.bench_function("computed", |b| b.iter(|| teacher.features(&images[0]).expect("sizes fit")));
    let cache = FeatureCache::open(&folder.path().join("cache"), ByteSize(u64::MAX)).expect("a fresh folder");
    let teacher = Cached::new(teacher, cache).expect("the teacher runs");
    for image in &images {
        teacher.features(image).expect("sizes fit");
    }
    let mut turn = images.iter().cycle();
    group.bench_function("cached", |b| {
        b.iter(|| turn.next().map(|image| teacher.features(image).expect("sizes fit")));
    });
    group.finish();
}

criterion_group!(feature_cache, benches);
criterion_main!(feature_cache);
