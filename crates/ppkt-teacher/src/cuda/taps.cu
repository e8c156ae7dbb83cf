// Bilinear reading of a map at single pixels, and the way back to the map.
//
// Every output is summed by one thread in a fixed order, without atomics: the same bits in every run.

#include "kernel.cuh"

#define THREADS 256

// For each pixel four cells of the flattened map with their weights: out [pixels, dim]. One thread a value.
extern "C" __global__ void __launch_bounds__(THREADS)
taps_forward(const float* map, const unsigned int* cell, const float* weight, int pixels, int dim, float* out) {
  size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (i >= (size_t)pixels * dim) return;
  size_t pixel = i / dim;
  int d = (int)(i % dim);
  float sum = 0.0f;
#pragma unroll
  for (int tap = 0; tap < 4; tap++) sum += weight[4 * pixel + tap] * map[(size_t)cell[4 * pixel + tap] * dim + d];
  out[i] = sum;
}

// Each cell collects from the pixels that read it, in their order: cell i has readers[starts[i]..starts[i + 1]].
extern "C" __global__ void __launch_bounds__(THREADS)
taps_backward(const float* gradient, const unsigned int* starts, const unsigned int* reader, const float* weight,
              int cells, int dim, float* out) {
  size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (i >= (size_t)cells * dim) return;
  size_t cell = i / dim;
  int d = (int)(i % dim);
  float sum = 0.0f;
  for (unsigned int r = starts[cell]; r < starts[cell + 1]; r++)
    sum += weight[r] * gradient[(size_t)reader[r] * dim + d];
  out[i] = sum;
}
