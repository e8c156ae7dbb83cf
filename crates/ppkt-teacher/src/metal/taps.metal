// Made of taps.wgsl by naga; not to be edited.
// entry read_taps: threads 256 1 1; shared; buffers 1r 2r 3r 5w
// entry collect: threads 256 1 1; shared; buffers 1r 2r 3r 4r 5w
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

struct Taps {
    uint rows;
    uint channels;
};
typedef float type_2[1];
typedef uint type_3[1];

uint index(
    metal::uint3 group_2,
    metal::uint3 groups_2,
    uint lane_2
) {
    return (((group_2.y * groups_2.x) + group_2.x) * 256u) + lane_2;
}

struct read_tapsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void read_taps(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Taps& p [[buffer(0)]]
, device type_2 const& values [[buffer(1)]]
, device type_3 const& taken_from [[buffer(2)]]
, device type_2 const& weights [[buffer(3)]]
, device type_2& out [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    uint tap = {};
    uint _e3 = index(group, groups, lane);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint row = _e3 / _e14;
    uint _e18 = p.channels;
    uint c = _e3 % _e18;
    tap = 4u * row;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e50 = tap;
            tap = _e50 + 1u;
        }
        loop_init = false;
        uint _e25 = tap;
        if (_e25 < ((4u * row) + 4u)) {
        } else {
            break;
        }
        {
            float _e31 = sum;
            uint _e33 = tap;
            float _e35 = weights[_e33];
            uint _e38 = tap;
            uint _e40 = taken_from[_e38];
            uint _e43 = p.channels;
            float _e47 = values[(_e40 * _e43) + c];
            sum = _e31 + (_e35 * _e47);
        }
    }
    float _e55 = sum;
    out[_e3] = _e55;
    return;
}


struct collectInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void collect(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Taps& p [[buffer(0)]]
, device type_2 const& values [[buffer(1)]]
, device type_3 const& taken_from [[buffer(2)]]
, device type_2 const& weights [[buffer(3)]]
, device type_3 const& starts [[buffer(4)]]
, device type_2& out [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum_1 = 0.0;
    uint reader = {};
    uint _e3 = index(group_1, groups_1, lane_1);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint cell = _e3 / _e14;
    uint _e18 = p.channels;
    uint c_1 = _e3 % _e18;
    uint _e24 = starts[cell];
    reader = _e24;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e52 = reader;
            reader = _e52 + 1u;
        }
        loop_init_1 = false;
        uint _e26 = reader;
        uint _e31 = starts[cell + 1u];
        if (_e26 < _e31) {
        } else {
            break;
        }
        {
            float _e33 = sum_1;
            uint _e35 = reader;
            float _e37 = weights[_e35];
            uint _e40 = reader;
            uint _e42 = taken_from[_e40];
            uint _e45 = p.channels;
            float _e49 = values[(_e42 * _e45) + c_1];
            sum_1 = _e33 + (_e37 * _e49);
        }
    }
    float _e57 = sum_1;
    out[_e3] = _e57;
    return;
}
