//! The header of a safetensors file.

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};

use super::Text;
use super::entry::Entry;
use crate::error::TeacherError;

/// All tensors and the metadata of file number `file`.
pub(super) fn entries(bytes: &[u8], path: &Path, file: usize) -> Result<(Vec<Entry>, Text), TeacherError> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| header_error(&e, path, bytes))?;
    let start = header + size_of::<u64>();
    let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| Entry {
        name,
        dtype: info.dtype,
        shape: info.shape.clone(),
        strides: None,
        file,
        bytes: start + info.data_offsets.0..start + info.data_offsets.1,
    };
    let text = metadata.metadata().clone().unwrap_or_default();
    Ok((metadata.tensors().into_iter().map(entry).collect(), text))
}

fn header_error(error: &SafeTensorError, path: &Path, bytes: &[u8]) -> TeacherError {
    let path = path.to_owned();
    let reason = match error {
        SafeTensorError::HeaderTooSmall => "it is shorter than a header".to_owned(),
        SafeTensorError::HeaderTooLarge => {
            "its first 8 bytes ask for a header of more than 100 MB".to_owned()
        }
        SafeTensorError::InvalidHeaderLength => {
            "it ends within its header, or its first 8 bytes are no header length".to_owned()
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            let length = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
            let header = usize::try_from(length).ok().and_then(|n| bytes.get(8..)?.get(..n));
            let metadata: Option<Metadata> = header.and_then(|h| serde_json::from_slice(h).ok());
            let data = metadata.map_or(0, |m| m.data_len() as u64);
            return TeacherError::WrongLength {
                expected: 8 + length + data,
                found: bytes.len() as u64,
                path,
            };
        }
        other => other.to_string(),
    };
    TeacherError::NotSafetensors { reason, path }
}
