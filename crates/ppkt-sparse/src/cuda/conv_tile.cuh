// Convolution as an implicit matrix product over a neighbour table.
//
// A block owns ROWS positions (one or two tiles of the table) and COLS channels of the result. It goes through the
// kernel voxels that any of its positions has, and for each through the channels that are read, CHUNK bytes at a time:
// the rows of x and of the weight are copied to shared memory in the background, STAGES steps deep, and multiplied
// there. Sums stay in registers until they are written, once, in the order of the target rows: no atomics, and every
// element is summed in the order of kernel voxels and channels, so that the same input gives the same bits. Kernel
// voxels that a tile does not have are left out, or add zeros to it where the block's other tile has them; the bits do
// not depend on the variant.
//
// In shared memory a row is CHUNK bytes, and its 16-byte units stand at u ^ (row % 8): eight rows' units of one column
// lie in all banks, so that neither copies nor ldmatrix wait for each other.
#pragma once

#include "conv_args.cuh"

constexpr int STAGES = 3;

// Where unit `u` of row `row` stands.
__device__ __forceinline__ int unit_at(int row, int u) { return row * CHUNK + ((u ^ (row & 7)) << 4); }

// The sums of a warp on tensor cores: MT × 16 rows, NT × 8 columns.
template <class In, int MT, int NT>
struct TensorSums {
    static constexpr int ROWS = MT * 16, COLS = NT * 8;
    float d[MT][NT][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) d[m][n][i] = 0.0f;
    }

    // Adds the product of 32 bytes of the rows at `a` with those at `b`.
    __device__ __forceinline__ void step(const unsigned char* a, const unsigned char* b, int s) {
        static_assert(NT % 2 == 0, "columns are loaded sixteen at a time");
        int lane = threadIdx.x % 32;
        uint32_t af[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) {
            ldmatrix_x4(af[m], a + unit_at(m * 16 + (lane & 15), s * 2 + (lane >> 4)));
            round(af[m]);
        }
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            uint32_t bf[4];
            ldmatrix_x4(bf, b + unit_at(n * 8 + (lane & 7) + ((lane & 16) >> 1), s * 2 + ((lane >> 3) & 1)));
            uint32_t b0[2] = {bf[0], bf[1]}, b1[2] = {bf[2], bf[3]};
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma(d[m][n], af[m], b0);
                mma(d[m][n + 1], af[m], b1);
            }
        }
    }

    // Writes the sums, with `bias(column)` added, to rows that are PITCH bytes apart.
    template <class Out, int PITCH, class Bias>
    __device__ __forceinline__ void store(unsigned char* to, Bias bias) const {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int n = 0; n < NT; n++) {
            int column = n * 8 + lane % 4 * 2;
            float left = bias(column), right = bias(column + 1);
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    Pack<Out, 2> two;
                    two.v[0] = from_f32<Out>(d[m][n][half * 2] + left);
                    two.v[1] = from_f32<Out>(d[m][n][half * 2 + 1] + right);
                    unsigned char* row = to + (m * 16 + half * 8 + lane / 4) * PITCH;
                    *reinterpret_cast<Pack<Out, 2>*>(row + column * sizeof(Out)) = two;
                }
        }
    }

private:
    // The weight was rounded when it was packed.
    static __device__ __forceinline__ void round(uint32_t (&r)[4]) {
        if constexpr (sizeof(In) == 4) {
#pragma unroll
            for (int i = 0; i < 4; i++) r[i] = to_tf32(__uint_as_float(r[i]));
        }
    }
    static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        if constexpr (sizeof(In) == 4) {
            mma_tf32(c, a, b);
        } else {
            mma_bf16(c, a, b);
        }
    }
};

// The sums of a warp in f32, 32 rows and 64 columns: lane l has rows 4 i + l / 8 and columns 8 j + l % 8.
struct ExactSums {
    static constexpr int ROWS = 32, COLS = 64;
    float d[8][8];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < 8; j++) d[i][j] = 0.0f;
    }

    __device__ __forceinline__ void step(const unsigned char* a, const unsigned char* b, int s) {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int u = 0; u < 2; u++) {
            float4 x[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                x[i] = *reinterpret_cast<const float4*>(a + unit_at(i * 4 + lane / 8, s * 2 + u));
            }
#pragma unroll
            for (int j = 0; j < 8; j++) {
                float4 w = *reinterpret_cast<const float4*>(b + unit_at(j * 8 + lane % 8, s * 2 + u));
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    d[i][j] = fmaf(x[i].x, w.x, d[i][j]);
                    d[i][j] = fmaf(x[i].y, w.y, d[i][j]);
                    d[i][j] = fmaf(x[i].z, w.z, d[i][j]);
                    d[i][j] = fmaf(x[i].w, w.w, d[i][j]);
                }
            }
        }
    }

    template <class Out, int PITCH, class Bias>
    __device__ __forceinline__ void store(unsigned char* to, Bias bias) const {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            int column = j * 8 + lane % 8;
            float more = bias(column);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                *reinterpret_cast<Out*>(to + (i * 4 + lane / 8) * PITCH + column * sizeof(Out)) =
                    from_f32<Out>(d[i][j] + more);
            }
        }
    }
};

// Where the next step reads: kernel voxel `entry` of the block's list, chunk `chunk` of its channels.
struct Walk {
    int entry = 0;
    int chunk = 0;

    __device__ __forceinline__ void next(int chunks) {
        if (++chunk == chunks) {
            chunk = 0;
            entry++;
        }
    }
};

// One side's rows, and which part of them a chunk is.
template <class In>
struct ChunkOf {
    const unsigned char* rows;
    int row_bytes;
    // First byte of a row, and how many there are from it on.
    int first;
    int left;

    __device__ __forceinline__ ChunkOf(const ConvArgs& args, int chunk) {
        int chunks_left = (args.left_channels * int(sizeof(In)) + CHUNK - 1) / CHUNK;
        bool right = chunk >= chunks_left;
        rows = static_cast<const unsigned char*>(right ? args.right : args.left);
        row_bytes = (right ? args.right_channels : args.left_channels) * int(sizeof(In));
        first = (right ? chunk - chunks_left : chunk) * CHUNK;
        left = row_bytes - first;
    }

    // Steps of 32 bytes.
    __device__ __forceinline__ int steps() const { return left >= CHUNK ? CHUNK / 32 : (left + 31) / 32; }

    static __device__ __forceinline__ int count(const ConvArgs& args) {
        int bytes_left = args.left_channels * int(sizeof(In)), bytes_right = args.right_channels * int(sizeof(In));
        return (bytes_left + CHUNK - 1) / CHUNK + (bytes_right + CHUNK - 1) / CHUNK;
    }
};

// Writes to `list` the kernel voxels of the block's tiles as 4 k + (the first has it) + 2 (the second has it); returns
// how many there are.
template <int ROWS, int THREADS>
__device__ __forceinline__ int list_voxels(const ConvArgs& args, int* list) {
    constexpr int TILES = ROWS / TILE;
    __shared__ int n_listed;
    if (args.masks == nullptr) {
        if (threadIdx.x == 0) {
            list[0] = 3;
            n_listed = 1;
        }
    } else {
        int words = (args.volume + 31) / 32, n_tiles = (args.n_target + TILE - 1) / TILE;
        int first = blockIdx.y * TILES;
        for (int k = threadIdx.x; k < args.volume; k += THREADS) {
            int rank = 0;
            unsigned has = 0, all = 0;
            for (int w = 0; w <= k / 32; w++) {
                has = 0;
                all = 0;
                for (int t = 0; t < TILES; t++) {
                    unsigned mask = first + t < n_tiles ? __ldg(args.masks + (long long)(first + t) * words + w) : 0;
                    all |= mask;
                    has |= (mask >> (k % 32) & 1) << t;
                }
                rank += __popc(w < k / 32 ? all : all & ((1u << (k % 32)) - 1));
            }
            if (has) list[rank] = k * 4 + int(has);
            if (k == args.volume - 1) n_listed = rank + (has != 0);
        }
    }
    __syncthreads();
    return n_listed;
}

// The product of a block; `Sums` is what a warp adds up, WARPS_N warps stand side by side. In is the type that is read.
template <class In, class Sums, int ROWS, int COLS, int WARPS_N, int THREADS, bool ALIGNED>
struct ConvTile {
    static constexpr int STAGE = (ROWS + COLS) * CHUNK;
    // Rows that the block's threads copy at a time, eight threads to a row.
    static constexpr int AT_ONCE = THREADS / 8;
    static constexpr int ROW_COPIES = ROWS / AT_ONCE;
    static constexpr int COL_COPIES = (COLS + AT_ONCE - 1) / AT_ONCE;
    static_assert(ROWS % AT_ONCE == 0 && AT_ONCE % 8 == 0 && COLS % 8 == 0, "whole rows for every thread");
    static_assert(THREADS / 32 * Sums::ROWS * Sums::COLS == ROWS * COLS && WARPS_N * Sums::COLS == COLS, "whole warps");

    const ConvArgs& args;
    unsigned char* stages;
    int* list;
    int n_padded;

    // Source rows of this thread's copies under kernel voxel `k`.
    __device__ __forceinline__ void sources(int entry, int n_listed, int (&rows)[ROW_COPIES]) const {
        if (entry >= n_listed) return;
        int at = blockIdx.y * ROWS + threadIdx.x / 8;
        const int* from = args.neighbours + (long long)(list[entry] >> 2) * n_padded;
#pragma unroll
        for (int i = 0; i < ROW_COPIES; i++) {
            int p = at + i * AT_ONCE;
            if (args.neighbours == nullptr) {
                rows[i] = p < args.n_target ? p : -1;
            } else {
                rows[i] = p < n_padded ? __ldg(from + p) : -1;
            }
        }
    }

    // Copies rows of x and of the weight in the background.
    __device__ __forceinline__ void copy(unsigned char* stage, Walk at, int chunks, const int (&rows)[ROW_COPIES]) const {
        ChunkOf<In> chunk(args, at.chunk);
        int unit = threadIdx.x % 8, row = threadIdx.x / 8;
        if (unit * 16 >= chunk.steps() * 32) return;
        bool there = unit * 16 < chunk.left;
        unsigned char* to = stage + unit_at(row, unit);
        const unsigned char* from = chunk.rows + chunk.first + unit * 16;
#pragma unroll
        for (int i = 0; i < ROW_COPIES; i++) {
            bool valid = there && rows[i] >= 0;
            if constexpr (ALIGNED) {
                cp_async<16>(to + i * AT_ONCE * CHUNK, valid ? from + (long long)rows[i] * chunk.row_bytes : from, valid);
            } else {
                constexpr int N = 16 / sizeof(In);
                Pack<In, N> pack;
#pragma unroll
                for (int j = 0; j < N; j++) {
                    bool inside = valid && unit * 16 + j * int(sizeof(In)) < chunk.left;
                    pack.v[j] = inside ? reinterpret_cast<const In*>(from + (long long)rows[i] * chunk.row_bytes)[j]
                                       : from_f32<In>(0.0f);
                }
                *reinterpret_cast<Pack<In, N>*>(to + i * AT_ONCE * CHUNK) = pack;
            }
        }
        long long matrix = (long long)(list[at.entry] >> 2) * args.outer_padded + blockIdx.x * COLS;
        const unsigned char* weight = static_cast<const unsigned char*>(args.weight) +
                                      ((matrix + row) * chunks + at.chunk) * CHUNK + unit * 16;
        long long apart = (long long)AT_ONCE * chunks * CHUNK;
        to += ROWS * CHUNK;
#pragma unroll
        for (int i = 0; i < COL_COPIES; i++) {
            if (COLS % AT_ONCE == 0 || row + i * AT_ONCE < COLS) {
                cp_async<16>(to + i * AT_ONCE * CHUNK, weight + i * apart);
            }
        }
    }

    __device__ __forceinline__ void multiply(Sums& sums) const {
        int warp = threadIdx.x / 32;
        int row = warp / WARPS_N * Sums::ROWS, col = warp % WARPS_N * Sums::COLS;
        int chunks = ChunkOf<In>::count(args);
        int n_listed = list_voxels<ROWS, THREADS>(args, list);
        int total = n_listed * chunks;
        // This warp's tile, as a bit of an entry of the list.
        int tile = 1 << (row / TILE);
        int rows[ROW_COPIES], rows_next[ROW_COPIES];
        Walk ahead, now;
        sources(0, n_listed, rows);
        sources(1, n_listed, rows_next);
        auto copy_next = [&](int stage) {
            copy(stages + stage * STAGE, ahead, chunks, rows);
            ahead.next(chunks);
            if (ahead.chunk == 0) {
#pragma unroll
                for (int i = 0; i < ROW_COPIES; i++) rows[i] = rows_next[i];
                sources(ahead.entry + 1, n_listed, rows_next);
            }
        };
#pragma unroll
        for (int s = 0; s < STAGES - 1; s++) {
            if (s < total) copy_next(s);
            cp_async_commit();
        }
        int stage = 0;
        for (int i = 0; i < total; i++) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();
            // The stage that was multiplied last is free: everyone is past it.
            if (i + STAGES - 1 < total) copy_next(stage == 0 ? STAGES - 1 : stage - 1);
            cp_async_commit();
            if (list[now.entry] & tile) {
                const unsigned char* a = stages + stage * STAGE + row * CHUNK;
                const unsigned char* b = stages + stage * STAGE + (ROWS + col) * CHUNK;
                int steps = ChunkOf<In>(args, now.chunk).steps();
                if (steps == CHUNK / 32) {
#pragma unroll
                    for (int s = 0; s < CHUNK / 32; s++) sums.step(a, b, s);
                } else {
#pragma unroll 1
                    for (int s = 0; s < steps; s++) sums.step(a, b, s);
                }
            }
            now.next(chunks);
            stage = stage == STAGES - 1 ? 0 : stage + 1;
        }
        cp_async_wait<0>();
        __syncthreads();
    }

    // Writes the sums through shared memory, where whole rows come together.
    template <class Out>
    __device__ __forceinline__ void write(const Sums& sums) const {
        // A row is 16 bytes longer than its numbers, so that rows begin in different banks.
        constexpr int PITCH = COLS * sizeof(Out) + 16;
        static_assert(PITCH * ROWS <= STAGE * STAGES, "the result fits where the stages were");
        int warp = threadIdx.x / 32;
        int row = warp / WARPS_N * Sums::ROWS, col = warp % WARPS_N * Sums::COLS, first = blockIdx.x * COLS;
        sums.template store<Out, PITCH>(stages + row * PITCH + col * sizeof(Out), [&](int c) {
            int channel = first + col + c;
            return args.bias != nullptr && channel < args.outer ? __ldg(args.bias + channel) : 0.0f;
        });
        __syncthreads();
        constexpr int N = 16 / sizeof(Out), UNITS = COLS / N;
        bool whole = args.outer % N == 0;
        for (int i = threadIdx.x; i < ROWS * UNITS; i += THREADS) {
            int r = i / UNITS, c = i % UNITS * N, p = blockIdx.y * ROWS + r;
            if (p >= n_padded || first + c >= args.outer) continue;
            int target = args.order != nullptr ? __ldg(args.order + p) : (p < args.n_target ? p : -1);
            if (target < 0) continue;
            Pack<Out, N> pack = *reinterpret_cast<const Pack<Out, N>*>(stages + r * PITCH + c * sizeof(Out));
            Out* to = static_cast<Out*>(args.out) + (long long)target * args.outer + first + c;
            if (whole) {
                *reinterpret_cast<Pack<Out, N>*>(to) = pack;
            } else {
#pragma unroll
                for (int j = 0; j < N; j++) {
                    if (first + c + j < args.outer) to[j] = pack.v[j];
                }
            }
        }
    }
};

// A kernel of this file's kind; `sums` is the type of a warp's.
template <class In, class Sums, int ROWS, int COLS, int WARPS_N, int THREADS, bool ALIGNED>
__device__ __forceinline__ void conv_block(const ConvArgs& args) {
    using Tile = ConvTile<In, Sums, ROWS, COLS, WARPS_N, THREADS, ALIGNED>;
    DYNAMIC_SHARED(unsigned char, memory);
    int* list = reinterpret_cast<int*>(memory + STAGES * Tile::STAGE);
    Tile tile{args, memory, list, (args.n_target + TILE - 1) / TILE * TILE};
    Sums sums;
    sums.clear();
    tile.multiply(sums);
    if (sizeof(In) == 4 || args.out_f32) {
        tile.template write<float>(sums);
    } else {
        tile.template write<In>(sums);
    }
}
