// What kernels over rows of channels share.
#pragma once
#include "kernel.cuh"

// Whether packs of four elements can be moved at once, from and to these arrays (which may be absent).
template <class T>
__device__ __forceinline__ bool aligned4(const T* p) {
    return reinterpret_cast<uintptr_t>(p) % (4 * sizeof(T)) == 0;
}

// Up to four elements from `p` on, as f32; zeros behind the end.
template <class T>
__device__ __forceinline__ void load4(const T* p, unsigned count, bool wide, float (&v)[4]) {
    if (wide && count == 4) {
        Pack<T, 4> pack = *reinterpret_cast<const Pack<T, 4>*>(p);
        for (int i = 0; i < 4; i++) v[i] = to_f32(pack.v[i]);
    } else {
        for (unsigned i = 0; i < 4; i++) v[i] = i < count ? to_f32(p[i]) : 0.0f;
    }
}

template <class T>
__device__ __forceinline__ void store4(T* p, unsigned count, bool wide, const float (&v)[4]) {
    if (wide && count == 4) {
        Pack<T, 4> pack;
        for (int i = 0; i < 4; i++) pack.v[i] = from_f32<T>(v[i]);
        *reinterpret_cast<Pack<T, 4>*>(p) = pack;
    } else {
        for (unsigned i = 0; i < count; i++) p[i] = from_f32<T>(v[i]);
    }
}

// First of the four elements of this thread, of blocks of 256 threads.
__device__ __forceinline__ unsigned first_of_four() { return 4 * (blockIdx.x * 256 + threadIdx.x); }

// ReLU that lets a NaN through.
__device__ __forceinline__ float relu1(float v) { return v < 0.0f ? 0.0f : v; }

// Rows of one part of a sum over rows: parts are summed by one block each, and then added in a fixed order.
constexpr int PART = 512;

// Sums over the rows of a part, of N numbers for each channel: block (32 channels, 8 rows), grid (C / 32, parts).
// `numbers(row, channel, v)` sets them. parts [parts, N, C].
template <int N, class F>
__device__ __forceinline__ void sum_part(int n, int c, double* parts, F numbers) {
    __shared__ double of_rows[N][8][32];
    int channel = blockIdx.x * 32 + threadIdx.x;
    double sum[N];
    for (int i = 0; i < N; i++) sum[i] = 0.0;
    if (channel < c) {
        int end = min(n, (int(blockIdx.y) + 1) * PART);
#pragma unroll 4
        for (int row = blockIdx.y * PART + threadIdx.y; row < end; row += 8) {
            double v[N];
            numbers(row, channel, v);
            for (int i = 0; i < N; i++) sum[i] += v[i];
        }
    }
    for (int i = 0; i < N; i++) of_rows[i][threadIdx.y][threadIdx.x] = sum[i];
    __syncthreads();
    if (threadIdx.y < N && channel < c) {
        double total = 0.0;
        for (int r = 0; r < 8; r++) total += of_rows[threadIdx.y][r][threadIdx.x];
        parts[(size_t(blockIdx.y) * N + threadIdx.y) * c + channel] = total;
    }
}

// Adds up the parts of a channel: block (32 channels, 32), grid C / 32. All threads of a channel with `threadIdx.y` 0
// get the sums.
template <int N>
__device__ __forceinline__ void add_parts(const double* parts, int n_parts, int c, double (&sums)[N]) {
    __shared__ double of_threads[N][32][32];
    int channel = blockIdx.x * 32 + threadIdx.x;
    for (int i = 0; i < N; i++) {
        double sum = 0.0;
        if (channel < c) {
            for (int p = threadIdx.y; p < n_parts; p += 32) sum += parts[(size_t(p) * N + i) * c + channel];
        }
        of_threads[i][threadIdx.y][threadIdx.x] = sum;
    }
    __syncthreads();
    for (int i = 0; i < N; i++) {
        sums[i] = 0.0;
        if (threadIdx.y == 0) {
            for (int t = 0; t < 32; t++) sums[i] += of_threads[i][t][threadIdx.x];
        }
    }
}
