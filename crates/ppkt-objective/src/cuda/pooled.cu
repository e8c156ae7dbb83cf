// Means of the unit rows of each segment, and the way back from their gradient. Sums in f64, in the order of the rows.

#include "rows.cuh"

// One block a group: the mean of the unit rows `rows[starts[g]..starts[g + 1]]`, divided by their count + epsilon.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
group_means(const float* raw, int dim, const unsigned int* starts, const unsigned int* rows, double epsilon,
            const double* length, float* mean) {
  unsigned int first = starts[blockIdx.x], end = starts[blockIdx.x + 1];
  double divisor = (double)(end - first) + epsilon;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) {
    double sum = 0.0;
    for (unsigned int i = first; i < end; i++) {
      double l = length[rows[i]];
      sum += raw[(size_t)rows[i] * dim + d] * (1.0 / (l < SHORTEST ? SHORTEST : l));
    }
    mean[(size_t)blockIdx.x * dim + d] = (float)(sum / divisor);
  }
}

// One block a row: its length.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
row_lengths(const float* raw, int dim, double* length) {
  __shared__ double shared[ROW_THREADS];
  const float* row = raw + (size_t)blockIdx.x * dim;
  double sum = 0.0;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) sum += (double)row[d] * row[d];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) length[blockIdx.x] = sqrt(sum);
}

// One block a row: its gradient from that of its group's mean; rows without a group (`group[row]` is the largest number)
// get zero.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
group_pull_back(const float* raw, int dim, const unsigned int* group, const unsigned int* starts, double epsilon,
                const double* length, const float* by_mean, float* gradient) {
  __shared__ double shared[ROW_THREADS];
  size_t row = (size_t)blockIdx.x * dim;
  unsigned int g = group[blockIdx.x];
  if (g == 0xffffffffu) {
    for (int d = threadIdx.x; d < dim; d += ROW_THREADS) gradient[row + d] = 0.0f;
    return;
  }
  double l = length[blockIdx.x], scale = 1.0 / (l < SHORTEST ? SHORTEST : l);
  double share = 1.0 / ((double)(starts[g + 1] - starts[g]) + epsilon);
  const float* by = by_mean + (size_t)g * dim;
  double along = 0.0;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) along += by[d] * share * (raw[row + d] * scale);
  along = block_sum(along, shared);
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS)
    gradient[row + d] = pulled_back(by[d] * share, raw[row + d] * scale, along, l);
}
