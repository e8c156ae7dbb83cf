//! Machine code of our kernels, loaded once for each GPU.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaFunction, CudaModule};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, WrapErr};

/// A fatbin that was embedded when the program was built, and the functions in it.
///
/// ```ignore
/// static CONV: Module = Module::new("conv", include_bytes!(concat!(env!("OUT_DIR"), "/conv.fatbin")));
/// let forward = CONV.function(device, "conv_forward_bf16")?;
/// device.cuda_stream().launch_builder(&forward)…
/// ```
pub struct Module {
    name: &'static str,
    image: &'static [u8],
    loaded: Mutex<Vec<Loaded>>,
}

/// The module on one GPU.
struct Loaded {
    context: Arc<CudaContext>,
    module: Arc<CudaModule>,
    functions: HashMap<String, CudaFunction>,
}

impl Module {
    /// A module that errors call `name`; nothing is loaded yet.
    pub const fn new(name: &'static str, image: &'static [u8]) -> Self {
        Self { name, image, loaded: Mutex::new(Vec::new()) }
    }

    /// A kernel of the module, which is loaded at its first use on a GPU.
    ///
    /// # Errors
    /// Where the program was built without machine code (for type checks), where the GPU cannot run it, and where it
    /// has no such kernel; the name of the module is in the error.
    pub fn function(&self, device: &CudaDevice, kernel: &str) -> Result<CudaFunction> {
        let stream = device.cuda_stream();
        let context = stream.context();
        // A panic elsewhere leaves the list whole: entries are only ever added.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match loaded.iter().position(|l| Arc::ptr_eq(&l.context, context)) {
            Some(at) => at,
            None => {
                loaded.push(self.load(context)?);
                loaded.len() - 1
            }
        };
        let Loaded { module, functions, .. } = &mut loaded[at];
        if let Some(function) = functions.get(kernel) {
            return Ok(function.clone());
        }
        let function = module
            .load_function(kernel)
            .w()
            .map_err(|e| e.context(format!("the CUDA module {} has no kernel {kernel}", self.name)))?;
        functions.insert(kernel.to_owned(), function.clone());
        Ok(function)
    }

    fn load(&self, context: &Arc<CudaContext>) -> Result<Loaded> {
        if self.image.is_empty() {
            candle_core::bail!(
                "the CUDA module {} was built without machine code: build with NVIDIA's nvcc",
                self.name
            );
        }
        let module = context
            .load_module(Ptx::from_binary(self.image.to_vec()))
            .w()
            .map_err(|e| e.context(format!("the CUDA module {} cannot be loaded", self.name)))?;
        Ok(Loaded { context: context.clone(), module, functions: HashMap::new() })
    }
}
