// Made of rows.wgsl by naga; not to be edited.
// entry relu: threads 256 1 1; shared; buffers 1r 4w
// entry relu_grad: threads 256 1 1; shared; buffers 2r 3r 4w
// entry put: threads 256 1 1; shared; buffers 1r 4w
// entry take: threads 256 1 1; shared; buffers 1r 4w
// entry merge: threads 256 1 1; shared; buffers 1r 4w 5r 6r
// entry merge_grad: threads 256 1 1; shared; buffers 3r 4w 5r 7r
// entry unit: threads 64 1 1; shared 256; buffers 1r 4w
// entry unit_grad: threads 64 1 1; shared 256; buffers 1r 2r 3r 4w
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

struct Rows {
    uint rows;
    uint columns;
    uint from_columns;
    uint first;
};
typedef float type_2[1];
typedef uint type_4[1];
struct type_5 {
    float inner[64];
};
constant float SHORTEST = 0.000000000001;

uint group_index(
    metal::uint3 group_8,
    metal::uint3 groups_8
) {
    return (group_8.y * groups_8.x) + group_8.x;
}

float divisor(
    uint row,
    constant Rows& p,
    device type_4 const& starts,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint _e5 = starts[row + 1u];
    uint _e8 = starts[row];
    uint _e13 = p.first;
    return (_e13 != 0u) ? static_cast<float>(_e5 - _e8) : 1.0;
}

float sum_of(
    float value,
    uint lane_8,
    threadgroup type_5& lanes
) {
    uint half_ = 32u;
    lanes.inner[lane_8] = value;
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
            if (lane_8 < _e9) {
                float _e13 = lanes.inner[lane_8];
                uint _e15 = half_;
                float _e18 = lanes.inner[lane_8 + _e15];
                lanes.inner[lane_8] = _e13 + _e18;
            }
        }
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    float sum_1 = lanes.inner[0];
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    return sum_1;
}

float largest_of(
    float value_1,
    uint lane_9,
    threadgroup type_5& lanes
) {
    uint half_1 = 32u;
    lanes.inner[lane_9] = value_1;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e22 = half_1;
            half_1 = _e22 / 2u;
        }
        loop_init_1 = false;
        uint _e6 = half_1;
        if (_e6 > 0u) {
        } else {
            break;
        }
        {
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            uint _e9 = half_1;
            if (lane_9 < _e9) {
                float _e15 = lanes.inner[lane_9];
                uint _e17 = half_1;
                float _e20 = lanes.inner[lane_9 + _e17];
                lanes.inner[lane_9] = metal::max(_e15, _e20);
            }
        }
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    float largest_1 = lanes.inner[0];
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    return largest_1;
}

float length_of(
    uint row_1,
    uint lane_10,
    constant Rows& p,
    device type_2 const& x,
    threadgroup type_5& lanes,
    constant _mslBufferSizes& _buffer_sizes
) {
    float largest = 0.0;
    uint c_3 = {};
    float squares = 0.0;
    uint c_4 = {};
    c_3 = lane_10;
    bool loop_init_2 = true;
    while(true) {
        if (!loop_init_2) {
            uint _e24 = c_3;
            c_3 = _e24 + 64u;
        }
        loop_init_2 = false;
        uint _e5 = c_3;
        uint _e8 = p.columns;
        if (_e5 < _e8) {
        } else {
            break;
        }
        {
            uint _e13 = p.columns;
            uint _e15 = c_3;
            float _e18 = x[(row_1 * _e13) + _e15];
            float v = metal::abs(_e18);
            float _e20 = largest;
            float _e21 = largest;
            largest = (v > _e21) ? v : _e20;
        }
    }
    float _e27 = largest;
    float _e28 = largest_of(_e27, lane_10, lanes);
    c_4 = lane_10;
    bool loop_init_3 = true;
    while(true) {
        if (!loop_init_3) {
            uint _e53 = c_4;
            c_4 = _e53 + 64u;
        }
        loop_init_3 = false;
        uint _e32 = c_4;
        uint _e35 = p.columns;
        if (_e32 < _e35) {
        } else {
            break;
        }
        {
            uint _e40 = p.columns;
            uint _e42 = c_4;
            float v_1 = x[(row_1 * _e40) + _e42];
            float part = (_e28 > 0.0) ? (v_1 / _e28) : v_1;
            float _e50 = squares;
            squares = _e50 + (part * part);
        }
    }
    float _e60 = squares;
    float _e61 = sum_of(_e60, lane_10, lanes);
    return ((_e28 > 0.0) ? _e28 : 1.0) * metal::sqrt(_e61);
}

struct reluInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void relu(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(4)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = group_index(group, groups);
    uint i = (_e3 * 256u) + lane;
    uint _e9 = p.rows;
    uint _e12 = p.columns;
    if (i < (_e9 * _e12)) {
        float v_2 = x[i];
        out[i] = (v_2 < 0.0) ? 0.0 : v_2;
        return;
    } else {
        return;
    }
}


struct relu_gradInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void relu_grad(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& y [[buffer(2)]]
, device type_2 const& grad [[buffer(3)]]
, device type_2& out [[buffer(4)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = group_index(group_1, groups_1);
    uint i_1 = (_e3 * 256u) + lane_1;
    uint _e9 = p.rows;
    uint _e12 = p.columns;
    if (i_1 < (_e9 * _e12)) {
        float _e19 = grad[i_1];
        float _e22 = y[i_1];
        out[i_1] = (_e22 > 0.0) ? _e19 : 0.0;
        return;
    } else {
        return;
    }
}


struct putInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void put(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 groups_2 [[threadgroups_per_grid]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(4)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = group_index(group_2, groups_2);
    uint i_2 = (_e3 * 256u) + lane_2;
    uint _e9 = p.rows;
    uint _e12 = p.from_columns;
    if (i_2 < (_e9 * _e12)) {
        uint _e18 = p.from_columns;
        uint _e22 = p.columns;
        uint _e26 = p.first;
        uint _e30 = p.from_columns;
        float _e36 = x[i_2];
        out[(((i_2 / _e18) * _e22) + _e26) + (i_2 % _e30)] = _e36;
        return;
    } else {
        return;
    }
}


struct takeInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void take(
  metal::uint3 group_3 [[threadgroup_position_in_grid]]
, metal::uint3 groups_3 [[threadgroups_per_grid]]
, uint lane_3 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(4)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = group_index(group_3, groups_3);
    uint i_3 = (_e3 * 256u) + lane_3;
    uint _e9 = p.rows;
    uint _e12 = p.columns;
    if (i_3 < (_e9 * _e12)) {
        uint _e20 = p.columns;
        uint _e24 = p.from_columns;
        uint _e28 = p.first;
        uint _e32 = p.columns;
        float _e36 = x[(((i_3 / _e20) * _e24) + _e28) + (i_3 % _e32)];
        out[i_3] = _e36;
        return;
    } else {
        return;
    }
}


struct mergeInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void merge(
  metal::uint3 group_4 [[threadgroup_position_in_grid]]
, metal::uint3 groups_4 [[threadgroups_per_grid]]
, uint lane_4 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(4)]]
, device type_4 const& starts [[buffer(5)]]
, device type_4 const& inputs [[buffer(6)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    uint at = {};
    uint _e3 = group_index(group_4, groups_4);
    uint i_4 = (_e3 * 256u) + lane_4;
    uint _e9 = p.rows;
    uint _e12 = p.columns;
    if (i_4 >= (_e9 * _e12)) {
        return;
    }
    uint _e17 = p.columns;
    uint row_2 = i_4 / _e17;
    uint _e23 = starts[row_2];
    at = _e23;
    bool loop_init_4 = true;
    while(true) {
        if (!loop_init_4) {
            uint _e50 = at;
            at = _e50 + 1u;
        }
        loop_init_4 = false;
        uint _e25 = at;
        uint _e30 = starts[row_2 + 1u];
        if (_e25 < _e30) {
        } else {
            break;
        }
        {
            float _e32 = sum;
            uint _e35 = at;
            uint _e37 = inputs[_e35];
            uint _e40 = p.columns;
            uint _e44 = p.columns;
            float _e48 = x[(_e37 * _e40) + (i_4 % _e44)];
            sum = _e32 + _e48;
        }
    }
    float _e55 = sum;
    float _e56 = divisor(row_2, p, starts, _buffer_sizes);
    out[i_4] = _e55 / _e56;
    return;
}


struct merge_gradInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void merge_grad(
  metal::uint3 group_5 [[threadgroup_position_in_grid]]
, metal::uint3 groups_5 [[threadgroups_per_grid]]
, uint lane_5 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& grad [[buffer(3)]]
, device type_2& out [[buffer(4)]]
, device type_4 const& starts [[buffer(5)]]
, device type_4 const& row_of_input [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = group_index(group_5, groups_5);
    uint i_5 = (_e3 * 256u) + lane_5;
    uint _e9 = p.rows;
    uint _e12 = p.columns;
    if (i_5 >= (_e9 * _e12)) {
        return;
    }
    uint _e18 = p.columns;
    uint row_3 = row_of_input[i_5 / _e18];
    uint _e27 = p.columns;
    uint _e31 = p.columns;
    float _e35 = grad[(row_3 * _e27) + (i_5 % _e31)];
    float _e36 = divisor(row_3, p, starts, _buffer_sizes);
    out[i_5] = _e35 / _e36;
    return;
}


struct unitInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void unit(
  metal::uint3 group_6 [[threadgroup_position_in_grid]]
, metal::uint3 groups_6 [[threadgroups_per_grid]]
, uint lane_6 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(4)]]
, threadgroup type_5& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint c = {};
    uint _e3 = group_index(group_6, groups_6);
    uint _e6 = p.rows;
    if (_e3 >= _e6) {
        return;
    }
    float _e8 = length_of(_e3, lane_6, p, x, lanes, _buffer_sizes);
    c = lane_6;
    bool loop_init_5 = true;
    while(true) {
        if (!loop_init_5) {
            uint _e31 = c;
            c = _e31 + 64u;
        }
        loop_init_5 = false;
        uint _e10 = c;
        uint _e13 = p.columns;
        if (_e10 < _e13) {
        } else {
            break;
        }
        {
            uint _e17 = p.columns;
            uint _e19 = c;
            uint i_6 = (_e3 * _e17) + _e19;
            float _e25 = x[i_6];
            out[i_6] = (_e8 < SHORTEST) ? 0.0 : (_e25 / _e8);
        }
    }
    return;
}


struct unit_gradInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void unit_grad(
  metal::uint3 group_7 [[threadgroup_position_in_grid]]
, metal::uint3 groups_7 [[threadgroups_per_grid]]
, uint lane_7 [[thread_index_in_threadgroup]]
, constant Rows& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& y [[buffer(2)]]
, device type_2 const& grad [[buffer(3)]]
, device type_2& out [[buffer(4)]]
, threadgroup type_5& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float product = 0.0;
    uint c_1 = {};
    uint c_2 = {};
    uint _e3 = group_index(group_7, groups_7);
    uint _e6 = p.rows;
    if (_e3 >= _e6) {
        return;
    }
    float _e8 = length_of(_e3, lane_7, p, x, lanes, _buffer_sizes);
    c_1 = lane_7;
    bool loop_init_6 = true;
    while(true) {
        if (!loop_init_6) {
            uint _e38 = c_1;
            c_1 = _e38 + 64u;
        }
        loop_init_6 = false;
        uint _e12 = c_1;
        uint _e15 = p.columns;
        if (_e12 < _e15) {
        } else {
            break;
        }
        {
            float _e17 = product;
            uint _e21 = p.columns;
            uint _e23 = c_1;
            float _e26 = y[(_e3 * _e21) + _e23];
            uint _e30 = p.columns;
            uint _e32 = c_1;
            float _e35 = grad[(_e3 * _e30) + _e32];
            product = _e17 + (_e26 * _e35);
        }
    }
    float _e41 = product;
    float _e42 = sum_of(_e41, lane_7, lanes);
    c_2 = lane_7;
    bool loop_init_7 = true;
    while(true) {
        if (!loop_init_7) {
            uint _e70 = c_2;
            c_2 = _e70 + 64u;
        }
        loop_init_7 = false;
        uint _e44 = c_2;
        uint _e47 = p.columns;
        if (_e44 < _e47) {
        } else {
            break;
        }
        {
            uint _e51 = p.columns;
            uint _e53 = c_2;
            uint i_7 = (_e3 * _e51) + _e53;
            float _e59 = grad[i_7];
            float _e62 = y[i_7];
            out[i_7] = (_e8 < SHORTEST) ? 0.0 : ((_e59 - (_e62 * _e42)) / _e8);
        }
    }
    return;
}
