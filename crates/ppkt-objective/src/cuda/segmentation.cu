// Cross-entropy with class weights and label smoothing, and the Lovasz-softmax loss, with their gradient.
//
// Everything that the targets decide (weights, counts of classes, which rows are labelled) is known to the host.
// Errors of a class are sorted by four passes of a stable radix sort, so equal errors stay in the order of rows, as on the
// CPU. Sums in f64 and in a fixed order, no atomics but on whole numbers: the same bits in every run.

#include "kernel.cuh"

#define THREADS 256
// Values of a class that one block sorts or scans.
#define CHUNK 2048

// One thread a row. `target` is 0 (unlabelled) or a class counted from 1; `label` is the row's place among the labelled.
// Cross-entropy: sums [blocks, 2] of the entropies and of the rows that are right, and the gradient, which is 0 where there
// is no label. Where `p` is not null it gets the probabilities of the labelled rows, [classes, labelled].
extern "C" __global__ void __launch_bounds__(THREADS)
entropy_rows(const float* logits, const unsigned int* target, const unsigned int* label, int n, int labelled,
             int classes, const float* weight, double all_weights, double smoothing, double scale, double* sums,
             float* p, float* gradient) {
  __shared__ double shared[THREADS];
  int row = blockIdx.x * THREADS + threadIdx.x;
  double entropy = 0.0, right = 0.0;
  if (row < n) {
    const float* s = logits + (size_t)row * classes;
    float* out = gradient + (size_t)row * classes;
    unsigned int y = target[row];
    if (y == 0) {
      for (int c = 0; c < classes; c++) {
        // 0, or not a number where a score is none: then so is the loss.
        entropy += s[c] - s[c];
        out[c] = 0.0f;
      }
    } else {
      y -= 1;
      int best = 0;
      float high = s[0];
      for (int c = 1; c < classes; c++) {
        if (s[c] > s[best]) best = c;
        if (s[c] > high) high = s[c];
      }
      double sum = 0.0;
      for (int c = 0; c < classes; c++) sum += exp((double)(s[c] - high));
      double log_sum = (double)high + log(sum);
      double share = (1.0 - smoothing) * weight[y], even = smoothing / classes;
      entropy = share * (log_sum - s[y]);
      for (int c = 0; c < classes; c++) {
        if (even > 0.0) entropy += even * weight[c] * (log_sum - s[c]);
        entropy += s[c] - s[c];
        float q = (float)(exp((double)(s[c] - high)) / sum);
        double aim = (c == (int)y ? share : 0.0) + even * weight[c];
        out[c] = (float)(scale * (q * (share + even * all_weights) - aim));
        if (p) p[(size_t)c * labelled + label[row]] = q;
      }
      right = best == (int)y ? 1.0 : 0.0;
    }
  }
  entropy = block_sum(entropy, shared);
  right = block_sum(right, shared);
  if (threadIdx.x == 0) {
    sums[2 * blockIdx.x] = entropy;
    sums[2 * blockIdx.x + 1] = right;
  }
}

// One block: the loss and the number of rows that are right; `jaccard` [classes] are the Lovasz losses, or null.
extern "C" __global__ void __launch_bounds__(THREADS)
entropy_total(const double* sums, int blocks, double scale, const double* jaccard, int classes, double factor,
              float* value, float* right) {
  __shared__ double shared[THREADS];
  double entropy = 0.0, n_right = 0.0;
  for (int i = threadIdx.x; i < blocks; i += THREADS) {
    entropy += sums[2 * i];
    n_right += sums[2 * i + 1];
  }
  entropy = block_sum(entropy, shared);
  n_right = block_sum(n_right, shared);
  if (threadIdx.x == 0) {
    double loss = scale * entropy;
    for (int c = 0; jaccard && c < classes; c++) loss += factor * jaccard[c];
    value[0] = (float)loss;
    right[0] = (float)n_right;
  }
}

// The error of each labelled row in each class as a sort key that ascends where errors descend, and the row.
// `own` [labelled] is the class of the row, from 0. All arrays are [classes, labelled].
extern "C" __global__ void __launch_bounds__(THREADS)
error_keys(const float* p, const unsigned int* own, int labelled, int classes, unsigned int* key, unsigned int* row) {
  size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (i >= (size_t)classes * labelled) return;
  int c = (int)(i / labelled);
  unsigned int r = (unsigned int)(i % labelled);
  float error = (int)own[r] == c ? 1.0f - p[i] : p[i];
  // Errors lie from 0 to 1, where the bits of floats ascend with them.
  key[i] = ~__float_as_uint(error);
  row[i] = r;
}

// How often each digit occurs in a chunk of a class. Grid [chunks, classes]; count is [classes, 256, chunks].
extern "C" __global__ void __launch_bounds__(THREADS)
digit_counts(const unsigned int* key, int labelled, int shift, unsigned int* count) {
  __shared__ unsigned int bins[256];
  bins[threadIdx.x] = 0;
  __syncthreads();
  int first = blockIdx.x * CHUNK, end = first + CHUNK < labelled ? first + CHUNK : labelled;
  const unsigned int* keys = key + (size_t)blockIdx.y * labelled;
  for (int i = first + threadIdx.x; i < end; i += THREADS) atomicAdd(&bins[(keys[i] >> shift) & 255], 1u);
  __syncthreads();
  count[((size_t)blockIdx.y * 256 + threadIdx.x) * gridDim.x + blockIdx.x] = bins[threadIdx.x];
}

// One block a class: `count` to the place of the first of each digit and chunk.
extern "C" __global__ void __launch_bounds__(THREADS)
digit_places(unsigned int* count, int chunks) {
  __shared__ unsigned int starts[THREADS];
  unsigned int* of_class = count + (size_t)blockIdx.x * 256 * chunks;
  unsigned int* mine = of_class + (size_t)threadIdx.x * chunks;
  unsigned int sum = 0;
  for (int i = 0; i < chunks; i++) sum += mine[i];
  starts[threadIdx.x] = sum;
  __syncthreads();
  unsigned int before = 0;
  for (int i = 0; i < (int)threadIdx.x; i++) before += starts[i];
  for (int i = 0; i < chunks; i++) {
    unsigned int here = mine[i];
    mine[i] = before;
    before += here;
  }
}

// Moves keys and rows to their places by one digit, equal digits in the order that they had. Grid [chunks, classes].
extern "C" __global__ void __launch_bounds__(THREADS)
digit_scatter(const unsigned int* key, const unsigned int* row, int labelled, int shift, const unsigned int* place,
              unsigned int* key_out, unsigned int* row_out) {
  __shared__ unsigned int next[256];
  __shared__ unsigned char digits[THREADS];
  size_t offset = (size_t)blockIdx.y * labelled;
  next[threadIdx.x] = place[((size_t)blockIdx.y * 256 + threadIdx.x) * gridDim.x + blockIdx.x];
  int first = blockIdx.x * CHUNK, end = first + CHUNK < labelled ? first + CHUNK : labelled;
  for (int start = first; start < end; start += THREADS) {
    int i = start + threadIdx.x, here = end - start < THREADS ? end - start : THREADS;
    unsigned int k = i < end ? key[offset + i] : 0, digit = (k >> shift) & 255;
    digits[threadIdx.x] = (unsigned char)digit;
    __syncthreads();
    // The place among those of the same digit before this one.
    unsigned int before = 0;
    for (int j = 0; j < (int)threadIdx.x && j < here; j++) before += digits[j] == digit;
    if (i < end) {
      size_t to = offset + next[digit] + before;
      key_out[to] = k;
      row_out[to] = row[offset + i];
    }
    __syncthreads();
    // Each thread moves on one digit.
    unsigned int passed = 0;
    for (int j = 0; j < here; j++) passed += digits[j] == (unsigned char)threadIdx.x;
    next[threadIdx.x] += passed;
    __syncthreads();
  }
}

// How many rows of a sorted chunk are of the class itself. Grid [chunks, classes]; count is [classes, chunks].
extern "C" __global__ void __launch_bounds__(THREADS)
own_counts(const unsigned int* row, const unsigned int* own, int labelled, unsigned int* count) {
  __shared__ double shared[THREADS];
  int first = blockIdx.x * CHUNK, end = first + CHUNK < labelled ? first + CHUNK : labelled;
  double sum = 0.0;
  for (int i = first + threadIdx.x; i < end; i += THREADS)
    sum += own[row[(size_t)blockIdx.y * labelled + i]] == blockIdx.y;
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) count[blockIdx.y * gridDim.x + blockIdx.x] = (unsigned int)sum;
}

// One minus the Jaccard index after `missed` of `own` and `wrong` others.
static __device__ double jaccard_loss(double own, double missed, double wrong) {
  return 1.0 - (own - missed) / (own + wrong);
}

// The Lovasz extension of a sorted chunk: its share of the class's loss, and the gradient by the probabilities, [classes,
// labelled] in the order of rows. Grid [chunks, classes]; `of_class` is how many rows each class has, `present` how many
// classes have any.
extern "C" __global__ void __launch_bounds__(THREADS)
lovasz_steps(const float* p, const unsigned int* row, const unsigned int* own, int labelled,
             const unsigned int* count, const unsigned int* of_class, double present, double* part, float* by_p) {
  __shared__ double shared[THREADS];
  __shared__ unsigned int counts[THREADS];
  int first = blockIdx.x * CHUNK, end = first + CHUNK < labelled ? first + CHUNK : labelled;
  unsigned int c = blockIdx.y;
  size_t offset = (size_t)c * labelled;
  double n_own = of_class[c], value = 0.0;
  // Rows of the class in the chunks before this one.
  unsigned int missed = 0;
  for (unsigned int i = 0; i < blockIdx.x; i++) missed += count[c * gridDim.x + i];
  // Each thread takes neighbouring places.
  int per_thread = CHUNK / THREADS, start = first + threadIdx.x * per_thread;
  unsigned int mine = 0;
  for (int i = start; i < start + per_thread && i < end; i++) mine += own[row[offset + i]] == c;
  counts[threadIdx.x] = mine;
  __syncthreads();
  for (int i = 0; i < (int)threadIdx.x; i++) missed += counts[i];
  for (int i = start; i < start + per_thread && i < end; i++) {
    unsigned int r = row[offset + i];
    if (n_own == 0.0) {
      by_p[offset + r] = 0.0f;
      continue;
    }
    bool is_own = own[r] == c;
    double wrong = (double)i - missed;
    double before = i == 0 ? 0.0 : jaccard_loss(n_own, missed, wrong);
    if (is_own) missed += 1; else wrong += 1.0;
    double step = jaccard_loss(n_own, missed, wrong) - before;
    float error = is_own ? 1.0f - p[offset + r] : p[offset + r];
    value += (double)error * step;
    by_p[offset + r] = (float)((is_own ? -step : step) / present);
  }
  value = block_sum(value, shared);
  if (threadIdx.x == 0) part[c * gridDim.x + blockIdx.x] = value / present;
}

// One thread a class: the sum of its chunks.
extern "C" __global__ void lovasz_losses(const double* part, int chunks, int classes, double* loss) {
  int c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= classes) return;
  double sum = 0.0;
  for (int i = 0; i < chunks; i++) sum += part[(size_t)c * chunks + i];
  loss[c] = sum;
}

// Adds the Lovasz gradient by the scores: `factor p_c (g_c - sum_k g_k p_k)`. One thread a labelled row, which is row
// `rows[i]` of the scores.
extern "C" __global__ void __launch_bounds__(THREADS)
lovasz_gradient(const float* p, const float* by_p, const unsigned int* rows, int labelled, int classes, double factor,
                float* gradient) {
  int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= labelled) return;
  double mean = 0.0;
  for (int c = 0; c < classes; c++) {
    size_t at = (size_t)c * labelled + i;
    mean += (double)by_p[at] * p[at];
  }
  float* out = gradient + (size_t)rows[i] * classes;
  for (int c = 0; c < classes; c++) {
    size_t at = (size_t)c * labelled + i;
    out[c] = (float)(out[c] + factor * p[at] * (by_p[at] - mean));
  }
}
