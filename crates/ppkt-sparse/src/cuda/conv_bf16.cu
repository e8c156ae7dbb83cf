// Convolution in bf16: products of numbers rounded to bf16, sums in f32, on tensor cores.
//
// Named by the positions and channels of a block. The 256-row kernels read each weight for two tiles of positions;
// conv_bf16_128x64 is for few positions, for GPUs with less shared memory, and, as `_any`, for rows that are not a
// multiple of 16 bytes.
#include "conv_tile.cuh"

#define CONV(name, MT, NT, ROWS, COLS, WARPS_N, THREADS, BLOCKS, ALIGNED)                              \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) name(CONV_PARAMETERS) {          \
        conv_block<bf16, TensorSums<bf16, MT, NT>, ROWS, COLS, WARPS_N, THREADS, ALIGNED>(CONV_ARGS); \
    }

CONV(conv_bf16_256x128, 4, 8, 256, 128, 2, 256, 1, true)
CONV(conv_bf16_256x96, 4, 6, 256, 96, 2, 256, 1, true)
CONV(conv_bf16_256x64, 4, 4, 256, 64, 2, 256, 1, true)
CONV(conv_bf16_256x32, 2, 4, 256, 32, 1, 256, 2, true)
CONV(conv_bf16_128x64, 4, 4, 128, 64, 2, 128, 2, true)
CONV(conv_bf16_128x64_any, 4, 4, 128, 64, 2, 128, 2, false)
