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


def case(name, model, size, features, options={}, config=None, state=None, published=False, statistics=(MEAN, STD)):
    """With `published`, the library itself writes the files, with the names of those on the Hub."""
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    if published:
        model.save_pretrained(folder)
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
    if config and not published:
        (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str) + "\n")


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


main()
