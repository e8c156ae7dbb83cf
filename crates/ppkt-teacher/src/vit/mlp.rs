//! The network of two layers in each block: plain, or with a gate.

use candle_core::Result as Computed;

use super::linear::Linear;
use crate::backend::Backend;
use crate::engine::Activation;
use crate::error::TeacherError;
use crate::weights::Weights;

/// `fc2(f(fc1(x)))`, or `fc2(f(gate(x)) · fc1(x))` (Shazeer 2020, arXiv 2002.05202).
pub(super) struct Mlp<B: Backend> {
    gate: Option<B::Conv>,
    fc1: B::Conv,
    fc2: B::Conv,
    activation: Activation,
}

/// What the tensors show of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MlpShape {
    /// Channels between the two layers.
    pub(super) hidden: usize,
    pub(super) gate: Gate,
}

/// Where the gate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    None,
    /// First half of `fc1`.
    Joined,
    /// `fc1_g` beside `fc1_x`.
    Apart,
}

impl MlpShape {
    /// As block 0 has it.
    pub(super) fn read(weights: &Weights, channels: usize) -> Result<Self, TeacherError> {
        let gated = weights.has("blocks.0.mlp.fc1_g.weight");
        let fc1 = match (weights.has("blocks.0.mlp.fc1_x.weight"), gated) {
            (false, false) => "blocks.0.mlp.fc1.weight",
            _ => "blocks.0.mlp.fc1_x.weight",
        };
        let outer = match weights.shape(fc1) {
            Some(&[outer, inner]) if inner == channels && outer > 0 => outer,
            Some(_) => return Err(weights.wrong_shape(fc1, format!("[hidden, {channels}]"))),
            None => return Err(weights.missing(fc1, "every block has a network of two layers")),
        };
        let fc2 = "blocks.0.mlp.fc2.weight";
        match weights.shape(fc2) {
            Some(&[c, inner]) if c == channels && inner == outer => {
                Ok(Self { hidden: outer, gate: if gated { Gate::Apart } else { Gate::None } })
            }
            Some(&[c, inner]) if c == channels && 2 * inner == outer && !gated => {
                Ok(Self { hidden: inner, gate: Gate::Joined })
            }
            Some(_) => {
                let gate = if gated { "" } else { " or half of that (with a gate)" };
                Err(weights.wrong_shape(fc2, format!("[{channels}, {outer}]{gate}")))
            }
            None => Err(weights.missing(fc2, "every block has a network of two layers")),
        }
    }
}

impl<B: Backend> Mlp<B> {
    pub(super) fn read(
        weights: &mut Weights,
        block: &str,
        channels: usize,
        shape: MlpShape,
        activation: Activation,
        backend: &B,
    ) -> Result<Self, TeacherError> {
        let MlpShape { hidden, gate } = shape;
        let name = |leaf: &str| format!("{block}.mlp.{leaf}");
        let (gate, fc1) = match gate {
            Gate::None => {
                // transformers gives the plain layer of DINOv3 the name that it has beside a gate.
                let leaf = if weights.has(&name("fc1.weight")) { "fc1" } else { "fc1_x" };
                (None, Linear::read(weights, &name(leaf), channels, hidden)?)
            }
            Gate::Apart => {
                let gate = Linear::read(weights, &name("fc1_g"), channels, hidden)?;
                (Some(gate), Linear::read(weights, &name("fc1_x"), channels, hidden)?)
            }
            Gate::Joined => {
                let (gate, fc1) = Linear::read(weights, &name("fc1"), channels, 2 * hidden)?.halves();
                (Some(gate), fc1)
            }
        };
        let fc2 = Linear::read(weights, &name("fc2"), hidden, channels)?
            .scaled(weights, &format!("{block}.ls2.gamma"))?;
        let gate = gate.map(|gate| gate.pack(backend)).transpose()?;
        Ok(Self { gate, fc1: fc1.pack(backend)?, fc2: fc2.pack(backend)?, activation })
    }

    /// `residual + mlp(x)`.
    pub(super) fn forward(&self, x: &B::Map, residual: &B::Map, backend: &B) -> Computed<B::Map> {
        let hidden = match &self.gate {
            None => backend.convolve(&self.fc1, x, None, self.activation)?,
            Some(gate) => {
                let hidden = backend.convolve(gate, x, None, self.activation)?;
                backend.multiply(hidden, &backend.convolve(&self.fc1, x, None, Activation::None)?)?
            }
        };
        backend.convolve(&self.fc2, &hidden, Some(residual), Activation::None)
    }
}
