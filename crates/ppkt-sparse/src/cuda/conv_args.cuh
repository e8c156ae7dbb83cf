// What the kernels of convolution are given.
//
// A kernel's parameters are those of its struct, one by one and in the same order (conv_plan.rs).
#pragma once

#include "kernel.cuh"

// Positions that share a mask in a neighbour table.
constexpr int TILE = 128;
// Bytes of a row that one step of a product reads: 64 channels of bf16, 32 of f32.
constexpr int CHUNK = 128;

// A product over the pairs of a neighbour table: out[t] = bias + Σ x[s] · weight[k].
struct ConvArgs {
    // Rows that are read, [n_source, left_channels] and [n_source, right_channels], side by side.
    const void* left;
    const void* right;
    // [volume, outer_padded, inner_padded], as conv_pack.cu writes it: zeros in the padding.
    const void* weight;
    // [outer] of f32, or null.
    const float* bias;
    // [n_target, outer].
    void* out;
    // Source row of each position under each kernel voxel, [volume, padded n_target], or -1; null: its own row.
    const int* neighbours;
    // Target row of each position, [padded n_target], or -1.
    const int* order;
    // Kernel voxels of each tile of positions, a bit each: [tiles, words].
    const unsigned* masks;
    int left_channels;
    int right_channels;
    int outer;
    int outer_padded;
    int volume;
    int n_target;
    // The result is f32, whatever is read.
    int out_f32;
};

#define CONV_PARAMETERS                                                                                                  \
    const void *left, const void *right, const void *weight, const float *bias, void *out, const int *neighbours,        \
        const int *order, const unsigned *masks, int left_channels, int right_channels, int outer, int outer_padded,     \
        int volume, int n_target, int out_f32
#define CONV_ARGS                                                                                                        \
    ConvArgs {                                                                                                           \
        left, right, weight, bias, out, neighbours, order, masks, left_channels, right_channels, outer, outer_padded,    \
            volume, n_target, out_f32                                                                                    \
    }

// Brings a weight [volume, cin, cout] into the order of ConvArgs.
struct PackArgs {
    const float* weight;
    void* packed;
    int volume;
    int cin;
    int cout;
    // The product is with the transpose, for the gradient of the input's channels `first..first + outer`.
    int transposed;
    // Kernel voxel k of the table means matrix volume - 1 - k.
    int mirrored;
    int first;
    int outer;
    int outer_padded;
    // Channels of the rows that are read, and how many a step reads.
    int left_channels;
    int right_channels;
    int chunk_channels;
};

#define PACK_PARAMETERS                                                                                                  \
    const float *weight, void *packed, int volume, int cin, int cout, int transposed, int mirrored, int first,           \
        int outer, int outer_padded, int left_channels, int right_channels, int chunk_channels
#define PACK_ARGS                                                                                                        \
    PackArgs {                                                                                                           \
        weight, packed, volume, cin, cout, transposed, mirrored, first, outer, outer_padded, left_channels,              \
            right_channels, chunk_channels                                                                               \
    }

// The gradient by the weight: part[k] = Σ x[s]ᵀ · grad[t] over a part of the pairs.
struct WgradArgs {
    // [n_source, left_channels] and [n_source, right_channels], side by side.
    const void* left;
    const void* right;
    // [n_target, cout].
    const void* grad;
    // [splits + volume, left_channels + right_channels, cout]: the part of split s and kernel voxel k is s + k.
    float* parts;
    // [volume, 2, n_target]: source and target row of each pair; null: every row with itself.
    const int* pairs;
    // Pairs of each kernel voxel.
    const int* counts;
    int left_channels;
    int right_channels;
    int cout;
    int volume;
    int n_target;
    // Parts that the pairs are cut into.
    int splits;
    // Blocks along the channels of `left`; those of `right` follow.
    int left_blocks;
};

#define WGRAD_PARAMETERS                                                                                                 \
    const void *left, const void *right, const void *grad, float *parts, const int *pairs, const int *counts,            \
        int left_channels, int right_channels, int cout, int volume, int n_target, int splits, int left_blocks
#define WGRAD_ARGS                                                                                                       \
    WgradArgs {                                                                                                          \
        left, right, grad, parts, pairs, counts, left_channels, right_channels, cout, volume, n_target, splits,          \
            left_blocks                                                                                                  \
    }
