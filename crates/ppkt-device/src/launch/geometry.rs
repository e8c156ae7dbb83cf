//! Numbers of blocks and threads.

/// Blocks along three axes, threads of each, and bytes of shared memory that a kernel asks for by `DYNAMIC_SHARED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Numbers of blocks.
    pub grid: [usize; 3],
    /// Numbers of threads of a block.
    pub block: [u32; 3],
    /// Beside what the kernel declares.
    pub shared_bytes: usize,
}

impl Geometry {
    /// Blocks along all axes.
    pub const fn new(grid: [usize; 3], block: [u32; 3]) -> Self {
        Self { grid, block, shared_bytes: 0 }
    }

    /// Blocks along one axis.
    pub const fn line(blocks: usize, threads: u32) -> Self {
        Self::new([blocks, 1, 1], [threads, 1, 1])
    }

    /// A thread for each of `n`, in blocks of `threads`.
    pub const fn threads(n: usize, threads: u32) -> Self {
        Self::line(n.div_ceil(threads as usize), threads)
    }

    /// The same with shared memory.
    #[must_use]
    pub const fn with_shared(self, shared_bytes: usize) -> Self {
        Self { shared_bytes, ..self }
    }
}
