//! The update of one parameter, on the device where it is.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp2, Layout};
use rayon::prelude::*;

use super::config::{OptimizerConfig, OptimizerKind};
use super::moment::Moment;
use super::numbers::{self, AdamwNumbers, SgdNumbers};
use super::report::StepReport;
use super::{CHUNK, lock};

/// What gradients are multiplied by first.
#[derive(Clone, Copy)]
pub(super) enum Scale<'a> {
    Known(f64),
    /// A GPU works it out.
    #[cfg_attr(not(any(feature = "cuda", feature = "metal")), expect(dead_code, reason = "reports of GPUs"))]
    Reported(&'a StepReport),
}

/// The update of one parameter: parameter and state are read and written once.
pub(super) struct Update<'a> {
    pub(super) config: &'a OptimizerConfig,
    pub(super) state: &'a [Mutex<Moment>],
    pub(super) lr: f64,
    pub(super) scale: Scale<'a>,
    pub(super) updates: u64,
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
        let Scale::Known(scale) = self.scale else {
            candle_core::bail!("optimizer-step: a report of a GPU for a parameter on the CPU");
        };
        let (p, g) = (&mut parameter[p0..p1], &gradient[g0..g1]);
        let mut state: Vec<_> = self.state.iter().map(lock).collect();
        let mut on_cpu = Vec::with_capacity(2);
        for moment in &mut state {
            match &mut **moment {
                Moment::Cpu(values) => on_cpu.push(values.as_mut_slice()),
                #[cfg(feature = "cuda")]
                Moment::Cuda(..) => candle_core::bail!("optimizer-step: the state is on another device"),
                #[cfg(feature = "metal")]
                Moment::Metal(..) => candle_core::bail!("optimizer-step: the state is on another device"),
            }
        }
        match (self.config.kind, on_cpu.as_mut_slice()) {
            (OptimizerKind::Sgd, [momentum]) => self.sgd(scale, p, g, momentum),
            (OptimizerKind::Adamw, [m1, m2]) => self.adamw(scale, p, g, m1, m2),
            _ => candle_core::bail!("optimizer-step: wrong number of state buffers"),
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        parameter: &mut candle_core::CudaStorage,
        l1: &Layout,
        gradient: &candle_core::CudaStorage,
        l2: &Layout,
    ) -> candle_core::Result<()> {
        let Scale::Reported(report) = self.scale else {
            candle_core::bail!("optimizer-step: the scale has to be on the GPU");
        };
        let Some(report) = report.tensor() else {
            candle_core::bail!("optimizer-step: a report of the CPU for a parameter on a GPU");
        };
        use ppkt_device::cuda::{view, view_mut, with_storages};
        let gpu = &gradient.device;
        let gradient = view(self.name(), (gradient, l2))?;
        let parameter = view_mut(self.name(), (parameter, l1))?;
        if parameter.len() != gradient.len() {
            candle_core::bail!("optimizer-step: a gradient of another size than its parameter");
        }
        let mut state: Vec<_> = self.state.iter().map(lock).collect();
        let mut moments = Vec::with_capacity(2);
        for moment in &mut state {
            match &mut **moment {
                Moment::Cuda(values, _) => moments.push(values),
                _ => candle_core::bail!("optimizer-step: the state is on another device"),
            }
        }
        with_storages(self.name(), [report], |[report]| {
            // Nothing else reads the report before the step is done.
            let report = view(self.name(), report)?.written();
            match (self.config.kind, moments.as_mut_slice()) {
                (OptimizerKind::Sgd, [momentum]) => {
                    let numbers = numbers::sgd(self.config, self.lr, self.updates);
                    crate::cuda::sgd_step(gpu, parameter, gradient, momentum, report, &numbers)
                }
                (OptimizerKind::Adamw, [m1, m2]) => {
                    let numbers = numbers::adamw(self.config, self.lr, self.updates);
                    crate::cuda::adamw_step(gpu, parameter, gradient, [m1, m2], report, &numbers)
                }
                _ => candle_core::bail!("optimizer-step: wrong number of state buffers"),
            }
        })
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        parameter: &mut candle_core::MetalStorage,
        l1: &Layout,
        gradient: &candle_core::MetalStorage,
        l2: &Layout,
    ) -> candle_core::Result<()> {
        let Scale::Reported(report) = self.scale else {
            candle_core::bail!("optimizer-step: the scale has to be on the GPU");
        };
        let Some(report) = report.tensor() else {
            candle_core::bail!("optimizer-step: a report of the CPU for a parameter on a GPU");
        };
        let n = l2.shape().elem_count();
        if n != l1.shape().elem_count() {
            candle_core::bail!("optimizer-step: a gradient of another size than its parameter");
        }
        let state: Vec<_> = self.state.iter().map(lock).collect();
        let mut moments = Vec::with_capacity(2);
        for moment in &state {
            match &**moment {
                Moment::Metal(values, _) => moments.push(values),
                _ => candle_core::bail!("optimizer-step: the state is on another device"),
            }
        }
        ppkt_device::metal::with_buffers(self.name(), [report], |gpu, [report]| {
            let parameter = gpu.view(self.name(), parameter, l1)?;
            let gradient = gpu.view(self.name(), gradient, l2)?;
            let of = crate::metal::Of { parameter: &parameter, gradient: &gradient, report: &report, n };
            match (self.config.kind, moments.as_slice()) {
                (OptimizerKind::Sgd, [momentum]) => crate::metal::sgd_step(
                    gpu,
                    of,
                    momentum,
                    &numbers::sgd(self.config, self.lr, self.updates),
                ),
                (OptimizerKind::Adamw, [m1, m2]) => {
                    let numbers = numbers::adamw(self.config, self.lr, self.updates);
                    crate::metal::adamw_step(gpu, of, [m1, m2], &numbers)
                }
                _ => candle_core::bail!("optimizer-step: wrong number of state buffers"),
            }
        })
    }
}

impl Update<'_> {
    /// `g = s·g + wd·p;  v = μ·v + (1 − damp)·g (v = g at first);  p −= lr·(g + μ·v if Nesterov, else v)`,
    /// as `torch.optim.SGD`.
    fn sgd(&self, scale: f64, p: &mut [f32], g: &[f32], v: &mut [f32]) {
        let SgdNumbers { lr, weight_decay: wd, momentum: mu, keep, nesterov } =
            numbers::sgd(self.config, self.lr, self.updates);
        let scale = scale as f32;
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
    fn adamw(&self, scale: f64, p: &mut [f32], g: &[f32], m1: &mut [f32], m2: &mut [f32]) {
        let AdamwNumbers { step_size, decay, beta1: b1, beta2: b2, root2, eps } =
            numbers::adamw(self.config, self.lr, self.updates);
        let scale = scale as f32;
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
