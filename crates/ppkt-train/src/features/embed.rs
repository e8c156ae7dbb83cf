//! From a file of weights and a cloud to an embedding of each point.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use candle_core::{Device, Tensor};
use ppkt_data::{Cloud, Coordinates, PointFeature, VoxelCloud, VoxelConfig};
use ppkt_sparse::{LoadMode, SparseTensor, VarStore, rows_of_input};
use ppkt_student::MinkUNet;
use serde::Serialize;

use super::output::Embeddings;
use super::tiles::{Tile, tiles};
use crate::error::{Result, TrainError};
use crate::inference::Inference;
use crate::observer::Observer;
use crate::weights::Weights;

/// Where in the network features are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureLayer {
    /// Before the last layer: what a new head is put on.
    Backbone,
    /// After it: the embedding that was compared with pixels, or the scores of classes.
    Head,
}

impl FromStr for FeatureLayer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "backbone" => Ok(Self::Backbone),
            "head" => Ok(Self::Head),
            _ => Err(format!("{text:?} is no layer; there are backbone and head")),
        }
    }
}

/// Which network, and what of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedConfig {
    /// A run folder, or a .safetensors file.
    pub from: String,
    /// Where features are taken; `None` for the head of a pretrained network, the backbone of one with classes.
    pub layer: Option<FeatureLayer>,
    /// Whether every row is brought to length 1, as the objective of a pretraining compares them.
    pub unit_norm: bool,
    /// Side of a voxel, metres, where it is not to be that of the file.
    pub voxel_size_m: Option<f32>,
    /// What a voxel tells the network, where the file does not say.
    pub features: Option<Vec<PointFeature>>,
    /// Voxels that the network is given at once, at most: larger clouds are computed in parts.
    pub max_voxels: usize,
}

impl EmbedConfig {
    /// The usual, for a file of weights.
    pub fn new(from: &str) -> Self {
        Self {
            from: from.to_owned(),
            layer: None,
            unit_norm: false,
            voxel_size_m: None,
            features: None,
            max_voxels: 1_000_000,
        }
    }
}

/// A trained network that embeds clouds.
pub struct Embedder {
    network: Inference,
    device: Device,
    voxels: VoxelConfig,
    layer: FeatureLayer,
    unit_norm: bool,
    max_voxels: usize,
    /// How far an input can be from an output that depends on it, voxels.
    reach: usize,
    metadata: BTreeMap<String, String>,
    /// The file of the network, for errors.
    path: PathBuf,
}

impl Embedder {
    /// Reads a network onto `device`; architecture, voxel size and point features are those that its file names. `observer` hears
    /// what may make features worth less.
    ///
    /// # Errors
    /// If the file cannot be read or is no network, does not say what it was trained on where the configuration does
    /// not either, or says something else than the configuration.
    pub fn open(config: &EmbedConfig, device: &Device, observer: &mut dyn Observer) -> Result<Self> {
        if config.max_voxels == 0 {
            return Err(TrainError::Config("max_voxels must be at least 1".into()));
        }
        let weights = Weights::read(&config.from)?;
        let (plan, _, network) = weights.state.describe()?;
        let voxels = voxels(config, &weights, observer)?;
        voxels.check()?;
        if voxels.channels() != network.in_channels {
            return Err(weights.wrong(&format!(
                "its first layer takes {} features a voxel, but {:?} has {}",
                network.in_channels,
                voxels.features,
                voxels.channels()
            )));
        }
        let store = VarStore::new(0);
        MinkUNet::with_plan(&plan, &network, store.builder(device))?;
        weights.state.load_into(&store, LoadMode::Strict)?;
        let usual =
            if weights.told("classes").is_some() { FeatureLayer::Backbone } else { FeatureLayer::Head };
        let layer = config.layer.unwrap_or(usual);
        let mut metadata = weights.state.metadata.clone();
        metadata.remove("format");
        metadata.insert("voxel_size_m".into(), voxels.voxel_size_m.to_string());
        metadata.insert("layer".into(), format!("{layer:?}").to_lowercase());
        metadata.insert("unit_norm".into(), config.unit_norm.to_string());
        metadata.insert("ppkt".into(), env!("CARGO_PKG_VERSION").into());
        Ok(Self {
            network: Inference::new(&MinkUNet::with_plan(&plan, &network, store.frozen(device))?),
            device: device.clone(),
            voxels,
            layer,
            unit_norm: config.unit_norm,
            max_voxels: config.max_voxels,
            reach: plan.reach(network.first_kernel),
            metadata,
            path: weights.path,
        })
    }

    /// How clouds become voxels: what they must have.
    pub fn voxels(&self) -> &VoxelConfig {
        &self.voxels
    }

    /// Where features are taken.
    pub fn layer(&self) -> FeatureLayer {
        self.layer
    }

    /// Embeds every point of a cloud, `name` in errors. Points of one voxel have one embedding.
    ///
    /// A cloud of more voxels than [`EmbedConfig::max_voxels`] is computed in parts, each with all that the network
    /// sees around it, so that the result is the same; memory is then bounded, but for parts that are dense within
    /// the network's reach.
    ///
    /// # Errors
    /// If the cloud is empty or lacks a feature, or a value is not finite.
    pub fn embed(&self, cloud: &Cloud, name: &str, observer: &mut dyn Observer) -> Result<Embeddings> {
        const TASK: &str = "embedding";
        let VoxelCloud { coords, features, channels, voxel_of_point } =
            VoxelCloud::new(cloud, name, &self.voxels)?;
        let parts = tiles(&coords, self.reach, self.max_voxels);
        if let Some(most) = parts.iter().map(|tile| tile.around.len()).max().filter(|&n| n > self.max_voxels)
        {
            observer.message(&format!(
                "warning: a part has {most} voxels and not {}: the network sees {} voxels to each side",
                self.max_voxels, self.reach
            ));
        }
        let (mut rows, mut dimensions, mut done) = (Vec::new(), 0, 0);
        for tile in &parts {
            observer.progress(TASK, done, coords.len() as u64);
            let embedded = self.tile(tile, &coords, &features, channels)?;
            dimensions = embedded.dim(1)?;
            rows.resize(coords.len() * dimensions, 0.0);
            let values = embedded.flatten_all()?.to_vec1::<f32>()?;
            for (&voxel, row) in tile.core.iter().zip(values.chunks_exact(dimensions)) {
                rows[voxel as usize * dimensions..][..dimensions].copy_from_slice(row);
            }
            done += tile.core.len() as u64;
        }
        observer.progress_done(TASK);
        if let Some(at) = rows.iter().position(|v| !v.is_finite()) {
            let voxel = at / dimensions.max(1);
            let problem = format!(
                "the features of the points in voxel {:?} of {name} are not finite: these weights are damaged, or the \
                 cloud is nothing like what they were trained on",
                coords[voxel]
            );
            return Err(TrainError::Checkpoint { problem, path: self.path.clone() });
        }
        Ok(Embeddings { rows, dimensions, voxel_of_point, metadata: self.metadata.clone() })
    }

    /// Embeddings of the core of a tile, in its order.
    fn tile(&self, tile: &Tile, coords: &[[i32; 3]], features: &[f32], channels: usize) -> Result<Tensor> {
        let around: Vec<[i32; 4]> = tile
            .around
            .iter()
            .map(|&v| {
                let [x, y, z] = coords[v as usize];
                [0, x, y, z]
            })
            .collect();
        let own: Vec<f32> = tile
            .around
            .iter()
            .flat_map(|&v| &features[v as usize * channels..][..channels])
            .copied()
            .collect();
        let own = Tensor::from_vec(own, (around.len(), channels), &self.device)?;
        let (voxels, order) = SparseTensor::with_batch_size(&around, own, 1)?;
        let embedded = match self.layer {
            FeatureLayer::Backbone => self.network.backbone(&voxels)?,
            FeatureLayer::Head => self.network.forward(&voxels)?,
        };
        let row_of_voxel = rows_of_input(&order);
        // Both lists ascend, and the core is part of what is around.
        let mut place = 0;
        let rows: Vec<u32> = tile
            .core
            .iter()
            .map(|voxel| {
                place += tile.around[place..].partition_point(|v| v < voxel);
                row_of_voxel[place]
            })
            .collect();
        let index = Tensor::from_vec(rows, tile.core.len(), &self.device)?;
        let core = embedded.features().index_select(&index, 0)?;
        Ok(if self.unit_norm { ppkt_student::unit_norm(&core)? } else { core })
    }
}

/// How clouds become voxels, by the file and, where that does not say, by the configuration.
fn voxels(config: &EmbedConfig, weights: &Weights, observer: &mut dyn Observer) -> Result<VoxelConfig> {
    let size = match (config.voxel_size_m, weights.voxel_size_m()?) {
        (Some(given), Some(told)) if (given - told).abs() > 1e-6 * told => {
            observer.message(&format!(
                "warning: the network was trained with voxels of {told} m, and is given voxels of {given} m: sizes \
                 mean other things to it"
            ));
            given
        }
        (given, told) => given.or(told).ok_or_else(|| {
            weights.wrong("the file does not say with which voxels it was trained; give --voxel-size METRES")
        })?,
    };
    let features = match (config.features.clone(), weights.features()?) {
        (Some(given), Some(told)) if given != told => {
            return Err(weights.wrong(&format!(
                "the network was trained on the features {told:?} and cannot take {given:?}"
            )));
        }
        (given, told) => given.or(told).ok_or_else(|| {
            weights.wrong(
                "the file does not say what its voxels are to tell it; give --point-features, such as rgb",
            )
        })?,
    };
    let coordinates = weights.coordinates()?;
    let voxel_angle_deg = match (coordinates, weights.voxel_angle_deg()?) {
        (_, Some(angle)) => angle,
        // Not used.
        (Coordinates::Cartesian, None) => 1.0,
        _ => return Err(weights.wrong("the file names cylindrical voxels, but not their voxel_angle_deg")),
    };
    Ok(VoxelConfig { voxel_size_m: size, coordinates, voxel_angle_deg, features })
}
