//! Compiles the CUDA kernels, where the crate is built for NVIDIA GPUs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    ppkt_nvcc::embed("src/cuda");
}
