// Rows of a matrix by their numbers, and the way back.
//
// Every number is summed by one thread in a fixed order, without atomics: the same bits in every run.

#include "kernel.cuh"

#define THREADS 256

// out [n, dim] = the rows `row` of `matrix`. One thread a value.
extern "C" __global__ void __launch_bounds__(THREADS)
gather_rows(const float* matrix, const unsigned int* row, int n, int dim, float* out) {
  size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (i < (size_t)n * dim) out[i] = matrix[(size_t)row[i / dim] * dim + i % dim];
}

// Row `row[r]` of `out`, whose other rows are left alone, collects the gradients of those that read it:
// readers[starts[r]..starts[r + 1]], in their order.
extern "C" __global__ void __launch_bounds__(THREADS)
collect_rows(const float* gradient, const unsigned int* row, const unsigned int* starts, const unsigned int* reader,
             int n, int dim, float* out) {
  size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (i >= (size_t)n * dim) return;
  size_t r = i / dim, d = i % dim;
  float sum = 0.0f;
  for (unsigned int k = starts[r]; k < starts[r + 1]; k++) sum += gradient[(size_t)reader[k] * dim + d];
  out[(size_t)row[r] * dim + d] = sum;
}
