//! Files that are no networks, or damaged ones: one clear error each, with the file, the tensor and the remedy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use ppkt_teacher::{TeacherError, TeacherOptions, TeacherUri, open};

mod common;
use common::File;

/// The error of a file with these bytes, whose message names the file.
fn refusal(bytes: &[u8]) -> (TeacherError, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, bytes).unwrap();
    refusal_of(path)
}

fn refusal_of(path: PathBuf) -> (TeacherError, String) {
    let error =
        open(&TeacherUri::File(path.clone()), &TeacherOptions::default()).err().expect("it is refused");
    let message = error.to_string();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(message.contains(&name), "the file is named: {message}");
    assert!(message.starts_with(|c: char| c.is_lowercase()), "{message}");
    (error, message)
}

fn file() -> File {
    common::resnet(&[1, 1, 1], true, 8)
}

#[test]
fn no_file() {
    let (error, message) = refusal_of(PathBuf::from("/nowhere/weights.safetensors"));
    assert!(matches!(error, TeacherError::Read { .. }), "{message}");
}

#[test]
fn not_safetensors() {
    for bytes in [
        &b""[..],
        b"1234567",
        b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>",
        &[0xff; 64],
        b"\x02\0\0\0\0\0\0\0{]",
        b"\x04\0\0\0\0\0\0\0\xff\xfe\xfd\xfc",
    ] {
        let (error, message) = refusal(bytes);
        assert!(matches!(error, TeacherError::NotSafetensors { .. }), "{message}");
        assert!(message.contains("download it again"), "{message}");
    }
}

#[test]
fn a_huge_header_is_not_allocated() {
    for length in [u64::MAX, 1 << 40, 99_999_999] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        let (error, message) = refusal(&bytes);
        assert!(matches!(error, TeacherError::NotSafetensors { .. }), "{message}");
    }
}

#[test]
fn cut_anywhere() {
    let bytes = file().bytes();
    for keep in [9, 100, 2000, bytes.len() / 2, bytes.len() - 1] {
        let (_, message) = refusal(&bytes[..keep]);
        assert!(message.contains("download it again"), "{message}");
    }
    let (error, _) = refusal(&bytes[..bytes.len() - 1]);
    match error {
        TeacherError::WrongLength { expected, found, .. } => {
            assert_eq!((expected, found), (bytes.len() as u64, bytes.len() as u64 - 1));
        }
        other => panic!("{other}"),
    }
    let longer = [&bytes[..], b"more"].concat();
    assert!(matches!(refusal(&longer).0, TeacherError::WrongLength { .. }));
}

#[test]
fn another_kind_of_network() {
    let mut other = File::default();
    other.linear("decoder.block", 4, 4);
    let (error, message) = refusal(&other.bytes());
    assert!(matches!(error, TeacherError::UnknownFamily { n_tensors: 2, .. }), "{message}");
    assert!(message.contains("decoder.block.bias"), "{message}");
    let (error, message) = refusal(b"\x02\0\0\0\0\0\0\0{}");
    assert!(matches!(error, TeacherError::UnknownFamily { n_tensors: 0, .. }), "{message}");
}

#[test]
fn a_missing_tensor_is_named() {
    for name in [
        "bn1.running_var",
        "layer1.0.conv2.weight",
        "layer2.0.bn3.bias",
        "layer2.0.conv3.weight",
        "layer2.0.conv1.weight",
        "layer3.0.downsample.0.weight",
    ] {
        let (error, message) = refusal(&file().renamed(|n| (n != name).then(|| n.to_owned())).bytes());
        assert!(matches!(&error, TeacherError::MissingTensor { tensor, .. } if tensor == name), "{message}");
        assert!(message.contains("take a file"), "{message}");
    }
    // A whole stage between others.
    let gap = file().renamed(|n| (!n.starts_with("layer2.")).then(|| n.to_owned()));
    assert!(refusal(&gap.bytes()).1.contains("layer2.0.conv1.weight"));
    let vit = common::vit(64, 2, 8, 2);
    for name in ["norm.bias", "blocks.1.attn.qkv.weight", "blocks.0.norm1.weight", "blocks.0.mlp.fc1.weight"]
    {
        let (error, message) = refusal(&vit.renamed(|n| (n != name).then(|| n.to_owned())).bytes());
        assert!(matches!(&error, TeacherError::MissingTensor { tensor, .. } if tensor == name), "{message}");
    }
}

#[test]
fn a_wrong_shape_is_named_with_what_is_expected() {
    for (name, shape) in [
        ("conv1.weight", &[8, 1, 7, 7][..]),
        ("conv1.weight", &[8, 3, 7, 5]),
        ("conv1.weight", &[8, 3, 6, 6]),
        ("conv1.weight", &[8]),
        ("bn1.weight", &[9]),
        ("layer1.0.conv2.weight", &[8, 3, 3, 3]),
        ("layer2.0.conv2.weight", &[16, 8, 3, 3]),
        ("layer1.0.conv2.weight", &[8, 8, 5, 5]),
        ("layer2.0.conv3.weight", &[7, 16, 1, 1]),
        ("layer2.0.conv3.weight", &[0, 16, 1, 1]),
        ("layer3.0.downsample.0.weight", &[127, 64, 1, 1]),
    ] {
        let mut damaged = file();
        damaged.add(name, shape, 0.0, 1.0);
        let (error, message) = refusal(&damaged.bytes());
        // A kernel of another width shows in the norm after it, too.
        let norm_of = name.replace("conv", "bn").replace("downsample.0", "downsample.1");
        let near = |t: &String| t == name || *t == norm_of;
        assert!(matches!(&error, TeacherError::WrongShape { tensor, .. } if near(tensor)), "{message}");
        assert!(message.contains("expected"), "{message}");
    }
    for (name, shape) in [
        ("pos_embed", &[1, 7, 64][..]),
        ("pos_embed", &[5, 63]),
        ("patch_embed.proj.weight", &[64, 3, 8, 9]),
        ("patch_embed.proj.weight", &[64, 1, 8, 8]),
        ("cls_token", &[63]),
        ("reg_token", &[1, 4, 63]),
        ("reg_token", &[0, 64]),
        ("blocks.1.mlp.fc1.weight", &[256, 63]),
        ("blocks.1.attn.qkv.weight", &[64, 64]),
    ] {
        let mut damaged = common::vit(64, 2, 8, 2);
        damaged.add(name, shape, 0.0, 1.0);
        let (error, message) = refusal(&damaged.bytes());
        assert!(matches!(&error, TeacherError::WrongShape { tensor, .. } if tensor == name), "{message}");
    }
}

/// A golden ConvNeXt with timm's names.
fn convnext() -> File {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/timm_convnext/model.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let mut file = File::default();
    for (name, tensor) in safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let values = tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        file.tensors.insert(name, (tensor.shape().to_vec(), values));
    }
    file
}

#[test]
fn a_convnext_is_read_whole_or_not_at_all() {
    assert!(convnext().tensors.len() > 40);
    for name in [
        "stem.1.weight",
        "stages.1.downsample.0.bias",
        "stages.2.downsample.1.weight",
        "stages.2.blocks.0.conv_dw.weight",
        "stages.2.blocks.1.conv_dw.bias",
        "stages.0.blocks.0.mlp.fc1.weight",
        "stages.3.blocks.0.mlp.fc2.bias",
    ] {
        let (error, message) = refusal(&convnext().renamed(|n| (n != name).then(|| n.to_owned())).bytes());
        assert!(matches!(&error, TeacherError::MissingTensor { tensor, .. } if tensor == name), "{message}");
    }
    for (name, shape) in [
        ("stem.0.weight", &[8, 3, 4, 5][..]),
        ("stem.0.weight", &[8, 1, 4, 4]),
        ("stages.1.downsample.1.weight", &[12, 8, 3, 3]),
        ("stages.2.blocks.0.conv_dw.weight", &[16, 1, 5, 5]),
        ("stages.2.blocks.0.conv_dw.weight", &[16]),
        ("stages.0.blocks.0.mlp.fc1.weight", &[32, 7]),
        ("stages.0.blocks.0.mlp.fc2.weight", &[8, 31]),
        ("stages.0.blocks.0.gamma", &[9]),
    ] {
        let mut damaged = convnext();
        damaged.add(name, shape, 0.0, 1.0);
        let (error, message) = refusal(&damaged.bytes());
        assert!(matches!(&error, TeacherError::WrongShape { tensor, .. } if tensor == name), "{message}");
    }
    // ConvNeXt V2 has one part more in each block.
    for name in ["stages.0.blocks.0.mlp.grn.weight", "stem.2.weight"] {
        let mut other = convnext();
        other.add(name, &[32], 0.0, 1.0);
        let (error, message) = refusal(&other.bytes());
        assert!(matches!(&error, TeacherError::UnknownPart { tensor, .. } if tensor == name), "{message}");
    }
    let mut fifth = convnext();
    fifth.add("stages.4.blocks.0.conv_dw.weight", &[20, 1, 7, 7], 0.0, 1.0);
    assert!(refusal(&fifth.bytes()).1.contains("5 stages"));
}

#[test]
fn a_part_that_is_not_understood_is_not_skipped() {
    for name in ["layer2.0.se.fc1.weight", "layer1.0.conv1.bias", "layer1.0.conv2.0.weight"] {
        let mut other = file();
        other.add(name, &[4], 0.0, 1.0);
        let (error, message) = refusal(&other.bytes());
        assert!(matches!(&error, TeacherError::UnknownPart { tensor, .. } if tensor == name), "{message}");
    }
    for name in ["pos_bias", "blocks.0.attn.q_norm.weight", "norm_post.weight", "blocks.1.mlp.w12.weight"] {
        let mut other = common::vit(64, 2, 8, 2);
        other.add(name, &[4], 0.0, 1.0);
        let (error, message) = refusal(&other.bytes());
        assert!(matches!(&error, TeacherError::UnknownPart { tensor, .. } if tensor == name), "{message}");
    }
}

#[test]
fn values_that_are_no_numbers_or_of_other_types() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut damaged = file();
        damaged.tensors.get_mut("layer2.0.conv2.weight").unwrap().1[5] = bad;
        let (error, message) = refusal(&damaged.bytes());
        assert!(matches!(&error, TeacherError::NotFinite { .. }), "{message}");
        assert!(message.contains("layer2.0.conv2.weight"), "{message}");
    }
    let whole = file();
    let mut data: Vec<_> = whole.tensors.iter().map(|(n, (s, v))| (n, s, vec![1u8; v.len() * 4])).collect();
    let quantised = data.iter_mut().find(|d| d.0 == "conv1.weight").unwrap();
    quantised.2.truncate(quantised.2.len() / 4);
    let views = data.iter().map(|(n, s, b)| {
        let dtype = if *n == "conv1.weight" { safetensors::Dtype::I8 } else { safetensors::Dtype::F32 };
        (*n, safetensors::tensor::TensorView::new(dtype, s.to_vec(), b).unwrap())
    });
    let (error, message) = refusal(&safetensors::serialize(views, None).unwrap());
    assert!(matches!(&error, TeacherError::WrongType { .. }), "{message}");
}

#[test]
fn metadata_and_configuration_that_make_no_sense() {
    for (key, value) in [
        ("mean", "[0.5, 0.5]"),
        ("mean", "\"grey\""),
        ("std", "[0.2, 0.0, 0.2]"),
        ("stride_in_1x1", "maybe"),
        ("stem_stride", "0"),
        ("bn_eps", "-1"),
        ("layers", "[1, 2, 1]"),
    ] {
        let mut damaged = file();
        damaged.metadata.insert("mean".into(), "[0.5, 0.5, 0.5]".into());
        damaged.metadata.insert("std".into(), "[0.5, 0.5, 0.5]".into());
        damaged.metadata.insert(key.into(), value.into());
        let (error, message) = refusal(&damaged.bytes());
        assert!(matches!(error, TeacherError::Config { .. }), "{message}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    file().write(&path);
    for config in ["{", "{\"hidden_act\": \"gelu\"}", "{\"pretrained_cfg\": {\"mean\": [1]}}"] {
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let error = open(&TeacherUri::File(path.clone()), &TeacherOptions::default()).err().unwrap();
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}

#[test]
fn shards_that_lead_elsewhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    for map in [r#"{"a": "../../secret"}"#, r#"{"a": "/etc/passwd"}"#, "{}", "3"] {
        std::fs::write(&index, format!("{{\"weight_map\": {map}}}")).unwrap();
        let error = open(&TeacherUri::File(index.clone()), &TeacherOptions::default()).err().unwrap();
        assert!(matches!(error, TeacherError::Config { .. }), "{error}");
    }
}
