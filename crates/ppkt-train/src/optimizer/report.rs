//! What a step's gradients were like.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// What a step's gradients were like, known once its device has made it.
#[derive(Clone, Debug)]
pub struct StepReport(Told);

#[derive(Clone, Debug)]
enum Told {
    Norm(f64),
    /// `[3]`, f32: the norm; whether an updated parameter has no finite square; what gradients are multiplied by.
    OnDevice(Tensor),
}

impl StepReport {
    /// Of gradients on the CPU.
    pub(super) fn of(norm: f64) -> Self {
        Self(Told::Norm(norm))
    }

    /// From what kernels write.
    #[cfg_attr(not(any(feature = "cuda", feature = "metal")), expect(dead_code, reason = "reports of GPUs"))]
    pub(super) fn on_device(report: Tensor) -> Self {
        Self(Told::OnDevice(report))
    }

    /// For an update by gradients times `scale`, whatever they are.
    pub(super) fn scaling(scale: f64, device: &Device) -> Result<Self> {
        Ok(Self(Told::OnDevice(Tensor::new(&[0f32, 0.0, scale as f32], device)?)))
    }

    /// The norm, if it is known without waiting.
    pub(super) fn known(&self) -> Option<f64> {
        match self.0 {
            Told::Norm(norm) => Some(norm),
            Told::OnDevice(_) => None,
        }
    }

    /// What kernels read and write, where they do.
    #[cfg_attr(not(any(feature = "cuda", feature = "metal")), expect(dead_code, reason = "reports of GPUs"))]
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        match &self.0 {
            Told::Norm(_) => None,
            Told::OnDevice(report) => Some(report),
        }
    }

    /// Euclidean norm of all gradients, before clipping. Waits for the device.
    ///
    /// # Errors
    /// candle's, as of a device that has failed.
    pub fn norm(&self) -> Result<f64> {
        match &self.0 {
            Told::Norm(norm) => Ok(*norm),
            Told::OnDevice(report) => Ok(f64::from(report.to_vec1::<f32>()?[0])),
        }
    }

    /// Whether the update left a parameter without a finite square; `None` on the CPU, where the update does not look.
    /// Waits for the device.
    ///
    /// # Errors
    /// candle's, as of a device that has failed.
    pub fn faulty_parameter(&self) -> Result<Option<bool>> {
        match &self.0 {
            Told::Norm(_) => Ok(None),
            Told::OnDevice(report) => Ok(Some(report.to_vec1::<f32>()?[1] != 0.0)),
        }
    }
}
