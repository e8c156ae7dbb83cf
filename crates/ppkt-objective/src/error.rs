//! What can go wrong with a loss.

use candle_core::DType;

/// Why a loss could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// A tensor has another shape than its partner implies.
    #[error("{what} has shape {got:?} where {expected} is expected")]
    Shape {
        /// Which input.
        what: &'static str,
        /// The shape that would fit, in words.
        expected: String,
        /// The shape that was given.
        got: Vec<usize>,
    },

    /// There is nothing to compare.
    #[error("{what} is empty, so there is no loss; drop the batch or link more pairs")]
    Empty {
        /// Which input.
        what: &'static str,
    },

    /// A tensor is not of 32-bit floats.
    #[error("{what} is of type {got:?} where f32 is expected; convert it with `to_dtype`")]
    DType {
        /// Which input.
        what: &'static str,
        /// The type that was given.
        got: DType,
    },

    /// A tensor lies on another device than its partner.
    #[error("{what} is on another device than its partner; move it with `to_device`")]
    Device {
        /// Which input.
        what: &'static str,
    },

    /// An embedding is NaN or infinite: the network that made it has diverged, or its input was damaged.
    #[error(
        "row {row} of {what} holds a value that is not finite; lower the learning rate or look at its input"
    )]
    NotFinite {
        /// Which input.
        what: &'static str,
        /// The first such row.
        row: usize,
    },

    /// A target that is no class of the scores.
    #[error("the target of row {row} is class {got}, but the scores have only {classes} classes")]
    Target {
        /// The first such row.
        row: usize,
        /// Its target.
        got: u16,
        /// Columns of the scores.
        classes: usize,
    },

    /// The temperature does not divide.
    #[error("temperature {got} is not usable; it has to be positive and finite, such as 0.04")]
    Temperature {
        /// The temperature that was given.
        got: f64,
    },

    /// A pair points outside the feature map.
    #[error("pair {pair} points at (view, row, col) {got:?}, outside the feature map {views_height_width:?}")]
    Pair {
        /// Which pair.
        pair: usize,
        /// View, row and column that it names.
        got: [u32; 3],
        /// Views, height and width of the map.
        views_height_width: [usize; 3],
    },

    /// A segment id is as large as the number of segments.
    #[error("pixel {pixel} has segment id {got}, but ids of a view are below {segments_per_view}")]
    Segment {
        /// Row-major place among all pixels of all views.
        pixel: usize,
        /// The id found.
        got: u32,
        /// Ids of a view.
        segments_per_view: u32,
    },

    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

// Results are returned from every step, so the error must not make them large.
const _: () = assert!(std::mem::size_of::<ObjectiveError>() <= 96);
