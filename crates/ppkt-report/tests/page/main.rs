//! Pages of whole, half-written and hostile run folders, as files and in a browser.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../folders/mod.rs"]
mod folders;

mod damage;
mod hostile;
mod whole;
