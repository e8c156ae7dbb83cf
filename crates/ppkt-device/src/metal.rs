//! Kernels of our own on an Apple GPU, through candle's Metal back end.
//!
//! The Metal text is compiled on the machine at the first use of a file, without fast mathematics, which would take a NaN
//! for an ordinary number and rounding errors for nothing. Work goes into candle's own command buffers, which know from
//! what is bound for reading and for writing what has to wait for what.
//!
//! None of this has run on Apple's hardware: docs/metal.md.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::op::BackpropOp;
use candle_core::{DType, Layout, MetalDevice, MetalStorage, Result, Shape, Storage, Tensor};
use candle_metal_kernels::metal::{Buffer, ComputePipeline};
use objc2_metal::{MTLCompileOptions, MTLSize};

use crate::wgsl::{Compute, EntryPoint, KernelSource, LENGTHS_SLOT};

/// candle's device, for kernels of our own.
#[derive(Debug, Clone)]
pub struct Metal {
    device: MetalDevice,
}

/// Memory of the device: a buffer, or a part of one.
#[derive(Debug, Clone)]
pub struct MetalBuffer {
    buffer: Buffer,
    /// Keeps candle from using the memory for something else; none where a tensor does, for as long as it is borrowed.
    owner: Option<Arc<Buffer>>,
    /// Bytes.
    offset: usize,
    words: usize,
}

impl MetalBuffer {
    /// Its length in words of four bytes.
    pub fn words(&self) -> usize {
        self.words
    }
}

#[derive(Clone)]
struct Pipeline {
    pipeline: ComputePipeline,
    entry: EntryPoint,
}

/// Indices in kernels are words of 32 bits.
fn checked(words: usize) -> Result<usize> {
    if u32::try_from(words).is_err() {
        candle_core::bail!(
            "a tensor of {words} numbers is too large for a kernel on this device: take smaller batches"
        );
    }
    Ok(words)
}

impl Metal {
    /// Kernels run on this device.
    pub fn new(device: &MetalDevice) -> Self {
        Self { device: device.clone() }
    }

    /// Tells GPUs apart.
    pub fn registry_id(&self) -> u64 {
        self.device.metal_device().registry_id()
    }

    /// The memory of a contiguous f32 tensor.
    ///
    /// # Errors
    /// If the tensor is of another kind.
    pub fn view(&self, op: &'static str, storage: &MetalStorage, layout: &Layout) -> Result<MetalBuffer> {
        self.view_of(op, storage, layout, DType::F32)
    }

    /// The memory of a contiguous tensor of a type of four or eight bytes.
    ///
    /// # Errors
    /// If the tensor is of another kind.
    pub fn view_of(
        &self,
        op: &'static str,
        storage: &MetalStorage,
        layout: &Layout,
        dtype: DType,
    ) -> Result<MetalBuffer> {
        use candle_core::backend::BackendStorage;
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(candle_core::Error::RequiresContiguous { op }.bt());
        };
        if storage.dtype() != dtype {
            return Err(candle_core::Error::UnsupportedDTypeForOp(storage.dtype(), op).bt());
        }
        let bytes = dtype.size_in_bytes();
        let (buffer, words) = (storage.buffer().clone(), checked((end - start) * bytes / 4)?);
        Ok(MetalBuffer { buffer, owner: None, offset: bytes * start, words })
    }

    /// What candle keeps a tensor's numbers in, from a buffer that [`Compute::buffer`] gave.
    ///
    /// # Errors
    /// If the buffer is the memory of another tensor.
    pub fn storage(&self, buffer: MetalBuffer, dtype: DType) -> Result<MetalStorage> {
        match (buffer.owner, buffer.offset) {
            (Some(owner), 0) => Ok(MetalStorage::new(owner, self.device.clone(), buffer.words, dtype)),
            _ => candle_core::bail!("a tensor cannot take over the memory of another"),
        }
    }

    /// A tensor without history, from a buffer that [`Compute::buffer`] gave.
    ///
    /// # Errors
    /// As [`Self::storage`].
    pub fn tensor(&self, buffer: MetalBuffer, shape: impl Into<Shape>) -> Result<Tensor> {
        let storage = Storage::Metal(self.storage(buffer, DType::F32)?);
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    }

    fn pipeline(&self, source: &'static KernelSource, name: &'static str) -> Result<Pipeline> {
        type Known = HashMap<(u64, &'static str, &'static str), Pipeline>;
        static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(HashMap::new);
        let key = (self.registry_id(), source.name, name);
        if let Some(pipeline) = known.get(&key) {
            return Ok(pipeline.clone());
        }
        let Some(entry) = EntryPoint::find(source.metal, name) else {
            candle_core::bail!("{}.metal has no kernel {name}", source.name);
        };
        let options = MTLCompileOptions::new();
        #[expect(deprecated, reason = "its successor is not there before macOS 15")]
        options.setFastMathEnabled(false);
        let metal = self.device.metal_device();
        let wrap = candle_core::Error::wrap;
        let library = metal.new_library_with_source(source.metal, Some(&options)).map_err(wrap)?;
        let function = library.get_function(name, None).map_err(wrap)?;
        let pipeline = metal.new_compute_pipeline_state_with_function(&function).map_err(wrap)?;
        let pipeline = Pipeline { pipeline, entry };
        known.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

impl Compute for Metal {
    type Buffer = MetalBuffer;

    fn buffer(&self, words: usize) -> Result<MetalBuffer> {
        let owner = self.device.new_buffer(checked(words)?.max(1), DType::U32, "ppkt")?;
        Ok(MetalBuffer { buffer: Buffer::clone(&owner), owner: Some(owner), offset: 0, words })
    }

    fn upload(&self, words: &[u32]) -> Result<MetalBuffer> {
        let data = if words.is_empty() { &[0] } else { words };
        let owner = self.device.new_buffer_with_data(data)?;
        let words = checked(words.len())?;
        Ok(MetalBuffer { buffer: Buffer::clone(&owner), owner: Some(owner), offset: 0, words })
    }

    fn run(
        &self,
        source: &'static KernelSource,
        entry: &'static str,
        groups: [usize; 3],
        buffers: &[&MetalBuffer],
        parameters: &[u32],
    ) -> Result<()> {
        let Pipeline { pipeline, entry: about } = self.pipeline(source, entry)?;
        if buffers.len() != about.buffers.len() {
            candle_core::bail!("{entry}: {} buffers, not {}", about.buffers.len(), buffers.len());
        }
        let guard = self.device.command_encoder()?;
        let encoder = guard.as_ref();
        encoder.set_compute_pipeline_state(&pipeline);
        encoder.set_bytes_directly(0, size_of_val(parameters), parameters.as_ptr().cast::<c_void>());
        // Never read, but an argument is to be bound: as long as the lengths of all slots would be.
        encoder.set_bytes(usize::from(LENGTHS_SLOT), &[0u32; LENGTHS_SLOT as usize]);
        for (&(slot, written), memory) in about.buffers.iter().zip(buffers) {
            if written {
                encoder.set_output_buffer(slot, Some(&memory.buffer), memory.offset);
            } else {
                encoder.set_input_buffer(slot, Some(&memory.buffer), memory.offset);
            }
        }
        for (index, &bytes) in about.shared.iter().enumerate() {
            encoder.set_threadgroup_memory_length(index, bytes);
        }
        let size = |[width, height, depth]: [usize; 3]| MTLSize { width, height, depth };
        encoder.dispatch_thread_groups(size(groups), size(about.threads));
        Ok(())
    }
}

/// Runs `f` on the memory of contiguous tensors that are all on one Apple GPU.
///
/// # Errors
/// If a tensor is elsewhere, or of another kind; as `f`.
pub fn with_buffers<T, const N: usize>(
    op: &'static str,
    tensors: [&Tensor; N],
    f: impl FnOnce(&Metal, [MetalBuffer; N]) -> Result<T>,
) -> Result<T> {
    let candle_core::Device::Metal(device) = tensors[0].device() else {
        candle_core::bail!("{op}: a tensor on the Apple GPU is expected");
    };
    let metal = Metal::new(device);
    // Held until the work is in candle's command buffer: from then on it is done before the memory is used again.
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut buffers = Vec::with_capacity(N);
    for (storage, layout) in &guards {
        match &**storage {
            Storage::Metal(storage) => buffers.push(metal.view(op, storage, layout)?),
            _ => candle_core::bail!("{op}: all tensors must be on the Apple GPU"),
        }
    }
    match buffers.try_into() {
        Ok(buffers) => f(&metal, buffers),
        Err(_) => candle_core::bail!("{op}: no tensors"),
    }
}
