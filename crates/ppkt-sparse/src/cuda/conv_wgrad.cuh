// The gradient of a convolution by its weight, as products over the pairs of each kernel voxel.
//
// dw[k] = Σ x[s]ᵀ · grad[t] over the pairs (s, t) of k. All pairs stand in one line, kernel voxel after kernel voxel,
// and are cut into `splits` parts of equal length; a block owns a part and ROWS × COLS channels, gathers the rows of
// both sides PAIRS at a time into shared memory and multiplies there. Where a part goes over from one kernel voxel to
// the next, it writes what it has and begins anew: part s of kernel voxel k goes to place s + k, which no other has,
// and conv_wgrad_sum adds the places of a kernel voxel in order. No atomics; how the pairs are cut depends on
// their numbers and on `splits` alone, so that the same input gives the same bits.
//
// In shared memory a row is a pair, and its 16-byte units stand at u ^ mix(row) within every 128 bytes, so that both
// ldmatrix of eight rows and single loads of four rows find all banks.
#pragma once

#include "conv_args.cuh"

constexpr int WGRAD_STAGES = 3;

// Pairs of a part; the same for every part but the last ones.
__device__ __forceinline__ long long pairs_of_part(long long n_pairs, int splits) {
    return (n_pairs + splits - 1) / splits;
}

__device__ __forceinline__ int count_of(const WgradArgs& args, int k) {
    return args.pairs == nullptr ? args.n_target : __ldg(args.counts + k);
}

// One part: where its pairs begin and end in the line of all pairs.
struct Part {
    long long first, last;

    __device__ __forceinline__ Part(const WgradArgs& args, int split) {
        long long n = 0;
        for (int k = 0; k < args.volume; k++) n += count_of(args, k);
        long long each = pairs_of_part(n, args.splits);
        first = min(each * split, n);
        last = min(first + each, n);
    }
};

__device__ __forceinline__ int mix(int row) { return (row & 3) << 1 | (row >> 2 & 1); }

// A warp's sums on tensor cores: MT × 16 channels of x, NT × 8 of the gradient.
template <class In, int MT, int NT>
struct TensorOuter {
    static constexpr int ROWS = MT * 16, COLS = NT * 8;
    // Pairs of a step.
    static constexpr int STEP = sizeof(In) == 2 ? 16 : 8;
    float d[MT][NT][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) d[m][n][i] = 0.0f;
    }

    // The 16-bit unit of channel `c` (of 16 bytes) and pair `row`, in rows of PITCH bytes.
    template <int PITCH>
    static __device__ __forceinline__ const unsigned char* unit(const unsigned char* x, int row, int c) {
        int u = c * int(sizeof(In)) / 16;
        return x + row * PITCH + ((u ^ mix(row)) << 4);
    }

    // Adds the product of STEP pairs from pair `row` on; `a` and `b` are the stage's, `m0` and `n0` the warp's channels.
    template <int PITCH_A, int PITCH_B>
    __device__ __forceinline__ void step(const unsigned char* a, const unsigned char* b, int row, int m0, int n0) {
        int lane = threadIdx.x % 32;
        uint32_t af[MT][4];
        if constexpr (sizeof(In) == 2) {
            static_assert(NT % 2 == 0, "columns are loaded sixteen at a time");
#pragma unroll
            for (int m = 0; m < MT; m++) {
                int pair = row + (lane & 7) + ((lane & 16) >> 1);
                ldmatrix_x4_trans(af[m], unit<PITCH_A>(a, pair, m0 + m * 16 + (lane & 8)));
            }
#pragma unroll
            for (int n = 0; n < NT; n += 2) {
                uint32_t bf[4];
                ldmatrix_x4_trans(bf, unit<PITCH_B>(b, row + (lane & 15), n0 + n * 8 + ((lane & 16) >> 1)));
                uint32_t b0[2] = {bf[0], bf[1]}, b1[2] = {bf[2], bf[3]};
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    mma_bf16(d[m][n], af[m], b0);
                    mma_bf16(d[m][n + 1], af[m], b1);
                }
            }
        } else {
            int g = lane / 4, t = lane % 4;
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    af[m][i] = number<PITCH_A>(a, row + t + (i & 2) * 2, m0 + m * 16 + g + (i & 1) * 8);
                }
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint32_t bf[2] = {number<PITCH_B>(b, row + t, n0 + n * 8 + g),
                                  number<PITCH_B>(b, row + t + 4, n0 + n * 8 + g)};
#pragma unroll
                for (int m = 0; m < MT; m++) mma_tf32(d[m][n], af[m], bf);
            }
        }
    }

    // Calls f(row, column, value) for each sum.
    template <class F>
    __device__ __forceinline__ void each(F f) const {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    f(m * 16 + lane / 4 + (i & 2) * 4, n * 8 + lane % 4 * 2 + (i & 1), d[m][n][i]);
                }
    }

private:
    template <int PITCH>
    static __device__ __forceinline__ uint32_t number(const unsigned char* x, int row, int c) {
        return to_tf32(*reinterpret_cast<const float*>(unit<PITCH>(x, row, c) + (c & 3) * 4));
    }
};

// A warp's sums in f32, 32 × 32: lane l has rows 8 (l / 8) and the seven after, columns 4 (l % 8) and the three after.
struct ExactOuter {
    static constexpr int ROWS = 32, COLS = 32, STEP = 8;
    float d[8][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) d[i][j] = 0.0f;
    }

    template <int PITCH>
    static __device__ __forceinline__ float4 four(const unsigned char* x, int row, int c) {
        return *reinterpret_cast<const float4*>(x + row * PITCH + (((c / 4) ^ mix(row)) << 4));
    }

    template <int PITCH_A, int PITCH_B>
    __device__ __forceinline__ void step(const unsigned char* a, const unsigned char* b, int row, int m0, int n0) {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int r = 0; r < STEP; r++) {
            float4 x0 = four<PITCH_A>(a, row + r, m0 + lane / 8 * 8), x1 = four<PITCH_A>(a, row + r, m0 + lane / 8 * 8 + 4);
            float4 y4 = four<PITCH_B>(b, row + r, n0 + lane % 8 * 4);
            float x[8] = {x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w}, y[4] = {y4.x, y4.y, y4.z, y4.w};
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) d[i][j] = fmaf(x[i], y[j], d[i][j]);
        }
    }

    template <class F>
    __device__ __forceinline__ void each(F f) const {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) f(lane / 8 * 8 + i, lane % 8 * 4 + j, d[i][j]);
    }
};

// The products of a block. A stage holds PAIRS rows of ROWS channels of x, and after them of COLS of the gradient.
template <class In, class Sums, int ROWS, int COLS, int WARPS_N, int THREADS, int PAIRS, bool ALIGNED>
struct WgradTile {
    static constexpr int pitch(int channels) { return (channels * int(sizeof(In)) + CHUNK - 1) / CHUNK * CHUNK; }
    static constexpr int PITCH_A = pitch(ROWS), PITCH_B = pitch(COLS);
    static constexpr int STAGE = PAIRS * (PITCH_A + PITCH_B);
    static_assert(THREADS / 32 * Sums::ROWS * Sums::COLS == ROWS * COLS && WARPS_N * Sums::COLS == COLS, "whole warps");
    // Pairs whose rows the block's threads copy at a time, eight threads to a row.
    static constexpr int AT_ONCE = THREADS / 8;
    static constexpr int COPIES = PAIRS / AT_ONCE;
    static_assert(PAIRS % Sums::STEP == 0 && PAIRS % AT_ONCE == 0 && AT_ONCE % 8 == 0, "whole steps and copies");

    const WgradArgs& args;
    unsigned char* stages;

    // One side's rows of `channels`, of which the block multiplies those from `first` on.
    struct Side {
        const In* rows;
        int channels;
        int first;
    };

    // Copies channels `first..first + WIDTH` of the rows of this thread's pairs.
    template <int WIDTH, int PITCH>
    __device__ __forceinline__ void copy(unsigned char* to, const Side& side, const int (&sources)[COPIES]) const {
        constexpr int N = 16 / sizeof(In), UNITS = WIDTH / N;
        int row = threadIdx.x / 8;
#pragma unroll
        for (int i = 0; i < COPIES; i++, row += AT_ONCE) {
            const In* from = side.rows + (long long)max(sources[i], 0) * side.channels + side.first;
#pragma unroll
            for (int u0 = 0; u0 < UNITS; u0 += 8) {
                int u = u0 + threadIdx.x % 8;
                if (UNITS % 8 != 0 && u >= UNITS) continue;
                unsigned char* at = to + row * PITCH + ((u ^ mix(row)) << 4);
                int left = sources[i] < 0 ? 0 : side.channels - side.first - u * N;
                if constexpr (ALIGNED) {
                    cp_async<16>(at, left > 0 ? from + u * N : side.rows, left > 0);
                } else {
                    Pack<In, N> pack;
#pragma unroll
                    for (int j = 0; j < N; j++) pack.v[j] = j < left ? from[u * N + j] : from_f32<In>(0.0f);
                    *reinterpret_cast<Pack<In, N>*>(at) = pack;
                }
            }
        }
    }

    __device__ __forceinline__ void run() const {
        int warp = threadIdx.x / 32, m0 = warp / WARPS_N * Sums::ROWS, n0 = warp % WARPS_N * Sums::COLS;
        bool is_right = int(blockIdx.x) >= args.left_blocks;
        Side x{static_cast<const In*>(is_right ? args.right : args.left),
               is_right ? args.right_channels : args.left_channels,
               (int(blockIdx.x) - (is_right ? args.left_blocks : 0)) * ROWS};
        Side g{static_cast<const In*>(args.grad), args.cout, int(blockIdx.y) * COLS};
        int first_row = (is_right ? args.left_channels : 0) + x.first, cin = args.left_channels + args.right_channels;
        Part part(args, blockIdx.z);
        Sums sums;
        long long before = 0;
        for (int k = 0; k < args.volume; k++) {
            int count = count_of(args, k);
            // The part's pairs of this kernel voxel.
            int from = int(min((long long)count, max(0ll, part.first - before)));
            int to = int(min((long long)count, max(0ll, part.last - before)));
            before += count;
            if (from >= to) continue;
            sums.clear();
            multiply(sums, k, from, to, x, g, m0, n0);
            float* out = args.parts + ((long long)blockIdx.z + k) * cin * args.cout;
            sums.each([&](int r, int c, float v) {
                int row = m0 + r, col = g.first + n0 + c;
                if (x.first + row < x.channels && col < args.cout) {
                    out[(long long)(first_row + row) * args.cout + col] = v;
                }
            });
        }
    }

    // Sums over pairs `from..to` of kernel voxel `k`.
    __device__ __forceinline__ void multiply(Sums& sums, int k, int from, int to, const Side& x, const Side& g, int m0,
                                             int n0) const {
        const int* sources = args.pairs == nullptr ? nullptr : args.pairs + (long long)k * 2 * args.n_target;
        int mine = from + threadIdx.x / 8;
        int source[COPIES], target[COPIES];
        auto look_up = [&]() {
#pragma unroll
            for (int i = 0; i < COPIES; i++, mine += AT_ONCE) {
                bool there = mine < to;
                source[i] = !there ? -1 : sources == nullptr ? mine : __ldg(sources + mine);
                target[i] = !there ? -1 : sources == nullptr ? mine : __ldg(sources + args.n_target + mine);
            }
        };
        look_up();
        int total = (to - from + PAIRS - 1) / PAIRS;
        auto copy_next = [&](int stage) {
            unsigned char* at = stages + stage * STAGE;
            copy<ROWS, PITCH_A>(at, x, source);
            copy<COLS, PITCH_B>(at + PAIRS * PITCH_A, g, target);
            look_up();
        };
#pragma unroll
        for (int s = 0; s < WGRAD_STAGES - 1; s++) {
            if (s < total) copy_next(s);
            cp_async_commit();
        }
        int stage = 0;
        for (int i = 0; i < total; i++) {
            cp_async_wait<WGRAD_STAGES - 2>();
            __syncthreads();
            if (i + WGRAD_STAGES - 1 < total) copy_next(stage == 0 ? WGRAD_STAGES - 1 : stage - 1);
            cp_async_commit();
            const unsigned char* a = stages + stage * STAGE;
#pragma unroll(sizeof(In) == 2 ? 4 : 1)
            for (int p = 0; p < PAIRS; p += Sums::STEP) {
                sums.template step<PITCH_A, PITCH_B>(a, a + PAIRS * PITCH_A, p, m0, n0);
            }
            stage = stage == WGRAD_STAGES - 1 ? 0 : stage + 1;
        }
        cp_async_wait<0>();
        __syncthreads();
    }
};

// A kernel of this file's kind: blockIdx is a block of channels of x, one of the gradient, and the part of the pairs.
template <class In, class Sums, int ROWS, int COLS, int WARPS_N, int THREADS, int PAIRS, bool ALIGNED>
__device__ __forceinline__ void wgrad_block(const WgradArgs& args) {
    DYNAMIC_SHARED(unsigned char, memory);
    WgradTile<In, Sums, ROWS, COLS, WARPS_N, THREADS, PAIRS, ALIGNED>{args, memory}.run();
}
