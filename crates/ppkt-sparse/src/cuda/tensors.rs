//! Rows and types of candle's tensors.

use candle_core::{Layout, Result};

use super::rows::Rows;

/// What `layout` says of a tensor `[N, C]`.
pub(crate) fn rows(layout: &Layout) -> Result<Rows> {
    let (n, channels) = layout.shape().dims2()?;
    Ok(Rows { n, channels })
}

/// Runs an expression for the type of features, which it knows as `T`.
macro_rules! by_type {
    ($op:expr, $storage:expr, $T:ident => $body:expr) => {
        match candle_core::backend::BackendStorage::dtype($storage) {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            other => candle_core::bail!("{}: features are f32 or bf16 on a GPU, not {other:?}", $op),
        }
    };
}
pub(crate) use by_type;
