//! `cargo xtask teacher-tiny`: trains the teacher that is embedded in the program.

mod asset;
mod data;
mod net;
mod ops;
mod pictures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use ppkt_data::{ROOM_CLASSES, Split};
use ppkt_teacher::{Images, ResNet, Teacher, TeacherOptions};

use asset::Facts;
use data::{Frames, LABEL_STRIDE};
use net::{Features, Mode, Net};

/// Train the embedded teacher on labels of rendered rooms, and write its weights and README.
#[derive(Debug, clap::Args)]
pub(crate) struct TeacherTiny {
    /// Seed of rooms, initialisation and crops.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rooms to render, one frame of each; of these a part is held out.
    #[arg(long, default_value_t = 2150)]
    rooms: usize,
    /// Rooms among them to measure on.
    #[arg(long, default_value_t = 150)]
    held_out: usize,
    /// Steps of training.
    #[arg(long, default_value_t = 1300)]
    steps: u64,
    /// Crops in a step.
    #[arg(long, default_value_t = 12)]
    batch: usize,
    /// Highest learning rate.
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    /// Folder to write to.
    #[arg(long, default_value = "crates/ppkt-teacher/assets")]
    out: PathBuf,
    /// Also write a picture of the features of some held-out frames here.
    #[arg(long)]
    picture: Option<PathBuf>,
}

/// Weight decay of all parameters.
const WEIGHT_DECAY: f64 = 0.02;
/// Share of the steps in which the learning rate rises.
const WARM_UP: f64 = 0.06;
/// Weight of the loss at layer2 beside the one at layer3.
const LAYER2_WEIGHT: f64 = 0.5;

impl TeacherTiny {
    pub(crate) fn run(&self) -> Result<()> {
        let start = Instant::now();
        let holdout = self.held_out as f32 / self.rooms as f32;
        let frames = Frames::render(self.seed, self.rooms, Split::Train, holdout)?;
        let held_out = Frames::render(self.seed, self.rooms, Split::Validation, holdout)?;
        eprintln!("{} + {} frames in {:.0} s", frames.len(), held_out.len(), start.elapsed().as_secs_f64());

        let net = Net::new(self.seed, frames.n_classes)?;
        self.train(&net, &frames, &start)?;

        // What is measured is what is written: rounded to half precision.
        let exported = round(net.exported()?)?;
        net.import(&exported)?;
        let measured = measure(&net, &held_out)?;
        eprintln!("accuracy {:.4}, mean IoU {:.4}", measured.accuracy, measured.mean_iou);
        if let Some(path) = &self.picture {
            pictures::write(path, &net, &held_out, 8)?;
        }
        let path = self.write(
            &exported,
            measured,
            frames.len(),
            held_out.len(),
            start.elapsed().as_secs_f64() / 60.0,
        )?;
        let apart = apart_from_teacher(&path, &net, &held_out, 4)?;
        ensure!(
            apart < TOLERANCE,
            "the teacher that is read from {path:?} gives other features: {apart} relative"
        );
        Ok(())
    }

    fn train(&self, net: &Net, frames: &Frames, start: &Instant) -> Result<()> {
        let weights = class_weights(&frames.shares())?;
        let params = ParamsAdamW { lr: 0.0, weight_decay: WEIGHT_DECAY, ..ParamsAdamW::default() };
        // In the order of names, so that runs are alike.
        let mut optimiser = AdamW::new(net.params.values().cloned().collect(), params)?;
        let (mut sum, mut n) = (0.0, 0);
        for step in 0..self.steps {
            let (x, labels) = frames.crops(self.seed, step * self.batch as u64, self.batch)?;
            let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
            let labels = Tensor::new(labels, &Device::Cpu)?;
            let Features { layer2, layer3 } = net.features(&x, Mode::Train)?;
            let fine = cross_entropy(&net.scores(&layer2, "head2", 2)?, &labels, &weights)?;
            let coarse = cross_entropy(&net.scores(&layer3, "head3", 4)?, &labels, &weights)?;
            let loss = (&coarse + (fine * LAYER2_WEIGHT)?)?;
            optimiser.set_learning_rate(self.lr * schedule(step as f64 / self.steps as f64));
            optimiser.backward_step(&loss)?;
            sum += f64::from(coarse.to_scalar::<f32>()?);
            n += 1;
            if (step + 1) % 50 == 0 || step + 1 == self.steps {
                eprintln!(
                    "step {:5}  loss {:.4}  {:.0} s",
                    step + 1,
                    sum / f64::from(n),
                    start.elapsed().as_secs_f64()
                );
                (sum, n) = (0.0, 0);
            }
        }
        Ok(())
    }

    fn write(
        &self,
        tensors: &BTreeMap<String, Tensor>,
        measured: Measured,
        n_frames: usize,
        n_held_out: usize,
        minutes: f64,
    ) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot make {:?}", self.out))?;
        let path = self.out.join("tiny.safetensors");
        let metadata = [
            ("arch", "ppkt-tiny".to_owned()),
            ("layers", format!("{:?}", net::BLOCKS)),
            ("mean", format!("{:?}", [data::MEAN; 3])),
            ("std", format!("{:?}", [data::STD; 3])),
            ("stem_stride", "2".to_owned()),
            ("stem_pool", "true".to_owned()),
            ("seed", self.seed.to_string()),
            ("held_out_pixel_accuracy", format!("{:.4}", measured.accuracy)),
            ("held_out_mean_iou", format!("{:.4}", measured.mean_iou)),
        ];
        let metadata = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        asset::write(&path, tensors, &metadata)?;
        let names = ROOM_CLASSES[1..].iter().map(|(name, _)| (*name).to_owned());
        let facts = Facts {
            command: format!(
                "cargo xtask teacher-tiny --seed {} --rooms {} --held-out {} --steps {} --batch {} --lr {}",
                self.seed, self.rooms, self.held_out, self.steps, self.batch, self.lr
            ),
            seed: self.seed,
            n_frames,
            n_held_out,
            steps: self.steps,
            batch: self.batch,
            minutes,
            accuracy: measured.accuracy,
            mean_iou: measured.mean_iou,
            iou: names.zip(measured.iou).collect(),
            n_parameters: tensors
                .iter()
                .filter(|(name, _)| !name.contains("running"))
                .map(|(_, t)| t.elem_count())
                .sum(),
            bytes: std::fs::metadata(&path)?.len(),
        };
        let readme = self.out.join("README.md");
        std::fs::write(&readme, asset::readme(&facts)).with_context(|| format!("cannot write {readme:?}"))?;
        eprintln!("{} bytes, {:.1} minutes: {path:?}", facts.bytes, minutes);
        Ok(path)
    }
}

/// Linear rise, then half a cosine down to nothing.
fn schedule(done: f64) -> f64 {
    if done < WARM_UP {
        return (done + 1e-3) / (WARM_UP + 1e-3);
    }
    0.5 + 0.5 * (std::f64::consts::PI * (done - WARM_UP) / (1.0 - WARM_UP)).cos()
}

/// Rare classes count more, by the inverse square root of their share, within limits; one in the mean.
fn class_weights(shares: &[f32]) -> Result<Tensor> {
    let raw: Vec<f32> = shares.iter().map(|s| 1.0 / s.clamp(0.002, 0.2).sqrt()).collect();
    let mean: f32 = raw.iter().zip(shares).map(|(w, s)| w * s).sum();
    let weights: Vec<f32> = raw.iter().map(|w| w / mean).collect();
    Ok(Tensor::new(weights, &Device::Cpu)?)
}

/// Mean over the rows of the weighted negative log-probability of the label.
fn cross_entropy(scores: &Tensor, labels: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let log_p = candle_nn::ops::log_softmax(scores, D::Minus1)?;
    let own = log_p.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?;
    let w = weights.index_select(labels, 0)?;
    let total = w.sum_all()?.to_scalar::<f32>()?;
    Ok(((own * w)?.sum_all()? * (-1.0 / f64::from(total)))?)
}

fn round(tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let half = |t: Tensor| -> Result<Tensor> { Ok(t.to_dtype(DType::F16)?.to_dtype(DType::F32)?) };
    tensors.into_iter().map(|(name, t)| Ok((name, half(t)?))).collect()
}

/// The teacher folds batch norms into its convolutions and sums in another order.
const TOLERANCE: f32 = 1e-4;

/// Largest difference between this network's features and those of the teacher that is read from the file, over the
/// largest feature.
fn apart_from_teacher(path: &Path, net: &Net, frames: &Frames, n: usize) -> Result<f32> {
    let teacher = ResNet::open(path, &TeacherOptions::default())?;
    let (w, h) = data::FRAME;
    let mut worst = 0.0_f32;
    for i in 0..n.min(frames.len()) {
        let ours = net.features(&frames.whole(i)?.0, Mode::Eval)?.layer3.detach();
        let images = Images::new(1, h, w, frames.colour[i].clone())?;
        let theirs = teacher.features(&images)?.tokens;
        ensure!(ours.dims() == theirs.dims(), "features of shape {:?} and {:?}", ours.dims(), theirs.dims());
        let scale = ours.abs()?.max_all()?.to_scalar::<f32>()?;
        worst = worst.max((ours - theirs)?.abs()?.max_all()?.to_scalar::<f32>()? / scale);
    }
    Ok(worst)
}

struct Measured {
    accuracy: f64,
    mean_iou: f64,
    iou: Vec<Option<f64>>,
}

/// Accuracy and IoU of layer3's head over whole frames, at every label cell.
fn measure(net: &Net, frames: &Frames) -> Result<Measured> {
    let n = frames.n_classes;
    let mut table = vec![0_u64; n * n];
    let mut right = 0_u64;
    let mut total = 0_u64;
    for i in 0..frames.len() {
        let (x, labels) = frames.whole(i)?;
        let features = net.features(&x, Mode::Eval)?;
        let scores = net.scores(&features.layer3, "head3", 16 / LABEL_STRIDE)?.detach();
        let best = scores.argmax(D::Minus1)?.to_vec1::<u32>()?;
        for (best, label) in best.into_iter().zip(labels) {
            table[usize::from(label) * n + best as usize] += 1;
            right += u64::from(best == u32::from(label));
            total += 1;
        }
    }
    let iou: Vec<Option<f64>> = (0..n)
        .map(|c| {
            let truth: u64 = (0..n).map(|k| table[c * n + k]).sum();
            let said: u64 = (0..n).map(|k| table[k * n + c]).sum();
            let both = table[c * n + c];
            (truth > 0).then(|| both as f64 / (truth + said - both) as f64)
        })
        .collect();
    let known: Vec<f64> = iou.iter().flatten().copied().collect();
    let mean_iou = known.iter().sum::<f64>() / known.len().max(1) as f64;
    Ok(Measured { accuracy: right as f64 / total.max(1) as f64, mean_iou, iou })
}
