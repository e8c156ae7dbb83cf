// Made of nce.wgsl by naga; not to be edited.
// entry unit: threads 64 1 1; shared 256; buffers 1r 5w 6w
// entry pull_back: threads 64 1 1; shared 256; buffers 1r 2r 3r 5w
// entry scores: threads 16 16 1; shared 4096 4096 4096 4096 256; buffers 1r 2r 5w
// entry merge: threads 64 1 1; shared; buffers 3r 5w 6w
// entry gradient: threads 16 16 1; shared 4096 4096 16384; buffers 1r 2r 4r 5w
// entry finish: threads 1 1 1; shared; buffers 1r 2r 5w 6w
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
};

struct Nce {
    uint rows;
    uint dim;
    uint range;
    uint ranges;
    float inverse_temperature;
    uint by_key;
    float factor;
    uint first;
};
typedef float type_2[1];
struct type_3 {
    float inner[64];
};
struct type_5 {
    float inner[1024];
};
struct type_9 {
    float inner[4096];
};
constant uint TILE = 64u;
constant uint DEPTH = 16u;
constant float LOWEST = -340000000000000000000000000000000000000.0;
constant float SHORTEST = 0.000000000001;

uint group_index(
    metal::uint3 group_4,
    metal::uint3 groups_2
) {
    return (group_4.y * groups_2.x) + group_4.x;
}

float sum_of(
    float value_1,
    uint lane_4,
    threadgroup type_3& lanes
) {
    uint half_ = 32u;
    lanes.inner[lane_4] = value_1;
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
            if (lane_4 < _e9) {
                float _e13 = lanes.inner[lane_4];
                uint _e15 = half_;
                float _e18 = lanes.inner[lane_4 + _e15];
                lanes.inner[lane_4] = _e13 + _e18;
            }
        }
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    float sum_2 = lanes.inner[0];
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    return sum_2;
}

void load(
    uint first_mine,
    uint first_other,
    uint depth_1,
    uint lane_5,
    constant Nce& p,
    device type_2 const& mine,
    device type_2 const& other,
    threadgroup type_5& a,
    threadgroup type_5& b,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint i_6 = 0u;
    float x = {};
    float y = {};
    uint row_1 = lane_5 / 4u;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e68 = i_6;
            i_6 = _e68 + 1u;
        }
        loop_init_1 = false;
        uint _e8 = i_6;
        if (_e8 < 4u) {
        } else {
            break;
        }
        {
            uint _e15 = i_6;
            uint channel_1 = ((lane_5 % 4u) * 4u) + _e15;
            x = 0.0;
            y = 0.0;
            uint _e24 = p.dim;
            if ((depth_1 + channel_1) < _e24) {
                uint _e29 = p.rows;
                if ((first_mine + row_1) < _e29) {
                    uint _e35 = p.dim;
                    float _e40 = mine[(((first_mine + row_1) * _e35) + depth_1) + channel_1];
                    x = _e40;
                }
                uint _e44 = p.rows;
                if ((first_other + row_1) < _e44) {
                    uint _e50 = p.dim;
                    float _e55 = other[(((first_other + row_1) * _e50) + depth_1) + channel_1];
                    y = _e55;
                }
            }
            float _e61 = x;
            a.inner[(channel_1 * TILE) + row_1] = _e61;
            float _e67 = y;
            b.inner[(channel_1 * TILE) + row_1] = _e67;
        }
    }
    return;
}

metal::float4x4 similarities(
    uint first_mine_1,
    uint first_other_1,
    metal::uint3 local_6,
    uint lane_6,
    constant Nce& p,
    device type_2 const& mine,
    device type_2 const& other,
    threadgroup type_5& a,
    threadgroup type_5& b,
    constant _mslBufferSizes& _buffer_sizes
) {
    metal::float4 s0_ = metal::float4(0.0);
    metal::float4 s1_ = metal::float4(0.0);
    metal::float4 s2_ = metal::float4(0.0);
    metal::float4 s3_ = metal::float4(0.0);
    uint depth_2 = 0u;
    uint i_7 = {};
    bool loop_init_2 = true;
    while(true) {
        if (!loop_init_2) {
            uint _e95 = depth_2;
            depth_2 = _e95 + DEPTH;
        }
        loop_init_2 = false;
        uint _e18 = depth_2;
        uint _e21 = p.dim;
        if (_e18 < _e21) {
        } else {
            break;
        }
        {
            uint _e23 = depth_2;
            load(first_mine_1, first_other_1, _e23, lane_6, p, mine, other, a, b, _buffer_sizes);
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            i_7 = 0u;
            bool loop_init_3 = true;
            while(true) {
                if (!loop_init_3) {
                    uint _e92 = i_7;
                    i_7 = _e92 + 1u;
                }
                loop_init_3 = false;
                uint _e26 = i_7;
                if (_e26 < DEPTH) {
                } else {
                    break;
                }
                {
                    uint _e29 = i_7;
                    uint r_3 = (_e29 * TILE) + (local_6.y * 4u);
                    uint _e36 = i_7;
                    uint c_8 = (_e36 * TILE) + (local_6.x * 4u);
                    float _e45 = b.inner[c_8];
                    float _e50 = b.inner[c_8 + 1u];
                    float _e55 = b.inner[c_8 + 2u];
                    float _e60 = b.inner[c_8 + 3u];
                    metal::float4 v = metal::float4(_e45, _e50, _e55, _e60);
                    metal::float4 _e62 = s0_;
                    float _e65 = a.inner[r_3];
                    s0_ = _e62 + (_e65 * v);
                    metal::float4 _e68 = s1_;
                    float _e73 = a.inner[r_3 + 1u];
                    s1_ = _e68 + (_e73 * v);
                    metal::float4 _e76 = s2_;
                    float _e81 = a.inner[r_3 + 2u];
                    s2_ = _e76 + (_e81 * v);
                    metal::float4 _e84 = s3_;
                    float _e89 = a.inner[r_3 + 3u];
                    s3_ = _e84 + (_e89 * v);
                }
            }
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
        }
    }
    float t = p.inverse_temperature;
    metal::float4 _e101 = s0_;
    metal::float4 _e103 = s1_;
    metal::float4 _e105 = s2_;
    metal::float4 _e107 = s3_;
    return metal::float4x4(_e101 * t, _e103 * t, _e105 * t, _e107 * t);
}

float log_1p(
    float x_1
) {
    if (x_1 > 1.0) {
        return metal::log(1.0 + x_1);
    }
    float z = x_1 / (2.0 + x_1);
    float s_2 = z * z;
    float tail = s_2 * (0.11111111 + (s_2 * (0.09090909 + (s_2 / 13.0))));
    return (2.0 * z) * (1.0 + (s_2 * (0.33333334 + (s_2 * (0.2 + (s_2 * (0.14285715 + tail)))))));
}

void store(
    uint part,
    uint row,
    uint channel,
    metal::float4 sum_1,
    constant Nce& p,
    device type_2& out,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint i_8 = 0u;
    uint _e6 = p.rows;
    if (row >= _e6) {
        return;
    }
    bool loop_init_4 = true;
    while(true) {
        if (!loop_init_4) {
            uint _e35 = i_8;
            i_8 = _e35 + 1u;
        }
        loop_init_4 = false;
        uint _e10 = i_8;
        if (_e10 < 4u) {
        } else {
            break;
        }
        {
            uint _e13 = i_8;
            uint _e17 = p.dim;
            if ((channel + _e13) < _e17) {
                uint _e23 = p.dim;
                uint _e26 = i_8;
                float _e31 = p.factor;
                uint _e32 = i_8;
                out[(((part + row) * _e23) + channel) + _e26] = _e31 * sum_1[_e32];
            }
        }
    }
    return;
}

struct unitInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void unit(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Nce& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2& out [[buffer(5)]]
, device type_2& out_rows [[buffer(6)]]
, threadgroup type_3& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float largest = 0.0;
    uint c = 0u;
    float squares = 0.0;
    uint c_1 = {};
    uint c_2 = {};
    uint _e3 = group_index(group, groups);
    uint _e6 = p.rows;
    if (_e3 >= _e6) {
        return;
    }
    bool loop_init_5 = true;
    while(true) {
        if (!loop_init_5) {
            uint _e31 = c;
            c = _e31 + 1u;
        }
        loop_init_5 = false;
        uint _e12 = c;
        uint _e15 = p.dim;
        if (_e12 < _e15) {
        } else {
            break;
        }
        {
            uint _e20 = p.dim;
            uint _e22 = c;
            float _e25 = mine[(_e3 * _e20) + _e22];
            float v_1 = metal::abs(_e25);
            float _e27 = largest;
            float _e28 = largest;
            largest = (v_1 > _e28) ? v_1 : _e27;
        }
    }
    float _e34 = largest;
    float _e35 = largest;
    float scale = (_e35 > 0.0) ? _e34 : 1.0;
    c_1 = lane;
    bool loop_init_6 = true;
    while(true) {
        if (!loop_init_6) {
            uint _e61 = c_1;
            c_1 = _e61 + 64u;
        }
        loop_init_6 = false;
        uint _e43 = c_1;
        uint _e46 = p.dim;
        if (_e43 < _e46) {
        } else {
            break;
        }
        {
            uint _e51 = p.dim;
            uint _e53 = c_1;
            float _e56 = mine[(_e3 * _e51) + _e53];
            float part_1 = _e56 / scale;
            float _e58 = squares;
            squares = _e58 + (part_1 * part_1);
        }
    }
    float _e64 = squares;
    float _e65 = sum_of(_e64, lane, lanes);
    float length = scale * metal::sqrt(_e65);
    float divisor = (length < SHORTEST) ? SHORTEST : length;
    c_2 = lane;
    bool loop_init_7 = true;
    while(true) {
        if (!loop_init_7) {
            uint _e96 = c_2;
            c_2 = _e96 + 64u;
        }
        loop_init_7 = false;
        uint _e73 = c_2;
        uint _e76 = p.dim;
        if (_e73 < _e76) {
        } else {
            break;
        }
        {
            uint _e81 = p.dim;
            uint _e83 = c_2;
            uint _e89 = p.dim;
            uint _e91 = c_2;
            float _e94 = mine[(_e3 * _e89) + _e91];
            out[(_e3 * _e81) + _e83] = _e94 / divisor;
        }
    }
    if (lane == 0u) {
        out_rows[_e3] = length;
        return;
    } else {
        return;
    }
}


struct pull_backInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void pull_back(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Nce& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& other [[buffer(2)]]
, device type_2 const& seen [[buffer(3)]]
, device type_2& out [[buffer(5)]]
, threadgroup type_3& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float product = 0.0;
    uint c_3 = {};
    uint c_4 = {};
    uint _e3 = group_index(group_1, groups_1);
    uint _e6 = p.rows;
    if (_e3 >= _e6) {
        return;
    }
    c_3 = lane_1;
    bool loop_init_8 = true;
    while(true) {
        if (!loop_init_8) {
            uint _e37 = c_3;
            c_3 = _e37 + 64u;
        }
        loop_init_8 = false;
        uint _e11 = c_3;
        uint _e14 = p.dim;
        if (_e11 < _e14) {
        } else {
            break;
        }
        {
            float _e16 = product;
            uint _e20 = p.dim;
            uint _e22 = c_3;
            float _e25 = mine[(_e3 * _e20) + _e22];
            uint _e29 = p.dim;
            uint _e31 = c_3;
            float _e34 = other[(_e3 * _e29) + _e31];
            product = _e16 + (_e25 * _e34);
        }
    }
    float _e40 = product;
    float _e41 = sum_of(_e40, lane_1, lanes);
    float length_1 = seen[_e3];
    c_4 = lane_1;
    bool loop_init_9 = true;
    while(true) {
        if (!loop_init_9) {
            uint _e72 = c_4;
            c_4 = _e72 + 64u;
        }
        loop_init_9 = false;
        uint _e46 = c_4;
        uint _e49 = p.dim;
        if (_e46 < _e49) {
        } else {
            break;
        }
        {
            uint _e53 = p.dim;
            uint _e55 = c_4;
            uint i_9 = (_e3 * _e53) + _e55;
            float _e61 = other[i_9];
            float _e64 = mine[i_9];
            out[i_9] = (length_1 < SHORTEST) ? 0.0 : ((_e61 - (_e64 * _e41)) / length_1);
        }
    }
    return;
}


struct scoresInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void scores(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 local [[thread_position_in_threadgroup]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Nce& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& other [[buffer(2)]]
, device type_2& out [[buffer(5)]]
, threadgroup type_5& a
, threadgroup type_5& b
, threadgroup type_5& tops
, threadgroup type_5& exponentials
, threadgroup type_3& own
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    metal::float4 top = metal::float4(-340000000000000000000000000000000000000.0);
    metal::float4 sum = metal::float4(0.0);
    uint tile = {};
    metal::float4x4 s = {};
    uint r = {};
    float higher = {};
    uint c_5 = {};
    float total = {};
    uint c_6 = {};
    bool local_1 = {};
    uint r_1 = 0u;
    bool local_2 = {};
    float largest_1 = LOWEST;
    uint i = 0u;
    float total_1 = 0.0;
    uint i_1 = 0u;
    uint first = group_2.x * TILE;
    uint _e8 = p.rows;
    uint n_tiles = ((_e8 + TILE) - 1u) / TILE;
    if (lane_2 < TILE) {
        own.inner[lane_2] = 0.0;
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    uint _e29 = p.range;
    tile = group_2.y * _e29;
    bool loop_init_10 = true;
    while(true) {
        if (!loop_init_10) {
            uint _e159 = tile;
            tile = _e159 + 1u;
        }
        loop_init_10 = false;
        uint _e32 = tile;
        uint _e38 = p.range;
        if (_e32 < metal::min((group_2.y + 1u) * _e38, n_tiles)) {
        } else {
            break;
        }
        {
            uint _e42 = tile;
            metal::float4x4 _e45 = similarities(first, _e42 * TILE, local, lane_2, p, mine, other, a, b, _buffer_sizes);
            s = _e45;
            r = 0u;
            bool loop_init_11 = true;
            while(true) {
                if (!loop_init_11) {
                    uint _e156 = r;
                    r = _e156 + 1u;
                }
                loop_init_11 = false;
                uint _e49 = r;
                if (_e49 < 4u) {
                } else {
                    break;
                }
                {
                    uint _e56 = r;
                    uint row_2 = (first + (local.y * 4u)) + _e56;
                    uint _e58 = r;
                    float _e60 = top[_e58];
                    higher = _e60;
                    c_5 = 0u;
                    bool loop_init_12 = true;
                    while(true) {
                        if (!loop_init_12) {
                            uint _e100 = c_5;
                            c_5 = _e100 + 1u;
                        }
                        loop_init_12 = false;
                        uint _e64 = c_5;
                        if (_e64 < 4u) {
                        } else {
                            break;
                        }
                        {
                            uint _e67 = tile;
                            uint _e74 = c_5;
                            uint column = ((_e67 * TILE) + (local.x * 4u)) + _e74;
                            if (column == row_2) {
                                uint _e81 = r;
                                uint _e84 = r;
                                uint _e86 = c_5;
                                float _e88 = s[_e84][_e86];
                                own.inner[(local.y * 4u) + _e81] = _e88;
                            } else {
                                uint _e91 = p.rows;
                                if (column < _e91) {
                                    float _e93 = higher;
                                    uint _e94 = r;
                                    uint _e96 = c_5;
                                    float _e98 = s[_e94][_e96];
                                    higher = metal::max(_e93, _e98);
                                }
                            }
                        }
                    }
                    uint _e103 = r;
                    float _e105 = sum[_e103];
                    uint _e106 = r;
                    float _e108 = top[_e106];
                    float _e109 = higher;
                    total = _e105 * metal::exp(_e108 - _e109);
                    c_6 = 0u;
                    bool loop_init_13 = true;
                    while(true) {
                        if (!loop_init_13) {
                            uint _e147 = c_6;
                            c_6 = _e147 + 1u;
                        }
                        loop_init_13 = false;
                        uint _e116 = c_6;
                        if (_e116 < 4u) {
                        } else {
                            break;
                        }
                        {
                            uint _e119 = tile;
                            uint _e126 = c_6;
                            uint column_1 = ((_e119 * TILE) + (local.x * 4u)) + _e126;
                            if (column_1 != row_2) {
                                uint _e133 = p.rows;
                                local_1 = column_1 < _e133;
                            } else {
                                local_1 = false;
                            }
                            bool _e136 = local_1;
                            if (_e136) {
                                float _e137 = total;
                                uint _e138 = r;
                                uint _e140 = c_6;
                                float _e142 = s[_e138][_e140];
                                float _e143 = higher;
                                total = _e137 + metal::exp(_e142 - _e143);
                            }
                        }
                    }
                    uint _e150 = r;
                    float _e152 = higher;
                    top[_e150] = _e152;
                    uint _e153 = r;
                    float _e155 = total;
                    sum[_e153] = _e155;
                }
            }
        }
    }
    bool loop_init_14 = true;
    while(true) {
        if (!loop_init_14) {
            uint _e195 = r_1;
            r_1 = _e195 + 1u;
        }
        loop_init_14 = false;
        uint _e164 = r_1;
        if (_e164 < 4u) {
        } else {
            break;
        }
        {
            uint _e171 = r_1;
            uint _e178 = r_1;
            float _e180 = top[_e178];
            tops.inner[(((local.y * 4u) + _e171) * 16u) + local.x] = _e180;
            uint _e185 = r_1;
            uint _e192 = r_1;
            float _e194 = sum[_e192];
            exponentials.inner[(((local.y * 4u) + _e185) * 16u) + local.x] = _e194;
        }
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    uint row_3 = first + lane_2;
    if (lane_2 < TILE) {
        uint _e205 = p.rows;
        local_2 = row_3 < _e205;
    } else {
        local_2 = false;
    }
    bool _e208 = local_2;
    if (_e208) {
        bool loop_init_15 = true;
        while(true) {
            if (!loop_init_15) {
                uint _e225 = i;
                i = _e225 + 1u;
            }
            loop_init_15 = false;
            uint _e213 = i;
            if (_e213 < 16u) {
            } else {
                break;
            }
            {
                float _e216 = largest_1;
                uint _e220 = i;
                float _e223 = tops.inner[(lane_2 * 16u) + _e220];
                largest_1 = metal::max(_e216, _e223);
            }
        }
        bool loop_init_16 = true;
        while(true) {
            if (!loop_init_16) {
                uint _e255 = i_1;
                i_1 = _e255 + 1u;
            }
            loop_init_16 = false;
            uint _e232 = i_1;
            if (_e232 < 16u) {
            } else {
                break;
            }
            {
                float _e235 = total_1;
                uint _e239 = i_1;
                float _e242 = exponentials.inner[(lane_2 * 16u) + _e239];
                uint _e246 = i_1;
                float _e249 = tops.inner[(lane_2 * 16u) + _e246];
                float _e250 = largest_1;
                total_1 = _e235 + (_e242 * metal::exp(_e249 - _e250));
            }
        }
        uint _e261 = p.rows;
        uint at = ((group_2.y * _e261) + row_3) * 3u;
        float _e268 = largest_1;
        out[at] = _e268;
        float _e273 = total_1;
        out[at + 1u] = _e273;
        float _e280 = own.inner[lane_2];
        out[at + 2u] = _e280;
        return;
    } else {
        return;
    }
}


struct mergeInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void merge(
  metal::uint3 id [[thread_position_in_grid]]
, constant Nce& p [[buffer(0)]]
, device type_2 const& seen [[buffer(3)]]
, device type_2& out [[buffer(5)]]
, device type_2& out_rows [[buffer(6)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float nearest = LOWEST;
    uint i_2 = 0u;
    float others = 0.0;
    uint i_3 = 0u;
    float loss = {};
    uint row_4 = id.x;
    uint _e4 = p.rows;
    if (row_4 >= _e4) {
        return;
    }
    uint tile_2 = row_4 / TILE;
    uint _e11 = p.range;
    uint _e15 = p.rows;
    float s_3 = seen[((((tile_2 / _e11) * _e15) + row_4) * 3u) + 2u];
    bool loop_init_17 = true;
    while(true) {
        if (!loop_init_17) {
            uint _e46 = i_2;
            i_2 = _e46 + 1u;
        }
        loop_init_17 = false;
        uint _e28 = i_2;
        uint _e31 = p.ranges;
        if (_e28 < _e31) {
        } else {
            break;
        }
        {
            float _e33 = nearest;
            uint _e35 = i_2;
            uint _e38 = p.rows;
            float _e44 = seen[((_e35 * _e38) + row_4) * 3u];
            nearest = metal::max(_e33, _e44);
        }
    }
    float _e49 = nearest;
    float top_1 = metal::max(s_3, _e49);
    bool loop_init_18 = true;
    while(true) {
        if (!loop_init_18) {
            uint _e81 = i_3;
            i_3 = _e81 + 1u;
        }
        loop_init_18 = false;
        uint _e55 = i_3;
        uint _e58 = p.ranges;
        if (_e55 < _e58) {
        } else {
            break;
        }
        {
            uint _e60 = i_3;
            uint _e63 = p.rows;
            uint at_1 = ((_e60 * _e63) + row_4) * 3u;
            float _e68 = others;
            float _e73 = seen[at_1 + 1u];
            float _e76 = seen[at_1];
            others = _e68 + (_e73 * metal::exp(_e76 - top_1));
        }
    }
    float above = top_1 - s_3;
    float _e85 = others;
    float sum_3 = _e85 + metal::exp(-(above));
    out[row_4 * 3u] = top_1;
    float _e99 = others;
    out[(row_4 * 3u) + 1u] = _e99;
    float _e108 = p.inverse_temperature;
    uint _e111 = p.rows;
    out[(row_4 * 3u) + 2u] = _e108 / (sum_3 * static_cast<float>(_e111));
    loss = above + metal::log(sum_3);
    if (above == 0.0) {
        float _e120 = others;
        float _e121 = log_1p(_e120);
        loss = _e121;
    }
    float _e126 = loss;
    out_rows[row_4 * 2u] = _e126;
    float _e133 = nearest;
    out_rows[(row_4 * 2u) + 1u] = (s_3 > _e133) ? 1.0 : 0.0;
    return;
}


struct gradientInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void gradient(
  metal::uint3 group_3 [[threadgroup_position_in_grid]]
, metal::uint3 local_3 [[thread_position_in_threadgroup]]
, uint lane_3 [[thread_index_in_threadgroup]]
, constant Nce& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& other [[buffer(2)]]
, device type_2 const& softmax [[buffer(4)]]
, device type_2& out [[buffer(5)]]
, threadgroup type_5& a
, threadgroup type_5& b
, threadgroup type_9& weights
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    metal::float4 sum0_ = metal::float4(0.0);
    metal::float4 sum1_ = metal::float4(0.0);
    metal::float4 sum2_ = metal::float4(0.0);
    metal::float4 sum3_ = metal::float4(0.0);
    uint tile_1 = {};
    metal::float4x4 s_1 = {};
    uint r_2 = {};
    uint c_7 = {};
    float weight = {};
    bool local_4 = {};
    uint depth = {};
    uint i_4 = {};
    float value = {};
    bool local_5 = {};
    uint i_5 = {};
    uint first_1 = group_3.x * TILE;
    uint first_channel = group_3.z * TILE;
    uint _e11 = p.rows;
    uint n_tiles_1 = ((_e11 + TILE) - 1u) / TILE;
    uint _e33 = p.range;
    tile_1 = group_3.y * _e33;
    bool loop_init_19 = true;
    while(true) {
        if (!loop_init_19) {
            uint _e284 = tile_1;
            tile_1 = _e284 + 1u;
        }
        loop_init_19 = false;
        uint _e36 = tile_1;
        uint _e42 = p.range;
        if (_e36 < metal::min((group_3.y + 1u) * _e42, n_tiles_1)) {
        } else {
            break;
        }
        {
            uint _e46 = tile_1;
            metal::float4x4 _e49 = similarities(first_1, _e46 * TILE, local_3, lane_3, p, mine, other, a, b, _buffer_sizes);
            s_1 = _e49;
            r_2 = 0u;
            bool loop_init_20 = true;
            while(true) {
                if (!loop_init_20) {
                    uint _e152 = r_2;
                    r_2 = _e152 + 1u;
                }
                loop_init_20 = false;
                uint _e53 = r_2;
                if (_e53 < 4u) {
                } else {
                    break;
                }
                {
                    uint _e60 = r_2;
                    uint row_5 = (first_1 + (local_3.y * 4u)) + _e60;
                    c_7 = 0u;
                    bool loop_init_21 = true;
                    while(true) {
                        if (!loop_init_21) {
                            uint _e149 = c_7;
                            c_7 = _e149 + 1u;
                        }
                        loop_init_21 = false;
                        uint _e64 = c_7;
                        if (_e64 < 4u) {
                        } else {
                            break;
                        }
                        {
                            uint _e67 = tile_1;
                            uint _e74 = c_7;
                            uint column_2 = ((_e67 * TILE) + (local_3.x * 4u)) + _e74;
                            uint _e78 = p.by_key;
                            uint query = (_e78 != 0u) ? column_2 : row_5;
                            weight = 0.0;
                            uint _e86 = p.rows;
                            if (row_5 < _e86) {
                                uint _e92 = p.rows;
                                local_4 = column_2 < _e92;
                            } else {
                                local_4 = false;
                            }
                            bool _e95 = local_4;
                            if (_e95) {
                                if (row_5 == column_2) {
                                    float _e103 = softmax[(query * 3u) + 1u];
                                    float _e111 = softmax[(query * 3u) + 2u];
                                    weight = -(_e103) * _e111;
                                } else {
                                    uint _e113 = r_2;
                                    uint _e115 = c_7;
                                    float _e117 = s_1[_e113][_e115];
                                    float _e122 = softmax[query * 3u];
                                    float _e131 = softmax[(query * 3u) + 2u];
                                    weight = metal::exp(_e117 - _e122) * _e131;
                                }
                            }
                            uint _e137 = r_2;
                            uint _e145 = c_7;
                            float _e148 = weight;
                            weights.inner[((((local_3.y * 4u) + _e137) * TILE) + (local_3.x * 4u)) + _e145] = _e148;
                        }
                    }
                }
            }
            depth = 0u;
            bool loop_init_22 = true;
            while(true) {
                if (!loop_init_22) {
                    uint _e281 = depth;
                    depth = _e281 + DEPTH;
                }
                loop_init_22 = false;
                uint _e157 = depth;
                if (_e157 < TILE) {
                } else {
                    break;
                }
                {
                    i_4 = 0u;
                    bool loop_init_23 = true;
                    while(true) {
                        if (!loop_init_23) {
                            uint _e205 = i_4;
                            i_4 = _e205 + 1u;
                        }
                        loop_init_23 = false;
                        uint _e162 = i_4;
                        if (_e162 < 4u) {
                        } else {
                            break;
                        }
                        {
                            uint _e166 = i_4;
                            uint at_2 = lane_3 + (256u * _e166);
                            uint _e169 = tile_1;
                            uint _e172 = depth;
                            uint row_6 = ((_e169 * TILE) + _e172) + (at_2 / TILE);
                            uint channel_2 = first_channel + (at_2 % TILE);
                            value = 0.0;
                            uint _e184 = p.rows;
                            if (row_6 < _e184) {
                                uint _e190 = p.dim;
                                local_5 = channel_2 < _e190;
                            } else {
                                local_5 = false;
                            }
                            bool _e193 = local_5;
                            if (_e193) {
                                uint _e197 = p.dim;
                                float _e201 = other[(row_6 * _e197) + channel_2];
                                value = _e201;
                            }
                            float _e204 = value;
                            b.inner[at_2] = _e204;
                        }
                    }
                    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
                    i_5 = 0u;
                    bool loop_init_24 = true;
                    while(true) {
                        if (!loop_init_24) {
                            uint _e278 = i_5;
                            i_5 = _e278 + 1u;
                        }
                        loop_init_24 = false;
                        uint _e210 = i_5;
                        if (_e210 < DEPTH) {
                        } else {
                            break;
                        }
                        {
                            uint _e213 = i_5;
                            uint c_9 = (_e213 * TILE) + (local_3.x * 4u);
                            float _e222 = b.inner[c_9];
                            float _e227 = b.inner[c_9 + 1u];
                            float _e232 = b.inner[c_9 + 2u];
                            float _e237 = b.inner[c_9 + 3u];
                            metal::float4 v_2 = metal::float4(_e222, _e227, _e232, _e237);
                            uint _e244 = depth;
                            uint _e246 = i_5;
                            uint w = (((local_3.y * 4u) * TILE) + _e244) + _e246;
                            metal::float4 _e248 = sum0_;
                            float _e251 = weights.inner[w];
                            sum0_ = _e248 + (_e251 * v_2);
                            metal::float4 _e254 = sum1_;
                            float _e259 = weights.inner[w + TILE];
                            sum1_ = _e254 + (_e259 * v_2);
                            metal::float4 _e262 = sum2_;
                            float _e267 = weights.inner[w + 128u];
                            sum2_ = _e262 + (_e267 * v_2);
                            metal::float4 _e270 = sum3_;
                            float _e275 = weights.inner[w + 192u];
                            sum3_ = _e270 + (_e275 * v_2);
                        }
                    }
                    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
                }
            }
        }
    }
    uint _e289 = p.first;
    uint _e294 = p.rows;
    uint part_2 = (_e289 + group_3.y) * _e294;
    uint row_7 = first_1 + (local_3.y * 4u);
    uint channel_3 = first_channel + (local_3.x * 4u);
    metal::float4 _e304 = sum0_;
    store(part_2, row_7, channel_3, _e304, p, out, _buffer_sizes);
    metal::float4 _e307 = sum1_;
    store(part_2, row_7 + 1u, channel_3, _e307, p, out, _buffer_sizes);
    metal::float4 _e310 = sum2_;
    store(part_2, row_7 + 2u, channel_3, _e310, p, out, _buffer_sizes);
    metal::float4 _e313 = sum3_;
    store(part_2, row_7 + 3u, channel_3, _e313, p, out, _buffer_sizes);
    return;
}


[[max_total_threads_per_threadgroup(1)]] kernel void finish(
  constant Nce& p [[buffer(0)]]
, device type_2 const& mine [[buffer(1)]]
, device type_2 const& other [[buffer(2)]]
, device type_2& out [[buffer(5)]]
, device type_2& out_rows [[buffer(6)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float loss_1 = {};
    float _e2 = mine[0];
    loss_1 = _e2;
    uint _e6 = p.by_key;
    if (_e6 != 0u) {
        float _e9 = loss_1;
        float _e12 = other[0];
        loss_1 = _e9 + _e12;
    }
    float _e18 = p.factor;
    float _e19 = loss_1;
    uint _e23 = p.rows;
    out[0] = (_e18 * _e19) / static_cast<float>(_e23);
    float _e30 = mine[1];
    out_rows[0] = _e30;
    return;
}
