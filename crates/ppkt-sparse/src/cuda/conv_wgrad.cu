// The gradient of a convolution by its weight.
//
// Named by what is multiplied and by the channels of a block; `_any` is for rows that are not a multiple of 16 bytes.
#include "conv_wgrad.cuh"

#define WGRAD(name, In, MT, NT, SIDE, THREADS, PAIRS, ALIGNED)                                               \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) name(WGRAD_PARAMETERS) {                   \
        wgrad_block<In, TensorOuter<In, MT, NT>, SIDE, SIDE, 2, THREADS, PAIRS, ALIGNED>(WGRAD_ARGS); \
    }

WGRAD(conv_wgrad_bf16_128, bf16, 4, 8, 128, 128, 64, true)
WGRAD(conv_wgrad_bf16_96, bf16, 3, 6, 96, 128, 64, true)
WGRAD(conv_wgrad_bf16_64, bf16, 2, 4, 64, 128, 64, true)
WGRAD(conv_wgrad_bf16_64_any, bf16, 2, 4, 64, 128, 64, false)
WGRAD(conv_wgrad_tf32_128, float, 4, 8, 128, 128, 32, true)
WGRAD(conv_wgrad_tf32_96, float, 3, 6, 96, 128, 32, true)
WGRAD(conv_wgrad_tf32_64, float, 2, 4, 64, 128, 32, true)
WGRAD(conv_wgrad_tf32_64_any, float, 2, 4, 64, 128, 32, false)

extern "C" __global__ void __launch_bounds__(128, 3) conv_wgrad_f32_64(WGRAD_PARAMETERS) {
    wgrad_block<float, ExactOuter, 64, 64, 2, 128, 32, true>(WGRAD_ARGS);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_wgrad_f32_64_any(WGRAD_PARAMETERS) {
    wgrad_block<float, ExactOuter, 64, 64, 2, 128, 32, false>(WGRAD_ARGS);
}

// For at most 8 channels of x, in f32 whatever they are kept in: a warp takes every fourth pair, a lane a channel of the
// gradient, and the four warps' sums are added in order. blockIdx: 32 channels of the gradient, -, part of the pairs.
template <class In>
__device__ __forceinline__ void wgrad_narrow(const WgradArgs& args) {
    constexpr int MOST = 8, WARPS = 4;
    __shared__ float sums[WARPS][MOST][32];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, c = blockIdx.x * 32 + lane, cin = args.left_channels;
    const In* x = static_cast<const In*>(args.left);
    const In* grad = static_cast<const In*>(args.grad);
    Part part(args, blockIdx.z);
    long long before = 0;
    for (int k = 0; k < args.volume; k++) {
        int count = count_of(args, k);
        int from = int(min((long long)count, max(0ll, part.first - before)));
        int to = int(min((long long)count, max(0ll, part.last - before)));
        before += count;
        if (from >= to) continue;
        const int* sources = args.pairs == nullptr ? nullptr : args.pairs + (long long)k * 2 * args.n_target;
        float sum[MOST];
#pragma unroll
        for (int i = 0; i < MOST; i++) sum[i] = 0.0f;
#pragma unroll 4
        for (int p = from + warp; p < to; p += WARPS) {
            int source = sources == nullptr ? p : __ldg(sources + p);
            int target = sources == nullptr ? p : __ldg(sources + args.n_target + p);
            float g = c < args.cout ? to_f32(grad[(long long)target * args.cout + c]) : 0.0f;
#pragma unroll
            for (int i = 0; i < MOST; i++) {
                if (i < cin) sum[i] = fmaf(to_f32(x[(long long)source * cin + i]), g, sum[i]);
            }
        }
#pragma unroll
        for (int i = 0; i < MOST; i++) sums[warp][i][lane] = sum[i];
        __syncthreads();
        float* out = args.parts + ((long long)blockIdx.z + k) * cin * args.cout;
        for (int i = warp; i < cin; i += WARPS) {
            float all = ((sums[0][i][lane] + sums[1][i][lane]) + sums[2][i][lane]) + sums[3][i][lane];
            if (c < args.cout) out[(long long)i * args.cout + c] = all;
        }
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(128) conv_wgrad_narrow_f32(WGRAD_PARAMETERS) {
    wgrad_narrow<float>(WGRAD_ARGS);
}
extern "C" __global__ void __launch_bounds__(128) conv_wgrad_narrow_bf16(WGRAD_PARAMETERS) {
    wgrad_narrow<bf16>(WGRAD_ARGS);
}

// Adds the parts of each kernel voxel in order: [volume, cin, cout]. blockIdx.y is the kernel voxel.
extern "C" __global__ void __launch_bounds__(256) conv_wgrad_sum(const float* parts, float* out, const int* counts,
                                                                 int elements, int volume, int n_target, int splits) {
    int k = blockIdx.y;
    auto count_of_voxel = [&](int j) { return counts == nullptr ? n_target : __ldg(counts + j); };
    long long all = 0, before = 0;
    for (int j = 0; j < volume; j++) {
        if (j == k) before = all;
        all += count_of_voxel(j);
    }
    long long count = count_of_voxel(k), each = pairs_of_part(all, splits);
    int first = count == 0 ? 0 : int(before / each), last = count == 0 ? -1 : int((before + count - 1) / each);
    for (int i = blockIdx.x * 256 + threadIdx.x; i < elements; i += gridDim.x * 256) {
        float sum = 0.0f;
#pragma unroll 8
        for (int s = first; s <= last; s++) sum += __ldg(parts + ((long long)s + k) * elements + i);
        out[(long long)k * elements + i] = sum;
    }
}
