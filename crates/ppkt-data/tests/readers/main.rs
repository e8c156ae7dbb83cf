//! Datasets in folders: real samples, every layout written small, and every fault.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod faults;
mod fixture;
mod layouts;
mod nuscenes;
mod own_frames;
mod real;
mod s3dis;
mod scannet;
mod scannet_frames;
mod sweeps;
