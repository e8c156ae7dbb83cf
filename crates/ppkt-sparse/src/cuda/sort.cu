// Stable radix sort of keys with a 32-bit value each, eight bits a pass, from the lowest.
//
// A pass: counts of each digit in each tile; their running sums, digit by digit and within a digit tile by tile; each
// key to its place. A tile's warps take consecutive parts of it, and a warp's rounds consecutive keys, so equal digits
// keep their order. Deterministic: the counts are sums of whole numbers, and places follow from them.
#include "kernel.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int ITEMS = 8;
constexpr int TILE = THREADS * ITEMS;
constexpr int DIGITS = 256;

// counts [256, tiles]. A block for each tile.
template <class K>
__device__ __forceinline__ void count(const K* keys, int n, int shift, unsigned* counts) {
    __shared__ unsigned bins[DIGITS];
    bins[threadIdx.x] = 0;
    __syncthreads();
    int first = blockIdx.x * TILE;
    for (int i = 0; i < ITEMS; i++) {
        int at = first + i * THREADS + threadIdx.x;
        if (at < n) atomicAdd(&bins[unsigned(keys[at] >> shift) & (DIGITS - 1)], 1u);
    }
    __syncthreads();
    counts[size_t(threadIdx.x) * gridDim.x + blockIdx.x] = bins[threadIdx.x];
}

// `offsets` [256, tiles] are the running sums of the counts. Values that are not given are 0, 1, 2, …
template <class K>
__device__ __forceinline__ void scatter(const K* keys, const unsigned* values, int n, int shift,
                                        const unsigned* offsets, K* sorted_keys, unsigned* sorted_values) {
    __shared__ unsigned places[WARPS][DIGITS];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int w = 0; w < WARPS; w++) places[w][threadIdx.x] = 0;
    __syncthreads();
    K key[ITEMS];
    unsigned rank[ITEMS];
    int first = blockIdx.x * TILE + warp * 32 * ITEMS + lane;
    for (int i = 0; i < ITEMS; i++) {
        int at = first + i * 32;
        key[i] = at < n ? keys[at] : K(0);
        unsigned digit = at < n ? unsigned(key[i] >> shift) & (DIGITS - 1) : DIGITS;
        unsigned alike = __match_any_sync(0xffffffffu, digit);
        unsigned before = at < n ? places[warp][digit] : 0;
        __syncwarp();
        rank[i] = before + __popc(alike & ((1u << lane) - 1));
        if (at < n && (alike & ((1u << lane) - 1)) == 0) places[warp][digit] = before + __popc(alike);
        __syncwarp();
    }
    __syncthreads();
    // From numbers of keys to places: behind the same digit of earlier tiles and of earlier warps.
    unsigned next = offsets[size_t(threadIdx.x) * gridDim.x + blockIdx.x];
    for (int w = 0; w < WARPS; w++) {
        unsigned number = places[w][threadIdx.x];
        places[w][threadIdx.x] = next;
        next += number;
    }
    __syncthreads();
    for (int i = 0; i < ITEMS; i++) {
        int at = first + i * 32;
        if (at >= n) continue;
        unsigned place = places[warp][unsigned(key[i] >> shift) & (DIGITS - 1)] + rank[i];
        sorted_keys[place] = key[i];
        sorted_values[place] = values ? values[at] : unsigned(at);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sort_count_u32(const unsigned* keys, int n, int shift, unsigned* counts) {
    count(keys, n, shift, counts);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    sort_count_u64(const unsigned long long* keys, int n, int shift, unsigned* counts) {
    count(keys, n, shift, counts);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    sort_scatter_u32(const unsigned* keys, const unsigned* values, int n, int shift, const unsigned* offsets,
                     unsigned* sorted_keys, unsigned* sorted_values) {
    scatter(keys, values, n, shift, offsets, sorted_keys, sorted_values);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    sort_scatter_u64(const unsigned long long* keys, const unsigned* values, int n, int shift,
                     const unsigned* offsets, unsigned long long* sorted_keys, unsigned* sorted_values) {
    scatter(keys, values, n, shift, offsets, sorted_keys, sorted_values);
}

// Running sums, the element itself not counted, of each row of `data` [rows, length] in place; `totals` [rows], if
// given, are the sums of the rows. A block of 1024 threads for each row.
extern "C" __global__ void __launch_bounds__(1024) running_sums(unsigned* data, int length, int* totals) {
    __shared__ unsigned of_warps[32];
    __shared__ unsigned carry;
    unsigned* row = data + size_t(blockIdx.x) * length;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (threadIdx.x == 0) carry = 0;
    __syncthreads();
    for (int first = 0; first < length; first += 4 * 1024) {
        int at = first + 4 * threadIdx.x;
        unsigned v[4], own = 0;
        for (int i = 0; i < 4; i++) {
            v[i] = at + i < length ? row[at + i] : 0;
            own += v[i];
        }
        unsigned sum = own;
        for (int by = 1; by < 32; by *= 2) {
            unsigned other = __shfl_up_sync(0xffffffffu, sum, by);
            if (lane >= by) sum += other;
        }
        if (lane == 31) of_warps[warp] = sum;
        __syncthreads();
        if (warp == 0) {
            unsigned s = of_warps[lane];
            for (int by = 1; by < 32; by *= 2) {
                unsigned other = __shfl_up_sync(0xffffffffu, s, by);
                if (lane >= by) s += other;
            }
            of_warps[lane] = s;
        }
        __syncthreads();
        unsigned before = carry + (warp > 0 ? of_warps[warp - 1] : 0) + sum - own;
        for (int i = 0; i < 4; i++) {
            if (at + i < length) row[at + i] = before;
            before += v[i];
        }
        __syncthreads();
        if (threadIdx.x == 0) carry += of_warps[31];
        __syncthreads();
    }
    if (threadIdx.x == 0 && totals) totals[blockIdx.x] = int(carry);
}
