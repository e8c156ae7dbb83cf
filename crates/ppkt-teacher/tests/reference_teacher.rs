//! Activations of real networks against PyTorch's, over every file of `WEIGHTS__IMAGE.safetensors`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use ppkt_teacher::{Activation, Images, ResNet, Teacher, TeacherOptions, VisionTransformer};
use ppkt_testkit::{Vectors, assert_close, reference_files, weights_file};

/// Sums in another order differ in the last digits.
const TOLERANCE: f64 = 1e-4;

fn image(vectors: &Vectors) -> Images {
    let shape = vectors.shape("image_u8");
    let rgb = vectors.f64s("image_u8").into_iter().map(|v| v as u8).collect();
    Images::new(1, shape[0], shape[1], rgb).unwrap()
}

/// Reference and weights of each file of a kind.
fn cases(kind: &str) -> Vec<(Vectors, PathBuf)> {
    let files = reference_files(kind).into_iter().filter(|f| f.to_string_lossy().contains("__"));
    let case = |file: PathBuf| {
        let vectors = Vectors::load(&file);
        let name = vectors.name();
        let weights = weights_file(name.split("__").next().unwrap())?;
        Some((vectors, weights))
    };
    files.filter_map(case).collect()
}

/// `[h, w, C]` as its sizes and a function of channel, row, column.
fn planes(activation: &Activation) -> ([usize; 3], Vec<f32>) {
    let (_, h, w, c) = activation.values.dims4().unwrap();
    ([h, w, c], activation.values.flatten_all().unwrap().to_vec1().unwrap())
}

fn compare_stage(vectors: &Vectors, activation: &Activation) -> usize {
    let name = &activation.name;
    let ([h, w, c], values) = planes(activation);
    let at = |channel: usize, y: usize, x: usize| f64::from(values[(y * w + x) * c + channel]);
    let mut compared = 0;
    for entry in vectors.names().into_iter().filter(|n| n == name || n.starts_with(&format!("{name}."))) {
        let what = format!("{} {entry}", vectors.name());
        let want = vectors.f64s(&entry);
        match entry.strip_prefix(name.as_str()).unwrap() {
            ".shape" => assert_eq!(want, [c as f64, h as f64, w as f64], "{what}"),
            statistic @ (".mean" | ".std") => {
                let n = (h * w) as f64;
                let of_channel = |channel: usize| {
                    let all = || (0..h * w).map(|p| f64::from(values[p * c + channel]));
                    let mean = all().sum::<f64>() / n;
                    let variance = all().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                    if statistic == ".mean" { mean } else { variance.sqrt() }
                };
                let got: Vec<f64> = (0..c).map(of_channel).collect();
                assert_close(&what, &got, &want, TOLERANCE);
            }
            "" => {
                let got: Vec<f64> = (0..c * h * w).map(|i| at(i / (h * w), i / w % h, i % w)).collect();
                assert_close(&what, &got, &want, TOLERANCE);
            }
            crop => {
                let (y, x) = crop.strip_prefix(".crop_y").unwrap().split_once("_x").unwrap();
                let (y, x): (usize, usize) = (y.parse().unwrap(), x.parse().unwrap());
                let shape = vectors.shape(&entry);
                let (rows, columns) = (shape[1], shape[2]);
                let value = |i: usize| at(i / (rows * columns), y + i / columns % rows, x + i % columns);
                let got: Vec<f64> = (0..c * rows * columns).map(value).collect();
                assert_close(&what, &got, &want, TOLERANCE);
            }
        }
        compared += 1;
    }
    compared
}

fn check_resnets(kind: &str) {
    for (vectors, weights) in cases(kind) {
        let net = ResNet::open(&weights, &TeacherOptions::default()).unwrap();
        assert!(net.inspection().unmatched.is_empty(), "{:?}", net.inspection().unmatched);
        let activations = net.activations(&image(&vectors)).unwrap();
        let compared: usize = activations.iter().map(|a| compare_stage(&vectors, a)).sum();
        let names = vectors.names().into_iter().filter(|n| n != "input" && n != "image_u8").count();
        assert_eq!(compared, names, "{}: tensors that nothing was compared with", vectors.name());
        let map = net.features(&image(&vectors)).unwrap();
        let whole: Vec<f32> = map.tokens.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(whole, planes(activations.last().unwrap()).1, "features are the last activation");
    }
}

#[test]
fn reference_teacher_resnet18() {
    check_resnets("resnet18_");
}

#[test]
fn reference_teacher_resnet50() {
    check_resnets("resnet50_");
}

#[test]
fn reference_teacher_deit() {
    let classes = ppkt_testkit::shared_or_skip("data/images/imagenet_synset_words.txt")
        .map(|path| std::fs::read_to_string(path).unwrap());
    for (vectors, weights) in cases("deit_") {
        let net = VisionTransformer::open(&weights, &TeacherOptions::default()).unwrap();
        assert!(net.inspection().unmatched.is_empty(), "{:?}", net.inspection().unmatched);
        let activations = net.activations(&image(&vectors)).unwrap();
        let mut compared = 0;
        for activation in &activations {
            let (_, tokens, c) = activation.values.dims3().unwrap();
            let all: Vec<f32> = activation.values.flatten_all().unwrap().to_vec1().unwrap();
            for entry in vectors.names().into_iter().filter(|n| n.split('.').next() == Some(&activation.name))
            {
                let (first, end) = match entry.split_once(".tokens") {
                    Some((_, range)) => {
                        let (first, end) = range.split_once('_').unwrap();
                        (first.parse().unwrap(), end.parse().unwrap())
                    }
                    None => (0, tokens),
                };
                let what = format!("{} {entry}", vectors.name());
                assert_close(&what, &all[first * c..end * c], &vectors.f64s(&entry), TOLERANCE);
                compared += 1;
            }
        }
        let logits: Vec<f32> =
            net.logits(&image(&vectors)).unwrap().unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_close(&format!("{} logits", vectors.name()), &logits, &vectors.f64s("logits"), TOLERANCE);
        compared += 1;
        let names = vectors.names().into_iter().filter(|n| n != "input" && n != "image_u8").count();
        assert_eq!(compared, names, "{}: tensors that nothing was compared with", vectors.name());

        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        let image_name = vectors.name().split("__").nth(1).unwrap().to_owned();
        let expected = [("cat", "cat"), ("hotdog", "hotdog")].iter().find(|(image, _)| **image == image_name);
        if let (Some(classes), Some((_, word))) = (&classes, expected) {
            let class = classes.lines().nth(best).unwrap();
            assert!(class.contains(word), "{image_name} is taken for {class:?}");
        }
    }
}
