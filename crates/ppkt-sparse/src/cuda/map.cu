// Kernel maps: which source row each target row reads under each voxel of a kernel.
//
// Keys are those of key.rs: batch above 54 bits of a Morton code, so the voxels of an aligned cube of 4³ are
// consecutive. The source set becomes a hash table of such blocks: key, occupancy mask, row of the first voxel; the row
// of a voxel is that row plus the number of mask bits below its own. A target voxel looks up the few blocks that its
// kernel touches, and reads the rest from their masks.
//
// Deterministic but for the places of blocks in the hash table, which no result depends on.
#include "kernel.cuh"

typedef unsigned long long u64;

constexpr int AXIS_BITS = 18;
constexpr int MORTON_BITS = 3 * AXIS_BITS;

// As key::spread and key::compact.
__device__ __forceinline__ u64 spread(unsigned x) {
    u64 v = x & 0x1fffffu;
    v = (v | v << 32) & 0x001f00000000ffffull;
    v = (v | v << 16) & 0x001f0000ff0000ffull;
    v = (v | v << 8) & 0x100f00f00f00f00full;
    v = (v | v << 4) & 0x10c30c30c30c30c3ull;
    return (v | v << 2) & 0x1249249249249249ull;
}
__device__ __forceinline__ int compact(u64 v) {
    v &= 0x1249249249249249ull;
    v = (v | v >> 2) & 0x10c30c30c30c30c3ull;
    v = (v | v >> 4) & 0x100f00f00f00f00full;
    v = (v | v >> 8) & 0x001f0000ff0000ffull;
    v = (v | v >> 16) & 0x001f00000000ffffull;
    return int((v | v >> 32) & 0x1fffffull);
}

// Where the search for a block begins.
__device__ __forceinline__ unsigned home(u64 block, unsigned last) {
    return unsigned(block * 0x9e3779b97f4a7c15ull >> 32) & last;
}

// A slot is four words: block + 1 (0 is a free slot), mask, first row, nothing: one sector of memory.
// `last` is the number of slots, a power of two, less one. A thread for each key.
extern "C" __global__ void __launch_bounds__(256) map_blocks(const u64* keys, int n, u64* slots, unsigned last) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    u64 block = keys[i] >> 6;
    if (i > 0 && keys[i - 1] >> 6 == block) return;
    u64 mask = 0;
    for (int j = i; j < n && keys[j] >> 6 == block; j++) mask |= 1ull << (keys[j] & 63);
    unsigned at = home(block, last);
    while (atomicCAS(&slots[4 * size_t(at)], 0ull, block + 1) != 0) at = (at + 1) & last;
    slots[4 * size_t(at) + 1] = mask;
    slots[4 * size_t(at) + 2] = i;
}

// found [K, n_target]: source rows, or -1. sort_keys [n_target]: the kernel voxels that a row has, folded to 32 bits
// where there are more. A thread for each target row.
//
// Fine and coarse indices along an axis (coordinates without bias): fine = coarse * stride + offset. `to_fine`: the
// fine side is the target.
extern "C" __global__ void __launch_bounds__(128)
    map_search(const u64* keys, int n_target, int target_bias, const u64* slots, unsigned last, int source_bias,
               int kernel, int stride, int dilation, int to_fine, int* found, unsigned* sort_keys) {
    int row = blockIdx.x * 128 + threadIdx.x;
    if (row >= n_target) return;
    u64 key = keys[row];
    u64 batch = key >> MORTON_BITS << MORTON_BITS;
    int target[3];
    for (int a = 0; a < 3; a++) target[a] = compact((key & ((1ull << MORTON_BITS) - 1)) >> a) - target_bias;
    int centre = kernel % 2 == 1 ? kernel / 2 : 0;
    int volume = kernel * kernel * kernel;
    // Blocks that were looked up, by the parity of their coordinates: the up to eight that a small kernel touches.
    u64 known[8], masks[8];
    unsigned rows[8];
    for (int i = 0; i < 8; i++) known[i] = ~0ull;
    unsigned bits = 0;
    for (int k = 0; k < volume; k++) {
        int step[3] = {k % kernel, k / kernel % kernel, k / (kernel * kernel)};
        unsigned at[3];
        bool inside = true;
        for (int a = 0; a < 3; a++) {
            int offset = (step[a] - centre) * dilation;
            int v;
            if (to_fine) {
                v = target[a] - offset;
                inside = inside && v % stride == 0;
                v /= stride;
            } else {
                v = target[a] * stride + offset;
            }
            v += source_bias;
            inside = inside && v >= 0 && v < 1 << AXIS_BITS;
            at[a] = unsigned(v);
        }
        int source = -1;
        if (inside) {
            u64 wanted = batch | spread(at[0]) | spread(at[1]) << 1 | spread(at[2]) << 2;
            u64 block = wanted >> 6;
            int way = int(block & 7);
            if (known[way] != block) {
                known[way] = block;
                masks[way] = 0;
                for (unsigned slot = home(block, last);; slot = (slot + 1) & last) {
                    u64 there = slots[4 * size_t(slot)];
                    if (there == block + 1) {
                        masks[way] = slots[4 * size_t(slot) + 1];
                        rows[way] = unsigned(slots[4 * size_t(slot) + 2]);
                    }
                    if (there == block + 1 || there == 0) break;
                }
            }
            int bit = int(wanted & 63);
            if (masks[way] >> bit & 1) source = int(rows[way]) + __popcll(masks[way] & ((1ull << bit) - 1));
        }
        found[size_t(k) * n_target + row] = source;
        if (source >= 0) bits |= 1u << (volume <= 32 ? k : int((long long)k * 32 / volume));
    }
    sort_keys[row] = bits;
}

// From rows to positions, a tile of 128 a block: order [P], neighbours [K, P], masks [P / 128, words]. `sorted`
// [n_target] are rows in the order of positions; where it is not given, positions are rows.
extern "C" __global__ void __launch_bounds__(128)
    map_tiles(const int* found, const unsigned* sorted, int n_target, int volume, int words, int* neighbours,
              int* order, unsigned* masks) {
    __shared__ unsigned any[128];
    int p = blockIdx.x * 128 + threadIdx.x;
    size_t positions = size_t(gridDim.x) * 128;
    int row = p < n_target ? (sorted ? int(sorted[p]) : p) : -1;
    order[p] = row;
    // A kernel has at most 15³ voxels: 106 words.
    if (threadIdx.x < words) any[threadIdx.x] = 0;
    __syncthreads();
    for (int k = 0; k < volume; k++) {
        int source = row >= 0 ? found[size_t(k) * n_target + row] : -1;
        neighbours[size_t(k) * positions + p] = source;
        if (__any_sync(0xffffffffu, source >= 0) && threadIdx.x % 32 == 0) atomicOr(&any[k / 32], 1u << (k % 32));
    }
    __syncthreads();
    if (threadIdx.x < words) masks[size_t(blockIdx.x) * words + threadIdx.x] = any[threadIdx.x];
}

constexpr int CHUNK = 2048;

// counts [K, chunks]: pairs of each kernel voxel in each chunk of target rows. Grid (chunks, K).
extern "C" __global__ void __launch_bounds__(256) map_count_pairs(const int* found, int n_target, unsigned* counts) {
    const int* own = found + size_t(blockIdx.y) * n_target;
    unsigned number = 0;
    for (int i = 0; i < CHUNK / 256; i++) {
        int row = blockIdx.x * CHUNK + i * 256 + threadIdx.x;
        number += __syncthreads_count(row < n_target && own[row] >= 0);
    }
    if (threadIdx.x == 0) counts[size_t(blockIdx.y) * gridDim.x + blockIdx.x] = number;
}

// pairs [K, 2, n_target]: source rows and target rows, in ascending order of these. `offsets` are the running sums of
// the counts, for each kernel voxel. Grid (chunks, K).
extern "C" __global__ void __launch_bounds__(256)
    map_write_pairs(const int* found, int n_target, const unsigned* offsets, int* pairs) {
    __shared__ unsigned of_warps[8];
    const int* own = found + size_t(blockIdx.y) * n_target;
    int* sources = pairs + size_t(blockIdx.y) * 2 * n_target;
    int* targets = sources + n_target;
    unsigned next = offsets[size_t(blockIdx.y) * gridDim.x + blockIdx.x];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int i = 0; i < CHUNK / 256; i++) {
        int row = blockIdx.x * CHUNK + i * 256 + threadIdx.x;
        int source = row < n_target ? own[row] : -1;
        unsigned present = __ballot_sync(0xffffffffu, source >= 0);
        if (lane == 0) of_warps[warp] = __popc(present);
        __syncthreads();
        unsigned place = next + __popc(present & ((1u << lane) - 1));
        for (int w = 0; w < 8; w++) {
            if (w < warp) place += of_warps[w];
            next += of_warps[w];
        }
        if (source >= 0) {
            sources[place] = source;
            targets[place] = row;
        }
        __syncthreads();
    }
}

// The key of the voxel `1 << shift` times as large that holds a voxel.
__device__ __forceinline__ u64 parent(u64 key, int shift) {
    constexpr u64 MORTON = (1ull << MORTON_BITS) - 1;
    return (key & ~MORTON) | (key & MORTON) >> (3 * shift);
}

// Whether a row is the first with its parent. Sorted keys have sorted parents.
__device__ __forceinline__ bool is_first(const u64* keys, int row, int shift) {
    return row == 0 || parent(keys[row], shift) != parent(keys[row - 1], shift);
}

// counts [chunks]: distinct parents that begin in each chunk of keys.
extern "C" __global__ void __launch_bounds__(256)
    map_count_parents(const u64* keys, int n, int shift, unsigned* counts) {
    unsigned number = 0;
    for (int i = 0; i < CHUNK / 256; i++) {
        int row = blockIdx.x * CHUNK + i * 256 + threadIdx.x;
        number += __syncthreads_count(row < n && is_first(keys, row, shift));
    }
    if (threadIdx.x == 0) counts[blockIdx.x] = number;
}

// The distinct parents in ascending order; `offsets` are the running sums of the counts.
extern "C" __global__ void __launch_bounds__(256)
    map_write_parents(const u64* keys, int n, int shift, const unsigned* offsets, u64* parents) {
    __shared__ unsigned of_warps[8];
    unsigned next = offsets[blockIdx.x];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int i = 0; i < CHUNK / 256; i++) {
        int row = blockIdx.x * CHUNK + i * 256 + threadIdx.x;
        bool first = row < n && is_first(keys, row, shift);
        unsigned firsts = __ballot_sync(0xffffffffu, first);
        if (lane == 0) of_warps[warp] = __popc(firsts);
        __syncthreads();
        unsigned place = next + __popc(firsts & ((1u << lane) - 1));
        for (int w = 0; w < 8; w++) {
            if (w < warp) place += of_warps[w];
            next += of_warps[w];
        }
        if (first) parents[place] = parent(keys[row], shift);
        __syncthreads();
    }
}
