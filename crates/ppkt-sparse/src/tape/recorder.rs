//! A tape of one kind of numbers.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::OP;
use super::record::{Node, Norm, Record};
use super::spans::{TapeStep, timed};
use crate::conv::{Direction, check_weight, downwards, upwards, with_slices};
use crate::element::Element;
use crate::kernels::{Side, Weight};
use crate::layers::Parts;
use crate::{BatchNorm, CoordinateManager, SparseError, SparseTensor};

/// Records a network while it runs forward.
pub(super) struct Recorder<E: Element> {
    manager: Arc<CoordinateManager>,
    features: Tensor,
    train: bool,
    path: E::Path,
    record: Record<E>,
}

/// Features on a tape.
#[derive(Debug, Clone)]
pub(super) struct Value<E> {
    /// 0 for the input, otherwise 1 + the unit's number.
    pub(super) id: usize,
    pub(super) rows: Arc<Vec<E>>,
    /// The same before they were rounded, where they were and nothing follows the convolution.
    exact: Option<Arc<Vec<f32>>>,
    pub(super) channels: usize,
    stride: u32,
}

impl<E> Value<E> {
    fn side(&self) -> Side<'_, E> {
        Side { data: &self.rows, channels: self.channels }
    }
}

/// What follows a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Then<'a, E> {
    pub(super) norm: Option<&'a BatchNorm>,
    pub(super) residual: Option<&'a Value<E>>,
    pub(super) relu: bool,
}

impl<E: Element> Recorder<E> {
    pub(super) fn new(x: &SparseTensor, train: bool) -> Result<(Self, Value<E>), SparseError> {
        let features = x.features().contiguous()?;
        let rows = Arc::new(with_slices([&features], |[rows]| E::from_f32(rows).into_owned())?);
        let (manager, path) = (x.manager().clone(), E::path()?);
        let record = Record::new(rows.clone(), features.track_op(), path);
        let input = Value { id: 0, rows, exact: None, channels: x.channels(), stride: x.stride() };
        Ok((Self { manager, features, train, path, record }, input))
    }

    /// A convolution of `inputs` side by side and what follows it.
    pub(super) fn unit(
        &mut self,
        inputs: &[&Value<E>],
        Parts { kernel, bias, spec, direction }: Parts<'_>,
        then: Then<'_, E>,
    ) -> Result<Value<E>, SparseError> {
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
        let mut node =
            Node::new(kernel.contiguous()?, bias.map(Tensor::contiguous).transpose()?, map, direction);
        (node.channels, node.relu) = (channels, then.relu);
        let sides: Vec<Side<'_, E>> = inputs.iter().map(|x| x.side()).collect();
        let (y, exact) = match then.norm {
            None => timed(id, TapeStep::Convolution, || node.product_and_exact(self.path, &sides))?,
            Some(norm) => {
                let z = timed(id, TapeStep::Convolution, || node.product(self.path, &sides))?;
                let moments = timed(id, TapeStep::Norm, || norm.moments(&z, stride, self.train))?;
                let norm = node.norm.insert(Norm::new(norm, moments, self.train)?);
                if norm.gamma.len() != channels {
                    let (expected, got) = (format!("[{channels}]"), vec![norm.gamma.len()]);
                    return Err(SparseError::Shape { op: OP, what: "the norm", expected, got });
                }
                let residual = then.residual.map(|r| r.rows.as_slice());
                let tracked = self.record.needs_gradient(&node, inputs, then.residual.map(|r| r.id));
                let y = if tracked && !node.is_cheap() {
                    let norm = node.norm.as_ref().map(|n| (&n.moments, &n.gamma, &n.beta));
                    let y = norm.map(|(m, g, b)| {
                        timed(id, TapeStep::Norm, || E::normalise(&z, m, g, b, residual, node.relu))
                    });
                    node.z = Some(z);
                    y.unwrap_or_default()
                } else {
                    let mut y = z;
                    if let Some(n) = &node.norm {
                        timed(id, TapeStep::Norm, || {
                            E::normalise_in_place(&mut y, &n.moments, &n.gamma, &n.beta, residual, node.relu);
                        });
                    }
                    y
                };
                (y, None)
            }
        };
        let id = self.record.push(node, inputs, then.residual);
        Ok(Value { id, rows: Arc::new(y), exact: exact.map(Arc::new), channels, stride })
    }

    fn same_voxels(&self, stride: u32, other: &Value<E>) -> Result<(), SparseError> {
        if other.stride == stride {
            return Ok(());
        }
        let rows = |stride: u32| self.manager.coords(stride).map_or(0, |c| c.len());
        let (left, right) = (stride, other.stride);
        let (left_rows, right_rows) = (rows(left), rows(right));
        Err(SparseError::DifferentCoordinates { op: OP, left, right, left_rows, right_rows })
    }

    /// Ends the tape with `y`, which becomes a tensor of candle's graph.
    pub(super) fn finish(self, y: Value<E>) -> Result<SparseTensor, SparseError> {
        let Value { id, rows, exact, channels, stride } = y;
        let mut record = self.record;
        record.end_with(id);
        let rows = match exact {
            Some(exact) => Arc::unwrap_or_clone(exact),
            None => E::into_f32(Arc::unwrap_or_clone(rows)),
        };
        let shape = (self.manager.coarser(stride, 1)?.len(), channels);
        let features = if record.needs(id) {
            super::graph::attach(&self.features, record, rows, shape)?
        } else {
            Tensor::from_vec(rows, shape, &Device::Cpu)?
        };
        SparseTensor::on(&self.manager, stride, features)
    }
}

impl<E: Element> Node<E> {
    /// The convolution alone.
    pub(super) fn product(&self, path: E::Path, sides: &[Side<'_, E>]) -> candle_core::Result<Vec<E>> {
        let (lists, bias) = (self.direction.lists(&self.map), self.bias()?);
        self.with_weight(sides, |weight| E::product(path, lists, sides, weight, bias.as_deref()))
    }

    /// As [`Self::product`], and the same before it was rounded, where it was.
    fn product_and_exact(
        &self,
        path: E::Path,
        sides: &[Side<'_, E>],
    ) -> candle_core::Result<(Vec<E>, Option<Vec<f32>>)> {
        let (lists, bias) = (self.direction.lists(&self.map), self.bias()?);
        self.with_weight(sides, |weight| E::product_and_exact(path, lists, sides, weight, bias.as_deref()))
    }

    fn bias(&self) -> candle_core::Result<Option<Vec<f32>>> {
        self.bias.as_ref().map(|bias| bias.flatten_all()?.to_vec1()).transpose()
    }

    fn with_weight<T>(
        &self,
        sides: &[Side<'_, E>],
        f: impl FnOnce(Weight<'_>) -> T,
    ) -> candle_core::Result<T> {
        let cin = sides.iter().map(|s| s.channels).sum();
        with_slices([&self.kernel], |[w]| f(Weight::forward(w, cin, self.channels)))
    }
}
