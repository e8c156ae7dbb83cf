// Convolution of rows of few channels (at most 8, such as colours), in f32 whatever they are kept in.
//
// A product on tensor cores would be nearly all zeros there. A thread owns a position and 32 channels of the result;
// the weights of a few kernel voxels at a time stand in shared memory, as they are stored: [volume, cin, cout]. Every
// element is summed in the order of kernel voxels and channels, by one thread: deterministic.
#include "conv_args.cuh"

constexpr int MOST = 8;
constexpr int COLS = 32;
// Kernel voxels whose weights are kept at a time.
constexpr int AT_ONCE = 16;

// Here `weight` is not packed.
template <class In>
__device__ __forceinline__ void narrow(const ConvArgs& args) {
    __shared__ float4 weights[AT_ONCE * MOST][COLS / 4];
    __shared__ int voxels[AT_ONCE];
    int p = blockIdx.y * TILE + threadIdx.x, first = blockIdx.x * COLS, cin = args.left_channels;
    int n_padded = (args.n_target + TILE - 1) / TILE * TILE;
    int words = (args.volume + 31) / 32;
    const In* rows = static_cast<const In*>(args.left);
    const float* weight = static_cast<const float*>(args.weight);
    float sums[COLS];
#pragma unroll
    for (int c = 0; c < COLS; c++) {
        sums[c] = args.bias != nullptr && first + c < args.outer ? __ldg(args.bias + first + c) : 0.0f;
    }
    int k = 0;
    while (k < args.volume) {
        // The next kernel voxels that the tile has; every thread finds the same.
        int n = 0;
        for (; k < args.volume && n < AT_ONCE; k++) {
            bool has = args.masks == nullptr ||
                       (__ldg(args.masks + (long long)blockIdx.y * words + k / 32) >> (k % 32) & 1);
            if (!has) continue;
            if (threadIdx.x == 0) voxels[n] = k;
            n++;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < n * cin * COLS; i += TILE) {
            int v = i / (cin * COLS), c = i / COLS % cin, o = i % COLS;
            float w = 0.0f;
            if (first + o < args.outer) {
                w = __ldg(weight + ((long long)voxels[v] * cin + c) * args.outer + first + o);
            }
            reinterpret_cast<float*>(weights[v * MOST + c])[o] = w;
        }
        __syncthreads();
        for (int v = 0; v < n; v++) {
            int source = p < args.n_target ? p : -1;
            if (args.neighbours != nullptr) source = __ldg(args.neighbours + (long long)voxels[v] * n_padded + p);
            if (source < 0) continue;
            for (int c = 0; c < cin; c++) {
                float x = to_f32(rows[(long long)source * cin + c]);
#pragma unroll
                for (int o = 0; o < COLS / 4; o++) {
                    float4 w = weights[v * MOST + c][o];
                    sums[o * 4] = fmaf(x, w.x, sums[o * 4]);
                    sums[o * 4 + 1] = fmaf(x, w.y, sums[o * 4 + 1]);
                    sums[o * 4 + 2] = fmaf(x, w.z, sums[o * 4 + 2]);
                    sums[o * 4 + 3] = fmaf(x, w.w, sums[o * 4 + 3]);
                }
            }
        }
        __syncthreads();
    }
    int target = args.order != nullptr ? __ldg(args.order + p) : (p < args.n_target ? p : -1);
    if (target < 0) return;
    long long to = (long long)target * args.outer + first;
#pragma unroll
    for (int c = 0; c < COLS; c++) {
        if (first + c >= args.outer) break;
        if (args.out_f32) {
            static_cast<float*>(args.out)[to + c] = sums[c];
        } else {
            static_cast<In*>(args.out)[to + c] = from_f32<In>(sums[c]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(128) conv_narrow_f32(CONV_PARAMETERS) { narrow<float>(CONV_ARGS); }
extern "C" __global__ void __launch_bounds__(128) conv_narrow_bf16(CONV_PARAMETERS) { narrow<bf16>(CONV_ARGS); }
