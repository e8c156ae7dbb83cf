// Made of lovasz.wgsl by naga; not to be edited.
// entry probabilities: threads 256 1 1; shared; buffers 1r 2r 10w
// entry error_keys: threads 256 1 1; shared; buffers 3r 4r 5r 13w 14w
// entry digit_counts: threads 256 1 1; shared 1024; buffers 7r 12w
// entry digit_places: threads 256 1 1; shared 1024; buffers 9r 12w
// entry digit_scatter: threads 256 1 1; shared 1024 1024; buffers 7r 8r 9r 13w 14w
// entry own_counts: threads 256 1 1; shared 16; buffers 3r 4r 8r 12w
// entry steps: threads 256 1 1; shared 1024 1024; buffers 3r 4r 5r 8r 9r 10w 11w
// entry add_gradient: threads 256 1 1; shared; buffers 2r 4r 5r 6r 10w
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
    uint size9;
    uint size10;
    uint size11;
    uint size12;
    uint size13;
    uint size14;
};

struct Lovasz {
    uint rows;
    uint classes;
    uint slots;
    uint chunks;
    uint shift;
    float share;
    float factor;
};
typedef float type_2[1];
typedef uint type_3[1];
struct type_6 {
    metal::atomic_uint inner[256];
};
struct type_7 {
    uint inner[256];
};
struct type_9 {
    float inner[256];
};
constant uint THREADS = 256u;
constant uint CHUNK = 2048u;
constant uint NONE = 4294967295u;

uint index(
    metal::uint3 group_8,
    metal::uint3 groups_3,
    uint lane_8
) {
    return (((group_8.y * groups_3.x) + group_8.x) * THREADS) + lane_8;
}

float error_of(
    uint class_of_slot,
    uint row,
    constant Lovasz& p,
    device type_3 const& own,
    device type_2 const& probability,
    constant _mslBufferSizes& _buffer_sizes
) {
    uint _e5 = p.rows;
    float q = probability[(class_of_slot * _e5) + row];
    uint _e14 = own[row];
    return metal::clamp((_e14 == class_of_slot) ? (1.0 - q) : q, 0.0, 1.0);
}

struct probabilitiesInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void probabilities(
  metal::uint3 group [[threadgroup_position_in_grid]]
, metal::uint3 groups [[threadgroups_per_grid]]
, uint lane [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_2 const& scores [[buffer(1)]]
, device type_3 const& which [[buffer(2)]]
, device type_2& out [[buffer(10)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float highest = {};
    uint c = 1u;
    float sum = 0.0;
    uint c_1 = 0u;
    uint c_2 = 0u;
    uint _e3 = index(group, groups, lane);
    uint _e6 = p.rows;
    if (_e3 >= _e6) {
        return;
    }
    uint _e10 = which[_e3];
    uint _e13 = p.classes;
    uint first = _e10 * _e13;
    float _e17 = scores[first];
    highest = _e17;
    bool loop_init = true;
    while(true) {
        if (!loop_init) {
            uint _e35 = c;
            c = _e35 + 1u;
        }
        loop_init = false;
        uint _e21 = c;
        uint _e24 = p.classes;
        if (_e21 < _e24) {
        } else {
            break;
        }
        {
            uint _e27 = c;
            float s_1 = scores[first + _e27];
            float _e31 = highest;
            float _e32 = highest;
            highest = (s_1 > _e32) ? s_1 : _e31;
        }
    }
    bool loop_init_1 = true;
    while(true) {
        if (!loop_init_1) {
            uint _e57 = c_1;
            c_1 = _e57 + 1u;
        }
        loop_init_1 = false;
        uint _e42 = c_1;
        uint _e45 = p.classes;
        if (_e42 < _e45) {
        } else {
            break;
        }
        {
            float _e47 = sum;
            uint _e49 = c_1;
            float _e52 = scores[first + _e49];
            float _e53 = highest;
            sum = _e47 + metal::exp(_e52 - _e53);
        }
    }
    bool loop_init_2 = true;
    while(true) {
        if (!loop_init_2) {
            uint _e85 = c_2;
            c_2 = _e85 + 1u;
        }
        loop_init_2 = false;
        uint _e62 = c_2;
        uint _e65 = p.classes;
        if (_e62 < _e65) {
        } else {
            break;
        }
        {
            uint _e68 = c_2;
            uint _e71 = p.rows;
            uint _e76 = c_2;
            float _e79 = scores[first + _e76];
            float _e80 = highest;
            float _e83 = sum;
            out[(_e68 * _e71) + _e3] = metal::exp(_e79 - _e80) / _e83;
        }
    }
    return;
}


struct error_keysInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void error_keys(
  metal::uint3 group_1 [[threadgroup_position_in_grid]]
, metal::uint3 groups_1 [[threadgroups_per_grid]]
, uint lane_1 [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_3 const& own [[buffer(3)]]
, device type_3 const& slots [[buffer(4)]]
, device type_2 const& probability [[buffer(5)]]
, device type_3& out_keys [[buffer(13)]]
, device type_3& out_order [[buffer(14)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint _e3 = index(group_1, groups_1, lane_1);
    uint _e6 = p.slots;
    uint _e9 = p.rows;
    if (_e3 >= (_e6 * _e9)) {
        return;
    }
    uint _e14 = p.rows;
    uint row_1 = _e3 % _e14;
    uint _e21 = p.rows;
    uint _e24 = slots[_e3 / _e21];
    float _e25 = error_of(_e24, row_1, p, own, probability, _buffer_sizes);
    out_keys[_e3] = ~(as_type<uint>(_e25));
    out_order[_e3] = row_1;
    return;
}


struct digit_countsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void digit_counts(
  metal::uint3 group_2 [[threadgroup_position_in_grid]]
, uint lane_2 [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_3 const& keys [[buffer(7)]]
, device type_3& out_counts [[buffer(12)]]
, threadgroup type_6& bins
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint i = {};
    metal::atomic_store_explicit(&bins.inner[lane_2], 0u, metal::memory_order_relaxed);
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    uint _e12 = p.rows;
    uint end = metal::min((group_2.x + 1u) * CHUNK, _e12);
    i = (group_2.x * CHUNK) + lane_2;
    bool loop_init_3 = true;
    while(true) {
        if (!loop_init_3) {
            uint _e41 = i;
            i = _e41 + THREADS;
        }
        loop_init_3 = false;
        uint _e19 = i;
        if (_e19 < end) {
        } else {
            break;
        }
        {
            uint _e26 = p.rows;
            uint _e28 = i;
            uint _e31 = keys[(group_2.y * _e26) + _e28];
            uint _e34 = p.shift;
            uint _e40 = metal::atomic_fetch_add_explicit(&bins.inner[(_e31 >> _e34) & 255u], 1u, metal::memory_order_relaxed);
        }
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    uint _e51 = p.chunks;
    uint _e58 = metal::atomic_load_explicit(&bins.inner[lane_2], metal::memory_order_relaxed);
    out_counts[(((group_2.y * 256u) + lane_2) * _e51) + group_2.x] = _e58;
    return;
}


struct digit_placesInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void digit_places(
  metal::uint3 group_3 [[threadgroup_position_in_grid]]
, uint lane_3 [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_3 const& counts [[buffer(9)]]
, device type_3& out_counts [[buffer(12)]]
, threadgroup type_7& next
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint sum_1 = 0u;
    uint i_1 = 0u;
    uint place = 0u;
    uint i_2 = 0u;
    uint i_3 = 0u;
    uint _e8 = p.chunks;
    uint first_1 = ((group_3.x * 256u) + lane_3) * _e8;
    bool loop_init_4 = true;
    while(true) {
        if (!loop_init_4) {
            uint _e26 = i_1;
            i_1 = _e26 + 1u;
        }
        loop_init_4 = false;
        uint _e14 = i_1;
        uint _e17 = p.chunks;
        if (_e14 < _e17) {
        } else {
            break;
        }
        {
            uint _e19 = sum_1;
            uint _e21 = i_1;
            uint _e24 = counts[first_1 + _e21];
            sum_1 = _e19 + _e24;
        }
    }
    uint _e31 = sum_1;
    next.inner[lane_3] = _e31;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    bool loop_init_5 = true;
    while(true) {
        if (!loop_init_5) {
            uint _e44 = i_2;
            i_2 = _e44 + 1u;
        }
        loop_init_5 = false;
        uint _e36 = i_2;
        if (_e36 < lane_3) {
        } else {
            break;
        }
        {
            uint _e38 = place;
            uint _e40 = i_2;
            uint _e42 = next.inner[_e40];
            place = _e38 + _e42;
        }
    }
    bool loop_init_6 = true;
    while(true) {
        if (!loop_init_6) {
            uint _e66 = i_3;
            i_3 = _e66 + 1u;
        }
        loop_init_6 = false;
        uint _e49 = i_3;
        uint _e52 = p.chunks;
        if (_e49 < _e52) {
        } else {
            break;
        }
        {
            uint _e55 = i_3;
            uint _e58 = place;
            out_counts[first_1 + _e55] = _e58;
            uint _e59 = place;
            uint _e61 = i_3;
            uint _e64 = counts[first_1 + _e61];
            place = _e59 + _e64;
        }
    }
    return;
}


struct digit_scatterInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void digit_scatter(
  metal::uint3 group_4 [[threadgroup_position_in_grid]]
, uint lane_4 [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_3 const& keys [[buffer(7)]]
, device type_3 const& order [[buffer(8)]]
, device type_3 const& counts [[buffer(9)]]
, device type_3& out_keys [[buffer(13)]]
, device type_3& out_order [[buffer(14)]]
, threadgroup type_7& next
, threadgroup type_7& digits
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint start = {};
    uint key = {};
    uint before = {};
    uint passed = {};
    uint j = {};
    bool local = {};
    uint _e5 = p.rows;
    uint offset = group_4.y * _e5;
    uint _e16 = p.chunks;
    uint _e21 = counts[(((group_4.y * 256u) + lane_4) * _e16) + group_4.x];
    next.inner[lane_4] = _e21;
    uint _e29 = p.rows;
    uint end_1 = metal::min((group_4.x + 1u) * CHUNK, _e29);
    start = group_4.x * CHUNK;
    bool loop_init_7 = true;
    while(true) {
        if (!loop_init_7) {
            uint _e117 = start;
            start = _e117 + THREADS;
        }
        loop_init_7 = false;
        uint _e35 = start;
        if (_e35 < end_1) {
        } else {
            break;
        }
        {
            uint _e37 = start;
            uint i_9 = _e37 + lane_4;
            key = 0u;
            if (i_9 < end_1) {
                uint _e45 = keys[offset + i_9];
                key = _e45;
            }
            uint _e46 = key;
            uint _e49 = p.shift;
            uint digit = (_e46 >> _e49) & 255u;
            digits.inner[lane_4] = digit;
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            before = 0u;
            passed = 0u;
            j = 0u;
            bool loop_init_8 = true;
            while(true) {
                if (!loop_init_8) {
                    uint _e93 = j;
                    j = _e93 + 1u;
                }
                loop_init_8 = false;
                uint _e61 = j;
                uint _e62 = start;
                if (_e61 < metal::min(end_1 - _e62, THREADS)) {
                } else {
                    break;
                }
                {
                    uint _e67 = before;
                    uint _e71 = j;
                    uint _e73 = digits.inner[_e71];
                    if (_e73 == digit) {
                        uint _e77 = j;
                        local = _e77 < lane_4;
                    } else {
                        local = false;
                    }
                    bool _e80 = local;
                    before = _e67 + (_e80 ? 1u : 0u);
                    uint _e83 = passed;
                    uint _e87 = j;
                    uint _e89 = digits.inner[_e87];
                    passed = _e83 + ((_e89 == lane_4) ? 1u : 0u);
                }
            }
            if (i_9 < end_1) {
                uint _e99 = next.inner[digit];
                uint _e101 = before;
                uint to = (offset + _e99) + _e101;
                uint _e105 = key;
                out_keys[to] = _e105;
                uint _e111 = order[offset + i_9];
                out_order[to] = _e111;
            }
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            uint _e114 = next.inner[lane_4];
            uint _e115 = passed;
            next.inner[lane_4] = _e114 + _e115;
        }
    }
    return;
}


struct own_countsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void own_counts(
  metal::uint3 group_5 [[threadgroup_position_in_grid]]
, uint lane_5 [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_3 const& own [[buffer(3)]]
, device type_3 const& slots [[buffer(4)]]
, device type_3 const& order [[buffer(8)]]
, device type_3& out_counts [[buffer(12)]]
, threadgroup metal::atomic_uint& n_own
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint mine = 0u;
    uint i_4 = {};
    if (lane_5 == 0u) {
        metal::atomic_store_explicit(&n_own, 0u, metal::memory_order_relaxed);
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    uint _e13 = p.rows;
    uint end_2 = metal::min((group_5.x + 1u) * CHUNK, _e13);
    i_4 = (group_5.x * CHUNK) + lane_5;
    bool loop_init_9 = true;
    while(true) {
        if (!loop_init_9) {
            uint _e47 = i_4;
            i_4 = _e47 + THREADS;
        }
        loop_init_9 = false;
        uint _e22 = i_4;
        if (_e22 < end_2) {
        } else {
            break;
        }
        {
            uint _e24 = mine;
            uint _e32 = p.rows;
            uint _e34 = i_4;
            uint _e37 = order[(group_5.y * _e32) + _e34];
            uint _e39 = own[_e37];
            uint _e43 = slots[group_5.y];
            mine = _e24 + ((_e39 == _e43) ? 1u : 0u);
        }
    }
    uint _e51 = mine;
    uint _e52 = metal::atomic_fetch_add_explicit(&n_own, _e51, metal::memory_order_relaxed);
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    if (lane_5 == 0u) {
        uint _e59 = p.chunks;
        uint _e65 = metal::atomic_load_explicit(&n_own, metal::memory_order_relaxed);
        out_counts[(group_5.y * _e59) + group_5.x] = _e65;
        return;
    } else {
        return;
    }
}


struct stepsInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void steps(
  metal::uint3 group_6 [[threadgroup_position_in_grid]]
, uint lane_6 [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_3 const& own [[buffer(3)]]
, device type_3 const& slots [[buffer(4)]]
, device type_2 const& probability [[buffer(5)]]
, device type_3 const& order [[buffer(8)]]
, device type_3 const& counts [[buffer(9)]]
, device type_2& out [[buffer(10)]]
, device type_2& losses [[buffer(11)]]
, threadgroup type_7& next
, threadgroup type_9& lanes
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    uint mine_1 = 0u;
    uint i_5 = {};
    uint passed_1 = 0u;
    uint i_6 = 0u;
    uint i_7 = 0u;
    float value = 0.0;
    uint i_8 = {};
    uint half_ = 128u;
    uint _e5 = p.rows;
    uint offset_1 = group_6.y * _e5;
    uint class_of_slot_1 = slots[group_6.y];
    uint _e14 = p.slots;
    uint of_class = slots[_e14 + group_6.y];
    uint _e26 = p.rows;
    uint end_3 = metal::min((group_6.x + 1u) * CHUNK, _e26);
    uint first_2 = (group_6.x * CHUNK) + (lane_6 * 8u);
    uint last = metal::min(first_2 + 8u, end_3);
    i_5 = first_2;
    bool loop_init_10 = true;
    while(true) {
        if (!loop_init_10) {
            uint _e56 = i_5;
            i_5 = _e56 + 1u;
        }
        loop_init_10 = false;
        uint _e40 = i_5;
        if (_e40 < last) {
        } else {
            break;
        }
        {
            uint _e42 = mine_1;
            uint _e47 = i_5;
            uint _e50 = order[offset_1 + _e47];
            uint _e52 = own[_e50];
            mine_1 = _e42 + ((_e52 == class_of_slot_1) ? 1u : 0u);
        }
    }
    uint _e61 = mine_1;
    next.inner[lane_6] = _e61;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    bool loop_init_11 = true;
    while(true) {
        if (!loop_init_11) {
            uint _e81 = i_6;
            i_6 = _e81 + 1u;
        }
        loop_init_11 = false;
        uint _e66 = i_6;
        if (_e66 < group_6.x) {
        } else {
            break;
        }
        {
            uint _e69 = passed_1;
            uint _e74 = p.chunks;
            uint _e76 = i_6;
            uint _e79 = counts[(group_6.y * _e74) + _e76];
            passed_1 = _e69 + _e79;
        }
    }
    bool loop_init_12 = true;
    while(true) {
        if (!loop_init_12) {
            uint _e94 = i_7;
            i_7 = _e94 + 1u;
        }
        loop_init_12 = false;
        uint _e86 = i_7;
        if (_e86 < lane_6) {
        } else {
            break;
        }
        {
            uint _e88 = passed_1;
            uint _e90 = i_7;
            uint _e92 = next.inner[_e90];
            passed_1 = _e88 + _e92;
        }
    }
    i_8 = first_2;
    bool loop_init_13 = true;
    while(true) {
        if (!loop_init_13) {
            uint _e149 = i_8;
            i_8 = _e149 + 1u;
        }
        loop_init_13 = false;
        uint _e100 = i_8;
        if (_e100 < last) {
        } else {
            break;
        }
        {
            uint _e103 = i_8;
            uint row_2 = order[offset_1 + _e103];
            uint _e107 = i_8;
            uint _e108 = passed_1;
            float all = static_cast<float>(of_class + (_e107 - _e108));
            uint _e114 = own[row_2];
            if (_e114 == class_of_slot_1) {
                float _e116 = value;
                float _e117 = error_of(class_of_slot_1, row_2, p, own, probability, _buffer_sizes);
                value = _e116 + (_e117 / all);
                float _e125 = p.share;
                out[offset_1 + row_2] = -(_e125) / all;
                uint _e128 = passed_1;
                passed_1 = _e128 + 1u;
            } else {
                uint _e131 = passed_1;
                float step = (static_cast<float>(of_class - _e131) / all) / (all + 1.0);
                float _e138 = value;
                float _e139 = error_of(class_of_slot_1, row_2, p, own, probability, _buffer_sizes);
                value = _e138 + (_e139 * step);
                float _e147 = p.share;
                out[offset_1 + row_2] = _e147 * step;
            }
        }
    }
    float _e154 = value;
    lanes.inner[lane_6] = _e154;
    bool loop_init_14 = true;
    while(true) {
        if (!loop_init_14) {
            uint _e171 = half_;
            half_ = _e171 / 2u;
        }
        loop_init_14 = false;
        uint _e157 = half_;
        if (_e157 > 0u) {
        } else {
            break;
        }
        {
            metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
            uint _e160 = half_;
            if (lane_6 < _e160) {
                float _e164 = lanes.inner[lane_6];
                uint _e166 = half_;
                float _e169 = lanes.inner[lane_6 + _e166];
                lanes.inner[lane_6] = _e164 + _e169;
            }
        }
    }
    if (lane_6 == 0u) {
        uint _e180 = p.chunks;
        float _e187 = p.share;
        float _e190 = lanes.inner[0];
        losses[(group_6.y * _e180) + group_6.x] = _e187 * _e190;
        return;
    } else {
        return;
    }
}


struct add_gradientInput {
};
[[max_total_threads_per_threadgroup(256)]] kernel void add_gradient(
  metal::uint3 group_7 [[threadgroup_position_in_grid]]
, metal::uint3 groups_2 [[threadgroups_per_grid]]
, uint lane_7 [[thread_index_in_threadgroup]]
, constant Lovasz& p [[buffer(0)]]
, device type_3 const& which [[buffer(2)]]
, device type_3 const& slots [[buffer(4)]]
, device type_2 const& probability [[buffer(5)]]
, device type_2 const& by_probability [[buffer(6)]]
, device type_2& out [[buffer(10)]]
, constant _mslBufferSizes& _buffer_sizes [[buffer(30)]]
) {
    float mean = 0.0;
    uint s = 0u;
    uint c_3 = 0u;
    float g = {};
    uint _e3 = index(group_7, groups_2, lane_7);
    uint _e6 = p.rows;
    if (_e3 >= _e6) {
        return;
    }
    bool loop_init_15 = true;
    while(true) {
        if (!loop_init_15) {
            uint _e41 = s;
            s = _e41 + 1u;
        }
        loop_init_15 = false;
        uint _e12 = s;
        uint _e15 = p.slots;
        if (_e12 < _e15) {
        } else {
            break;
        }
        {
            float _e17 = mean;
            uint _e19 = s;
            uint _e22 = p.rows;
            float _e26 = by_probability[(_e19 * _e22) + _e3];
            uint _e29 = s;
            uint _e31 = slots[_e29];
            uint _e34 = p.rows;
            float _e38 = probability[(_e31 * _e34) + _e3];
            mean = _e17 + (_e26 * _e38);
        }
    }
    uint _e46 = which[_e3];
    uint _e49 = p.classes;
    uint first_3 = _e46 * _e49;
    bool loop_init_16 = true;
    while(true) {
        if (!loop_init_16) {
            uint _e103 = c_3;
            c_3 = _e103 + 1u;
        }
        loop_init_16 = false;
        uint _e53 = c_3;
        uint _e56 = p.classes;
        if (_e53 < _e56) {
        } else {
            break;
        }
        {
            uint _e62 = p.slots;
            uint _e64 = c_3;
            uint slot = slots[(2u * _e62) + _e64];
            g = 0.0;
            if (slot != NONE) {
                uint _e75 = p.rows;
                float _e79 = by_probability[(slot * _e75) + _e3];
                g = _e79;
            }
            uint _e81 = c_3;
            float _e84 = out[first_3 + _e81];
            float _e87 = p.factor;
            uint _e89 = c_3;
            uint _e92 = p.rows;
            float _e96 = probability[(_e89 * _e92) + _e3];
            float _e98 = g;
            float _e99 = mean;
            out[first_3 + _e81] = _e84 + ((_e87 * _e96) * (_e98 - _e99));
        }
    }
    return;
}
