//! What a pretraining run trains: the student and the projection of the teacher's features.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use ppkt_data::{Batch, Coordinates, Pair};
use ppkt_sparse::{LoadMode, Recompute, SparseTensor, VarStore, rows_of_input};
use ppkt_student::{MinkUNet, MinkUNetConfig};
use ppkt_teacher::{FeatureMap, Images, PixelRef, TeacherSpec, UpsampleProjection};

use crate::config::PretrainConfig;
use crate::error::{Result, TrainError};
use crate::inference::Inference;
use crate::memory::MemoryLimit;
use crate::optimizer::{with_f32, within};
use crate::rows_at::{RowIndex, rows_at};

/// Prefix of the student's tensors, as in SLidR's checkpoints.
const POINTS: &str = "model_points";
/// Prefix of the projection's tensors, as in SLidR's checkpoints.
const IMAGES: &str = "model_images";

/// Student and projection, with their parameters and buffers in one store.
pub struct Model {
    store: VarStore,
    device: Device,
    student_config: MinkUNetConfig,
    student: MinkUNet,
    projection: UpsampleProjection,
    memory: MemoryLimit,
    /// The same tensors without a graph, for validation and pictures.
    frozen_student: MinkUNet,
    frozen_projection: UpsampleProjection,
}

/// Whether a pass is to be differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Norms use the batch and move their running statistics; the pass is recorded for gradients.
    Train,
    /// Norms use their running statistics; nothing is recorded.
    Infer,
}

/// A batch as the networks take it.
pub(crate) struct Input {
    /// Voxels, in the student's own order.
    pub voxels: SparseTensor,
    /// The student's row of each voxel of the batch.
    pub row_of_voxel: Vec<u32>,
}

impl Input {
    /// Brings a batch into the form that the networks take, on the device that they are on.
    pub(crate) fn new(batch: &Batch, device: &Device) -> Result<Self> {
        let shape = (batch.coords.len(), batch.channels);
        let features = Tensor::from_slice(&batch.features, shape, &Device::Cpu)?;
        let (voxels, order) = SparseTensor::with_batch_size(&batch.coords, features, batch.frames.len())?;
        Ok(Self { voxels: voxels.send(device)?, row_of_voxel: rows_of_input(&order) })
    }

    /// The rows of the points of `pairs`, on the device.
    pub(crate) fn rows(&self, pairs: &[Pair]) -> Result<Arc<RowIndex>> {
        let rows = pairs.iter().map(|p| self.row_of_voxel[p.voxel as usize]).collect();
        Ok(RowIndex::new(rows, self.voxels.features().device())?)
    }
}

/// The photographs of a batch as a teacher takes them.
pub(crate) fn images_of(batch: &Batch) -> Result<Images> {
    let (width, height) = batch.images.first().map_or((0, 0), image::RgbImage::dimensions);
    let rgb = batch.images.iter().flat_map(|i| i.as_raw().iter().copied()).collect();
    Ok(Images::new(batch.images.len(), height as usize, width as usize, rgb)?)
}

impl Model {
    /// A model with seeded initial weights, the same on every device.
    pub fn new(config: &PretrainConfig, teacher: &TeacherSpec, device: &Device) -> Result<Self> {
        crate::precision::check(config.precision, device)?;
        let store = VarStore::new(config.seed);
        let student_config = MinkUNetConfig {
            arch: config.student.arch,
            in_channels: config.batch.channels(),
            out_channels: config.objective.dimensions,
            first_kernel: config.student.first_kernel,
            bn_momentum: config.student.bn_momentum,
        };
        let build = |vb: VarBuilder<'_>| -> Result<(MinkUNet, UpsampleProjection)> {
            let student = MinkUNet::new(&student_config, vb.pp(POINTS))?;
            let dimensions = config.objective.dimensions;
            let corners = config.objective.corners();
            let projection = UpsampleProjection::new(teacher.channels, dimensions, corners, vb.pp(IMAGES))?;
            Ok((student, projection))
        };
        let (student, projection) = build(store.builder(device))?;
        let student = student.with_precision(config.precision)?;
        let (frozen_student, frozen_projection) = build(store.frozen(device))?;
        Ok(Self {
            store,
            device: device.clone(),
            student_config,
            student,
            projection,
            memory: MemoryLimit::new(config.memory_limit, device)?,
            frozen_student,
            frozen_projection,
        })
    }

    /// Where the networks are.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters and buffers.
    pub fn store(&self) -> &VarStore {
        &self.store
    }

    /// The student as it is now, for all that follows without training.
    pub fn inference(&self) -> Inference {
        Inference::new(&self.frozen_student)
    }

    /// Embeddings of all voxels, layer by layer.
    ///
    /// # Shapes
    /// `[N, D]`, rows in the order of `voxels`; not normalised.
    pub fn voxel_embeddings(&self, voxels: &SparseTensor, pass: Pass) -> Result<Tensor> {
        match pass {
            Pass::Train => Ok(self.train_voxels(voxels)?.0),
            Pass::Infer => Ok(self.frozen_student.forward(voxels, false)?.features().clone()),
        }
    }

    /// As [`Self::voxel_embeddings`] in training, and what the backward pass computes again.
    pub(crate) fn train_voxels(&self, voxels: &SparseTensor) -> Result<(Tensor, Recompute)> {
        let recompute = self.memory.recompute(&self.student, voxels)?;
        Ok((self.student.forward_with(voxels, true, recompute)?.features().clone(), recompute))
    }

    /// Embeddings of the points of `pairs`, `[M, D]`, from those of all voxels.
    pub(crate) fn at_points(embeddings: &Tensor, input: &Input, pairs: &[Pair]) -> Result<Tensor> {
        Ok(rows_at(embeddings, &input.rows(pairs)?)?)
    }

    /// Embeddings of the pixels of `pairs`, `[M, D]`; not normalised.
    pub(crate) fn at_pixels(&self, map: &FeatureMap, pairs: &[Pair], pass: Pass) -> Result<Tensor> {
        let pixels: Vec<PixelRef> = pairs.iter().map(|p| PixelRef { view: p.view, u: p.u, v: p.v }).collect();
        let projection = match pass {
            Pass::Train => &self.projection,
            Pass::Infer => &self.frozen_projection,
        };
        Ok(projection.forward(map, &pixels)?)
    }

    /// All parameters and buffers by name, for a checkpoint.
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        Ok(self.store.to_map()?)
    }

    /// Takes over the tensors of a checkpoint, all of them.
    pub fn load(&self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        self.store.load(tensors, LoadMode::Strict)?;
        Ok(())
    }

    /// Writes the student alone, with bare MinkowskiEngine names.
    pub fn save_student(&self, path: &Path, config: &PretrainConfig, teacher: &TeacherSpec) -> Result<()> {
        let prefix = format!("{POINTS}.");
        let bare: HashMap<String, Tensor> = self
            .tensors()?
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor)))
            .collect();
        let name_of = |value: serde_json::Result<serde_json::Value>| {
            value.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let features: Vec<String> =
            config.batch.features.iter().map(|f| name_of(serde_json::to_value(f))).collect();
        let mut metadata = BTreeMap::from([
            ("voxel_size_m".to_owned(), config.batch.voxel_size_m.to_string()),
            ("coordinates".to_owned(), name_of(serde_json::to_value(config.batch.coordinates))),
            ("features".to_owned(), features.join(",")),
            ("objective".to_owned(), name_of(serde_json::to_value(config.objective.kind))),
            ("teacher".to_owned(), teacher.name.clone()),
            ("teacher_sha256".to_owned(), teacher.fingerprint.clone()),
        ]);
        if config.batch.coordinates == Coordinates::Cylindrical {
            metadata.insert("voxel_angle_deg".to_owned(), config.batch.voxel_angle_deg.to_string());
        }
        ppkt_student::save_state(path, &bare, &self.student_config, &metadata)?;
        Ok(())
    }

    /// Rank of a parameter in the order of the forward pass, student first.
    pub(crate) fn rank(&self, name: &str) -> usize {
        let stages = MinkUNet::stages();
        let bare = name.strip_prefix(POINTS).map(|n| n.trim_start_matches('.'));
        let stage = bare.and_then(|n| stages.iter().position(|s| n.split('.').next() == Some(s)));
        stage.unwrap_or(stages.len())
    }

    /// Name of the first parameter or running statistic that is not finite, or so large that its square is not: every
    /// norm squares what it gets.
    pub(crate) fn faulty_tensor(&self) -> Result<Option<String>> {
        let limit = f32::MAX.sqrt();
        let mut faulty = Vec::new();
        for (name, var) in self.store.all() {
            if var.dtype() == DType::F32 && !with_f32(var.as_tensor(), |values| within(values, limit))? {
                faulty.push(name);
            }
        }
        Ok(faulty.into_iter().min_by_key(|name| self.rank(name)))
    }

    /// Name of the first place in the forward pass whose values are not finite; used to explain a loss that is not.
    pub(crate) fn first_not_finite(&self, input: &Input, map: &FeatureMap) -> Result<String> {
        if !finite(input.voxels.features())? {
            return Ok("the input features of the points".into());
        }
        if !finite(&map.tokens)? {
            return Ok("the teacher's features".into());
        }
        let mut first = None;
        let mut failed: Option<TrainError> = None;
        self.student.forward_traced(&input.voxels, true, &mut |stage, tensor| {
            match finite(tensor.features()) {
                Ok(true) => {}
                Ok(false) if first.is_none() => first = Some(format!("the output of {POINTS}.{stage}")),
                Ok(false) => {}
                Err(e) => failed = Some(e),
            };
        })?;
        if let Some(e) = failed {
            return Err(e);
        }
        Ok(first.unwrap_or_else(|| format!("{IMAGES}.decoder.0 or the objective")))
    }
}

/// Whether every value of a tensor is finite.
pub(crate) fn finite(tensor: &Tensor) -> Result<bool> {
    // The sum of absolute values is NaN or infinite exactly if a value is (or if the sum overflows, which is as bad).
    Ok(tensor.detach().abs()?.sum_all()?.to_scalar::<f32>()?.is_finite())
}
