"""Makes the golden files of this folder: small networks of random weights, run by torchvision, timm and transformers.

    cargo xtask goldens        # or: python make.py [FOLDER]

Each case is a folder: `model.safetensors` or `model.pth` (and `config.json`, where the library writes one),
`options.json` (how to open it here), `expected.safetensors` (an image and the features of it, computed in float64).
New cases come last, so that the random numbers of those before stay as they are.
"""

import argparse
import json
import pathlib
import sys

import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from safetensors.torch import save_file
from timm.models.resnet import BasicBlock, Bottleneck, ResNet

HERE = pathlib.Path(__file__).parent
OUT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def randomise(model):
    """Moves norms and biases away from the values that would hide a mistake."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.2)
        if name.endswith("running_var"):
            buffer.uniform_(0.7, 1.4)
    for name, p in model.named_parameters():
        if p.dim() == 1:
            p.data.uniform_(0.6, 1.2) if "weight" in name or "lambda" in name else p.data.normal_(0, 0.1)
        elif "pos" in name or "token" in name:
            p.data.normal_(0, 0.5)
    return model.eval()


def case(name, model, size, features, options={}, config=None, state=None, published=False, statistics=(MEAN, STD), checkpoint=None, old=False, settings=None):
    """With `published`, the library itself writes the files, with the names of those on the Hub; with `checkpoint`,
    PyTorch writes that object, and as it did before version 1.6 with `old`."""
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    if published:
        model.save_pretrained(folder)
    elif checkpoint:
        before = HERE / name / "model.pth"
        if old and before.exists() and same(torch.load(before), checkpoint):
            # Addresses of memory are in such a file, so that no two are the same.
            (folder / "model.pth").write_bytes(before.read_bytes())
        else:
            torch.save(checkpoint, folder / "model.pth", _use_new_zipfile_serialization=not old)
    else:
        state = state or {k: v.clone().contiguous() for k, v in model.state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    image = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8)
    mean, std = statistics
    x = ((image.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = features(model.double(), x)
    save_file({"image": image, "features": expected.contiguous()}, folder / "expected.safetensors")
    (folder / "options.json").write_text(json.dumps(options) + "\n")
    if settings:
        (folder / "config.json").write_text(json.dumps(settings) + "\n")
    if config and not published:
        (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str) + "\n")


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def channels_last(y):
    return y.permute(0, 2, 3, 1)


def tokens(y, n_special, h, w):
    return y[:, n_special:].reshape(1, h, w, -1)


def after(layers, run, norm=None):
    """What the layers give, the last one's first, each behind the norm if there is one."""
    seen = []
    keep = lambda module, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    run()
    for hook in hooks:
        hook.remove()
    return torch.cat([norm(y) if norm else y for y in reversed(seen)], -1)


def mask_clip(model, x):
    """Dense CLIP features, as the formulas of MaskCLIP have them."""
    vision = model.vision_model
    *_, last = vision.encoder.layers
    seen = []
    hook = last.register_forward_pre_hook(lambda module, inputs, named: seen.append((*inputs, *named.values())[0]), with_kwargs=True)
    vision(x, interpolate_pos_encoding=True)
    hook.remove()
    x, = seen
    x = x + last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(x)))
    x = x + last.mlp(last.layer_norm2(x))
    return F.normalize(model.visual_projection(vision.post_layernorm(x)), dim=-1)


def main():
    torch.manual_seed(0)
    small = dict(channels=(8, 8, 12, 12), num_classes=5)

    net = randomise(ResNet(Bottleneck, [1, 2, 2, 1], output_stride=8, **small))
    features = lambda m, x: channels_last(m.forward_features(x))
    case("timm_bottleneck_dilated", net, (45, 61), features,
         {"replace_stride_with_dilation": [False, True, True]})
    net = randomise(ResNet(BasicBlock, [1, 2, 2, 1], output_stride=16, **small))
    case("timm_basic_dilated", net, (52, 39), features, {"replace_stride_with_dilation": [False, False, True]})

    for name, extra in [("hf_resnet_basic", dict(layer_type="basic")),
                        ("hf_resnet_stride_in_1x1", dict(downsample_in_bottleneck=True))]:
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[16, 16, 24, 24], depths=[1, 2, 1, 1], **extra)
        case(name, randomise(transformers.ResNetForImageClassification(config)), (45, 61),
             lambda m, x: channels_last(m.resnet(x).last_hidden_state), config=config)

    size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    config = transformers.ViTConfig(**size, patch_size=8, image_size=32)
    case("hf_vit_resampled", randomise(transformers.ViTModel(config)), (40, 56),
         lambda m, x: tokens(m(x, interpolate_pos_encoding=True).last_hidden_state, 1, 5, 7), config=config)
    config = transformers.DeiTConfig(**size, patch_size=8, image_size=32)
    case("hf_deit", randomise(transformers.DeiTModel(config)), (32, 32),
         lambda m, x: tokens(m(x).last_hidden_state, 2, 4, 4), config=config)
    size["mlp_ratio"] = 2
    config = transformers.Dinov2Config(**size, patch_size=7, image_size=63)
    case("hf_dinov2_resampled", randomise(transformers.Dinov2Model(config)), (28, 49),
         lambda m, x: tokens(m(x).last_hidden_state, 1, 4, 7), config=config)

    # timm smooths when it resamples positions; the original code of DeiT and DINO, followed here, does not.
    shape = dict(patch_size=8, embed_dim=64, depth=1, num_heads=1, mlp_ratio=1, num_classes=3)
    net = randomise(timm.models.VisionTransformer(img_size=32, **shape))
    state = {k: v.clone() for k, v in net.state_dict().items()}
    grid = net.pos_embed.data[:, 1:].reshape(1, 4, 4, 64).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(3, 6), mode="bicubic", align_corners=False)
    resampled = timm.models.VisionTransformer(img_size=(24, 48), **shape).eval()
    positions = torch.cat([net.pos_embed.data[:, :1], grid.flatten(2).transpose(1, 2)], 1)
    resampled.load_state_dict({**state, "pos_embed": positions})
    case("timm_vit_resampled", resampled, (24, 48), lambda m, x: tokens(m.forward_features(x), 1, 3, 6), state=state)

    newer_transformers()


def newer_transformers():
    t = transformers
    size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    published = dict(published=True)

    config = t.Dinov2WithRegistersConfig(**size, mlp_ratio=2, patch_size=7, image_size=63)
    case("hf_dinov2_registers", randomise(t.Dinov2WithRegistersModel(config)), (28, 49),
         lambda m, x: tokens(m(x).last_hidden_state, 5, 4, 7), **published)
    config = t.Dinov2Config(**size, mlp_ratio=2, use_swiglu_ffn=True, patch_size=7, image_size=28)
    case("hf_dinov2_swiglu", randomise(t.Dinov2Model(config)), (28, 28),
         lambda m, x: tokens(after(m.encoder.layer, lambda: m(x), m.layernorm), 1, 4, 4),
         {"stages": ["block1", "block0"]}, **published)
    net = randomise(timm.create_model(
        "vit_giant_patch14_reg4_dinov2", img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, mlp_ratio=2,
        dynamic_img_size=True))
    case("timm_dinov2_registers_swiglu", net, (24, 40), lambda m, x: tokens(m.forward_features(x), 5, 3, 5))

    config = t.DINOv3ViTConfig(**size, patch_size=8, num_register_tokens=4)
    net = randomise(t.DINOv3ViTModel(config))
    layers = next(m for m in net.modules() if isinstance(m, torch.nn.ModuleList))
    case("hf_dinov3", net, (40, 56), lambda m, x: tokens(after(layers, lambda: m(x)), 5, 5, 7),
         {"stages": ["block1", "block0"], "last_norm": False}, **published)
    config = t.DINOv3ViTConfig(**size, patch_size=8, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu",
                               rope_theta=50.0)
    case("hf_dinov3_gated", randomise(t.DINOv3ViTModel(config)), (40, 56),
         lambda m, x: tokens(m(x).last_hidden_state, 5, 5, 7), **published)

    vision = dict(**size, patch_size=8, image_size=32)
    text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=50,
                max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    statistics = (torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711]))
    config = t.CLIPConfig(vision_config=vision, text_config=text, projection_dim=20)
    case("hf_clip", randomise(t.CLIPModel(config)), (40, 56), lambda m, x: tokens(
        m.vision_model.post_layernorm(m.vision_model(x, interpolate_pos_encoding=True).last_hidden_state), 1, 5, 7),
        statistics=statistics, **published)
    config = t.CLIPVisionConfig(**vision, projection_dim=20, hidden_act="gelu")
    case("hf_mask_clip", randomise(t.CLIPVisionModelWithProjection(config)), (40, 56),
         lambda m, x: tokens(mask_clip(m, x), 1, 5, 7), {"features": "mask_clip"}, statistics=statistics, **published)

    half = (torch.full((3,), 0.5), torch.full((3,), 0.5))
    config = t.SiglipConfig(vision_config=vision, text_config=text)
    case("hf_siglip", randomise(t.SiglipModel(config)), (40, 56),
         lambda m, x: tokens(m.vision_model(x, interpolate_pos_encoding=True).last_hidden_state, 0, 5, 7),
         statistics=half, **published)

    names_of_authors()


class SmallResNet(torchvision.models.ResNet):
    """torchvision's network with fewer channels than its constructor makes."""

    def __init__(self, block, depths, dilate=(False, False, False), groups=1, base_width=64):
        torch.nn.Module.__init__(self)
        self._norm_layer = torch.nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = 8, 1, groups, base_width
        self.conv1 = torch.nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(8)
        self.relu = torch.nn.ReLU(inplace=True)
        self.maxpool = torch.nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, 4, depths[0])
        for i, planes in enumerate([6, 6, 8]):
            layer = self._make_layer(block, planes, depths[i + 1], stride=2, dilate=dilate[i])
            setattr(self, f"layer{i + 2}", layer)

    def stages(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for layer in [self.layer1, self.layer2, self.layer3, self.layer4]:
            x = layer(x)
            maps.append(x)
        return maps


def state_of(model, prefix=""):
    return {prefix + k: v.clone().contiguous() for k, v in model.state_dict().items()}


def authors_names(model, is_v3):
    """The tensors of a DINOv2 or DINOv3 of transformers, as their authors name them."""
    state, result = state_of(model), {}
    plain = {
        "embeddings.position_embeddings": "pos_embed", "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "embeddings.patch_embeddings.": "patch_embed.proj.", "embeddings.cls_token": "cls_token",
        "embeddings.mask_token": "mask_token", "embeddings.register_tokens": "storage_tokens" if is_v3 else "register_tokens",
        "encoder.layer.": "blocks.", "model.layer.": "blocks.", "layer.": "blocks.", "layernorm.": "norm.",
        ".attention.output.dense.": ".attn.proj.", ".attention.o_proj.": ".attn.proj.", ".layer_scale1.lambda1": ".ls1.gamma",
        ".layer_scale2.lambda1": ".ls2.gamma",
        ".mlp.gate_proj.": ".mlp.w1.", ".mlp.up_proj.": ".mlp.w2.", ".mlp.down_proj.": ".mlp.w3.",
        ".attention.attention.query.": ".q.", ".attention.attention.key.": ".k.", ".attention.attention.value.": ".v.",
        ".attention.q_proj.": ".q.", ".attention.k_proj.": ".k.", ".attention.v_proj.": ".v.",
    }
    for name, value in state.items():
        for theirs, original in plain.items():
            name = name.replace(theirs, original)
        result[name] = value
    gates = [name for name in result if ".mlp.w1." in name and not is_v3]
    for name in gates:
        result[name.replace("w1", "w12")] = torch.cat([result.pop(name), result.pop(name.replace("w1", "w2"))])
    for i in range(model.config.num_hidden_layers):
        for leaf in ["weight", "bias"]:
            parts = [result.pop(f"blocks.{i}.{part}.{leaf}", None) for part in "qkv"]
            if parts[1] is None:
                # A bias for keys that the mask takes away.
                parts[1] = torch.randn_like(parts[0])
                ones, zeros = torch.ones_like(parts[0]), torch.zeros_like(parts[0])
                result[f"blocks.{i}.attn.qkv.bias_mask"] = torch.cat([ones, zeros, ones])
            result[f"blocks.{i}.attn.qkv.{leaf}"] = torch.cat(parts)
    return result


def names_of_authors():
    t = transformers
    block = torchvision.models.resnet.Bottleneck
    net = randomise(SmallResNet(block, [1, 1, 2, 1], dilate=(False, True, True)))
    other = randomise(SmallResNet(block, [1, 1, 2, 1]))
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.randn(3))], lr=0.1, momentum=0.9)
    moco = {**state_of(other, "module.encoder_k."), **state_of(net, "module.encoder_q."), "module.queue": torch.randn(4, 4)}
    case("torchvision_moco", net, (45, 61), lambda m, x: channels_last(m.stages(x)[3]),
         {"replace_stride_with_dilation": [False, True, True]},
         checkpoint={"epoch": 200, "arch": "resnet50", "state_dict": moco, "optimizer": sgd.state_dict()})

    net = randomise(SmallResNet(torchvision.models.resnet.BasicBlock, [1, 2, 1, 1]))
    swav = {**state_of(net, "module."), "module.projection_head.0.weight": torch.randn(4, 8), "module.prototypes.weight": torch.randn(4, 4)}
    case("torchvision_swav_old", net, (39, 50), lambda m, x: channels_last(m.stages(x)[3]), checkpoint=swav, old=True)

    net = randomise(SmallResNet(block, [1, 1, 1, 1], dilate=(True, True, True)))
    images = state_of(net, "encoder.")
    images["encoder.layer1.0.conv2.weight"] = images["encoder.layer1.0.conv2.weight"].contiguous(memory_format=torch.channels_last)
    images["decoder.0.weight"] = torch.nn.Parameter(torch.randn(6, 32, 1, 1))
    case("torchvision_slidr", net, (45, 61), lambda m, x: channels_last(m.stages(x)[3]),
         {"replace_stride_with_dilation": [True, True, True]},
         checkpoint={"model_points": {"conv0p1s1.kernel": torch.randn(27, 1, 4), "bn0.bn.weight": torch.randn(4)},
                     "model_images": images, "optimizer": None, "epoch": 50, "config": {"voxel_size": 0.1, "images_encoder": "dino"}})

    shape = dict(img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, mlp_ratio=1, num_classes=0)
    net, other = (randomise(timm.models.VisionTransformer(**shape)) for _ in range(2))
    teacher = {**state_of(net, "backbone."), "head.last_layer.weight_g": torch.randn(4, 1)}
    case("timm_dino", net, (32, 32), lambda m, x: tokens(m.forward_features(x), 1, 4, 4),
         checkpoint={"student": state_of(other, "module.backbone."), "teacher": teacher, "epoch": 100,
                     "args": argparse.Namespace(arch="vit_small", lr=0.0005), "dino_loss": {"center": torch.randn(1, 4)}})

    size = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    heads = {"num_attention_heads": 4}
    config = t.Dinov2Config(**size, mlp_ratio=2, use_swiglu_ffn=True, patch_size=7, image_size=63)
    net = randomise(t.Dinov2Model(config))

    def with_offset(embeddings, height, width):
        # interpolate_pos_encoding of the authors' code, whose hub entries have an offset of 0.1
        positions = net.embeddings.position_embeddings
        grid = positions[:, 1:].reshape(1, 9, 9, -1).permute(0, 3, 1, 2)
        sizes = (height // 7, width // 7)
        grid = F.interpolate(grid, scale_factor=tuple((s + 0.1) / 9 for s in sizes), mode="bicubic", antialias=False)
        assert grid.shape[-2:] == sizes
        return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)

    net.embeddings.interpolate_pos_encoding = with_offset
    case("original_dinov2", net, (28, 49), lambda m, x: tokens(m(x).last_hidden_state, 1, 4, 7),
         state=authors_names(net, False), settings=heads)
    config = t.Dinov2WithRegistersConfig(**size, mlp_ratio=2, patch_size=7, image_size=63)
    net = randomise(t.Dinov2WithRegistersModel(config))
    case("original_dinov2_registers", net, (28, 49), lambda m, x: tokens(m(x).last_hidden_state, 5, 4, 7),
         state=authors_names(net, False), settings=heads)
    config = t.DINOv3ViTConfig(**size, patch_size=8, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu")
    net = randomise(t.DINOv3ViTModel(config))
    state = authors_names(net, True)
    state["rope_embed.periods"] = 100 ** (torch.arange(2) / 2)
    case("original_dinov3", net, (40, 56), lambda m, x: tokens(m(x).last_hidden_state, 5, 5, 7), state=state, settings=heads)
    net = randomise(timm.create_model("vit_small_patch16_dinov3_qkvb", patch_size=8, embed_dim=64, depth=2, num_heads=1, mlp_ratio=1))
    case("timm_dinov3", net, (40, 56), lambda m, x: tokens(m.forward_features(x), 5, 5, 7))

    groups_and_stages()
    convnext()


def groups_and_stages():
    block = torchvision.models.resnet.Bottleneck
    net = randomise(SmallResNet(block, [1, 1, 2, 1], groups=4, base_width=32))
    # Coarser maps by whole factors, so that centres of cells stay where they are.
    def stages(m, x):
        maps = m.stages(x)
        finer = lambda y, factor: F.interpolate(y, scale_factor=factor, mode="bilinear", align_corners=False)
        h, w = maps[1].shape[-2:]
        return channels_last(torch.cat([finer(maps[3], 4)[..., :h, :w], maps[1], finer(maps[2], 2)[..., :h, :w]], 1))

    case("torchvision_resnext_stages", net, (45, 61), stages, {"stages": ["layer4", "layer2", "layer3"]}, state=state_of(net))
    net = randomise(SmallResNet(block, [1, 1, 2, 1], dilate=(False, False, True), base_width=128))
    case("torchvision_wide_stages", net, (39, 50), lambda m, x: channels_last(torch.cat(m.stages(x)[2:], 1)),
         {"stages": ["layer3", "layer4"], "replace_stride_with_dilation": [False, False, True]}, state=state_of(net))
    net = randomise(ResNet(Bottleneck, [1, 1, 1, 1], channels=(8, 8, 12, 12), cardinality=2, base_width=32, num_classes=5))
    case("timm_resnext", net, (45, 61), lambda m, x: channels_last(m.forward_features(x)))


def padded(x, multiple):
    """Continued with the mean colour to the right and below."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple))


def convnext():
    t = transformers
    shape = dict(dims=(8, 12, 16, 20), depths=(1, 1, 2, 1), num_classes=5)
    net = randomise(timm.create_model("convnext_tiny", **shape))
    case("timm_convnext", net, (45, 61), lambda m, x: channels_last(m.forward_features(padded(x, 32))))

    blocks = [torchvision.models.convnext.CNBlockConfig(*sizes) for sizes in [(8, 12, 1), (12, 16, 2), (16, None, 1)]]
    net = randomise(torchvision.models.ConvNeXt(blocks, num_classes=5))

    def stages(m, x):
        x = padded(x, 16)
        second = m.features[:4](x)
        third = F.interpolate(m.features[4:](second), scale_factor=2, mode="bilinear", align_corners=False)
        return channels_last(torch.cat([second, third], 1)[..., :7, :8])

    case("torchvision_convnext_stages", net, (50, 61), stages, {"stages": ["layer2", "layer3"]})

    size = dict(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 2, 1])
    net = randomise(t.ConvNextForImageClassification(t.ConvNextConfig(**size)))
    case("hf_convnext", net, (45, 61), lambda m, x: channels_last(m.convnext(padded(x, 32)).last_hidden_state), published=True)
    net = randomise(t.DINOv3ConvNextModel(t.DINOv3ConvNextConfig(**size)))
    features = lambda m, x: tokens(m(padded(x, 32)).last_hidden_state, 1, 2, 2)
    case("hf_dinov3_convnext", net, (45, 61), features, published=True)
    state = {}
    for name, value in state_of(net).items():
        name = name.removeprefix("model.")
        number = name.split(".")[1]
        for theirs, original in {
            f"stages.{number}.downsample_layers.": f"downsample_layers.{number}.", ".layers.": ".", "depthwise_conv": "dwconv",
            "pointwise_conv": "pwconv", "layer_norm.": "norm.",
        }.items():
            name = name.replace(theirs, original)
        state[name] = value
        if name.startswith("norm."):
            state["norms.3." + name.removeprefix("norm.")] = value.clone()
    case("original_dinov3_convnext", net, (45, 61), features, state=state)


main()
