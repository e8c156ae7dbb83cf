//! Compiles the CUDA kernels, where the feature `cuda` asks for them.

fn main() {
    #[cfg(feature = "cuda")]
    ppkt_nvcc::embed("src/cuda");
}
