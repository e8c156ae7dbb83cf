// Convolution in f32, without tensor cores: every product and sum is rounded as f32.
//
// As conv_bf16.cu.
#include "conv_tile.cuh"

extern "C" __global__ void __launch_bounds__(128, 2) conv_f32_128x64(CONV_PARAMETERS) {
    conv_block<float, ExactSums, 128, 64, 1, 128, true>(CONV_ARGS);
}

extern "C" __global__ void __launch_bounds__(128, 2) conv_f32_128x64_any(CONV_PARAMETERS) {
    conv_block<float, ExactSums, 128, 64, 1, 128, false>(CONV_ARGS);
}
