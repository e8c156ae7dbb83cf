#![doc = include_str!("../README.md")]

#[cfg(any(feature = "cuda", test))]
mod cuda;
mod distance;
mod embeddings;
mod error;
mod exp;
mod fused;
mod info_nce;
#[cfg(any(feature = "metal", test))]
mod metal;
mod nce;
mod pooled;
mod product;
mod retrieval;
mod rows;
mod sample;
mod segmentation;

pub use distance::{CentredCosine, Cosine, L2};
pub use embeddings::{Embeddings, Loss, Objective};
pub use error::ObjectiveError;
pub use info_nce::InfoNce;
pub use pooled::{PooledInfoNce, SegmentedEmbeddings};
pub use retrieval::retrieval;
pub use sample::sample_without_replacement;
pub use segmentation::{ClassLoss, SegmentationLoss};
