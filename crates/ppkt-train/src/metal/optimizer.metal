// Made of optimizer.wgsl by naga; not to be edited.
// entry squares: threads 256 1 1; shared 1024; buffers 1r 2w
// entry report: threads 1 1 1; shared; buffers 1r 3w
// entry sgd: threads 256 1 1; shared; buffers 1r 3w 4w 5w
// entry adamw: threads 256 1 1; shared; buffers 1r 3w 4w 5w 6w
// language: metal2.3
#include <metal_stdlib>
#include <simd/simd.h>

using metal::uint;

struct _mslBufferSizes {
    uint size1;
    uint size2;
    uint size3;
    uint size4;
    uint size5;
    uint size6;
};

struct Step {
    uint n;
    uint part;
    float share;
    float clip;
    float a;
    float b;
    float c;
    float d;
    float e;
    float f;
    uint nesterov;
};
typedef float type_2[1];
typedef metal::atomic_uint type_4[1];
struct type_5 {
    float inner[256];
};
constant uint CHUNK = 16384u;
constant float LARGEST = 340282350000000000000000000000000000000.0;
constant float LARGEST_ROOT = 18446743000000000000.0;

float reported(
    uint i_1,
    device type_4 const& report_words,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint _e3 = metal::atomic_load_explicit(&report_words[i_1], metal::memory_order_relaxed);
    return as_type<float>(_e3);
}

void look_at(
    float value,
    device type_4& report_words,
    constant _mslBufferSizes& _buffer_sizes
) {
    if (!((metal::abs(value) <= LARGEST_ROOT))) {
        metal::atomic_store_explicit(&report_words[1], as_type<uint>(1.0), metal::memory_order_relaxed);
        return;
    } else {
        return;
    }
}

struct squaresInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void squares(
  metal::uint3 group [[threadgroup_position_in_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Step& p [[buffer(0)]]
, device type_2 const& gradient [[buffer(1)]]
, device type_2& parts [[buffer(2)]]
, threadgroup type_5& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    uint i = {};
    uint half_ = 128u;
    uint _e9 = p.n;
    uint end = metal::min((group.x + 1u) * CHUNK, _e9);
    i = (group.x * CHUNK) + lane;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e31 = i;
            i = _e31 + 256u;
        }
        loop_init = false;
        uint _e18 = i;
        if (_e18 < end) {
        } else {
            break;
        }
        {
            float _e20 = sum;
            uint _e22 = i;
            float _e24 = gradient[_e22];
            uint _e26 = i;
            float _e28 = gradient[_e26];
            sum = _e20 + (_e24 * _e28);
        }
    }
    float _e36 = sum;
    lanes.inner[lane] = _e36;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e53 = half_;
            half_ = _e53 / 2u;
        }
        loop_init_1 = false;
        uint _e39 = half_;
        if (_e39 > 0u) {
        } else {
            break;
        }
        {
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            uint _e42 = half_;
            if (lane < _e42) {
                float _e46 = lanes.inner[lane];
                uint _e48 = half_;
                float _e51 = lanes.inner[lane + _e48];
                lanes.inner[lane] = _e46 + _e51;
            }
        }
    }
    if (lane == 0u) {
        uint _e61 = p.part;
        float _e67 = lanes.inner[0];
        parts[_e61 + group.x] = _e67;
        return;
    } else {
        return;
    }
}


[[max_total_threads_per_threadgroup(1)]] kernel void report(
  constant Step& p [[buffer(0)]]
, device type_2 const& gradient [[buffer(1)]]
, device type_4& report_words [[buffer(3)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float scale = {};
    bool local = {};
    float _e2 = gradient[0];
    float _e6 = p.share;
    float norm = metal::sqrt(_e2) * _e6;
    float _e10 = p.share;
    scale = _e10;
    float _e14 = p.clip;
    if (_e14 > 0.0) {
        float _e21 = p.clip;
        local = norm > _e21;
    } else {
        local = false;
    }
    bool _e24 = local;
    if (_e24) {
        float _e27 = p.share;
        float _e30 = p.clip;
        scale = _e27 * (_e30 / norm);
    }
    metal::atomic_store_explicit(&report_words[0], as_type<uint>(norm), metal::memory_order_relaxed);
    metal::atomic_store_explicit(&report_words[1], 0u, metal::memory_order_relaxed);
    float _e41 = scale;
    metal::atomic_store_explicit(&report_words[2], as_type<uint>(_e41), metal::memory_order_relaxed);
    return;
}


struct sgdInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void sgd(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Step& p [[buffer(0)]]
, device type_2 const& gradient [[buffer(1)]]
, device type_4& report_words [[buffer(3)]]
, device type_2& parameter [[buffer(4)]]
, device type_2& moment1_ [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    bool local_1 = {};
    uint i_2 = (((group_1.y * groups.x) + group_1.x) * 256u) + lane_1;
    uint _e13 = p.n;
    if (!((i_2 >= _e13))) {
        float _e19 = reported(0u, report_words, _buffer_sizes);
        local_1 = !((_e19 <= LARGEST));
    } else {
        local_1 = true;
    }
    bool _e24 = local_1;
    if (_e24) {
        return;
    }
    float _e26 = reported(2u, report_words, _buffer_sizes);
    float _e29 = gradient[i_2];
    float _e33 = p.b;
    float _e36 = parameter[i_2];
    float g = (_e26 * _e29) + (_e33 * _e36);
    float _e41 = p.c;
    float _e44 = moment1_[i_2];
    float _e48 = p.d;
    float v = (_e41 * _e44) + (_e48 * g);
    float _e53 = parameter[i_2];
    float _e56 = p.a;
    float _e59 = p.c;
    uint _e64 = p.nesterov;
    float value_1 = _e53 - (_e56 * ((_e64 != 0u) ? (g + (_e59 * v)) : v));
    moment1_[i_2] = v;
    parameter[i_2] = value_1;
    look_at(value_1, report_words, _buffer_sizes);
    return;
}


struct adamwInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void adamw(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Step& p [[buffer(0)]]
, device type_2 const& gradient [[buffer(1)]]
, device type_4& report_words [[buffer(3)]]
, device type_2& parameter [[buffer(4)]]
, device type_2& moment1_ [[buffer(5)]]
, device type_2& moment2_ [[buffer(6)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    bool local_2 = {};
    uint i_3 = (((group_2.y * groups_1.x) + group_2.x) * 256u) + lane_2;
    uint _e13 = p.n;
    if (!((i_3 >= _e13))) {
        float _e19 = reported(0u, report_words, _buffer_sizes);
        local_2 = !((_e19 <= LARGEST));
    } else {
        local_2 = true;
    }
    bool _e24 = local_2;
    if (_e24) {
        return;
    }
    float _e26 = reported(2u, report_words, _buffer_sizes);
    float _e29 = gradient[i_3];
    float g_1 = _e26 * _e29;
    float _e33 = p.c;
    float _e36 = moment1_[i_3];
    float _e40 = p.c;
    float first = (_e33 * _e36) + ((1.0 - _e40) * g_1);
    float _e47 = p.d;
    float _e50 = moment2_[i_3];
    float _e54 = p.d;
    float second = (_e47 * _e50) + (((1.0 - _e54) * g_1) * g_1);
    float _e62 = p.b;
    float _e65 = parameter[i_3];
    float _e69 = p.a;
    float _e74 = p.e;
    float _e78 = p.f;
    float value_2 = (_e62 * _e65) - ((_e69 * first) / ((metal::sqrt(second) / _e74) + _e78));
    moment1_[i_3] = first;
    moment2_[i_3] = second;
    parameter[i_3] = value_2;
    look_at(value_2, report_words, _buffer_sizes);
    return;
}
