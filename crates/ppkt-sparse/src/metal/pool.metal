// Made of pool.wgsl by naga; not to be edited.
// entry pool: threads 256 1 1; shared; buffers 1r 2r 5w 6w 7w
// entry pool_grad: threads 256 1 1; shared; buffers 1r 2r 3r 4r 5w
// entry largest: threads 256 1 1; shared; buffers 2r 5w 6w 8r
// entry scale_items: threads 256 1 1; shared; buffers 2r 5w 8r
// entry items_grad: threads 256 1 1; shared; buffers 2r 3r 5w 8r
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

struct Pool {
    uint rows;
    uint channels;
    uint volume;
    uint reduction;
    uint dense;
};
typedef int type_2[1];
typedef float type_4[1];
typedef uint type_5[1];
constant uint NOWHERE = 4294967295u;

uint index(
    metal::uint3 group_5,
    metal::uint3 groups_5,
    uint lane_5
) {
    return (((group_5.y * groups_5.x) + group_5.x) * 256u) + lane_5;
}

bool is_nan(
    float v
) {
    return (as_type<uint>(v) & 2147483647u) > 2139095040u;
}

bool is_larger(
    float v_1,
    float best_2,
    uint source_2
) {
    bool local = {};
    bool local_1 = {};
    bool local_2 = {};
    if (!((source_2 == NOWHERE))) {
        local = v_1 > best_2;
    } else {
        local = true;
    }
    bool _e10 = local;
    if (!(_e10)) {
        bool _e14 = is_nan(v_1);
        if (_e14) {
            bool _e17 = is_nan(best_2);
            local_2 = !(_e17);
        } else {
            local_2 = false;
        }
        bool _e20 = local_2;
        local_1 = _e20;
    } else {
        local_1 = true;
    }
    bool _e22 = local_1;
    return _e22;
}

int met(
    uint k_2,
    uint row_1,
    constant Pool& p,
    device type_2 const& neighbours,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint _e4 = p.dense;
    if (_e4 != 0u) {
        return static_cast<int>(row_1);
    }
    uint _e11 = p.rows;
    int _e15 = neighbours[(k_2 * _e11) + row_1];
    return _e15;
}

struct poolInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void pool(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Pool& p [[buffer(0)]]
, device type_2 const& neighbours [[buffer(1)]]
, device type_4 const& x [[buffer(2)]]
, device type_4& out [[buffer(5)]]
, device type_5& from_out [[buffer(6)]]
, device type_5& counts_out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    float best = 0.0;
    uint source = NOWHERE;
    uint count = 0u;
    uint k = 0u;
    uint _e3 = index(group, groups, lane);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint row_2 = _e3 / _e14;
    uint _e18 = p.channels;
    uint c = _e3 % _e18;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e57 = k;
            k = _e57 + 1u;
        }
        loop_init = false;
        uint _e30 = k;
        uint _e33 = p.volume;
        if (_e30 < _e33) {
        } else {
            break;
        }
        {
            uint _e35 = k;
            int _e36 = met(_e35, row_2, p, neighbours, _buffer_sizes);
            if (_e36 >= 0) {
                uint _e43 = p.channels;
                float v_2 = x[(static_cast<uint>(_e36) * _e43) + c];
                uint _e48 = count;
                count = _e48 + 1u;
                float _e51 = sum;
                sum = _e51 + v_2;
                float _e53 = best;
                uint _e54 = source;
                bool _e55 = is_larger(v_2, _e53, _e54);
                if (_e55) {
                    best = v_2;
                    source = static_cast<uint>(_e36);
                }
            }
        }
    }
    uint _e62 = p.reduction;
    if (_e62 == 2u) {
        float _e67 = best;
        out[_e3] = _e67;
    } else {
        uint _e70 = p.reduction;
        if (_e70 == 1u) {
            float _e75 = sum;
            uint _e76 = count;
            out[_e3] = _e75 * (1.0 / static_cast<float>(metal::max(_e76, 1u)));
        } else {
            float _e85 = sum;
            out[_e3] = _e85;
        }
    }
    uint _e88 = source;
    from_out[_e3] = _e88;
    if (c == 0u) {
        uint _e93 = count;
        counts_out[row_2] = _e93;
        return;
    } else {
        return;
    }
}


struct pool_gradInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void pool_grad(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Pool& p [[buffer(0)]]
, device type_2 const& neighbours [[buffer(1)]]
, device type_4 const& x [[buffer(2)]]
, device type_5 const& came_from [[buffer(3)]]
, device type_5 const& counts [[buffer(4)]]
, device type_4& out [[buffer(5)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum_1 = 0.0;
    uint k_1 = 0u;
    uint _e3 = index(group_1, groups_1, lane_1);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint row_3 = _e3 / _e14;
    uint _e18 = p.channels;
    uint c_1 = _e3 % _e18;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e78 = k_1;
            k_1 = _e78 + 1u;
        }
        loop_init_1 = false;
        uint _e24 = k_1;
        uint _e27 = p.volume;
        if (_e24 < _e27) {
        } else {
            break;
        }
        {
            uint _e29 = k_1;
            int _e30 = met(_e29, row_3, p, neighbours, _buffer_sizes);
            if (_e30 >= 0) {
                uint _e36 = p.channels;
                uint at = (static_cast<uint>(_e30) * _e36) + c_1;
                uint _e41 = p.reduction;
                if (_e41 == 2u) {
                    uint _e46 = came_from[at];
                    if (_e46 == row_3) {
                        float _e48 = sum_1;
                        float _e51 = x[at];
                        sum_1 = _e48 + _e51;
                    }
                } else {
                    uint _e55 = p.reduction;
                    if (_e55 == 1u) {
                        float _e58 = sum_1;
                        float _e61 = x[at];
                        uint _e65 = counts[static_cast<uint>(_e30)];
                        sum_1 = _e58 + (_e61 * (1.0 / static_cast<float>(metal::max(_e65, 1u))));
                    } else {
                        float _e73 = sum_1;
                        float _e76 = x[at];
                        sum_1 = _e73 + _e76;
                    }
                }
            }
        }
    }
    float _e83 = sum_1;
    out[_e3] = _e83;
    return;
}


struct largestInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void largest(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 groups_2 [[threadgroups_per_grid]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Pool& p [[buffer(0)]]
, device type_4 const& x [[buffer(2)]]
, device type_4& out [[buffer(5)]]
, device type_5& from_out [[buffer(6)]]
, device type_5 const& starts [[buffer(8)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float best_1 = 0.0;
    uint source_1 = NOWHERE;
    uint row = {};
    uint _e3 = index(group_2, groups_2, lane_2);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint item = _e3 / _e14;
    uint _e18 = p.channels;
    uint c_2 = _e3 % _e18;
    uint _e26 = starts[item];
    row = _e26;
    bool loop_init_2 = true;
    while(true) {
        if (!loop_init_2) {
            uint _e48 = row;
            row = _e48 + 1u;
        }
        loop_init_2 = false;
        uint _e28 = row;
        uint _e33 = starts[item + 1u];
        if (_e28 < _e33) {
        } else {
            break;
        }
        {
            uint _e36 = row;
            uint _e39 = p.channels;
            float v_3 = x[(_e36 * _e39) + c_2];
            float _e44 = best_1;
            uint _e45 = source_1;
            bool _e46 = is_larger(v_3, _e44, _e45);
            if (_e46) {
                best_1 = v_3;
                uint _e47 = row;
                source_1 = _e47;
            }
        }
    }
    float _e53 = best_1;
    out[_e3] = _e53;
    uint _e56 = source_1;
    from_out[_e3] = _e56;
    return;
}


struct scale_itemsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void scale_items(
  metal::uint3 group_3 [[threadgroup_position_in_grid]]
, metal::uint3 groups_3 [[threadgroups_per_grid]]
, uint lane_3 [[thread_index_in_threadgroup]]
, constant Pool& p [[buffer(0)]]
, device type_4 const& x [[buffer(2)]]
, device type_4& out [[buffer(5)]]
, device type_5 const& starts [[buffer(8)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = index(group_3, groups_3, lane_3);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint item_1 = _e3 / _e14;
    uint _e20 = starts[item_1 + 1u];
    uint _e23 = starts[item_1];
    uint count_1 = _e20 - _e23;
    float _e27 = x[_e3];
    float sum_2 = (count_1 > 0u) ? _e27 : 0.0;
    uint _e40 = p.reduction;
    out[_e3] = (_e40 == 1u) ? (sum_2 / static_cast<float>(metal::max(count_1, 1u))) : sum_2;
    return;
}


struct items_gradInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void items_grad(
  metal::uint3 group_4 [[threadgroup_position_in_grid]]
, metal::uint3 groups_4 [[threadgroups_per_grid]]
, uint lane_4 [[thread_index_in_threadgroup]]
, constant Pool& p [[buffer(0)]]
, device type_4 const& x [[buffer(2)]]
, device type_5 const& came_from [[buffer(3)]]
, device type_4& out [[buffer(5)]]
, device type_5 const& starts [[buffer(8)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint low = 0u;
    uint high = {};
    uint _e3 = index(group_4, groups_4, lane_4);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint row_4 = _e3 / _e14;
    uint _e18 = p.channels;
    uint c_3 = _e3 % _e18;
    uint _e24 = p.volume;
    high = _e24 - 1u;
    while(true) {
        uint _e28 = low;
        uint _e29 = high;
        if (_e28 < _e29) {
        } else {
            break;
        }
        {
            uint _e31 = low;
            uint _e32 = high;
            uint middle = ((_e31 + _e32) + 1u) / 2u;
            uint _e40 = starts[middle];
            if (_e40 <= row_4) {
                low = middle;
            } else {
                high = middle - 1u;
            }
        }
    }
    uint _e45 = low;
    uint _e48 = p.channels;
    float g = x[(_e45 * _e48) + c_3];
    uint _e55 = p.reduction;
    if (_e55 == 2u) {
        uint _e61 = low;
        uint _e64 = p.channels;
        uint _e68 = came_from[(_e61 * _e64) + c_3];
        out[_e3] = (_e68 == row_4) ? g : 0.0;
        return;
    } else {
        uint _e74 = p.reduction;
        if (_e74 == 1u) {
            uint _e80 = low;
            uint _e84 = starts[_e80 + 1u];
            uint _e86 = low;
            uint _e88 = starts[_e86];
            out[_e3] = g / static_cast<float>(metal::max(_e84 - _e88, 1u));
            return;
        } else {
            out[_e3] = g;
            return;
        }
    }
}
