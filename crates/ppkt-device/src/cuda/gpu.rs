//! An NVIDIA GPU for launchers, by candle's CUDA device.

use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Result, Shape, Storage, Tensor};

use super::driver::sys::{CUdevice_attribute, CUfunction_attribute_enum};
use super::driver::{CudaSlice, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg};
use super::staging;
use crate::launch::{Arg, Call, Gpu, Limits, Memory, Number, View, ViewMut};

/// Bytes of shared memory that a block gets without asking for more.
const ALWAYS_SHARED: u32 = 48 * 1024;

/// An array on an NVIDIA GPU.
#[derive(Debug)]
pub struct CudaMemory<T> {
    /// At least one number, since the driver makes no empty array.
    slice: CudaSlice<T>,
    len: usize,
}

impl<T: Number> Memory for CudaMemory<T> {
    type Number = T;

    fn view(&self) -> View<'_, T> {
        let (address, _same_stream) = self.slice.device_ptr(self.slice.stream());
        View::new(address, self.len)
    }

    fn view_mut(&mut self) -> ViewMut<'_, T> {
        let stream = self.slice.stream().clone();
        let (address, _same_stream) = self.slice.device_ptr_mut(&stream);
        View::new(address, self.len).written()
    }
}

impl<T: Number + CudaDType> CudaMemory<T> {
    /// candle's storage of a kernel's result.
    pub fn into_storage(self, device: &CudaDevice) -> CudaStorage {
        CudaStorage::wrap_cuda_slice(self.slice, device.clone())
    }

    /// A tensor of a kernel's result, outside of any graph.
    pub fn into_tensor(self, device: &CudaDevice, shape: impl Into<Shape>) -> Tensor {
        Tensor::from_storage(Storage::Cuda(self.into_storage(device)), shape, BackpropOp::none(), false)
    }
}

impl<T: Number> CudaMemory<T> {
    /// A copy on the CPU. Waits.
    ///
    /// # Errors
    /// What went wrong before.
    pub fn to_vec(&self, device: &CudaDevice) -> Result<Vec<T>> {
        let mut values = device.clone_dtoh(&self.slice)?;
        values.truncate(self.len);
        Ok(values)
    }
}

/// Memory and kernels go into one stream, so a kernel finds done what was asked for before it, and memory that is given
/// up is not used again before the kernels that have it are done. [`DeviceChoice::open`](crate::DeviceChoice::open) makes
/// such devices.
impl Gpu for CudaDevice {
    type Memory<T: Number> = CudaMemory<T>;

    fn limits(&self) -> Result<Limits> {
        let stream = self.cuda_stream();
        let of = |attribute| stream.context().attribute(attribute).map(|n| n as usize).w();
        Ok(Limits {
            multiprocessors: of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        })
    }

    #[expect(unsafe_code, reason = "zeros would cost a pass over memory that is written anyway")]
    fn uninit<T: Number>(&self, len: usize) -> Result<CudaMemory<T>> {
        // SAFETY: any bits are a value of the number types, and the trait says that kernels write them first.
        let slice = unsafe { self.alloc(len.max(1)) }?;
        Ok(CudaMemory { slice, len })
    }

    fn zeros<T: Number>(&self, len: usize) -> Result<CudaMemory<T>> {
        Ok(CudaMemory { slice: self.alloc_zeros(len.max(1))?, len })
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<CudaMemory<T>> {
        Ok(CudaMemory { slice: staging::upload(self, values)?, len: values.len() })
    }

    #[expect(unsafe_code, reason = "a kernel does with its arguments what its text says")]
    fn launch(&self, call: &Call<'_>) -> Result<()> {
        let function = call.kernels.module.function(self, call.kernel)?;
        if call.shared_bytes > ALWAYS_SHARED {
            let most = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, call.shared_bytes as i32).w()?;
        }
        let stream = self.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        for arg in call.args {
            match arg {
                Arg::Null => builder.arg(&0u64),
                Arg::Read(span) | Arg::Write(span) => builder.arg(&span.address),
                Arg::I32(v) => builder.arg(v),
                Arg::U32(v) => builder.arg(v),
                Arg::U64(v) => builder.arg(v),
                Arg::F32(v) => builder.arg(v),
                Arg::F64(v) => builder.arg(v),
            };
        }
        let config = LaunchConfig {
            grid_dim: call.grid.into(),
            block_dim: call.block.into(),
            shared_mem_bytes: call.shared_bytes,
        };
        // SAFETY: kernels are those of this workspace, and the launcher has held the arguments against their text, as
        // the trait asks: in the tests the same launchers run over the same text, where the number and width of arguments
        // is checked and memory is guarded. Arrays that a launch reads or writes live on this device's one stream, which
        // frees them in its order, after the launch.
        unsafe { builder.launch(config) }.w().map(drop)
    }
}
