// Made of distance.wgsl by naga; not to be edited.
// entry measure: threads 64 1 1; shared 256; buffers 1r 2r 3r 4r 7w
// entry gradient: threads 256 1 1; shared; buffers 1r 2r 3r 5r 7w
// entry centre: threads 256 1 1; shared; buffers 1r 6r 7w
// entry finish: threads 1 1 1; shared; buffers 1r 6r 7w 8w
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
    uint size7;
    uint size8;
};

struct Distance {
    uint rows;
    uint dim;
    uint euclidean;
    float weight;
};
typedef float type_2[1];
struct type_4 {
    float inner[64];
};
constant float SHORTEST = 0.000000000001;
constant float EQUAL = 0.0000005;

uint index(
    metal::uint3 group_3,
    metal::uint3 groups_3,
    uint lane_3
) {
    return (((group_3.y * groups_3.x) + group_3.x) * 256u) + lane_3;
}

float square_of_unit(
    float length
) {
    float part = length / SHORTEST;
    return (length < SHORTEST) ? (part * part) : 1.0;
}

struct measureInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void measure(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Distance& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& other [[buffer(2)]]
, device type_2 const& lengths [[buffer(3)]]
, device type_2 const& other_lengths [[buffer(4)]]
, device type_2& out [[buffer(7)]]
, threadgroup type_4& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    uint c = {};
    uint half_ = 32u;
    float loss = {};
    float factor = {};
    uint row = (group.y * groups.x) + group.x;
    uint _e10 = p.rows;
    if (row >= _e10) {
        return;
    }
    c = lane;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e42 = c;
            c = _e42 + 64u;
        }
        loop_init = false;
        uint _e15 = c;
        uint _e18 = p.dim;
        if (_e15 < _e18) {
        } else {
            break;
        }
        {
            uint _e23 = p.dim;
            uint _e25 = c;
            float _e28 = mine[(row * _e23) + _e25];
            uint _e32 = p.dim;
            uint _e34 = c;
            float _e37 = other[(row * _e32) + _e34];
            float d = _e28 - _e37;
            float _e39 = sum;
            sum = _e39 + (d * d);
        }
    }
    float _e47 = sum;
    lanes.inner[lane] = _e47;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e64 = half_;
            half_ = _e64 / 2u;
        }
        loop_init_1 = false;
        uint _e50 = half_;
        if (_e50 > 0u) {
        } else {
            break;
        }
        {
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            uint _e53 = half_;
            if (lane < _e53) {
                float _e57 = lanes.inner[lane];
                uint _e59 = half_;
                float _e62 = lanes.inner[lane + _e59];
                lanes.inner[lane] = _e57 + _e62;
            }
        }
    }
    if (lane == 0u) {
        float square = lanes.inner[0];
        float distance = metal::sqrt(square);
        float _e75 = lengths[row];
        float _e76 = square_of_unit(_e75);
        float _e79 = other_lengths[row];
        float _e80 = square_of_unit(_e79);
        float squares = _e76 + _e80;
        float cosine = (1.0 - (0.5 * squares)) + (0.5 * square);
        loss = cosine;
        float _e92 = p.weight;
        factor = _e92;
        uint _e96 = p.euclidean;
        if (_e96 != 0u) {
            loss = distance;
            float _e101 = p.weight;
            factor = (distance < EQUAL) ? 0.0 : (_e101 / distance);
        }
        float _e111 = loss;
        out[row * 3u] = _e111;
        out[(row * 3u) + 1u] = cosine;
        float _e124 = factor;
        out[(row * 3u) + 2u] = _e124;
        return;
    } else {
        return;
    }
}


struct gradientInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void gradient(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Distance& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& other [[buffer(2)]]
, device type_2 const& lengths [[buffer(3)]]
, device type_2 const& measured [[buffer(5)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = index(group_1, groups_1, lane_1);
    uint _e6 = p.rows;
    uint _e9 = p.dim;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.dim;
    uint row_1 = _e3 / _e14;
    float _e18 = mine[_e3];
    float _e21 = other[_e3];
    float _e25 = mine[_e3];
    float _e32 = measured[(row_1 * 3u) + 1u];
    float turned = (_e18 - _e21) - (_e25 * _e32);
    float _e43 = measured[(row_1 * 3u) + 2u];
    float _e47 = lengths[row_1];
    float _e51 = lengths[row_1];
    out[_e3] = (_e51 < SHORTEST) ? 0.0 : ((_e43 * turned) / _e47);
    return;
}


struct centreInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void centre(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 groups_2 [[threadgroups_per_grid]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Distance& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& sums [[buffer(6)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = index(group_2, groups_2, lane_2);
    uint _e6 = p.rows;
    uint _e9 = p.dim;
    if (_e3 < (_e6 * _e9)) {
        float _e16 = mine[_e3];
        uint _e20 = p.dim;
        float _e23 = sums[_e3 % _e20];
        uint _e26 = p.rows;
        out[_e3] = _e16 - (_e23 / static_cast<float>(_e26));
        return;
    } else {
        return;
    }
}


[[max_total_threads_per_threadgroup(1)]] kernel void finish(
  constant Distance& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& sums [[buffer(6)]]
, device type_2& out [[buffer(7)]]
, device type_2& hits [[buffer(8)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float _e4 = mine[0];
    uint _e7 = p.rows;
    out[0] = _e4 / static_cast<float>(_e7);
    float _e14 = sums[1];
    hits[0] = _e14;
    return;
}
