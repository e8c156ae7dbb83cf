//! A launch whose arguments are named, in the order of the kernel's parameters.

use std::borrow::Cow;
use std::marker::PhantomData;

use candle_core::{Error, Result};

use super::{Arg, Call, Geometry, Gpu, Kernels, Readable, Writable};

/// The most blocks along each axis.
const MOST_BLOCKS: [u32; 3] = [0x7fff_ffff, 0xffff, 0xffff];

/// A launch whose arguments are being named, in the order of the kernel's parameters. See
/// [`Kernels::launch`](super::Kernels::launch).
#[must_use = "nothing is launched before `run`"]
pub struct Launch<'a, G: Gpu> {
    gpu: &'a G,
    kernels: &'static Kernels,
    kernel: Cow<'static, str>,
    args: Vec<Arg>,
    /// The first count that no `int` holds.
    too_many: Option<usize>,
    /// Memory that the kernel has is borrowed until it is launched.
    of: PhantomData<&'a mut ()>,
}

impl<'a, G: Gpu> Launch<'a, G> {
    pub(super) fn new(gpu: &'a G, kernels: &'static Kernels, kernel: Cow<'static, str>) -> Self {
        Self { gpu, kernels, kernel, args: Vec::new(), too_many: None, of: PhantomData }
    }

    /// An array that is read, or a null pointer for [`None`].
    pub fn read(mut self, from: impl Readable<'a>) -> Self {
        self.args.push(from.read());
        self
    }

    /// An array that is written, or read and written, or a null pointer for [`None`].
    pub fn write(mut self, to: impl Writable<'a>) -> Self {
        self.args.push(to.write());
        self
    }

    /// A number of the kernel's type; a flag as `int`.
    pub fn value(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    /// A number of things as `int`. One that is too large for it makes [`Self::run`] fail.
    pub fn count(mut self, n: usize) -> Self {
        match i32::try_from(n) {
            Ok(n) => self.args.push(Arg::I32(n)),
            Err(_) => self.too_many = self.too_many.or(Some(n)),
        }
        self
    }

    /// Puts the kernel behind everything that the device was asked for before. A grid without blocks is no work, and no
    /// error.
    ///
    /// # Errors
    /// If there are more things or blocks than a kernel takes; the device's.
    pub fn run(self, geometry: Geometry) -> Result<()> {
        if geometry.grid.contains(&0) {
            return Ok(());
        }
        let kernel = &*self.kernel;
        let too_many = |what: &str, n: usize| {
            Error::msg(format!(
                "{kernel}: {n} {what} are too many for a kernel of a GPU: take smaller batches"
            ))
        };
        if let Some(n) = self.too_many {
            return Err(too_many("elements", n).bt());
        }
        let mut grid = [0; 3];
        for ((slot, blocks), most) in grid.iter_mut().zip(geometry.grid).zip(MOST_BLOCKS) {
            match u32::try_from(blocks) {
                Ok(blocks) if blocks <= most => *slot = blocks,
                _ => return Err(too_many("blocks", blocks).bt()),
            }
        }
        let shared_bytes = u32::try_from(geometry.shared_bytes)
            .map_err(|_| too_many("bytes of shared memory", geometry.shared_bytes))?;
        let (kernels, block, args) = (self.kernels, geometry.block, &self.args[..]);
        self.gpu.launch(&Call { kernels, kernel, grid, block, shared_bytes, args })
    }
}
