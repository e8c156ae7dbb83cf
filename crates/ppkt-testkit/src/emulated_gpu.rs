//! A GPU whose kernels run on the CPU, for tests of launchers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::Result;
use ppkt_device::launch::{Arg, Call, Gpu, Limits, Memory, Number, Span, View, ViewMut};
use ppkt_nvcc::Emulated;

/// Bytes between the addresses of two arrays, none of which is so large.
const APART: u64 = 1 << 40;

/// What memory holds that nobody has written: as floats of any width no numbers, as indices far out of range, and not the
/// -1 by which kernels mean none.
const UNWRITTEN: [u8; 2] = [0xf5, 0xff];

/// A GPU whose kernels run on the CPU, one thread at a time, with every access checked (see `ppkt-nvcc`).
pub struct EmulatedGpu {
    folder: PathBuf,
    unordered: &'static [&'static str],
    arrays: Arrays,
    next: Cell<u64>,
}

/// By address.
type Arrays = Rc<RefCell<HashMap<u64, Vec<u8>>>>;

/// An array of an [`EmulatedGpu`].
pub struct EmulatedMemory<T> {
    address: u64,
    arrays: Arrays,
    of: PhantomData<T>,
}

impl<T: Number> Memory for EmulatedMemory<T> {
    type Number = T;

    fn view(&self) -> View<'_, T> {
        View::new(self.address, self.arrays.borrow()[&self.address].len() / size_of::<T>())
    }

    fn view_mut(&mut self) -> ViewMut<'_, T> {
        self.view().written()
    }
}

impl<T> Drop for EmulatedMemory<T> {
    fn drop(&mut self) {
        self.arrays.borrow_mut().remove(&self.address);
    }
}

impl<T: Number> EmulatedMemory<T> {
    /// What is in it.
    pub fn values(&self) -> Vec<T> {
        self.arrays.borrow()[&self.address].chunks_exact(size_of::<T>()).map(T::take).collect()
    }
}

impl EmulatedGpu {
    /// With the kernels of a folder of sources, relative to the package; a source is compiled when one of its kernels is
    /// first launched, and once for all tests. `None`, with the reason printed, where there is no C++ compiler.
    pub fn new(folder: &str) -> Option<Self> {
        // Of no source: this asks for a compiler.
        Emulated::build(&[] as &[&Path])?;
        Some(Self { folder: folder.into(), unordered: &[], arrays: Rc::default(), next: Cell::new(APART) })
    }

    /// With kernels whose results may depend on the order of threads: all others are run in two orders, and have to give
    /// the same.
    #[must_use]
    pub fn with_unordered(self, kernels: &'static [&'static str]) -> Self {
        Self { unordered: kernels, ..self }
    }

    /// An array with these numbers.
    pub fn array<T: Number>(&self, values: &[T]) -> EmulatedMemory<T> {
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|v| v.append(&mut bytes));
        self.allocate(bytes)
    }

    fn allocate<T>(&self, bytes: Vec<u8>) -> EmulatedMemory<T> {
        let address = self.next.replace(self.next.get() + APART);
        self.arrays.borrow_mut().insert(address, bytes);
        EmulatedMemory { address, arrays: self.arrays.clone(), of: PhantomData }
    }

    /// The kernels of a source; `None` where there is no compiler.
    fn compiled(&self, stem: &str) -> Option<Arc<Emulated>> {
        type Source = Arc<OnceLock<Option<Arc<Emulated>>>>;
        static KNOWN: Mutex<BTreeMap<PathBuf, Source>> = Mutex::new(BTreeMap::new());
        let path = self.folder.join(stem).with_extension("cu");
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let source = known.entry(path.clone()).or_default().clone();
        // Another source may be compiled at the same time.
        drop(known);
        source.get_or_init(|| Emulated::build(&[path]).map(Arc::new)).clone()
    }
}

/// The address of an array that something lies in, and where in it.
fn place(span: Span) -> (u64, std::ops::Range<usize>) {
    let from = (span.address % APART) as usize;
    (span.address - span.address % APART, from..from + span.bytes)
}

impl Gpu for EmulatedGpu {
    type Memory<T: Number> = EmulatedMemory<T>;

    fn limits(&self) -> Result<Limits> {
        Ok(Limits { multiprocessors: 2, shared_bytes: 227 * 1024 })
    }

    fn uninit<T: Number>(&self, len: usize) -> Result<EmulatedMemory<T>> {
        Ok(self.allocate(UNWRITTEN.into_iter().cycle().take(len * size_of::<T>()).collect()))
    }

    fn zeros<T: Number>(&self, len: usize) -> Result<EmulatedMemory<T>> {
        Ok(self.allocate(vec![0; len * size_of::<T>()]))
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<EmulatedMemory<T>> {
        Ok(self.array(values))
    }

    fn launch(&self, call: &Call<'_>) -> Result<()> {
        let Some(kernels) = self.compiled(call.kernels.name) else {
            candle_core::bail!("{}: there is no C++ compiler", call.kernel)
        };
        let nobodys = |span: Span| -> ! {
            panic!(
                "{}: {:#x} is nobody's, or is written and read through two arguments",
                call.kernel, span.address
            )
        };
        let mut arrays = self.arrays.borrow_mut();
        let mut taken: Vec<(u64, Vec<u8>)> = Vec::new();
        for arg in call.args {
            if let Arg::Write(span) = *arg {
                let address = place(span).0;
                taken.push((address, arrays.remove(&address).unwrap_or_else(|| nobodys(span))));
            }
        }
        let mut writes = taken.iter_mut();
        let mut given = Vec::new();
        for arg in call.args {
            given.push(match *arg {
                Arg::Null => ppkt_nvcc::Arg::null(),
                Arg::Read(span) => {
                    let (address, range) = place(span);
                    let bytes = arrays.get(&address).unwrap_or_else(|| nobodys(span));
                    ppkt_nvcc::Arg::read(&bytes[range])
                }
                Arg::Write(span) => match writes.next() {
                    Some((_, bytes)) => ppkt_nvcc::Arg::write(&mut bytes[place(span).1]),
                    None => unreachable!("all were taken"),
                },
                Arg::I32(v) => ppkt_nvcc::Arg::value(v),
                Arg::U32(v) => ppkt_nvcc::Arg::value(v),
                Arg::U64(v) => ppkt_nvcc::Arg::value(v),
                Arg::F32(v) => ppkt_nvcc::Arg::value(v),
                Arg::F64(v) => ppkt_nvcc::Arg::value(v),
            });
        }
        let [grid, block] = [call.grid, call.block].map(|[x, y, z]| (x, y, z));
        let shared = call.shared_bytes as usize;
        if self.unordered.contains(&call.kernel) {
            kernels.launch_once(call.kernel, grid, block, shared, &mut given);
        } else {
            kernels.launch(call.kernel, grid, block, shared, &mut given);
        }
        drop(given);
        arrays.extend(taken);
        Ok(())
    }
}
