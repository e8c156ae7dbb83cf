//! What a launcher needs of a device.

use candle_core::Result;
#[cfg(feature = "cuda")]
use candle_core::cuda::cudarc::driver::{DeviceRepr, ValidAsZeroBits};

use super::conv_plan::Limits;

/// What arrays on a device are made of, and kernels are given. Zero bytes are a number of each.
#[cfg(all(feature = "cuda", not(test)))]
pub(crate) trait Number: DeviceRepr + ValidAsZeroBits + Copy + 'static {}
/// What arrays on a device are made of, and kernels are given.
#[cfg(all(feature = "cuda", test))]
pub(crate) trait Number:
    DeviceRepr + ValidAsZeroBits + ppkt_nvcc::Element + Default + 'static
{
}
/// What arrays on a device are made of, and kernels are given.
#[cfg(not(feature = "cuda"))]
pub(crate) trait Number: ppkt_nvcc::Element + Default + 'static {}

impl Number for u8 {}
impl Number for i32 {}
impl Number for u32 {}
impl Number for i64 {}
impl Number for u64 {}
impl Number for f32 {}
impl Number for f64 {}
impl Number for half::bf16 {}

/// What features are made of; arithmetic is in f32.
pub(crate) trait Feature: Number {
    /// The end of the names of its kernels.
    const NAME: &'static str;
}

impl Feature for f32 {
    const NAME: &'static str = "f32";
}

impl Feature for half::bf16 {
    const NAME: &'static str = "bf16";
}

/// The name of a kernel for a type of features.
pub(crate) fn kernel<T: Feature>(name: &str) -> String {
    format!("{name}_{}", T::NAME)
}

/// A source of kernels, by its stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    ConvBf16,
    ConvF32,
    ConvNarrow,
    ConvPack,
    ConvTf32,
    ConvWgrad,
    Map,
    Norm,
    Pool,
    Rows,
    Sort,
}

/// Numbers of blocks and of threads in each, and bytes of shared memory that a kernel asks for by `DYNAMIC_SHARED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
}

impl Geometry {
    /// Blocks along one axis.
    pub(crate) fn line(blocks: usize, threads: u32) -> Self {
        Self { grid: [blocks as u32, 1, 1], block: [threads, 1, 1], shared_bytes: 0 }
    }

    /// The same blocks, each of other threads.
    pub(crate) fn with_block(self, block: [u32; 3]) -> Self {
        Self { block, ..self }
    }

    /// A thread for each of `n`.
    pub(crate) fn threads(n: usize, threads: u32) -> Self {
        Self::line(n.div_ceil(threads as usize), threads)
    }
}

/// A number among the arguments of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar {
    I32(i32),
    U32(u32),
    F32(f32),
    F64(f64),
}

macro_rules! scalars {
    ($($t:ty, $variant:ident;)*) => {$(
        impl From<$t> for Scalar {
            fn from(value: $t) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

scalars! { i32, I32; u32, U32; f32, F32; f64, F64; }

/// A device with memory of its own, on which work is done in the order in which it is asked for.
pub(crate) trait Gpu: Sized {
    /// An array.
    type Slice<T: Number>;
    /// An array, or a part of one, that is read.
    type View<'a, T: Number>: Copy
    where
        Self: 'a;
    /// An argument of a kernel.
    type Arg<'a>
    where
        Self: 'a;

    /// What there is for blocks.
    fn limits(&self) -> Result<Limits>;
    /// An array of which nothing has been written.
    fn uninit<T: Number>(&self, len: usize) -> Result<Self::Slice<T>>;
    /// An array of zero bytes.
    fn zeros<T: Number>(&self, len: usize) -> Result<Self::Slice<T>>;
    /// An array with the host's numbers.
    fn upload<T: Number>(&self, values: &[T]) -> Result<Self::Slice<T>>;
    /// The whole of an array.
    fn view<'a, T: Number>(slice: &'a Self::Slice<T>) -> Self::View<'a, T>;

    /// The same for a shorter time.
    fn shorten<'short, 'long: 'short, T: Number>(view: Self::View<'long, T>) -> Self::View<'short, T>;
    /// An array that is read.
    fn read<'a, T: Number>(&'a self, view: Self::View<'a, T>) -> Self::Arg<'a>;
    /// An array that is written, or read and written.
    fn write<'a, T: Number>(&'a self, slice: &'a mut Self::Slice<T>) -> Self::Arg<'a>;
    /// An array that is not there.
    fn null(&self) -> Self::Arg<'_>;
    /// A number.
    fn scalar(&self, value: Scalar) -> Self::Arg<'_>;
    /// Asks for a kernel to be run. A grid without blocks is no work, and no error.
    fn launch(
        &self,
        source: Source,
        kernel: &str,
        geometry: Geometry,
        args: Vec<Self::Arg<'_>>,
    ) -> Result<()>;
}

/// A launch whose arguments are being named, in the order of the kernel's parameters.
pub(crate) struct Launch<'a, G: Gpu> {
    gpu: &'a G,
    args: Vec<G::Arg<'a>>,
}

impl<'a, G: Gpu> Launch<'a, G> {
    pub(crate) fn on(gpu: &'a G) -> Self {
        Self { gpu, args: Vec::new() }
    }

    /// An argument that is at hand.
    pub(crate) fn arg(mut self, arg: G::Arg<'a>) -> Self {
        self.args.push(arg);
        self
    }

    /// An array that is read.
    pub(crate) fn read<T: Number>(self, slice: &'a G::Slice<T>) -> Self {
        self.view(G::view(slice))
    }

    /// An array, or a part of one, that is read.
    pub(crate) fn view<'v: 'a, T: Number>(mut self, view: G::View<'v, T>) -> Self {
        self.args.push(self.gpu.read(G::shorten(view)));
        self
    }

    /// As [`Self::view`], of an array that may be absent.
    pub(crate) fn view_or_null<'v: 'a, T: Number>(mut self, view: Option<G::View<'v, T>>) -> Self {
        let arg = view.map_or_else(|| self.gpu.null(), |view| self.gpu.read(G::shorten(view)));
        self.args.push(arg);
        self
    }

    /// An array that is written, or read and written.
    pub(crate) fn write<T: Number>(mut self, slice: &'a mut G::Slice<T>) -> Self {
        self.args.push(self.gpu.write(slice));
        self
    }

    /// As [`Self::write`], of an array that may be absent.
    pub(crate) fn write_or_null<T: Number>(mut self, slice: Option<&'a mut G::Slice<T>>) -> Self {
        let arg = match slice {
            Some(slice) => self.gpu.write(slice),
            None => self.gpu.null(),
        };
        self.args.push(arg);
        self
    }

    /// A number.
    pub(crate) fn value(mut self, value: impl Into<Scalar>) -> Self {
        self.args.push(self.gpu.scalar(value.into()));
        self
    }

    pub(crate) fn run(self, source: Source, kernel: &str, geometry: Geometry) -> Result<()> {
        if geometry.grid.contains(&0) {
            return Ok(());
        }
        self.gpu.launch(source, kernel, geometry, self.args)
    }
}
