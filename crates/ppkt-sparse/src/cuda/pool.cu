// Pooling over the pairs of a kernel map, and over all rows of a batch item.
//
// Each result is made by one thread, kernel voxel by kernel voxel, in the CPU's order; global ones from parts of 1024
// rows that are added in order. Elements in f32 or bf16, arithmetic in f32.
// neighbours [K, positions] and order [positions] are those of map.cu.
#include "kernel.cuh"

constexpr unsigned NOWHERE = 0xffffffffu;

// What the sum of each target row is multiplied with for a mean.
extern "C" __global__ void __launch_bounds__(256)
    pool_scales(const int* neighbours, const int* order, int positions, int volume, float* scales) {
    int p = blockIdx.x * 256 + threadIdx.x;
    if (p >= positions || order[p] < 0) return;
    int count = 0;
    for (int k = 0; k < volume; k++) count += neighbours[size_t(k) * positions + p] >= 0;
    scales[order[p]] = 1.0f / float(max(count, 1));
}

// Block (32 channels, 8 positions), grid (positions / 8, C / 32).
struct Place {
    int p, row, channel;
};
__device__ __forceinline__ Place place(const int* order, int positions, int c) {
    Place at = {int(blockIdx.x * 8 + threadIdx.y), -1, int(blockIdx.y * 32 + threadIdx.x)};
    if (at.p < positions && at.channel < c) at.row = order[at.p];
    return at;
}

// Sums; means where `scales` are given.
template <class T>
__device__ __forceinline__ void pool_sum(const T* x, const int* neighbours, const int* order, int positions,
                                         int volume, int c, const float* scales, T* y) {
    Place at = place(order, positions, c);
    if (at.row < 0) return;
    float sum = 0.0f;
    for (int k = 0; k < volume; k++) {
        int from = neighbours[size_t(k) * positions + at.p];
        if (from >= 0) sum += to_f32(x[size_t(from) * c + at.channel]);
    }
    y[size_t(at.row) * c + at.channel] = from_f32<T>(scales ? sum * scales[at.row] : sum);
}

// Largest values, and the rows that they come from: the first under the kernel, and a NaN counts as the largest.
template <class T>
__device__ __forceinline__ void pool_max(const T* x, const int* neighbours, const int* order, int positions,
                                         int volume, int c, T* y, unsigned* largest) {
    Place at = place(order, positions, c);
    if (at.row < 0) return;
    float best = 0.0f;
    unsigned row = NOWHERE;
    for (int k = 0; k < volume; k++) {
        int from = neighbours[size_t(k) * positions + at.p];
        if (from < 0) continue;
        float v = to_f32(x[size_t(from) * c + at.channel]);
        if (row == NOWHERE || v > best || (v != v && best == best)) {
            best = v;
            row = unsigned(from);
        }
    }
    y[size_t(at.row) * c + at.channel] = from_f32<T>(best);
    largest[size_t(at.row) * c + at.channel] = row;
}

// The gradient of the fine side: the table has it as its target. Of a maximum where `largest` is given.
template <class T>
__device__ __forceinline__ void pool_grad(const T* g, const int* neighbours, const int* order, int positions,
                                          int volume, int c, const float* scales, const unsigned* largest, T* dx) {
    Place at = place(order, positions, c);
    if (at.row < 0) return;
    float sum = 0.0f;
    for (int k = 0; k < volume; k++) {
        int from = neighbours[size_t(k) * positions + at.p];
        if (from < 0) continue;
        size_t i = size_t(from) * c + at.channel;
        if (largest) {
            if (largest[i] == unsigned(at.row)) sum += to_f32(g[i]);
        } else {
            sum += scales ? to_f32(g[i]) * scales[from] : to_f32(g[i]);
        }
    }
    dx[size_t(at.row) * c + at.channel] = from_f32<T>(sum);
}

// Rows of one part of an item, as CHUNK in pool.rs.
constexpr int PART = 1024;

// items [B + 1]: first rows. parts [B, n_parts, C]. A thread for each channel, in the order of the rows.
// Block 32 channels, grid (n_parts, B, C / 32).
template <class T>
__device__ __forceinline__ void global_sum(const T* x, const int* items, int c, float* parts) {
    int channel = blockIdx.z * 32 + threadIdx.x;
    if (channel >= c) return;
    int first = items[blockIdx.y] + blockIdx.x * PART, end = min(items[blockIdx.y + 1], first + PART);
    float sum = 0.0f;
    for (int row = first; row < end; row++) sum += to_f32(x[size_t(row) * c + channel]);
    parts[(size_t(blockIdx.y) * gridDim.x + blockIdx.x) * c + channel] = sum;
}

template <class T>
__device__ __forceinline__ void global_total(const float* parts, const int* items, int n_parts, int n_items, int c,
                                             int mean, T* y) {
    unsigned i = blockIdx.x * 256 + threadIdx.x;
    if (i >= unsigned(n_items) * unsigned(c)) return;
    int item = int(i / unsigned(c)), channel = int(i % unsigned(c));
    int rows = items[item + 1] - items[item];
    float sum = 0.0f;
    for (int p = 0; p < (rows + PART - 1) / PART; p++) sum += parts[(size_t(item) * n_parts + p) * c + channel];
    y[i] = from_f32<T>(mean ? sum * (1.0f / float(max(rows, 1))) : sum);
}

// Largest values of each part and their rows; as pool_max. parts and rows [B, n_parts, C].
template <class T>
__device__ __forceinline__ void global_max(const T* x, const int* items, int c, float* parts, unsigned* rows) {
    int channel = blockIdx.z * 32 + threadIdx.x;
    if (channel >= c) return;
    int first = items[blockIdx.y] + blockIdx.x * PART, end = min(items[blockIdx.y + 1], first + PART);
    float best = 0.0f;
    unsigned from = NOWHERE;
    for (int row = first; row < end; row++) {
        float v = to_f32(x[size_t(row) * c + channel]);
        if (from == NOWHERE || v > best || (v != v && best == best)) {
            best = v;
            from = unsigned(row);
        }
    }
    size_t at = (size_t(blockIdx.y) * gridDim.x + blockIdx.x) * c + channel;
    parts[at] = best;
    rows[at] = from;
}

template <class T>
__device__ __forceinline__ void global_largest(const float* parts, const unsigned* rows, int n_parts, int n_items,
                                               int c, T* y, unsigned* largest) {
    unsigned i = blockIdx.x * 256 + threadIdx.x;
    if (i >= unsigned(n_items) * unsigned(c)) return;
    unsigned item = i / unsigned(c), channel = i % unsigned(c);
    float best = 0.0f;
    unsigned from = NOWHERE;
    for (int p = 0; p < n_parts; p++) {
        size_t at = (size_t(item) * n_parts + p) * c + channel;
        if (rows[at] == NOWHERE) continue;
        float v = parts[at];
        if (from == NOWHERE || v > best || (v != v && best == best)) {
            best = v;
            from = rows[at];
        }
    }
    y[i] = from_f32<T>(best);
    largest[i] = from;
}

// Gradients of all rows. Block (32 channels, 8 rows), grid (rows / 8, C / 32).
template <class T>
__device__ __forceinline__ void global_grad(const T* g, const int* items, int n_items, int n, int c, int mean,
                                            const unsigned* largest, T* dx) {
    int row = blockIdx.x * 8 + threadIdx.y, channel = blockIdx.y * 32 + threadIdx.x;
    if (row >= n || channel >= c) return;
    // The item of the row: the last that begins at it or before.
    int item = 0;
    for (int low = 0, high = n_items; low < high;) {
        int middle = (low + high) / 2;
        if (items[middle + 1] <= row) {
            low = middle + 1;
        } else {
            high = middle;
        }
        item = low;
    }
    size_t i = size_t(item) * c + channel;
    float d = to_f32(g[i]);
    if (largest) {
        if (largest[i] != unsigned(row)) d = 0.0f;
    } else if (mean) {
        d *= 1.0f / float(max(items[item + 1] - items[item], 1));
    }
    dx[size_t(row) * c + channel] = from_f32<T>(d);
}

#define OF_TYPE(T, name)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        pool_sum_##name(const T* x, const int* neighbours, const int* order, int positions, int volume, int c,        \
                        const float* scales, T* y) {                                                                  \
        pool_sum(x, neighbours, order, positions, volume, c, scales, y);                                              \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        pool_max_##name(const T* x, const int* neighbours, const int* order, int positions, int volume, int c, T* y,  \
                        unsigned* largest) {                                                                          \
        pool_max(x, neighbours, order, positions, volume, c, y, largest);                                             \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        pool_grad_##name(const T* g, const int* neighbours, const int* order, int positions, int volume, int c,       \
                         const float* scales, const unsigned* largest, T* dx) {                                       \
        pool_grad(g, neighbours, order, positions, volume, c, scales, largest, dx);                                   \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(32)                                                                  \
        global_sum_##name(const T* x, const int* items, int c, float* parts) {                                        \
        global_sum(x, items, c, parts);                                                                               \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        global_total_##name(const float* parts, const int* items, int n_parts, int n_items, int c, int mean, T* y) {  \
        global_total(parts, items, n_parts, n_items, c, mean, y);                                                     \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(32)                                                                  \
        global_max_##name(const T* x, const int* items, int c, float* parts, unsigned* rows) {                        \
        global_max(x, items, c, parts, rows);                                                                         \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        global_largest_##name(const float* parts, const unsigned* rows, int n_parts, int n_items, int c, T* y,        \
                              unsigned* largest) {                                                                    \
        global_largest(parts, rows, n_parts, n_items, c, y, largest);                                                 \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                 \
        global_grad_##name(const T* g, const int* items, int n_items, int n, int c, int mean,                         \
                           const unsigned* largest, T* dx) {                                                          \
        global_grad(g, items, n_items, n, c, mean, largest, dx);                                                      \
    }
OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)
