//! Optimisers that update parameters in place, in one pass over each.
//!
//! candle's own optimisers have neither momentum for SGD nor a state that can be saved, and a fresh tensor for every
//! intermediate value; these keep their state in plain buffers, name it, and hand it over for checkpoints.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};

/// Elements that one thread updates at a time.
const CHUNK: usize = 1 << 14;

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum, as in PyTorch.
    Sgd,
    /// AdamW (arXiv 1711.05101): weight decay apart from the gradient.
    Adamw,
}

/// The optimiser of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// sgd or adamw.
    pub kind: OptimizerKind,
    /// Peak learning rate; the schedule multiplies it.
    pub lr: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Share of each new gradient that SGD's momentum leaves out (SLidR and PointContrast use 0.1).
    pub dampening: f64,
    /// Nesterov momentum for SGD; needs dampening 0.
    pub nesterov: bool,
    /// Weight decay: added to the gradient by SGD, applied to the weight by AdamW. Applies to every parameter.
    pub weight_decay: f64,
    /// AdamW's decay rates of the two moments.
    pub betas: [f64; 2],
    /// AdamW's addend to the root of the second moment.
    pub eps: f64,
    /// Gradients are scaled down to this Euclidean norm over all parameters; 0 switches clipping off.
    pub clip_norm: f64,
    /// Batches whose gradients are averaged into one step.
    pub accumulate: u32,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Sgd,
            lr: 0.5,
            momentum: 0.9,
            dampening: 0.1,
            nesterov: false,
            weight_decay: 1e-4,
            betas: [0.9, 0.999],
            eps: 1e-8,
            clip_norm: 0.0,
            accumulate: 1,
        }
    }
}

impl OptimizerConfig {
    /// Explains what is wrong with these values, if anything.
    pub fn problem(&self) -> Option<String> {
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Some(format!("optimizer.lr is {}; it must be above 0", self.lr));
        }
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Some("optimizer.nesterov needs a momentum above 0 and a dampening of 0".into());
        }
        let shares = [self.momentum, self.dampening, self.betas[0], self.betas[1]];
        if shares.iter().any(|s| !(0.0..1.0).contains(s)) {
            return Some("optimizer.momentum, dampening and betas must lie from 0 to below 1".into());
        }
        if !(self.weight_decay >= 0.0 && self.eps > 0.0 && self.clip_norm >= 0.0) {
            return Some(
                "optimizer.weight_decay and clip_norm must not be negative, eps must be above 0".into(),
            );
        }
        if self.accumulate == 0 {
            return Some("optimizer.accumulate is 0; it must be at least 1".into());
        }
        None
    }
}

struct Parameter {
    name: String,
    var: Var,
    /// Multiplies the learning rate.
    factor: f64,
    /// Momentum (SGD), or first and second moment (AdamW).
    state: Vec<Mutex<Vec<f32>>>,
}

/// An optimiser over named parameters.
pub struct Optimizer {
    config: OptimizerConfig,
    parameters: Vec<Parameter>,
    /// Updates made so far.
    updates: u64,
}

impl Optimizer {
    /// An optimiser with empty state; parameters are kept in the order of their names.
    pub fn new(config: &OptimizerConfig, parameters: Vec<(String, Var)>) -> Self {
        Self::with_factors(config, parameters.into_iter().map(|(name, var)| (name, var, 1.0)).collect())
    }

    /// As [`Self::new`], with a factor on the learning rate of each parameter: another rate for a new head, say.
    pub fn with_factors(config: &OptimizerConfig, parameters: Vec<(String, Var, f64)>) -> Self {
        let buffers = match config.kind {
            OptimizerKind::Sgd => 1,
            OptimizerKind::Adamw => 2,
        };
        let sorted: BTreeMap<String, (Var, f64)> =
            parameters.into_iter().map(|(name, var, factor)| (name, (var, factor))).collect();
        let parameters = sorted
            .into_iter()
            .map(|(name, (var, factor))| {
                let state = (0..buffers).map(|_| Mutex::new(vec![0f32; var.elem_count()])).collect();
                Parameter { name, var, factor, state }
            })
            .collect();
        Self { config: config.clone(), parameters, updates: 0 }
    }

    /// Name of the parameter whose gradient is not finite; of several the one of the largest `rank`. Gradients run
    /// from the loss backwards, so with `rank` growing along the forward pass that is where the fault came up.
    pub fn faulty_gradient(&self, grads: &GradStore, rank: impl Fn(&str) -> usize) -> Result<Option<String>> {
        let mut faulty = Vec::new();
        for p in &self.parameters {
            let Some(grad) = grads.get(&p.var) else { continue };
            if !with_f32(grad, |g| within(g, f32::MAX))? {
                faulty.push(p.name.as_str());
            }
        }
        Ok(faulty.into_iter().max_by_key(|name| rank(name)).map(str::to_owned))
    }

    /// Euclidean norm of all gradients together, summed in a fixed order.
    pub fn gradient_norm(&self, grads: &GradStore) -> Result<f64> {
        let mut sum = 0f64;
        for p in &self.parameters {
            let Some(grad) = grads.get(&p.var) else { continue };
            sum += with_f32(grad, |g| {
                let parts: Vec<f64> =
                    g.par_chunks(CHUNK).map(|c| c.iter().map(|v| f64::from(*v).powi(2)).sum()).collect();
                parts.iter().sum::<f64>()
            })?;
        }
        Ok(sum.sqrt())
    }

    /// One update of every parameter that has a gradient, which is first multiplied by `gradient_scale`.
    pub fn step(&mut self, grads: &GradStore, lr: f64, gradient_scale: f64) -> Result<()> {
        self.updates += 1;
        for p in &self.parameters {
            let Some(grad) = grads.get(&p.var) else { continue };
            let update = Update {
                config: &self.config,
                state: &p.state,
                lr: lr * p.factor,
                gradient_scale,
                updates: self.updates,
            };
            p.var.inplace_op2(&grad.contiguous()?, &update)?;
        }
        Ok(())
    }

    /// One update by the sum of the gradients of `1 / share` batches, scaled down where their norm is above
    /// `clip_norm`. Gives the norm before that.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] if a gradient is not finite; it names the parameter as [`Self::faulty_gradient`] does.
    pub fn clipped_step(
        &mut self,
        grads: &GradStore,
        step: u64,
        lr: f64,
        share: f64,
        rank: impl Fn(&str) -> usize,
    ) -> Result<f64> {
        let norm = self.gradient_norm(grads)? * share;
        if !norm.is_finite() {
            let layer = self.faulty_gradient(grads, rank)?;
            let layer = layer.unwrap_or_else(|| "the norm over all parameters".into());
            return Err(TrainError::NotFinite { step, what: "gradient", layer });
        }
        let clip = self.config.clip_norm;
        let clipped = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        self.step(grads, lr, share * clipped)?;
        Ok(norm)
    }

    /// The state as tensors, by parameter name and buffer.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut map = HashMap::new();
        for p in &self.parameters {
            for (state, buffer) in p.state.iter().zip(self.buffer_names()) {
                let values = lock(state).clone();
                map.insert(
                    format!("{}.{buffer}", p.name),
                    Tensor::from_vec(values, p.var.shape(), &Device::Cpu)?,
                );
            }
        }
        Ok(map)
    }

    /// Number of updates made so far, part of the state.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Takes over a state that [`Self::state`] gave.
    ///
    /// # Errors
    /// If a buffer is missing or has another shape.
    pub fn load_state(&mut self, state: &HashMap<String, Tensor>, updates: u64) -> Result<()> {
        let names = self.buffer_names();
        for p in &self.parameters {
            for (buffer, name) in p.state.iter().zip(names) {
                let key = format!("{}.{name}", p.name);
                let tensor = state
                    .get(&key)
                    .ok_or_else(|| TrainError::State(format!("the optimiser's state has no {key:?}")))?;
                if tensor.shape() != p.var.shape() {
                    return Err(TrainError::State(format!(
                        "the optimiser's {key:?} has shape {:?}, expected {:?}",
                        tensor.dims(),
                        p.var.dims()
                    )));
                }
                *lock(buffer) = tensor.flatten_all()?.to_vec1::<f32>()?;
            }
        }
        self.updates = updates;
        Ok(())
    }

    fn buffer_names(&self) -> &'static [&'static str] {
        match self.config.kind {
            OptimizerKind::Sgd => &["momentum"],
            OptimizerKind::Adamw => &["moment1", "moment2"],
        }
    }
}

fn lock(state: &Mutex<Vec<f32>>) -> std::sync::MutexGuard<'_, Vec<f32>> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether no value is NaN or of a magnitude above `limit`.
pub(crate) fn within(values: &[f32], limit: f32) -> bool {
    values.par_chunks(CHUNK).all(|chunk| chunk.iter().all(|v| v.abs() <= limit))
}

/// Reads a tensor as one f32 slice, without a copy where it lies on the CPU.
pub(crate) fn with_f32<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (candle_core::Storage::Cpu(CpuStorage::F32(values)), Some((a, b))) => Ok(read(&values[a..b])),
        _ => {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok(read(&values))
        }
    }
}

/// The update of one parameter: parameter and state are read and written once.
struct Update<'a> {
    config: &'a OptimizerConfig,
    state: &'a [Mutex<Vec<f32>>],
    lr: f64,
    gradient_scale: f64,
    updates: u64,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "optimizer-step"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        l1: &Layout,
        gradient: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(parameter), CpuStorage::F32(gradient)) = (parameter, gradient) else {
            candle_core::bail!("optimizer-step: parameters and gradients must be f32");
        };
        let (Some((p0, p1)), Some((g0, g1))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            candle_core::bail!("optimizer-step: parameters and gradients must be contiguous");
        };
        let (p, g) = (&mut parameter[p0..p1], &gradient[g0..g1]);
        match (self.config.kind, self.state) {
            (OptimizerKind::Sgd, [momentum]) => self.sgd(p, g, &mut lock(momentum)),
            (OptimizerKind::Adamw, [m1, m2]) => self.adamw(p, g, &mut lock(m1), &mut lock(m2)),
            _ => candle_core::bail!("optimizer-step: wrong number of state buffers"),
        }
        Ok(())
    }
}

impl Update<'_> {
    /// `g = s·g + wd·p;  v = μ·v + (1 − damp)·g (v = g at first);  p −= lr·(g + μ·v if Nesterov, else v)`,
    /// as `torch.optim.SGD`.
    fn sgd(&self, p: &mut [f32], g: &[f32], v: &mut [f32]) {
        let c = self.config;
        let (lr, wd, mu) = (self.lr as f32, c.weight_decay as f32, c.momentum as f32);
        let scale = self.gradient_scale as f32;
        let keep = if self.updates == 1 || c.momentum == 0.0 { 1.0 } else { (1.0 - c.dampening) as f32 };
        let nesterov = c.nesterov;
        p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(v.par_chunks_mut(CHUNK)).for_each(
            |((p, g), v)| {
                for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
                    let g = scale * g + wd * *p;
                    *v = mu * *v + keep * g;
                    *p -= lr * if nesterov { g + mu * *v } else { *v };
                }
            },
        );
    }

    /// `p −= lr·wd·p;  m₁, m₂ = moving means of g, g²;  p −= lr·m̂₁ / (√m̂₂ + ε)`, as `torch.optim.AdamW`.
    fn adamw(&self, p: &mut [f32], g: &[f32], m1: &mut [f32], m2: &mut [f32]) {
        let c = self.config;
        let [b1, b2] = c.betas;
        let t = self.updates.min(i32::MAX as u64) as i32;
        let step_size = (self.lr / (1.0 - b1.powi(t))) as f32;
        let root2 = (1.0 - b2.powi(t)).sqrt() as f32;
        let decay = (1.0 - self.lr * c.weight_decay) as f32;
        let (b1, b2, eps, scale) = (b1 as f32, b2 as f32, c.eps as f32, self.gradient_scale as f32);
        p.par_chunks_mut(CHUNK)
            .zip(g.par_chunks(CHUNK))
            .zip(m1.par_chunks_mut(CHUNK))
            .zip(m2.par_chunks_mut(CHUNK))
            .for_each(|(((p, g), m1), m2)| {
                for (((p, g), m1), m2) in p.iter_mut().zip(g).zip(m1).zip(m2) {
                    let g = scale * g;
                    *m1 = b1 * *m1 + (1.0 - b1) * g;
                    *m2 = b2 * *m2 + (1.0 - b2) * g * g;
                    *p = decay * *p - step_size * *m1 / (m2.sqrt() / root2 + eps);
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loss ½·Σ aᵢ·pᵢ², so the gradient is a·p; the same recurrences in f64 are the reference.
    fn run(config: &OptimizerConfig, steps: usize) -> (Vec<f32>, Vec<f64>) {
        let a = [1.0f64, 0.3, 2.0, 0.01];
        let start = [1.0f64, -2.0, 0.5, 3.0];
        let var = Var::from_vec(start.map(|v| v as f32).to_vec(), 4, &Device::Cpu).unwrap();
        let weights = Tensor::from_vec(a.map(|v| v as f32).to_vec(), 4, &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(config, vec![("p".into(), var.clone())]);
        let (mut p, mut v, mut m1, mut m2) = (start, [0f64; 4], [0f64; 4], [0f64; 4]);
        for step in 1..=steps {
            let loss =
                ((var.as_tensor().sqr().unwrap() * &weights).unwrap().sum_all().unwrap() * 0.5).unwrap();
            optimizer.step(&loss.backward().unwrap(), config.lr, 1.0).unwrap();
            for i in 0..4 {
                let mut g = a[i] * p[i];
                match config.kind {
                    OptimizerKind::Sgd => {
                        g += config.weight_decay * p[i];
                        v[i] =
                            if step == 1 { g } else { config.momentum * v[i] + (1.0 - config.dampening) * g };
                        p[i] -= config.lr * if config.nesterov { g + config.momentum * v[i] } else { v[i] };
                    }
                    OptimizerKind::Adamw => {
                        let [b1, b2] = config.betas;
                        p[i] -= config.lr * config.weight_decay * p[i];
                        m1[i] = b1 * m1[i] + (1.0 - b1) * g;
                        m2[i] = b2 * m2[i] + (1.0 - b2) * g * g;
                        let (h1, h2) =
                            (m1[i] / (1.0 - b1.powi(step as i32)), m2[i] / (1.0 - b2.powi(step as i32)));
                        p[i] -= config.lr * h1 / (h2.sqrt() + config.eps);
                    }
                }
            }
        }
        (var.to_vec1().unwrap(), p.to_vec())
    }

    #[test]
    fn sgd_follows_its_recurrence() {
        for (momentum, dampening, nesterov) in
            [(0.0, 0.0, false), (0.9, 0.0, false), (0.9, 0.1, false), (0.9, 0.0, true)]
        {
            let config = OptimizerConfig { lr: 0.05, momentum, dampening, nesterov, ..Default::default() };
            let (got, want) = run(&config, 20);
            ppkt_testkit::assert_close("p", &got, &want, 1e-5);
        }
    }

    #[test]
    fn adamw_follows_its_recurrence() {
        let config =
            OptimizerConfig { kind: OptimizerKind::Adamw, lr: 0.01, weight_decay: 0.1, ..Default::default() };
        let (got, want) = run(&config, 20);
        ppkt_testkit::assert_close("p", &got, &want, 1e-5);
    }

    #[test]
    fn state_that_is_saved_and_loaded_continues_bit_for_bit() {
        for kind in [OptimizerKind::Sgd, OptimizerKind::Adamw] {
            let config = OptimizerConfig { kind, lr: 0.05, ..Default::default() };
            let step = |o: &mut Optimizer, var: &Var| {
                let loss = var.as_tensor().sqr().unwrap().sum_all().unwrap();
                o.step(&loss.backward().unwrap(), 0.05, 1.0).unwrap();
            };
            let var = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu).unwrap();
            let mut first = Optimizer::new(&config, vec![("p".into(), var.clone())]);
            step(&mut first, &var);
            let copy = Var::from_tensor(&var.as_tensor().copy().unwrap()).unwrap();
            let mut second = Optimizer::new(&config, vec![("p".into(), copy.clone())]);
            second.load_state(&first.state().unwrap(), first.updates()).unwrap();
            step(&mut first, &var);
            step(&mut second, &copy);
            assert_eq!(var.to_vec1::<f32>().unwrap(), copy.to_vec1::<f32>().unwrap());
        }
    }

    #[test]
    fn a_missing_or_misshapen_state_is_refused() {
        let var = Var::from_vec(vec![1f32, 2.0], 2, &Device::Cpu).unwrap();
        let mut o = Optimizer::new(&OptimizerConfig::default(), vec![("p".into(), var)]);
        assert!(o.load_state(&HashMap::new(), 1).is_err());
        let wrong = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(o.load_state(&HashMap::from([("p.momentum".to_owned(), wrong)]), 1).is_err());
    }

    #[test]
    fn norms_and_faults_of_gradients_are_seen() {
        let a = Var::from_vec(vec![3f32], 1, &Device::Cpu).unwrap();
        let b = Var::from_vec(vec![4f32], 1, &Device::Cpu).unwrap();
        let o = Optimizer::new(
            &OptimizerConfig::default(),
            vec![("a".into(), a.clone()), ("b".into(), b.clone())],
        );
        let half = |v: &Var| (v.as_tensor().sqr().unwrap() * 0.5).unwrap();
        let grads = (half(&a) + half(&b)).unwrap().sum_all().unwrap().backward().unwrap();
        assert!((o.gradient_norm(&grads).unwrap() - 5.0).abs() < 1e-9);
        assert_eq!(o.faulty_gradient(&grads, |_| 0).unwrap(), None);
        let both = (a.as_tensor() * f64::NAN).unwrap().add(&(b.as_tensor() * f64::NAN).unwrap()).unwrap();
        let grads = both.sum_all().unwrap().backward().unwrap();
        assert_eq!(o.faulty_gradient(&grads, |name| usize::from(name == "a")).unwrap().as_deref(), Some("a"));
        let grads = (b.as_tensor() * f64::NAN).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(o.faulty_gradient(&grads, |_| 0).unwrap().as_deref(), Some("b"));
    }
}
