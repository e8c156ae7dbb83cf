//! A depth image in metres, and reading it.

use crate::{DepthEncoding, DepthError, Pixel, PixelIdx};

/// Depth of every pixel in metres, row-major; NaN where nothing was measured.
///
/// Whether depth is along the axis or along the ray is the camera's to say ([`crate::CameraModel::depth_measure`]).
#[derive(Clone, Debug)]
pub struct DepthMap {
    width: u32,
    height: u32,
    // Positive and finite, or NaN.
    metres: Vec<f32>,
}

impl DepthMap {
    /// From 16-bit values, row-major.
    ///
    /// # Errors
    /// [`DepthError::WrongLength`] unless there is a value for each pixel, [`DepthError::BadScale`].
    pub fn from_u16(
        width: u32,
        height: u32,
        raw: &[u16],
        encoding: &DepthEncoding,
    ) -> Result<Self, DepthError> {
        encoding.check()?;
        check_length(width, height, raw.len())?;
        Ok(Self { width, height, metres: raw.iter().map(|&v| encoding.metres(v)).collect() })
    }

    /// From metres, row-major. What is not positive and finite counts as no measurement.
    ///
    /// # Errors
    /// [`DepthError::WrongLength`] unless there is a value for each pixel.
    pub fn from_metres(width: u32, height: u32, mut metres: Vec<f32>) -> Result<Self, DepthError> {
        check_length(width, height, metres.len())?;
        for depth_m in &mut metres {
            if !(*depth_m > 0.0 && depth_m.is_finite()) {
                *depth_m = f32::NAN;
            }
        }
        Ok(Self { width, height, metres })
    }

    /// A map in which nothing is measured.
    pub fn empty(width: u32, height: u32) -> Self {
        Self { width, height, metres: vec![f32::NAN; width as usize * height as usize] }
    }

    /// Width, pixels.
    #[inline]
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Height, pixels.
    #[inline]
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// All depths in metres, row-major, NaN where nothing was measured.
    #[inline]
    pub fn metres(&self) -> &[f32] {
        &self.metres
    }

    pub(crate) fn metres_mut(&mut self) -> &mut [f32] {
        &mut self.metres
    }

    /// Number of pixels with a measurement.
    pub fn n_valid(&self) -> usize {
        self.metres.iter().filter(|d| !d.is_nan()).count()
    }

    /// Depth at a pixel, metres, or `None` outside the image and where nothing was measured.
    #[inline]
    pub fn at(&self, pixel: PixelIdx) -> Option<f32> {
        if pixel.row >= self.height || pixel.col >= self.width {
            return None;
        }
        let depth_m = self.metres[pixel.index(self.width)];
        (!depth_m.is_nan()).then_some(depth_m)
    }

    /// Depth of the pixel that contains a place.
    #[inline]
    pub fn sample_nearest(&self, pixel: Pixel) -> Option<f32> {
        pixel.containing_in(self.width, self.height).and_then(|p| self.at(p))
    }

    /// Depth between the centres of the four pixels around, weighted by closeness; within half a pixel of the border
    /// the border's own pixels count for what is beyond.
    ///
    /// `None` outside the image, or if a pixel with a weight has no measurement. Across the edge of an object the
    /// mean of near and far is a place where nothing is; where that matters, use [`Self::sample_nearest`].
    pub fn sample_bilinear(&self, pixel: Pixel) -> Option<f32> {
        if !pixel.is_inside(self.width, self.height) {
            return None;
        }
        let (col, col_next, right) = taps(pixel.u, self.width);
        let (row, row_next, down) = taps(pixel.v, self.height);
        let mut sum = 0.0;
        for (row, weight_row) in [(row, 1.0 - down), (row_next, down)] {
            for (col, weight_col) in [(col, 1.0 - right), (col_next, right)] {
                let weight = weight_row * weight_col;
                if weight > 0.0 {
                    sum += weight * f64::from(self.at(PixelIdx { row, col })?);
                }
            }
        }
        Some(sum as f32)
    }

    /// The map at another size, each new pixel taking the depth of the old one that holds its centre (a mean would
    /// invent points between near and far). Goes with [`crate::CameraModel::resized`].
    pub fn resized(&self, width: u32, height: u32) -> Self {
        let source = |i: u32, new: u32, old: u32| {
            // (i + ½) · old / new in whole numbers, so that no rounding decides.
            ((2 * u64::from(i) + 1) * u64::from(old) / (2 * u64::from(new))) as usize
        };
        let cols: Vec<usize> = (0..width).map(|col| source(col, width, self.width)).collect();
        let mut metres = Vec::with_capacity(width as usize * height as usize);
        for row in 0..height {
            let start = source(row, height, self.height) * self.width as usize;
            if self.metres.is_empty() {
                metres.extend(cols.iter().map(|_| f32::NAN));
            } else {
                metres.extend(cols.iter().map(|col| self.metres[start + col]));
            }
        }
        Self { width, height, metres }
    }

    /// The window with its upper left pixel at (`row0`, `col0`); beyond the image nothing is measured. Goes with
    /// [`crate::CameraModel::cropped`].
    pub fn cropped(&self, col0: i64, row0: i64, width: u32, height: u32) -> Self {
        let mut metres = Vec::with_capacity(width as usize * height as usize);
        for row in 0..i64::from(height) {
            for col in 0..i64::from(width) {
                let source = u32::try_from(row0.saturating_add(row))
                    .ok()
                    .zip(u32::try_from(col0.saturating_add(col)).ok())
                    .and_then(|(row, col)| self.at(PixelIdx { row, col }));
                metres.push(source.unwrap_or(f32::NAN));
            }
        }
        Self { width, height, metres }
    }

    /// The map mirrored left to right. Goes with [`crate::CameraModel::flipped_horizontally`].
    pub fn flipped_horizontally(&self) -> Self {
        let mut flipped = self.clone();
        if self.width > 0 {
            flipped.metres.chunks_exact_mut(self.width as usize).for_each(<[f32]>::reverse);
        }
        flipped
    }
}

impl PartialEq for DepthMap {
    /// Same size, and every pixel equal or without a measurement in both.
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height) == (other.width, other.height)
            && self.metres.iter().zip(&other.metres).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
    }
}

fn check_length(width: u32, height: u32, got: usize) -> Result<(), DepthError> {
    let expected = width as usize * height as usize;
    if got == expected { Ok(()) } else { Err(DepthError::WrongLength { width, height, expected, got }) }
}

/// The two pixels around a continuous coordinate, and the weight of the second.
fn taps(coordinate: f64, size: u32) -> (u32, u32, f64) {
    let from_centre = (coordinate - 0.5).clamp(0.0, f64::from(size - 1));
    let first = from_centre.floor();
    let index = first as u32;
    (index, (index + 1).min(size - 1), from_centre - first)
}
