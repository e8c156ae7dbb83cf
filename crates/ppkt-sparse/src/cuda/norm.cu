// Batch normalisation of rows of channels, with residual and ReLU, forward and backward.
//
// As norm_kernel.rs: sums in f64 over parts of 512 rows, added in a fixed order, so the result is the same in every
// run; the order differs from the CPU's, so the last digit can. Elements in f32 or bf16, arithmetic in f32.
// moments [3, C]: mean, 1 / standard deviation, unbiased variance. affine [2, C]: gamma, beta.
#include "rows.cuh"

template <class T>
__device__ __forceinline__ void sums(const T* x, int n, int c, double* parts) {
    sum_part<2>(n, c, parts, [&](int row, int channel, double(&v)[2]) {
        v[0] = to_f32(x[size_t(row) * c + channel]);
        v[1] = v[0] * v[0];
    });
}

// The norm of one number, with the same bits wherever it is computed, so that a ReLU is taken at the same places forward
// and backward: product and sum are rounded apart, as the processor does.
__device__ __forceinline__ float norm1(float x, int channel, int c, const float* moments, const float* affine) {
    float scale = affine[channel] * moments[c + channel];
    return __fadd_rn(__fmul_rn(x - moments[channel], scale), affine[c + channel]);
}

// Of the gradient behind the ReLU, and of its product with x. Where a ReLU followed, `y` is the result, or `affine` is
// there if the result was the norm of x alone.
template <class T>
__device__ __forceinline__ void grad_sums(const T* x, const T* y, const T* g, const float* moments,
                                          const float* affine, int n, int c, double* parts) {
    sum_part<2>(n, c, parts, [&](int row, int channel, double(&v)[2]) {
        size_t at = size_t(row) * c + channel;
        float result = 1.0f;
        if (y) result = to_f32(y[at]);
        if (affine) result = norm1(to_f32(x[at]), channel, c, moments, affine);
        v[0] = result > 0.0f ? to_f32(g[at]) : 0.0f;
        v[1] = v[0] * to_f32(x[at]);
    });
}

extern "C" __global__ void __launch_bounds__(1024)
    norm_moments(const double* parts, int n_parts, int n, int c, double eps, float* moments) {
    double sums[2];
    add_parts<2>(parts, n_parts, c, sums);
    int channel = blockIdx.x * 32 + threadIdx.x;
    if (threadIdx.y != 0 || channel >= c) return;
    double count = n, mean = sums[0] / count;
    // Rounding can take an exact zero just below it; a NaN must stay one.
    double var = sums[1] / count - mean * mean;
    if (var < 0.0) var = 0.0;
    moments[channel] = float(mean);
    moments[c + channel] = float(1.0 / sqrt(var + eps));
    moments[2 * c + channel] = float(var * count / (count - 1.0));
}

extern "C" __global__ void norm_running(const float* mean, const float* var, int c, double eps, float* moments) {
    int channel = blockIdx.x * 256 + threadIdx.x;
    if (channel >= c) return;
    moments[channel] = mean[channel];
    moments[c + channel] = float(1.0 / sqrt(double(var[channel]) + eps));
    moments[2 * c + channel] = var[channel];
}

// y = (x - mean) inv_std gamma + beta, then + residual, then ReLU, as asked.
template <class T>
__device__ __forceinline__ void apply(const T* x, const float* moments, const float* affine, const T* residual,
                                      int relu, unsigned total, int c, T* y) {
    unsigned i = first_of_four();
    if (i >= total) return;
    unsigned count = min(4u, total - i);
    bool wide = aligned4(x) && aligned4(residual) && aligned4(y);
    float v[4], r[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    load4(x + i, count, wide, v);
    if (residual) load4(residual + i, count, wide, r);
    int channel = int(i % unsigned(c));
    for (int j = 0; j < 4; j++) {
        v[j] = norm1(v[j], channel, c, moments, affine);
        if (residual) v[j] += r[j];
        if (relu) v[j] = relu1(v[j]);
        channel = channel + 1 == c ? 0 : channel + 1;
    }
    store4(y + i, count, wide, v);
}

// dx = a g + b (x - mean) + k; coefficients [3, C]: a, b, k. daffine [2, C]: gradients of gamma and beta.
extern "C" __global__ void __launch_bounds__(1024)
    norm_coefficients(const double* parts, int n_parts, int n, int c, const float* moments, const float* affine,
                      int batch_statistics, float* coefficients, float* daffine) {
    double sums[2];
    add_parts<2>(parts, n_parts, c, sums);
    int channel = blockIdx.x * 32 + threadIdx.x;
    if (threadIdx.y != 0 || channel >= c) return;
    double inv = moments[c + channel], mean = moments[channel];
    double dbeta = sums[0], dgamma = (sums[1] - mean * dbeta) * inv;
    double scale = double(affine[channel]) * inv;
    coefficients[channel] = float(scale);
    coefficients[c + channel] = batch_statistics ? float(-scale * inv * dgamma / n) : 0.0f;
    coefficients[2 * c + channel] = batch_statistics ? float(-scale * dbeta / n) : 0.0f;
    daffine[channel] = float(dgamma);
    daffine[c + channel] = float(dbeta);
}

// Gradients of x and, where asked for, of the residual; `y` and `affine` as above.
template <class T>
__device__ __forceinline__ void grad_apply(const T* x, const T* y, const T* g, const float* moments,
                                           const float* affine, const float* coefficients, unsigned total, int c,
                                           T* dx, T* dresidual) {
    unsigned i = first_of_four();
    if (i >= total) return;
    unsigned count = min(4u, total - i);
    bool wide = aligned4(x) && aligned4(y) && aligned4(g) && aligned4(dx) && aligned4(dresidual);
    float v[4], m[4], r[4];
    load4(g + i, count, wide, r);
    load4(x + i, count, wide, v);
    if (y) load4(y + i, count, wide, m);
    int channel = int(i % unsigned(c));
    for (int j = 0; j < 4; j++) {
        if (affine) m[j] = norm1(v[j], channel, c, moments, affine);
        if (y || affine) r[j] = m[j] > 0.0f ? r[j] : 0.0f;
        v[j] = coefficients[channel] * r[j] + coefficients[c + channel] * (v[j] - moments[channel]) +
               coefficients[2 * c + channel];
        channel = channel + 1 == c ? 0 : channel + 1;
    }
    if (dresidual) store4(dresidual + i, count, wide, r);
    if (dx) store4(dx + i, count, wide, v);
}

// running <- (1 - momentum) running + momentum batch
extern "C" __global__ void norm_move(float* running, const float* batch, int c, double momentum) {
    int channel = blockIdx.x * 256 + threadIdx.x;
    if (channel < c) running[channel] = float((1.0 - momentum) * double(running[channel]) + momentum * double(batch[channel]));
}

// One more batch.
extern "C" __global__ void norm_count(long long* batches) { *batches += 1; }

#define OF_TYPE(T, name)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) norm_sums_##name(const T* x, int n, int c, double* parts) {     \
        sums(x, n, c, parts);                                                                                          \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        norm_grad_sums_##name(const T* x, const T* y, const T* g, const float* moments, const float* affine, int n,    \
                              int c, double* parts) {                                                                  \
        grad_sums(x, y, g, moments, affine, n, c, parts);                                                              \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        norm_apply_##name(const T* x, const float* moments, const float* affine, const T* residual, int relu,          \
                          unsigned total, int c, T* y) {                                                               \
        apply(x, moments, affine, residual, relu, total, c, y);                                                        \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        norm_grad_apply_##name(const T* x, const T* y, const T* g, const float* moments, const float* affine,          \
                               const float* coefficients, unsigned total, int c, T* dx, T* dresidual) {                \
        grad_apply(x, y, g, moments, affine, coefficients, total, c, dx, dresidual);                                   \
    }
OF_TYPE(float, f32)
OF_TYPE(bf16, bf16)
