#![doc = include_str!("../README.md")]

mod arch;
mod block;
mod config;
mod error;
mod folded;
mod minkunet;
mod state;

pub use arch::{Arch, Plan};
pub use config::MinkUNetConfig;
pub use error::StudentError;
pub use folded::FoldedMinkUNet;
pub use minkunet::MinkUNet;
pub use ppkt_sparse::unit_norm;
pub use state::{State, load_state, save_state};
