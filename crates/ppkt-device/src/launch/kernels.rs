//! A source of kernels.

use std::borrow::Cow;

use super::{Gpu, Launch};

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

    /// A launch of one of them, whose arguments come next.
    pub fn launch<'a, G: Gpu>(
        &'static self,
        gpu: &'a G,
        kernel: impl Into<Cow<'static, str>>,
    ) -> Launch<'a, G> {
        Launch::new(gpu, self, kernel.into())
    }
}

/// `kernels!("stem")`: the [`Kernels`](crate::launch::Kernels) of `stem.cu`, which the crate's build script has embedded if
/// the crate's own feature `cuda` is on.
#[macro_export]
macro_rules! kernels {
    ($stem:literal) => {{
        #[cfg(feature = "cuda")]
        const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", $stem, ".fatbin"));
        #[cfg(not(feature = "cuda"))]
        const IMAGE: &[u8] = &[];
        $crate::launch::Kernels::new($stem, IMAGE)
    }};
}
