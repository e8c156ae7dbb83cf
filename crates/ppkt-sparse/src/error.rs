//! The crate's one error type.

/// What can be wrong with a sparse tensor or an operation on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SparseError {
    /// A coordinate does not fit into the packed key.
    #[error(
        "row {row}: coordinate {coord:?} (batch, x, y, z) is out of range: batch must be in 0..={max_batch}, \
         x, y, z in {min}..={max}; move the cloud's origin or use a larger voxel"
    )]
    OutOfRange {
        /// Row in the caller's list.
        row: usize,
        /// Batch, x, y, z.
        coord: [i32; 4],
        /// Largest batch index.
        max_batch: i32,
        /// Smallest x, y, z.
        min: i32,
        /// Largest x, y, z.
        max: i32,
    },
    /// Two rows have the same coordinate.
    #[error(
        "rows {first} and {second} have the same coordinate {coord:?}; voxelise the points first, or merge them with `SparseTensor::merged`"
    )]
    Duplicate {
        /// The lower row of the two.
        first: usize,
        /// The higher row of the two.
        second: usize,
        /// Batch, x, y, z.
        coord: [i32; 4],
    },
    /// More rows than 32-bit row numbers hold.
    #[error("{rows} rows are more than a sparse tensor holds ({max})")]
    TooManyRows {
        /// Number of rows given.
        rows: usize,
        /// Largest number of rows.
        max: usize,
    },
    /// A batch index is not below the batch size that was given.
    #[error("row {row} belongs to batch item {batch}, but the batch has {batch_size} items")]
    BatchSize {
        /// Row in the caller's list.
        row: usize,
        /// Its batch index.
        batch: i32,
        /// The size that was given.
        batch_size: usize,
    },
    /// A tensor has another shape than the operation needs.
    #[error("{op}: {what} must have shape {expected}, not {got:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The tensor in question.
        what: &'static str,
        /// The shape that is needed, in words.
        expected: String,
        /// The shape that was given.
        got: Vec<usize>,
    },
    /// The kernel, stride or dilation is zero or too large.
    #[error(
        "kernel {kernel}, stride {stride}, dilation {dilation}: each must be at least 1, and the kernel at most {max_kernel}"
    )]
    Spec {
        /// Kernel size.
        kernel: usize,
        /// Stride.
        stride: usize,
        /// Dilation.
        dilation: usize,
        /// Largest kernel size.
        max_kernel: usize,
    },
    /// A transposed convolution has nowhere to go.
    #[error(
        "no coordinates of stride {wanted} are known to this tensor's manager (it knows {known:?}), so a tensor of \
         stride {stride} cannot be upsampled by {factor}; upsampling goes back to coordinates that a strided \
         convolution started from"
    )]
    NoFinerCoordinates {
        /// Stride of the input.
        stride: u32,
        /// Factor of the upsampling.
        factor: usize,
        /// The stride that was looked for; 0 where the factor does not divide.
        wanted: u32,
        /// The strides that exist.
        known: Vec<u32>,
    },
    /// There is no set of coordinates of this stride.
    #[error("no coordinates of stride {stride} are known to this manager (it knows {known:?})")]
    UnknownStride {
        /// The stride that was asked for.
        stride: u32,
        /// The strides that exist.
        known: Vec<u32>,
    },
    /// The stride of the result would exceed the range of coordinates.
    #[error("stride {stride} times {factor} is more than the range of coordinates allows ({max})")]
    StrideTooLarge {
        /// Stride of the input.
        stride: u32,
        /// Factor of the downsampling.
        factor: usize,
        /// The largest stride.
        max: u32,
    },
    /// Two tensors do not live on the same coordinates.
    #[error(
        "{op}: the tensors have different coordinates (strides {left} and {right}, {left_rows} and {right_rows} rows); \
         both must come from the same input and have the same stride"
    )]
    DifferentCoordinates {
        /// The operation.
        op: &'static str,
        /// Stride of the first.
        left: u32,
        /// Stride of the second.
        right: u32,
        /// Rows of the first.
        left_rows: usize,
        /// Rows of the second.
        right_rows: usize,
    },
    /// Batch normalisation in training has no variance to divide by.
    #[error(
        "{op}: training needs at least 2 voxels at stride {stride}, not {rows}; use a larger batch, smaller voxels, \
         or evaluation mode"
    )]
    TooFewRows {
        /// The operation.
        op: &'static str,
        /// Number of voxels.
        rows: usize,
        /// Stride of the tensor.
        stride: u32,
    },
    /// A state dict is not of this network; nothing was changed.
    #[error("the state dict is of another network, nothing was loaded: {0}")]
    StateDict(Box<crate::LoadReport>),
    /// The environment variable `PPKT_SIMD` asks for an instruction set that is not there.
    #[error("PPKT_SIMD is {asked:?}, but this machine has {available:?}; unset it or choose one of these")]
    Simd {
        /// The variable's value.
        asked: String,
        /// What it may be.
        available: Vec<&'static str>,
    },
    /// bf16 was asked for where nothing computes it fast.
    #[error(
        "precision bf16 needs a processor with avx512_bf16, and convolutions use {simd} here; choose precision f32, or \
         set PPKT_SIMD=plain for the same numbers at a crawl"
    )]
    Bf16 {
        /// The instruction set in use.
        simd: &'static str,
    },
    /// bf16 was asked for on a device whose kernels are f32.
    #[error(
        "precision bf16 is computed on the processor and on NVIDIA GPUs, not on {device:?}; choose precision f32"
    )]
    Bf16OnDevice {
        /// The device.
        device: candle_core::DeviceLocation,
    },
    /// Numbers of this name are not known.
    #[error("no precision is called {got:?}; there are f32 and bf16")]
    Precision {
        /// The name that was given.
        got: String,
    },
    /// candle refused.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
