//! A tape as nodes of candle's graph.
//!
//! A candle operation has at most three inputs, a network hundreds of parameters. They reach it through a *token*: a
//! chain of small operations, each of which takes the token before it and two parameters and gives a token of one
//! number that means nothing. The network takes the features and the last token. candle goes back through the network
//! first, which lays its parameters' gradients into slots, and then through the chain, which hands them over: to candle,
//! or to [`backward`](crate::backward).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
#[cfg(feature = "metal")]
use candle_core::MetalStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};
#[cfg(any(feature = "cuda", feature = "metal"))]
use candle_core::{
    DType, Storage,
    backend::{BackendDevice, BackendStorage},
};

use super::arithmetic::{InGraph, Output};
use super::record::Record;
use crate::gradients::lay_aside;

const OP: &str = "network";

/// Where the network lays gradients for the chain to fetch.
type Slots = Arc<Mutex<Vec<Option<Tensor>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the network's result a tensor whose gradient runs through the record.
pub(super) fn attach<A: InGraph>(
    features: &Tensor,
    record: Record<A>,
    output: Output,
    shape: Shape,
) -> Result<Tensor> {
    let slots = Slots::default();
    let token = token(record.parameters().cloned().collect(), &slots)?;
    let network =
        Network { output: Mutex::new(Some(output)), shape, record: Mutex::new(Some(record)), slots };
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

    #[cfg(any(feature = "cuda", feature = "metal"))]
    fn token_on<D: BackendDevice>(device: &D) -> Result<(D::Storage, Shape)> {
        let shape = Shape::from(1);
        Ok((device.zeros_impl(&shape, DType::F32)?, shape))
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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, first: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        Self::token_on(first.device())
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(&self, first: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        Self::token_on(first.device())
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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        first: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Self::token_on(first.device())
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        first: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        Self::token_on(first.device())
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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        first: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Self::token_on(first.device())
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        first: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        Self::token_on(first.device())
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
struct Network<A: InGraph> {
    output: Mutex<Option<Output>>,
    shape: Shape,
    record: Mutex<Option<Record<A>>>,
    slots: Slots,
}

impl Output {
    /// Outside of any graph.
    pub(super) fn into_tensor(self, shape: &Shape) -> Result<Tensor> {
        match self {
            Self::Host(rows) => Tensor::from_vec(rows, shape, &Device::Cpu),
            Self::Device(rows) => Ok(rows),
        }
    }
}

impl<A: InGraph> Network<A> {
    fn output(&self) -> Result<Output> {
        match lock(&self.output).take() {
            Some(output) => Ok(output),
            None => bail!("a tape is put into the graph once"),
        }
    }

    fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        let storage = match self.output()? {
            Output::Host(rows) => CpuStorage::F32(rows),
            Output::Device(rows) => CpuStorage::F32(rows.flatten_all()?.to_vec1()?),
        };
        Ok((storage, self.shape.clone()))
    }

    /// A copy on the device, whose tensors do not give their memory away.
    #[cfg(any(feature = "cuda", feature = "metal"))]
    fn on_device<S: BackendStorage>(&self, own: impl Fn(&Storage) -> Option<&S>) -> Result<(S, Shape)> {
        let rows = self.output()?.into_tensor(&self.shape)?;
        let (storage, layout) = rows.storage_and_layout();
        match own(&storage) {
            Some(storage) => Ok((storage.try_clone(layout)?, self.shape.clone())),
            None => bail!("{OP}: the result is on {:?}", rows.device().location()),
        }
    }

    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> Result<(CudaStorage, Shape)> {
        self.on_device(|s| if let Storage::Cuda(s) = s { Some(s) } else { None })
    }

    #[cfg(feature = "metal")]
    fn on_metal(&self) -> Result<(MetalStorage, Shape)> {
        self.on_device(|s| if let Storage::Metal(s) = s { Some(s) } else { None })
    }

    /// The gradient of the features; those of the parameters go into the slots.
    fn gradients(&self, features: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(record) = lock(&self.record).take() else {
            bail!(
                "backward went through this network before, and what was kept for it is used up; run the network \
                 forward again, or add the losses and go back once"
            );
        };
        let (input, parameters) = record.backward_from(&grad.contiguous()?, features.shape())?;
        *lock(&self.slots) = parameters;
        match input {
            Some(dx) => Ok(Some(dx)),
            None if features.track_op() => features.zeros_like().map(Some),
            None => Ok(None),
        }
    }
}

impl<A: InGraph> CustomOp1 for Network<A> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.on_metal()
    }

    fn bwd(&self, features: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradients(features, grad)
    }
}

impl<A: InGraph> CustomOp2 for Network<A> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.on_metal()
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
