//! Held-out frames, measured per point.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use ppkt_data::{
    Attitude, Classes, CloudConfig, DataUri, Dataset, LabelConfig, LabelledBatch, LabelledFrames, Loader,
    OnDamaged, SampleCloud, Split,
};
use ppkt_student::MinkUNetConfig;

use super::config::{FinetuneStudentConfig, MeasureConfig};
use super::metrics::{ClassScore, Confusion, Scores};
use super::network::{Segmenter, class_list};
use crate::error::{Result, TrainError};
use crate::inference::Inference;
use crate::observer::Observer;
use crate::pictures::file_name;
use crate::samples::write_sample;
use crate::weights::Weights;

/// Frames whose clouds are kept for the page.
const SAMPLES: usize = 4;

/// What is measured, and on what.
#[derive(Clone, Debug)]
pub struct EvalConfig {
    /// A fine-tuned run folder, or its student.safetensors.
    pub from: String,
    /// Data URI of labelled frames.
    pub data: String,
    /// Which part of them.
    pub split: Split,
    /// Looks and frames.
    pub measure: MeasureConfig,
}

/// Measures a fine-tuned network; voxel size, features and classes are those that its file names.
///
/// # Errors
/// If the file is no fine-tuned network, or the data has no labels or other classes.
pub fn evaluate(
    config: &EvalConfig,
    samples: Option<&Path>,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Scores> {
    let uri: DataUri = config.data.parse()?;
    let dataset: Arc<dyn Dataset> = Arc::from(uri.open(config.split)?);
    let classes = classes_of(dataset.as_ref())?;
    let weights = Weights::read(&config.from)?;
    let missing = |key: &str| {
        weights.wrong(&format!("the file names no {key}: give a network that `ppkt finetune` wrote"))
    };
    if weights.told("classes").ok_or_else(|| missing("classes"))? != class_list(&classes) {
        return Err(weights.wrong("the network was trained on other classes than this data has"));
    }
    let features = weights.features()?.ok_or_else(|| missing("features"))?;
    let voxel_size_m = weights.voxel_size_m()?.ok_or_else(|| missing("voxel_size_m"))?;
    let batch = CloudConfig { voxel_size_m, features, ..CloudConfig::default() };
    batch.check()?;
    let MinkUNetConfig { arch, first_kernel, bn_momentum, .. } = weights.state.member()?;
    let student = FinetuneStudentConfig { arch, first_kernel, bn_momentum };
    let mut segmenter = Segmenter::new(&student, &batch, classes.names().len() - 1, 0, device)?;
    segmenter.load_all(&weights.state.tensors)?;
    let test = TestSet::new(dataset, batch, config.measure.clone())?;
    test.measure(&segmenter, samples, observer)
}

/// The classes of a dataset, or the error that it has none.
pub(crate) fn classes_of(dataset: &dyn Dataset) -> Result<Classes> {
    dataset.classes().cloned().ok_or_else(|| {
        TrainError::Config(format!(
            "{} has no labels; name labelled frames, such as nyuv2:DIR or synthetic:rooms",
            dataset.name()
        ))
    })
}

/// Frames to measure on.
pub(crate) struct TestSet {
    /// The frames as they are, photographs and all.
    dataset: Arc<dyn Dataset>,
    loader: Loader<LabelledFrames>,
    classes: Classes,
    measure: MeasureConfig,
}

impl TestSet {
    pub(crate) fn new(dataset: Arc<dyn Dataset>, cloud: CloudConfig, measure: MeasureConfig) -> Result<Self> {
        let classes = classes_of(dataset.as_ref())?;
        let depth = cloud.max_depth_m;
        let frames = LabelledFrames {
            cloud,
            labels: LabelConfig::default(),
            label_seed: 0,
            n_classes: classes.len_with_unlabelled(),
        };
        // Each frame is read once, so nothing is kept.
        let clouds = Arc::new(ppkt_data::RememberedClouds::new(dataset.clone(), depth, 0));
        Ok(Self { dataset, loader: Loader::new(clouds, frames, 0)?, classes, measure })
    }

    pub(crate) fn dataset(&self) -> &dyn Dataset {
        self.dataset.as_ref()
    }

    pub(crate) fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Measures a network; the first frames go to the folder `samples` with label and prediction.
    pub(crate) fn measure(
        &self,
        network: &Segmenter,
        samples: Option<&Path>,
        observer: &mut dyn Observer,
    ) -> Result<Scores> {
        const TASK: &str = "measuring";
        let student = network.inference();
        let dataset = self.loader.dataset();
        let limit = if self.measure.frames == 0 { usize::MAX } else { self.measure.frames };
        let n = dataset.len().min(limit);
        let attitudes = Attitude::spread(self.measure.votes);
        let mut confusion = Confusion::new(self.classes.names().len() - 1);
        let (mut skipped, mut shown) = (0, 0);
        for index in 0..n {
            observer.progress(TASK, index as u64, n as u64);
            let looks = match self.loader.looks(index, &attitudes) {
                Err(e) if self.loader.config().cloud.on_damaged == OnDamaged::Skip => {
                    observer.message(&format!("a damaged frame is left out: {e}"));
                    skipped += 1;
                    continue;
                }
                other => other?,
            };
            let prediction = predict(network, &student, &looks)?;
            confusion.add(&looks[0].class_of_point, &prediction);
            if let Some(folder) = samples.filter(|_| shown < SAMPLES) {
                let name = format!("{shown:02}-{}", file_name(&looks[0].frames[0]));
                write_sample(folder, &name, &sample(&looks[0], &prediction, self.viewpoint(index)?))?;
                shown += 1;
            }
        }
        observer.progress_done(TASK);
        if confusion.points() == 0 {
            let name = dataset.name();
            return Err(TrainError::Config(format!(
                "no point of {name} has a label: there is nothing to measure by"
            )));
        }
        Ok(self.scores(&confusion, dataset.name(), n - skipped, skipped))
    }

    /// Where the first photograph of a frame was taken from: clouds are measured without their photographs, so a frame
    /// that is shown is read once more.
    fn viewpoint(&self, index: usize) -> Result<Option<[f32; 3]>> {
        let scene = self.dataset.sample(index)?;
        let place = scene.views.first().map(|view| view.world_from_camera.translation());
        Ok(place.map(|t| [t.x as f32, t.y as f32, t.z as f32]))
    }

    fn scores(&self, confusion: &Confusion, split: &str, frames: usize, skipped: usize) -> Scores {
        let rows = confusion.rows();
        let named = self.classes.names()[1..].iter().zip(&self.classes.colours()[1..]).enumerate();
        let classes = named.map(|(c, (name, colour))| ClassScore {
            name: name.clone(),
            colour: *colour,
            iou: confusion.iou(c),
            accuracy: confusion.recall(c),
            points: rows[c].iter().sum(),
        });
        Scores {
            task: "segmentation".into(),
            split: split.to_owned(),
            frames,
            skipped,
            points: confusion.points(),
            miou: confusion.mean_iou(),
            macc: confusion.mean_accuracy(),
            accuracy: confusion.accuracy(),
            classes: classes.collect(),
            confusion: rows,
        }
    }
}

/// Class of each point, from 1: the most probable one, with the probabilities of all looks added up; of equals the
/// first.
fn predict(network: &Segmenter, student: &Inference, looks: &[LabelledBatch]) -> Result<Vec<u16>> {
    let Some(first) = looks.first() else { return Ok(Vec::new()) };
    let mut sum: Vec<f32> = Vec::new();
    let mut classes = 0;
    for look in looks {
        let (voxels, row_of_voxel) = network.input(look)?;
        let scores = candle_nn::ops::softmax(student.forward(&voxels)?.features(), 1)?;
        classes = scores.dim(1)?;
        let scores = scores.flatten_all()?.to_vec1::<f32>()?;
        sum.resize(first.points.len() * classes, 0.0);
        for (into, &voxel) in sum.chunks_exact_mut(classes).zip(&look.voxel_of_point) {
            let row = row_of_voxel[voxel as usize] as usize;
            into.iter_mut().zip(&scores[row * classes..][..classes]).for_each(|(s, p)| *s += p);
        }
    }
    let top = |p: &[f32]| (0..classes).fold(0, |best, c| if p[c] > p[best] { c } else { best }) as u16 + 1;
    Ok(sum.chunks_exact(classes.max(1)).map(top).collect())
}

fn sample(batch: &LabelledBatch, prediction: &[u16], viewpoint: Option<[f32; 3]>) -> SampleCloud {
    let kept = SampleCloud::thinned(batch.points.len());
    let byte = |c: [f32; 3]| c.map(|v| (255.0 * v.clamp(0.0, 1.0)).round() as u8);
    SampleCloud {
        points: kept.iter().map(|&i| batch.points[i]).collect(),
        colours: Some(kept.iter().map(|&i| byte(batch.colours[i])).collect()),
        label: Some(kept.iter().map(|&i| batch.class_of_point[i]).collect()),
        viewpoint,
        prediction: Some(kept.iter().map(|&i| prediction[i]).collect()),
        ..SampleCloud::default()
    }
}
