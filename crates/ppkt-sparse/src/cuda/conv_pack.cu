// Brings a weight into the order in which the products read it.
//
// [volume, cin, cout] of f32 becomes, for each kernel voxel, one row for each channel that is written, with the
// channels that are read side by side, rounded to what is multiplied; zeros where the channels end before a whole
// block or chunk. The order of the elements is all that is decided here: deterministic.
#include "conv_args.cuh"

constexpr int SIDE = 32;

// The channel of the input behind place `i` of a packed row, or -1 in the padding.
__device__ __forceinline__ int channel_of(const PackArgs& args, int i) {
    int left = (args.left_channels + args.chunk_channels - 1) / args.chunk_channels * args.chunk_channels;
    if (i < left) return i < args.left_channels ? i : -1;
    return i - left < args.right_channels ? args.left_channels + i - left : -1;
}

template <class T>
__device__ __forceinline__ T rounded(float v) {
    return from_f32<T>(v);
}

struct Tf32 {
    uint32_t bits;
};
template <>
__device__ __forceinline__ Tf32 rounded<Tf32>(float v) {
    return {to_tf32(v)};
}

// blockIdx: 32 channels that are read, 32 that are written, kernel voxel. 32 × 8 threads.
template <class T>
__device__ __forceinline__ void pack(const PackArgs& args) {
    __shared__ float square[SIDE][SIDE + 1];
    int k = blockIdx.z, inner_padded = gridDim.x * SIDE;
    const float* matrix = args.weight + (long long)(args.mirrored ? args.volume - 1 - k : k) * args.cin * args.cout;
    for (int y = threadIdx.y; y < SIDE; y += 8) {
        // Threads side by side read numbers side by side.
        int o = blockIdx.y * SIDE + (args.transposed ? y : int(threadIdx.x));
        int i = blockIdx.x * SIDE + (args.transposed ? int(threadIdx.x) : y);
        int channel = channel_of(args, i);
        float v = 0.0f;
        if (o < args.outer && channel >= 0) {
            long long at = args.transposed ? (long long)(args.first + o) * args.cout + channel
                                           : (long long)channel * args.cout + o;
            v = __ldg(matrix + at);
        }
        // Rows of the square are channels that are written.
        square[args.transposed ? y : int(threadIdx.x)][args.transposed ? int(threadIdx.x) : y] = v;
    }
    __syncthreads();
    for (int y = threadIdx.y; y < SIDE; y += 8) {
        int o = blockIdx.y * SIDE + y;
        long long at = ((long long)k * args.outer_padded + o) * inner_padded + blockIdx.x * SIDE + threadIdx.x;
        if (o < args.outer_padded) static_cast<T*>(args.packed)[at] = rounded<T>(square[y][threadIdx.x]);
    }
}

extern "C" __global__ void __launch_bounds__(256) conv_pack_bf16(PACK_PARAMETERS) { pack<bf16>(PACK_ARGS); }
extern "C" __global__ void __launch_bounds__(256) conv_pack_tf32(PACK_PARAMETERS) { pack<Tf32>(PACK_ARGS); }
extern "C" __global__ void __launch_bounds__(256) conv_pack_f32(PACK_PARAMETERS) { pack<float>(PACK_ARGS); }
