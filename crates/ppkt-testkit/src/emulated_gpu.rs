//! A GPU whose kernels run on the CPU, for tests of launchers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;
use ppkt_device::{Arg, Compute, Grid, Kernels, Memory, Number, View};
use ppkt_nvcc::Emulated;

/// Bytes between the addresses of two allocations, none of which is so large.
const APART: u64 = 1 << 40;

/// A GPU whose kernels run on the CPU, one thread at a time, with every access checked (see `ppkt-nvcc`).
pub struct EmulatedGpu {
    kernels: Arc<Emulated>,
    memory: Allocations,
    next: Cell<u64>,
}

/// By address.
type Allocations = Rc<RefCell<HashMap<u64, Vec<u8>>>>;

/// Memory of an [`EmulatedGpu`].
pub struct EmulatedMemory<T> {
    address: u64,
    len: usize,
    memory: Allocations,
    of: PhantomData<T>,
}

impl<T> Memory for EmulatedMemory<T> {
    fn read(&self) -> Arg {
        Arg::Read(self.address)
    }

    fn write(&mut self) -> Arg {
        Arg::Write(self.address)
    }
}

impl<T> Drop for EmulatedMemory<T> {
    fn drop(&mut self) {
        self.memory.borrow_mut().remove(&self.address);
    }
}

impl<T: Number> EmulatedMemory<T> {
    /// All of it, as an input of a launcher.
    pub fn view(&self) -> View<'_> {
        View::new(self.address, self.len)
    }

    /// What is in it.
    pub fn values(&self) -> Vec<T> {
        self.memory.borrow()[&self.address].chunks_exact(size_of::<T>()).map(T::take).collect()
    }
}

impl EmulatedGpu {
    /// With the kernels of some sources, relative to the package. `None`, with the reason printed, where there is no C++
    /// compiler. Sources that several tests name are compiled once.
    pub fn build(sources: &[impl AsRef<Path>]) -> Option<Self> {
        static BUILT: Mutex<Vec<(Vec<PathBuf>, Arc<Emulated>)>> = Mutex::new(Vec::new());
        let names: Vec<PathBuf> = sources.iter().map(|s| s.as_ref().to_owned()).collect();
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = match built.iter().find(|(n, _)| *n == names) {
            Some((_, kernels)) => kernels.clone(),
            None => {
                let kernels = Arc::new(Emulated::build(sources)?);
                built.push((names, kernels.clone()));
                kernels
            }
        };
        drop(built);
        Some(Self { kernels, memory: Rc::default(), next: Cell::new(APART) })
    }

    fn allocate<T>(&self, bytes: Vec<u8>) -> EmulatedMemory<T> {
        let address = self.next.replace(self.next.get() + APART);
        let len = bytes.len() / size_of::<T>();
        self.memory.borrow_mut().insert(address, bytes);
        EmulatedMemory { address, len, memory: self.memory.clone(), of: PhantomData }
    }
}

impl Compute for EmulatedGpu {
    type Memory<T: Number> = EmulatedMemory<T>;

    fn uninit<T: Number>(&self, len: usize) -> Result<EmulatedMemory<T>> {
        // As floats these are not numbers, and as indices out of range.
        Ok(self.allocate(vec![0xff; len.max(1) * size_of::<T>()]))
    }

    fn zeros<T: Number>(&self, len: usize) -> Result<EmulatedMemory<T>> {
        Ok(self.allocate(vec![0; len.max(1) * size_of::<T>()]))
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<EmulatedMemory<T>> {
        let mut bytes = Vec::new();
        values.iter().for_each(|v| v.append(&mut bytes));
        bytes.resize(bytes.len().max(size_of::<T>()), 0);
        Ok(self.allocate(bytes))
    }

    fn launch(&self, _: &Kernels, kernel: &str, grid: Grid, threads: u32, args: &[Arg]) -> Result<()> {
        let mut memory = self.memory.borrow_mut();
        let mut taken: Vec<(u64, Vec<u8>)> = Vec::new();
        for arg in args {
            if let Arg::Write(address @ 1..) = *arg {
                let Some(bytes) = memory.remove(&address) else {
                    panic!(
                        "{kernel}: an address that is nobody's, or is written and read through two arguments"
                    )
                };
                taken.push((address, bytes));
            }
        }
        let mut writes = taken.iter_mut();
        let mut given = Vec::new();
        for arg in args {
            given.push(match *arg {
                Arg::Read(0) | Arg::Write(0) => ppkt_nvcc::Arg::null(),
                Arg::Read(address) => {
                    let Some(bytes) = memory.get(&address) else {
                        panic!("{kernel}: an address that is nobody's, or is written and read through two arguments")
                    };
                    ppkt_nvcc::Arg::read(bytes)
                }
                Arg::Write(_) => match writes.next() {
                    Some((_, bytes)) => ppkt_nvcc::Arg::write(bytes),
                    None => unreachable!("all were taken"),
                },
                Arg::I32(v) => ppkt_nvcc::Arg::value(v),
                Arg::U64(v) => ppkt_nvcc::Arg::value(v),
                Arg::F32(v) => ppkt_nvcc::Arg::value(v),
                Arg::F64(v) => ppkt_nvcc::Arg::value(v),
            });
        }
        self.kernels.launch(kernel, grid, threads, 0, &mut given);
        drop(given);
        memory.extend(taken);
        Ok(())
    }
}
