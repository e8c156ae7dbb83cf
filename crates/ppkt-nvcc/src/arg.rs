//! What a kernel is given.

/// A number as it lies in memory.
pub trait Element: Copy + PartialEq + std::fmt::Debug {
    /// Appends its bytes.
    fn append(self, bytes: &mut Vec<u8>);
    /// Takes it from its bytes.
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($t:ty)*) => {$(
        impl Element for $t {
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

elements!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 half::bf16 half::f16);

/// An argument of a kernel.
pub struct Arg<'a>(pub(crate) Kind<'a>);

/// What happens to an array after the launch: its bytes are given back.
type Back<'a> = Box<dyn FnMut(&[u8]) + 'a>;

pub(crate) enum Kind<'a> {
    Value(Vec<u8>),
    Null,
    Read(Vec<u8>),
    Write(Vec<u8>, Back<'a>),
}

fn bytes_of<T: Element>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    values.iter().for_each(|v| v.append(&mut bytes));
    bytes
}

impl<'a> Arg<'a> {
    /// A number.
    pub fn value<T: Element>(value: T) -> Self {
        Self(Kind::Value(bytes_of(&[value])))
    }

    /// No array at all: a null pointer.
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// An array that the kernel reads, and may not write.
    pub fn read<T: Element>(values: &[T]) -> Self {
        Self(Kind::Read(bytes_of(values)))
    }

    /// An array that the kernel may read and write.
    pub fn write<T: Element>(values: &'a mut [T]) -> Self {
        let bytes = bytes_of(values);
        let back = move |bytes: &[u8]| {
            for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(size_of::<T>())) {
                *value = T::take(bytes);
            }
        };
        Self(Kind::Write(bytes, Box::new(back)))
    }
}
