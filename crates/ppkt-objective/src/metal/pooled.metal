// Made of pooled.wgsl by naga; not to be edited.
// entry row_lengths: threads 64 1 1; shared 256; buffers 1r 7w
// entry means: threads 32 8 1; shared 1024; buffers 1r 2r 3r 4r 7w
// entry pull_back: threads 64 1 1; shared 256; buffers 1r 2r 3r 5r 6r 7w
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
};

struct Pooled {
    uint rows;
    uint dim;
    float epsilon;
};
typedef float type_2[1];
typedef uint type_3[1];
struct type_4 {
    float inner[64];
};
struct type_6 {
    float inner[256];
};
constant float SHORTEST = 0.000000000001;
constant uint NONE = 4294967295u;

float sum_of(
    float value,
    uint lane_3,
    threadgroup type_4& lanes
) {
    uint half_ = 32u;
    lanes.inner[lane_3] = value;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e20 = half_;
            half_ = _e20 / 2u;
        }
        loop_init = false;
        uint _e6 = half_;
        if (_e6 > 0u) {
        } else {
            break;
        }
        {
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            uint _e9 = half_;
            if (lane_3 < _e9) {
                float _e13 = lanes.inner[lane_3];
                uint _e15 = half_;
                float _e18 = lanes.inner[lane_3 + _e15];
                lanes.inner[lane_3] = _e13 + _e18;
            }
        }
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    float _e25 = lanes.inner[0];
    return _e25;
}

float divisor_of(
    uint row,
    device type_2 const& lengths,
    constant _mslBufferSizes& _buffer_sizes
) {
    float _e3 = lengths[row];
    float _e7 = lengths[row];
    return (_e7 < SHORTEST) ? SHORTEST : _e3;
}

struct row_lengthsInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void row_lengths(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Pooled& p [[buffer(0)]]
, device type_2 const& raw [[buffer(1)]]
, device type_2& out [[buffer(7)]]
, threadgroup type_4& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float largest = 0.0;
    uint c = 0u;
    float squares = 0.0;
    uint c_1 = {};
    uint row_1 = (group.y * groups.x) + group.x;
    uint _e10 = p.rows;
    if (row_1 >= _e10) {
        return;
    }
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e35 = c;
            c = _e35 + 1u;
        }
        loop_init_1 = false;
        uint _e16 = c;
        uint _e19 = p.dim;
        if (_e16 < _e19) {
        } else {
            break;
        }
        {
            uint _e24 = p.dim;
            uint _e26 = c;
            float _e29 = raw[(row_1 * _e24) + _e26];
            float v = metal::abs(_e29);
            float _e31 = largest;
            float _e32 = largest;
            largest = (v > _e32) ? v : _e31;
        }
    }
    float _e38 = largest;
    float _e39 = largest;
    float scale = (_e39 > 0.0) ? _e38 : 1.0;
    c_1 = lane;
    bool loop_init_2 = true;
    while(true) {
        if (!loop_init_2) {
            uint _e65 = c_1;
            c_1 = _e65 + 64u;
        }
        loop_init_2 = false;
        uint _e47 = c_1;
        uint _e50 = p.dim;
        if (_e47 < _e50) {
        } else {
            break;
        }
        {
            uint _e55 = p.dim;
            uint _e57 = c_1;
            float _e60 = raw[(row_1 * _e55) + _e57];
            float part = _e60 / scale;
            float _e62 = squares;
            squares = _e62 + (part * part);
        }
    }
    float _e68 = squares;
    float _e69 = sum_of(_e68, lane, lanes);
    if (lane == 0u) {
        out[row_1] = scale * metal::sqrt(_e69);
        return;
    } else {
        return;
    }
}


struct meansInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void means(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, metal::uint3 local [[thread_position_in_threadgroup]]
, constant Pooled& p [[buffer(0)]]
, device type_2 const& raw [[buffer(1)]]
, device type_2 const& lengths [[buffer(2)]]
, device type_3 const& starts [[buffer(3)]]
, device type_3 const& members [[buffer(4)]]
, device type_2& out [[buffer(7)]]
, threadgroup type_6& parts
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    uint i = {};
    float some = {};
    uint j = {};
    bool local_1 = {};
    float total = 0.0;
    uint lane_1 = 0u;
    uint _e5 = p.dim;
    uint columns = (_e5 + 31u) / 32u;
    uint at = (group_1.y * groups_1.x) + group_1.x;
    uint which = at / columns;
    uint _e18 = p.rows;
    if (which >= _e18) {
        return;
    }
    uint column = ((at % columns) * 32u) + local.x;
    uint first = starts[which];
    uint end = starts[which + 1u];
    uint _e37 = p.dim;
    if (column < _e37) {
        i = first + local.y;
        bool loop_init_3 = true;
        while(true) {
            if (!loop_init_3) {
                uint _e80 = i;
                i = _e80 + 128u;
            }
            loop_init_3 = false;
            uint _e42 = i;
            if (_e42 < end) {
            } else {
                break;
            }
            {
                some = 0.0;
                uint _e46 = i;
                j = _e46;
                bool loop_init_4 = true;
                while(true) {
                    if (!loop_init_4) {
                        uint _e74 = j;
                        j = _e74 + 8u;
                    }
                    loop_init_4 = false;
                    uint _e48 = j;
                    uint _e49 = i;
                    if (_e48 < metal::min(_e49 + 128u, end)) {
                    } else {
                        break;
                    }
                    {
                        float _e54 = some;
                        uint _e57 = j;
                        uint _e59 = members[_e57];
                        uint _e62 = p.dim;
                        float _e66 = raw[(_e59 * _e62) + column];
                        uint _e68 = j;
                        uint _e70 = members[_e68];
                        float _e71 = divisor_of(_e70, lengths, _buffer_sizes);
                        some = _e54 + (_e66 / _e71);
                    }
                }
                float _e77 = sum;
                float _e78 = some;
                sum = _e77 + _e78;
            }
        }
    }
    float _e90 = sum;
    parts.inner[(local.y * 32u) + local.x] = _e90;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (local.y == 0u) {
        uint _e98 = p.dim;
        local_1 = column < _e98;
    } else {
        local_1 = false;
    }
    bool _e101 = local_1;
    if (_e101) {
        bool loop_init_5 = true;
        while(true) {
            if (!loop_init_5) {
                uint _e119 = lane_1;
                lane_1 = _e119 + 1u;
            }
            loop_init_5 = false;
            uint _e106 = lane_1;
            if (_e106 < 8u) {
            } else {
                break;
            }
            {
                float _e109 = total;
                uint _e111 = lane_1;
                float _e117 = parts.inner[(_e111 * 32u) + local.x];
                total = _e109 + _e117;
            }
        }
        uint _e125 = p.dim;
        float _e129 = total;
        float _e134 = p.epsilon;
        out[(which * _e125) + column] = _e129 / (static_cast<float>(end - first) + _e134);
        return;
    } else {
        return;
    }
}


struct pull_backInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void pull_back(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 groups_2 [[threadgroups_per_grid]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Pooled& p [[buffer(0)]]
, device type_2 const& raw [[buffer(1)]]
, device type_2 const& lengths [[buffer(2)]]
, device type_3 const& starts [[buffer(3)]]
, device type_3 const& group_of [[buffer(5)]]
, device type_2 const& by_mean [[buffer(6)]]
, device type_2& out [[buffer(7)]]
, threadgroup type_4& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    bool local_2 = {};
    uint c_2 = {};
    float product = 0.0;
    uint c_3 = {};
    uint c_4 = {};
    uint row_2 = (group_2.y * groups_2.x) + group_2.x;
    uint _e10 = p.rows;
    if (row_2 >= _e10) {
        return;
    }
    uint mine = group_of[row_2];
    if (!((mine == NONE))) {
        float _e22 = lengths[row_2];
        local_2 = _e22 < SHORTEST;
    } else {
        local_2 = true;
    }
    bool _e26 = local_2;
    if (_e26) {
        c_2 = lane_2;
        bool loop_init_6 = true;
        while(true) {
            if (!loop_init_6) {
                uint _e42 = c_2;
                c_2 = _e42 + 64u;
            }
            loop_init_6 = false;
            uint _e28 = c_2;
            uint _e31 = p.dim;
            if (_e28 < _e31) {
            } else {
                break;
            }
            {
                uint _e36 = p.dim;
                uint _e38 = c_2;
                out[(row_2 * _e36) + _e38] = 0.0;
            }
        }
        return;
    }
    uint _e49 = starts[mine + 1u];
    uint _e52 = starts[mine];
    float _e57 = p.epsilon;
    float count = static_cast<float>(_e49 - _e52) + _e57;
    c_3 = lane_2;
    bool loop_init_7 = true;
    while(true) {
        if (!loop_init_7) {
            uint _e93 = c_3;
            c_3 = _e93 + 64u;
        }
        loop_init_7 = false;
        uint _e62 = c_3;
        uint _e65 = p.dim;
        if (_e62 < _e65) {
        } else {
            break;
        }
        {
            float _e67 = product;
            uint _e71 = p.dim;
            uint _e73 = c_3;
            float _e76 = by_mean[(mine * _e71) + _e73];
            uint _e81 = p.dim;
            uint _e83 = c_3;
            float _e86 = raw[(row_2 * _e81) + _e83];
            float _e89 = lengths[row_2];
            product = _e67 + ((_e76 / count) * (_e86 / _e89));
        }
    }
    float _e96 = product;
    float _e97 = sum_of(_e96, lane_2, lanes);
    c_4 = lane_2;
    bool loop_init_8 = true;
    while(true) {
        if (!loop_init_8) {
            uint _e135 = c_4;
            c_4 = _e135 + 64u;
        }
        loop_init_8 = false;
        uint _e99 = c_4;
        uint _e102 = p.dim;
        if (_e99 < _e102) {
        } else {
            break;
        }
        {
            uint _e106 = p.dim;
            uint _e108 = c_4;
            uint i_1 = (row_2 * _e106) + _e108;
            uint _e115 = p.dim;
            uint _e117 = c_4;
            float _e120 = by_mean[(mine * _e115) + _e117];
            float _e124 = raw[i_1];
            float _e127 = lengths[row_2];
            float _e133 = lengths[row_2];
            out[i_1] = ((_e120 / count) - ((_e124 / _e127) * _e97)) / _e133;
        }
    }
    return;
}
