//! Optimisers that update parameters in place, in one pass over each, on the device where these are.
//!
//! candle's own optimisers have neither momentum for SGD nor a state that can be saved, and a fresh tensor for every
//! intermediate value; these keep their state in plain buffers, name it, and hand it over for checkpoints.
//!
//! On a GPU a step is put into the stream and nothing waits for it: the norm of the gradients, clipping by it and the
//! decision to leave parameters alone where it is not finite are all made there, and the figures are read when the
//! driver wants them ([`StepReport`]).

mod config;
mod moment;
pub(crate) mod numbers;
mod report;
mod update;

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, Tensor, Var};
use rayon::prelude::*;

use crate::error::{Result, TrainError};
use moment::Moment;
use update::{Scale, Update};

pub use config::{OptimizerConfig, OptimizerKind};
#[cfg(any(feature = "cuda", feature = "metal", test))]
pub(crate) use numbers::{AdamwNumbers, SgdNumbers};
pub use report::StepReport;

/// Elements that one thread updates at a time.
const CHUNK: usize = 1 << 14;

struct Parameter {
    name: String,
    var: Var,
    /// Multiplies the learning rate.
    factor: f64,
    /// Momentum (SGD), or first and second moment (AdamW).
    state: Vec<Mutex<Moment>>,
}

/// An optimiser over named parameters.
pub struct Optimizer {
    config: OptimizerConfig,
    parameters: Vec<Parameter>,
    /// Where the parameters are.
    device: Device,
    /// Updates made so far.
    updates: u64,
}

impl Optimizer {
    /// An optimiser with empty state; parameters are kept in the order of their names.
    ///
    /// # Errors
    /// As [`Self::with_factors`].
    pub fn new(config: &OptimizerConfig, parameters: Vec<(String, Var)>) -> Result<Self> {
        Self::with_factors(config, parameters.into_iter().map(|(name, var)| (name, var, 1.0)).collect())
    }

    /// As [`Self::new`], with a factor on the learning rate of each parameter: another rate for a new head, say.
    ///
    /// # Errors
    /// If the parameters are on several devices, or their device has no room for the state or no kernel for the update.
    pub fn with_factors(config: &OptimizerConfig, parameters: Vec<(String, Var, f64)>) -> Result<Self> {
        let buffers = match config.kind {
            OptimizerKind::Sgd => 1,
            OptimizerKind::Adamw => 2,
        };
        let device = parameters.first().map_or(Device::Cpu, |(_, var, _)| var.device().clone());
        let sorted: BTreeMap<String, (Var, f64)> =
            parameters.into_iter().map(|(name, var, factor)| (name, (var, factor))).collect();
        let mut parameters = Vec::with_capacity(sorted.len());
        for (name, (var, factor)) in sorted {
            if !var.device().same_device(&device) {
                let fault =
                    format!("optimizer-step: the parameter {name} is on another device than the first one");
                return Err(candle_core::Error::Msg(fault).bt().into());
            }
            let moment = |_| Moment::zeros(var.elem_count(), &device).map(Mutex::new);
            let state = (0..buffers).map(moment).collect::<Result<_>>()?;
            parameters.push(Parameter { name, var, factor, state });
        }
        Ok(Self { config: config.clone(), parameters, device, updates: 0 })
    }

    /// Name of the parameter whose gradient is not finite; of several the one of the largest `rank`. Gradients run
    /// from the loss backwards, so with `rank` growing along the forward pass that is where the fault came up.
    ///
    /// Reads all gradients, and so waits for their device.
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

    /// Euclidean norm of all gradients together, summed in a fixed order. Waits for their device.
    pub fn gradient_norm(&self, grads: &GradStore) -> Result<f64> {
        if !self.device.is_cpu() {
            return self.report(grads, 1.0)?.norm();
        }
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
        match self.device {
            Device::Cpu => self.update(grads, lr, Scale::Known(gradient_scale)),
            _ => {
                let report = StepReport::scaling(gradient_scale, &self.device)?;
                self.update(grads, lr, Scale::Reported(&report))
            }
        }
    }

    /// One update by the sum of the gradients of `1 / share` batches, scaled down where their norm is above
    /// `clip_norm`. Where that norm is not finite nothing is updated. On a GPU nothing waits.
    pub fn clipped_step(&mut self, grads: &GradStore, lr: f64, share: f64) -> Result<StepReport> {
        let report = self.report(grads, share)?;
        match report.known() {
            None => self.update(grads, lr, Scale::Reported(&report))?,
            Some(norm) if norm.is_finite() => {
                let clip = self.config.clip_norm;
                let clipped = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
                self.update(grads, lr, Scale::Known(share * clipped))?;
            }
            Some(_) => {}
        }
        Ok(report)
    }

    /// The norm that a step was clipped by, once the device has made it.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] if a gradient was not finite; it names the parameter as [`Self::faulty_gradient`] does.
    pub fn checked_norm(
        &self,
        report: &StepReport,
        grads: &GradStore,
        step: u64,
        rank: impl Fn(&str) -> usize,
    ) -> Result<f64> {
        let norm = report.norm()?;
        if norm.is_finite() {
            return Ok(norm);
        }
        let layer = self.faulty_gradient(grads, rank)?;
        let layer = layer.unwrap_or_else(|| "the norm over all parameters".into());
        Err(TrainError::NotFinite { step, what: "gradient", layer })
    }

    /// The norm of the gradients times `share`; on a GPU also what each is to be multiplied by.
    fn report(&self, grads: &GradStore, share: f64) -> Result<StepReport> {
        match &self.device {
            Device::Cpu => Ok(StepReport::of(self.gradient_norm(grads)? * share)),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                let given = self.parameters.iter().filter_map(|p| grads.get(&p.var));
                let report = crate::cuda::report_of(device, given, share, self.config.clip_norm)?;
                Ok(StepReport::on_device(report))
            }
            #[cfg(feature = "metal")]
            Device::Metal(device) => {
                let given = self.parameters.iter().filter_map(|p| grads.get(&p.var));
                let report = crate::metal::report_of(device, given, share, self.config.clip_norm)?;
                Ok(StepReport::on_device(report))
            }
            #[cfg_attr(
                all(feature = "cuda", feature = "metal"),
                expect(unreachable_patterns, reason = "all are named")
            )]
            device => Err(no_kernel(device)),
        }
    }

    fn update(&mut self, grads: &GradStore, lr: f64, scale: Scale<'_>) -> Result<()> {
        self.updates += 1;
        for p in &self.parameters {
            let Some(grad) = grads.get(&p.var) else { continue };
            let update = Update {
                config: &self.config,
                state: &p.state,
                lr: lr * p.factor,
                scale,
                updates: self.updates,
            };
            p.var.inplace_op2(&grad.contiguous()?, &update)?;
        }
        Ok(())
    }

    /// The state as tensors on the CPU, by parameter name and buffer. Waits for the device.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut map = HashMap::new();
        for p in &self.parameters {
            for (state, buffer) in p.state.iter().zip(self.buffer_names()) {
                let values = lock(state).values()?;
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

    /// Takes over a state that [`Self::state`] gave, from whatever device.
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
                *lock(buffer) = Moment::of(tensor.flatten_all()?.to_vec1::<f32>()?, &self.device)?;
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

/// That there is no update on a device.
fn no_kernel(device: &Device) -> TrainError {
    candle_core::Error::Msg(format!("optimizer-step: no kernel for {:?}", device.location())).bt().into()
}

fn lock<T>(state: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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

#[cfg(test)]
mod tests;
