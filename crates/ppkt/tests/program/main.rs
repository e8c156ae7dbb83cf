//! The program as a user runs it: whole runs, and everything that can be wrong with what it is given.

mod common;
mod faults;
mod runs;
