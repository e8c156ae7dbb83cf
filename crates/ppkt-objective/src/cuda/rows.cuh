// What the losses over pairs share: unit length, and its gradient.
#pragma once

#include "kernel.cuh"

// Threads of a block that works on one row, or sums.
#define ROW_THREADS 128
// Rows shorter than this are divided by it instead of by their length, and get no gradient.
#define SHORTEST 1e-12

// A gradient by a unit row as one by the raw row, `(g - y (y . g)) / length`; `along` is `y . g`.
static __device__ float pulled_back(double g, double y, double along, double length) {
  return length < SHORTEST ? 0.0f : (float)((g - y * along) / length);
}
