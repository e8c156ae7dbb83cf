//! Where features lie: images of any size, each family, each type of number, whole and in shards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use ppkt_teacher::{
    AlignCorners, FeatureMap, Images, PixelRef, Stage, Teacher, TeacherOptions, TeacherUri,
    UpsampleProjection, inspect, open,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

mod common;
use common::Numbers;

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(case)
}

fn teacher(path: PathBuf, options: &TeacherOptions) -> Box<dyn Teacher> {
    open(&TeacherUri::File(path), options).unwrap()
}

/// A mean that whole numbers of 255 reach, so that a colour can be it exactly.
fn mean_of_bytes(options: TeacherOptions) -> TeacherOptions {
    TeacherOptions { mean: Some([0.2, 0.4, 0.6]), std: Some([0.25; 3]), ..options }
}

const MEAN: [u8; 3] = [51, 102, 153];

/// A network of each family, and the stride of what is taken of it.
fn families() -> Vec<(&'static str, Box<dyn Teacher>, usize)> {
    let of = |case: &str, options: TeacherOptions| {
        let file = if golden(case).join("model.pth").exists() { "model.pth" } else { "model.safetensors" };
        teacher(golden(case).join(file), &mean_of_bytes(options))
    };
    let layer = |i| TeacherOptions { stage: Some(Stage::Layer(i)), ..TeacherOptions::default() };
    let two = TeacherOptions { stages: vec![Stage::Layer(3), Stage::Layer(2)], ..TeacherOptions::default() };
    vec![
        ("ViT", of("hf_vit_resampled", TeacherOptions::default()), 8),
        ("DINOv3", of("original_dinov3", TeacherOptions::default()), 8),
        ("ConvNeXt", of("timm_convnext", layer(2)), 8),
        ("ConvNeXt, two stages", of("timm_convnext", two.clone()), 8),
        ("ResNet", of("torchvision_resnext_stages", layer(2)), 8),
        ("ResNet, two stages", of("torchvision_resnext_stages", two), 8),
    ]
}

fn noise(height: usize, width: usize) -> Vec<[u8; 3]> {
    let mut numbers = Numbers::new(8);
    let mut byte = || ((numbers.next() + 1.0) * 127.5) as u8;
    (0..height * width).map(|_| [byte(), byte(), byte()]).collect()
}

fn features(net: &dyn Teacher, height: usize, width: usize, pixels: &[[u8; 3]]) -> (FeatureMap, Vec<f32>) {
    let images = Images::new(1, height, width, pixels.as_flattened().to_vec()).unwrap();
    let map = net.features(&images).unwrap();
    let values = map.tokens.flatten_all().unwrap().to_vec1().unwrap();
    (map, values)
}

#[test]
fn an_image_that_the_stride_does_not_divide_is_continued_and_not_moved() {
    let (height, width) = (45, 61);
    let image = noise(height, width);
    for (what, net, stride) in families() {
        let (map, values) = features(&*net, height, width, &image);
        let size = (height.div_ceil(stride), width.div_ceil(stride));
        let (_, h, w, c) = map.tokens.dims4().unwrap();
        assert_eq!((h, w, map.stride, map.image_size), (size.0, size.1, stride, (height, width)), "{what}");
        if what.starts_with("ResNet") {
            // Each of its layers has a border of zeros of its own, as everywhere.
            continue;
        }
        // The mean colour to the right and below, by hand, up to what all strides divide: the same bits in the same
        // cells.
        let (taller, wider) = (height.next_multiple_of(16), width.next_multiple_of(16));
        let mut continued = vec![MEAN; taller * wider];
        for (row, pixels) in image.chunks_exact(width).enumerate() {
            continued[row * wider..][..width].copy_from_slice(pixels);
        }
        let (larger, want) = features(&*net, taller, wider, &continued);
        if what.starts_with("ViT") {
            // Its positions are resampled to another grid, unless that is the same.
            let (_, h, w, _) = larger.tokens.dims4().unwrap();
            assert_eq!((h, w), (size.0, size.1), "{what}");
        }
        let wider_map = larger.tokens.dims4().unwrap().2;
        for (row, got) in values.chunks_exact(w * c).enumerate() {
            assert_eq!(got, &want[row * wider_map * c..][..w * c], "{what}, row {row}");
        }
    }
}

#[test]
fn a_pixel_reads_the_cell_that_it_lies_in() {
    // One patch of another colour changes most what lies there, and the centre of that patch reads its cell alone.
    let (height, width) = (45, 61);
    let image = noise(height, width);
    for (what, net, stride) in families() {
        let (before, old) = features(&*net, height, width, &image);
        let (_, _, w, c) = before.tokens.dims4().unwrap();
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let projection = UpsampleProjection::new(c, c, AlignCorners::False, vb).unwrap();
        for var in vars.all_vars() {
            let is_weight = var.dims().len() == 4;
            let identity = Tensor::eye(c, DType::F32, &Device::Cpu).unwrap().reshape((c, c, 1, 1)).unwrap();
            let zeros = Tensor::zeros(c, DType::F32, &Device::Cpu).unwrap();
            var.set(if is_weight { &identity } else { &zeros }).unwrap();
        }
        for (row, column) in [(2, 3), (4, 1), (1, 6)] {
            let mut changed = image.clone();
            for y in row * stride..((row + 1) * stride).min(height) {
                for x in column * stride..((column + 1) * stride).min(width) {
                    changed[y * width + x] = if (x + y) % 2 == 0 { [255, 0, 0] } else { [0, 255, 255] };
                }
            }
            let (map, new) = features(&*net, height, width, &changed);
            let change =
                |cell: usize| -> f32 { (cell * c..(cell + 1) * c).map(|i| (new[i] - old[i]).powi(2)).sum() };
            let most = (0..new.len() / c).max_by(|a, b| change(*a).total_cmp(&change(*b))).unwrap();
            // Cells of a residual network lie on the first pixel of theirs, so that its neighbour may win.
            let near = most.abs_diff(row * w + column) <= usize::from(what.starts_with("ResNet"))
                || what.starts_with("ResNet") && most.abs_diff(row * w + column).abs_diff(w) <= 1;
            assert!(near, "{what}: {:?} changed most, not {:?}", (most / w, most % w), (row, column));

            let centre = |i: usize| (i as f32 + 0.5) * stride as f32;
            let pixel = PixelRef { view: 0, u: centre(column).min(width as f32), v: centre(row) };
            let read: Vec<f32> =
                projection.forward(&map, &[pixel]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(read, new[(row * w + column) * c..][..c], "{what}");
        }
    }
}

/// A tensor by name, shape, type and bytes.
type Named = (String, Vec<usize>, Dtype, Vec<u8>);

/// The tensors of a golden file as another type of number, and the same rounded but in f32.
fn in_half(bytes: &[u8], dtype: Dtype) -> [Vec<Named>; 2] {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut both = [Vec::new(), Vec::new()];
    for (name, tensor) in file.tensors() {
        let shape = tensor.shape().to_vec();
        if tensor.dtype() != Dtype::F32 {
            both.iter_mut()
                .for_each(|f| f.push((name.clone(), shape.clone(), tensor.dtype(), tensor.data().to_vec())));
            continue;
        }
        let (mut small, mut rounded) = (Vec::new(), Vec::new());
        for v in tensor.data().as_chunks().0 {
            let v = f32::from_le_bytes(*v);
            let (bytes, v) = match dtype {
                Dtype::F16 => (half::f16::from_f32(v).to_le_bytes(), half::f16::from_f32(v).to_f32()),
                _ => (half::bf16::from_f32(v).to_le_bytes(), half::bf16::from_f32(v).to_f32()),
            };
            small.extend(bytes);
            rounded.extend(v.to_le_bytes());
        }
        both[0].push((name.clone(), shape.clone(), dtype, small));
        both[1].push((name, shape, Dtype::F32, rounded));
    }
    both
}

fn written(path: &Path, tensors: &[&Named]) {
    let views = tensors.iter().map(|(name, shape, dtype, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn half_precision_in_shards_is_the_rounded_network_for_every_loader() {
    let image = noise(32, 32);
    for case in ["hf_resnet_basic", "hf_vit_resampled", "hf_dinov3", "hf_clip", "hf_convnext"] {
        let bytes = std::fs::read(golden(case).join("model.safetensors")).unwrap();
        for dtype in [Dtype::F16, Dtype::BF16] {
            let folder = tempfile::tempdir().unwrap();
            let config = golden(case).join("config.json");
            std::fs::copy(config, folder.path().join("config.json")).unwrap();
            let [small, rounded] = in_half(&bytes, dtype);
            let whole = folder.path().join("rounded.safetensors");
            written(&whole, &rounded.iter().collect::<Vec<_>>());
            let mut index = serde_json::Map::new();
            for shard in 0..3 {
                let name = format!("model-{}-of-3.safetensors", shard + 1);
                let part: Vec<_> = small.iter().skip(shard).step_by(3).collect();
                written(&folder.path().join(&name), &part);
                index.extend(part.iter().map(|t| (t.0.clone(), serde_json::Value::from(name.clone()))));
            }
            let index = serde_json::json!({ "weight_map": index }).to_string();
            std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
            let options = TeacherOptions::default();
            let shards = teacher(folder.path().to_owned(), &options);
            let whole = teacher(whole, &options);
            let want = features(&*whole, 32, 32, &image).1;
            assert_eq!(features(&*shards, 32, 32, &image).1, want, "{case} {dtype:?}");
        }
    }
}

#[test]
fn the_normalisation_of_dinos_conversions_is_corrected_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(golden("hf_vit_resampled").join("model.safetensors")).unwrap();
    let [_, mut tensors] = in_half(&bytes, Dtype::BF16);
    let half = r#"{"do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;
    let inspected = |name: &str, tensors: &[Named], options: &TeacherOptions| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        written(&folder.join("model.safetensors"), &tensors.iter().collect::<Vec<_>>());
        std::fs::copy(golden("hf_vit_resampled").join("config.json"), folder.join("config.json")).unwrap();
        std::fs::write(folder.join("preprocessor_config.json"), half).unwrap();
        inspect(&TeacherUri::File(folder), options).unwrap()
    };
    let default = TeacherOptions::default();
    let said = |inspection: &ppkt_teacher::Inspection, words: &str| {
        inspection.notes.iter().any(|note| note.contains(words))
    };
    // With a pooler it is Google's, whatever its name.
    assert!(tensors.iter().any(|t| t.0.contains("pooler")));
    let google = inspected("dino-vits16", &tensors, &default);
    assert_eq!((google.spec.mean, google.spec.std), ([0.5; 3], [0.5; 3]));
    assert!(!said(&google, "DINO"));
    tensors.retain(|t| !t.0.contains("pooler"));
    let dino = inspected("dino-vits16", &tensors, &default);
    assert_eq!((dino.spec.mean, dino.spec.std), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
    assert!(said(&dino, "DINO was trained with ImageNet's"), "{:?}", dino.notes);
    assert!(dino.preprocessing.from.contains("DINO"));
    let unnamed = inspected("network", &tensors, &default);
    assert_eq!(unnamed.spec.mean, [0.5; 3]);
    assert!(said(&unnamed, "if it is DINO"), "{:?}", unnamed.notes);
    // What the user says counts.
    let options = TeacherOptions { mean: Some([0.5; 3]), std: Some([0.5; 3]), ..default };
    assert_eq!(inspected("dino-vits16", &tensors, &options).spec.mean, [0.5; 3]);
}
