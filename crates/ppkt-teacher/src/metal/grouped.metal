// Made of grouped.wgsl by naga; not to be edited.
// entry grouped_conv: threads 256 1 1; shared; buffers 1r 2r 3r 4w
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

struct Sizes {
    uint n;
    uint height;
    uint width;
    uint inner;
    uint out_height;
    uint out_width;
    uint outer;
    uint groups;
    uint side;
    uint stride;
    uint padding;
    uint dilation;
};
typedef float type_2[1];

struct grouped_convInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void grouped_conv(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Sizes& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& weight [[buffer(2)]]
, device type_2 const& bias [[buffer(3)]]
, device type_2& out [[buffer(4)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = {};
    uint tap = 0u;
    bool local = {};
    bool local_1 = {};
    bool local_2 = {};
    uint c = {};
    uint i = (((group.y * groups.x) + group.x) * 256u) + lane;
    uint _e13 = p.outer;
    uint pixel = i / _e13;
    uint _e17 = p.outer;
    uint o = i % _e17;
    uint _e21 = p.out_width;
    uint column = pixel % _e21;
    uint _e25 = p.out_width;
    uint _e29 = p.out_height;
    uint line = (pixel / _e25) % _e29;
    uint _e33 = p.out_width;
    uint _e37 = p.out_height;
    uint image = (pixel / _e33) / _e37;
    uint _e41 = p.n;
    if (image >= _e41) {
        return;
    }
    uint _e45 = p.inner;
    uint _e48 = p.groups;
    uint per_group = _e45 / _e48;
    uint _e52 = p.outer;
    uint _e55 = p.groups;
    uint first = (o / (_e52 / _e55)) * per_group;
    float _e61 = bias[o];
    sum = _e61;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e195 = tap;
            tap = _e195 + 1u;
        }
        loop_init = false;
        uint _e65 = tap;
        uint _e68 = p.side;
        uint _e71 = p.side;
        if (_e65 < (_e68 * _e71)) {
        } else {
            break;
        }
        {
            uint _e76 = p.stride;
            uint _e78 = tap;
            uint _e81 = p.side;
            uint _e85 = p.dilation;
            uint y = (line * _e76) + ((_e78 / _e81) * _e85);
            uint _e90 = p.stride;
            uint _e92 = tap;
            uint _e95 = p.side;
            uint _e99 = p.dilation;
            uint at = (column * _e90) + ((_e92 % _e95) * _e99);
            uint _e104 = p.padding;
            if (!((y < _e104))) {
                uint _e111 = p.height;
                uint _e114 = p.padding;
                local = y >= (_e111 + _e114);
            } else {
                local = true;
            }
            bool _e118 = local;
            if (!(_e118)) {
                uint _e124 = p.padding;
                local_1 = at < _e124;
            } else {
                local_1 = true;
            }
            bool _e127 = local_1;
            if (!(_e127)) {
                uint _e133 = p.width;
                uint _e136 = p.padding;
                local_2 = at >= (_e133 + _e136);
            } else {
                local_2 = true;
            }
            bool _e140 = local_2;
            if (_e140) {
                continue;
            }
            uint _e143 = p.height;
            uint _e148 = p.padding;
            uint _e152 = p.width;
            uint _e157 = p.padding;
            uint _e161 = p.inner;
            uint first_read = (((((((image * _e143) + y) - _e148) * _e152) + at) - _e157) * _e161) + first;
            uint _e164 = tap;
            uint _e168 = p.outer;
            uint first_weight = ((_e164 * per_group) * _e168) + o;
            c = 0u;
            bool loop_init_1 = true;
            while(true) {
                if (!loop_init_1) {
                    uint _e192 = c;
                    c = _e192 + 1u;
                }
                loop_init_1 = false;
                uint _e173 = c;
                if (_e173 < per_group) {
                } else {
                    break;
                }
                {
                    float _e175 = sum;
                    uint _e177 = c;
                    float _e180 = x[first_read + _e177];
                    uint _e182 = c;
                    uint _e185 = p.outer;
                    float _e189 = weight[first_weight + (_e182 * _e185)];
                    sum = _e175 + (_e180 * _e189);
                }
            }
        }
    }
    float _e200 = sum;
    out[i] = _e200;
    return;
}
