//! The matrix product, as a safe function over slices.

/// A matrix in a slice, by steps between its rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    n_rows: usize,
    n_cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a> Matrix<'a> {
    /// `values` holds the rows one after the other.
    pub(crate) fn rows_of(values: &'a [f32], n_cols: usize) -> Self {
        assert_eq!(values.len() % n_cols, 0, "a whole number of rows");
        Self { values, n_rows: values.len() / n_cols, n_cols, row_step: n_cols, col_step: 1 }
    }

    /// The same values, rows as columns.
    pub(crate) fn transposed(self) -> Self {
        let Self { values, n_rows, n_cols, row_step, col_step } = self;
        Self { values, n_rows: n_cols, n_cols: n_rows, row_step: col_step, col_step: row_step }
    }
}

/// What happens to the values that were in the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Overwrite,
    AddTo,
}

/// `out = factor · a · b`, or that added to it; `out` is row-major and whole.
///
/// One thread: the callers run several products side by side, each over its own fixed rows, so that sums are made in
/// the same order whatever the number of threads.
pub(crate) fn product(out: &mut [f32], output: Output, factor: f32, a: Matrix<'_>, b: Matrix<'_>) {
    assert_eq!(a.n_cols, b.n_rows, "inner sizes");
    assert_eq!(out.len(), a.n_rows * b.n_cols, "output size");
    if out.is_empty() {
        return;
    }
    #[expect(unsafe_code, reason = "the product of the `gemm` crate takes pointers")]
    // SAFETY: `Matrix` is only made by `rows_of`, whose check makes every (row, col) below (n_rows, n_cols) lie in
    // `values`, and by `transposed`, which keeps that; `out` has n_rows · n_cols values, and as a unique borrow
    // overlaps neither input. Steps fit isize because slices do.
    unsafe {
        gemm::gemm(
            a.n_rows,
            b.n_cols,
            a.n_cols,
            out.as_mut_ptr(),
            1,
            b.n_cols as isize,
            output == Output::AddTo,
            a.values.as_ptr(),
            a.col_step as isize,
            a.row_step as isize,
            b.values.as_ptr(),
            b.col_step as isize,
            b.row_step as isize,
            1.0f32,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition() {
        // a: 2×3, b given as its transpose 2×3.
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, -1.0, 2.0, 1.0, 0.5];
        let mut out = [10.0; 4];
        let b = Matrix::rows_of(&b, 3).transposed();
        product(&mut out, Output::Overwrite, 2.0, Matrix::rows_of(&a, 3), b);
        assert_eq!(out, [-4.0, 11.0, -4.0, 32.0]);
        product(&mut out, Output::AddTo, 1.0, Matrix::rows_of(&a, 3), b);
        assert_eq!(out, [-6.0, 16.5, -6.0, 48.0]);
    }
}
