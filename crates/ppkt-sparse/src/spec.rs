//! Kernel size, stride and dilation of a convolution or pooling.

use crate::SparseError;

/// Kernel size, stride and dilation, the same along x, y and z.
///
/// Offsets are MinkowskiEngine's: x varies fastest, z slowest; an odd kernel is centred, an even one starts at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConvSpec {
    /// Voxels along one edge of the kernel: 1, 2, 3, 5, …
    pub kernel: usize,
    /// Factor by which the grid becomes coarser (finer, for a transposed convolution).
    pub stride: usize,
    /// Distance between neighbouring kernel voxels, in voxels of the (finer) grid.
    pub dilation: usize,
}

/// Kernels above this size have more weights than any network needs; a larger one is taken for a mistake.
const MAX_KERNEL: usize = 15;

impl ConvSpec {
    /// A kernel without dilation.
    pub const fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, dilation: 1 }
    }

    /// The same with a dilation.
    pub const fn with_dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// Number of kernel voxels, the `K` of a weight `[K, Cin, Cout]`.
    pub const fn volume(&self) -> usize {
        self.kernel * self.kernel * self.kernel
    }

    /// Whether this is a product with one matrix per row, without neighbours.
    pub const fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1
    }

    /// Whether offset `k` is the negative of offset `volume - 1 - k`, so that the map is its own transpose.
    pub(crate) const fn is_symmetric(&self) -> bool {
        self.stride == 1 && self.kernel % 2 == 1
    }

    /// The offsets in voxels of the finer grid, dilation included, in the order of the weights.
    pub fn offsets(&self) -> Vec<[i32; 3]> {
        let k = self.kernel as i32;
        let centre = if k % 2 == 1 { k / 2 } else { 0 };
        let d = self.dilation as i32;
        let at = |i: i32| (i - centre) * d;
        let mut offsets = Vec::with_capacity(self.volume());
        for z in 0..k {
            for y in 0..k {
                for x in 0..k {
                    offsets.push([at(x), at(y), at(z)]);
                }
            }
        }
        offsets
    }

    pub(crate) fn check(&self) -> Result<(), SparseError> {
        let Self { kernel, stride, dilation } = *self;
        let most = 1 << 16;
        if kernel == 0
            || stride == 0
            || dilation == 0
            || kernel > MAX_KERNEL
            || stride > most
            || dilation > most
        {
            return Err(SparseError::Spec { kernel, stride, dilation, max_kernel: MAX_KERNEL });
        }
        Ok(())
    }
}
