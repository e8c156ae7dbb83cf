//! What the kernels written in WGSL ask of a device, so that their launchers are written once.
//!
//! On an Apple GPU it is candle's Metal back end, which runs the Metal text that naga makes of the
//! WGSL; in the tests it is a Vulkan device that runs the WGSL itself (`ppkt-wgsl`).

mod sums;

use candle_core::Result;

pub use sums::{SUMS, column_sums, column_sums_into};

/// One file of kernels.
#[derive(Debug)]
pub struct KernelSource {
    /// The files' stem.
    pub name: &'static str,
    /// What is written by hand.
    pub wgsl: &'static str,
    /// What naga makes of it; its first lines tell the launcher about each entry ([`EntryPoint`]).
    pub metal: &'static str,
}

/// The kernels of `STEM.wgsl` and of `STEM.metal` beside the file that says this.
#[macro_export]
#[doc(hidden)]
macro_rules! wgsl_kernel_source {
    ($stem:literal) => {
        $crate::wgsl::KernelSource {
            name: $stem,
            wgsl: include_str!(concat!($stem, ".wgsl")),
            metal: include_str!(concat!($stem, ".metal")),
        }
    };
}

/// Slot of the lengths of arrays, which naga's Metal text has as an argument of every kernel, and ours never read.
pub const LENGTHS_SLOT: u8 = 30;

pub use wgsl_kernel_source as kernel_source;

/// A device that runs kernels in the order in which they are given.
///
/// Buffers count in words of four bytes. Kernels bind their uniform parameters at 0 of group 0 and their buffers above.
pub trait Compute {
    /// Memory of the device.
    type Buffer: Clone;

    /// A buffer of `words` words, of any content; of no words too.
    ///
    /// # Errors
    /// candle's, where the memory does not suffice.
    fn buffer(&self, words: usize) -> Result<Self::Buffer>;

    /// A buffer with these words.
    ///
    /// # Errors
    /// As [`Self::buffer`].
    fn upload(&self, words: &[u32]) -> Result<Self::Buffer>;

    /// Runs `groups` work groups of an entry on buffers, in the order of their bindings.
    ///
    /// # Errors
    /// candle's: the kernel does not compile, or takes another number of buffers.
    fn run(
        &self,
        source: &'static KernelSource,
        entry: &'static str,
        groups: [usize; 3],
        buffers: &[&Self::Buffer],
        parameters: &[u32],
    ) -> Result<()>;
}

/// A number as kernels take it: all that is counted in a buffer fits, as its words do.
pub fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// `groups` work groups on a grid of two axes, neither of which is longer than any device takes; kernels number them
/// `id.y * n.x + id.x` and leave out those past the end.
pub fn grid(groups: usize) -> [usize; 3] {
    const LONGEST: usize = 1 << 15;
    [groups.clamp(1, LONGEST), groups.div_ceil(LONGEST).max(1), 1]
}

/// What a launcher has to know of an entry of a file of Metal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPoint {
    /// Threads of a group along each axis.
    pub threads: [usize; 3],
    /// Bytes of each argument in the group's memory.
    pub shared: Vec<usize>,
    /// Slots of the buffers in ascending order, and whether each is written.
    pub buffers: Vec<(usize, bool)>,
}

impl EntryPoint {
    /// The line that tells of it; [`Self::find`] reads it.
    pub fn line(&self, name: &str) -> String {
        let [x, y, z] = self.threads;
        let shared: String = self.shared.iter().map(|bytes| format!(" {bytes}")).collect();
        let mark = |written: &bool| if *written { "w" } else { "r" };
        let buffers: String = self.buffers.iter().map(|(slot, w)| format!(" {slot}{}", mark(w))).collect();
        format!("// entry {name}: threads {x} {y} {z}; shared{shared}; buffers{buffers}")
    }

    /// Reads what the text says of an entry.
    pub fn find(metal: &str, name: &str) -> Option<Self> {
        let prefix = format!("// entry {name}: ");
        let line = metal.lines().take_while(|l| l.starts_with("//")).find_map(|l| l.strip_prefix(&prefix))?;
        let [threads, shared, buffers] = line.split("; ").collect::<Vec<_>>().try_into().ok()?;
        let numbers = |text: &str, word: &str| -> Option<Vec<usize>> {
            text.strip_prefix(word)?.split_whitespace().map(|n| n.parse().ok()).collect()
        };
        let slot = |text: &str| -> Option<(usize, bool)> {
            let written = text.ends_with('w');
            Some((text.strip_suffix(['r', 'w'])?.parse().ok()?, written))
        };
        Some(Self {
            threads: numbers(threads, "threads")?.try_into().ok()?,
            shared: numbers(shared, "shared")?,
            buffers: buffers.strip_prefix("buffers")?.split_whitespace().map(slot).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_an_entry_is_read_again() {
        let entry =
            EntryPoint { threads: [16, 4, 1], shared: vec![4096, 16], buffers: vec![(1, false), (3, true)] };
        let bare = EntryPoint { threads: [256, 1, 1], shared: vec![], buffers: vec![] };
        let text = format!("// made\n{}\n{}\n\nkernel\n", entry.line("forward"), bare.line("back"));
        assert_eq!(EntryPoint::find(&text, "forward"), Some(entry));
        assert_eq!(EntryPoint::find(&text, "back"), Some(bare));
        assert_eq!(EntryPoint::find(&text, "other"), None);
        assert_eq!(EntryPoint::find("// entry a: threads 1 1; shared; buffers", "a"), None);
        assert_eq!(EntryPoint::find("// entry a: threads 1 1 1; shared; buffers 1x", "a"), None);
    }

    #[test]
    fn a_grid_holds_all_groups_and_no_axis_is_too_long() {
        for groups in [0, 1, 2, 1 << 15, (1 << 15) + 1, 1_000_000] {
            let [x, y, z] = grid(groups);
            assert!(x * y * z >= groups && x * (y - 1) < groups.max(1) && x <= 65_535 && y <= 65_535);
        }
    }
}
