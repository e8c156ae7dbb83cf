//! Features are those that training computes, whole or in parts, in memory or in a file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ppkt_data::{
    Augment2d, Augment3d, BatchConfig, Cloud, Coordinates, DataUri, Dataset, Loader, PointFeature, Split,
};

use super::{EmbedConfig, Embedder, Embeddings, FeatureLayer};
use crate::config::PretrainConfig;
use crate::model::{Input, Model, Pass};
use crate::observer::Quiet;

fn rooms() -> Arc<dyn Dataset> {
    let uri: DataUri = "synthetic:rooms?scenes=3&width=64&height=48".parse().unwrap();
    Arc::from(uri.open(Split::All).unwrap())
}

/// A pretraining after one pass of training, which moves the running statistics, and its student in a file.
fn pretraining(batch: BatchConfig, folder: &Path) -> (Model, Loader, String) {
    let mut config = PretrainConfig {
        batch: BatchConfig {
            frames_per_batch: 1,
            image_size: [64, 48],
            augment2d: Augment2d::none(),
            augment3d: Augment3d::none(),
            ..batch
        },
        ..PretrainConfig::default()
    };
    config.student.arch = ppkt_student::Arch::MinkUNet14Tiny;
    config.objective.dimensions = 16;
    let teacher = ppkt_teacher::open(&config.teacher_uri().unwrap(), &config.teacher.options).unwrap();
    let loader = Loader::new(rooms(), config.batch.clone(), 1).unwrap();
    let model = Model::new(&config, teacher.spec(), &candle_core::Device::Cpu).unwrap();
    for frame in 0..2 {
        let input = Input::new(&loader.frame(frame).unwrap(), &candle_core::Device::Cpu).unwrap();
        model.voxel_embeddings(&input.voxels, Pass::Train).unwrap();
    }
    let path = folder.join("student.safetensors");
    model.save_student(&path, &config, teacher.spec()).unwrap();
    (model, loader, folder.to_string_lossy().into_owned())
}

/// Embeddings of the points of a frame by the code of the training: of voxels, found by where the point is.
fn by_training(model: &Model, loader: &Loader, frame: usize, size_m: f32) -> impl Fn([f32; 3]) -> Vec<f32> {
    let batch = loader.frame(frame).unwrap();
    let input = Input::new(&batch, &candle_core::Device::Cpu).unwrap();
    let rows = model.voxel_embeddings(&input.voxels, Pass::Infer).unwrap().to_vec2::<f32>().unwrap();
    let places: HashMap<[i32; 3], usize> = batch
        .coords
        .iter()
        .zip(&input.row_of_voxel)
        .map(|(&[_, x, y, z], &row)| ([x, y, z], row as usize))
        .collect();
    move |point| rows[places[&point.map(|c| (c / size_m).floor() as i32)]].clone()
}

fn embed(config: &EmbedConfig, cloud: &Cloud) -> Embeddings {
    Embedder::open(config, &candle_core::Device::Cpu, &mut Quiet)
        .unwrap()
        .embed(cloud, "a room", &mut Quiet)
        .unwrap()
}

/// Norms are folded into convolutions here and not in training, and sums of parts begin elsewhere.
const ROUNDING: f32 = 2e-5;

#[track_caller]
fn assert_close(a: &[f32], b: &[f32], largest: f32) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= ROUNDING * largest, "{a} {b}, of up to {largest}");
    }
}

fn largest(embeddings: &Embeddings) -> f32 {
    embeddings.rows.iter().fold(0.0, |most, v| v.abs().max(most))
}

#[test]
fn features_are_those_that_training_computes_for_the_same_frame() {
    for features in
        [vec![PointFeature::Rgb], vec![PointFeature::Xyz, PointFeature::Ones, PointFeature::Height]]
    {
        let dir = tempfile::tempdir().unwrap();
        let size = 0.12;
        let batch = BatchConfig { voxel_size_m: size, features, max_depth_m: 50.0, ..BatchConfig::default() };
        let (model, loader, run) = pretraining(batch, dir.path());
        let cloud = rooms().sample(2).unwrap().cloud;
        let expected = by_training(&model, &loader, 2, size);
        let embeddings = embed(&EmbedConfig::new(&run), &cloud);
        assert_eq!((embeddings.len(), embeddings.dimensions()), (cloud.points.len(), 16));
        assert!(embeddings.n_voxels() > 200);
        let most = largest(&embeddings);
        for (i, &point) in cloud.points.iter().enumerate() {
            assert_close(embeddings.row(i), &expected(point), most);
        }
        // Rows follow the points wherever these stand in the file.
        let turned = Cloud {
            points: cloud.points.iter().rev().copied().collect(),
            colours: cloud.colours.iter().rev().copied().collect(),
            ..Cloud::default()
        };
        let backwards = embed(&EmbedConfig::new(&run), &turned);
        for i in 0..cloud.points.len() {
            assert_close(backwards.row(i), embeddings.row(cloud.points.len() - 1 - i), most);
        }
    }
}

#[test]
fn parts_give_what_the_whole_gives() {
    let dir = tempfile::tempdir().unwrap();
    let batch =
        BatchConfig { voxel_size_m: 0.1, features: vec![PointFeature::Rgb], ..BatchConfig::default() };
    let (_, _, run) = pretraining(batch, dir.path());
    // Rooms in a row, longer than the network sees.
    let (mut cloud, dataset) = (Cloud::default(), rooms());
    for i in 0..12 {
        let room = dataset.sample(i % 3).unwrap().cloud;
        cloud.points.extend(room.points.iter().map(|[x, y, z]| [x + 6.0 * i as f32, *y, *z]));
        cloud.colours.extend(room.colours);
    }
    for layer in [FeatureLayer::Head, FeatureLayer::Backbone] {
        let config = EmbedConfig { layer: Some(layer), ..EmbedConfig::new(&run) };
        let whole = embed(&config, &cloud);
        let most = whole.n_voxels() * 3 / 4;
        let parts = embed(&EmbedConfig { max_voxels: most, ..config }, &cloud);
        assert_close(&parts.rows, &whole.rows, largest(&whole));
        assert_eq!(parts.voxel_of_point, whole.voxel_of_point);
    }
}

#[test]
fn layers_differ_and_rows_can_be_of_length_one() {
    let dir = tempfile::tempdir().unwrap();
    let batch = BatchConfig {
        voxel_size_m: 0.1,
        coordinates: Coordinates::Cylindrical,
        voxel_angle_deg: 2.0,
        features: vec![PointFeature::Ones],
        ..BatchConfig::default()
    };
    let (_, _, run) = pretraining(batch, dir.path());
    let cloud = rooms().sample(0).unwrap().cloud;
    let usual = EmbedConfig::new(&run);
    let embedder = Embedder::open(&usual, &candle_core::Device::Cpu, &mut Quiet).unwrap();
    assert_eq!(embedder.voxels().coordinates, Coordinates::Cylindrical);
    assert_eq!(embedder.layer(), FeatureLayer::Head);
    let head = embed(&usual, &cloud);
    let backbone = embed(&EmbedConfig { layer: Some(FeatureLayer::Backbone), ..usual.clone() }, &cloud);
    assert_eq!((head.dimensions(), backbone.dimensions()), (16, 32));
    let unit = embed(&EmbedConfig { unit_norm: true, ..usual }, &cloud);
    let length = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
    for i in (0..cloud.points.len()).step_by(50) {
        assert!((length(unit.row(i)) - 1.0).abs() < 1e-5);
        let scale = length(head.row(i));
        let scaled: Vec<f32> = unit.row(i).iter().map(|v| v * scale).collect();
        assert_close(&scaled, head.row(i), largest(&head));
    }
    // Colours are those of the direction alone.
    assert_eq!(head.colours().unwrap().len(), cloud.points.len());
}

#[test]
fn files_hold_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let embeddings = Embeddings {
        rows: (0..12).map(|i| i as f32 / 7.0).collect(),
        dimensions: 3,
        voxel_of_point: vec![2, 0, 0, 3, 1],
        metadata: [("layer".to_owned(), "head".to_owned())].into(),
    };
    let rows: Vec<f32> = (0..5).flat_map(|i| embeddings.row(i).to_vec()).collect();
    assert_eq!(rows[..3], embeddings.rows[6..9]);
    let path = dir.path().join("a.npy");
    embeddings.write(&path, &mut Quiet).unwrap();
    let read = candle_core::Tensor::read_npy(&path).unwrap();
    assert_eq!(read.dims(), [5, 3]);
    assert_eq!(read.flatten_all().unwrap().to_vec1::<f32>().unwrap(), rows);
    let path = dir.path().join("a.safetensors");
    embeddings.write(&path, &mut Quiet).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["layer"], "head");
    let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    assert_eq!(tensors["features"].flatten_all().unwrap().to_vec1::<f32>().unwrap(), rows);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing unfinished is left");
    for (name, words) in [("a.txt", ".safetensors"), ("no/folder/a.npy", "make the folder")] {
        let error = embeddings.write(&dir.path().join(name), &mut Quiet).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_file_that_does_not_say_enough_is_asked_about() {
    let dir = tempfile::tempdir().unwrap();
    let (model, _, run) = pretraining(BatchConfig::default(), dir.path());
    drop(model);
    let open = |config: &EmbedConfig| Embedder::open(config, &candle_core::Device::Cpu, &mut Quiet).map(drop);
    let fails = |config: &EmbedConfig, words: &str| {
        let error = open(config).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let said = format!("{error}: {source}");
        assert!(error.is_config() && said.contains(words), "{words}: {said}");
    };
    let usual = EmbedConfig::new(&run);
    fails(&EmbedConfig { features: Some(vec![PointFeature::Xyz]), ..usual.clone() }, "cannot take");
    fails(&EmbedConfig { max_voxels: 0, ..usual.clone() }, "max_voxels");
    fails(&EmbedConfig { voxel_size_m: Some(-1.0), ..usual.clone() }, "voxel_size_m");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fails(&EmbedConfig::new(&empty.to_string_lossy()), "holds no student.safetensors");
    fs::write(empty.join("config.toml"), "").unwrap();
    fails(&EmbedConfig::new(&empty.to_string_lossy()), "no student.safetensors yet");
    // Weights of another program: the same tensors without a word about them.
    let plain = dir.path().join("plain.safetensors");
    let tensors =
        candle_core::safetensors::load(dir.path().join("student.safetensors"), &candle_core::Device::Cpu);
    candle_core::safetensors::save(&tensors.unwrap(), &plain).unwrap();
    let plain = EmbedConfig::new(&plain.to_string_lossy());
    fails(&plain, "--voxel-size");
    fails(&EmbedConfig { voxel_size_m: Some(0.05), ..plain.clone() }, "--point-features");
    let whole = EmbedConfig { voxel_size_m: Some(0.05), features: Some(vec![PointFeature::Ones]), ..plain };
    fails(&whole, "takes 3 features");
    open(&EmbedConfig { features: Some(vec![PointFeature::Rgb]), ..whole }).unwrap();
}
