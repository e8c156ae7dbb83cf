// Made of rows.wgsl by naga; not to be edited.
// entry gather: threads 256 1 1; shared; buffers 1r 2r 5w
// entry clear: threads 256 1 1; shared; buffers 5w
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

struct Rows {
    uint rows;
    uint columns;
};
typedef float type_2[1];
typedef uint type_3[1];

uint index(
    metal::uint3 group_3,
    metal::uint3 groups_3,
    uint lane_3
) {
    return (((group_3.y * groups_3.x) + group_3.x) * 256u) + lane_3;
}

struct gatherInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void gather(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_3 const& which [[buffer(2)]]
, device type_2& out [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = index(group, groups, lane);
    uint _e6 = p.rows;
    uint _e9 = p.columns;
    if (_e3 < (_e6 * _e9)) {
        uint _e18 = p.columns;
        uint _e21 = which[_e3 / _e18];
        uint _e24 = p.columns;
        uint _e28 = p.columns;
        float _e32 = x[(_e21 * _e24) + (_e3 % _e28)];
        out[_e3] = _e32;
        return;
    } else {
        return;
    }
}


struct clearInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void clear(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2& out [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = index(group_1, groups_1, lane_1);
    uint _e6 = p.rows;
    uint _e9 = p.columns;
    if (_e3 < (_e6 * _e9)) {
        out[_e3] = 0.0;
        return;
    } else {
        return;
    }
}


struct collectInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void collect(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 groups_2 [[threadgroups_per_grid]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_3 const& which [[buffer(2)]]
, device type_3 const& starts [[buffer(3)]]
, device type_3 const& readers [[buffer(4)]]
, device type_2& out [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    uint k = {};
    uint _e3 = index(group_2, groups_2, lane_2);
    uint _e6 = p.rows;
    uint _e9 = p.columns;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.columns;
    uint row = _e3 / _e14;
    uint _e18 = p.columns;
    uint column = _e3 % _e18;
    uint _e24 = starts[row];
    k = _e24;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e47 = k;
            k = _e47 + 1u;
        }
        loop_init = false;
        uint _e26 = k;
        uint _e31 = starts[row + 1u];
        if (_e26 < _e31) {
        } else {
            break;
        }
        {
            float _e33 = sum;
            uint _e36 = k;
            uint _e38 = readers[_e36];
            uint _e41 = p.columns;
            float _e45 = x[(_e38 * _e41) + column];
            sum = _e33 + _e45;
        }
    }
    uint _e53 = which[row];
    uint _e56 = p.columns;
    float _e60 = sum;
    out[(_e53 * _e56) + column] = _e60;
    return;
}
