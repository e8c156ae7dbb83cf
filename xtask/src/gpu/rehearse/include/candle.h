// What candle's own kernels need beside ppkt-nvcc's emulated.h: numbers of 16 bits with operators, and a few functions.
//
// An operation on two such numbers is made in f32 and rounded, as a GPU does. Numbers of 8 bits have only their names:
// kernels of them end the launch.
#pragma once

#include "emulated.h"

#include <limits>

using std::signbit;

#undef assert
#define assert(condition) ((condition) ? void() : emulated::fail("an assertion failed: " #condition))

inline float normcdff(float v) { return 0.5f * erfcf(-v * 0.70710678f); }
inline double normcdf(double v) { return 0.5 * erfc(-v * 0.70710678118654752); }

namespace candle {

inline float widen(__half v) { return __half2float(v); }
inline float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
inline void narrow(float v, __half& to) { to = __float2half_rn(v); }
inline void narrow(float v, __nv_bfloat16& to) { to = __float2bfloat16_rn(v); }

template <class Bits>
struct Narrow {
    Bits raw;

    Narrow() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic<T>::value>>
    Narrow(T v) { narrow(float(v), raw); }
    operator float() const { return widen(raw); }

    Narrow operator-() const { return Narrow(-float(*this)); }
    Narrow& operator+=(Narrow o) { return *this = *this + o; }
    Narrow& operator-=(Narrow o) { return *this = *this - o; }
    Narrow& operator*=(Narrow o) { return *this = *this * o; }
    Narrow& operator/=(Narrow o) { return *this = *this / o; }
    friend Narrow operator+(Narrow a, Narrow b) { return Narrow(float(a) + float(b)); }
    friend Narrow operator-(Narrow a, Narrow b) { return Narrow(float(a) - float(b)); }
    friend Narrow operator*(Narrow a, Narrow b) { return Narrow(float(a) * float(b)); }
    friend Narrow operator/(Narrow a, Narrow b) { return Narrow(float(a) / float(b)); }
    friend bool operator<(Narrow a, Narrow b) { return float(a) < float(b); }
    friend bool operator>(Narrow a, Narrow b) { return float(a) > float(b); }
    friend bool operator<=(Narrow a, Narrow b) { return float(a) <= float(b); }
    friend bool operator>=(Narrow a, Narrow b) { return float(a) >= float(b); }
    friend bool operator==(Narrow a, Narrow b) { return float(a) == float(b); }
    friend bool operator!=(Narrow a, Narrow b) { return float(a) != float(b); }
};

typedef Narrow<__half> Half;
typedef Narrow<__nv_bfloat16> BFloat;

struct alignas(4) BFloat2 {
    BFloat x, y;
};

struct Eight {
    unsigned char __x;
    Eight() = default;
    explicit Eight(float) { none(); }
    static Half none() {
        emulated::fail("numbers of 8 bits are not part of the rehearsal");
        emulated::stop();
    }
};

}  // namespace candle

#define __half ::candle::Half
#define __nv_bfloat16 ::candle::BFloat
#define __nv_bfloat162 ::candle::BFloat2
#define __nv_fp8_e4m3 ::candle::Eight
#define __NV_E4M3 0

inline float __half2float(__half v) { return v; }
inline float __bfloat162float(__nv_bfloat16 v) { return v; }
#define __float2half(v) (__half(float(v)))
#define __float2bfloat16(v) (__nv_bfloat16(float(v)))
#define __float2bfloat16_rn(v) (__nv_bfloat16(float(v)))
inline __half __nv_cvt_fp8_to_halfraw(unsigned char, int) { return candle::Eight::none(); }
inline unsigned short __half_as_ushort(__half v) { return v.raw.bits; }
inline __half __ushort_as_half(unsigned short bits) {
    __half v;
    v.raw.bits = bits;
    return v;
}

#define CANDLE_FUNCTION(name, f)                                            \
    template <class B>                                                      \
    candle::Narrow<B> name(candle::Narrow<B> v) { return f(float(v)); }
CANDLE_FUNCTION(hsqrt, sqrtf)
CANDLE_FUNCTION(hcos, cosf)
CANDLE_FUNCTION(hsin, sinf)
CANDLE_FUNCTION(hlog, logf)
CANDLE_FUNCTION(hexp, expf)
CANDLE_FUNCTION(__habs, fabsf)

template <class B>
bool __hisnan(candle::Narrow<B> v) { return std::isnan(float(v)); }
template <class B>
candle::Narrow<B> __hmax_nan(candle::Narrow<B> a, candle::Narrow<B> b) { return a != a || a > b ? a : b; }
template <class B>
candle::Narrow<B> __hmin_nan(candle::Narrow<B> a, candle::Narrow<B> b) { return a != a || a < b ? a : b; }
inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }

namespace cuda {
namespace std {
using ::std::numeric_limits;
}
}  // namespace cuda
