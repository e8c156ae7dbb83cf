//! What arrays are made of.

/// A number in the memory of a device; all of its bits may be zero, and any bits are a value.
pub trait Number: Sealed + Copy + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// Appends its bytes.
    fn append(self, bytes: &mut Vec<u8>);
    /// Takes it from its bytes.
    fn take(bytes: &[u8]) -> Self;
}

#[cfg(not(feature = "cuda"))]
#[doc(hidden)]
pub trait Sealed {}
/// What the driver copies as it is.
#[cfg(feature = "cuda")]
#[doc(hidden)]
pub trait Sealed: crate::cuda::driver::DeviceRepr + crate::cuda::driver::ValidAsZeroBits {}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Sealed for $t {}
        impl Number for $t {
            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_ne_bytes());
            }

            fn take(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<Self>()];
                own.copy_from_slice(bytes);
                Self::from_ne_bytes(own)
            }
        }
    )*};
}

numbers!(u8 i32 u32 i64 u64 f32 f64 half::bf16);
