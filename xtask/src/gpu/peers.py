"""The published network, MinkUNet34C, by other people's libraries on the GPU of this machine.

  peers.py --voxels FILE [--device cuda] [--samples 11] [--check]

FILE holds the voxels that our own bench had: int32 little-endian, four for each voxel (batch, x, y, z). Two peers:
spconv (needs its package) and gather, matrix product, scatter in plain PyTorch. Both get the same weights, and what
they compute of the same voxels is compared in f32 before anything is timed. Forward and backward, mean of squares as
the loss, once with kernel maps that are there already and once with those of a new batch. Times are medians around
steps that the device has finished. The last line is one JSON object; what cannot run is named in it with the reason.
"""
import argparse
import contextlib
import json
import time

try:
    import numpy as np
    import torch
    from torch import nn
except ImportError as error:
    print(json.dumps({"missing": f"PyTorch: {error}"}))
    raise SystemExit(0)

PLANES, LAYERS, FIRST = (32, 64, 128, 256, 256, 128, 96, 96), (2, 3, 4, 6, 2, 2, 2, 2), 32


# ---------------------------------------------------------------- gather, matrix product, scatter in plain PyTorch
class Maps:
    """Coordinate sets of all levels and the pairs of their convolutions, made at their first use."""

    def __init__(self, coords):
        self.sets, self.pairs = {0: coords.long()}, {}

    def coarse(self, level):
        if level not in self.sets:
            parents = self.coarse(level - 1).clone()
            parents[:, 1:] >>= 1
            self.sets[level] = torch.unique(parents, dim=0)
        return self.sets[level]

    def of(self, kind, level, kernel):
        key = (kind, level, kernel)
        if key not in self.pairs:
            fine, coarse = self.coarse(level), self.coarse(level + (kind == "down"))
            reach = range(-(kernel // 2), kernel // 2 + 1) if kernel % 2 else range(kernel)
            offsets = [(x, y, z) for x in reach for y in reach for z in reach]
            self.pairs[key] = find_pairs(fine, coarse, offsets, 2 if kind == "down" else 1)
        return self.pairs[key]


def find_pairs(fine, coarse, offsets, stride):
    """For each offset the rows (of the finer set, of the coarser set) with fine = stride * coarse + offset."""
    low = torch.minimum(fine[:, 1:].amin(0), stride * coarse[:, 1:].amin(0)) - 8

    def key(batch, xyz):
        x, y, z = (xyz - low).unbind(1)
        return ((batch << 48) | (x << 32)) | ((y << 16) | z)

    keys, order = torch.sort(key(fine[:, 0], fine[:, 1:]))
    found = []
    for offset in offsets:
        wanted = key(coarse[:, 0], stride * coarse[:, 1:] + torch.tensor(offset, device=fine.device))
        place = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        rows = (keys[place] == wanted).nonzero()[:, 0]
        found.append((order[place[rows]], rows))
    return found


class GatherScatter(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda")
    def forward(ctx, features, weight, pairs, rows):
        if torch.is_autocast_enabled(features.device.type):
            features = features.to(torch.get_autocast_dtype(features.device.type))
        weight_as = weight.to(features.dtype)
        out = features.new_zeros(rows, weight.shape[2])
        for k, (source, target) in enumerate(pairs):
            if len(source):
                out.index_add_(0, target, features.index_select(0, source) @ weight_as[k])
        ctx.save_for_backward(features, weight)
        ctx.pairs = pairs
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, grad):
        features, weight = ctx.saved_tensors
        grad, weight_as = grad.contiguous().to(features.dtype), weight.to(features.dtype)
        by_features, by_weight = torch.zeros_like(features), torch.zeros_like(weight)
        for k, (source, target) in enumerate(ctx.pairs):
            if len(source):
                part = grad.index_select(0, target)
                by_features.index_add_(0, source, part @ weight_as[k].t())
                by_weight[k] = features.index_select(0, source).t() @ part
        return by_features, by_weight, None, None


class PlainConv(nn.Module):
    def __init__(self, cin, cout, kind, kernel, level):
        super().__init__()
        self.kind, self.kernel, self.level = kind, kernel, level
        self.weight = nn.Parameter(torch.empty(kernel ** 3, cin, cout))

    def take(self, weight):
        self.weight.data.copy_(weight.reshape(self.weight.shape))

    def forward(self, x):
        features, maps = x
        if self.kind == "up":
            pairs = [(coarse, fine) for fine, coarse in maps.of("down", self.level - 1, self.kernel)]
            rows = len(maps.coarse(self.level - 1))
        else:
            pairs, rows = maps.of(self.kind, self.level, self.kernel), len(maps.coarse(self.level + (self.kind == "down")))
        return GatherScatter.apply(features, self.weight, pairs, rows), maps


class Plain:
    conv = PlainConv

    @staticmethod
    def start(features, coords, known):
        return features, known or Maps(coords)

    @staticmethod
    def known(x):
        return x[1]

    features = staticmethod(lambda x: x[0])
    replaced = staticmethod(lambda x, features: (features, x[1]))


# ---------------------------------------------------------------- spconv
class Spconv:
    def __init__(self, device):
        import spconv.pytorch as library
        self.library = library
        self.algo = None
        if device == "cpu":
            import spconv.pytorch.ops as ops
            from spconv.core import ConvAlgo
            ops.get_current_stream = lambda: 0  # 2.3.8 asks CUDA for a stream there too
            self.algo = ConvAlgo.Native

    def conv(self, cin, cout, kind, kernel, level):
        library, common = self.library, {"bias": False, "algo": self.algo}
        if kind == "same":
            module = library.SubMConv3d(cin, cout, kernel, indice_key=f"same{level}_{kernel}", **common)
        elif kind == "down":
            module = library.SparseConv3d(cin, cout, kernel, stride=kernel, indice_key=f"down{level}", **common)
        else:
            module = library.SparseInverseConv3d(cin, cout, kernel, indice_key=f"down{level - 1}", **common)
        # [cout, x, y, z, cin]
        module.take = lambda weight: module.weight.data.copy_(weight.permute(4, 0, 1, 2, 3))
        return module

    def start(self, features, coords, known):
        low = (coords[:, 1:].amin(0) >> 4) << 4  # a grid of four halvings that begins at zero
        if known is None:
            indices = coords.clone()
            indices[:, 1:] -= low
            shape = [int(v) // 16 * 16 + 16 for v in indices[:, 1:].amax(0).tolist()]
            return self.library.SparseConvTensor(features, indices.int(), shape, int(coords[:, 0].max()) + 1)
        return known.replace_feature(features)

    @staticmethod
    def known(x):
        return x

    features = staticmethod(lambda x: x.features)
    replaced = staticmethod(lambda x, features: x.replace_feature(features))


# ---------------------------------------------------------------- the network
class Norm(nn.Module):
    def __init__(self, peer, channels, relu):
        super().__init__()
        self.peer, self.norm, self.relu = [peer], nn.BatchNorm1d(channels), relu

    def forward(self, x):
        peer = self.peer[0]
        features = self.norm(peer.features(x))
        return peer.replaced(x, torch.relu_(features) if self.relu else features)


class Block(nn.Module):
    def __init__(self, peer, cin, cout, level):
        super().__init__()
        self.peer = [peer]
        self.first = nn.Sequential(peer.conv(cin, cout, "same", 3, level), Norm(peer, cout, True))
        self.second = nn.Sequential(peer.conv(cout, cout, "same", 3, level), Norm(peer, cout, False))
        self.beside = nn.Sequential(nn.Linear(cin, cout, bias=False), nn.BatchNorm1d(cout)) if cin != cout else None

    def forward(self, x):
        peer, y = self.peer[0], x
        for layer in (*self.first, *self.second):
            y = layer(y)
        beside = peer.features(x) if self.beside is None else self.beside(peer.features(x))
        return peer.replaced(y, torch.relu(peer.features(y) + beside))


class MinkUNet34C(nn.Module):
    def __init__(self, peer, cin=3, cout=128):
        super().__init__()
        self.peer = [peer]
        self.stem = nn.ModuleList([peer.conv(cin, FIRST, "same", 3, 0), Norm(peer, FIRST, True)])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, skips = FIRST, [FIRST]
        for level in range(4):
            stage = [peer.conv(width, width, "down", 2, level), Norm(peer, width, True)]
            for _ in range(LAYERS[level]):
                stage.append(Block(peer, width, PLANES[level], level + 1))
                width = PLANES[level]
            self.down.append(nn.ModuleList(stage))
            skips.append(width)
        skips.pop()
        for i in range(4):
            level, out = 4 - i, PLANES[4 + i]
            stage, width = [peer.conv(width, out, "up", 2, level), Norm(peer, out, True)], out + skips.pop()
            for _ in range(LAYERS[4 + i]):
                stage.append(Block(peer, width, out, level - 1))
                width = out
            self.up.append(nn.ModuleList(stage))
        self.head = nn.Linear(width, cout)

    def forward(self, x):
        peer = self.peer[0]
        for layer in self.stem:
            x = layer(x)
        skips = [x]
        for stage in self.down:
            for layer in stage:
                x = layer(x)
            skips.append(x)
        skips.pop()
        for conv, norm, *blocks in self.up:
            x = norm(conv(x))
            x = peer.replaced(x, torch.cat([peer.features(x), peer.features(skips.pop())], 1))
            for block in blocks:
                x = block(x)
        return peer.replaced(x, self.head(peer.features(x)))

    def seed(self):
        """The same weights for every peer: [x, y, z, cin, cout], scaled by what a row reads."""
        source = torch.Generator().manual_seed(1)
        for module in self.modules():
            if hasattr(module, "take"):
                shape = module.weight.shape
                kernel = round(shape[0] ** (1 / 3)) if len(shape) == 3 else shape[1]
                cin, cout = (shape[1], shape[2]) if len(shape) == 3 else (shape[4], shape[0])
                weight = torch.randn(kernel, kernel, kernel, cin, cout, generator=source)
                module.take(weight * (1 / (cin * kernel ** 3)) ** 0.5)
            elif isinstance(module, nn.Linear):
                module.weight.data.copy_(torch.randn(module.weight.shape, generator=source) * module.in_features ** -0.5)
                if module.bias is not None:
                    module.bias.data.zero_()
        return self


# ---------------------------------------------------------------- what is measured
def step(net, peer, features, coords, known, cast):
    net.zero_grad(set_to_none=True)
    with cast():
        out = peer.features(net(peer.start(features, coords, known)))
    (out.float() ** 2).mean().backward()
    return out


def finished(device):
    if device != "cpu":
        torch.cuda.synchronize()


def median(device, samples, f):
    times = []
    for i in range(samples + 5):
        finished(device)
        start = time.perf_counter()
        f()
        finished(device)
        if i >= 5:
            times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times)), min(times)


def precisions(device):
    """Name, type of the weights, and whether PyTorch's automatic casts are used instead."""
    yield "f32", torch.float32, None
    if device != "cpu":
        yield "tf32", torch.float32, None
        for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
            yield name, dtype, None
            yield f"{name} by autocast", torch.float32, dtype


def allow_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    with contextlib.suppress(ImportError, AttributeError):
        import spconv.constants
        spconv.constants.SPCONV_ALLOW_TF32 = allowed


def measure(name, peer, coords, features, args):
    net = MinkUNet34C(peer).seed().to(args.device)
    about = {"peer": name, "parameters": sum(p.numel() for p in net.parameters()), "steps": []}
    for precision, dtype, cast_to in precisions(args.device):
        row = {"precision": precision}
        try:
            allow_tf32(precision != "f32")
            net = net.to(dtype)
            x = features.to(dtype)
            cast = (lambda: torch.autocast("cuda", cast_to)) if cast_to else contextlib.nullcontext
            if args.device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            start = peer.start(x, coords, None)
            with torch.no_grad(), cast():
                seen = peer.features(net(start))
            if not bool(torch.isfinite(seen).all()):
                raise ArithmeticError("what it computes is not finite")
            known = peer.known(start)  # with the pairs of all levels, which the pass has made
            row["maps_ready_ms"], row["maps_ready_fastest_ms"] = median(
                args.device, args.samples, lambda: step(net, peer, x, coords, known, cast))
            row["new_maps_ms"], row["new_maps_fastest_ms"] = median(
                args.device, args.samples, lambda: step(net, peer, x, coords, None, cast))
            if args.device != "cpu":
                row["memory_mib"] = torch.cuda.max_memory_allocated() >> 20
        except Exception as error:  # noqa: BLE001 - said in the result
            row["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        about["steps"].append(row)
        if args.device != "cpu":
            torch.cuda.empty_cache()
    return about


def agreement(peers, coords, features, device):
    """The largest difference of the outputs of two peers in f32, relative to the largest number."""
    allow_tf32(False)
    outs = []
    for _, peer in peers:
        # Norms by running statistics: those of a batch would enlarge what differs in the last digits.
        net = MinkUNet34C(peer).seed().to(device).eval()
        with torch.no_grad():
            outs.append(peer.features(net(peer.start(features, coords, None))).float())
        del net
    if len(outs) < 2:
        return None
    return float((outs[0] - outs[1]).abs().max() / outs[0].abs().max())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--voxels", required=True)
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--samples", type=int, default=11)
    arguments.add_argument("--most", type=int, default=0, help="only so many voxels, for a rehearsal")
    args = arguments.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        print(json.dumps({"missing": f"PyTorch {torch.__version__} finds no GPU"}))
        return
    raw = np.fromfile(args.voxels, dtype="<i4").reshape(-1, 4)
    coords = torch.from_numpy(raw[: args.most or None].copy()).to(args.device)
    features = ((torch.arange(3 * len(coords)) % 251).float() / 251).reshape(-1, 3).to(args.device)
    peers, missing = [("plain PyTorch", Plain())], {}
    try:
        peers.append(("spconv", Spconv(args.device)))
    except Exception as error:  # noqa: BLE001 - said in the result
        missing["spconv"] = f"{type(error).__name__}: {str(error)[:300]}"
    result = {
        "bench": "MinkUNet34C, forward and backward, by others",
        "device": torch.cuda.get_device_name() if args.device != "cpu" else "cpu",
        "torch": torch.__version__,
        "voxels": len(coords),
        "missing": missing,
        "difference_of_peers_f32": None,
    }
    try:
        result["difference_of_peers_f32"] = agreement(peers, coords, features, args.device)
    except Exception as error:  # noqa: BLE001 - said in the result
        result["difference_of_peers_f32"] = f"{type(error).__name__}: {str(error)[:300]}"
    result["peers"] = [measure(name, peer, coords, features, args) for name, peer in peers]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
