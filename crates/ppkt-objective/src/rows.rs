//! Rows of matrices: reading tensors, checking them, and unit length with its gradient.
//!
//! M = rows, D = channels.

use candle_core::{DType, Device, Storage, Tensor};
use rayon::prelude::*;

use crate::error::ObjectiveError;

/// Rows shorter than this are divided by it instead of by their length.
pub(crate) const SHORTEST: f64 = 1e-12;

/// Rows that one task takes. Fixed, so that nothing depends on the number of threads.
const ROWS: usize = 64;

/// The tensor as contiguous rows of f32; on the CPU, with every value finite.
pub(crate) fn checked(what: &'static str, t: &Tensor) -> Result<Tensor, ObjectiveError> {
    if t.dtype() != DType::F32 {
        return Err(ObjectiveError::DType { what, got: t.dtype() });
    }
    let dim = t.dims().last().copied().unwrap_or(0);
    if t.elem_count() == 0 {
        return Err(ObjectiveError::Empty { what });
    }
    let t = t.contiguous()?;
    if !matches!(t.device(), Device::Cpu) {
        // Looking would make the host wait; a loss over such a value is not finite itself.
        return Ok(t);
    }
    let bad = with_values(&t, |v| {
        let rows = v.par_chunks(dim * ROWS).enumerate();
        // The lowest row wins, whichever task ends first.
        rows.filter_map(|(i, block)| {
            let bad = block.chunks(dim).position(|row| row.iter().any(|x| !x.is_finite()))?;
            Some(i * ROWS + bad)
        })
        .min()
    })?;
    match bad {
        Some(row) => Err(ObjectiveError::NotFinite { what, row }),
        None => Ok(t),
    }
}

/// That a tensor lies where its partner does.
pub(crate) fn same_device(what: &'static str, t: &Tensor, partner: &Tensor) -> Result<(), ObjectiveError> {
    if t.device().same_device(partner.device()) { Ok(()) } else { Err(ObjectiveError::Device { what }) }
}

/// Two matrices of one shape, checked.
pub(crate) fn checked_pair(
    point: &Tensor,
    pixel: &Tensor,
) -> Result<(Tensor, Tensor, [usize; 2]), ObjectiveError> {
    let shape =
        |what, expected: String, t: &Tensor| ObjectiveError::Shape { what, expected, got: t.dims().to_vec() };
    let &[m, d] = point.dims() else { return Err(shape("point", "[M, D]".into(), point)) };
    if pixel.dims() != [m, d] {
        return Err(shape("pixel", format!("[{m}, {d}], as point has,"), pixel));
    }
    same_device("pixel", pixel, point)?;
    Ok((checked("point", point)?, checked("pixel", pixel)?, [m, d]))
}

/// Runs `f` on the values of a contiguous f32 tensor on the CPU.
pub(crate) fn with_values<R>(t: &Tensor, f: impl FnOnce(&[f32]) -> R) -> candle_core::Result<R> {
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cpu(cpu) = &*storage else { candle_core::bail!("a tensor on the CPU is expected") };
    let Some((from, to)) = layout.contiguous_offsets() else { candle_core::bail!("contiguous is expected") };
    Ok(f(&cpu.as_slice::<f32>()?[from..to]))
}

/// Length of a row, in f64: a square of a large f32 does not overflow there.
pub(crate) fn length(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

/// Rows of unit length, and what is needed to bring a gradient back through that.
pub(crate) struct UnitRows {
    /// `[M, D]`
    pub(crate) values: Vec<f32>,
    /// `[M]`
    lengths: Vec<f64>,
    dim: usize,
}

impl UnitRows {
    /// `x / max(|x|, 1e-12)` of each row.
    pub(crate) fn of(raw: &[f32], dim: usize) -> Self {
        let mut values = vec![0f32; raw.len()];
        let mut lengths = vec![0f64; raw.len() / dim];
        let tasks = values.par_chunks_mut(dim * ROWS).zip(lengths.par_chunks_mut(ROWS));
        tasks.zip(raw.par_chunks(dim * ROWS)).for_each(|((values, lengths), raw)| {
            for ((out, length_out), row) in
                values.chunks_exact_mut(dim).zip(lengths).zip(raw.chunks_exact(dim))
            {
                *length_out = length(row);
                let scale = 1.0 / length_out.max(SHORTEST);
                for (o, x) in out.iter_mut().zip(row) {
                    *o = (f64::from(*x) * scale) as f32;
                }
            }
        });
        Self { values, lengths, dim }
    }

    /// Turns the gradient by the unit rows into the gradient by the raw rows, in place.
    pub(crate) fn pull_back(&self, grad: &mut [f32]) {
        let dim = self.dim;
        let tasks = grad.par_chunks_mut(dim * ROWS).zip(self.values.par_chunks(dim * ROWS));
        tasks.zip(self.lengths.par_chunks(ROWS)).for_each(|((grad, unit), lengths)| {
            for ((g, y), &length) in grad.chunks_exact_mut(dim).zip(unit.chunks_exact(dim)).zip(lengths) {
                pull_back_row(g, y, length);
            }
        });
    }
}

/// One row of the gradient of `y = x / |x|`: `(g − y (y · g)) / |x|`.
///
/// A row shorter than 1e-12 has no direction to turn. The formula's own gradient there, `g · 1e12`, would throw the
/// weights away in one step, so it gets none.
pub(crate) fn pull_back_row(grad: &mut [f32], unit: &[f32], length: f64) {
    if length < SHORTEST {
        return grad.fill(0.0);
    }
    let along: f64 = grad.iter().zip(unit).map(|(&g, &y)| f64::from(g) * f64::from(y)).sum();
    for (g, &y) in grad.iter_mut().zip(unit) {
        *g = ((f64::from(*g) - f64::from(y) * along) / length) as f32;
    }
}
