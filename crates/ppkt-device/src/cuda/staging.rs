//! Numbers on their way to an NVIDIA GPU, without waiting for what it is at.
//!
//! From memory that the system may move, as a `Vec`'s, the driver copies only when the stream has come to the copy: whoever
//! asks for it waits until then. From pinned memory the GPU fetches by itself. So numbers are copied into pinned
//! buffers first, which are kept, since making one stops everything too; an event tells when a buffer is free again.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Storage, Tensor};

use super::driver::{
    CudaContext, CudaEvent, CudaSlice, DevicePtrMut, DeviceRepr, DriverError, PinnedHostSlice, result,
};

/// The smallest buffer, bytes.
const SMALLEST: usize = 1 << 16;
/// What is larger goes the driver's way: initial weights, moments of a checkpoint, nothing of a step.
const LARGEST: usize = 1 << 26;
/// Pinned memory that is kept for all GPUs together, bytes. It is taken from the system for good.
const KEPT: usize = 1 << 28;

/// Pinned memory, and when the GPU has fetched what was last in it.
struct Buffer {
    memory: PinnedHostSlice<u8>,
    fetched: CudaEvent,
}

static BUFFERS: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

/// A copy of `values` on a GPU, which nobody waits for; room for one where there is none.
///
/// # Errors
/// If there is not enough memory, or what went wrong before.
pub(super) fn upload<T: DeviceRepr + 'static>(device: &CudaDevice, values: &[T]) -> Result<CudaSlice<T>> {
    let bytes = size_of_val(values);
    if bytes > LARGEST {
        return device.clone_htod(values);
    }
    #[expect(unsafe_code, reason = "zeros would cost a pass over memory that is written anyway")]
    // SAFETY: all of it is written below, unless it stands for nothing.
    let mut memory = unsafe { device.alloc::<T>(values.len().max(1)) }?;
    if values.is_empty() {
        return Ok(memory);
    }
    let stream = device.cuda_stream();
    // A panic elsewhere leaves a buffer out of the list at worst.
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut buffer) = take(&mut buffers, stream.context(), bytes).w()? else {
        drop(buffers);
        return device.clone_htod(values);
    };
    let staged = buffer.memory.as_mut_ptr().w()?;
    {
        let (to, _in_order) = memory.device_ptr_mut(&stream);
        #[expect(unsafe_code, reason = "pinned memory is reached by its address alone")]
        // SAFETY: the buffer has room for `bytes`, begins at a page, and the GPU has fetched what was in it; numbers have
        // no padding. It is written again only after the event, which is put behind the copy.
        let sent = unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), staged, bytes);
            result::memcpy_htod_async(to, std::slice::from_raw_parts(staged, bytes), stream.cu_stream())
        };
        sent.w()?;
    }
    buffer.fetched.record(&stream).w()?;
    buffers.push(buffer);
    Ok(memory)
}

/// The smallest buffer that is large enough and free, or a new one; where too many are in use already, the first to
/// become free. None where there is none at all.
fn take(
    buffers: &mut Vec<Buffer>,
    context: &Arc<CudaContext>,
    bytes: usize,
) -> std::result::Result<Option<Buffer>, DriverError> {
    let fits = |b: &Buffer| Arc::ptr_eq(b.memory.context(), context) && b.memory.len() >= bytes;
    let mut best: Option<usize> = None;
    for (at, buffer) in buffers.iter().enumerate().filter(|(_, b)| fits(b)) {
        if best.is_none_or(|best| buffer.memory.len() < buffers[best].memory.len())
            && buffer.fetched.try_is_complete()?
        {
            best = Some(at);
        }
    }
    if let Some(at) = best {
        return Ok(Some(buffers.remove(at)));
    }
    let size = bytes.next_power_of_two().max(SMALLEST);
    if buffers.iter().map(|b| b.memory.len()).sum::<usize>() + size <= KEPT {
        #[expect(unsafe_code, reason = "pinned memory is made without a value")]
        // SAFETY: it is written before it is read, and only its address leaves this module.
        let memory = unsafe { context.alloc_pinned::<u8>(size) }?;
        return Ok(Some(Buffer { memory, fetched: context.new_event(None)? }));
    }
    let Some(at) = buffers.iter().position(fits) else { return Ok(None) };
    let buffer = buffers.remove(at);
    buffer.fetched.synchronize()?;
    Ok(Some(buffer))
}

/// A contiguous tensor of the CPU on a GPU. `None` where its type is none that is sent.
pub(crate) fn send(tensor: &Tensor, device: &CudaDevice) -> Result<Option<Tensor>> {
    fn stored<T: CudaDType + DeviceRepr + 'static>(values: &[T], device: &CudaDevice) -> Result<CudaStorage> {
        Ok(CudaStorage::wrap_cuda_slice(upload(device, values)?, device.clone()))
    }
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        return Ok(None);
    };
    let sent = match storage {
        CpuStorage::F32(values) => stored(&values[from..to], device)?,
        CpuStorage::U32(values) => stored(&values[from..to], device)?,
        CpuStorage::U8(values) => stored(&values[from..to], device)?,
        _ => return Ok(None),
    };
    debug_assert_eq!(sent.dtype(), tensor.dtype());
    Ok(Some(Tensor::from_storage(Storage::Cuda(sent), tensor.shape(), BackpropOp::none(), false)))
}
