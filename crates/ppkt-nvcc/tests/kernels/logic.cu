// Small kernels that try what the emulation offers, and some that are wrong.
#include "kernel.cuh"

// y[i] = a x[i], each thread one element.
extern "C" __global__ void scale(const float* x, float* y, float a, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i];
}

// The sum of each block's 64 elements, in a tree in shared memory.
extern "C" __global__ void __launch_bounds__(64) block_sums(const int* x, int* sums) {
    __shared__ int part[64];
    part[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    for (int half = 32; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}

// As block_sums, with a barrier left out.
extern "C" __global__ void racing_sums(const int* x, int* sums) {
    __shared__ int part[64];
    part[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    for (int half = 32; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}

// Warp operations: each lane writes ten numbers.
extern "C" __global__ void warp(int* out) {
    int lane = threadIdx.x % 32;
    int* o = out + threadIdx.x * 10;
    o[0] = __shfl_sync(0xffffffffu, lane * lane, 5);
    o[1] = __shfl_xor_sync(0xffffffffu, lane, 3);
    o[2] = __shfl_up_sync(0xffffffffu, lane, 2);
    o[3] = __shfl_down_sync(0xffffffffu, lane, 2);
    o[4] = __ballot_sync(0xffffffffu, lane % 3 == 0);
    o[5] = __match_any_sync(0xffffffffu, lane % 4);
    o[6] = __reduce_add_sync(0xffffffffu, lane);
    o[7] = __any_sync(0xffffffffu, lane == 40);
    o[8] = 0;
    // The halves of a warp apart.
    if (lane < 16) o[8] = __shfl_down_sync(0x0000ffffu, lane, 1, 16);
    o[9] = __popc(__ballot_sync(0xffffffffu, 1));
}

// d [16, 8] = a [16, 16] b [16, 8] in bf16: rows of a and of b in shared memory, by ldmatrix.
extern "C" __global__ void product_bf16(const bf16* a, const bf16* b, float* d) {
    __shared__ __align__(16) bf16 as[16 * 16];
    __shared__ __align__(16) bf16 bs[16 * 8];
    unsigned lane = threadIdx.x;
    cp_async<16>(as + 8 * lane, a + 8 * lane);
    if (lane < 16) cp_async<16>(bs + 8 * lane, b + 8 * lane);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    uint32_t fa[4], fb[2];
    // Matrices: rows 0..8 and 8..16, then the same of the columns from 8.
    ldmatrix_x4(fa, as + (lane % 16) * 16 + lane / 16 * 8);
    ldmatrix_x2_trans(fb, bs + (lane % 16) * 8);
    float sum[4] = {0, 0, 0, 0};
    mma_bf16(sum, fa, fb);
    for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}

// d [16, 8] = a [16, 8] b [8, 8] in tf32, straight from memory.
extern "C" __global__ void product_tf32(const float* a, const float* b, float* d) {
    unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    uint32_t fa[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]), to_tf32(a[g * 8 + t + 4]),
                      to_tf32(a[(g + 8) * 8 + t + 4])};
    uint32_t fb[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
    float sum[4] = {0, 0, 0, 0};
    mma_tf32(sum, fa, fb);
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = sum[i];
}

// There and back.
extern "C" __global__ void narrow(const float* x, bf16* b, f16* h, float* from_b, float* from_h, unsigned n) {
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x) {
        b[i] = from_f32<bf16>(x[i]);
        h[i] = from_f32<f16>(x[i]);
        from_b[i] = to_f32(b[i]);
        from_h[i] = to_f32(h[i]);
    }
}

// Dynamic shared memory of 32 numbers, turned round.
extern "C" __global__ void turn(const int* x, int* y) {
    DYNAMIC_SHARED(int, s);
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void divergent(int* y) {
    if (threadIdx.x < 7) __syncthreads();
    y[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(int* y) {
    if (threadIdx.x < 7) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    y[threadIdx.x] = 1;
}

extern "C" __global__ void lonely(int* y) {
    if (threadIdx.x < 7) y[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
}

extern "C" __global__ void too_far(int* y) { y[threadIdx.x + 1] = 1; }

extern "C" __global__ void not_aligned(const float* x, float4* y) {
    y[0] = *reinterpret_cast<const float4*>(x + 1);
}

extern "C" __global__ void nowhere(int* y) { y[1ull << 44] = 1; }

// Of two numbers each, the second pair is not there: zeros.
extern "C" __global__ void half_there(const int* x, int* y) {
    __shared__ __align__(16) int s[4];
    cp_async<8>(s, x);
    cp_async_commit();
    cp_async<8>(s + 2, nullptr, false);
    cp_async_commit();
    cp_async_wait<1>();
    y[0] = s[1];
    cp_async_wait<0>();
    y[1] = s[2];
}

extern "C" __global__ void too_early(const int* x, int* y) {
    __shared__ __align__(16) int s[4];
    cp_async<16>(s, x);
    cp_async_commit();
    for (int i = 0; i < 4; i++) y[i] = s[i];
}

#define FILLS(T, name)                                        \
    extern "C" __global__ void fill_##name(T* y, T value) { \
        y[blockIdx.y * gridDim.x + blockIdx.x] = value;       \
    }
FILLS(float, f32)
FILLS(double, f64)
