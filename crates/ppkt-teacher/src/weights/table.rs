//! The table of foreign names.
//!
//! Inside the house a tensor has the name that torchvision (ResNet) and timm (the others) give it; the module tree of
//! this crate follows these names. A transformer's projections may also be apart, as `attn.q`, `attn.k`, `attn.v`; the
//! halves of a gated layer are `mlp.fc1_g` (through the activation) and `mlp.fc1_x`, or joined in this order in `mlp.fc1`.

use crate::spec::Family;

/// A foreign name, and ours. `{a}` stands for a number, `{a+1}` for the next one, `{a/2}` for half of it
/// (rounded down), a final `*` for one last part.
type Row = (&'static str, &'static str);

/// The rows for a family and a scheme of names.
pub(super) fn rows(family: Family, naming: &str) -> &'static [Row] {
    match (family, naming) {
        (Family::ResNet, "transformers") => RESNET_TRANSFORMERS,
        (Family::ConvNext, "original") => CONVNEXT_ORIGINAL,
        (Family::ConvNext, "torchvision") => CONVNEXT_TORCHVISION,
        (Family::ConvNext, "transformers") => CONVNEXT_TRANSFORMERS,
        (Family::VisionTransformer, "transformers") => VIT_TRANSFORMERS,
        (Family::VisionTransformer, "original") => VIT_ORIGINAL,
        (Family::VisionTransformer, _) => VIT_TIMM,
        _ => &[],
    }
}

const RESNET_TRANSFORMERS: &[Row] = &[
    ("embedder.embedder.convolution.*", "conv1.*"),
    ("embedder.embedder.normalization.*", "bn1.*"),
    ("encoder.stages.{a}.layers.{b}.layer.{c}.convolution.*", "layer{a+1}.{b}.conv{c+1}.*"),
    ("encoder.stages.{a}.layers.{b}.layer.{c}.normalization.*", "layer{a+1}.{b}.bn{c+1}.*"),
    ("encoder.stages.{a}.layers.{b}.shortcut.convolution.*", "layer{a+1}.{b}.downsample.0.*"),
    ("encoder.stages.{a}.layers.{b}.shortcut.normalization.*", "layer{a+1}.{b}.downsample.1.*"),
    ("classifier.1.*", "fc.*"),
];

const CONVNEXT_ORIGINAL: &[Row] = &[
    ("downsample_layers.0.{a}.*", "stem.{a}.*"),
    ("downsample_layers.{a}.{b}.*", "stages.{a}.downsample.{b}.*"),
    ("stages.{a}.{b}.gamma", "stages.{a}.blocks.{b}.gamma"),
    ("stages.{a}.{b}.dwconv.*", "stages.{a}.blocks.{b}.conv_dw.*"),
    ("stages.{a}.{b}.norm.*", "stages.{a}.blocks.{b}.norm.*"),
    ("stages.{a}.{b}.pwconv1.*", "stages.{a}.blocks.{b}.mlp.fc1.*"),
    ("stages.{a}.{b}.pwconv2.*", "stages.{a}.blocks.{b}.mlp.fc2.*"),
    ("norm.*", "head.norm.*"),
    ("head.*", "head.fc.*"),
];

/// Stages are at odd numbers, what halves the map before them at even ones.
const CONVNEXT_TORCHVISION: &[Row] = &[
    ("features.0.{a}.*", "stem.{a}.*"),
    ("features.{a}.{b}.layer_scale", "stages.{a/2}.blocks.{b}.gamma"),
    ("features.{a}.{b}.*", "stages.{a/2}.downsample.{b}.*"),
    ("features.{a}.{b}.block.0.*", "stages.{a/2}.blocks.{b}.conv_dw.*"),
    ("features.{a}.{b}.block.2.*", "stages.{a/2}.blocks.{b}.norm.*"),
    ("features.{a}.{b}.block.3.*", "stages.{a/2}.blocks.{b}.mlp.fc1.*"),
    ("features.{a}.{b}.block.5.*", "stages.{a/2}.blocks.{b}.mlp.fc2.*"),
    ("classifier.0.*", "head.norm.*"),
    ("classifier.2.*", "head.fc.*"),
];

const CONVNEXT_TRANSFORMERS: &[Row] = &[
    ("embeddings.patch_embeddings.*", "stem.0.*"),
    ("embeddings.layernorm.*", "stem.1.*"),
    ("encoder.stages.{a}.downsampling_layer.{b}.*", "stages.{a}.downsample.{b}.*"),
    ("encoder.stages.{a}.layers.{b}.layer_scale_parameter", "stages.{a}.blocks.{b}.gamma"),
    ("encoder.stages.{a}.layers.{b}.dwconv.*", "stages.{a}.blocks.{b}.conv_dw.*"),
    ("encoder.stages.{a}.layers.{b}.layernorm.*", "stages.{a}.blocks.{b}.norm.*"),
    ("encoder.stages.{a}.layers.{b}.pwconv1.*", "stages.{a}.blocks.{b}.mlp.fc1.*"),
    ("encoder.stages.{a}.layers.{b}.pwconv2.*", "stages.{a}.blocks.{b}.mlp.fc2.*"),
    ("layernorm.*", "head.norm.*"),
    ("classifier.*", "head.fc.*"),
    // DINOv3
    ("stages.0.downsample_layers.{b}.*", "stem.{b}.*"),
    ("stages.{a}.downsample_layers.{b}.*", "stages.{a}.downsample.{b}.*"),
    ("stages.{a}.layers.{b}.gamma", "stages.{a}.blocks.{b}.gamma"),
    ("stages.{a}.layers.{b}.depthwise_conv.*", "stages.{a}.blocks.{b}.conv_dw.*"),
    ("stages.{a}.layers.{b}.layer_norm.*", "stages.{a}.blocks.{b}.norm.*"),
    ("stages.{a}.layers.{b}.pointwise_conv1.*", "stages.{a}.blocks.{b}.mlp.fc1.*"),
    ("stages.{a}.layers.{b}.pointwise_conv2.*", "stages.{a}.blocks.{b}.mlp.fc2.*"),
    ("layer_norm.*", "head.norm.*"),
];

/// What its authors call DINOv2 and DINOv3, where timm calls it otherwise.
const VIT_ORIGINAL: &[Row] = &[
    ("register_tokens", "reg_token"),
    ("storage_tokens", "reg_token"),
    ("blocks.{a}.mlp.w12.*", "blocks.{a}.mlp.fc1.*"),
    ("blocks.{a}.mlp.w1.*", "blocks.{a}.mlp.fc1_g.*"),
    ("blocks.{a}.mlp.w2.*", "blocks.{a}.mlp.fc1_x.*"),
    ("blocks.{a}.mlp.w3.*", "blocks.{a}.mlp.fc2.*"),
];

/// timm has two names for a layer scale.
const VIT_TIMM: &[Row] =
    &[("blocks.{a}.gamma_1", "blocks.{a}.ls1.gamma"), ("blocks.{a}.gamma_2", "blocks.{a}.ls2.gamma")];

const VIT_TRANSFORMERS: &[Row] = &[
    // ViT and DeiT
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.distillation_token", "dist_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
    ("encoder.layer.{a}.layernorm_before.*", "blocks.{a}.norm1.*"),
    ("encoder.layer.{a}.layernorm_after.*", "blocks.{a}.norm2.*"),
    ("encoder.layer.{a}.attention.attention.query.*", "blocks.{a}.attn.q.*"),
    ("encoder.layer.{a}.attention.attention.key.*", "blocks.{a}.attn.k.*"),
    ("encoder.layer.{a}.attention.attention.value.*", "blocks.{a}.attn.v.*"),
    ("encoder.layer.{a}.attention.output.dense.*", "blocks.{a}.attn.proj.*"),
    ("encoder.layer.{a}.intermediate.dense.*", "blocks.{a}.mlp.fc1.*"),
    ("encoder.layer.{a}.output.dense.*", "blocks.{a}.mlp.fc2.*"),
    // DINOv2, without and with registers
    ("encoder.layer.{a}.norm1.*", "blocks.{a}.norm1.*"),
    ("encoder.layer.{a}.norm2.*", "blocks.{a}.norm2.*"),
    ("encoder.layer.{a}.mlp.fc1.*", "blocks.{a}.mlp.fc1.*"),
    ("encoder.layer.{a}.mlp.fc2.*", "blocks.{a}.mlp.fc2.*"),
    ("encoder.layer.{a}.mlp.weights_in.*", "blocks.{a}.mlp.fc1.*"),
    ("encoder.layer.{a}.mlp.weights_out.*", "blocks.{a}.mlp.fc2.*"),
    ("encoder.layer.{a}.layer_scale1.lambda1", "blocks.{a}.ls1.gamma"),
    ("encoder.layer.{a}.layer_scale2.lambda1", "blocks.{a}.ls2.gamma"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.register_tokens", "reg_token"),
    // the same three, as transformers 5 names them
    ("layers.{a}.layernorm_before.*", "blocks.{a}.norm1.*"),
    ("layers.{a}.layernorm_after.*", "blocks.{a}.norm2.*"),
    ("layers.{a}.attention.q_proj.*", "blocks.{a}.attn.q.*"),
    ("layers.{a}.attention.k_proj.*", "blocks.{a}.attn.k.*"),
    ("layers.{a}.attention.v_proj.*", "blocks.{a}.attn.v.*"),
    ("layers.{a}.attention.o_proj.*", "blocks.{a}.attn.proj.*"),
    ("layers.{a}.mlp.fc1.*", "blocks.{a}.mlp.fc1.*"),
    ("layers.{a}.mlp.fc2.*", "blocks.{a}.mlp.fc2.*"),
    ("encoder.layer.{a}.attention.q_proj.*", "blocks.{a}.attn.q.*"),
    ("encoder.layer.{a}.attention.k_proj.*", "blocks.{a}.attn.k.*"),
    ("encoder.layer.{a}.attention.v_proj.*", "blocks.{a}.attn.v.*"),
    ("encoder.layer.{a}.attention.o_proj.*", "blocks.{a}.attn.proj.*"),
    // DINOv3
    ("embeddings.patch_embeddings.*", "patch_embed.proj.*"),
    ("layer.{a}.norm1.*", "blocks.{a}.norm1.*"),
    ("layer.{a}.norm2.*", "blocks.{a}.norm2.*"),
    ("layer.{a}.attention.q_proj.*", "blocks.{a}.attn.q.*"),
    ("layer.{a}.attention.k_proj.*", "blocks.{a}.attn.k.*"),
    ("layer.{a}.attention.v_proj.*", "blocks.{a}.attn.v.*"),
    ("layer.{a}.attention.o_proj.*", "blocks.{a}.attn.proj.*"),
    ("layer.{a}.layer_scale1.lambda1", "blocks.{a}.ls1.gamma"),
    ("layer.{a}.layer_scale2.lambda1", "blocks.{a}.ls2.gamma"),
    ("layer.{a}.mlp.gate_proj.*", "blocks.{a}.mlp.fc1_g.*"),
    ("layer.{a}.mlp.up_proj.*", "blocks.{a}.mlp.fc1_x.*"),
    ("layer.{a}.mlp.down_proj.*", "blocks.{a}.mlp.fc2.*"),
    // CLIP and SigLIP
    ("embeddings.class_embedding", "cls_token"),
    ("embeddings.patch_embedding.*", "patch_embed.proj.*"),
    ("embeddings.position_embedding.weight", "pos_embed"),
    ("pre_layrnorm.*", "norm_pre.*"),
    ("encoder.layers.{a}.layer_norm1.*", "blocks.{a}.norm1.*"),
    ("encoder.layers.{a}.layer_norm2.*", "blocks.{a}.norm2.*"),
    ("encoder.layers.{a}.self_attn.q_proj.*", "blocks.{a}.attn.q.*"),
    ("encoder.layers.{a}.self_attn.k_proj.*", "blocks.{a}.attn.k.*"),
    ("encoder.layers.{a}.self_attn.v_proj.*", "blocks.{a}.attn.v.*"),
    ("encoder.layers.{a}.self_attn.out_proj.*", "blocks.{a}.attn.proj.*"),
    ("encoder.layers.{a}.mlp.fc1.*", "blocks.{a}.mlp.fc1.*"),
    ("encoder.layers.{a}.mlp.fc2.*", "blocks.{a}.mlp.fc2.*"),
    ("post_layernorm.*", "norm.*"),
    // all of these
    ("layernorm.*", "norm.*"),
    ("classifier.*", "head.*"),
];
