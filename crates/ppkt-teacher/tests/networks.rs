//! Whole networks of random weights: every naming, every option, against each other and against plain loops.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use ppkt_teacher::{ConvNext, Features, Images, ResNet, Stage, Teacher, TeacherOptions, VisionTransformer};

mod common;
use common::{File, Numbers};

fn images(n: usize, height: usize, width: usize) -> Images {
    let mut numbers = Numbers::new(5);
    let rgb = (0..n * height * width * 3).map(|_| ((numbers.next() + 1.0) * 127.5) as u8).collect();
    Images::new(n, height, width, rgb).unwrap()
}

fn written(folder: &Path, name: &str, file: &File) -> PathBuf {
    let path = folder.join(name);
    file.write(&path);
    path
}

fn values(teacher: &dyn Teacher, images: &Images) -> (Vec<usize>, Vec<f32>) {
    let tokens = teacher.features(images).unwrap().tokens;
    (tokens.dims().to_vec(), tokens.flatten_all().unwrap().to_vec1().unwrap())
}

fn layer(i: u8) -> TeacherOptions {
    TeacherOptions { stage: Some(Stage::Layer(i)), ..TeacherOptions::default() }
}

/// torchvision's names as `transformers` writes them.
fn transformers_resnet(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let kind = |word: &str| if word.starts_with("bn") { "normalization" } else { "convolution" };
    Some(match parts[..] {
        [stem @ ("conv1" | "bn1"), leaf] => format!("resnet.embedder.embedder.{}.{leaf}", kind(stem)),
        ["fc", leaf] => format!("classifier.1.{leaf}"),
        [stage, block, module, .., leaf] => {
            let stage = stage.strip_prefix("layer").unwrap().parse::<usize>().unwrap() - 1;
            let inner = match (module, parts[3]) {
                ("downsample", "0") => "shortcut.convolution".to_owned(),
                ("downsample", _) => "shortcut.normalization".to_owned(),
                _ => {
                    let number = module.trim_start_matches(char::is_alphabetic).parse::<usize>().unwrap() - 1;
                    format!("layer.{number}.{}", kind(module))
                }
            };
            format!("resnet.encoder.stages.{stage}.layers.{block}.{inner}.{leaf}")
        }
        _ => unreachable!(),
    })
}

#[test]
fn names_of_transformers_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bottleneck) in [("basic", false), ("bottleneck", true)] {
        let mut file = common::resnet(&[2, 1, 2, 1], bottleneck, 8);
        file.linear("fc", 10, if bottleneck { 256 } else { 64 });
        let ours = ResNet::open(written(folder.path(), name, &file), &TeacherOptions::default()).unwrap();
        let theirs = written(folder.path(), "theirs", &file.renamed(transformers_resnet));
        let theirs = ResNet::open(theirs, &TeacherOptions::default()).unwrap();
        assert_eq!(theirs.inspection().naming, "transformers");
        assert!(theirs.inspection().unmatched.is_empty(), "{:?}", theirs.inspection().unmatched);
        let images = images(2, 45, 70);
        assert_eq!(values(&ours, &images), values(&theirs, &images));
        let logits = |net: &ResNet| net.logits(&images).unwrap().unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(logits(&ours), logits(&theirs));
    }
}

#[test]
fn wrappers_are_taken_off_and_other_tensors_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::resnet(&[1, 1], false, 8);
    let bare = ResNet::open(written(folder.path(), "bare", &file), &TeacherOptions::default()).unwrap();
    for prefix in ["module.", "encoder.", "resnet.", "module.encoder_q.", "something.of.theirs."] {
        let mut wrapped = file.renamed(|n| Some(format!("{prefix}{n}")));
        wrapped.add("decoder.0.weight", &[4, 16, 1, 1], 0.0, 1.0);
        wrapped.add(&format!("{prefix}bn1.num_batches_tracked"), &[1], 1.0, 0.0);
        let path = written(folder.path(), "wrapped", &wrapped);
        let net = ResNet::open(path, &TeacherOptions::default()).unwrap();
        assert_eq!(net.inspection().unmatched, ["decoder.0.weight"]);
        assert_eq!(values(&net, &images(1, 32, 32)), values(&bare, &images(1, 32, 32)));
    }
}

#[test]
fn half_precision_is_widened() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::resnet(&[1], true, 8);
    for (dtype, round) in [
        (safetensors::Dtype::F16, (|v| half::f16::from_f32(v).to_f32()) as fn(f32) -> f32),
        (safetensors::Dtype::BF16, |v| half::bf16::from_f32(v).to_f32()),
    ] {
        let data: Vec<_> = file.tensors.iter().map(|(n, (s, v))| (n, s, half_bytes(v, dtype))).collect();
        let views = data
            .iter()
            .map(|(n, s, b)| (*n, safetensors::tensor::TensorView::new(dtype, s.to_vec(), b).unwrap()));
        let path = folder.path().join("half");
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let halved = ResNet::open(&path, &TeacherOptions::default()).unwrap();
        let mut rounded = file.clone();
        rounded.tensors.values_mut().flat_map(|(_, v)| v).for_each(|v| *v = round(*v));
        let rounded =
            ResNet::open(written(folder.path(), "full", &rounded), &TeacherOptions::default()).unwrap();
        assert_eq!(values(&halved, &images(1, 33, 31)), values(&rounded, &images(1, 33, 31)));
    }
}

fn half_bytes(values: &[f32], dtype: safetensors::Dtype) -> Vec<u8> {
    let one = |v: &f32| match dtype {
        safetensors::Dtype::F16 => half::f16::from_f32(*v).to_le_bytes(),
        _ => half::bf16::from_f32(*v).to_le_bytes(),
    };
    values.iter().flat_map(one).collect()
}

#[test]
fn a_file_may_end_early_and_a_stage_may_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::resnet(&[3, 4, 6, 3], true, 4);
    let whole = written(folder.path(), "whole", &file);
    let cut = written(
        folder.path(),
        "cut",
        &file.renamed(|n| (!n.starts_with("layer3") && !n.starts_with("layer4")).then(|| n.to_owned())),
    );
    let images = images(1, 64, 96);
    let last = ResNet::open(&cut, &TeacherOptions::default()).unwrap();
    let chosen = ResNet::open(&whole, &layer(2)).unwrap();
    assert_eq!(values(&last, &images), values(&chosen, &images));
    assert_eq!(chosen.spec().stride, 8);
    assert_eq!(chosen.spec().channels, 32);
    assert!(chosen.inspection().unmatched.is_empty());
    let stages: Vec<_> =
        chosen.inspection().stages.iter().map(|s| (s.blocks, s.channels, s.stride)).collect();
    assert_eq!(stages, [(3, 16, 4), (4, 32, 8), (6, 64, 16), (3, 128, 32)]);

    let error = ResNet::open(&cut, &layer(3)).err().unwrap().to_string();
    assert!(error.contains("layer3") && error.contains("layer1 to layer2"), "{error}");
    let block = TeacherOptions { stage: Some(Stage::Block(3)), ..TeacherOptions::default() };
    assert!(ResNet::open(&cut, &block).err().unwrap().to_string().contains("block3"));
}

#[test]
fn dilation_refines_the_map_of_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    for bottleneck in [false, true] {
        let path = written(folder.path(), "net", &common::resnet(&[1, 2, 2, 2], bottleneck, 4));
        let images = images(1, 64, 96);
        let (plain_shape, plain) = values(&ResNet::open(&path, &TeacherOptions::default()).unwrap(), &images);
        let options =
            TeacherOptions { replace_stride_with_dilation: [false, true, true], ..TeacherOptions::default() };
        let net = ResNet::open(&path, &options).unwrap();
        assert_eq!(net.spec().stride, 8);
        let (shape, fine) = values(&net, &images);
        assert_eq!((shape[1], shape[2]), (8, 12));
        // Every fourth cell sees the same pixels through the same weights: an à-trous network computes the plain
        // one at each of its positions, except that blocks after a stride look around at the plain spacing.
        let (c, w) = (shape[3], shape[2]);
        let mut agree = 0;
        for (y, x) in [(0, 0), (1, 1), (0, 2), (1, 2)] {
            let a = &plain[(y * plain_shape[2] + x) * c..][..c];
            let b = &fine[(4 * y * w + 4 * x) * c..][..c];
            agree += usize::from(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs())));
        }
        assert_eq!(agree, 4, "bottleneck {bottleneck}");
    }
}

#[test]
fn the_stride_may_be_in_the_first_convolution() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = common::resnet(&[1, 1], true, 8);
    let in_3x3 = ResNet::open(written(folder.path(), "a", &file), &TeacherOptions::default()).unwrap();
    let options = TeacherOptions { stride_in_1x1: Some(true), ..TeacherOptions::default() };
    let by_option = ResNet::open(written(folder.path(), "a", &file), &options).unwrap();
    file.metadata.insert("stride_in_1x1".into(), "true".into());
    let by_metadata = ResNet::open(written(folder.path(), "b", &file), &TeacherOptions::default()).unwrap();
    let images = images(1, 40, 40);
    assert_eq!(values(&by_option, &images), values(&by_metadata, &images));
    assert_ne!(values(&by_option, &images), values(&in_3x3, &images));
    assert!(by_metadata.inspection().notes.iter().any(|n| n.contains("first 1×1")));
    let basic = written(folder.path(), "c", &common::resnet(&[1, 1], false, 8));
    assert!(ResNet::open(basic, &options).err().unwrap().to_string().contains("stride_in_1x1"));
}

#[test]
fn small_stems_are_described_by_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = common::resnet(&[1, 1], false, 8);
    file.conv("conv1", 8, 3, 3);
    file.metadata.insert("stem_pool".into(), "false".into());
    let net = ResNet::open(written(folder.path(), "net", &file), &TeacherOptions::default()).unwrap();
    assert_eq!((net.spec().stride, values(&net, &images(1, 20, 24)).0), (4, vec![1, 5, 6, 16]));
    file.metadata.insert("stem_stride".into(), "1".into());
    let net = ResNet::open(written(folder.path(), "net", &file), &TeacherOptions::default()).unwrap();
    assert_eq!((net.spec().stride, values(&net, &images(1, 20, 24)).0), (2, vec![1, 10, 12, 16]));
}

#[test]
fn configuration_beside_the_file_is_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::resnet(&[1, 1], true, 8).renamed(transformers_resnet);
    let path = written(folder.path(), "model.safetensors", &file);
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "resnet", "depths": [1, 1], "downsample_in_bottleneck": true, "hidden_act": "relu"}"#,
    )
    .unwrap();
    std::fs::write(
        folder.path().join("preprocessor_config.json"),
        r#"{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.1], "do_normalize": true}"#,
    )
    .unwrap();
    let net = ResNet::open(&path, &TeacherOptions::default()).unwrap();
    assert_eq!((net.spec().mean, net.spec().std), ([0.5, 0.4, 0.3], [0.25, 0.2, 0.1]));
    assert_eq!(net.inspection().preprocessing.from, "preprocessor_config.json");
    let options = TeacherOptions { stride_in_1x1: Some(false), ..TeacherOptions::default() };
    let overruled = ResNet::open(&path, &options).unwrap();
    assert_ne!(values(&net, &images(1, 32, 32)), values(&overruled, &images(1, 32, 32)));
    // A folder is a name for its model.
    assert_eq!(ResNet::open(folder.path(), &TeacherOptions::default()).unwrap().spec(), net.spec());

    std::fs::write(
        folder.path().join("config.json"),
        r#"{"architecture": "resnet14", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5],
            "input_size": [3, 288, 288], "interpolation": "bicubic"}}"#,
    )
    .unwrap();
    std::fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
    let net = ResNet::open(&path, &TeacherOptions::default()).unwrap();
    assert_eq!(net.spec().mean, [0.1, 0.2, 0.3]);
    let preprocessing = &net.inspection().preprocessing;
    assert_eq!(preprocessing.trained_at, Some([288, 288]));
    assert_eq!(preprocessing.interpolation.as_deref(), Some("bicubic"));
    let options = TeacherOptions { mean: Some([0.0; 3]), ..TeacherOptions::default() };
    assert_eq!(ResNet::open(&path, &options).unwrap().spec().mean, [0.0; 3]);
}

#[test]
fn shards_are_one_network() {
    let folder = tempfile::tempdir().unwrap();
    let file = common::resnet(&[1, 1], false, 8);
    let whole = ResNet::open(written(folder.path(), "whole", &file), &TeacherOptions::default()).unwrap();
    let second = |n: &str| n.starts_with("layer2");
    written(folder.path(), "model-1.safetensors", &file.renamed(|n| (!second(n)).then(|| n.to_owned())));
    written(folder.path(), "model-2.safetensors", &file.renamed(|n| second(n).then(|| n.to_owned())));
    let index = folder.path().join("model.safetensors.index.json");
    let shard = |n: &String| if second(n) { "model-2.safetensors" } else { "model-1.safetensors" };
    let map: Vec<String> = file.tensors.keys().map(|n| format!("\"{n}\": \"{}\"", shard(n))).collect();
    std::fs::write(&index, format!("{{\"weight_map\": {{{}}}}}", map.join(", "))).unwrap();
    for path in [folder.path(), &index] {
        let net = ResNet::open(path, &TeacherOptions::default()).unwrap();
        assert_eq!(values(&net, &images(1, 32, 40)), values(&whole, &images(1, 32, 40)));
    }
}

#[test]
fn a_batch_is_its_images_and_threads_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let resnet = written(folder.path(), "resnet", &common::resnet(&[1, 1, 1], true, 8));
    let vit = written(folder.path(), "vit", &common::vit(64, 2, 16, 4));
    let convnext = written(folder.path(), "convnext", &common::convnext(&[1, 1, 1], 8));
    let nets: [Box<dyn Teacher>; 3] = [
        Box::new(ConvNext::open(convnext, &TeacherOptions::default()).unwrap()),
        Box::new(ResNet::open(resnet, &TeacherOptions::default()).unwrap()),
        Box::new(VisionTransformer::open(vit, &TeacherOptions::default()).unwrap()),
    ];
    // Large enough that a batch is cut into pieces of two images and of one.
    let batch = images(3, 300, 450);
    for net in &nets {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| values(&**net, &batch).1)
        };
        let together = on(1);
        assert_eq!(together, on(2));
        let bytes = 300 * 450 * 3;
        let one_by_one: Vec<f32> = batch
            .rgb
            .chunks_exact(bytes)
            .flat_map(|rgb| values(&**net, &Images::new(1, 300, 450, rgb.to_vec()).unwrap()).1)
            .collect();
        assert_eq!(together, one_by_one);
    }
}

#[test]
fn images_are_checked() {
    assert!(Images::new(1, 2, 2, vec![0; 12]).is_ok());
    for (n, h, w, len) in [(1, 2, 2, 11), (0, 2, 2, 0), (1, 0, 5, 0), (usize::MAX, 2, 2, 12)] {
        let error = Images::new(n, h, w, vec![0; len]).unwrap_err().to_string();
        assert!(error.contains(&len.to_string()), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let net = ResNet::open(
        written(folder.path(), "net", &common::resnet(&[1], false, 8)),
        &TeacherOptions::default(),
    );
    let wrong = Images { n: 1, height: 4, width: 4, rgb: vec![0; 5] };
    let net = net.unwrap();
    assert!(net.features(&wrong).is_err() && net.activations(&wrong).is_err() && net.logits(&wrong).is_ok());
    // The smallest image there is.
    assert_eq!(values(&net, &images(1, 1, 1)).0, [1, 1, 1, 8]);
}

/// timm's names as `transformers` writes them; the joint projection becomes three.
fn transformers_vit(file: &File) -> File {
    let mut result = File { metadata: file.metadata.clone(), ..File::default() };
    for (name, (shape, values)) in &file.tensors {
        let name = match name.as_str() {
            "cls_token" => "embeddings.cls_token".to_owned(),
            "pos_embed" => "embeddings.position_embeddings".to_owned(),
            n if n.starts_with("patch_embed.proj") => {
                n.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
            }
            n if n.starts_with("norm.") => n.replace("norm", "layernorm"),
            n => n
                .replace("blocks.", "encoder.layer.")
                .replace("norm1", "layernorm_before")
                .replace("norm2", "layernorm_after")
                .replace("attn.proj", "attention.output.dense")
                .replace("mlp.fc1", "intermediate.dense")
                .replace("mlp.fc2", "output.dense"),
        };
        if let Some((block, leaf)) = name.split_once("attn.qkv") {
            let third = values.len() / 3;
            for (i, part) in ["query", "key", "value"].into_iter().enumerate() {
                let mut shape = shape.clone();
                shape[0] /= 3;
                let values = values[i * third..(i + 1) * third].to_vec();
                result
                    .tensors
                    .insert(format!("vit.{block}attention.attention.{part}{leaf}"), (shape, values));
            }
        } else {
            result.tensors.insert(format!("vit.{name}"), (shape.clone(), values.clone()));
        }
    }
    result
}

#[test]
fn transformers_of_transformers_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = common::vit(128, 2, 8, 3);
    let ours =
        VisionTransformer::open(written(folder.path(), "a", &file), &TeacherOptions::default()).unwrap();
    let theirs = written(folder.path(), "b", &transformers_vit(&file));
    let theirs = VisionTransformer::open(theirs, &TeacherOptions::default()).unwrap();
    assert!(theirs.inspection().unmatched.is_empty(), "{:?}", theirs.inspection().unmatched);
    let images = images(2, 30, 21);
    assert_eq!(values(&ours, &images), values(&theirs, &images));
    assert_eq!(values(&ours, &images).0, [2, 4, 3, 128]);

    // A layer scale is a factor for each output of the layer before it.
    for (layer, scale) in [("attn.proj", "ls1"), ("mlp.fc2", "ls2")] {
        file.add(&format!("blocks.1.{scale}.gamma"), &[128], 1.0, 0.5);
        let gamma = file.tensors[&format!("blocks.1.{scale}.gamma")].1.clone();
        let mut folded = file.renamed(|n| (!n.contains(".ls")).then(|| n.to_owned()));
        for leaf in ["weight", "bias"] {
            let (shape, values) = folded.tensors.get_mut(&format!("blocks.1.{layer}.{leaf}")).unwrap();
            let per_channel = values.len() / shape[0];
            values.iter_mut().enumerate().for_each(|(i, v)| *v *= gamma[i / per_channel]);
        }
        let scaled = VisionTransformer::open(written(folder.path(), "c", &file), &TeacherOptions::default());
        let folded =
            VisionTransformer::open(written(folder.path(), "d", &folded), &TeacherOptions::default());
        assert_eq!(values(&scaled.unwrap(), &images), values(&folded.unwrap(), &images));
        file = file.renamed(|n| (!n.contains(".ls")).then(|| n.to_owned()));
    }
}

#[test]
fn a_block_of_a_transformer_may_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "vit", &common::vit(64, 3, 8, 3));
    let chosen = TeacherOptions { stage: Some(Stage::Block(1)), ..TeacherOptions::default() };
    let net = VisionTransformer::open(&path, &chosen).unwrap();
    let images = images(1, 24, 24);
    let activations = net.activations(&images).unwrap();
    let names: Vec<&str> = activations.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["block0", "block1", "norm"]);
    // Features are the patch tokens after the norm.
    let tokens: Vec<f32> = activations[2].values.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(values(&net, &images).1, tokens[64..]);
    let beyond = TeacherOptions { stage: Some(Stage::Block(3)), ..TeacherOptions::default() };
    let error = VisionTransformer::open(&path, &beyond).err().unwrap().to_string();
    assert!(error.contains("block0 to block2"), "{error}");
    let dilated = TeacherOptions { replace_stride_with_dilation: [true; 3], ..TeacherOptions::default() };
    assert!(VisionTransformer::open(&path, &dilated).is_err());
}

#[test]
fn options_of_transformers_are_refused_elsewhere_and_where_they_contradict() {
    let folder = tempfile::tempdir().unwrap();
    let resnet = written(folder.path(), "resnet", &common::resnet(&[1, 1], true, 8));
    let mut vit = common::vit(64, 2, 8, 4);
    let plain = written(folder.path(), "vit", &vit);
    vit.tensors.retain(|name, _| !name.starts_with("norm."));
    let without_norm = written(folder.path(), "no_norm", &vit);
    let blocks = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>();
    let default = TeacherOptions::default;
    let stages = |names: &[&str]| TeacherOptions { stages: blocks(names), ..default() };
    let dense = || TeacherOptions { features: Features::MaskClip, ..default() };
    let norm = |norm| TeacherOptions { last_norm: Some(norm), ..default() };
    for (options, word) in [(dense(), "features"), (norm(true), "last_norm")] {
        let error = ResNet::open(&resnet, &options).err().unwrap().to_string();
        assert!(error.contains(word) && error.contains("residual network"), "{error}");
    }
    let convnext = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/timm_convnext/model.safetensors");
    let dilated = TeacherOptions { replace_stride_with_dilation: [true; 3], ..default() };
    let early = TeacherOptions { stages: blocks(&["layer1", "layer2"]), ..norm(true) };
    for (options, word) in [
        (dense(), "features"),
        (dilated, "replace_stride_with_dilation"),
        (early, "last_norm"),
        (stages(&["block1"]), "layer1 to layer4"),
    ] {
        let error = ConvNext::open(convnext, &options).err().unwrap().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
    let both = TeacherOptions { stage: Some("block0".parse().unwrap()), ..stages(&["block1"]) };
    for (path, options, word) in [
        (&plain, stages(&["block0", "block0"]), "twice"),
        (&plain, stages(&["block0", "block2"]), "block2"),
        (&plain, both, "beside it"),
        (&plain, dense(), "CLIP"),
        (&without_norm, norm(true), "norm.weight"),
    ] {
        let error = VisionTransformer::open(path, &options).err().unwrap().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(VisionTransformer::open(&without_norm, &norm(false)).is_ok());
}

#[test]
fn clip_and_siglip_by_other_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut clip = common::vit(64, 2, 8, 4);
    clip.layer_norm("norm_pre", 64);
    let mut siglip = common::vit(64, 2, 8, 4);
    siglip.add("attn_pool.latent", &[1, 1, 64], 0.0, 1.0);
    for (name, file) in [("CLIP", clip), ("SigLIP", siglip)] {
        let path = written(folder.path(), name, &file);
        let error = VisionTransformer::open(path, &TeacherOptions::default()).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("transformers' names only"), "{error}");
    }
}
