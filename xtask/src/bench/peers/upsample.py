"""The paper's layer as it is written: 1x1 convolution, upsampling of the whole map, picking 4,096 pixels.

Takes the number of threads; prints the times of 7 rounds and the most memory beyond what was there before, in MB.
"""
import json
import resource
import sys

import timing  # of the peers' folder
import torch

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
features = torch.randn(1, 2048, 15, 20)
layer = torch.nn.Conv2d(2048, 64, 1)
index = torch.arange(4096)
columns, rows = index * 97 % 640, index * 61 % 480


def step():
    small = layer(features)
    whole = torch.nn.functional.interpolate(small, size=(480, 640), mode="bilinear", align_corners=True)
    picked = whole[0, :, rows, columns].t()
    layer.zero_grad(set_to_none=True)
    picked.sum().backward()


def most_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


before = most_mb()
step()
peak = most_mb() - before
times = timing.alternate({"layer": step}, rounds=7)["layer"]
print(json.dumps({**times, "peak_mb": peak}))
