//! Frozen 2D networks from safetensors files and the Hugging Face Hub, and the upsampling projection.
