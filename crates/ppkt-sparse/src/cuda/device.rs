//! Launchers on a GPU, through candle's CUDA device.

use std::marker::PhantomData;

use candle_core::Result;
use candle_core::cuda::cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute_enum};
use candle_core::cuda::cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg};
use candle_core::cuda::{CudaDevice, WrapErr};
use ppkt_device::cuda::Module;

use super::conv_plan::Limits;
use super::gpu::{Geometry, Gpu, Number, Scalar, Source};

/// Bytes of shared memory that a block gets without asking for more.
const ALWAYS_SHARED: u32 = 48 * 1024;

macro_rules! module {
    ($stem:literal) => {
        Module::new($stem, include_bytes!(concat!(env!("OUT_DIR"), "/", $stem, ".fatbin")))
    };
}

impl Source {
    fn module(self) -> &'static Module {
        static CONV_BF16: Module = module!("conv_bf16");
        static CONV_F32: Module = module!("conv_f32");
        static CONV_NARROW: Module = module!("conv_narrow");
        static CONV_PACK: Module = module!("conv_pack");
        static CONV_TF32: Module = module!("conv_tf32");
        static CONV_WGRAD: Module = module!("conv_wgrad");
        static MAP: Module = module!("map");
        static NORM: Module = module!("norm");
        static POOL: Module = module!("pool");
        static ROWS: Module = module!("rows");
        static SORT: Module = module!("sort");
        match self {
            Self::ConvBf16 => &CONV_BF16,
            Self::ConvF32 => &CONV_F32,
            Self::ConvNarrow => &CONV_NARROW,
            Self::ConvPack => &CONV_PACK,
            Self::ConvTf32 => &CONV_TF32,
            Self::ConvWgrad => &CONV_WGRAD,
            Self::Map => &MAP,
            Self::Norm => &NORM,
            Self::Pool => &POOL,
            Self::Rows => &ROWS,
            Self::Sort => &SORT,
        }
    }
}

/// A part of an array on a GPU.
#[derive(Debug)]
pub(crate) struct DeviceView<'a, T> {
    pointer: u64,
    of: PhantomData<&'a CudaSlice<T>>,
}

impl<T> Clone for DeviceView<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for DeviceView<'_, T> {}

/// An argument as the driver takes it: the kernel's parameter itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word {
    Pointer(u64),
    Scalar(Scalar),
}

impl Gpu for CudaDevice {
    type Slice<T: Number> = CudaSlice<T>;
    type View<'a, T: Number> = DeviceView<'a, T>;
    type Arg<'a> = Word;

    fn limits(&self) -> Result<Limits> {
        let stream = self.cuda_stream();
        let of = |attribute| stream.context().attribute(attribute).map(|n| n as usize).w();
        Ok(Limits {
            multiprocessors: of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes: of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        })
    }

    #[expect(unsafe_code, reason = "memory that kernels write is not set to zero first")]
    fn uninit<T: Number>(&self, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every number type has a value for all bits, and a launcher reads only what a kernel has written.
        // The driver refuses an array of nothing.
        unsafe { self.alloc(len.max(1)) }
    }

    fn zeros<T: Number>(&self, len: usize) -> Result<CudaSlice<T>> {
        let mut slice = self.uninit(len)?;
        self.cuda_stream().memset_zeros(&mut slice).w()?;
        Ok(slice)
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        ppkt_device::cuda::upload(self, values)
    }

    fn view<T: Number>(slice: &CudaSlice<T>) -> DeviceView<'_, T> {
        part(slice, 0)
    }

    fn shorten<'short, 'long: 'short, T: Number>(view: DeviceView<'long, T>) -> DeviceView<'short, T> {
        DeviceView { pointer: view.pointer, of: PhantomData }
    }

    fn read<'a, T: Number>(&'a self, view: DeviceView<'a, T>) -> Word {
        Word::Pointer(view.pointer)
    }

    fn write<'a, T: Number>(&'a self, slice: &'a mut CudaSlice<T>) -> Word {
        let stream = slice.stream().clone();
        let (pointer, _same_stream) = slice.device_ptr_mut(&stream);
        Word::Pointer(pointer)
    }

    fn null(&self) -> Word {
        Word::Pointer(0)
    }

    fn scalar(&self, value: Scalar) -> Word {
        Word::Scalar(value)
    }

    #[expect(unsafe_code, reason = "a kernel is launched")]
    fn launch(&self, source: Source, kernel: &str, geometry: Geometry, args: Vec<Word>) -> Result<()> {
        let function = source.module().function(self, kernel)?;
        if geometry.shared_bytes > ALWAYS_SHARED {
            let most = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, geometry.shared_bytes as i32).w()?;
        }
        let stream = self.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        for arg in &args {
            match arg {
                Word::Pointer(v) => builder.arg(v),
                Word::Scalar(Scalar::I32(v)) => builder.arg(v),
                Word::Scalar(Scalar::U32(v)) => builder.arg(v),
                Word::Scalar(Scalar::F32(v)) => builder.arg(v),
                Word::Scalar(Scalar::F64(v)) => builder.arg(v),
            };
        }
        let [(gx, bx), (gy, by), (gz, bz)] = [0, 1, 2].map(|i| (geometry.grid[i], geometry.block[i]));
        let config = LaunchConfig {
            grid_dim: (gx, gy, gz),
            block_dim: (bx, by, bz),
            shared_mem_bytes: geometry.shared_bytes,
        };
        // SAFETY: the launchers are run against the kernels' own text in the tests, where the number and width of
        // arguments is checked and memory is guarded. Arrays that a launch reads or writes live on this device's one
        // stream, which frees them in its order, after the launch.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }
}

/// An array from its element `first` on.
pub(crate) fn part<T>(slice: &CudaSlice<T>, first: usize) -> DeviceView<'_, T> {
    let stream = slice.stream();
    let (pointer, _same_stream) = slice.device_ptr(stream);
    DeviceView { pointer: pointer + (first * size_of::<T>()) as u64, of: PhantomData }
}
