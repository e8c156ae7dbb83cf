// Norm of all gradients, and one update of a parameter in place.
//
// Sums are made in a fixed order, without atomics: the same bits in every run. A step never waits for the host: the
// scale of the gradients is worked out here, and `report` is read when the step is done:
//   report[0]  Euclidean norm of all gradients, times their share
//   report[1]  1 where an updated parameter has no finite square, else 0
//   report[2]  what gradients are multiplied by, clipping included
// Where the norm is not finite nothing is updated.

#include "kernel.cuh"

#define THREADS 256
// Values that one block squares.
#define CHUNK 16384

// partial[part + blockIdx.x] = sum of the squares of a chunk of `gradient`.
extern "C" __global__ void __launch_bounds__(THREADS)
gradient_squares(const float* gradient, unsigned long long n, double* partial, int part) {
  __shared__ double shared[THREADS];
  unsigned long long first = (unsigned long long)blockIdx.x * CHUNK;
  unsigned long long end = first + CHUNK < n ? first + CHUNK : n;
  double sum = 0.0;
  for (unsigned long long i = first + threadIdx.x; i < end; i += THREADS) {
    double g = gradient[i];
    sum += g * g;
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) partial[part + blockIdx.x] = sum;
}

// One block. `clip` of 0 does not clip.
extern "C" __global__ void __launch_bounds__(THREADS)
gradient_report(const double* partial, int n, double share, double clip, float* report) {
  __shared__ double shared[THREADS];
  double sum = 0.0;
  for (int i = threadIdx.x; i < n; i += THREADS) sum += partial[i];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    double norm = sqrt(sum) * share;
    report[0] = (float)norm;
    report[1] = 0.0f;
    report[2] = (float)(clip > 0.0 && norm > clip ? share * (clip / norm) : share);
  }
}

// Whether there is something to update by; NaN and infinity fail the comparison.
static __device__ bool usable(const float* report) { return report[0] <= 3.402823466e38f; }

// Whether the square of a parameter is finite: every norm squares what it gets.
static __device__ bool sound(float p) { return fabsf(p) <= 1.844674297e19f; }

// g = s g + wd p;  v = mu v + keep g;  p -= lr (g + mu v if Nesterov, else v)
extern "C" __global__ void __launch_bounds__(THREADS)
sgd_step(float* parameter, const float* gradient, float* momentum, unsigned long long n, float lr,
         float weight_decay, float mu, float keep, int nesterov, float* report) {
  if (!usable(report)) return;
  float scale = report[2];
  unsigned long long step = (unsigned long long)gridDim.x * THREADS;
  for (unsigned long long i = (unsigned long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
    float p = parameter[i];
    float g = scale * gradient[i] + weight_decay * p;
    float v = mu * momentum[i] + keep * g;
    p -= lr * (nesterov ? g + mu * v : v);
    momentum[i] = v;
    parameter[i] = p;
    // Many threads may write this, and all write the same.
    if (!sound(p)) report[1] = 1.0f;
  }
}

// m1, m2 = moving means of g, g^2;  p = decay p - step_size m1 / (sqrt(m2) / root2 + eps)
extern "C" __global__ void __launch_bounds__(THREADS)
adamw_step(float* parameter, const float* gradient, float* moment1, float* moment2, unsigned long long n,
           float step_size, float decay, float beta1, float beta2, float root2, float eps, float* report) {
  if (!usable(report)) return;
  float scale = report[2];
  unsigned long long step = (unsigned long long)gridDim.x * THREADS;
  for (unsigned long long i = (unsigned long long)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
    float g = scale * gradient[i];
    float m1 = beta1 * moment1[i] + (1.0f - beta1) * g;
    float m2 = beta2 * moment2[i] + (1.0f - beta2) * g * g;
    float p = decay * parameter[i] - step_size * m1 / (sqrtf(m2) / root2 + eps);
    moment1[i] = m1;
    moment2[i] = m2;
    parameter[i] = p;
    if (!sound(p)) report[1] = 1.0f;
  }
}
