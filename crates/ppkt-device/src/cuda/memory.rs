//! Memory of an NVIDIA GPU.

use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute as Attribute;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result, sys};

/// Makes the driver keep what is freed for the next step: by default it gives everything back whenever the host waits.
#[expect(unsafe_code, reason = "pools of memory are reached through the driver's C interface alone")]
pub(super) fn keep_freed(context: &CudaContext) -> Result<(), DriverError> {
    let mut most = u64::MAX;
    let pool = pool(context)?;
    // SAFETY: the pool is the device's own, and this attribute is a number of 64 bits.
    unsafe {
        result::mem_pool::set_attribute(
            pool,
            Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut most).cast(),
        )
    }
}

/// The most bytes that were in use at one time since the program began, where the driver counts them.
pub(super) fn peak(context: &CudaContext) -> Result<u64, DriverError> {
    number(context, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// The bytes that are in use, where the driver counts them.
pub(super) fn used(context: &CudaContext) -> Result<u64, DriverError> {
    number(context, Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
}

#[expect(unsafe_code, reason = "pools of memory are reached through the driver's C interface alone")]
fn number(context: &CudaContext, attribute: Attribute) -> Result<u64, DriverError> {
    let mut number = 0u64;
    let pool = pool(context)?;
    // SAFETY: as above, for the attributes that this is called with.
    unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut number).cast()) }?;
    Ok(number)
}

#[expect(unsafe_code, reason = "pools of memory are reached through the driver's C interface alone")]
fn pool(context: &CudaContext) -> Result<sys::CUmemoryPool, DriverError> {
    // SAFETY: the context's device exists.
    unsafe { result::device::get_default_mem_pool(context.cu_device()) }
}
