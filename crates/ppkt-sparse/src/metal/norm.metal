// Made of norm.wgsl by naga; not to be edited.
// entry moments: threads 32 8 1; shared 1024 1024; buffers 1r 7w
// entry merge: threads 32 8 1; shared 1024 1024 1024; buffers 1r 7w
// entry statistics: threads 64 1 1; shared; buffers 1r 4r 7w
// entry running: threads 64 1 1; shared; buffers 1r 4r 7w
// entry move_running: threads 64 1 1; shared; buffers 1r 7w
// entry count: threads 1 1 1; shared; buffers 8w
// entry normalise: threads 256 1 1; shared; buffers 1r 2r 3r 4r 7w
// entry grad_sums: threads 32 8 1; shared 1024 1024; buffers 1r 2r 3r 4r 5r 7w
// entry affine_grad: threads 64 1 1; shared; buffers 2r 6r 7w
// entry input_grad: threads 256 1 1; shared; buffers 1r 2r 3r 4r 5r 6r 7w
// entry residual_grad: threads 256 1 1; shared; buffers 1r 2r 3r 4r 5r 7w
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
    uint size11;
};

struct Norm {
    uint rows;
    uint channels;
    uint parts;
    uint part_rows;
    float eps;
    float momentum;
    uint relu;
    uint residual;
    uint batch;
};
typedef float type_2[1];
struct type_3 {
    float inner[256];
};
struct Part {
    float n;
    float mean;
    float squares;
};
typedef uint type_6[1];
constant uint BLOCK = 256u;
constant uint LANES = 8u;

float relu(
    float v
) {
    return (v < 0.0) ? 0.0 : v;
}

Part merged(
    Part a,
    Part b
) {
    if (b.n == 0.0) {
        return a;
    }
    if (a.n == 0.0) {
        return b;
    }
    float n = a.n + b.n;
    float d = b.mean - a.mean;
    return Part {n, a.mean + (d * (b.n / n)), (a.squares + b.squares) + ((d * d) * ((a.n * b.n) / n))};
}

uint index(
    metal::uint3 group_6,
    metal::uint3 groups_3,
    uint lane_7
) {
    return (((group_6.y * groups_3.x) + group_6.x) * 256u) + lane_7;
}

float norm_at(
    uint i_1,
    constant Norm& p,
    device type_2 const& x,
    device type_2 const& stats,
    device type_2 const& affine,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint _e3 = p.channels;
    uint c = i_1 % _e3;
    float _e7 = x[i_1];
    float _e10 = stats[c];
    float _e14 = affine[c];
    uint _e18 = p.channels;
    float _e21 = stats[_e18 + c];
    uint _e27 = p.channels;
    float _e30 = affine[_e27 + c];
    return ((_e7 - _e10) * (_e14 * _e21)) + _e30;
}

float grad_at(
    uint i_2,
    constant Norm& p,
    device type_2 const& x,
    device type_2 const& stats,
    device type_2 const& affine,
    device type_2 const& other,
    device type_2 const& result,
    constant _mslBufferSizes& _buffer_sizes
) {
    float g = other[i_2];
    uint _e6 = p.relu;
    if (_e6 == 1u) {
        float _e11 = result[i_2];
        return (_e11 > 0.0) ? g : 0.0;
    }
    uint _e18 = p.relu;
    if (_e18 == 2u) {
        float _e21 = norm_at(i_2, p, x, stats, affine, _buffer_sizes);
        return (_e21 > 0.0) ? g : 0.0;
    }
    return g;
}

struct momentsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void moments(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 local [[thread_position_in_threadgroup]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(7)]]
, threadgroup type_3& lane_a
, threadgroup type_3& lane_b
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum = 0.0;
    float start = 0.0;
    uint row = {};
    float total = 0.0;
    uint lane = 0u;
    float squares = 0.0;
    uint row_1 = {};
    bool local_1 = {};
    float all = 0.0;
    uint lane_1 = 0u;
    uint channel = (group.x * 32u) + local.x;
    uint slot = (local.y * 32u) + local.x;
    uint _e19 = p.rows;
    uint end = metal::min((group.y + 1u) * BLOCK, _e19);
    uint _e27 = p.channels;
    if (channel < _e27) {
        float _e31 = x[channel];
        start = _e31;
        row = (group.y * BLOCK) + local.y;
        bool loop_init = true;
        while(true) {
            if (!loop_init) {
                uint _e53 = row;
                row = _e53 + LANES;
            }
            loop_init = false;
            uint _e38 = row;
            if (_e38 < end) {
            } else {
                break;
            }
            {
                float _e40 = sum;
                uint _e42 = row;
                uint _e45 = p.channels;
                float _e49 = x[(_e42 * _e45) + channel];
                float _e50 = start;
                sum = _e40 + (_e49 - _e50);
            }
        }
    }
    float _e58 = sum;
    lane_a.inner[slot] = _e58;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e76 = lane;
            lane = _e76 + 1u;
        }
        loop_init_1 = false;
        uint _e63 = lane;
        if (_e63 < LANES) {
        } else {
            break;
        }
        {
            float _e66 = total;
            uint _e68 = lane;
            float _e74 = lane_a.inner[(_e68 * 32u) + local.x];
            total = _e66 + _e74;
        }
    }
    float _e79 = total;
    float mean = _e79 / static_cast<float>(end - (group.y * BLOCK));
    uint _e90 = p.channels;
    if (channel < _e90) {
        row_1 = (group.y * BLOCK) + local.y;
        bool loop_init_2 = true;
        while(true) {
            if (!loop_init_2) {
                uint _e115 = row_1;
                row_1 = _e115 + LANES;
            }
            loop_init_2 = false;
            uint _e98 = row_1;
            if (_e98 < end) {
            } else {
                break;
            }
            {
                uint _e101 = row_1;
                uint _e104 = p.channels;
                float _e108 = x[(_e101 * _e104) + channel];
                float _e109 = start;
                float d_1 = (_e108 - _e109) - mean;
                float _e112 = squares;
                squares = _e112 + (d_1 * d_1);
            }
        }
    }
    float _e120 = squares;
    lane_b.inner[slot] = _e120;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (local.y == 0u) {
        uint _e128 = p.channels;
        local_1 = channel < _e128;
    } else {
        local_1 = false;
    }
    bool _e131 = local_1;
    if (_e131) {
        bool loop_init_3 = true;
        while(true) {
            if (!loop_init_3) {
                uint _e149 = lane_1;
                lane_1 = _e149 + 1u;
            }
            loop_init_3 = false;
            uint _e136 = lane_1;
            if (_e136 < LANES) {
            } else {
                break;
            }
            {
                float _e139 = all;
                uint _e141 = lane_1;
                float _e147 = lane_b.inner[(_e141 * 32u) + local.x];
                all = _e139 + _e147;
            }
        }
        uint _e158 = p.channels;
        out[((group.y * 2u) * _e158) + channel] = mean;
        uint _e170 = p.channels;
        float _e174 = all;
        out[(((group.y * 2u) + 1u) * _e170) + channel] = _e174;
        return;
    } else {
        return;
    }
}


struct mergeInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void merge(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 local_2 [[thread_position_in_threadgroup]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(7)]]
, threadgroup type_3& lane_a
, threadgroup type_3& lane_b
, threadgroup type_3& lane_n
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    Part part = Part {0.0, 0.0, 0.0};
    uint i = {};
    bool local_3 = {};
    Part all_1 = Part {0.0, 0.0, 0.0};
    uint lane_2 = 0u;
    uint channel_1 = (group_1.x * 32u) + local_2.x;
    uint slot_1 = (local_2.y * 32u) + local_2.x;
    uint _e19 = p.channels;
    if (channel_1 < _e19) {
        uint _e28 = p.parts;
        uint end_1 = metal::min((group_1.y + 1u) * BLOCK, _e28);
        i = (group_1.y * BLOCK) + local_2.y;
        bool loop_init_4 = true;
        while(true) {
            if (!loop_init_4) {
                uint _e73 = i;
                i = _e73 + LANES;
            }
            loop_init_4 = false;
            uint _e36 = i;
            if (_e36 < end_1) {
            } else {
                break;
            }
            {
                uint _e40 = p.part_rows;
                uint _e43 = p.rows;
                uint _e44 = i;
                uint _e47 = p.part_rows;
                uint n_1 = metal::min(_e40, _e43 - (_e44 * _e47));
                uint _e51 = i;
                uint _e56 = p.channels;
                uint at = ((_e51 * 2u) * _e56) + channel_1;
                Part _e59 = part;
                float _e63 = x[at];
                uint _e67 = p.channels;
                float _e70 = x[at + _e67];
                Part _e72 = merged(_e59, Part {static_cast<float>(n_1), _e63, _e70});
                part = _e72;
            }
        }
    }
    float _e79 = part.n;
    lane_n.inner[slot_1] = _e79;
    float _e83 = part.mean;
    lane_a.inner[slot_1] = _e83;
    float _e87 = part.squares;
    lane_b.inner[slot_1] = _e87;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (local_2.y == 0u) {
        uint _e95 = p.channels;
        local_3 = channel_1 < _e95;
    } else {
        local_3 = false;
    }
    bool _e98 = local_3;
    if (_e98) {
        bool loop_init_5 = true;
        while(true) {
            if (!loop_init_5) {
                uint _e126 = lane_2;
                lane_2 = _e126 + 1u;
            }
            loop_init_5 = false;
            uint _e106 = lane_2;
            if (_e106 < LANES) {
            } else {
                break;
            }
            {
                uint _e109 = lane_2;
                uint s = (_e109 * 32u) + local_2.x;
                Part _e114 = all_1;
                float _e117 = lane_n.inner[s];
                float _e120 = lane_a.inner[s];
                float _e123 = lane_b.inner[s];
                Part _e125 = merged(_e114, Part {_e117, _e120, _e123});
                all_1 = _e125;
            }
        }
        uint _e135 = p.channels;
        float _e140 = all_1.mean;
        out[((group_1.y * 2u) * _e135) + channel_1] = _e140;
        uint _e149 = p.channels;
        float _e154 = all_1.squares;
        out[(((group_1.y * 2u) + 1u) * _e149) + channel_1] = _e154;
        return;
    } else {
        return;
    }
}


struct statisticsInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void statistics(
  metal::uint3 id [[thread_position_in_grid]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& other [[buffer(4)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint c_1 = id.x;
    uint _e4 = p.channels;
    if (c_1 >= _e4) {
        return;
    }
    uint _e9 = p.channels;
    float squares_1 = x[_e9 + c_1];
    uint _e15 = p.rows;
    float variance = squares_1 / static_cast<float>(_e15);
    float _e22 = other[c_1];
    float _e25 = x[c_1];
    out[c_1] = _e22 + _e25;
    uint _e30 = p.channels;
    float _e35 = p.eps;
    out[_e30 + c_1] = 1.0 / metal::sqrt(variance + _e35);
    uint _e44 = p.channels;
    uint _e50 = p.rows;
    out[(2u * _e44) + c_1] = squares_1 / static_cast<float>(_e50 - 1u);
    return;
}


struct runningInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void running(
  metal::uint3 id_1 [[thread_position_in_grid]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& other [[buffer(4)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint c_2 = id_1.x;
    uint _e4 = p.channels;
    if (c_2 >= _e4) {
        return;
    }
    float variance_1 = other[c_2];
    float _e13 = x[c_2];
    out[c_2] = _e13;
    uint _e17 = p.channels;
    float _e22 = p.eps;
    out[_e17 + c_2] = 1.0 / metal::sqrt(variance_1 + _e22);
    uint _e31 = p.channels;
    out[(2u * _e31) + c_2] = variance_1;
    return;
}


struct move_runningInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void move_running(
  metal::uint3 id_2 [[thread_position_in_grid]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e4 = p.channels;
    if (id_2.x < _e4) {
        float _e11 = p.momentum;
        float _e17 = out[id_2.x];
        float _e21 = p.momentum;
        float _e25 = x[id_2.x];
        out[id_2.x] = ((1.0 - _e11) * _e17) + (_e21 * _e25);
        return;
    } else {
        return;
    }
}


[[max_total_threads_per_threadgroup(1)]] kernel void count(
  constant Norm& p [[buffer(0)]]
, device type_6& counter [[buffer(8)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e2 = counter[0];
    counter[0] = _e2 + 1u;
    uint _e7 = counter[0];
    if (_e7 == 0u) {
        uint _e13 = p.channels;
        uint _e15 = counter[_e13];
        counter[_e13] = _e15 + 1u;
        return;
    } else {
        return;
    }
}


struct normaliseInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void normalise(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane_3 [[thread_index_in_threadgroup]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& stats [[buffer(2)]]
, device type_2 const& affine [[buffer(3)]]
, device type_2 const& other [[buffer(4)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float y = {};
    uint _e3 = index(group_2, groups, lane_3);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    float _e12 = norm_at(_e3, p, x, stats, affine, _buffer_sizes);
    y = _e12;
    uint _e16 = p.residual;
    if (_e16 != 0u) {
        float _e19 = y;
        float _e22 = other[_e3];
        y = _e19 + _e22;
    }
    uint _e26 = p.relu;
    if (_e26 != 0u) {
        float _e29 = y;
        float _e30 = relu(_e29);
        y = _e30;
    }
    float _e33 = y;
    out[_e3] = _e33;
    return;
}


struct grad_sumsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void grad_sums(
  metal::uint3 group_3 [[threadgroup_position_in_grid]]
, metal::uint3 local_4 [[thread_position_in_threadgroup]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& stats [[buffer(2)]]
, device type_2 const& affine [[buffer(3)]]
, device type_2 const& other [[buffer(4)]]
, device type_2 const& result [[buffer(5)]]
, device type_2& out [[buffer(7)]]
, threadgroup type_3& lane_a
, threadgroup type_3& lane_b
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float sum_1 = 0.0;
    float along = 0.0;
    uint row_2 = {};
    bool local_5 = {};
    uint lane_4 = 0u;
    uint channel_2 = (group_3.x * 32u) + local_4.x;
    uint slot_2 = (local_4.y * 32u) + local_4.x;
    uint _e18 = p.channels;
    if (channel_2 < _e18) {
        uint _e27 = p.rows;
        uint end_2 = metal::min((group_3.y + 1u) * BLOCK, _e27);
        float mean_1 = stats[channel_2];
        row_2 = (group_3.y * BLOCK) + local_4.y;
        bool loop_init_6 = true;
        while(true) {
            if (!loop_init_6) {
                uint _e56 = row_2;
                row_2 = _e56 + LANES;
            }
            loop_init_6 = false;
            uint _e38 = row_2;
            if (_e38 < end_2) {
            } else {
                break;
            }
            {
                uint _e40 = row_2;
                uint _e43 = p.channels;
                uint i_3 = (_e40 * _e43) + channel_2;
                float _e46 = grad_at(i_3, p, x, stats, affine, other, result, _buffer_sizes);
                float _e47 = sum_1;
                sum_1 = _e47 + _e46;
                float _e49 = along;
                float _e52 = x[i_3];
                along = _e49 + (_e46 * (_e52 - mean_1));
            }
        }
    }
    float _e61 = sum_1;
    lane_a.inner[slot_2] = _e61;
    float _e64 = along;
    lane_b.inner[slot_2] = _e64;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (local_4.y == 0u) {
        uint _e72 = p.channels;
        local_5 = channel_2 < _e72;
    } else {
        local_5 = false;
    }
    bool _e75 = local_5;
    if (_e75) {
        sum_1 = 0.0;
        along = 0.0;
        bool loop_init_7 = true;
        while(true) {
            if (!loop_init_7) {
                uint _e103 = lane_4;
                lane_4 = _e103 + 1u;
            }
            loop_init_7 = false;
            uint _e80 = lane_4;
            if (_e80 < LANES) {
            } else {
                break;
            }
            {
                float _e83 = sum_1;
                uint _e85 = lane_4;
                float _e91 = lane_a.inner[(_e85 * 32u) + local_4.x];
                sum_1 = _e83 + _e91;
                float _e93 = along;
                uint _e95 = lane_4;
                float _e101 = lane_b.inner[(_e95 * 32u) + local_4.x];
                along = _e93 + _e101;
            }
        }
        uint _e112 = p.channels;
        float _e116 = sum_1;
        out[((group_3.y * 2u) * _e112) + channel_2] = _e116;
        uint _e125 = p.channels;
        float _e129 = along;
        out[(((group_3.y * 2u) + 1u) * _e125) + channel_2] = _e129;
        return;
    } else {
        return;
    }
}


struct affine_gradInput {
};
[[max_total_threads_per_threadgroup(64)]] kernel void affine_grad(
  metal::uint3 id_3 [[thread_position_in_grid]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& stats [[buffer(2)]]
, device type_2 const& sums [[buffer(6)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint c_3 = id_3.x;
    uint _e4 = p.channels;
    if (c_3 >= _e4) {
        return;
    }
    uint _e11 = p.channels;
    float _e14 = sums[_e11 + c_3];
    uint _e18 = p.channels;
    float _e21 = stats[_e18 + c_3];
    out[c_3] = _e14 * _e21;
    uint _e26 = p.channels;
    float _e31 = sums[c_3];
    out[_e26 + c_3] = _e31;
    return;
}


struct input_gradInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void input_grad(
  metal::uint3 group_4 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_5 [[thread_index_in_threadgroup]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& stats [[buffer(2)]]
, device type_2 const& affine [[buffer(3)]]
, device type_2 const& other [[buffer(4)]]
, device type_2 const& result [[buffer(5)]]
, device type_2 const& sums [[buffer(6)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float dx = {};
    uint _e3 = index(group_4, groups_1, lane_5);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.channels;
    uint c_4 = _e3 % _e14;
    uint _e19 = p.channels;
    float inverse = stats[_e19 + c_4];
    float _e25 = affine[c_4];
    float scale = _e25 * inverse;
    float _e27 = grad_at(_e3, p, x, stats, affine, other, result, _buffer_sizes);
    dx = scale * _e27;
    uint _e32 = p.batch;
    if (_e32 != 0u) {
        uint _e37 = p.rows;
        float n_2 = static_cast<float>(_e37);
        uint _e44 = p.channels;
        float _e47 = sums[_e44 + c_4];
        float by_distance = ((-(scale) * inverse) * (_e47 * inverse)) / n_2;
        float _e51 = dx;
        float _e54 = x[_e3];
        float _e57 = stats[c_4];
        float _e62 = sums[c_4];
        dx = _e51 + ((by_distance * (_e54 - _e57)) - ((scale * _e62) / n_2));
    }
    float _e69 = dx;
    out[_e3] = _e69;
    return;
}


struct residual_gradInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void residual_grad(
  metal::uint3 group_5 [[threadgroup_position_in_grid]]
, metal::uint3 groups_2 [[threadgroups_per_grid]]
, uint lane_6 [[thread_index_in_threadgroup]]
, constant Norm& p [[buffer(0)]]
, device type_2 const& x [[buffer(1)]]
, device type_2 const& stats [[buffer(2)]]
, device type_2 const& affine [[buffer(3)]]
, device type_2 const& other [[buffer(4)]]
, device type_2 const& result [[buffer(5)]]
, device type_2& out [[buffer(7)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = index(group_5, groups_2, lane_6);
    uint _e6 = p.rows;
    uint _e9 = p.channels;
    if (_e3 < (_e6 * _e9)) {
        float _e14 = grad_at(_e3, p, x, stats, affine, other, result, _buffer_sizes);
        out[_e3] = _e14;
        return;
    } else {
        return;
    }
}
