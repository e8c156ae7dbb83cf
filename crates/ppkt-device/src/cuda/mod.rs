//! NVIDIA GPUs: opening one, finding them, and kernels of our own.

mod gpu;
mod memory;
mod module;
mod staging;
mod tensors;

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, sys};

use crate::{DeviceChoice, DeviceError, Finding};

pub use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::WrapErr;
pub use candle_core::cuda_backend::cudarc::driver;
pub use gpu::CudaMemory;
pub use module::Module;
pub(crate) use staging::send;
pub use tensors::{Operand, on_gpu, view, view_mut, with_storages};

/// Opens a GPU with one stream for all threads.
#[expect(unsafe_code, reason = "cudarc's events between streams are turned off")]
pub(crate) fn open(number: usize) -> Result<Device, DeviceError> {
    let name = DeviceChoice::Cuda(number).to_string();
    let failed = |e| DeviceError::on_opening(name.clone(), count(), e);
    check_driver()?;
    let device = Device::new_cuda_with_stream(number).map_err(failed)?;
    let stream = device.as_cuda_device().map_err(failed)?.cuda_stream();
    let (major, minor) =
        stream.context().compute_capability().map_err(|e| failed(candle_core::Error::wrap(e)))?;
    if major < 8 {
        return Err(DeviceError::OldGpu { device: name, major, minor });
    }
    // SAFETY: events order the work of several streams; everything here is put into this one, in order.
    unsafe { stream.context().disable_event_tracking() };
    // Where the driver has no such pools there is nothing to keep.
    if stream.context().has_async_alloc() {
        memory::keep_freed(stream.context()).map_err(|e| failed(candle_core::Error::wrap(e)))?;
    }
    Ok(device)
}

/// Milliseconds between an event before `work` and one behind it.
pub(crate) fn milliseconds<T>(
    device: &CudaDevice,
    work: impl FnOnce() -> candle_core::Result<T>,
) -> candle_core::Result<f64> {
    let stream = device.cuda_stream();
    let event = || stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).w();
    let start = event()?;
    let made = work()?;
    let end = event()?;
    let taken = start.elapsed_ms(&end).w()?;
    drop(made);
    Ok(f64::from(taken))
}

/// The most bytes of a GPU that this program had in use at one time, where the driver counts them.
pub(crate) fn peak_bytes(device: &CudaDevice) -> Option<u64> {
    counted(device, memory::peak)
}

/// The bytes of a GPU that this program has in use, where the driver counts them.
pub(crate) fn used_bytes(device: &CudaDevice) -> Option<u64> {
    counted(device, memory::used)
}

fn counted(device: &CudaDevice, count: impl Fn(&CudaContext) -> Result<u64, DriverError>) -> Option<u64> {
    let stream = device.cuda_stream();
    stream.context().has_async_alloc().then(|| count(stream.context()).ok()).flatten()
}

/// The number of GPUs that the driver shows, where there is a driver.
fn count() -> Option<usize> {
    CudaContext::device_count().ok().and_then(|n| usize::try_from(n).ok())
}

/// All GPUs, or why there is none.
pub(crate) fn findings() -> Vec<Finding> {
    let numbers = 0..count().unwrap_or(0).max(1);
    numbers
        .map(|number| {
            let device = DeviceChoice::Cuda(number).to_string();
            match open(number).and_then(|opened| about(&opened, &device)) {
                Ok(about) => Finding { device, about, usable: true },
                Err(error) => Finding { device, about: error.to_string(), usable: false },
            }
        })
        .collect()
}

/// Model, compute capability, memory and driver.
fn about(device: &Device, name: &str) -> Result<String, DeviceError> {
    let stream = device
        .as_cuda_device()
        .map_err(|source| DeviceError::Other { device: name.to_owned(), source: Box::new(source) })?
        .cuda_stream();
    let context = stream.context();
    let told = || {
        let (free, total) = context.mem_get_info()?;
        let (major, minor) = context.compute_capability()?;
        let mib = |bytes: usize| bytes >> 20;
        Ok(format!(
            "{}, compute capability {major}.{minor}, {} of {} MiB free, driver for CUDA {}",
            context.name()?,
            mib(free),
            mib(total),
            driver()
        ))
    };
    told().map_err(|e: candle_core::cuda_backend::cudarc::driver::DriverError| DeviceError::Other {
        device: name.to_owned(),
        source: Box::new(candle_core::Error::wrap(e)),
    })
}

/// Refuses a driver that knows no CUDA as new as the program's: it would run until the first kernel of candle's, which
/// it cannot compile.
fn check_driver() -> Result<(), DeviceError> {
    let needed = sys::CUDA_VERSION as i32;
    match driver_version() {
        Ok(version) if version < needed => {
            let words =
                format!("the driver is for CUDA {}, the program for {}", dotted(version), dotted(needed));
            Err(DeviceError::OldDriver(Box::new(candle_core::Error::msg(words))))
        }
        // What else is wrong with it is told on opening.
        _ => Ok(()),
    }
}

/// The newest version of CUDA that the driver knows.
fn driver() -> String {
    driver_version().map_or_else(|error| format!("unknown ({error})"), dotted)
}

fn dotted(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

#[expect(unsafe_code, reason = "the driver's version is asked for through its C interface alone")]
fn driver_version() -> Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the function writes one number, and may be called before anything else.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(version)
}
