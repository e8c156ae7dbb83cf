// Losses without negatives: Euclidean distance and cosine of the rows of a pair, with their gradients.
//
// In f64 as on the CPU: a few passes over n * dim values, next to nothing beside the retrieval. Sums in fixed order,
// no atomics: the same bits in every run.

#include "rows.cuh"

#define CHUNK 64

// Column sums of 64 rows: part[blockIdx.x] is [dim].
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
column_sums(const float* x, int n, int dim, double* part) {
  int first = blockIdx.x * CHUNK, end = first + CHUNK < n ? first + CHUNK : n;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) {
    double sum = 0.0;
    for (int row = first; row < end; row++) sum += x[(size_t)row * dim + d];
    part[(size_t)blockIdx.x * dim + d] = sum;
  }
}

// One thread a column: mean over all rows.
extern "C" __global__ void column_means(const double* part, int parts, int n, int dim, double* mean) {
  int d = blockIdx.x * blockDim.x + threadIdx.x;
  if (d >= dim) return;
  double sum = 0.0;
  for (int p = 0; p < parts; p++) sum += part[(size_t)p * dim + d];
  mean[d] = sum / n;
}

// Takes the mean row off every row.
extern "C" __global__ void subtract_means(float* x, int n, int dim, const double* mean) {
  size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < (size_t)n * dim) x[i] = (float)(x[i] - mean[i % dim]);
}

// One block a pair: its loss, its unit rows (for the retrieval), and the gradients by the raw rows, without the part that
// goes through the means. A mean that is null is not taken off; a gradient that is null is not wanted.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
pair_distance(const float* point, const float* pixel, const double* point_mean, const double* pixel_mean, int n,
              int dim, int euclidean, float* point_unit, float* pixel_unit, double* loss, float* point_gradient,
              float* pixel_gradient) {
  __shared__ double shared[ROW_THREADS];
  size_t row = (size_t)blockIdx.x * dim;
  double weight = 1.0 / n;
  double pp = 0.0, qq = 0.0;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) {
    double p = point[row + d] - (point_mean ? point_mean[d] : 0.0);
    double q = pixel[row + d] - (pixel_mean ? pixel_mean[d] : 0.0);
    pp += p * p;
    qq += q * q;
  }
  double p_length = sqrt(block_sum(pp, shared)), q_length = sqrt(block_sum(qq, shared));
  double p_divisor = p_length < SHORTEST ? SHORTEST : p_length, q_divisor = q_length < SHORTEST ? SHORTEST : q_length;
  // Of the unit rows: products with each other, and the squared distance.
  double pq = 0.0, square = 0.0, p_own = 0.0, q_own = 0.0;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) {
    double p = (point[row + d] - (point_mean ? point_mean[d] : 0.0)) / p_divisor;
    double q = (pixel[row + d] - (pixel_mean ? pixel_mean[d] : 0.0)) / q_divisor;
    point_unit[row + d] = (float)p;
    pixel_unit[row + d] = (float)q;
    pq += p * q;
    square += (p - q) * (p - q);
    p_own += p * p;
    q_own += q * q;
  }
  pq = block_sum(pq, shared);
  double distance = sqrt(block_sum(square, shared));
  p_own = block_sum(p_own, shared);
  q_own = block_sum(q_own, shared);
  if (threadIdx.x == 0) loss[blockIdx.x] = euclidean ? distance : 1.0 - pq;
  if (!point_gradient && !pixel_gradient) return;
  // The gradients by the unit rows are `a p + b q` and `a q + b p`. Where the two are equal the distance has a corner.
  double turn = distance > SHORTEST ? weight / distance : 0.0;
  double a = euclidean ? turn : 0.0, b = euclidean ? -turn : -weight;
  double p_along = a * p_own + b * pq, q_along = a * q_own + b * pq;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) {
    double p = (point[row + d] - (point_mean ? point_mean[d] : 0.0)) / p_divisor;
    double q = (pixel[row + d] - (pixel_mean ? pixel_mean[d] : 0.0)) / q_divisor;
    if (point_gradient) point_gradient[row + d] = pulled_back(a * p + b * q, p, p_along, p_length);
    if (pixel_gradient) pixel_gradient[row + d] = pulled_back(a * q + b * p, q, q_along, q_length);
  }
}
