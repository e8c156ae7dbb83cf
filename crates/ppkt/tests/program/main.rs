//! The program as a user runs it: whole runs, and everything that can be wrong with what it is given.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cache;
mod common;
mod comparison;
mod faults;
mod features;
mod labels;
mod outdoor;
mod pages;
mod runs;
