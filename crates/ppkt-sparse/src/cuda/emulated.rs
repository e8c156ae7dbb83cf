//! Launchers on the processor: the kernels' own text, compiled for it.

use std::sync::LazyLock;

use candle_core::Result;
use ppkt_nvcc::{Arg, Emulated};

use super::conv_plan::Limits;
use super::gpu::{Geometry, Gpu, Number, Scalar, Source};

/// A source's kernels, which are compiled when they are first asked for.
fn kernels(source: Source) -> Option<&'static Emulated> {
    macro_rules! compiled {
        ($stem:literal) => {{
            static KERNELS: LazyLock<Option<Emulated>> =
                LazyLock::new(|| Emulated::build(&[concat!("src/cuda/", $stem, ".cu")]));
            KERNELS.as_ref()
        }};
    }
    match source {
        Source::ConvBf16 => compiled!("conv_bf16"),
        Source::ConvF32 => compiled!("conv_f32"),
        Source::ConvNarrow => compiled!("conv_narrow"),
        Source::ConvPack => compiled!("conv_pack"),
        Source::ConvTf32 => compiled!("conv_tf32"),
        Source::ConvWgrad => compiled!("conv_wgrad"),
        Source::Map => compiled!("map"),
        Source::Norm => compiled!("norm"),
        Source::Pool => compiled!("pool"),
        Source::Rows => compiled!("rows"),
        Source::Sort => compiled!("sort"),
    }
}

/// A GPU that is none.
pub(crate) struct Processor(());

impl Processor {
    /// `None`, with the reason printed, on a machine that cannot run kernels.
    pub(crate) fn new() -> Option<Self> {
        kernels(Source::Sort).map(|_| Self(()))
    }
}

impl Gpu for Processor {
    type Slice<T: Number> = Vec<T>;
    type View<'a, T: Number> = &'a [T];
    type Arg<'a> = Arg<'a>;

    fn limits(&self) -> Result<Limits> {
        Ok(Limits { multiprocessors: 2, shared_bytes: 227 * 1024 })
    }

    fn uninit<T: Number>(&self, len: usize) -> Result<Vec<T>> {
        // What nobody wrote should be seen: no kernel leaves this behind.
        Ok(vec![T::take(&[0xa5; 8][..size_of::<T>()]); len])
    }

    fn zeros<T: Number>(&self, len: usize) -> Result<Vec<T>> {
        Ok(vec![T::default(); len])
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<Vec<T>> {
        Ok(values.to_vec())
    }

    fn view<T: Number>(slice: &Vec<T>) -> &[T] {
        slice
    }

    fn shorten<'short, 'long: 'short, T: Number>(view: &'long [T]) -> &'short [T] {
        view
    }

    fn read<'a, T: Number>(&'a self, view: &'a [T]) -> Arg<'a> {
        Arg::read(view)
    }

    fn write<'a, T: Number>(&'a self, slice: &'a mut Vec<T>) -> Arg<'a> {
        Arg::write(slice)
    }

    fn null(&self) -> Arg<'_> {
        Arg::null()
    }

    fn scalar(&self, value: Scalar) -> Arg<'_> {
        match value {
            Scalar::I32(v) => Arg::value(v),
            Scalar::U32(v) => Arg::value(v),
            Scalar::F32(v) => Arg::value(v),
            Scalar::F64(v) => Arg::value(v),
        }
    }

    fn launch(&self, source: Source, kernel: &str, geometry: Geometry, mut args: Vec<Arg<'_>>) -> Result<()> {
        let Some(kernels) = kernels(source) else {
            candle_core::bail!("no compiler for {source:?}");
        };
        let [grid, block] = [geometry.grid, geometry.block].map(|[x, y, z]| (x, y, z));
        let shared = geometry.shared_bytes as usize;
        if kernel == "map_blocks" {
            // Which slot a block gets depends on who comes first; what is found in the table does not.
            kernels.launch_once(kernel, grid, block, shared, &mut args);
        } else {
            kernels.launch(kernel, grid, block, shared, &mut args);
        }
        Ok(())
    }
}
