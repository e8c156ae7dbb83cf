//! One tensor of a file: where it lies, and its numbers widened to f32.

use std::ops::Range;

use safetensors::tensor::Dtype;

/// Where a tensor lies.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name in the file.
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Numbers between neighbours along each axis; `None` where they lie row by row without gaps.
    pub(super) strides: Option<Vec<usize>>,
    /// Which file.
    pub(super) file: usize,
    /// From its first number to its last one.
    pub(super) bytes: Range<usize>,
}

/// Why a tensor's numbers cannot be had.
pub(super) enum Unreadable {
    /// Numbers of this type are no weights.
    Type,
    /// Its shape asks for more numbers than the file holds, by repeating them.
    Repeated,
}

impl Entry {
    /// Its numbers, row-major.
    pub(super) fn read(&self, file: &[u8]) -> Result<Vec<f32>, Unreadable> {
        let bytes = file.get(self.bytes.clone()).unwrap_or_default();
        let data: Vec<f32> = match self.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => {
                bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()
            }
            _ => return Err(Unreadable::Type),
        };
        match &self.strides {
            None => Ok(data),
            Some(strides) => gathered(&data, &self.shape, strides),
        }
    }
}

/// A tensor whose numbers lie `strides` apart, row-major. The first number is that at all zeros.
fn gathered(data: &[f32], shape: &[usize], strides: &[usize]) -> Result<Vec<f32>, Unreadable> {
    let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= data.len());
    let mut at: Vec<usize> = match n {
        Some(0) => Vec::new(),
        Some(_) => vec![0],
        None => return Err(Unreadable::Repeated),
    };
    for (&size, &stride) in shape.iter().zip(strides) {
        at = at.iter().flat_map(|first| (0..size).map(move |i| first + i * stride)).collect();
    }
    // Whoever made the entry checked that the last number is in the file.
    Ok(at.into_iter().map(|i| data.get(i).copied().unwrap_or(f32::NAN)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(shape: &[usize], strides: &[usize], n: usize) -> Entry {
        let (shape, strides) = (shape.to_vec(), Some(strides.to_vec()));
        Entry { name: String::new(), dtype: Dtype::F32, shape, strides, file: 0, bytes: 0..4 * n }
    }

    #[test]
    fn numbers_in_another_order_are_put_in_rows() {
        let bytes: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
        let read = |shape: &[usize], strides: &[usize]| entry(shape, strides, 6).read(&bytes).ok();
        assert_eq!(read(&[2, 3], &[3, 1]).unwrap(), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(read(&[3, 2], &[1, 3]).unwrap(), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(read(&[], &[]).unwrap(), [0.]);
        assert_eq!(read(&[0, 7], &[7, 1]).unwrap(), [0f32; 0]);
        // Repetition within what the data could hold is read; a shape beyond it is not made.
        assert_eq!(read(&[2, 2], &[0, 1]).unwrap(), [0., 1., 0., 1.]);
        assert!(read(&[1 << 40, 6], &[0, 1]).is_none());
        assert!(read(&[usize::MAX, 6], &[0, 1]).is_none());
    }
}
