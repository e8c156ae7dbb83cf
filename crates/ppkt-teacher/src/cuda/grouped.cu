// A convolution in groups with its bias, channels last; depthwise where a group is one channel.
//
// x [n, height, width, inner], weight [kernel * kernel, inner / groups, outer], bias [outer], out [n, out_height,
// out_width, outer]. One thread a value: neighbouring threads read neighbouring weights, and neighbouring channels of a
// pixel or the same ones. Nothing is shared, and a value is summed by one thread in the order of taps and channels: the
// same bits in every run.

#include "kernel.cuh"

#define THREADS 256

extern "C" __global__ void __launch_bounds__(THREADS)
grouped_conv(const float* x, const float* weight, const float* bias, int n, int height, int width, int inner,
             int out_height, int out_width, int outer, int groups, int kernel, int stride, int padding, int dilation,
             float* out) {
  size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
  size_t pixel = i / outer;
  int o = (int)(i % outer);
  int column = (int)(pixel % out_width);
  int line = (int)(pixel / out_width % out_height);
  size_t image = pixel / out_width / out_height;
  if (image >= (size_t)n) return;
  int per_group = inner / groups;
  int first = o / (outer / groups) * per_group;
  float sum = bias[o];
  for (int ky = 0; ky < kernel; ky++) {
    int y = line * stride + ky * dilation - padding;
    if (y < 0 || y >= height) continue;
    for (int kx = 0; kx < kernel; kx++) {
      int at = column * stride + kx * dilation - padding;
      if (at < 0 || at >= width) continue;
      const float* from = x + ((image * height + y) * width + at) * inner + first;
      const float* by = weight + (size_t)(ky * kernel + kx) * per_group * outer + o;
      for (int c = 0; c < per_group; c++) sum += from[c] * by[(size_t)c * outer];
    }
  }
  out[i] = sum;
}
