"""Makes the golden files of this folder: small networks of random weights, run by timm and transformers.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py

Each case is a folder: `model.safetensors` (and `config.json`, where the library writes one), `options.json` (how to
open it here), `expected.safetensors` (an image and the features of it, computed in float64).
"""

import json
import pathlib

import timm
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from timm.models.resnet import BasicBlock, Bottleneck, ResNet

HERE = pathlib.Path(__file__).parent
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


def case(name, model, size, features, options={}, config=None, state=None):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    state = state or {k: v.clone().contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    image = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8)
    x = ((image.double() / 255 - MEAN) / STD).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = features(model.double(), x)
    save_file({"image": image, "features": expected.contiguous()}, folder / "expected.safetensors")
    (folder / "options.json").write_text(json.dumps(options) + "\n")
    if config:
        (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str) + "\n")


def channels_last(y):
    return y.permute(0, 2, 3, 1)


def tokens(y, n_special, h, w):
    return y[:, n_special:].reshape(1, h, w, -1)


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


main()
