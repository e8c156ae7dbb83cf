//! Arrays and parts of them, as arguments of kernels.

use std::marker::PhantomData;
use std::ops::Range;

use super::Number;

/// An array in the memory of a device.
pub trait Memory {
    /// What it is made of.
    type Number: Number;

    /// The whole of it, to be read.
    fn view(&self) -> View<'_, Self::Number>;
    /// The whole of it, to be written, and perhaps read.
    fn view_mut(&mut self) -> ViewMut<'_, Self::Number>;
}

/// An array, or a part of one, that is read.
#[derive(Debug)]
pub struct View<'a, T> {
    address: u64,
    len: usize,
    of: PhantomData<&'a [T]>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<T: Number> View<'_, T> {
    /// `len` numbers from an address on, which live as long as the view.
    pub fn new(address: u64, len: usize) -> Self {
        Self { address, len, of: PhantomData }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Some of the numbers.
    ///
    /// # Panics
    /// If the range reaches outside, as that of a slice.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        let Range { start, end } = range;
        assert!(start <= end && end <= self.len, "{start}..{end} of {} numbers", self.len);
        Self::new(self.address + (start * size_of::<T>()) as u64, end - start)
    }

    fn span(self) -> Span {
        Span { address: self.address, bytes: self.len * size_of::<T>() }
    }
}

impl<'a, T: Number> View<'a, T> {
    /// The same, to be written: for small figures beside an update, that nothing else reads before the launch is done,
    /// and for memory that candle lends to be written.
    pub fn written(self) -> ViewMut<'a, T> {
        ViewMut { view: self, of: PhantomData }
    }
}

/// An array, or a part of one, that is written, and perhaps read.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    view: View<'a, T>,
    of: PhantomData<&'a mut [T]>,
}

impl<T: Number> ViewMut<'_, T> {
    /// How many numbers.
    pub fn len(&self) -> usize {
        self.view.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.view.len == 0
    }
}

/// Where an argument's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Of the first.
    pub address: u64,
    /// Of all of them.
    pub bytes: usize,
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// An array that is not there: a null pointer.
    Null,
    /// An array that the kernel reads.
    Read(Span),
    /// An array that the kernel may write.
    Write(Span),
    /// `int`
    I32(i32),
    /// `unsigned`
    U32(u32),
    /// `unsigned long long`
    U64(u64),
    /// `float`
    F32(f32),
    /// `double`
    F64(f64),
}

impl From<bool> for Arg {
    /// As `int`, 0 or 1.
    fn from(value: bool) -> Self {
        Self::I32(i32::from(value))
    }
}

macro_rules! values {
    ($($t:ty, $variant:ident;)*) => {$(
        impl From<$t> for Arg {
            fn from(value: $t) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

values! { i32, I32; u32, U32; u64, U64; f32, F32; f64, F64; }

/// What a kernel can be given to read: memory, a view of it, or, with [`None`], nothing.
pub trait Readable<'a> {
    /// As an argument.
    fn read(self) -> Arg;
}

impl<'a, T: Number> Readable<'a> for View<'a, T> {
    fn read(self) -> Arg {
        Arg::Read(self.span())
    }
}

impl<'a, M: Memory> Readable<'a> for &'a M {
    fn read(self) -> Arg {
        self.view().read()
    }
}

impl<'a, R: Readable<'a>> Readable<'a> for Option<R> {
    fn read(self) -> Arg {
        self.map_or(Arg::Null, R::read)
    }
}

/// What a kernel can be given to write: memory, a view of it, or, with [`None`], nothing.
pub trait Writable<'a> {
    /// As an argument.
    fn write(self) -> Arg;
}

impl<'a, T: Number> Writable<'a> for ViewMut<'a, T> {
    fn write(self) -> Arg {
        Arg::Write(self.view.span())
    }
}

impl<'a, M: Memory> Writable<'a> for &'a mut M {
    fn write(self) -> Arg {
        self.view_mut().write()
    }
}

impl<'a, W: Writable<'a>> Writable<'a> for Option<W> {
    fn write(self) -> Arg {
        self.map_or(Arg::Null, W::write)
    }
}
