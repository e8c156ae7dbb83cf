// Made of segmentation.wgsl by naga; not to be edited.
// entry entropy: threads 256 1 1; shared; buffers 1r 2r 3r 4w 5w
// entry finish: threads 1 1 1; shared; buffers 1r 3r 4w 5w
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
};

struct Entropy {
    uint rows;
    uint classes;
    float smoothing;
    float all_weights;
    float scale;
    float lovasz;
};
typedef float type_2[1];
typedef uint type_3[1];
constant uint EXPONENT = 2139095040u;

struct entropyInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void entropy(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Entropy& p [[buffer(0)]]
, device type_2 const& scores [[buffer(1)]]
, device type_3 const& targets [[buffer(2)]]
, device type_2 const& weights [[buffer(3)]]
, device type_2& of_rows [[buffer(4)]]
, device type_2& grad [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float broken = 0.0;
    uint c = 0u;
    uint c_1 = 0u;
    float highest = {};
    uint best = 0u;
    uint c_2 = 1u;
    float sum = 0.0;
    uint c_3 = 0u;
    float loss = {};
    uint c_4 = 0u;
    uint row = (((group.y * groups.x) + group.x) * 256u) + lane;
    uint _e13 = p.rows;
    if (row >= _e13) {
        return;
    }
    uint _e17 = p.classes;
    uint first = row * _e17;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e40 = c;
            c = _e40 + 1u;
        }
        loop_init = false;
        uint _e23 = c;
        uint _e26 = p.classes;
        if (_e23 < _e26) {
        } else {
            break;
        }
        {
            uint _e29 = c;
            float s = scores[first + _e29];
            float _e33 = broken;
            broken = ((as_type<uint>(s) & EXPONENT) == EXPONENT) ? s : _e33;
        }
    }
    uint _e45 = targets[row];
    if (_e45 == 0u) {
        bool loop_init_1 = true;
        while(true) {
            if (!loop_init_1) {
                uint _e60 = c_1;
                c_1 = _e60 + 1u;
            }
            loop_init_1 = false;
            uint _e50 = c_1;
            uint _e53 = p.classes;
            if (_e50 < _e53) {
            } else {
                break;
            }
            {
                uint _e56 = c_1;
                grad[first + _e56] = 0.0;
            }
        }
        float _e67 = broken;
        of_rows[row * 2u] = _e67;
        of_rows[(row * 2u) + 1u] = 0.0;
        return;
    }
    uint _e77 = targets[row];
    uint own = _e77 - 1u;
    float _e82 = scores[first];
    highest = _e82;
    bool loop_init_2 = true;
    while(true) {
        if (!loop_init_2) {
            uint _e106 = c_2;
            c_2 = _e106 + 1u;
        }
        loop_init_2 = false;
        uint _e88 = c_2;
        uint _e91 = p.classes;
        if (_e88 < _e91) {
        } else {
            break;
        }
        {
            uint _e94 = c_2;
            float _e97 = scores[first + _e94];
            float _e98 = highest;
            if (_e97 > _e98) {
                uint _e101 = c_2;
                float _e104 = scores[first + _e101];
                highest = _e104;
                uint _e105 = c_2;
                best = _e105;
            }
        }
    }
    bool loop_init_3 = true;
    while(true) {
        if (!loop_init_3) {
            uint _e128 = c_3;
            c_3 = _e128 + 1u;
        }
        loop_init_3 = false;
        uint _e113 = c_3;
        uint _e116 = p.classes;
        if (_e113 < _e116) {
        } else {
            break;
        }
        {
            float _e118 = sum;
            uint _e120 = c_3;
            float _e123 = scores[first + _e120];
            float _e124 = highest;
            sum = _e118 + metal::exp(_e123 - _e124);
        }
    }
    float _e131 = sum;
    float log_sum = metal::log(_e131);
    float _e135 = p.smoothing;
    uint _e138 = p.classes;
    float each = _e135 / static_cast<float>(_e138);
    float _e143 = p.smoothing;
    float _e148 = weights[own];
    float share = (1.0 - _e143) * _e148;
    float _e153 = scores[first + own];
    float _e154 = highest;
    loss = share * (log_sum - (_e153 - _e154));
    bool loop_init_4 = true;
    while(true) {
        if (!loop_init_4) {
            uint _e210 = c_4;
            c_4 = _e210 + 1u;
        }
        loop_init_4 = false;
        uint _e161 = c_4;
        uint _e164 = p.classes;
        if (_e161 < _e164) {
        } else {
            break;
        }
        {
            uint _e167 = c_4;
            float _e170 = scores[first + _e167];
            float _e171 = highest;
            float distance = _e170 - _e171;
            float _e174 = sum;
            float probability = metal::exp(distance) / _e174;
            float _e176 = loss;
            uint _e178 = c_4;
            float _e180 = weights[_e178];
            loss = _e176 + ((each * _e180) * (log_sum - distance));
            uint _e185 = c_4;
            uint _e190 = c_4;
            float _e192 = weights[_e190];
            float wanted = ((_e185 == own) ? share : 0.0) + (each * _e192);
            uint _e196 = c_4;
            float _e201 = p.scale;
            float _e204 = p.all_weights;
            grad[first + _e196] = _e201 * ((probability * (share + (each * _e204))) - wanted);
        }
    }
    float _e217 = loss;
    float _e218 = broken;
    of_rows[row * 2u] = _e217 + _e218;
    uint _e226 = best;
    of_rows[(row * 2u) + 1u] = (_e226 == own) ? 1.0 : 0.0;
    return;
}


[[max_total_threads_per_threadgroup(1)]] kernel void finish(
  constant Entropy& p [[buffer(0)]]
, device type_2 const& scores [[buffer(1)]]
, device type_2 const& weights [[buffer(3)]]
, device type_2& of_rows [[buffer(4)]]
, device type_2& grad [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float _e4 = p.scale;
    float _e7 = scores[0];
    float _e11 = p.lovasz;
    float _e14 = weights[0];
    of_rows[0] = (_e4 * _e7) + (_e11 * _e14);
    float _e21 = scores[1];
    grad[0] = _e21;
    return;
}
