//! What goes into a teacher and what comes out.

use candle_core::Tensor;

use crate::error::TeacherError;

/// A batch of colour images of one size, 8 bits a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// How many.
    pub n: usize,
    /// Rows of each.
    pub height: usize,
    /// Columns of each.
    pub width: usize,
    /// `[n, height, width, 3]`, red, green, blue interleaved, not normalised: the teacher does that.
    pub rgb: Vec<u8>,
}

impl Images {
    /// Checks that the buffer holds what the sizes say.
    ///
    /// # Errors
    /// [`TeacherError::Images`] if it does not, or if there is no image or no pixel.
    pub fn new(n: usize, height: usize, width: usize, rgb: Vec<u8>) -> Result<Self, TeacherError> {
        let images = Self { n, height, width, rgb };
        images.check()?;
        Ok(images)
    }

    /// The fields are public, so a teacher checks again.
    pub(crate) fn check(&self) -> Result<(), TeacherError> {
        let Self { n, height, width, rgb } = self;
        let expected =
            n.checked_mul(*height).and_then(|v| v.checked_mul(*width)).and_then(|v| v.checked_mul(3));
        if expected == Some(rgb.len()) && !rgb.is_empty() {
            return Ok(());
        }
        Err(TeacherError::Images {
            what: format!(
                "{n} RGB images of {width}x{height} take {} bytes and at least one pixel, but {} were given",
                expected.map_or("too many".to_owned(), |v| v.to_string()),
                rgb.len()
            ),
        })
    }
}

/// The features of a batch of images on the teacher's coarse grid.
#[derive(Debug, Clone)]
pub struct FeatureMap {
    /// `[B, h, w, C]`, f32, channels last and contiguous, on the device of the teacher, not tracked by autograd.
    pub tokens: Tensor,
    /// Height and width of the images that the map was made from.
    pub image_size: (usize, usize),
    /// Pixels of the image that one cell stands for, in each direction. Given, and not worked out from the sizes:
    /// where it does not divide the image, the last row and column of cells reach beyond it.
    pub stride: usize,
}
