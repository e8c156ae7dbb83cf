//! `ppkt features`: from a cloud and a checkpoint to an embedding of each point.

use std::path::Path;

use anyhow::Result;
use ppkt_data::{Cloud, CloudFile, CloudFileOptions, DataUri, Ply, PlyColumn, PointFeature, Split};
use ppkt_train::{EmbedConfig, Embedder, Embeddings, FeatureLayer, Observer, TrainError};
use serde::Serialize;

use crate::bars::Bars;
use crate::cli::Features;
use crate::output::say;

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    points: usize,
    voxels: usize,
    dimensions: usize,
    layer: FeatureLayer,
    voxel_size_m: f32,
    features: &'a [PointFeature],
    out: Option<&'a Path>,
    ply: Option<&'a Path>,
}

/// Reads the network and the cloud, embeds, and writes what was asked for.
pub(crate) fn run(arguments: &Features, json: bool) -> Result<()> {
    check_places(arguments)?;
    let mut bars = Bars::new();
    let config = EmbedConfig {
        layer: arguments.layer,
        unit_norm: arguments.unit_norm,
        voxel_size_m: arguments.voxel_size,
        features: arguments.point_features.as_deref().map(point_features).transpose()?,
        max_voxels: arguments.max_voxels,
        ..EmbedConfig::new(&arguments.from)
    };
    let embedder = Embedder::open(&config, &arguments.on.device.open()?, &mut bars)?;
    let (cloud, offset_m) = read(arguments, &embedder, &mut bars)?;
    let embeddings = embedder.embed(&cloud, &arguments.input, &mut bars)?;
    // Before anything is written: a failure leaves nothing behind.
    let colours = arguments.ply.as_ref().map(|_| embeddings.colours()).transpose()?;
    if let Some(out) = &arguments.out {
        embeddings.write(out, &mut bars)?;
    }
    if let (Some(path), Some(colours)) = (&arguments.ply, colours) {
        ppkt_train::write_whole(path, &coloured(&cloud, offset_m, &colours).to_bytes())?;
    }
    show(arguments, &embedder, &embeddings, json)
}

/// Refuses, before any work is done, what would fail or do harm at its end.
fn check_places(arguments: &Features) -> Result<(), TrainError> {
    if let Some(out) = &arguments.out {
        ppkt_train::check_feature_file(out)?;
    }
    if let Some(ply) = arguments.ply.as_ref().filter(|p| p.extension().is_none_or(|e| e != "ply")) {
        return Err(TrainError::Config(format!("the name of --ply has to end in .ply: {ply:?}")));
    }
    for path in arguments.out.iter().chain(&arguments.ply) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(TrainError::Config(format!("there is no such folder to write to: {folder:?}")));
        }
        for input in [&arguments.input, &arguments.from] {
            if let (Ok(a), Ok(b)) = (path.canonicalize(), Path::new(input).canonicalize())
                && a == b
            {
                return Err(TrainError::Config(format!("this would overwrite what is read: {path:?}")));
            }
        }
    }
    Ok(())
}

fn point_features(list: &str) -> Result<Vec<PointFeature>, TrainError> {
    let parse = |name: &str| {
        serde_json::from_value(serde_json::Value::String(name.trim().to_owned())).map_err(|_| {
            let problem =
                format!("{name:?} is no point feature; there are rgb, ones, xyz, height, intensity");
            TrainError::Config(problem)
        })
    };
    list.split(',').map(parse).collect()
}

/// The cloud that is meant, and what was subtracted from its positions.
fn read(arguments: &Features, embedder: &Embedder, bars: &mut Bars) -> Result<(Cloud, [f64; 3])> {
    let wrong = |problem: String| TrainError::Config(problem);
    let path = Path::new(&arguments.input);
    if path.is_file() || CloudFile::is_named_like_one(path) {
        if arguments.frame.is_some() {
            return Err(wrong(format!("--frame is for data URIs, and this is a file: {path:?}")).into());
        }
        let options = CloudFileOptions {
            columns: arguments.columns.iter().map(|name| name.trim().to_owned()).collect(),
            intensity_max: arguments.intensity_max,
        };
        let file = CloudFile::read(path, &options)?;
        for note in &file.notes {
            bars.message(&format!("note: {note}"));
        }
        return Ok((file.to_cloud(&embedder.voxels().features)?, file.offset_m));
    }
    if !arguments.columns.is_empty() || arguments.intensity_max.is_some() {
        return Err(
            wrong("--columns and --intensity-max are for files, and this is a data URI".into()).into()
        );
    }
    let uri: DataUri = arguments.input.parse()?;
    let dataset = uri.open(Split::All)?;
    for note in dataset.notes() {
        bars.message(&format!("note: {note}"));
    }
    let frame = match (arguments.frame, dataset.len()) {
        (Some(frame), n) if frame < n => frame,
        (None, 1) => 0,
        (None, n) => {
            return Err(
                wrong(format!("{uri} has {n} frames; say which with --frame, from 0 to {}", n - 1)).into()
            );
        }
        (Some(frame), n) => {
            return Err(
                wrong(format!("{uri} has {n} frames, counted from 0: there is no frame {frame}")).into()
            );
        }
    };
    Ok((dataset.sample(frame)?.cloud, [0.0; 3]))
}

/// The cloud where the file has it, in the colours of its features.
fn coloured(cloud: &Cloud, offset_m: [f64; 3], colours: &[[u8; 3]]) -> Ply {
    let mut ply = Ply::new(cloud.points.len());
    for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
        let values = cloud.points.iter().map(|p| p[axis]);
        let column = match offset_m == [0.0; 3] {
            true => PlyColumn::F32(values.collect()),
            false => PlyColumn::F64(values.map(|v| f64::from(v) + offset_m[axis]).collect()),
        };
        ply = ply.with(name, column);
    }
    for (channel, name) in ["red", "green", "blue"].into_iter().enumerate() {
        ply = ply.with(name, PlyColumn::U8(colours.iter().map(|c| c[channel]).collect()));
    }
    ply
}

fn show(arguments: &Features, embedder: &Embedder, embeddings: &Embeddings, json: bool) -> Result<()> {
    let voxels = embedder.voxels();
    if json {
        let printed = Printed {
            points: embeddings.len(),
            voxels: embeddings.n_voxels(),
            dimensions: embeddings.dimensions(),
            layer: embedder.layer(),
            voxel_size_m: voxels.voxel_size_m,
            features: &voxels.features,
            out: arguments.out.as_deref(),
            ply: arguments.ply.as_deref(),
        };
        say!("{}", serde_json::to_string(&printed)?);
        return Ok(());
    }
    let layer = match embedder.layer() {
        FeatureLayer::Backbone => "before the last layer",
        FeatureLayer::Head => "after the last layer",
    };
    say!(
        "{} points in {} voxels of {} m, {} numbers each, taken {layer}",
        embeddings.len(),
        embeddings.n_voxels(),
        voxels.voxel_size_m,
        embeddings.dimensions()
    );
    if let Some(out) = &arguments.out {
        say!("features    {}", out.display());
    }
    if let Some(ply) = &arguments.ply {
        say!("cloud       {}", ply.display());
    }
    Ok(())
}
