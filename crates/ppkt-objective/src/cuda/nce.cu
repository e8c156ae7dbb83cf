// Cross-entropy over a similarity matrix that is never in memory: loss, hits, and both gradients.
//
//   s_ij = q_i . k_j / tau          loss_i = log sum_j exp s_ij - s_ii
//   dq_i = 1/(tau n) sum_j (p_ij - [i = j]) k_j        p_ij = exp s_ij / sum_j exp s_ij
//   dk_j = 1/(tau n) sum_i (p_ij - [i = j]) q_i
//
// Tiles of 64 x 64 similarities live in registers. `nce_rows` keeps for each row the largest similarity so far and
// the sum of exponentials relative to it; `nce_*_gradient` make the tiles again and multiply them onward at once. Work is
// cut over a number of parts that depends on n alone, and parts are added in order: the same bits in every run, on
// every card. All in f32 with sums of rows in f64; no atomics, no tensor cores.
//
// As on the CPU, the own column is kept out of the sum of exponentials: once training goes well it is nearly 1 and the
// others are tiny, and `1 + tiny - 1` would leave nothing of them.

#include "rows.cuh"

#define TILE 64
#define THREADS 256
#define DEPTH 16
// Floats between the rows of a tile in shared memory: whole vectors of four, shifted against the banks.
#define PITCH 68
// Channels of the gradient that a block makes.
#define CHANNELS 128

// Each row to unit length; its length for the way back.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
unit_rows(const float* raw, int dim, float* unit, double* length) {
  __shared__ double shared[ROW_THREADS];
  const float* row = raw + (size_t)blockIdx.x * dim;
  double sum = 0.0;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) sum += (double)row[d] * row[d];
  double l = sqrt(block_sum(sum, shared));
  double scale = 1.0 / (l < SHORTEST ? SHORTEST : l);
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) unit[(size_t)blockIdx.x * dim + d] = (float)(row[d] * scale);
  if (threadIdx.x == 0) length[blockIdx.x] = l;
}

// Rows `first..first + TILE` of `x`, channels `depth..depth + DEPTH`, transposed into shared memory; zeros outside.
static __device__ void load_transposed(const float* x, int n, int dim, int first, int depth, float* tile) {
  for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
    int row = i / DEPTH, d = i % DEPTH;
    bool inside = first + row < n && depth + d < dim;
    tile[d * PITCH + row] = inside ? x[(size_t)(first + row) * dim + depth + d] : 0.0f;
  }
}

// Products of rows `a_first + 4 ty + r` of `a` with rows `b_first + 4 tx + c` of `b`. Each sum runs over the channels in
// order, so that equal rows have equal products.
static __device__ void products(const float* a, const float* b, int n, int dim, int a_first, int b_first,
                                float* tile_a, float* tile_b, float acc[4][4]) {
  int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 4; c++) acc[r][c] = 0.0f;
  for (int depth = 0; depth < dim; depth += DEPTH) {
    __syncthreads();
    load_transposed(a, n, dim, a_first, depth, tile_a);
    load_transposed(b, n, dim, b_first, depth, tile_b);
    __syncthreads();
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      float x[4], y[4];
#pragma unroll
      for (int r = 0; r < 4; r++) x[r] = tile_a[d * PITCH + 4 * ty + r];
#pragma unroll
      for (int c = 0; c < 4; c++) y[c] = tile_b[d * PITCH + 4 * tx + c];
#pragma unroll
      for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) acc[r][c] += x[r] * y[c];
    }
  }
}

// The tiles of other rows that part `part` of `parts` takes.
static __device__ int first_tile(int part, int parts, int tiles) {
  return (int)((long long)part * tiles / parts);
}

// For 64 queries and a part of the keys: the largest similarity with another's key, and the sum of exponentials relative
// to it. Grid [tiles, parts]; `top` and `sum` are [parts, n], `own` [n] is the similarity with the own key.
extern "C" __global__ void __launch_bounds__(THREADS)
nce_rows(const float* query, const float* key, int n, int dim, float inverse_temperature, float* top, float* sum,
         float* own) {
  __shared__ __align__(16) float tile_a[DEPTH * PITCH];
  __shared__ __align__(16) float tile_b[DEPTH * PITCH];
  __shared__ float tops[TILE][16];
  __shared__ float sums[TILE][16];
  int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  int first = blockIdx.x * TILE, tiles = (n + TILE - 1) / TILE;
  float best[4], total[4];
  for (int r = 0; r < 4; r++) best[r] = -INFINITY, total[r] = 0.0f;
  int end = first_tile(blockIdx.y + 1, gridDim.y, tiles);
  for (int tile = first_tile(blockIdx.y, gridDim.y, tiles); tile < end; tile++) {
    float s[4][4];
    products(query, key, n, dim, first, tile * TILE, tile_a, tile_b, s);
    for (int r = 0; r < 4; r++) {
      int row = first + 4 * ty + r;
      float high = best[r];
      for (int c = 0; c < 4; c++) {
        int column = tile * TILE + 4 * tx + c;
        s[r][c] *= inverse_temperature;
        if (column == row && row < n) own[row] = s[r][c];
        // What does not count is below everything, and its exponential is 0.
        if (column == row || column >= n) s[r][c] = -INFINITY;
        if (s[r][c] > high) high = s[r][c];
      }
      if (high > best[r]) {
        total[r] *= expf(best[r] - high);
        best[r] = high;
      }
      for (int c = 0; c < 4; c++) {
        // The difference of two infinities is not a number; a similarity that is none has to stay so.
        if (s[r][c] != -INFINITY) total[r] += expf(s[r][c] - best[r]);
      }
    }
  }
  for (int r = 0; r < 4; r++) tops[4 * ty + r][tx] = best[r], sums[4 * ty + r][tx] = total[r];
  __syncthreads();
  int row = threadIdx.x;
  if (row < TILE && first + row < n) {
    float high = -INFINITY, all = 0.0f;
    for (int i = 0; i < 16; i++)
      if (tops[row][i] > high) high = tops[row][i];
    for (int i = 0; i < 16; i++) {
      // A part without a column has no exponentials, and its top is -infinity.
      if (sums[row][i] != 0.0f) all += sums[row][i] * expf(tops[row][i] - high);
    }
    top[(size_t)blockIdx.y * n + first + row] = high;
    sum[(size_t)blockIdx.y * n + first + row] = all;
  }
}

// One thread a row: from the parts to what the gradient needs, and the row's loss.
//   top[i]     the largest of the row, its own included (in place of part 0)
//   others[i]  sum of the exponentials of the others, relative to it (in place of part 0)
//   scale[i]   1 / (sum tau n)
extern "C" __global__ void nce_merge(int n, int parts, double temperature, float* top, float* sum, const float* own,
                                     float* scale, double* loss, float* hit) {
  int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= n) return;
  float nearest_other = -INFINITY;
  for (int p = 0; p < parts; p++) {
    float t = top[(size_t)p * n + row];
    if (t > nearest_other) nearest_other = t;
  }
  float self = own[row], high = self > nearest_other ? self : nearest_other;
  double others = 0.0;
  for (int p = 0; p < parts; p++) {
    float s = sum[(size_t)p * n + row];
    if (s != 0.0f) others += (double)s * exp((double)top[(size_t)p * n + row] - (double)high);
  }
  double above_own = (double)high - (double)self;
  double all = others + exp(-above_own);
  loss[row] = above_own == 0.0 ? log1p(others) : above_own + log(all);
  hit[row] = self > nearest_other ? 1.0f : 0.0f;
  top[row] = high;
  sum[row] = (float)others;
  scale[row] = (float)(1.0 / (all * temperature * n));
}

// One block: mean of `loss`, of which `second` is the other half if it is not null, and the number of hits.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
loss_and_hits(const double* loss, const double* second, const float* hit, int n, float* value, float* hits) {
  __shared__ double shared[ROW_THREADS];
  double a = 0.0, b = 0.0, h = 0.0;
  for (int i = threadIdx.x; i < n; i += ROW_THREADS) {
    a += loss[i];
    if (second) b += second[i];
    h += hit[i];
  }
  a = block_sum(a, shared);
  b = block_sum(b, shared);
  h = block_sum(h, shared);
  if (threadIdx.x == 0) {
    value[0] = (float)(second ? (a / n + b / n) / 2.0 : a / n);
    hits[0] = (float)h;
  }
}

// For 64 rows and 128 channels: the sum over a part of the other rows, weighted by the similarities' gradient.
// Grid [tiles, parts, channels / 128]; `part` is [parts, n, dim].
template <bool BY_QUERY>
static __device__ void gradient(const float* rows, const float* others, int n, int dim, float inverse_temperature,
                                const float* top, const float* sum, const float* scale, float* part) {
  __shared__ __align__(16) float tile_a[DEPTH * PITCH];
  __shared__ __align__(16) float tile_b[DEPTH * PITCH];
  // Weights, transposed: [other row][row].
  __shared__ __align__(16) float weights[TILE * PITCH];
  __shared__ __align__(16) float values[DEPTH * CHANNELS];
  int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  int first = blockIdx.x * TILE, tiles = (n + TILE - 1) / TILE;
  int channel = blockIdx.z * CHANNELS;
  // Channels of the second half are there, of which a narrow embedding has none.
  bool wide = channel + CHANNELS / 2 < dim;
  float acc[4][8];
  for (int r = 0; r < 4; r++)
    for (int c = 0; c < 8; c++) acc[r][c] = 0.0f;
  int end = first_tile(blockIdx.y + 1, gridDim.y, tiles);
  for (int tile = first_tile(blockIdx.y, gridDim.y, tiles); tile < end; tile++) {
    float s[4][4];
    products(rows, others, n, dim, first, tile * TILE, tile_a, tile_b, s);
    for (int r = 0; r < 4; r++) {
      int row = first + 4 * ty + r;
      for (int c = 0; c < 4; c++) {
        int other = tile * TILE + 4 * tx + c;
        float w = 0.0f;
        if (row < n && other < n) {
          // The statistics are those of the query.
          int query = BY_QUERY ? row : other;
          w = row == other ? -sum[query] : expf(s[r][c] * inverse_temperature - top[query]);
          w *= scale[query];
        }
        weights[(4 * tx + c) * PITCH + 4 * ty + r] = w;
      }
    }
    for (int depth = 0; depth < TILE; depth += DEPTH) {
      __syncthreads();
      for (int i = threadIdx.x; i < DEPTH * CHANNELS; i += THREADS) {
        int other = tile * TILE + depth + i / CHANNELS, d = channel + i % CHANNELS;
        values[i] = other < n && d < dim ? others[(size_t)other * dim + d] : 0.0f;
      }
      __syncthreads();
#pragma unroll
      for (int d = 0; d < DEPTH; d++) {
        float x[4], y[8];
#pragma unroll
        for (int r = 0; r < 4; r++) x[r] = weights[(depth + d) * PITCH + 4 * ty + r];
#pragma unroll
        for (int c = 0; c < 4; c++) y[c] = values[d * CHANNELS + 4 * tx + c];
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
          for (int c = 0; c < 4; c++) acc[r][c] += x[r] * y[c];
        if (wide) {
#pragma unroll
          for (int c = 4; c < 8; c++) y[c] = values[d * CHANNELS + CHANNELS / 2 + 4 * tx + c - 4];
#pragma unroll
          for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 4; c < 8; c++) acc[r][c] += x[r] * y[c];
        }
      }
    }
  }
  for (int r = 0; r < 4; r++) {
    int row = first + 4 * ty + r;
    for (int c = 0; c < 8; c++) {
      int d = channel + (c < 4 ? 4 * tx + c : CHANNELS / 2 + 4 * tx + c - 4);
      if (row < n && d < dim) part[((size_t)blockIdx.y * n + row) * dim + d] = acc[r][c];
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
nce_query_gradient(const float* query, const float* key, int n, int dim, float inverse_temperature,
                   const float* top, const float* sum, const float* scale, float* part) {
  gradient<true>(query, key, n, dim, inverse_temperature, top, sum, scale, part);
}

extern "C" __global__ void __launch_bounds__(THREADS)
nce_key_gradient(const float* key, const float* query, int n, int dim, float inverse_temperature, const float* top,
                 const float* sum, const float* scale, float* part) {
  gradient<false>(key, query, n, dim, inverse_temperature, top, sum, scale, part);
}

// One block a row: the sum of the parts, halved with that of `second` if it is not null, and brought back to the raw row
// if `unit` is not null.
extern "C" __global__ void __launch_bounds__(ROW_THREADS)
nce_finish(const float* part, const float* second, int parts, int n, int dim, const float* unit,
           const double* length, float* gradient) {
  __shared__ double shared[ROW_THREADS];
  size_t row = (size_t)blockIdx.x * dim, step = (size_t)n * dim;
  double along = 0.0;
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS) {
    float g = 0.0f;
    for (int p = 0; p < parts; p++) g += part[p * step + row + d];
    if (second) {
      float other = 0.0f;
      for (int p = 0; p < parts; p++) other += second[p * step + row + d];
      g = (g + other) / 2.0f;
    }
    gradient[row + d] = g;
    if (unit) along += (double)g * unit[row + d];
  }
  if (!unit) return;
  along = block_sum(along, shared);
  for (int d = threadIdx.x; d < dim; d += ROW_THREADS)
    gradient[row + d] = pulled_back(gradient[row + d], unit[row + d], along, length[blockIdx.x]);
}
