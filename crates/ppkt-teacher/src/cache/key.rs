//! What an entry is named by.

use std::fmt;

use blake3::Hasher;

use crate::error::TeacherError;
use crate::images::Images;
use crate::spec::Teacher;

/// Raised when the layout of entries, or what a key is made of, changes.
const VERSION: u32 = 1;

/// Side of the test image.
const PROBE_SIDE: usize = 64;

/// BLAKE3 over everything that a map follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What makes a teacher's maps its own, as the beginning of every key.
#[derive(Clone)]
pub(super) struct Identity(Hasher);

impl Identity {
    /// From the specification (with the digest of the weights), and the bits that the teacher gives for a test image:
    /// options, configuration files, engine and instructions all show there, and none can be forgotten.
    pub(super) fn of(teacher: &(impl Teacher + ?Sized)) -> Result<Self, TeacherError> {
        let mut digest = Hasher::new();
        digest.update(b"ppkt feature map");
        digest.update(&VERSION.to_le_bytes());
        let spec = teacher.spec();
        let text = format!("{spec:?} {}", env!("CARGO_PKG_VERSION"));
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
        let map = teacher.features(&probe()?)?;
        for value in map.tokens.flatten_all()?.to_vec1::<f32>()? {
            digest.update(&value.to_bits().to_le_bytes());
        }
        Ok(Self(digest))
    }

    /// The key of the map of one image, `[height, width, 3]` bytes.
    pub(super) fn key(&self, height: usize, width: usize, rgb: &[u8]) -> Key {
        let mut digest = self.0.clone();
        for side in [height, width] {
            digest.update(&(side as u64).to_le_bytes());
        }
        digest.update(rgb);
        Key(digest.finalize().into())
    }
}

/// An image with something of every colour and size of detail in it.
fn probe() -> Result<Images, TeacherError> {
    let mut state = 0x9e37_79b9_u32;
    let mut rgb = Vec::with_capacity(PROBE_SIDE * PROBE_SIDE * 3);
    for i in 0..PROBE_SIDE * PROBE_SIDE {
        let (x, y) = (i % PROBE_SIDE, i / PROBE_SIDE);
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 27) as usize;
        rgb.extend([3 * x + noise, 3 * y + noise, 2 * (x ^ y) + noise].map(|v| v.min(255) as u8));
    }
    Images::new(1, PROBE_SIDE, PROBE_SIDE, rgb)
}
