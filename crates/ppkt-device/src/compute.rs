//! A GPU as launchers of kernels see it: memory, and kernels that are given memory and numbers.
//!
//! Launchers are written against [`Compute`] and not against a driver, so that a test on a machine without a GPU runs the
//! very launcher, its grids and its order of arguments, with kernels that are emulated on the CPU.

use std::marker::PhantomData;

use candle_core::Result;

/// A number that kernels take.
pub trait Number: Sealed + Copy + Default + PartialEq + std::fmt::Debug + 'static {
    /// Appends its bytes.
    fn append(self, bytes: &mut Vec<u8>);
    /// Takes it from its bytes.
    fn take(bytes: &[u8]) -> Self;
}

#[cfg(not(feature = "cuda"))]
#[doc(hidden)]
pub trait Sealed {}
/// What the driver copies as it is.
#[cfg(feature = "cuda")]
#[doc(hidden)]
pub trait Sealed: crate::cuda::driver::DeviceRepr + crate::cuda::driver::ValidAsZeroBits {}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Sealed for $t {}
        impl Number for $t {
            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_ne_bytes());
            }

            fn take(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<Self>()];
                own.copy_from_slice(bytes);
                Self::from_ne_bytes(own)
            }
        }
    )*};
}

numbers!(u8 u32 i32 u64 f32 f64);

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// Memory that the kernel reads, by its address; 0 for none.
    Read(u64),
    /// Memory that the kernel may write, by its address; 0 for none.
    Write(u64),
    /// `int`.
    I32(i32),
    /// `unsigned long long`.
    U64(u64),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
}

impl Arg {
    /// No memory.
    pub const NONE: Self = Self::Read(0);

    /// A count as an `int`.
    ///
    /// # Errors
    /// If it is too large for one.
    pub fn int(n: usize) -> Result<Self> {
        Ok(Self::I32(int(n)?))
    }
}

/// A count as kernels take it.
///
/// # Errors
/// If it does not fit 31 bits.
pub fn int(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| candle_core::Error::msg(format!("{n} are too many for one kernel of a GPU")))
}

/// Blocks of `threads` threads, one thread for each of `n`; at least one block, which a GPU needs.
///
/// # Errors
/// If they are too many.
pub fn blocks(n: usize, threads: u32) -> Result<u32> {
    Ok(int(n.div_ceil(threads as usize).max(1))? as u32)
}

/// Memory of a GPU.
pub trait Memory {
    /// As an argument that is read.
    fn read(&self) -> Arg;
    /// As an argument that is written, and perhaps read.
    fn write(&mut self) -> Arg;
}

/// What is read of memory that another has.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    address: u64,
    len: usize,
    of: PhantomData<&'a ()>,
}

impl<'a> View<'a> {
    /// `len` numbers from an address on, which live as long as the view.
    pub fn new(address: u64, len: usize) -> Self {
        Self { address, len, of: PhantomData }
    }

    /// As an argument.
    pub fn read(&self) -> Arg {
        Arg::Read(self.address)
    }

    /// As an argument that a kernel writes as well: for small figures beside an update, which nothing else reads until it
    /// is done.
    pub fn write(&self) -> Arg {
        Arg::Write(self.address)
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The compiled kernels of one source.
pub struct Kernels {
    /// Stem of the source.
    pub name: &'static str,
    #[cfg(feature = "cuda")]
    pub(crate) module: crate::cuda::Module,
}

impl Kernels {
    /// The kernels in a fatbin, which is empty in a build for another device. See [`kernels!`](crate::kernels).
    pub const fn new(name: &'static str, image: &'static [u8]) -> Self {
        #[cfg(not(feature = "cuda"))]
        let _ = image;
        Self {
            name,
            #[cfg(feature = "cuda")]
            module: crate::cuda::Module::new(name, image),
        }
    }
}

/// `kernels!("stem")`: the [`Kernels`] of `stem.cu`, which the crate's build script has embedded if the crate's own feature
/// `cuda` is on.
#[macro_export]
macro_rules! kernels {
    ($stem:literal) => {{
        #[cfg(feature = "cuda")]
        const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", $stem, ".fatbin"));
        #[cfg(not(feature = "cuda"))]
        const IMAGE: &[u8] = &[];
        $crate::Kernels::new($stem, IMAGE)
    }};
}

/// Blocks of a launch along three axes.
pub type Grid = (u32, u32, u32);

/// A GPU, or what stands for one.
pub trait Compute {
    /// Its memory.
    type Memory<T: Number>: Memory;

    /// Memory that holds **anything**: the kernel that is given it writes all of it. At least one element, since drivers
    /// make no empty memory.
    ///
    /// # Errors
    /// If there is not enough.
    fn uninit<T: Number>(&self, len: usize) -> Result<Self::Memory<T>>;

    /// Zeros; at least one, as [`Self::uninit`].
    ///
    /// # Errors
    /// If there is not enough memory.
    fn zeros<T: Number>(&self, len: usize) -> Result<Self::Memory<T>>;

    /// A copy of `values`, which nothing waits for; at least one element, as [`Self::uninit`].
    ///
    /// # Errors
    /// If there is not enough memory.
    fn upload<T: Number>(&self, values: &[T]) -> Result<Self::Memory<T>>;

    /// Puts a kernel behind everything that was asked for before; nothing waits for it.
    ///
    /// The caller has held the arguments against the kernel: their order, their types, and that the grid reaches no
    /// element outside of them.
    ///
    /// # Errors
    /// If there is no such kernel, or the device has failed.
    fn launch(&self, kernels: &Kernels, kernel: &str, grid: Grid, threads: u32, args: &[Arg]) -> Result<()>;
}
