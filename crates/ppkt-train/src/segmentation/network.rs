//! The network with a head of classes, from random or pretrained weights.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use ppkt_data::{Classes, CloudConfig, LabelledBatch};
use ppkt_sparse::{LoadMode, Precision, Recompute, SparseTensor, VarStore, rows_of_input};
use ppkt_student::{MinkUNet, MinkUNetConfig, State};
use ppkt_teacher::ByteSize;

use super::config::{FinetuneConfig, FinetuneStudentConfig, Trunk};
use crate::error::{Result, TrainError};
use crate::inference::Inference;
use crate::memory::MemoryLimit;
use crate::observer::Observer;
use crate::weights::Weights;

/// First part of the names of the head's tensors.
const HEAD: &str = "final";

/// A network that scores classes, with its parameters.
pub(crate) struct Segmenter {
    store: VarStore,
    config: MinkUNetConfig,
    device: Device,
    network: MinkUNet,
    /// The same tensors without a graph.
    frozen: MinkUNet,
    /// A trunk that stays as it is, as it was when weights were last loaded.
    frozen_trunk: Inference,
    memory: MemoryLimit,
}

/// The settings that weights bring along, as keys and TOML values for [`resolve`](crate::resolve): architecture, first
/// kernel, voxel size and features, as far as the file tells.
///
/// # Errors
/// If the file cannot be read or is no network of the family.
pub fn settings_of_weights(from: &str) -> Result<Vec<(String, String)>> {
    let state = Weights::read(from)?.state;
    let config = state.member()?;
    let mut set = vec![
        ("student.first_kernel".to_owned(), config.first_kernel.to_string()),
        ("student.arch".to_owned(), format!("{:?}", config.arch.to_string())),
    ];
    if let Some(size) = state.metadata.get("voxel_size_m") {
        set.push(("batch.voxel_size_m".to_owned(), size.clone()));
    }
    if let Some(features) = state.metadata.get("features") {
        let quoted: Vec<String> = features.split(',').map(|f| format!("{f:?}")).collect();
        set.push(("batch.features".to_owned(), format!("[{}]", quoted.join(", "))));
    }
    Ok(set)
}

impl Segmenter {
    /// A network with seeded initial weights.
    pub(crate) fn new(
        student: &FinetuneStudentConfig,
        batch: &CloudConfig,
        classes: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let store = VarStore::new(seed);
        let config = MinkUNetConfig {
            arch: student.arch,
            in_channels: batch.channels(),
            out_channels: classes,
            first_kernel: student.first_kernel,
            bn_momentum: student.bn_momentum,
        };
        let network = MinkUNet::new(&config, store.builder(device))?;
        let frozen = MinkUNet::new(&config, store.frozen(device))?;
        let frozen_trunk = Inference::new(&frozen);
        let memory = MemoryLimit::new(ByteSize(0), device)?;
        Ok(Self { store, config, device: device.clone(), network, frozen, frozen_trunk, memory })
    }

    /// The same, trained with numbers of another precision; a frozen trunk stays in f32.
    pub(crate) fn with_precision(self, precision: Precision) -> Result<Self> {
        crate::precision::check(precision, &self.device)?;
        Ok(Self { network: self.network.with_precision(precision)?, ..self })
    }

    /// The same, whose training steps keep to so much memory; 0 for no limit.
    pub(crate) fn with_memory_limit(self, limit: ByteSize) -> Result<Self> {
        Ok(Self { memory: MemoryLimit::new(limit, &self.device)?, ..self })
    }

    /// Takes over the weights of a file as far as they fit, and tells what did not; the head of a network for another
    /// purpose is left out even where its size happens to fit.
    pub(crate) fn load(
        &mut self,
        weights: Weights,
        batch: &CloudConfig,
        classes: &Classes,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Weights { mut state, path } = weights;
        fits(&state, &self.config, batch, &path, observer)?;
        let same_task = state.metadata.get("classes").is_some_and(|c| *c == class_list(classes));
        if !same_task {
            state.tensors.retain(|name, _| name.split('.').next() != Some(HEAD));
        }
        let report = state.load_into(&self.store, LoadMode::Lenient)?;
        self.frozen_trunk = self.inference();
        let backbone_missing =
            report.missing.iter().filter(|n| !n.starts_with(HEAD) && !n.ends_with("num_batches_tracked"));
        if let Some(first) = backbone_missing.clone().next() {
            observer.message(&format!(
                "{} tensors of the network are not in the file and stay random, such as {first:?}",
                backbone_missing.count()
            ));
        }
        observer.message(&format!("weights from {}: {report}", path.display()));
        Ok(())
    }

    /// Takes over everything: for a network that is measured or goes on.
    pub(crate) fn load_all(&mut self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        self.store.load(tensors, LoadMode::Strict)?;
        self.frozen_trunk = self.inference();
        Ok(())
    }

    /// Parameters that are trained, each with the factor on its learning rate.
    pub(crate) fn trainable(&self, config: &FinetuneConfig) -> Vec<(String, Var, f64)> {
        let stages = MinkUNet::stages();
        let head = if config.head_lr > 0.0 { config.head_lr / config.optimizer.lr } else { 1.0 };
        let factor = |name: &str| {
            let stage = name.split('.').next().unwrap_or_default();
            if stage == HEAD {
                return Some(head);
            }
            let rank = stages.iter().position(|s| s == stage).unwrap_or(stages.len() - 1);
            let depth = (stages.len() - 1 - rank) as i32;
            (config.trunk == Trunk::Trained).then(|| config.layer_decay.powi(depth))
        };
        let all = self.store.trainable().into_iter();
        all.filter_map(|(name, var)| factor(&name).map(|f| (name, var, f))).collect()
    }

    /// Where the network is.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// A batch as the network takes it, and the network's row of each voxel of the batch.
    pub(crate) fn input(&self, batch: &LabelledBatch) -> Result<(SparseTensor, Vec<u32>)> {
        let shape = (batch.coords.len(), batch.channels);
        let features = Tensor::from_slice(&batch.features, shape, &Device::Cpu)?;
        let (voxels, order) = SparseTensor::with_batch_size(&batch.coords, features, batch.frames.len())?;
        Ok((voxels.send(&self.device)?, rows_of_input(&order)))
    }

    /// Scores of all voxels, recorded for gradients, and what the backward pass computes again.
    ///
    /// # Shapes
    /// `[N, classes]`, rows in the order of `voxels`.
    pub(crate) fn train(&self, voxels: &SparseTensor, trunk: Trunk) -> Result<(Tensor, Recompute)> {
        let (scores, recompute) = match trunk {
            Trunk::Trained => {
                let recompute = self.memory.recompute(&self.network, voxels)?;
                (self.network.forward_with(voxels, true, recompute)?, recompute)
            }
            Trunk::Frozen => (self.network.head(&self.frozen_trunk.backbone(voxels)?)?, Recompute::default()),
        };
        Ok((scores.features().clone(), recompute))
    }

    /// The network as it is now, for measuring.
    pub(crate) fn inference(&self) -> Inference {
        Inference::new(&self.frozen)
    }

    pub(crate) fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        Ok(self.store.to_map()?)
    }

    /// Name of the first parameter or statistic that is not finite.
    pub(crate) fn faulty_tensor(&self) -> Result<Option<String>> {
        for (name, tensor) in self.tensors()? {
            if tensor.dtype() == candle_core::DType::F32 && !crate::model::finite(&tensor)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Writes the network with what is needed to use it.
    pub(crate) fn save(&self, path: &Path, batch: &CloudConfig, classes: &Classes) -> Result<()> {
        let metadata = BTreeMap::from([
            ("task".to_owned(), "segmentation".to_owned()),
            ("classes".to_owned(), class_list(classes)),
            ("voxel_size_m".to_owned(), batch.voxel_size_m.to_string()),
            ("coordinates".to_owned(), "cartesian".to_owned()),
            ("features".to_owned(), feature_list(batch)),
        ]);
        ppkt_student::save_state(path, &self.tensors()?, &self.config, &metadata)?;
        Ok(())
    }
}

/// Names of the classes, as they stand in a file's metadata.
pub(crate) fn class_list(classes: &Classes) -> String {
    classes.names()[1..].join(",")
}

fn feature_list(batch: &CloudConfig) -> String {
    let name = |f| serde_json::to_value(f).ok().and_then(|v| v.as_str().map(str::to_owned));
    batch.features.iter().filter_map(name).collect::<Vec<_>>().join(",")
}

/// Refuses weights of another network; what may be meant, but changes what weights are worth, is told.
fn fits(
    state: &State,
    config: &MinkUNetConfig,
    batch: &CloudConfig,
    path: &Path,
    observer: &mut dyn Observer,
) -> Result<()> {
    let theirs = state.member()?;
    let wrong = |problem: String| Err(TrainError::Config(format!("{problem}: {path:?}")));
    if theirs.arch != config.arch {
        let arch = theirs.arch;
        return wrong(format!("the weights are of {arch}, not {}; --set student.arch={arch}", config.arch));
    }
    if theirs.in_channels != config.in_channels {
        let features = state.metadata.get("features").cloned().unwrap_or_else(|| "not named in it".into());
        return wrong(format!(
            "the weights take {} features a voxel, and batch.features has {}; set batch.features to those of the file \
             ({features})",
            theirs.in_channels, config.in_channels
        ));
    }
    let told = |key: &str| state.metadata.get(key).cloned();
    if let Some(features) = told("features").filter(|f| *f != feature_list(batch)) {
        return wrong(format!(
            "the weights were trained on the features {features:?}, and batch.features has {:?}; set batch.features to \
             those of the file",
            feature_list(batch)
        ));
    }
    if let Some(size) = told("voxel_size_m").and_then(|s| s.parse::<f32>().ok())
        && (size - batch.voxel_size_m).abs() > 1e-6 * size
    {
        observer.message(&format!(
            "warning: the weights were trained with voxels of {size} m, and batch.voxel_size_m is {}: sizes mean other \
             things to them; --set batch.voxel_size_m={size} keeps what they learnt",
            batch.voxel_size_m
        ));
    }
    if let Some(coordinates) = told("coordinates").filter(|c| c != "cartesian") {
        return wrong(format!(
            "the weights were trained on {coordinates} voxels; training on labels takes cartesian ones"
        ));
    }
    Ok(())
}
