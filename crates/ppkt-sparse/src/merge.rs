//! Voxels that are given more than once, merged into one row.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::{Merging, ops};
use crate::rows::{cpu_view, f32_slice, map_blocks_mut, of_rows};
use crate::tensor::check_rows;
use crate::{CoordinateManager, Coords, SparseError, SparseTensor};

const OP: &str = "merge";

/// What becomes of the features of voxels that are given more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Merge {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl SparseTensor {
    /// As [`SparseTensor::new`], of coordinates that may occur more than once: their features become one row.
    ///
    /// Also returns the tensor's row of each row of the caller's lists. Sums are f64 and in the order of the caller's
    /// rows. The gradient of a merged row goes to all that it is made of.
    ///
    /// # Shapes
    /// - `coords`: `N` times batch, x, y, z
    /// - `features`: `[N, C]`, f32
    /// - result: `[M, C]` on the `M ≤ N` distinct coordinates
    ///
    /// # Errors
    /// As [`SparseTensor::new`], but for duplicates.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use ppkt_sparse::{Merge, SparseTensor};
    ///
    /// let features = Tensor::new(&[[1f32], [5.0], [3.0]], &Device::Cpu)?;
    /// let (x, rows) = SparseTensor::merged(&[[0, 2, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0]], features, Merge::Mean)?;
    /// assert_eq!(rows, [1, 0, 1]);
    /// assert_eq!(x.features().to_vec2::<f32>()?, [[5.0], [2.0]]);
    /// # Ok::<(), ppkt_sparse::SparseError>(())
    /// ```
    pub fn merged(
        coords: &[[i32; 4]],
        features: Tensor,
        merge: Merge,
    ) -> std::result::Result<(Self, Vec<u32>), SparseError> {
        let (coords, row_of_input) = Coords::merged(coords)?;
        check_rows("merged sparse tensor", &features, row_of_input.len())?;
        let op = Merged::new(merge, coords.len(), &row_of_input);
        let features = features.contiguous()?.apply_op1(op)?;
        let manager = CoordinateManager::new(coords);
        Ok((Self::on(&manager, 1, features)?, row_of_input))
    }
}

struct Merged {
    merge: Merge,
    row_of_input: Vec<u32>,
    /// Input rows of row `r` of the result are `inputs[starts[r]..starts[r + 1]]`, in ascending order.
    starts: Vec<u32>,
    inputs: Vec<u32>,
}

impl Merged {
    fn new(merge: Merge, rows: usize, row_of_input: &[u32]) -> Self {
        let mut starts = vec![0u32; rows + 1];
        row_of_input.iter().for_each(|&row| starts[row as usize + 1] += 1);
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut inputs = vec![0; row_of_input.len()];
        for (input, &row) in (0u32..).zip(row_of_input) {
            inputs[next[row as usize] as usize] = input;
            next[row as usize] += 1;
        }
        Self { merge, row_of_input: row_of_input.to_vec(), starts, inputs }
    }

    fn inputs(&self, row: usize) -> &[u32] {
        &self.inputs[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    /// What each input's share is multiplied with.
    fn divisor(&self, row: usize) -> f64 {
        match self.merge {
            Merge::Mean => self.inputs(row).len() as f64,
            Merge::Sum => 1.0,
        }
    }
}

#[cfg(feature = "cuda")]
impl Merged {
    fn merging(&self) -> Merging<'_> {
        let Self { merge, row_of_input, starts, inputs } = self;
        Merging { starts, inputs, row_of_input, mean: *merge == Merge::Mean }
    }
}

#[cfg(feature = "metal")]
impl Merged {
    fn merging_on_metal(&self) -> crate::metal::rows::Merging<'_> {
        let Self { merge, row_of_input, starts, inputs } = self;
        crate::metal::rows::Merging { starts, inputs, row_of_input, mean: *merge == Merge::Mean }
    }
}

impl CustomOp1 for Merged {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = f32_slice(OP, x, l)?;
        let (_, c) = l.shape().dims2()?;
        let rows = self.starts.len() - 1;
        let mut y = vec![0f32; rows * c];
        map_blocks_mut(&mut y, c, |block, out| {
            let mut sum = vec![0f64; c];
            for (row, out) in block.zip(out.chunks_exact_mut(c)) {
                sum.fill(0.0);
                for &input in self.inputs(row) {
                    let x = of_rows(xs, input as usize..input as usize + 1, c);
                    sum.iter_mut().zip(x).for_each(|(s, &x)| *s += f64::from(x));
                }
                let divisor = self.divisor(row);
                out.iter_mut().zip(&sum).for_each(|(o, s)| *o = (s / divisor) as f32);
            }
        });
        Ok((CpuStorage::F32(y), Shape::from((rows, c))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        ops::merge(self.merging(), (x, l))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        x: &candle_core::MetalStorage,
        l: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        crate::metal::ops::merge(self.merging_on_metal(), (x, l))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return ops::merge_gradient(self.merging(), &grad).map(Some);
        }
        #[cfg(feature = "metal")]
        if x.device().is_metal() {
            return crate::metal::ops::merge_gradient(self.merging_on_metal(), &grad).map(Some);
        }
        let gs = cpu_view(OP, &grad)?;
        let (n, c) = x.dims2()?;
        let mut dx = vec![0f32; n * c];
        map_blocks_mut(&mut dx, c, |block, out| {
            for (input, out) in block.zip(out.chunks_exact_mut(c)) {
                let row = self.row_of_input[input] as usize;
                let (g, divisor) = (of_rows(&gs, row..row + 1, c), self.divisor(row));
                out.iter_mut().zip(g).for_each(|(o, &g)| *o = (f64::from(g) / divisor) as f32);
            }
        });
        Tensor::from_vec(dx, (n, c), &Device::Cpu).map(Some)
    }
}
