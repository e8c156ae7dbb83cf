//! Section `profile`: where the time of a whole training step goes.
//!
//! Each operation of the step is run by itself on the step's own voxels and maps, equal ones once, and weighed with how
//! often it occurs; the step is then run whole. What the sum does not explain is the price of candle's graph, of fresh
//! memory, and of caches that hold another operation's data.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use ppkt_sparse::{BatchNorm, CoordinateManager, Pointwise, SparseTensor, VarStore, conv, conv_transpose};
use serde::{Deserialize, Serialize};

use super::case::Work;
use super::clock::{self, Effort};
use super::input::{Inputs, Noise};
use super::net::{CLASSES, CONFIG, Training};
use super::network::{After, Kind, Layer, coarsen, layers};

/// Bytes of an f32.
const F32: f64 = 4.0;

/// An operation of the step, with all its occurrences in one stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    /// Part of the network.
    pub(super) stage: String,
    /// What is done.
    pub(super) operation: String,
    /// Seconds of all occurrences.
    pub(super) seconds: f64,
    /// Work of all occurrences.
    pub(super) work: Work,
}

/// The step and its operations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Profile {
    /// What it was measured on.
    pub(super) input: String,
    /// Threads that computed.
    pub(super) threads: usize,
    /// Seconds of the whole step.
    pub(super) whole: f64,
    /// Its operations, in the order of the forward pass.
    pub(super) rows: Vec<Row>,
}

/// Measures a training step of about so many voxels.
pub(super) fn measure(inputs: &Inputs, voxels: usize) -> Result<Profile> {
    let set = inputs.voxels(voxels)?;
    let mut training = Training::new(set.coords)?;
    let samples = clock::sample(Effort::new(false), || training.step())?;
    let whole = clock::quiet_median(&samples);
    let mut rows = vec![maps(&training)?];
    let input = training.input()?;
    let manager = input.manager();
    coarsen(manager)?;
    let mut replay = Replay { manager, known: BTreeMap::new() };
    for layer in layers(&CONFIG) {
        for (operation, once) in replay.layer(&layer)? {
            let known = rows.iter_mut().find(|r| r.stage == layer.stage && r.operation == operation);
            match known {
                Some(row) => (row.seconds, row.work) = (row.seconds + once.0, row.work + once.1),
                None => {
                    rows.push(Row { stage: layer.stage.clone(), operation, seconds: once.0, work: once.1 })
                }
            }
        }
    }
    rows.push(loss(&training, input.len())?);
    let parameters = training.parameters() as f64;
    let update = training.optimizer()?;
    // Weight, gradient and momentum are read, weight and momentum written.
    rows.push(Row {
        stage: "SGD".into(),
        operation: "SGD".into(),
        seconds: time(update)?,
        work: Work::new(0.0, 5.0 * F32 * parameters),
    });
    Ok(Profile { input: set.name, threads: rayon::current_num_threads(), whole, rows })
}

fn time<T>(call: impl FnMut() -> Result<T>) -> Result<f64> {
    Ok(clock::quiet_median(&clock::sample(Effort::BRIEF, call)?))
}

/// Sorting and all kernel maps, those of the backward pass included.
fn maps(training: &Training) -> Result<Row> {
    let needed: std::collections::BTreeSet<_> =
        layers(&CONFIG).iter().filter(|l| l.kind != Kind::Pointwise).map(|l| (l.stride, l.spec())).collect();
    let all = || -> Result<(usize, usize)> {
        let input = training.input()?;
        coarsen(input.manager())?;
        let mut pairs = 0;
        for &(stride, spec) in &needed {
            pairs += input.manager().kernel_map(stride, spec)?.n_pairs();
        }
        Ok((input.len(), pairs))
    };
    let (voxels, pairs) = all()?;
    let work = Work::new(0.0, voxels as f64 * 44.0 + pairs as f64 * 5.0);
    let name = "sort and kernel maps".to_owned();
    Ok(Row { stage: name.clone(), operation: name, seconds: time(all)?, work })
}

/// The loss and the gradient of the scores.
fn loss(training: &Training, voxels: usize) -> Result<Row> {
    let scores = Var::from_vec(Noise::new(8).take(voxels * CLASSES), (voxels, CLASSES), &Device::Cpu)?;
    let seconds = time(|| Ok(training.loss(scores.as_tensor())?.backward()?))?;
    // Scores are read twice, their gradient written.
    let work = Work::new(0.0, 3.0 * F32 * (voxels * CLASSES) as f64);
    Ok(Row { stage: "cross-entropy".into(), operation: "cross-entropy".into(), seconds, work })
}

/// Seconds and work of an operation, once.
type Once = (f64, Work);

/// Runs each kind of operation once, however often the network has it.
struct Replay<'a> {
    manager: &'a Arc<CoordinateManager>,
    known: BTreeMap<Layer, Vec<(String, Once)>>,
}

impl Replay<'_> {
    /// The operations of a convolution and of what follows it.
    fn layer(&mut self, layer: &Layer) -> Result<Vec<(String, Once)>> {
        let key = Layer { stage: String::new(), ..layer.clone() };
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let mut all = self.convolution(layer)?;
        all.extend(self.norm(layer)?);
        self.known.insert(key, all.clone());
        Ok(all)
    }

    fn convolution(&self, layer: &Layer) -> Result<Vec<(String, Once)>> {
        let work = layer.work(self.manager)?;
        let (rows, stride) = (layer.rows(self.manager)?.0, self.source_stride(layer));
        let apply = |features: &Tensor, weight: &Tensor| -> Result<Tensor> {
            let x = SparseTensor::on(self.manager, stride, features.clone())?;
            let y = match layer.kind {
                Kind::Transposed => conv_transpose(&x, weight, layer.spec())?,
                Kind::Strided | Kind::SubManifold => conv(&x, weight, layer.spec())?,
                Kind::Pointwise => pointwise(&x, weight)?,
            };
            Ok(y.features().clone())
        };
        let mut noise = Noise::new(9);
        let features = Var::from_vec(noise.take(rows * layer.cin), (rows, layer.cin), &Device::Cpu)?;
        let volume = layer.spec().volume();
        let shape: &[usize] = if layer.kind == Kind::Pointwise {
            &[layer.cin, layer.cout]
        } else {
            &[volume, layer.cin, layer.cout]
        };
        let weight = Var::from_vec(noise.take(volume * layer.cin * layer.cout), shape, &Device::Cpu)?;
        let (x, w) = (features.as_detached_tensor(), weight.as_detached_tensor());
        let what = match layer.kind {
            Kind::SubManifold => "convolution",
            Kind::Strided => "strided convolution",
            Kind::Transposed => "transposed convolution",
            Kind::Pointwise => "linear",
        };
        let forward = time(|| apply(&x, &w))?;
        let mut all = vec![(format!("{what}, forward"), (forward, work))];
        if !layer.first {
            all.push((format!("{what}, gradient of features"), (backward(&apply(&features, &w)?)?, work)));
        }
        all.push((format!("{what}, gradient of weights"), (backward(&apply(&x, &weight)?)?, work)));
        Ok(all)
    }

    fn norm(&self, layer: &Layer) -> Result<Vec<(String, Once)>> {
        let n = layer.rows(self.manager)?.1;
        let stride = if layer.kind == Kind::Strided { 2 * layer.stride } else { layer.stride };
        let mut noise = Noise::new(10);
        let mut leaf = || -> Result<SparseTensor> {
            let var = Var::from_vec(noise.take(n * layer.cout), (n, layer.cout), &Device::Cpu)?;
            Ok(SparseTensor::on(self.manager, stride, var.as_tensor().clone())?)
        };
        let x = leaf()?;
        let norm = BatchNorm::new(layer.cout, 0.1, VarStore::new(0).builder(&Device::Cpu))?;
        // Arrays read and written forward and backward: batches are read for their sums and again for the result.
        let (what, arrays, apply): (_, _, Box<dyn Fn() -> Result<SparseTensor>>) = match layer.after {
            After::Nothing => return Ok(Vec::new()),
            After::Norm => ("norm", [3.0, 5.0], Box::new(|| Ok(norm.forward(&x, true)?))),
            After::NormRelu => ("norm, ReLU", [3.0, 5.0], Box::new(|| Ok(norm.forward_relu(&x, true)?))),
            After::NormAddRelu => {
                let residual = x.with_features(leaf()?.features().clone())?;
                let (norm, x) = (&norm, &x);
                let apply = move || Ok(norm.forward_add_relu(x, &residual, true)?);
                ("norm, add, ReLU", [4.0, 6.0], Box::new(apply))
            }
        };
        let array = F32 * (n * layer.cout) as f64;
        let forward = (time(&apply)?, Work::new(0.0, arrays[0] * array));
        let back = (backward(apply()?.features())?, Work::new(0.0, arrays[1] * array));
        Ok(vec![(format!("{what}, forward"), forward), (format!("{what}, backward"), back)])
    }

    fn source_stride(&self, layer: &Layer) -> u32 {
        if layer.kind == Kind::Transposed { 2 * layer.stride } else { layer.stride }
    }
}

/// A product with one matrix a row, as the network's own layer makes it.
fn pointwise(x: &SparseTensor, weight: &Tensor) -> Result<SparseTensor> {
    let named = [("kernel".to_owned(), weight.clone())].into_iter().collect();
    let builder = candle_nn::VarBuilder::from_tensors(named, weight.dtype(), &Device::Cpu);
    let (cin, cout) = weight.dims2()?;
    let layer = Pointwise::without_bias(cin, cout, ppkt_sparse::ConvInit::default(), builder)?;
    Ok(layer.forward(x)?)
}

/// Seconds of the backward pass alone, without the gradient of ones that it begins with.
fn backward(result: &Tensor) -> Result<f64> {
    let both = time(|| Ok(result.backward()?))?;
    Ok((both - time(|| Ok(result.ones_like()?))?).max(0.0))
}
