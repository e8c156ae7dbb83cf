//! The page in a browser: it loads without a complaint, the cloud is drawn and recoloured, plots answer the pointer.
//!
//! Wants Chromium or Chrome on the path, or named by `PPKT_BROWSER`; says that it is skipped where there is none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../folders/mod.rs"]
mod folders;

#[cfg(unix)]
mod chrome;
#[cfg(unix)]
mod reading;
