//! What a tape keeps of the forward pass, and how the rest is found again.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::Recompute;
use super::arithmetic::{Arithmetic, Convolution, Norm, Part};
use super::recorder::Value;
use super::spans::{TapeStep, timed};

/// Multiply-adds for an element of the result up to which a convolution is run again: 3×3×3 ones of the family's widths
/// need over a thousand.
const CHEAP: usize = 256;

/// Steps back, of those that [`Recompute`] counts, that are found again in a row: with one residual sum every second one
/// is kept, with one convolution the end of each block of two.
const MOST_STEPS: usize = 1;

/// One unit.
pub(super) struct Node<A: Arithmetic> {
    pub(super) conv: Convolution,
    pub(super) norm: Option<Norm<A>>,
    pub(super) relu: bool,
    /// Values that are read, side by side, with their channels.
    pub(super) inputs: Vec<(usize, usize)>,
    pub(super) residual: Option<usize>,
    /// Whether anything that it depends on has a gradient.
    pub(super) needs: bool,
    /// The convolution's result, where it is kept or was found again.
    pub(super) z: Option<A::Rows>,
    /// The unit's result, where it is kept or was found again.
    pub(super) y: Option<Arc<A::Rows>>,
    /// Whether `y` stays until the unit's own turn.
    pub(super) keeps_y: bool,
    /// Steps that have to be found before `y` is, its own included; see [`Record::steps`].
    steps: usize,
}

impl<A: Arithmetic> Node<A> {
    pub(super) fn new(conv: Convolution, relu: bool) -> Self {
        Self {
            conv,
            norm: None,
            relu,
            inputs: Vec::new(),
            residual: None,
            needs: false,
            z: None,
            y: None,
            keeps_y: false,
            steps: 0,
        }
    }

    /// Whether to run the convolution again costs no more than some passes over memory: those with a matrix for each
    /// row, with few channels, or between resolutions.
    pub(super) fn is_cheap(&self, arithmetic: &A) -> bool {
        arithmetic.pairs(&self.conv) * self.conv.cin() <= CHEAP * self.conv.rows()
    }

    /// The unit's parameters in a fixed order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        let norm = self.norm.iter().flat_map(|n| &n.parameters);
        [&self.conv.kernel].into_iter().chain(&self.conv.bias).chain(norm)
    }

    /// Whether `y` follows from `z`.
    fn is_found_again(&self) -> bool {
        self.needs && self.norm.is_some()
    }
}

/// Whether what is found again stays until it is freed, or is there for its one reader only: a cheap convolution that is
/// run again on the way to another value is too much to lie about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stays {
    Yes,
    No,
}

/// The units of a network, in the order of the forward pass. Value 0 is the input, value `i + 1` the result of unit
/// `i`.
pub(super) struct Record<A: Arithmetic> {
    pub(super) arithmetic: Arc<A>,
    recompute: Recompute,
    pub(super) input: Arc<A::Rows>,
    pub(super) input_needs: bool,
    pub(super) nodes: Vec<Node<A>>,
    /// The value that the tape ends with.
    pub(super) end: usize,
}

impl<A: Arithmetic> Record<A> {
    pub(super) fn new(arithmetic: A, recompute: Recompute, input: Arc<A::Rows>, input_needs: bool) -> Self {
        Self { arithmetic: Arc::new(arithmetic), recompute, input, input_needs, nodes: Vec::new(), end: 0 }
    }

    /// Whether a value has a gradient.
    pub(super) fn needs(&self, id: usize) -> bool {
        if id == 0 { self.input_needs } else { self.nodes[id - 1].needs }
    }

    /// Whether a unit with these parameters and inputs has one.
    pub(super) fn needs_gradient<'p>(
        &self,
        mut parameters: impl Iterator<Item = &'p Tensor>,
        inputs: &[&Value<A>],
        residual: Option<&Value<A>>,
    ) -> bool {
        parameters.any(Tensor::track_op)
            || inputs.iter().copied().chain(residual).any(|value| self.needs(value.id))
    }

    /// Adds a unit; returns the number of its result.
    pub(super) fn push(
        &mut self,
        mut node: Node<A>,
        inputs: &[&Value<A>],
        residual: Option<&Value<A>>,
    ) -> usize {
        node.needs = self.needs_gradient(node.parameters(), inputs, residual);
        if node.needs {
            inputs.iter().copied().chain(residual).for_each(|value| self.keep(value));
        }
        node.inputs = inputs.iter().map(|x| (x.id, x.channels)).collect();
        node.residual = residual.map(|r| r.id);
        node.steps = self.steps(&node);
        self.nodes.push(node);
        self.nodes.len()
    }

    /// Whether the result of a unit's convolution stays for the backward pass.
    pub(super) fn keeps_z(&self, node: &Node<A>) -> bool {
        self.recompute == Recompute::Cheap && !node.is_cheap(&self.arithmetic)
    }

    /// How far it is from what is kept to the result of a new unit: in residual sums, or in convolutions where these are
    /// run again too.
    fn steps(&self, node: &Node<A>) -> usize {
        let of = |id: usize| id.checked_sub(1).map_or(0, |unit| self.nodes[unit].steps);
        let residual = node.residual.map_or(0, of);
        match self.recompute {
            Recompute::Cheap => residual + usize::from(node.residual.is_some()),
            Recompute::Convolutions => {
                let inputs = node.inputs.iter().map(|&(input, _)| of(input)).sum::<usize>();
                residual + inputs + usize::from(!node.is_cheap(&self.arithmetic))
            }
        }
    }

    /// Keeps a value that is read, if it cannot be found again, or only by way of many others.
    fn keep(&mut self, value: &Value<A>) {
        if value.id == 0 {
            return;
        }
        let node = &mut self.nodes[value.id - 1];
        if !node.is_found_again() || node.steps > MOST_STEPS {
            (node.y, node.keeps_y, node.steps) = (Some(value.rows.clone()), true, 0);
        }
    }

    /// Ends with a value: units after it have no part in it.
    pub(super) fn end_with(&mut self, id: usize) {
        self.end = id;
        self.nodes.truncate(id);
    }

    /// A value, kept or found again; it stays until [`Self::free_all_but`].
    pub(super) fn rows(&mut self, id: usize) -> Result<Arc<A::Rows>> {
        self.find(id, Stays::Yes)
    }

    fn find(&mut self, id: usize, stays: Stays) -> Result<Arc<A::Rows>> {
        let Some(unit) = id.checked_sub(1) else { return Ok(self.input.clone()) };
        if let Some(y) = &self.nodes[unit].y {
            return Ok(y.clone());
        }
        let residual = self.nodes[unit].residual.map(|r| self.find(r, Stays::No)).transpose()?;
        let passing = match (stays, &self.nodes[unit].z) {
            (Stays::No, None) if self.nodes[unit].is_cheap(&self.arithmetic) => {
                Some(self.convolution(id, Stays::No)?)
            }
            _ => None,
        };
        if passing.is_none() {
            self.find_z(id)?;
        }
        let Self { arithmetic, nodes, .. } = self;
        let node = &mut nodes[unit];
        let Some(norm) = &node.norm else { candle_core::bail!("a tape has lost a value") };
        let y = match (passing, &node.z, residual.map(Arc::try_unwrap)) {
            (Some(z), _, residual) => {
                let residual = residual.map(|r| r.map_or_else(|kept| kept, Arc::new));
                let residual = residual.as_deref().map(A::view);
                timed(id, TapeStep::NormAgain, || {
                    arithmetic.normalise_in_place(z, norm, residual, node.relu)
                })?
            }
            (None, Some(z), Some(Ok(sum))) => {
                timed(id, TapeStep::NormAgain, || arithmetic.normalise_onto(sum, A::view(z), norm))?
            }
            (None, Some(z), residual) => {
                let kept = residual.and_then(std::result::Result::err);
                let kept = kept.as_deref().map(A::view);
                timed(id, TapeStep::NormAgain, || arithmetic.normalise(A::view(z), norm, kept, node.relu))?
            }
            (None, None, _) => candle_core::bail!("a tape has lost a value"),
        };
        let y = Arc::new(y);
        if stays == Stays::Yes {
            node.y = Some(y.clone());
        }
        Ok(y)
    }

    /// Runs a unit's convolution again where its result was not kept.
    pub(super) fn find_z(&mut self, id: usize) -> Result<()> {
        if self.nodes[id - 1].z.is_none() {
            self.nodes[id - 1].z = Some(self.convolution(id, Stays::Yes)?);
        }
        Ok(())
    }

    fn convolution(&mut self, id: usize, stays: Stays) -> Result<A::Rows> {
        let inputs = self.inputs_that(id, stays)?;
        timed(id, TapeStep::ConvolutionAgain, || {
            self.arithmetic.product(&self.nodes[id - 1].conv, &parts(&inputs))
        })
    }

    /// What the convolution of a unit reads, each with its channels.
    pub(super) fn inputs(&mut self, id: usize) -> Result<Vec<(Arc<A::Rows>, usize)>> {
        self.inputs_that(id, Stays::Yes)
    }

    fn inputs_that(&mut self, id: usize, stays: Stays) -> Result<Vec<(Arc<A::Rows>, usize)>> {
        let inputs = self.nodes[id - 1].inputs.clone();
        inputs.into_iter().map(|(input, channels)| Ok((self.find(input, stays)?, channels))).collect()
    }

    /// Frees the values that were found again, but for those that the unit of value `next` reads.
    pub(super) fn free_all_but(&mut self, next: usize) {
        let reads = |id: usize| {
            let Some(node) = next.checked_sub(1).map(|n| &self.nodes[n]) else { return false };
            node.inputs.iter().any(|&(input, _)| input == id) || (id == next && node.residual.is_some())
        };
        let done: Vec<usize> = (1..=self.nodes.len()).filter(|&id| !reads(id)).collect();
        for id in done {
            let node = &mut self.nodes[id - 1];
            if !node.keeps_y {
                node.y = None;
            }
        }
    }
}

/// Values as a convolution reads them.
pub(super) fn parts<A: Arithmetic>(values: &[(Arc<A::Rows>, usize)]) -> Vec<Part<'_, A>> {
    values.iter().map(|(rows, channels)| Part { rows: A::view(rows), channels: *channels }).collect()
}
