// Made of sums.wgsl by naga; not to be edited.
// entry column_sums: threads 32 8 1; shared 1024; buffers 1r 2w
// language: metal2.3
#include <metal_stdlib>
#include <simd/simd.h>

using metal::uint;

struct _mslBufferSizes {
    uint size1;
    uint size2;
};

struct Sums {
    uint rows;
    uint columns;
    uint first;
    uint out_first;
};
typedef float type_2[1];
struct type_3 {
    float inner[256];
};
constant uint BLOCK = 256u;
constant uint LANES = 8u;

struct column_sumsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void column_sums(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 local [[thread_position_in_threadgroup]]
, constant Sums& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(2)]]
, threadgroup type_3& parts
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    uint row = {};
    bool local_1 = {};
    float total = 0.0;
    uint lane = 0u;
    uint column = (group.x * 32u) + local.x;
    uint _e11 = p.columns;
    if (column < _e11) {
        uint _e20 = p.rows;
        uint end = metal::min((group.y + 1u) * BLOCK, _e20);
        row = (group.y * BLOCK) + local.y;
        bool loop_init = true;
        while(true) {
            if (!loop_init) {
                uint _e45 = row;
                row = _e45 + LANES;
            }
            loop_init = false;
            uint _e28 = row;
            if (_e28 < end) {
            } else {
                break;
            }
            {
                float _e30 = sum;
                uint _e34 = p.first;
                uint _e35 = row;
                uint _e39 = p.columns;
                float _e43 = x[((_e34 + _e35) * _e39) + column];
                sum = _e30 + _e43;
            }
        }
    }
    float _e55 = sum;
    parts.inner[(local.y * 32u) + local.x] = _e55;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (local.y == 0u) {
        uint _e63 = p.columns;
        local_1 = column < _e63;
    } else {
        local_1 = false;
    }
    bool _e66 = local_1;
    if (_e66) {
        bool loop_init_1 = true;
        while(true) {
            if (!loop_init_1) {
                uint _e84 = lane;
                lane = _e84 + 1u;
            }
            loop_init_1 = false;
            uint _e71 = lane;
            if (_e71 < LANES) {
            } else {
                break;
            }
            {
                float _e74 = total;
                uint _e76 = lane;
                float _e82 = parts.inner[(_e76 * 32u) + local.x];
                total = _e74 + _e82;
            }
        }
        uint _e90 = p.out_first;
        uint _e95 = p.columns;
        float _e99 = total;
        out[((_e90 + group.y) * _e95) + column] = _e99;
        return;
    } else {
        return;
    }
}
