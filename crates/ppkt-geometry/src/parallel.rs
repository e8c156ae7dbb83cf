//! Work over a range, on one thread or, with the `rayon` feature, on all; the result is the same.

use std::ops::Range;

/// What `f` appends for the parts of `0..n`, one after the other in the order of the range.
///
/// `f` must append for a part what it would append for its elements one by one; then it makes no difference how the
/// range is divided.
#[cfg(not(feature = "rayon"))]
pub(crate) fn flat_map_range<T>(n: usize, _chunk: usize, f: impl Fn(Range<usize>, &mut Vec<T>)) -> Vec<T> {
    let mut out = Vec::new();
    f(0..n, &mut out);
    out
}

#[cfg(feature = "rayon")]
pub(crate) fn flat_map_range<T: Send>(
    n: usize,
    chunk: usize,
    f: impl Fn(Range<usize>, &mut Vec<T>) + Sync,
) -> Vec<T> {
    use rayon::prelude::*;

    if n <= chunk {
        let mut out = Vec::new();
        f(0..n, &mut out);
        return out;
    }
    let parts: Vec<Vec<T>> = (0..n.div_ceil(chunk))
        .into_par_iter()
        .map(|i| {
            let mut out = Vec::new();
            f(i * chunk..((i + 1) * chunk).min(n), &mut out);
            out
        })
        .collect();
    let mut all = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for part in parts {
        all.extend(part);
    }
    all
}
