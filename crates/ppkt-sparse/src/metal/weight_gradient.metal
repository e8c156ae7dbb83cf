// Made of weight_gradient.wgsl by naga; not to be edited.
// entry weight_gradient: threads 16 16 1; shared 4096 4096 256 256 256 16; buffers 1r 2r 3r 4r 5w
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

struct Gradient {
    uint rows;
    uint cin;
    uint first;
    uint cin_all;
    uint cout;
    uint volume;
    uint dense;
    uint range;
};
typedef int type_2[1];
typedef uint type_3[1];
typedef float type_5[1];
struct type_6 {
    float inner[1024];
};
struct type_7 {
    int inner[64];
};
struct type_8 {
    uint inner[64];
};
constant uint TILE = 64u;
constant uint DEPTH = 16u;

void store(
    uint matrix_,
    uint input_1,
    uint output_1,
    metal::float4 sum,
    constant Gradient& p,
    device type_5& parts,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint i_1 = 0u;
    uint _e6 = p.cin;
    if (input_1 >= _e6) {
        return;
    }
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e35 = i_1;
            i_1 = _e35 + 1u;
        }
        loop_init = false;
        uint _e10 = i_1;
        if (_e10 < 4u) {
        } else {
            break;
        }
        {
            uint _e13 = i_1;
            uint _e17 = p.cout;
            if ((output_1 + _e13) < _e17) {
                uint _e22 = p.first;
                uint _e27 = p.cout;
                uint _e30 = i_1;
                uint _e33 = i_1;
                parts[((((matrix_ + _e22) + input_1) * _e27) + output_1) + _e30] = sum[_e33];
            }
        }
    }
    return;
}

struct weight_gradientInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void weight_gradient(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 local [[thread_position_in_threadgroup]]
, uint lane [[thread_index_in_threadgroup]]
, constant Gradient& p [[buffer(0)]]
, device type_2 const& neighbours [[buffer(1)]]
, device type_3 const& occupied [[buffer(2)]]
, device type_5 const& source [[buffer(3)]]
, device type_5 const& grad [[buffer(4)]]
, device type_5& parts [[buffer(5)]]
, threadgroup type_6& inputs
, threadgroup type_6& outputs
, threadgroup type_7& met
, threadgroup type_8& pair_source
, threadgroup type_8& pair_target
, threadgroup uint& n_pairs
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    metal::float4 sum0_ = metal::float4(0.0);
    metal::float4 sum1_ = metal::float4(0.0);
    metal::float4 sum2_ = metal::float4(0.0);
    metal::float4 sum3_ = metal::float4(0.0);
    uint tile = {};
    int origin = {};
    uint rank = {};
    uint other = {};
    uint first = {};
    uint i = {};
    float input = {};
    float output = {};
    uint pair = {};
    uint _e5 = p.cout;
    uint tiles_out = ((_e5 + TILE) - 1u) / TILE;
    uint first_in = (group.x / tiles_out) * TILE;
    uint first_out = (group.x % tiles_out) * TILE;
    uint k = group.y;
    uint _e23 = p.rows;
    uint n_tiles = ((_e23 + TILE) - 1u) / TILE;
    uint _e45 = p.range;
    tile = group.z * _e45;
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e287 = tile;
            tile = _e287 + 1u;
        }
        loop_init_1 = false;
        uint _e48 = tile;
        uint _e54 = p.range;
        if (_e48 < metal::min((group.z + 1u) * _e54, n_tiles)) {
        } else {
            break;
        }
        {
            uint _e60 = p.dense;
            if (_e60 == 0u) {
                uint _e64 = tile;
                uint _e67 = p.volume;
                uint _e71 = occupied[(_e64 * _e67) + k];
                if (_e71 == 0u) {
                    continue;
                }
            }
            uint _e74 = tile;
            uint row = (_e74 * TILE) + lane;
            if (lane < TILE) {
                origin = -1;
                uint _e84 = p.rows;
                if (row < _e84) {
                    origin = static_cast<int>(row);
                    uint _e89 = p.dense;
                    if (_e89 == 0u) {
                        uint _e95 = p.rows;
                        int _e99 = neighbours[(k * _e95) + row];
                        origin = _e99;
                    }
                }
                int _e102 = origin;
                met.inner[lane] = _e102;
            }
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            if (lane < TILE) {
                rank = 0u;
                other = 0u;
                bool loop_init_2 = true;
                while(true) {
                    if (!loop_init_2) {
                        uint _e122 = other;
                        other = _e122 + 1u;
                    }
                    loop_init_2 = false;
                    uint _e109 = other;
                    if (_e109 < lane) {
                    } else {
                        break;
                    }
                    {
                        uint _e111 = rank;
                        uint _e115 = other;
                        int _e117 = met.inner[_e115];
                        rank = _e111 + ((_e117 >= 0) ? 1u : 0u);
                    }
                }
                int origin_1 = met.inner[lane];
                if (origin_1 >= 0) {
                    uint _e131 = rank;
                    pair_source.inner[_e131] = static_cast<uint>(origin_1);
                    uint _e135 = rank;
                    pair_target.inner[_e135] = row;
                    uint _e137 = rank;
                    rank = _e137 + 1u;
                }
                if (lane == 63u) {
                    uint _e143 = rank;
                    n_pairs = _e143;
                }
            }
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            uint unnamed = n_pairs;
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            first = 0u;
            bool loop_init_3 = true;
            while(true) {
                if (!loop_init_3) {
                    uint _e284 = first;
                    first = _e284 + DEPTH;
                }
                loop_init_3 = false;
                uint _e148 = first;
                if (_e148 < unnamed) {
                } else {
                    break;
                }
                {
                    i = 0u;
                    bool loop_init_4 = true;
                    while(true) {
                        if (!loop_init_4) {
                            uint _e210 = i;
                            i = _e210 + 1u;
                        }
                        loop_init_4 = false;
                        uint _e152 = i;
                        if (_e152 < 4u) {
                        } else {
                            break;
                        }
                        {
                            uint _e156 = i;
                            uint at = lane + (256u * _e156);
                            uint _e159 = first;
                            uint pair_1 = _e159 + (at / TILE);
                            uint channel = at % TILE;
                            input = 0.0;
                            output = 0.0;
                            if (pair_1 < unnamed) {
                                uint _e173 = p.cin;
                                if ((first_in + channel) < _e173) {
                                    uint _e178 = pair_source.inner[pair_1];
                                    uint _e181 = p.cin;
                                    float _e186 = source[((_e178 * _e181) + first_in) + channel];
                                    input = _e186;
                                }
                                uint _e190 = p.cout;
                                if ((first_out + channel) < _e190) {
                                    uint _e195 = pair_target.inner[pair_1];
                                    uint _e198 = p.cout;
                                    float _e203 = grad[((_e195 * _e198) + first_out) + channel];
                                    output = _e203;
                                }
                            }
                            float _e206 = input;
                            inputs.inner[at] = _e206;
                            float _e209 = output;
                            outputs.inner[at] = _e209;
                        }
                    }
                    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
                    pair = 0u;
                    bool loop_init_5 = true;
                    while(true) {
                        if (!loop_init_5) {
                            uint _e281 = pair;
                            pair = _e281 + 1u;
                        }
                        loop_init_5 = false;
                        uint _e215 = pair;
                        if (_e215 < DEPTH) {
                        } else {
                            break;
                        }
                        {
                            uint _e218 = pair;
                            uint i_2 = (_e218 * TILE) + (local.y * 4u);
                            uint _e225 = pair;
                            uint o = (_e225 * TILE) + (local.x * 4u);
                            float _e234 = outputs.inner[o];
                            float _e239 = outputs.inner[o + 1u];
                            float _e244 = outputs.inner[o + 2u];
                            float _e249 = outputs.inner[o + 3u];
                            metal::float4 g = metal::float4(_e234, _e239, _e244, _e249);
                            metal::float4 _e251 = sum0_;
                            float _e254 = inputs.inner[i_2];
                            sum0_ = _e251 + (_e254 * g);
                            metal::float4 _e257 = sum1_;
                            float _e262 = inputs.inner[i_2 + 1u];
                            sum1_ = _e257 + (_e262 * g);
                            metal::float4 _e265 = sum2_;
                            float _e270 = inputs.inner[i_2 + 2u];
                            sum2_ = _e265 + (_e270 * g);
                            metal::float4 _e273 = sum3_;
                            float _e278 = inputs.inner[i_2 + 3u];
                            sum3_ = _e273 + (_e278 * g);
                        }
                    }
                    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
                }
            }
        }
    }
    uint _e293 = p.volume;
    uint _e298 = p.cin_all;
    uint matrix_1 = ((group.z * _e293) + k) * _e298;
    metal::float4 _e308 = sum0_;
    store(matrix_1, first_in + (local.y * 4u), first_out + (local.x * 4u), _e308, p, parts, _buffer_sizes);
    metal::float4 _e319 = sum1_;
    store(matrix_1, (first_in + (local.y * 4u)) + 1u, first_out + (local.x * 4u), _e319, p, parts, _buffer_sizes);
    metal::float4 _e330 = sum2_;
    store(matrix_1, (first_in + (local.y * 4u)) + 2u, first_out + (local.x * 4u), _e330, p, parts, _buffer_sizes);
    metal::float4 _e341 = sum3_;
    store(matrix_1, (first_in + (local.y * 4u)) + 3u, first_out + (local.x * 4u), _e341, p, parts, _buffer_sizes);
    return;
}
