//! Rows of a matrix by their numbers, with a gradient that is made at once.
//!
//! candle's own `index_select` goes back through `index_add`, which on a GPU walks through all numbers with one thread a
//! column.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
#[cfg(feature = "metal")]
use candle_core::{DType, backend::BackendStorage};
#[cfg(feature = "cuda")]
use ppkt_device::cuda::{CudaDevice, view};
#[cfg(feature = "metal")]
use ppkt_device::metal::{Metal, MetalBuffer};

#[cfg(feature = "cuda")]
use crate::cuda::{RowsOnDevice, collect_rows, gather_rows};
#[cfg(feature = "metal")]
use crate::metal;

/// Which rows of a matrix are asked for, on the device that the matrix will be on: nothing is sent there when it is
/// used.
pub(crate) struct RowIndex {
    rows: Vec<u32>,
    readers: Readers,
    #[cfg_attr(not(any(feature = "cuda", feature = "metal")), expect(dead_code, reason = "for kernels"))]
    there: There,
}

/// What kernels of a GPU read.
enum There {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(Box<RowsOnDevice<CudaDevice>>),
    #[cfg(feature = "metal")]
    Metal(Box<metal::RowsOnDevice<MetalBuffer>>),
}

impl RowIndex {
    /// # Errors
    /// Of the device, such as memory that does not suffice.
    pub(crate) fn new(rows: Vec<u32>, device: &Device) -> Result<Arc<Self>> {
        let readers = Readers::of(&rows);
        let there = match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => There::Cuda(Box::new(RowsOnDevice::new(device, &rows, &readers)?)),
            #[cfg(feature = "metal")]
            Device::Metal(device) => {
                There::Metal(Box::new(metal::RowsOnDevice::new(&Metal::new(device), &rows, &readers)?))
            }
            _ => There::Cpu,
        };
        Ok(Arc::new(Self { rows, readers, there }))
    }

    /// The index on the GPU of a matrix.
    #[cfg(feature = "cuda")]
    fn on_cuda(&self) -> Result<&RowsOnDevice<CudaDevice>> {
        match &self.there {
            There::Cuda(rows) => Ok(rows),
            _ => candle_core::bail!("rows-at: the index is not on the GPU of the matrix"),
        }
    }

    /// The same of an Apple GPU.
    #[cfg(feature = "metal")]
    fn on_metal(&self) -> Result<&metal::RowsOnDevice<MetalBuffer>> {
        match &self.there {
            There::Metal(rows) => Ok(rows),
            _ => candle_core::bail!("rows-at: the index is not on the GPU of the matrix"),
        }
    }
}

/// Some rows of a matrix `[N, D]`, `[M, D]`, differentiable; a row may be asked for several times.
///
/// # Errors
/// If there is no such row, the matrix is none, or it is on another device than the index.
pub(crate) fn rows_at(matrix: &Tensor, index: &Arc<RowIndex>) -> Result<Tensor> {
    let (n, _) = matrix.dims2()?;
    if let Some(row) = index.rows.iter().find(|&&row| row as usize >= n) {
        candle_core::bail!("rows-at: row {row} of {n}");
    }
    matrix.contiguous()?.apply_op1(RowsAt(index.clone()))
}

struct RowsAt(Arc<RowIndex>);

/// Who reads each row that is read at all.
pub(crate) struct Readers {
    /// Rows that are read, ascending.
    pub(crate) rows: Vec<u32>,
    /// Row `rows[i]` is read by `readers[starts[i]..starts[i + 1]]`, ascending.
    pub(crate) starts: Vec<u32>,
    pub(crate) readers: Vec<u32>,
}

impl Readers {
    pub(crate) fn of(rows: &[u32]) -> Self {
        let mut readers: Vec<u32> = (0..rows.len() as u32).collect();
        readers.sort_by_key(|&reader| rows[reader as usize]);
        let (mut distinct, mut starts) = (Vec::new(), Vec::new());
        for (place, &reader) in (0..).zip(&readers) {
            let row = rows[reader as usize];
            if distinct.last() != Some(&row) {
                distinct.push(row);
                starts.push(place);
            }
        }
        starts.push(readers.len() as u32);
        Self { rows: distinct, starts, readers }
    }
}

/// The values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => candle_core::bail!("rows-at: a contiguous tensor is expected"),
    }
}

impl CustomOp1 for RowsAt {
    fn name(&self) -> &'static str {
        "rows-at"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (matrix, (_, dim)) = (values(storage, layout)?, layout.shape().dims2()?);
        let rows = &self.0.rows;
        let mut out = Vec::with_capacity(rows.len() * dim);
        rows.iter().for_each(|&row| out.extend_from_slice(&matrix[row as usize * dim..][..dim]));
        Ok((CpuStorage::F32(out), Shape::from((rows.len(), dim))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let (gpu, rows) = (&storage.device, self.0.on_cuda()?);
        let (_, dim) = layout.shape().dims2()?;
        let out = gather_rows(gpu, view(self.name(), (storage, layout))?, rows, dim)?;
        Ok((out.into_storage(gpu), Shape::from((self.0.rows.len(), dim))))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        let (gpu, rows) = (Metal::new(storage.device()), self.0.on_metal()?);
        let (_, dim) = layout.shape().dims2()?;
        let out = metal::gather_rows(&gpu, &gpu.view(self.name(), storage, layout)?, rows, dim)?;
        Ok((gpu.storage(out, DType::F32)?, Shape::from((self.0.rows.len(), dim))))
    }

    fn bwd(&self, matrix: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Collect { index: self.0.clone(), size: matrix.dims2()? };
        grad.detach().contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}

/// From the gradient by the rows to that by the matrix.
struct Collect {
    index: Arc<RowIndex>,
    /// Of the matrix.
    size: (usize, usize),
}

impl CustomOp1 for Collect {
    fn name(&self) -> &'static str {
        "rows-at-backward"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gradient, (n, dim)) = (values(storage, layout)?, self.size);
        let Readers { rows, starts, readers } = &self.index.readers;
        let mut out = vec![0f32; n * dim];
        for (&row, range) in rows.iter().zip(starts.windows(2)) {
            let out = &mut out[row as usize * dim..][..dim];
            for &reader in &readers[range[0] as usize..range[1] as usize] {
                let row = &gradient[reader as usize * dim..][..dim];
                out.iter_mut().zip(row).for_each(|(o, g)| *o += g);
            }
        }
        Ok((CpuStorage::F32(out), Shape::from(self.size)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let (gpu, rows) = (&storage.device, self.index.on_cuda()?);
        let out = collect_rows(gpu, view(self.name(), (storage, layout))?, rows, self.size)?;
        Ok((out.into_storage(gpu), Shape::from(self.size)))
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(
        &self,
        storage: &candle_core::MetalStorage,
        layout: &Layout,
    ) -> Result<(candle_core::MetalStorage, Shape)> {
        let (gpu, rows) = (Metal::new(storage.device()), self.index.on_metal()?);
        let out = metal::collect_rows(&gpu, &gpu.view(self.name(), storage, layout)?, rows, self.size)?;
        Ok((gpu.storage(out, DType::F32)?, Shape::from(self.size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    /// Row 2 is read twice and row 0 never.
    const ROWS: [u32; 4] = [2, 1, 2, 3];

    #[test]
    fn device_rows_and_gradients_are_those_of_candle_on_the_cpu() {
        for device in ppkt_testkit::devices() {
            let values: Vec<f32> = (0..12).map(|i| i as f32 * 0.5 - 2.0).collect();
            let by: Vec<f32> = (0..12).map(|i| (i * i) as f32 * 0.25 - 3.0).collect();
            let run = |device: &Device, ours: bool| {
                let matrix = Var::from_vec(values.clone(), (4, 3), device).unwrap();
                let rows = match ours {
                    true => rows_at(&matrix, &RowIndex::new(ROWS.to_vec(), device).unwrap()).unwrap(),
                    false => matrix.index_select(&Tensor::new(&ROWS, device).unwrap(), 0).unwrap(),
                };
                let by = Tensor::from_vec(by.clone(), (4, 3), device).unwrap();
                let grads = (&rows * by).unwrap().sum_all().unwrap().backward().unwrap();
                [&rows, grads.get(&matrix).unwrap()].map(|t| t.to_vec2::<f32>().unwrap())
            };
            assert_eq!(run(&device, true), run(&Device::Cpu, false), "{:?}", device.location());
        }
    }

    #[test]
    fn a_row_that_is_not_there_is_told() {
        let matrix = Tensor::zeros((4, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let index = |rows| RowIndex::new(rows, &Device::Cpu).unwrap();
        assert!(rows_at(&matrix, &index(vec![4])).unwrap_err().to_string().contains("row 4 of 4"));
        assert_eq!(rows_at(&matrix, &index(Vec::new())).unwrap().dims(), [0, 3]);
    }
}
