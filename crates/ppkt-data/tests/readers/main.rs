//! Datasets in folders: real samples, every layout written small, and every fault.

mod faults;
mod fixture;
mod layouts;
mod own_frames;
mod real;
