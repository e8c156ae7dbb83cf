#![doc = include_str!("../README.md")]

mod arg;
mod compiler;
mod embed;
mod emulated;
mod headers;

pub use arg::{Arg, Element};
pub use embed::{EmbedError, embed, embed_into};
pub use emulated::{Dim, Emulated, emulate_into};
