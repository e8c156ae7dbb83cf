// Made of segmentation.wgsl by naga; not to be edited.
// entry entropy: threads 256 1 1; shared; buffers 1r 2r 3r 4w 5w
// entry finish: threads 1 1 1; shared; buffers 1r 4w 5w
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
};
typedef float type_2[1];
typedef uint type_3[1];

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
    uint c = 0u;
    float highest = {};
    uint best = 0u;
    uint c_1 = 1u;
    float sum = 0.0;
    uint c_2 = 0u;
    float loss = {};
    uint c_3 = 0u;
    uint row = (((group.y * groups.x) + group.x) * 256u) + lane;
    uint _e13 = p.rows;
    if (row >= _e13) {
        return;
    }
    uint _e17 = p.classes;
    uint first = row * _e17;
    of_rows[row * 2u] = 0.0;
    of_rows[(row * 2u) + 1u] = 0.0;
    uint _e33 = targets[row];
    if (_e33 == 0u) {
        bool loop_init = true;
        while(true) {
            if (!loop_init) {
                uint _e48 = c;
                c = _e48 + 1u;
            }
            loop_init = false;
            uint _e38 = c;
            uint _e41 = p.classes;
            if (_e38 < _e41) {
            } else {
                break;
            }
            {
                uint _e44 = c;
                grad[first + _e44] = 0.0;
            }
        }
        return;
    }
    uint _e53 = targets[row];
    uint own = _e53 - 1u;
    float _e58 = scores[first];
    highest = _e58;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e82 = c_1;
            c_1 = _e82 + 1u;
        }
        loop_init_1 = false;
        uint _e64 = c_1;
        uint _e67 = p.classes;
        if (_e64 < _e67) {
        } else {
            break;
        }
        {
            uint _e70 = c_1;
            float _e73 = scores[first + _e70];
            float _e74 = highest;
            if (_e73 > _e74) {
                uint _e77 = c_1;
                float _e80 = scores[first + _e77];
                highest = _e80;
                uint _e81 = c_1;
                best = _e81;
            }
        }
    }
    bool loop_init_2 = true;
    while(true) {
        if (!loop_init_2) {
            uint _e104 = c_2;
            c_2 = _e104 + 1u;
        }
        loop_init_2 = false;
        uint _e89 = c_2;
        uint _e92 = p.classes;
        if (_e89 < _e92) {
        } else {
            break;
        }
        {
            float _e94 = sum;
            uint _e96 = c_2;
            float _e99 = scores[first + _e96];
            float _e100 = highest;
            sum = _e94 + metal::exp(_e99 - _e100);
        }
    }
    float _e107 = sum;
    float log_sum = metal::log(_e107);
    float _e111 = p.smoothing;
    uint _e114 = p.classes;
    float each = _e111 / static_cast<float>(_e114);
    float _e119 = p.smoothing;
    float _e124 = weights[own];
    float share = (1.0 - _e119) * _e124;
    float _e129 = scores[first + own];
    float _e130 = highest;
    loss = share * (log_sum - (_e129 - _e130));
    bool loop_init_3 = true;
    while(true) {
        if (!loop_init_3) {
            uint _e186 = c_3;
            c_3 = _e186 + 1u;
        }
        loop_init_3 = false;
        uint _e137 = c_3;
        uint _e140 = p.classes;
        if (_e137 < _e140) {
        } else {
            break;
        }
        {
            uint _e143 = c_3;
            float _e146 = scores[first + _e143];
            float _e147 = highest;
            float distance = _e146 - _e147;
            float _e150 = sum;
            float probability = metal::exp(distance) / _e150;
            float _e152 = loss;
            uint _e154 = c_3;
            float _e156 = weights[_e154];
            loss = _e152 + ((each * _e156) * (log_sum - distance));
            uint _e161 = c_3;
            uint _e166 = c_3;
            float _e168 = weights[_e166];
            float wanted = ((_e161 == own) ? share : 0.0) + (each * _e168);
            uint _e172 = c_3;
            float _e177 = p.scale;
            float _e180 = p.all_weights;
            grad[first + _e172] = _e177 * ((probability * (share + (each * _e180))) - wanted);
        }
    }
    float _e193 = loss;
    of_rows[row * 2u] = _e193;
    uint _e200 = best;
    of_rows[(row * 2u) + 1u] = (_e200 == own) ? 1.0 : 0.0;
    return;
}


[[max_total_threads_per_threadgroup(1)]] kernel void finish(
  constant Entropy& p [[buffer(0)]]
, device type_2 const& scores [[buffer(1)]]
, device type_2& of_rows [[buffer(4)]]
, device type_2& grad [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float _e4 = p.scale;
    float _e7 = scores[0];
    of_rows[0] = _e4 * _e7;
    float _e13 = scores[1];
    grad[0] = _e13;
    return;
}
