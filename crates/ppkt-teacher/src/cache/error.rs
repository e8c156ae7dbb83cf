//! What can go wrong with a cache of feature maps before anything is read or written.
//!
//! Later faults are none: what cannot be read is computed, and what cannot be written is not kept; both are reported.

use std::path::PathBuf;

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The folder is not there and cannot be made, or cannot be read.
    #[error(
        "cannot use the folder of the feature cache; give another with --cache, or make it readable: {path:?}"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The teacher's features do not fit into half precision.
    #[error(
        "the teacher gives a feature of {value}, beyond what half precision holds (65504): this teacher cannot be \
         cached; run without --cache"
    )]
    Range {
        /// The feature.
        value: f32,
    },
    /// The teacher gives maps of another shape than [`Teacher::features`](crate::Teacher::features) promises.
    #[error("the teacher gave a map of {got:?} where {expected:?} is expected, so it cannot be cached")]
    Shape {
        /// Images, rows, columns, channels that its specification implies.
        expected: [usize; 4],
        /// What it gave.
        got: Vec<usize>,
    },
}
