// What the losses over pairs share: sums over a block, and unit length with its gradient.
#pragma once

#include "kernel.cuh"

// Threads of a block that works on one row, or sums.
#define ROW_THREADS 128
// Rows shorter than this are divided by it instead of by their length, and get no gradient.
#define SHORTEST 1e-12

// Sum over the block's threads, in a fixed order; every thread gets it.
static __device__ double block_sum(double value, double* shared) {
  int t = threadIdx.x;
  __syncthreads();
  shared[t] = value;
  for (int half = ROW_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) shared[t] += shared[t + half];
  }
  __syncthreads();
  return shared[0];
}

// A gradient by a unit row as one by the raw row, `(g - y (y . g)) / length`; `along` is `y . g`.
static __device__ float pulled_back(double g, double y, double along, double length) {
  return length < SHORTEST ? 0.0f : (float)((g - y * along) / length);
}
