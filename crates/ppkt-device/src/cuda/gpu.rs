//! An NVIDIA GPU for launchers: candle's storages as memory of kernels, and back.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Layout, Result, Shape, Storage, Tensor};

use super::driver::{CudaSlice, DevicePtr, LaunchConfig, PushKernelArg};
use super::staging::upload;
use crate::compute::{Arg, Compute, Grid, Kernels, Memory, Number, View};

/// An NVIDIA GPU.
#[derive(Clone, Copy)]
pub struct Gpu<'a>(&'a CudaDevice);

/// Memory of an NVIDIA GPU.
pub struct CudaMemory<T> {
    slice: CudaSlice<T>,
    address: u64,
}

impl<T> Memory for CudaMemory<T> {
    fn read(&self) -> Arg {
        Arg::Read(self.address)
    }

    fn write(&mut self) -> Arg {
        Arg::Write(self.address)
    }
}

impl<'a> Gpu<'a> {
    /// candle's device as one.
    pub fn new(device: &'a CudaDevice) -> Self {
        Self(device)
    }

    /// That of a storage.
    pub fn of(storage: &'a CudaStorage) -> Self {
        Self(storage.device())
    }

    /// What kernels read of a contiguous tensor.
    ///
    /// # Errors
    /// If it is of another type, or not contiguous.
    pub fn view<'s, T: CudaDType>(&self, storage: &'s CudaStorage, layout: &Layout) -> Result<View<'s>> {
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("a contiguous tensor is expected");
        };
        let (start, _) = storage.as_cuda_slice::<T>()?.device_ptr(&self.0.cuda_stream());
        Ok(View::new(start + (from * size_of::<T>()) as u64, to - from))
    }

    /// As [`Self::view`], of memory that a kernel writes in place.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn view_mut<T: CudaDType>(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<(Arg, usize)> {
        let view = self.view::<T>(storage, layout)?;
        Ok((view.write(), view.len()))
    }

    /// candle's storage of a kernel's result.
    pub fn storage<T: CudaDType>(&self, memory: CudaMemory<T>) -> CudaStorage {
        CudaStorage::wrap_cuda_slice(memory.slice, self.0.clone())
    }

    /// A tensor of a kernel's result, outside of any graph.
    pub fn tensor<T: CudaDType>(&self, memory: CudaMemory<T>, shape: &Shape) -> Tensor {
        Tensor::from_storage(Storage::Cuda(self.storage(memory)), shape, BackpropOp::none(), false)
    }

    /// A copy on the CPU. Waits.
    ///
    /// # Errors
    /// What went wrong before.
    pub fn download<T: Number>(&self, memory: &CudaMemory<T>) -> Result<Vec<T>> {
        self.0.clone_dtoh(&memory.slice)
    }

    fn owned<T>(&self, slice: CudaSlice<T>) -> CudaMemory<T> {
        let address = slice.device_ptr(&self.0.cuda_stream()).0;
        CudaMemory { slice, address }
    }
}

/// Memory and kernels go into one stream, so a kernel finds done what was asked for before it, and memory that is given
/// up is not used again before the kernels that have it are done. [`DeviceChoice::open`](crate::DeviceChoice::open) makes
/// such devices.
impl Compute for Gpu<'_> {
    type Memory<T: Number> = CudaMemory<T>;

    #[expect(unsafe_code, reason = "zeros would cost a pass over memory that is written anyway")]
    fn uninit<T: Number>(&self, len: usize) -> Result<CudaMemory<T>> {
        // SAFETY: the numbers are of types that have no wrong bits, and the trait says that kernels write them first.
        let slice = unsafe { self.0.alloc(len.max(1)) }?;
        Ok(self.owned(slice))
    }

    fn zeros<T: Number>(&self, len: usize) -> Result<CudaMemory<T>> {
        Ok(self.owned(self.0.alloc_zeros(len.max(1))?))
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<CudaMemory<T>> {
        Ok(self.owned(upload(self.0, values)?))
    }

    #[expect(unsafe_code, reason = "a kernel does with its arguments what its text says")]
    fn launch(&self, kernels: &Kernels, kernel: &str, grid: Grid, threads: u32, args: &[Arg]) -> Result<()> {
        let function = kernels.module.function(self.0, kernel)?;
        let stream = self.0.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        for arg in args {
            match arg {
                Arg::Read(v) | Arg::Write(v) | Arg::U64(v) => builder.arg(v),
                Arg::I32(v) => builder.arg(v),
                Arg::F32(v) => builder.arg(v),
                Arg::F64(v) => builder.arg(v),
            };
        }
        let config = LaunchConfig { grid_dim: grid, block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: kernels are those of this workspace, and the caller has held the arguments against their text, as the
        // trait asks; the same launchers run over emulated kernels in the tests, where every access is checked.
        unsafe { builder.launch(config) }.w().map(drop)
    }
}
