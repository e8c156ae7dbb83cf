//! Memory and launches of a device.

use candle_core::Result;

use super::{Arg, Kernels, Memory, Number};

/// What a device has for blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Multiprocessors, of which each runs blocks of its own.
    pub multiprocessors: usize,
    /// The most shared memory that a block gets, in bytes.
    pub shared_bytes: usize,
}

/// A launch with all that belongs to it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The source.
    pub kernels: &'static Kernels,
    /// The kernel's name.
    pub kernel: &'a str,
    /// Numbers of blocks, none of which is 0.
    pub grid: [u32; 3],
    /// Numbers of threads of a block.
    pub block: [u32; 3],
    /// Of shared memory, beside what the kernel declares.
    pub shared_bytes: u32,
    /// In the order of the kernel's parameters.
    pub args: &'a [Arg],
}

/// A device with memory of its own, on which work is done in the order in which it is asked for.
pub trait Gpu: Sized {
    /// An array in its memory.
    type Memory<T: Number>: Memory<Number = T>;

    /// What there is for blocks.
    ///
    /// # Errors
    /// If the driver does not tell.
    fn limits(&self) -> Result<Limits>;

    /// An array that holds **anything**: the kernel that is given it writes all of it.
    ///
    /// # Errors
    /// If there is not enough memory.
    fn uninit<T: Number>(&self, len: usize) -> Result<Self::Memory<T>>;

    /// An array of zeros.
    ///
    /// # Errors
    /// As [`Self::uninit`].
    fn zeros<T: Number>(&self, len: usize) -> Result<Self::Memory<T>>;

    /// An array with the host's numbers, which nothing waits for.
    ///
    /// # Errors
    /// As [`Self::uninit`].
    fn upload<T: Number>(&self, values: &[T]) -> Result<Self::Memory<T>>;

    /// Puts a kernel behind everything that was asked for before; nothing waits for it. Launchers come here by
    /// [`Launch::run`](super::Launch::run).
    ///
    /// The launcher has held the arguments against the kernel: their order, their types, and that the grid reaches no
    /// element outside of them.
    ///
    /// # Errors
    /// If there is no such kernel, or the device has failed.
    fn launch(&self, call: &Call<'_>) -> Result<()>;
}
