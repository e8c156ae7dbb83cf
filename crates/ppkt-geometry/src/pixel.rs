//! Places in an image, continuous and whole.

/// A place in an image: `u` to the right, `v` down.
///
/// **The centre of the first pixel is (0.5, 0.5)**, and pixel (row, col) covers `u` in `[col, col + 1)`, `v` in
/// `[row, row + 1)`. OpenCV and most data sets put that centre at (0, 0); [`Self::from_opencv`] converts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pixel {
    /// To the right, pixels from the left edge of the image.
    pub u: f64,
    /// Down, pixels from the upper edge of the image.
    pub v: f64,
}

/// A whole pixel, counted from the upper left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PixelIdx {
    /// Row, 0 at the top.
    pub row: u32,
    /// Column, 0 at the left.
    pub col: u32,
}

impl Pixel {
    /// From `u` and `v`.
    #[inline]
    pub const fn new(u: f64, v: f64) -> Self {
        Self { u, v }
    }

    /// From coordinates in which the centre of the first pixel is (0, 0).
    #[inline]
    pub const fn from_opencv(x: f64, y: f64) -> Self {
        Self { u: x + 0.5, v: y + 0.5 }
    }

    /// `(x, y)` in coordinates in which the centre of the first pixel is (0, 0).
    #[inline]
    pub const fn to_opencv(self) -> (f64, f64) {
        (self.u - 0.5, self.v - 0.5)
    }

    /// The whole pixel that contains this place (floor).
    ///
    /// # Panics
    /// If a coordinate is negative, NaN or beyond `u32`. What [`crate::CameraModel::project`] returns never is; for
    /// other places ask [`Self::containing_in`].
    #[inline]
    #[track_caller]
    pub fn containing(self) -> PixelIdx {
        assert!(
            self.u >= 0.0 && self.v >= 0.0 && self.u < 4294967296.0 && self.v < 4294967296.0,
            "{self:?} lies in no pixel"
        );
        PixelIdx { row: self.v as u32, col: self.u as u32 }
    }

    /// The whole pixel that contains this place, or `None` outside an image of this size.
    #[inline]
    pub fn containing_in(self, width: u32, height: u32) -> Option<PixelIdx> {
        self.is_inside(width, height).then_some(PixelIdx { row: self.v as u32, col: self.u as u32 })
    }

    /// Whether it lies in an image of this size: `0 ≤ u < width` and `0 ≤ v < height`.
    #[inline]
    pub fn is_inside(self, width: u32, height: u32) -> bool {
        self.u >= 0.0 && self.v >= 0.0 && self.u < f64::from(width) && self.v < f64::from(height)
    }
}

impl PixelIdx {
    /// From row and column.
    #[inline]
    pub const fn new(row: u32, col: u32) -> Self {
        Self { row, col }
    }

    /// Its centre, half a pixel in.
    #[inline]
    pub fn centre(self) -> Pixel {
        Pixel { u: f64::from(self.col) + 0.5, v: f64::from(self.row) + 0.5 }
    }

    /// Place in a row-major list of an image of this width.
    #[inline]
    pub const fn index(self, width: u32) -> usize {
        self.row as usize * width as usize + self.col as usize
    }
}
