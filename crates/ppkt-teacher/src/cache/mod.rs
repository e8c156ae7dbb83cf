//! Feature maps on the disk: a frozen network has to see an image only once.
//!
//! # What is kept
//! One file for each image and teacher, named by the BLAKE3 digest of everything that the map follows from: the image's
//! bytes as the teacher gets them, and the teacher's identity (weights, stage, preprocessing, and the bits that it
//! gives for a small test image on this processor, so that another option, engine or set of instructions never meets
//! the entries of this one). Values are rounded to half precision.
//!
//! # Why results do not depend on what is there
//! [`Cached`] rounds what it computes to half precision before anybody sees it, so that a map is the same bits whether
//! it was computed or read.
//!
//! # Several writers
//! An entry is written beside its place, flushed, and renamed to it, so that it is whole or absent; who comes second
//! leaves the first one's. Every entry carries its key and a checksum, both verified on each read; one that is damaged
//! is computed again, replaced and counted. The bytes in the folder are counted in a file under a lock, so that the
//! limit holds for all writers together. Nothing is ever evicted: a full cache stays useful for what it holds, and
//! which maps are read never depends on the order of readers.

mod cached;
mod entry;
mod error;
mod folder;
mod key;
mod ledger;
mod report;
mod size;

pub use cached::Cached;
pub use error::CacheError;
pub use folder::FeatureCache;
pub use report::CacheReport;
pub use size::ByteSize;
