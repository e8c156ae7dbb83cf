// Operations on rows alone, where no voxel sees another. Elements in f32 or bf16, sums in f64; each result is made by one
// thread, or by one warp in a fixed order: the same in every run.
#include "rows.cuh"

template <class T>
__device__ __forceinline__ void relu(const T* x, unsigned total, T* y) {
    unsigned i = first_of_four();
    if (i >= total) return;
    unsigned count = min(4u, total - i);
    bool wide = aligned4(x) && aligned4(y);
    float v[4];
    load4(x + i, count, wide, v);
    for (int j = 0; j < 4; j++) v[j] = relu1(v[j]);
    store4(y + i, count, wide, v);
}

// The gradient where the result is positive.
template <class T>
__device__ __forceinline__ void relu_grad(const T* y, const T* g, unsigned total, T* dx) {
    unsigned i = first_of_four();
    if (i >= total) return;
    unsigned count = min(4u, total - i);
    bool wide = aligned4(y) && aligned4(g) && aligned4(dx);
    float v[4], d[4];
    load4(y + i, count, wide, v);
    load4(g + i, count, wide, d);
    for (int j = 0; j < 4; j++) d[j] = v[j] > 0.0f ? d[j] : 0.0f;
    store4(dx + i, count, wide, d);
}

// Copies columns: to[row, to_first + j] = from[row, from_first + j] for j < width.
template <class T>
__device__ __forceinline__ void columns(const T* from, int from_columns, int from_first, unsigned rows, int width,
                                        T* to, int to_columns, int to_first) {
    unsigned i = blockIdx.x * 256 + threadIdx.x;
    if (i >= rows * unsigned(width)) return;
    unsigned row = i / unsigned(width), j = i % unsigned(width);
    to[size_t(row) * to_columns + to_first + j] = from[size_t(row) * from_columns + from_first + j];
}

// The sum of all lanes, in all of them.
__device__ __forceinline__ double warp_sum(double v) {
    for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(0xffffffffu, v, by);
    return v;
}

// Below this length a row has no direction, as in unit.rs.
constexpr double SHORTEST = 1e-12;

// Each row divided by its length. A warp for each row, four of them a block.
template <class T>
__device__ __forceinline__ void unit(const T* x, int n, int c, T* y) {
    int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n) return;
    x += size_t(row) * c;
    y += size_t(row) * c;
    double squares = 0.0;
    for (int j = lane; j < c; j += 32) squares += double(to_f32(x[j])) * double(to_f32(x[j]));
    double length = sqrt(warp_sum(squares));
    bool some = length >= SHORTEST || length != length;
    for (int j = lane; j < c; j += 32) y[j] = from_f32<T>(some ? float(double(to_f32(x[j])) / length) : 0.0f);
}

// dx = (g - y (y·g)) / |x|
template <class T>
__device__ __forceinline__ void unit_grad(const T* x, const T* y, const T* g, int n, int c, T* dx) {
    int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n) return;
    x += size_t(row) * c;
    y += size_t(row) * c;
    g += size_t(row) * c;
    dx += size_t(row) * c;
    double squares = 0.0, along = 0.0;
    for (int j = lane; j < c; j += 32) {
        squares += double(to_f32(x[j])) * double(to_f32(x[j]));
        along += double(to_f32(y[j])) * double(to_f32(g[j]));
    }
    double length = sqrt(warp_sum(squares));
    along = warp_sum(along);
    bool some = length >= SHORTEST || length != length;
    for (int j = lane; j < c; j += 32) {
        double d = (double(to_f32(g[j])) - double(to_f32(y[j])) * along) / length;
        dx[j] = from_f32<T>(some ? float(d) : 0.0f);
    }
}

template <class T>
__device__ __forceinline__ void column_parts(const T* x, int n, int c, double* parts) {
    sum_part<1>(n, c, parts,
                [&](int row, int channel, double(&v)[1]) { v[0] = to_f32(x[size_t(row) * c + channel]); });
}

extern "C" __global__ void __launch_bounds__(1024) column_total(const double* parts, int n_parts, int c, float* sums) {
    double sum[1];
    add_parts<1>(parts, n_parts, c, sum);
    int channel = blockIdx.x * 32 + threadIdx.x;
    if (threadIdx.y == 0 && channel < c) sums[channel] = float(sum[0]);
}

// Row r of the result is the sum or mean of the rows inputs[starts[r]..starts[r + 1]], in that order.
extern "C" __global__ void __launch_bounds__(256)
    merge_rows(const float* x, const unsigned* starts, const unsigned* inputs, int rows, int c, int mean, float* y) {
    unsigned i = blockIdx.x * 256 + threadIdx.x;
    if (i >= unsigned(rows) * unsigned(c)) return;
    unsigned row = i / unsigned(c), channel = i % unsigned(c);
    double sum = 0.0;
    for (unsigned j = starts[row]; j < starts[row + 1]; j++) sum += x[size_t(inputs[j]) * c + channel];
    if (mean) sum /= double(starts[row + 1] - starts[row]);
    y[i] = float(sum);
}

// The gradient of a row of the result, to each row that it is made of.
extern "C" __global__ void __launch_bounds__(256)
    merge_rows_grad(const float* g, const unsigned* starts, const unsigned* row_of_input, int n, int c, int mean,
                    float* dx) {
    unsigned i = blockIdx.x * 256 + threadIdx.x;
    if (i >= unsigned(n) * unsigned(c)) return;
    unsigned row = row_of_input[i / unsigned(c)];
    double d = g[size_t(row) * c + i % unsigned(c)];
    if (mean) d /= double(starts[row + 1] - starts[row]);
    dx[i] = float(d);
}

#define OF_TYPE(T, name)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) relu_##name(const T* x, unsigned total, T* y) {           \
        relu(x, total, y);                                                                                       \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                            \
        relu_grad_##name(const T* y, const T* g, unsigned total, T* dx) {                                        \
        relu_grad(y, g, total, dx);                                                                              \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                            \
        columns_##name(const T* from, int from_columns, int from_first, unsigned rows, int width, T* to,         \
                       int to_columns, int to_first) {                                                           \
        columns(from, from_columns, from_first, rows, width, to, to_columns, to_first);                          \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(128) unit_##name(const T* x, int n, int c, T* y) {             \
        unit(x, n, c, y);                                                                                        \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(128)                                                            \
        unit_grad_##name(const T* x, const T* y, const T* g, int n, int c, T* dx) {                              \
        unit_grad(x, y, g, n, c, dx);                                                                            \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) column_parts_##name(const T* x, int n, int c, double* parts) { \
        column_parts(x, n, c, parts);                                                                            \
    }
OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)
