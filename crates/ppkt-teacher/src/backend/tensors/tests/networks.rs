//! Whole networks: those of `tests/goldens`, which are compiled in, so that a machine with a GPU needs no files; and real
//! ones, where they are.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use ppkt_testkit::{Vectors, assert_close, reference_files, weights_file};

use super::super::Tensors;
use crate::backend::{Backend, Cpu};
use crate::cache::{ByteSize, Cached, FeatureCache};
use crate::convnext::ConvNext;
use crate::images::Images;
use crate::network::Activation;
use crate::options::TeacherOptions;
use crate::resnet::ResNet;
use crate::spec::{Family, Teacher};
use crate::vit::VisionTransformer;
use crate::weights::Weights;

/// f32 in two orders, through all layers.
const TOLERANCE: f64 = 1e-4;

/// A case of `tests/goldens`: its name and its files.
type Golden = (&'static str, &'static [(&'static str, &'static [u8])]);

macro_rules! goldens {
    ($($case:literal $model:literal $($config:literal)?;)*) => {&[$((
        $case,
        &[
            goldens!(file $case $model),
            goldens!(file $case "options.json"),
            goldens!(file $case "expected.safetensors"),
            $(goldens!(file $case $config),)?
        ],
    )),*]};
    (file $case:literal $file:literal) => {
        ($file, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/", $case, "/", $file)) as &[u8])
    };
}

const GOLDENS: &[Golden] = goldens! {
    "hf_clip" "model.safetensors" "config.json";
    "hf_convnext" "model.safetensors" "config.json";
    "hf_deit" "model.safetensors" "config.json";
    "hf_dinov2_registers" "model.safetensors" "config.json";
    "hf_dinov2_resampled" "model.safetensors" "config.json";
    "hf_dinov2_swiglu" "model.safetensors" "config.json";
    "hf_dinov3" "model.safetensors" "config.json";
    "hf_dinov3_convnext" "model.safetensors" "config.json";
    "hf_dinov3_gated" "model.safetensors" "config.json";
    "hf_mask_clip" "model.safetensors" "config.json";
    "hf_resnet_basic" "model.safetensors" "config.json";
    "hf_resnet_stride_in_1x1" "model.safetensors" "config.json";
    "hf_siglip" "model.safetensors" "config.json";
    "hf_vit_resampled" "model.safetensors" "config.json";
    "original_dinov2" "model.safetensors" "config.json";
    "original_dinov2_registers" "model.safetensors" "config.json";
    "original_dinov3" "model.safetensors" "config.json";
    "original_dinov3_convnext" "model.safetensors";
    "timm_basic_dilated" "model.safetensors";
    "timm_bottleneck_dilated" "model.safetensors";
    "timm_convnext" "model.safetensors";
    "timm_dino" "model.pth";
    "timm_dinov2_registers_swiglu" "model.safetensors";
    "timm_dinov3" "model.safetensors";
    "timm_resnext" "model.safetensors";
    "timm_vit_resampled" "model.safetensors";
    "torchvision_convnext_stages" "model.safetensors";
    "torchvision_moco" "model.pth";
    "torchvision_resnext_stages" "model.safetensors";
    "torchvision_slidr" "model.pth";
    "torchvision_swav_old" "model.pth";
    "torchvision_wide_stages" "model.safetensors";
};

/// A network of any family on a backend.
enum Network {
    ResNet(ResNet),
    ConvNext(ConvNext),
    Vit(VisionTransformer),
}

impl Network {
    fn open<B: Backend>(path: &Path, options: &TeacherOptions, backend: B) -> Self {
        let weights = Weights::read(path).unwrap();
        match weights.family {
            Family::ResNet => Self::ResNet(ResNet::build(weights, options, backend).unwrap()),
            Family::ConvNext => Self::ConvNext(ConvNext::build(weights, options, backend).unwrap()),
            Family::VisionTransformer => {
                Self::Vit(VisionTransformer::build(weights, options, backend).unwrap())
            }
        }
    }

    fn teacher(&self) -> &dyn Teacher {
        match self {
            Self::ResNet(net) => net,
            Self::ConvNext(net) => net,
            Self::Vit(net) => net,
        }
    }

    fn activations(&self, images: &Images) -> Vec<Activation> {
        match self {
            Self::ResNet(net) => net.activations(images).unwrap(),
            Self::ConvNext(net) => net.activations(images).unwrap(),
            Self::Vit(net) => net.activations(images).unwrap(),
        }
    }

    fn logits(&self, images: &Images) -> Option<Tensor> {
        match self {
            Self::ResNet(net) => net.logits(images).unwrap(),
            Self::ConvNext(_) => None,
            Self::Vit(net) => net.logits(images).unwrap(),
        }
    }
}

/// A golden case in a folder of its own.
struct Case {
    name: &'static str,
    folder: tempfile::TempDir,
    options: TeacherOptions,
}

impl Case {
    fn new((name, files): &Golden) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (file, bytes) in *files {
            std::fs::write(folder.path().join(file), bytes).unwrap();
        }
        let options = std::fs::read(folder.path().join("options.json")).unwrap();
        Self { name, folder, options: serde_json::from_slice(&options).unwrap() }
    }

    fn named(name: &str) -> Self {
        Self::new(GOLDENS.iter().find(|(of, _)| *of == name).unwrap())
    }

    fn open<B: Backend>(&self, backend: B) -> Network {
        let paths = ["model.safetensors", "model.pth"].map(|file| self.folder.path().join(file));
        Network::open(paths.iter().find(|path| path.exists()).unwrap(), &self.options, backend)
    }
}

fn images(n: usize, height: usize, width: usize) -> Images {
    let rgb = (0..n * height * width * 3).map(|i| (i * i % 65_537 * 7919 % 251) as u8).collect();
    Images::new(n, height, width, rgb).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    floats(tensor).into_iter().map(f64::from).collect()
}

#[test]
fn device_networks_give_what_torch_gives_and_what_the_engine_gives() {
    assert_eq!(GOLDENS.len(), 32, "a case is lost");
    for device in ppkt_testkit::devices() {
        for golden in GOLDENS {
            let case = Case::new(golden);
            let (what, on, cpu) = (case.name, case.open(Tensors::new(&device)), case.open(Cpu::new()));
            assert_eq!(on.teacher().spec(), cpu.teacher().spec(), "{what}");

            let expected = Vectors::load(&case.folder.path().join("expected.safetensors"));
            let shape = expected.shape("image");
            let rgb = expected.f64s("image").into_iter().map(|v| v as u8).collect();
            let map = on.teacher().features(&Images::new(1, shape[1], shape[2], rgb).unwrap()).unwrap();
            assert_eq!(map.tokens.dims(), expected.shape("features"), "{what}");
            assert!(map.tokens.device().same_device(&device) && map.tokens.is_contiguous(), "{what}");
            assert_close(what, &floats(&map.tokens), &expected.f64s("features"), TOLERANCE);

            // Sizes that no stride divides, and more images than one.
            let others = images(3, 45, 71);
            let (got, want) = (on.teacher().features(&others), cpu.teacher().features(&others));
            let (got, want) = (got.unwrap(), want.unwrap());
            assert_eq!((got.tokens.dims(), got.stride), (want.tokens.dims(), want.stride), "{what}");
            assert_eq!(got.image_size, want.image_size, "{what}");
            assert_close(what, &floats(&got.tokens), &f64s(&want.tokens), TOLERANCE);
        }
    }
}

#[test]
fn device_activations_and_scores_are_those_of_the_engine() {
    for device in ppkt_testkit::devices() {
        let mut scored = 0;
        for case in ["hf_resnet_basic", "timm_resnext", "timm_convnext", "hf_deit", "timm_dino", "hf_dinov3"]
        {
            let case = Case::named(case);
            let (on, cpu) = (case.open(Tensors::new(&device)), case.open(Cpu::new()));
            let images = images(2, 50, 39);
            let (got, want) = (on.activations(&images), cpu.activations(&images));
            assert_eq!(got.len(), want.len(), "{}", case.name);
            for (got, want) in got.iter().zip(&want) {
                let what = format!("{} {}", case.name, want.name);
                assert_eq!((&got.name, got.values.dims()), (&want.name, want.values.dims()), "{what}");
                assert_close(&what, &floats(&got.values), &f64s(&want.values), TOLERANCE);
            }
            let (got, want) = (on.logits(&images), cpu.logits(&images));
            assert_eq!(got.is_some(), want.is_some());
            if let (Some(got), Some(want)) = (got, want) {
                assert_eq!(got.dims(), want.dims());
                assert_close(case.name, &floats(&got), &f64s(&want), TOLERANCE);
                scored += 1;
            }
        }
        println!("{scored} networks have scores");
    }
}

#[test]
fn device_features_of_an_image_do_not_depend_on_its_batch() {
    for device in ppkt_testkit::devices() {
        for case in ["timm_resnext", "timm_convnext", "hf_dinov3"] {
            let net = Case::named(case).open(Tensors::new(&device));
            let all = images(11, 40, 56);
            let bits = |tensor: &Tensor| floats(tensor).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let together = net.teacher().features(&all).unwrap().tokens;
            for (first, n) in [(0, 1), (5, 1), (7, 4), (2, 9)] {
                let bytes = all.rgb[first * 40 * 56 * 3..][..n * 40 * 56 * 3].to_vec();
                let some = Images::new(n, 40, 56, bytes).unwrap();
                let got = net.teacher().features(&some).unwrap().tokens;
                let want = together.narrow(0, first, n).unwrap();
                assert_eq!(bits(&got), bits(&want), "{case}: {n} from {first}");
            }
        }
    }
}

#[test]
fn device_features_are_kept_in_a_cache_as_those_of_the_cpu_are() {
    for device in ppkt_testkit::devices() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(folder.path(), ByteSize(1 << 30)).unwrap();
        let net = match Case::named("hf_deit").open(Tensors::new(&device)) {
            Network::Vit(net) => net,
            _ => unreachable!("it is a transformer"),
        };
        let plain = net.features(&images(3, 40, 56)).unwrap().tokens;
        let cached = Cached::new(net, cache.clone()).unwrap();
        let cold = cached.features(&images(3, 40, 56)).unwrap().tokens;
        let warm = cached.features(&images(3, 40, 56)).unwrap().tokens;
        assert_eq!((cache.report().misses, cache.report().hits), (3, 3));
        let rounded: Vec<f32> = floats(&plain).into_iter().map(|v| half::f16::from_f32(v).to_f32()).collect();
        assert_eq!(floats(&cold), rounded);
        assert_eq!(floats(&warm), rounded);
    }
}

/// Real networks by both, for an image of odd size: the engine is held against PyTorch elsewhere.
#[test]
fn reference_networks_give_what_the_engine_gives() {
    let kinds = ["deit_", "resnet"];
    let named = |file: &PathBuf| {
        let name = file.file_stem()?.to_string_lossy().into_owned();
        weights_file(name.split_once("__")?.0)
    };
    let files: Vec<PathBuf> = kinds.iter().flat_map(|kind| reference_files(kind)).collect();
    let mut weights: Vec<PathBuf> = files.iter().filter_map(named).collect();
    weights.sort();
    weights.dedup();
    for path in weights {
        let (on, cpu) = (
            Network::open(&path, &TeacherOptions::default(), Tensors::new(&Device::Cpu)),
            Network::open(&path, &TeacherOptions::default(), Cpu::new()),
        );
        let image = images(1, 241, 319);
        let (got, want) = (on.teacher().features(&image).unwrap(), cpu.teacher().features(&image).unwrap());
        assert_eq!(got.tokens.dims(), want.tokens.dims());
        assert_close(&path.to_string_lossy(), &floats(&got.tokens), &f64s(&want.tokens), TOLERANCE);
    }
}
