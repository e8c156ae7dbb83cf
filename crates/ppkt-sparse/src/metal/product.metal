// Made of product.wgsl by naga; not to be edited.
// entry product: threads 16 16 1; shared 4096 4096; buffers 1r 2r 3r 4r 5r 6w
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

struct Product {
    uint rows;
    uint inner;
    uint outer;
    uint volume;
    uint dense;
    uint mirrored;
    uint weight_first;
    uint weight_k;
    uint weight_inner;
    uint weight_outer;
    uint start;
};
typedef int type_2[1];
typedef uint type_3[1];
typedef float type_5[1];
struct type_6 {
    float inner[1024];
};
constant uint TILE = 64u;
constant uint DEPTH = 16u;

void store(
    uint row,
    uint column_1,
    metal::float4 sum,
    constant Product& p,
    device type_5 const& bias,
    device type_5& out,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint i_2 = 0u;
    float value_2 = {};
    uint _e5 = p.rows;
    if (row >= _e5) {
        return;
    }
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e53 = i_2;
            i_2 = _e53 + 1u;
        }
        loop_init = false;
        uint _e9 = i_2;
        if (_e9 < 4u) {
        } else {
            break;
        }
        {
            uint _e12 = i_2;
            uint _e16 = p.outer;
            if ((column_1 + _e12) < _e16) {
                uint _e20 = p.outer;
                uint _e23 = i_2;
                uint at = ((row * _e20) + column_1) + _e23;
                uint _e25 = i_2;
                value_2 = sum[_e25];
                uint _e30 = p.start;
                if (_e30 == 1u) {
                    float _e33 = value_2;
                    uint _e35 = i_2;
                    float _e38 = bias[column_1 + _e35];
                    value_2 = _e33 + _e38;
                }
                uint _e42 = p.start;
                if (_e42 == 2u) {
                    float _e45 = value_2;
                    float _e48 = out[at];
                    value_2 = _e45 + _e48;
                }
                float _e52 = value_2;
                out[at] = _e52;
            }
        }
    }
    return;
}

struct productInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void product(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 local [[thread_position_in_threadgroup]]
, uint lane [[thread_index_in_threadgroup]]
, constant Product& p [[buffer(0)]]
, device type_2 const& neighbours [[buffer(1)]]
, device type_3 const& occupied [[buffer(2)]]
, device type_5 const& source [[buffer(3)]]
, device type_5 const& weight [[buffer(4)]]
, device type_5 const& bias [[buffer(5)]]
, device type_5& out [[buffer(6)]]
, threadgroup type_6& gathered
, threadgroup type_6& matrix_
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    metal::float4 sum0_ = metal::float4(0.0);
    metal::float4 sum1_ = metal::float4(0.0);
    metal::float4 sum2_ = metal::float4(0.0);
    metal::float4 sum3_ = metal::float4(0.0);
    uint k = 0u;
    int origin = {};
    uint matrix_k = {};
    uint depth = {};
    uint i = {};
    float value = {};
    bool local_1 = {};
    uint i_1 = {};
    uint inner = {};
    uint column = {};
    float value_1 = {};
    bool local_2 = {};
    uint inner_1 = {};
    uint first_row = group.x * TILE;
    uint first_column = group.y * TILE;
    uint load_row = first_row + (lane / 4u);
    uint load_inner = (lane % 4u) * 4u;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e294 = k;
            k = _e294 + 1u;
        }
        loop_init_1 = false;
        uint _e30 = k;
        uint _e33 = p.volume;
        if (_e30 < _e33) {
        } else {
            break;
        }
        {
            uint _e37 = p.dense;
            if (_e37 == 0u) {
                uint _e44 = p.volume;
                uint _e46 = k;
                uint _e49 = occupied[(group.x * _e44) + _e46];
                if (_e49 == 0u) {
                    continue;
                }
            }
            origin = -1;
            uint _e56 = p.rows;
            if (load_row < _e56) {
                origin = static_cast<int>(load_row);
                uint _e61 = p.dense;
                if (_e61 == 0u) {
                    uint _e65 = k;
                    uint _e68 = p.rows;
                    int _e72 = neighbours[(_e65 * _e68) + load_row];
                    origin = _e72;
                }
            }
            uint _e73 = k;
            matrix_k = _e73;
            uint _e77 = p.mirrored;
            if (_e77 != 0u) {
                uint _e82 = p.volume;
                uint _e85 = k;
                matrix_k = (_e82 - 1u) - _e85;
            }
            uint _e89 = p.weight_first;
            uint _e90 = matrix_k;
            uint _e93 = p.weight_k;
            uint first_weight = _e89 + (_e90 * _e93);
            depth = 0u;
            bool loop_init_2 = true;
            while(true) {
                if (!loop_init_2) {
                    uint _e291 = depth;
                    depth = _e291 + DEPTH;
                }
                loop_init_2 = false;
                uint _e98 = depth;
                uint _e101 = p.inner;
                if (_e98 < _e101) {
                } else {
                    break;
                }
                {
                    i = 0u;
                    bool loop_init_3 = true;
                    while(true) {
                        if (!loop_init_3) {
                            uint _e145 = i;
                            i = _e145 + 1u;
                        }
                        loop_init_3 = false;
                        uint _e105 = i;
                        if (_e105 < 4u) {
                        } else {
                            break;
                        }
                        {
                            uint _e108 = depth;
                            uint _e110 = i;
                            uint inner_2 = (_e108 + load_inner) + _e110;
                            value = 0.0;
                            int _e114 = origin;
                            if (_e114 >= 0) {
                                uint _e121 = p.inner;
                                local_1 = inner_2 < _e121;
                            } else {
                                local_1 = false;
                            }
                            bool _e124 = local_1;
                            if (_e124) {
                                int _e126 = origin;
                                uint _e130 = p.inner;
                                float _e134 = source[(static_cast<uint>(_e126) * _e130) + inner_2];
                                value = _e134;
                            }
                            uint _e136 = i;
                            float _e144 = value;
                            gathered.inner[((load_inner + _e136) * TILE) + (lane / 4u)] = _e144;
                        }
                    }
                    i_1 = 0u;
                    bool loop_init_4 = true;
                    while(true) {
                        if (!loop_init_4) {
                            uint _e217 = i_1;
                            i_1 = _e217 + 1u;
                        }
                        loop_init_4 = false;
                        uint _e150 = i_1;
                        if (_e150 < 4u) {
                        } else {
                            break;
                        }
                        {
                            uint _e154 = i_1;
                            uint at_1 = lane + (256u * _e154);
                            inner = at_1 / TILE;
                            column = at_1 % TILE;
                            uint _e165 = p.weight_outer;
                            if (_e165 != 1u) {
                                inner = at_1 % DEPTH;
                                column = at_1 / DEPTH;
                            }
                            value_1 = 0.0;
                            uint _e174 = depth;
                            uint _e175 = inner;
                            uint _e179 = p.inner;
                            if ((_e174 + _e175) < _e179) {
                                uint _e183 = column;
                                uint _e187 = p.outer;
                                local_2 = (first_column + _e183) < _e187;
                            } else {
                                local_2 = false;
                            }
                            bool _e190 = local_2;
                            if (_e190) {
                                uint _e192 = depth;
                                uint _e193 = inner;
                                uint _e197 = p.weight_inner;
                                uint _e200 = column;
                                uint _e204 = p.weight_outer;
                                float _e208 = weight[(first_weight + ((_e192 + _e193) * _e197)) + ((first_column + _e200) * _e204)];
                                value_1 = _e208;
                            }
                            uint _e210 = inner;
                            uint _e213 = column;
                            float _e216 = value_1;
                            matrix_.inner[(_e210 * TILE) + _e213] = _e216;
                        }
                    }
                    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
                    inner_1 = 0u;
                    bool loop_init_5 = true;
                    while(true) {
                        if (!loop_init_5) {
                            uint _e288 = inner_1;
                            inner_1 = _e288 + 1u;
                        }
                        loop_init_5 = false;
                        uint _e222 = inner_1;
                        if (_e222 < DEPTH) {
                        } else {
                            break;
                        }
                        {
                            uint _e225 = inner_1;
                            uint r = (_e225 * TILE) + (local.y * 4u);
                            uint _e232 = inner_1;
                            uint c = (_e232 * TILE) + (local.x * 4u);
                            float _e241 = matrix_.inner[c];
                            float _e246 = matrix_.inner[c + 1u];
                            float _e251 = matrix_.inner[c + 2u];
                            float _e256 = matrix_.inner[c + 3u];
                            metal::float4 w = metal::float4(_e241, _e246, _e251, _e256);
                            metal::float4 _e258 = sum0_;
                            float _e261 = gathered.inner[r];
                            sum0_ = _e258 + (_e261 * w);
                            metal::float4 _e264 = sum1_;
                            float _e269 = gathered.inner[r + 1u];
                            sum1_ = _e264 + (_e269 * w);
                            metal::float4 _e272 = sum2_;
                            float _e277 = gathered.inner[r + 2u];
                            sum2_ = _e272 + (_e277 * w);
                            metal::float4 _e280 = sum3_;
                            float _e285 = gathered.inner[r + 3u];
                            sum3_ = _e280 + (_e285 * w);
                        }
                    }
                    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
                }
            }
        }
    }
    metal::float4 _e305 = sum0_;
    store(first_row + (local.y * 4u), first_column + (local.x * 4u), _e305, p, bias, out, _buffer_sizes);
    metal::float4 _e316 = sum1_;
    store((first_row + (local.y * 4u)) + 1u, first_column + (local.x * 4u), _e316, p, bias, out, _buffer_sizes);
    metal::float4 _e327 = sum2_;
    store((first_row + (local.y * 4u)) + 2u, first_column + (local.x * 4u), _e327, p, bias, out, _buffer_sizes);
    metal::float4 _e338 = sum3_;
    store((first_row + (local.y * 4u)) + 3u, first_column + (local.x * 4u), _e338, p, bias, out, _buffer_sizes);
    return;
}
