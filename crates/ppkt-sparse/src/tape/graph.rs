//! A tape as nodes of candle's graph.
//!
//! A candle operation has at most three inputs, a network hundreds of parameters. They reach it through a *token*: a
//! chain of small operations, each of which takes the token before it and two parameters and gives a token of one
//! number that means nothing. The network takes the features and the last token. candle goes back through the network
//! first, which lays its parameters' gradients into slots, and then through the chain, which hands them over: to candle,
//! or to [`backward`](crate::backward).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};

use super::record::Record;
use crate::element::Element;
use crate::gradients::lay_aside;
use crate::rows::cpu_view;

const OP: &str = "network";

/// Where the network lays gradients for the chain to fetch.
type Slots = Arc<Mutex<Vec<Option<Tensor>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes `rows`, the network's result, a tensor whose gradient runs through the record.
pub(super) fn attach<E: Element>(
    features: &Tensor,
    record: Record<E>,
    rows: Vec<f32>,
    shape: (usize, usize),
) -> Result<Tensor> {
    let slots = Slots::default();
    let token = token(record.parameters().cloned().collect(), &slots)?;
    let network = Network { rows: Mutex::new(Some(rows)), shape, record: Mutex::new(Some(record)), slots };
    match token {
        Some(token) => features.apply_op2(&token, network),
        None => features.apply_op1(network),
    }
}

/// The end of the chain that all parameters hang on.
fn token(parameters: Vec<Tensor>, slots: &Slots) -> Result<Option<Tensor>> {
    let mut slot = 0;
    let mut carry = |n: usize| {
        slot += n;
        Carry { slots: slots.clone(), first: slot - n }
    };
    let Some((first, rest)) = parameters.split_first() else { return Ok(None) };
    let mut token = first.apply_op1(carry(1))?;
    for pair in rest.chunks(2) {
        token = match pair {
            [a, b] => token.apply_op3(a, b, carry(2))?,
            [a] => token.apply_op2(a, carry(1))?,
            _ => token,
        };
    }
    Ok(Some(token))
}

/// A link of the chain: hands over the gradients of its parameters.
struct Carry {
    slots: Slots,
    first: usize,
}

impl Carry {
    fn token() -> (CpuStorage, Shape) {
        (CpuStorage::F32(vec![0.0]), Shape::from(1))
    }

    fn fetch(&self, offset: usize, parameter: &Tensor) -> Result<Option<Tensor>> {
        let gradient = lock(&self.slots).get_mut(self.first + offset).and_then(Option::take);
        // A parameter without part in the result; candle insists on a gradient for what is computed from others.
        lay_aside(parameter, gradient.map_or_else(|| parameter.zeros_like(), Ok)?)
    }
}

impl CustomOp1 for Carry {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(Self::token())
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        self.fetch(0, a)
    }
}

impl CustomOp2 for Carry {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(Self::token())
    }

    fn bwd(
        &self,
        _: &Tensor,
        a: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), self.fetch(0, a)?))
    }
}

impl CustomOp3 for Carry {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(Self::token())
    }

    fn bwd(
        &self,
        _: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), self.fetch(0, a)?, self.fetch(1, b)?))
    }
}

/// The network: its result is there already, and its gradients come from the record, once.
struct Network<E: Element> {
    rows: Mutex<Option<Vec<f32>>>,
    shape: (usize, usize),
    record: Mutex<Option<Record<E>>>,
    slots: Slots,
}

impl<E: Element> Network<E> {
    fn result(&self) -> Result<(CpuStorage, Shape)> {
        match lock(&self.rows).take() {
            Some(rows) => Ok((CpuStorage::F32(rows), Shape::from(self.shape))),
            None => bail!("a tape is put into the graph once"),
        }
    }

    /// The gradient of the features; those of the parameters go into the slots.
    fn gradients(&self, features: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(record) = lock(&self.record).take() else {
            bail!(
                "backward went through this network before, and what was kept for it is used up; run the network \
                 forward again, or add the losses and go back once"
            );
        };
        let grad = grad.contiguous()?;
        let gradients = record.backward(&cpu_view(OP, &grad)?)?;
        *lock(&self.slots) = gradients.parameters;
        match gradients.input {
            Some(dx) => Tensor::from_vec(dx, features.shape(), &Device::Cpu).map(Some),
            None if features.track_op() => features.zeros_like().map(Some),
            None => Ok(None),
        }
    }
}

impl<E: Element> CustomOp1 for Network<E> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.result()
    }

    fn bwd(&self, features: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradients(features, grad)
    }
}

impl<E: Element> CustomOp2 for Network<E> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.result()
    }

    fn bwd(
        &self,
        features: &Tensor,
        token: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.gradients(features, grad)?, Some(token.zeros_like()?)))
    }
}
