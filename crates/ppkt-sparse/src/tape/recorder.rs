//! A tape while the network runs forward.

use std::sync::Arc;

use candle_core::{Shape, Tensor};

use super::arithmetic::{Arithmetic, Convolution, InGraph, Norm, Part};
use super::record::{Node, Record};
use super::spans::{TapeStep, timed};
use super::{OP, Recompute};
use crate::conv::{Direction, check_weight, downwards, upwards};
use crate::layers::Parts;
use crate::{BatchNorm, CoordinateManager, SparseError, SparseTensor};

/// Records a network while it runs forward.
pub(super) struct Recorder<A: Arithmetic> {
    manager: Arc<CoordinateManager>,
    features: Tensor,
    train: bool,
    pub(super) record: Record<A>,
}

/// Features on a tape.
#[derive(Debug)]
pub(super) struct Value<A: Arithmetic> {
    /// 0 for the input, otherwise 1 + the unit's number.
    pub(super) id: usize,
    pub(super) rows: Arc<A::Rows>,
    /// The same before they were rounded, where they were and nothing follows the convolution.
    exact: Option<Arc<A::Exact>>,
    pub(super) channels: usize,
    stride: u32,
}

impl<A: Arithmetic> Value<A> {
    fn part(&self) -> Part<'_, A> {
        Part { rows: A::view(&self.rows), channels: self.channels }
    }
}

impl<A: Arithmetic> Clone for Value<A> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), exact: self.exact.clone(), ..*self }
    }
}

/// What follows a convolution.
pub(super) struct Then<'a, A: Arithmetic> {
    pub(super) norm: Option<&'a BatchNorm>,
    pub(super) residual: Option<&'a Value<A>>,
    pub(super) relu: bool,
}

impl<A: Arithmetic> Recorder<A> {
    pub(super) fn new(
        arithmetic: A,
        x: &SparseTensor,
        train: bool,
        recompute: Recompute,
    ) -> Result<(Self, Value<A>), SparseError> {
        let features = x.features().contiguous()?;
        let rows = Arc::new(arithmetic.features(&features)?);
        let record = Record::new(arithmetic, recompute, rows.clone(), features.track_op());
        let input = Value { id: 0, rows, exact: None, channels: x.channels(), stride: x.stride() };
        Ok((Self { manager: x.manager().clone(), features, train, record }, input))
    }

    /// A convolution of `inputs` side by side and what follows it.
    pub(super) fn unit(
        &mut self,
        inputs: &[&Value<A>],
        Parts { kernel, bias, spec, direction }: Parts<'_>,
        then: Then<'_, A>,
    ) -> Result<Value<A>, SparseError> {
        let Some(x) = inputs.first() else {
            let expected = "a list of at least one tensor".to_owned();
            return Err(SparseError::Shape { op: OP, what: "the input", expected, got: vec![0] });
        };
        inputs.iter().try_for_each(|other| self.same_voxels(x.stride, other))?;
        let id = self.record.nodes.len() + 1;
        let (map, stride) = timed(id, TapeStep::Map, || match direction {
            Direction::ToCoarse => downwards(&self.manager, x.stride, spec),
            Direction::ToFine => upwards(&self.manager, x.stride, spec),
        })?;
        let cin = inputs.iter().map(|x| x.channels).sum();
        let channels = check_weight(OP, (spec.volume(), cin), kernel, bias)?;
        if let Some(residual) = then.residual {
            self.same_voxels(stride, residual)?;
            if residual.channels != channels {
                let (expected, got) = (format!("[N, {channels}]"), vec![residual.channels]);
                return Err(SparseError::Shape { op: OP, what: "the residual", expected, got });
            }
        }
        let (kernel, bias) = (kernel.contiguous()?, bias.map(Tensor::contiguous).transpose()?);
        let mut node = Node::new(Convolution { kernel, bias, map, direction, channels }, then.relu);
        let parts: Vec<Part<'_, A>> = inputs.iter().map(|x| x.part()).collect();
        let arithmetic = &*self.record.arithmetic;
        let (y, exact) = match then.norm {
            None => timed(id, TapeStep::Convolution, || arithmetic.product_and_exact(&node.conv, &parts))?,
            Some(norm) => {
                let (gamma, beta) = norm.gamma_beta();
                if gamma.elem_count() != channels {
                    let (expected, got) = (format!("[{channels}]"), vec![gamma.elem_count()]);
                    return Err(SparseError::Shape { op: OP, what: "the norm", expected, got });
                }
                let z = timed(id, TapeStep::Convolution, || arithmetic.product(&node.conv, &parts))?;
                let moments = timed(id, TapeStep::Norm, || {
                    arithmetic.moments(norm, A::view(&z), (node.conv.rows(), stride), self.train)
                })?;
                let norm = Norm {
                    moments,
                    affine: arithmetic.affine(norm)?,
                    parameters: [gamma.clone(), beta.clone()],
                    of_batch: self.train,
                };
                let (residual, relu) = (then.residual.map(|r| A::view(&r.rows)), node.relu);
                let parameters = node.parameters().chain(&norm.parameters);
                let tracked = self.record.needs_gradient(parameters, inputs, then.residual);
                let y = if tracked && self.record.keeps_z(&node) {
                    let again = || arithmetic.normalise(A::view(&z), &norm, residual, relu);
                    let y = timed(id, TapeStep::Norm, again)?;
                    node.z = Some(z);
                    y
                } else {
                    let onto = || arithmetic.normalise_in_place(z, &norm, residual, relu);
                    timed(id, TapeStep::Norm, onto)?
                };
                node.norm = Some(norm);
                (y, None)
            }
        };
        let id = self.record.push(node, inputs, then.residual);
        Ok(Value { id, rows: Arc::new(y), exact: exact.map(Arc::new), channels, stride })
    }

    fn same_voxels(&self, stride: u32, other: &Value<A>) -> Result<(), SparseError> {
        if other.stride == stride {
            return Ok(());
        }
        let rows = |stride: u32| self.manager.coords(stride).map_or(0, |c| c.len());
        let (left, right) = (stride, other.stride);
        let (left_rows, right_rows) = (rows(left), rows(right));
        Err(SparseError::DifferentCoordinates { op: OP, left, right, left_rows, right_rows })
    }
}

impl<A: InGraph> Recorder<A> {
    /// Ends the tape with `y`, which becomes a tensor of candle's graph.
    pub(super) fn finish(self, y: Value<A>) -> Result<SparseTensor, SparseError> {
        let Value { id, rows, exact, channels, stride } = y;
        let mut record = self.record;
        record.end_with(id);
        let shape = Shape::from((self.manager.coarser(stride, 1)?.len(), channels));
        let output = A::output(rows, exact, &shape)?;
        let features = if record.needs(id) {
            super::graph::attach(&self.features, record, output, shape)?
        } else {
            output.into_tensor(&shape)?
        };
        SparseTensor::on(&self.manager, stride, features)
    }
}
