//! Features of the points of a cloud, from a trained network.

mod embed;
mod output;
mod tiles;

#[cfg(test)]
mod tests;

pub use embed::{EmbedConfig, Embedder, FeatureLayer};
pub use output::{Embeddings, check_feature_file};
