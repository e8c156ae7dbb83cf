// Made of map.wgsl by naga; not to be edited.
// entry neighbours: threads 256 1 1; shared; buffers 1r 2r 3w
// entry tiles: threads 64 1 1; shared; buffers 3w 4w
// language: metal2.3
#include <metal_stdlib>
#include <simd/simd.h>

using metal::uint;

struct _mslBufferSizes {
    uint size1;
    uint size2;
    uint size3;
    uint size4;
};

struct Map {
    uint n_target;
    uint n_source;
    uint kernel_;
    int centre;
    int dilation;
    int multiply;
    int divide;
    int sign;
    int target_bias;
    int source_bias;
};
typedef metal::uint2 type_3[1];
typedef int type_4[1];
typedef uint type_7[1];
constant int AXIS_END = 262144;

uint compact(
    uint bits
) {
    uint v = {};
    v = bits & 153391689u;
    uint _e4 = v;
    uint _e5 = v;
    v = (_e4 | (_e5 >> 2u)) & 51130563u;
    uint _e11 = v;
    uint _e12 = v;
    v = (_e11 | (_e12 >> 4u)) & 50393103u;
    uint _e18 = v;
    uint _e19 = v;
    v = (_e18 | (_e19 >> 8u)) & 50331903u;
    uint _e25 = v;
    uint _e26 = v;
    return (_e25 | (_e26 >> 16u)) & 1023u;
}

uint spread(
    uint number
) {
    uint v_1 = {};
    v_1 = (number | (number << 16u)) & 50331903u;
    uint _e7 = v_1;
    uint _e8 = v_1;
    v_1 = (_e7 | (_e8 << 8u)) & 50393103u;
    uint _e14 = v_1;
    uint _e15 = v_1;
    v_1 = (_e14 | (_e15 << 4u)) & 51130563u;
    uint _e21 = v_1;
    uint _e22 = v_1;
    return (_e21 | (_e22 << 2u)) & 153391689u;
}

int axis(
    metal::uint2 key,
    uint shift
) {
    uint lower = key.x & 1073741823u;
    uint upper = ((key.x >> 30u) | (key.y << 2u)) & 16777215u;
    uint _e15 = compact(lower >> shift);
    uint _e17 = compact(upper >> shift);
    return static_cast<int>(_e15 | (_e17 << 10u));
}

metal::uint2 key_of(
    uint batch,
    uint x,
    uint y,
    uint z
) {
    uint _e6 = spread(x & 1023u);
    uint _e9 = spread(y & 1023u);
    uint _e15 = spread(z & 1023u);
    uint lower_1 = (_e6 | (_e9 << 1u)) | (_e15 << 2u);
    uint _e21 = spread(x >> 10u);
    uint _e24 = spread(y >> 10u);
    uint _e30 = spread(z >> 10u);
    uint upper_1 = (_e21 | (_e24 << 1u)) | (_e30 << 2u);
    return metal::uint2(lower_1 | (upper_1 << 30u), (upper_1 >> 2u) | (batch << 22u));
}

int neighbour(
    int place,
    uint step,
    constant Map& p
) {
    int whole = {};
    bool local_2 = {};
    bool local_3 = {};
    bool local_4 = {};
    int _e5 = p.centre;
    int _e9 = p.dilation;
    int _e13 = p.sign;
    int offset = as_type<int>(as_type<uint>(as_type<int>(as_type<uint>(as_type<int>(as_type<uint>(static_cast<int>(step)) - as_type<uint>(_e5))) * as_type<uint>(_e9))) * as_type<uint>(_e13));
    int _e17 = p.target_bias;
    int _e21 = p.multiply;
    int at = as_type<int>(as_type<uint>(as_type<int>(as_type<uint>(as_type<int>(as_type<uint>(place) - as_type<uint>(_e17))) * as_type<uint>(_e21))) + as_type<uint>(offset));
    int _e26 = p.divide;
    whole = at / _e26;
    if (at < 0) {
        int _e33 = whole;
        int _e36 = p.divide;
        local_2 = as_type<int>(as_type<uint>(_e33) * as_type<uint>(_e36)) != at;
    } else {
        local_2 = false;
    }
    bool _e40 = local_2;
    if (_e40) {
        int _e41 = whole;
        whole = as_type<int>(as_type<uint>(_e41) - as_type<uint>(1));
    }
    int _e44 = whole;
    int _e47 = p.source_bias;
    int biased = as_type<int>(as_type<uint>(_e44) + as_type<uint>(_e47));
    int _e49 = whole;
    int _e52 = p.divide;
    if (as_type<int>(as_type<uint>(_e49) * as_type<uint>(_e52)) == at) {
        local_3 = biased >= 0;
    } else {
        local_3 = false;
    }
    bool _e60 = local_3;
    if (_e60) {
        local_4 = biased < AXIS_END;
    } else {
        local_4 = false;
    }
    bool _e66 = local_4;
    return _e66 ? biased : -1;
}

int find(
    metal::uint2 key_1,
    constant Map& p,
    device type_3 const& source_keys,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint low = 0u;
    uint high = {};
    bool local_5 = {};
    bool local_6 = {};
    bool local_7 = {};
    uint _e5 = p.n_source;
    high = _e5;
    while(true) {
        uint _e7 = low;
        uint _e8 = high;
        if (_e7 < _e8) {
        } else {
            break;
        }
        {
            uint _e10 = low;
            uint _e11 = high;
            uint _e12 = low;
            uint middle = _e10 + ((_e11 - _e12) / 2u);
            metal::uint2 other = source_keys[middle];
            if (!((other.y < key_1.y))) {
                if (other.y == key_1.y) {
                    local_6 = other.x < key_1.x;
                } else {
                    local_6 = false;
                }
                bool _e35 = local_6;
                local_5 = _e35;
            } else {
                local_5 = true;
            }
            bool _e37 = local_5;
            if (_e37) {
                low = middle + 1u;
            } else {
                high = middle;
            }
        }
    }
    uint _e40 = low;
    uint _e43 = p.n_source;
    if (_e40 < _e43) {
        uint _e48 = low;
        metal::uint2 _e50 = source_keys[_e48];
        local_7 = metal::all(_e50 == key_1);
    } else {
        local_7 = false;
    }
    bool _e54 = local_7;
    if (_e54) {
        uint _e55 = low;
        return static_cast<int>(_e55);
    }
    return -1;
}

struct neighboursInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void neighbours(
  metal::uint3 group [[threadgroup_position_in_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Map& p [[buffer(0)]]
, device type_3 const& target_keys [[buffer(1)]]
, device type_3 const& source_keys [[buffer(2)]]
, device type_4& found [[buffer(3)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    int source = -1;
    bool local = {};
    bool local_1 = {};
    uint row_1 = (group.x * 256u) + lane;
    uint k = group.y;
    uint _e9 = p.n_target;
    if (row_1 >= _e9) {
        return;
    }
    metal::uint2 key_2 = target_keys[row_1];
    int _e15 = axis(key_2, 0u);
    uint _e18 = p.kernel_;
    int _e20 = neighbour(_e15, k % _e18, p);
    int _e22 = axis(key_2, 1u);
    uint _e25 = p.kernel_;
    uint _e29 = p.kernel_;
    int _e31 = neighbour(_e22, (k / _e25) % _e29, p);
    int _e33 = axis(key_2, 2u);
    uint _e36 = p.kernel_;
    uint _e39 = p.kernel_;
    int _e42 = neighbour(_e33, k / (_e36 * _e39), p);
    if (_e20 >= 0) {
        local = _e31 >= 0;
    } else {
        local = false;
    }
    bool _e52 = local;
    if (_e52) {
        local_1 = _e42 >= 0;
    } else {
        local_1 = false;
    }
    bool _e58 = local_1;
    if (_e58) {
        metal::uint2 _e65 = key_of(key_2.y >> 22u, static_cast<uint>(_e20), static_cast<uint>(_e31), static_cast<uint>(_e42));
        int _e66 = find(_e65, p, source_keys, _buffer_sizes);
        source = _e66;
    }
    uint _e70 = p.n_target;
    int _e74 = source;
    found[(k * _e70) + row_1] = _e74;
    return;
}


struct tilesInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void tiles(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Map& p [[buffer(0)]]
, device type_4 const& found [[buffer(3)]]
, device type_7& occupied [[buffer(4)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint any = 0u;
    uint row = {};
    uint tile = (group_1.x * 64u) + lane_1;
    uint k_1 = group_1.y;
    uint _e9 = p.kernel_;
    uint _e12 = p.kernel_;
    uint _e16 = p.kernel_;
    uint volume = (_e9 * _e12) * _e16;
    uint _e22 = p.n_target;
    if ((tile * 64u) >= _e22) {
        return;
    }
    row = tile * 64u;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e51 = row;
            row = _e51 + 1u;
        }
        loop_init = false;
        uint _e29 = row;
        uint _e36 = p.n_target;
        if (_e29 < metal::min((tile * 64u) + 64u, _e36)) {
        } else {
            break;
        }
        {
            uint _e42 = p.n_target;
            uint _e44 = row;
            int _e47 = found[(k_1 * _e42) + _e44];
            if (_e47 >= 0) {
                any = 1u;
            }
        }
    }
    uint _e58 = any;
    occupied[(tile * volume) + k_1] = _e58;
    return;
}
