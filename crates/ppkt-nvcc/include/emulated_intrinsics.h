// CUDA's functions, and the instructions of kernel.cuh, for emulated.h.
#pragma once

#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(::emulated::dynamic_shared)

#define __syncthreads() ((void)::emulated::block_barrier(__LINE__, 0))
#define __syncthreads_or(p) (::emulated::block_barrier(__LINE__, (p)) != 0)
#define __syncthreads_count(p) (::emulated::block_barrier(__LINE__, (p)))
#define __syncthreads_and(p) (::emulated::block_barrier(__LINE__, !(p)) == 0)
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __syncwarp(unsigned lanes = 0xffffffffu) { emulated::warp_barrier(lanes, "__syncwarp"); }

namespace emulated {

inline unsigned lane() { return current->linear % 32; }
inline Warp& warp() { return warps[current->linear / 32]; }

// The value of another lane.
template <class T>
T exchange(unsigned lanes, T value, unsigned from, const char* what) {
    static_assert(sizeof(T) <= 16, "a lane hands over at most 16 bytes");
    Warp& w = warp();
    memcpy(w.slots[lane()], &value, sizeof(T));
    warp_barrier(lanes, what);
    if (!(lanes >> from & 1)) {
        fail("%s of the lanes %08x reads lane %u", what, lanes, from);
        stop();
    }
    memcpy(&value, w.slots[from], sizeof(T));
    warp_barrier(lanes, what);
    return value;
}

// All lanes' values.
template <class T, class F>
auto gather(unsigned lanes, T value, const char* what, F f) {
    Warp& w = warp();
    memcpy(w.slots[lane()], &value, sizeof(T));
    warp_barrier(lanes, what);
    auto result = f([&](unsigned l) {
        T v;
        memcpy(&v, w.slots[l], sizeof(T));
        return v;
    });
    warp_barrier(lanes, what);
    return result;
}

template <class T, class F>
T reduce(unsigned lanes, T value, const char* what, F f) {
    return gather(lanes, value, what, [&](auto at) {
        bool first = true;
        T sum{};
        for (unsigned l = 0; l < 32; l++) {
            if (!(lanes >> l & 1)) continue;
            sum = first ? at(l) : f(sum, at(l));
            first = false;
        }
        return sum;
    });
}

}  // namespace emulated

template <class T>
T __shfl_sync(unsigned lanes, T v, int from, int width = 32) {
    unsigned base = emulated::lane() & ~unsigned(width - 1);
    return emulated::exchange(lanes, v, base + (unsigned(from) & unsigned(width - 1)), "__shfl_sync");
}
template <class T>
T __shfl_xor_sync(unsigned lanes, T v, int bits, int width = 32) {
    unsigned l = emulated::lane(), other = l ^ unsigned(bits);
    bool inside = (other & ~unsigned(width - 1)) <= (l & ~unsigned(width - 1));
    return emulated::exchange(lanes, v, inside ? other : l, "__shfl_xor_sync");
}
template <class T>
T __shfl_up_sync(unsigned lanes, T v, unsigned by, int width = 32) {
    unsigned l = emulated::lane(), within = l & unsigned(width - 1);
    return emulated::exchange(lanes, v, within >= by ? l - by : l, "__shfl_up_sync");
}
template <class T>
T __shfl_down_sync(unsigned lanes, T v, unsigned by, int width = 32) {
    unsigned l = emulated::lane(), within = l & unsigned(width - 1);
    return emulated::exchange(lanes, v, within + by < unsigned(width) ? l + by : l, "__shfl_down_sync");
}
inline unsigned __ballot_sync(unsigned lanes, int p) {
    return emulated::gather(lanes, unsigned(p != 0), "__ballot_sync", [&](auto at) {
        unsigned set = 0;
        for (unsigned l = 0; l < 32; l++) {
            if (lanes >> l & 1) set |= at(l) << l;
        }
        return set;
    });
}
inline int __any_sync(unsigned lanes, int p) { return __ballot_sync(lanes, p) != 0; }
inline int __all_sync(unsigned lanes, int p) { return __ballot_sync(lanes, p) == lanes; }
template <class T>
unsigned __match_any_sync(unsigned lanes, T v) {
    return emulated::gather(lanes, v, "__match_any_sync", [&](auto at) {
        unsigned set = 0;
        for (unsigned l = 0; l < 32; l++) {
            if ((lanes >> l & 1) && at(l) == v) set |= 1u << l;
        }
        return set;
    });
}
template <class T>
T __reduce_add_sync(unsigned lanes, T v) {
    return emulated::reduce(lanes, v, "__reduce_add_sync", [](T a, T b) { return T(a + b); });
}
template <class T>
T __reduce_max_sync(unsigned lanes, T v) {
    return emulated::reduce(lanes, v, "__reduce_max_sync", [](T a, T b) { return a < b ? b : a; });
}
template <class T>
T __reduce_min_sync(unsigned lanes, T v) {
    return emulated::reduce(lanes, v, "__reduce_min_sync", [](T a, T b) { return b < a ? b : a; });
}
inline unsigned __reduce_or_sync(unsigned lanes, unsigned v) {
    return emulated::reduce(lanes, v, "__reduce_or_sync", [](unsigned a, unsigned b) { return a | b; });
}
inline unsigned __reduce_and_sync(unsigned lanes, unsigned v) {
    return emulated::reduce(lanes, v, "__reduce_and_sync", [](unsigned a, unsigned b) { return a & b; });
}

// One thread runs at a time: nothing has to be atomic.
template <class T, class U>
T atomicAdd(T* at, U v) {
    T old = *at;
    *at = T(old + v);
    return old;
}
template <class T, class U>
T atomicOr(T* at, U v) {
    T old = *at;
    *at = T(old | v);
    return old;
}
template <class T, class U>
T atomicAnd(T* at, U v) {
    T old = *at;
    *at = T(old & v);
    return old;
}
template <class T, class U>
T atomicMax(T* at, U v) {
    T old = *at;
    if (old < T(v)) *at = T(v);
    return old;
}
template <class T, class U>
T atomicMin(T* at, U v) {
    T old = *at;
    if (T(v) < old) *at = T(v);
    return old;
}
template <class T, class U>
T atomicExch(T* at, U v) {
    T old = *at;
    *at = T(v);
    return old;
}
template <class T, class U, class V>
T atomicCAS(T* at, U expected, V v) {
    T old = *at;
    if (old == T(expected)) *at = T(v);
    return old;
}

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (v >> i & 1) << (31 - i);
    return r;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned by) {
    return unsigned((uint64_t(hi) << 32 | lo) << (by & 31) >> 32);
}

template <class To, class From>
inline To emulated_bits(From v) {
    static_assert(sizeof(To) == sizeof(From), "bits of another width");
    To to;
    memcpy(&to, &v, sizeof(To));
    return to;
}
inline unsigned __float_as_uint(float v) { return emulated_bits<unsigned>(v); }
inline int __float_as_int(float v) { return emulated_bits<int>(v); }
inline float __uint_as_float(unsigned v) { return emulated_bits<float>(v); }
inline float __int_as_float(int v) { return emulated_bits<float>(v); }
inline long long __double_as_longlong(double v) { return emulated_bits<long long>(v); }
inline double __longlong_as_double(long long v) { return emulated_bits<double>(v); }

template <class T>
T __ldg(const T* at) { return *at; }
template <class T>
T __ldcs(const T* at) { return *at; }
template <class T>
T __ldcg(const T* at) { return *at; }
template <class T>
void __stcs(T* at, T v) { *at = v; }
template <class T>
void __stcg(T* at, T v) { *at = v; }

// As CUDA's overloads: arguments of different types meet in their common one.
template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(a) < T(b) ? T(b) : T(a);
}
using std::isfinite;
using std::isinf;
using std::isnan;
inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline double rsqrt(double v) { return 1.0 / sqrt(v); }
inline float __expf(float v) { return expf(v); }
inline float __logf(float v) { return logf(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __fsqrt_rn(float v) { return sqrtf(v); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline int __float2int_rd(float v) { return int(floorf(v)); }
inline int __float2int_rn(float v) { return int(rintf(v)); }

struct __nv_bfloat16 {
    uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
struct __half {
    uint16_t bits;
};
struct alignas(4) __half2 {
    __half x, y;
};
inline float __bfloat162float(__nv_bfloat16 v) { return __uint_as_float(unsigned(v.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float v) {
    unsigned u = __float_as_uint(v);
    if (v != v) return {uint16_t(0x7fff)};
    return {uint16_t((u + 0x7fffu + (u >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16(float v) { return __float2bfloat16_rn(v); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {__bfloat162float(v.x), __bfloat162float(v.y)}; }
inline float __half2float(__half h) {
    unsigned sign = unsigned(h.bits & 0x8000) << 16, exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) {
        float tiny = float(fraction) * 0x1p-24f;
        return sign ? -tiny : tiny;
    }
    return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}
inline __half __float2half_rn(float v) {
    unsigned u = __float_as_uint(v), sign = u >> 16 & 0x8000, size = u & 0x7fffffff;
    if (size > 0x7f800000u) return {uint16_t(0x7fff)};
    if (size >= 0x477ff000u) return {uint16_t(sign | 0x7c00)};
    if (size < 0x38800000u) {
        // Below the smallest normal: a multiple of 2^-24, to the nearest even.
        return {uint16_t(sign | unsigned(rintf(__uint_as_float(size) * 0x1p24f)))};
    }
    return {uint16_t(sign | ((size + 0xfffu + (size >> 13 & 1) - 0x38000000u) >> 13))};
}
inline __half __float2half(float v) { return __float2half_rn(v); }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }

// Copies happen as late as they may: what reads too early reads what was there before.
template <int BYTES>
inline void cp_async(void* shared, const void* global, bool valid = true) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    if (reinterpret_cast<uintptr_t>(shared) % BYTES || (valid && reinterpret_cast<uintptr_t>(global) % BYTES)) {
        emulated::fail("cp.async of %d bytes from or to a place that is not aligned so", BYTES);
        emulated::stop();
    }
    emulated::current->copies.push_back({shared, global, BYTES, valid});
}
inline void cp_async_commit() {
    emulated::Fiber& f = *emulated::current;
    unsigned known = 0;
    for (unsigned g : f.groups) known += g;
    f.groups.push_back(unsigned(f.copies.size()) - known);
}
template <int N>
inline void cp_async_wait() {
    emulated::Fiber& f = *emulated::current;
    while (f.groups.size() > size_t(N)) {
        unsigned n = f.groups.front();
        for (unsigned i = 0; i < n; i++) {
            const emulated::Copy& c = f.copies[i];
            if (c.valid) {
                memcpy(c.to, c.from, c.bytes);
            } else {
                memset(c.to, 0, c.bytes);
            }
        }
        f.copies.erase(f.copies.begin(), f.copies.begin() + n);
        f.groups.erase(f.groups.begin());
    }
}

namespace emulated {

template <int N, bool TRANSPOSED>
void ldmatrix(uint32_t (&r)[N], const void* row, const char* what) {
    Warp& w = warp();
    unsigned l = lane();
    if (l < 8 * N && reinterpret_cast<uintptr_t>(row) % 16) {
        fail("%s of a row that is not aligned to 16 bytes", what);
        stop();
    }
    w.rows[l] = row;
    warp_barrier(0xffffffffu, what);
    for (int m = 0; m < N; m++) {
        uint16_t two[2];
        for (unsigned j = 0; j < 2; j++) {
            unsigned from = TRANSPOSED ? l % 4 * 2 + j : l / 4, at = TRANSPOSED ? l / 4 : l % 4 * 2 + j;
            memcpy(&two[j], static_cast<const char*>(w.rows[8 * m + from]) + 2 * at, 2);
        }
        r[m] = two[0] | uint32_t(two[1]) << 16;
    }
    warp_barrier(0xffffffffu, what);
}

// d += a b; `product(x, y)` adds up what two registers hold.
template <int K, class F>
void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* what, F product) {
    Warp& w = warp();
    unsigned l = lane();
    memcpy(w.a[l], a, sizeof(a));
    memcpy(w.b[l], b, sizeof(b));
    warp_barrier(0xffffffffu, what);
    for (unsigned i = 0; i < 4; i++) {
        // The row is held by the four lanes of one group, the column by those of another.
        unsigned row = l / 4, high = i / 2, column = l % 4 * 2 + i % 2;
        double sum = d[i];
        for (unsigned t = 0; t < 4; t++) {
            sum += product(w.a[row * 4 + t][high], w.b[column * 4 + t][0]);
            sum += product(w.a[row * 4 + t][high + 2], w.b[column * 4 + t][1]);
        }
        d[i] = float(sum);
    }
    warp_barrier(0xffffffffu, what);
}

inline double bf16_pair(uint32_t a, uint32_t b) {
    return double(__uint_as_float(a << 16)) * __uint_as_float(b << 16) +
           double(__uint_as_float(a & 0xffff0000u)) * __uint_as_float(b & 0xffff0000u);
}
inline double f16_pair(uint32_t a, uint32_t b) {
    return double(__half2float({uint16_t(a)})) * __half2float({uint16_t(b)}) +
           double(__half2float({uint16_t(a >> 16)})) * __half2float({uint16_t(b >> 16)});
}
// The hardware looks at 10 bits of fraction and no more.
inline double tf32_one(uint32_t a, uint32_t b) {
    return double(__uint_as_float(a & 0xffffe000u)) * __uint_as_float(b & 0xffffe000u);
}

}  // namespace emulated

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) { emulated::ldmatrix<4, false>(r, row, "ldmatrix_x4"); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
    emulated::ldmatrix<4, true>(r, row, "ldmatrix_x4_trans");
}
inline void ldmatrix_x2(uint32_t (&r)[2], const void* row) { emulated::ldmatrix<2, false>(r, row, "ldmatrix_x2"); }
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
    emulated::ldmatrix<2, true>(r, row, "ldmatrix_x2_trans");
}
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    emulated::mma<16>(d, a, b, "mma_bf16", emulated::bf16_pair);
}
inline void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    emulated::mma<16>(d, a, b, "mma_f16", emulated::f16_pair);
}
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    emulated::mma<8>(d, a, b, "mma_tf32", emulated::tf32_one);
}
inline uint32_t to_tf32(float v) {
    uint32_t u = __float_as_uint(v);
    return (u & 0x7f800000u) == 0x7f800000u ? u : (u + 0x1000u) & 0xffffe000u;
}
