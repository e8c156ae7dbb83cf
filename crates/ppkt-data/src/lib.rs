#![doc = include_str!("../README.md")]

mod dataset;
mod error;
mod scene;
mod uri;

pub use dataset::{Classes, Dataset, Split};
pub use error::DataError;
pub use scene::{Cloud, Scene, View};
pub use uri::{DataUri, OptionHelp, Scheme};
