//! A whole pretraining step on an NVIDIA GPU, the teacher's features read from a cache, and what part of it the student
//! is.
//!
//! The last line is one JSON object, medians over the steps behind the first ones. `step_ms`: from one step of the driver
//! to the next, everything that it does included. `student_ms`: forward and backward of the student alone, on the same
//! batches, by the device's own events. `handed_over_ms`: what the driver needed to ask for forward, objective and
//! backward; where something waited for the device in between, it would be nearly as long as the step.
#![allow(clippy::unwrap_used, reason = "what fails here may panic")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use ppkt_data::{Batch, Dataset, Loader};
use ppkt_device::milliseconds;
use ppkt_sparse::{SparseTensor, VarStore};
use ppkt_student::{MinkUNet, MinkUNetConfig};
use ppkt_testkit::DeviceBench;
use ppkt_train::{Observer, PretrainConfig, Start, StepMetrics, pretrain, resolve};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Steps that do not count: the cache is filled in them, and kernels are loaded.
const FIRST: usize = 12;
const STEPS: usize = 36;

fn config(bench: &DeviceBench, precision: &str, cache: &Path) -> PretrainConfig {
    // A rehearsal has smaller pictures, and so fewer points.
    let (width, height) = if bench.size(1000) < 1000 { (80, 60) } else { (640, 480) };
    let settings = [
        ("precision", format!("\"{precision}\"")),
        ("steps", STEPS.to_string()),
        ("data.train", format!("\"synthetic:rooms?scenes=40&width={width}&height={height}\"")),
        ("data.workers", "6".into()),
        ("batch.frames_per_batch", "4".into()),
        ("batch.image_size", format!("[{width}, {height}]")),
        ("batch.plain_images", "true".into()),
        ("batch.voxel_size_m", if width == 640 { "0.01".into() } else { "0.1".into() }),
        ("teacher.uri", "\"builtin:tiny\"".into()),
        ("teacher.cache", format!("{:?}", cache.display().to_string())),
        ("student.arch", if width == 640 { "\"MinkUNet34C\"".into() } else { "\"MinkUNet14Tiny\"".into() }),
        ("validation.every", "100000".into()),
        ("validation.frames", "1".into()),
        ("validation.candidates", "64".into()),
        ("checkpoint.every", "100000".into()),
        ("pictures.frames", "0".into()),
    ];
    resolve("ppkt-rgbd", &settings.map(|(key, value)| (key.to_owned(), value))).unwrap()
}

/// When each step was done, and what the driver says of it.
#[derive(Default)]
struct Watch(Vec<(Instant, StepMetrics)>);

impl Observer for Watch {
    fn step(&mut self, metrics: &StepMetrics) {
        self.0.push((Instant::now(), metrics.clone()));
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Milliseconds of the student alone on the batches of the run.
fn student_ms(device: &Device, config: &PretrainConfig) -> f64 {
    let store = VarStore::new(config.seed);
    let student = MinkUNetConfig {
        arch: config.student.arch,
        in_channels: config.batch.channels(),
        out_channels: config.objective.dimensions,
        first_kernel: config.student.first_kernel,
        bn_momentum: config.student.bn_momentum,
    };
    let net = MinkUNet::new(&student, store.builder(device)).unwrap();
    let net = net.with_precision(config.precision).unwrap();
    let step = |x: &SparseTensor| -> Result<()> {
        let out = net.forward(x, true).map_err(candle_core::Error::wrap)?;
        out.features().to_dtype(DType::F32)?.sqr()?.mean_all()?.backward().map(drop)
    };
    let data: Arc<dyn Dataset> = Arc::from(config.open_training().unwrap());
    let loader = Loader::new(data, config.batch.clone(), config.seed).unwrap();
    let times = loader.stream(0, STEPS as u64, config.data.workers).map(|batch| {
        let Batch { coords, features, channels, frames, .. } = batch.unwrap();
        let features = Tensor::from_vec(features, (coords.len(), channels), &Device::Cpu).unwrap();
        let (x, _) = SparseTensor::with_batch_size(&coords, features, frames.len()).unwrap();
        let x = x.send(device).unwrap();
        milliseconds(device, || step(&x)).unwrap()
    });
    median(times.skip(FIRST))
}

fn measure(bench: &DeviceBench, precision: &str) -> std::result::Result<Value, ppkt_train::TrainError> {
    let dir = tempfile::tempdir().unwrap();
    let config = config(bench, precision, &dir.path().join("maps"));
    let mut watch = Watch::default();
    let (out, stop) = (dir.path().join("run"), AtomicBool::new(false));
    pretrain(&config, &out, Start::Fresh, bench.device(), &mut watch, &stop)?;
    let student = student_ms(bench.device(), &config);
    let steps = &watch.0[FIRST..];
    let step = median(steps.windows(2).map(|w| (w[1].0 - w[0].0).as_secs_f64() * 1e3));
    let of = |f: fn(&StepMetrics) -> f64| median(steps.iter().map(|(_, m)| f(m)));
    Ok(json!({
        "voxels": of(|m| m.voxels as f64), "pairs": of(|m| m.pairs as f64),
        "step_ms": step, "student_ms": student, "student_share": student / step,
        "handed_over_ms": of(|m| (m.seconds.student + m.seconds.objective + m.seconds.backward) * 1e3),
        "waited_for_data_ms": of(|m| (m.seconds.wait + m.seconds.teacher) * 1e3),
        "waited_for_device_ms": of(|m| m.seconds.optimizer * 1e3),
        "memory_mib": bench.peak_mib(),
    }))
}

fn main() {
    let bench = DeviceBench::open();
    let rows: Vec<Value> = ["bf16", "f32"]
        .into_iter()
        .map(|precision| {
            let mut row = measure(&bench, precision).unwrap_or_else(|e| json!({ "error": e.to_string() }));
            row["precision"] = precision.into();
            row
        })
        .collect();
    bench.print("pretraining, teacher cached", json!({ "rows": rows }));
}
