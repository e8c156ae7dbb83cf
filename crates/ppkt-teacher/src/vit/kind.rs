//! Kinds of transformers, and what each takes for granted where its files are silent.

use std::fmt;

use crate::engine::Activation;
use crate::error::TeacherError;
use crate::preprocess::Statistics;
use crate::weights::Weights;

/// A kind of vision transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// ViT (arXiv 2010.11929), DeiT (2012.12877), DINO (2104.14294).
    Plain,
    /// DINOv2 (2304.07193), without or with registers (2309.16588).
    DinoV2,
    /// DINOv3 (2508.10104): rotary positions.
    DinoV3,
    /// CLIP (2103.00020): a norm before the first block.
    Clip,
    /// SigLIP (2303.15343) and SigLIP 2 (2502.14786): no class token.
    SigLip,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "ViT",
            Self::DinoV2 => "DINOv2",
            Self::DinoV3 => "DINOv3",
            Self::Clip => "CLIP",
            Self::SigLip => "SigLIP",
        })
    }
}

impl Kind {
    /// By the tensors that only this kind has.
    ///
    /// # Errors
    /// [`TeacherError::Config`] for the kinds that are read with `transformers`' names only: elsewhere the files do not
    /// say which of several activations they have.
    pub(super) fn of(weights: &Weights) -> Result<Self, TeacherError> {
        let named = |word: &str| weights.config.arch.as_ref().is_some_and(|a| a.contains(word));
        let by_transformers = weights.naming == "transformers";
        let kind = if weights.has("norm_pre.weight") {
            Self::Clip
        } else if !weights.has("pos_embed") && weights.has("reg_token") {
            Self::DinoV3
        } else if weights.has("blocks.0.ls1.gamma") && !named("deit") {
            Self::DinoV2
        } else if by_transformers && !weights.has("cls_token")
            || weights.has("attn_pool.latent")
            || named("siglip")
        {
            Self::SigLip
        } else {
            Self::Plain
        };
        if matches!(kind, Self::Clip | Self::SigLip) && !by_transformers {
            let what = format!(
                "{kind} networks are read with transformers' names only; take the model's transformers files"
            );
            return Err(TeacherError::Config { what, path: weights.path().to_owned() });
        }
        Ok(kind)
    }

    /// What is added to variances in norms.
    pub(super) fn ln_eps(self) -> f64 {
        match self {
            Self::Plain | Self::DinoV2 | Self::SigLip => 1e-6,
            Self::DinoV3 | Self::Clip => 1e-5,
        }
    }

    /// Mean and standard deviation of its training images.
    pub(super) fn statistics(self) -> Statistics {
        match self {
            Self::Clip => Statistics::CLIP,
            Self::SigLip => Statistics::HALF,
            _ => Statistics::IMAGENET,
        }
    }

    /// Heads of published networks of so many channels.
    pub(super) fn usual_heads(self, channels: usize) -> usize {
        match channels {
            // so400m; ViT-H, g and G have 16 heads as ViT-L has; DINOv3's H+ has heads of 64 channels.
            1152 | 1408 | 1664 => 16,
            1280 if self != Self::DinoV3 => 16,
            4096 => 32,
            _ => channels / 64,
        }
    }

    /// The function between the layers of a block, or of its gate.
    pub(super) fn activation(
        self,
        weights: &Weights,
        gated: bool,
        notes: &mut Vec<String>,
    ) -> Result<Activation, TeacherError> {
        let config = &weights.config;
        // DINOv2's gate is SwiGLU's, whatever "hidden_act" says: that is for its plain layers.
        if self == Self::DinoV2 && gated {
            return Ok(Activation::Silu);
        }
        if let Some((name, path)) = &config.activation {
            return match name.as_str() {
                "gelu" | "gelu_python" => Ok(Activation::Gelu),
                "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
                "quick_gelu" => Ok(Activation::QuickGelu),
                "silu" | "swish" => Ok(Activation::Silu),
                _ => Err(TeacherError::Config {
                    what: format!(
                        "activation {name:?} is not read, only \"gelu\", \"gelu_pytorch_tanh\", \"quick_gelu\" and \"silu\""
                    ),
                    path: path.clone(),
                }),
            };
        }
        let (assumed, name) = match self {
            _ if gated => (Activation::Silu, "SiLU"),
            Self::Clip => (Activation::QuickGelu, "quick GELU"),
            Self::SigLip => (Activation::GeluTanh, "the tanh approximation of GELU"),
            _ => return Ok(Activation::Gelu),
        };
        notes.push(format!("{name} was assumed, as is usual; its files do not say"));
        Ok(assumed)
    }
}
