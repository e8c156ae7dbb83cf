//! Principal components as colours, so that a person sees what an embedding says.

use nalgebra::{DMatrix, DVector};

/// Three directions of an embedding space and the range of values along each.
pub(crate) struct ColourBasis {
    mean: DVector<f32>,
    /// `[3, D]`.
    directions: DMatrix<f32>,
    ranges: [(f32, f32); 3],
}

impl ColourBasis {
    /// The three directions of greatest variance of `rows` (`[n, d]`, row-major); ranges are the 2nd to the 98th
    /// percentile. `None` if there are too few rows to say.
    pub(crate) fn fit(rows: &[f32], d: usize) -> Option<Self> {
        let n = rows.len().checked_div(d)?;
        if n < 4 || d < 3 {
            return None;
        }
        let data = DMatrix::from_row_slice(n, d, rows);
        let mean = DVector::from_iterator(d, data.column_iter().map(|c| c.mean()));
        let centred = DMatrix::from_fn(n, d, |r, c| data[(r, c)] - mean[c]);
        let eigen = (centred.transpose() * &centred / n as f32).symmetric_eigen();
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let mut directions = DMatrix::zeros(3, d);
        for (row, &column) in order.iter().take(3).enumerate() {
            let direction = eigen.eigenvectors.column(column);
            // The sign of an eigenvector is arbitrary: fix it, so that colours do not flip from run to run.
            let sign = if direction[direction.iamax()] < 0.0 { -1.0 } else { 1.0 };
            directions.set_row(row, &(direction.transpose() * sign));
        }
        let mut basis = Self { mean, directions, ranges: [(0.0, 1.0); 3] };
        let values: Vec<[f32; 3]> = rows.chunks_exact(d).map(|r| basis.coordinates(r)).collect();
        for axis in 0..3 {
            let mut along: Vec<f32> = values.iter().map(|v| v[axis]).collect();
            along.sort_by(f32::total_cmp);
            let at = |share: f32| along[((along.len() - 1) as f32 * share) as usize];
            basis.ranges[axis] = (at(0.02), at(0.98));
        }
        Some(basis)
    }

    /// The colour of one embedding.
    pub(crate) fn colour(&self, row: &[f32]) -> [u8; 3] {
        let values = self.coordinates(row);
        std::array::from_fn(|axis| {
            let (low, high) = self.ranges[axis];
            (((values[axis] - low) / (high - low).max(1e-12)).clamp(0.0, 1.0) * 255.0).round() as u8
        })
    }

    fn coordinates(&self, row: &[f32]) -> [f32; 3] {
        let centred = DVector::from_row_slice(row) - &self.mean;
        let values = &self.directions * centred;
        [values[0], values[1], values[2]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_direction_becomes_red() {
        // Variance mostly along the third axis, then the first.
        let rows: Vec<f32> = (0..100)
            .flat_map(|i| {
                let t = i as f32 / 99.0;
                [(t * 40.0).sin(), 0.1 * (t * 77.0).cos(), 10.0 * t, 0.0]
            })
            .collect();
        let basis = ColourBasis::fit(&rows, 4).unwrap();
        let (low, high) = (basis.colour(&rows[0..4]), basis.colour(&rows[396..400]));
        assert!(high[0] > 250 && low[0] < 5, "{low:?} {high:?}");
    }

    #[test]
    fn too_few_rows_have_no_basis() {
        assert!(ColourBasis::fit(&[1.0; 9], 3).is_none());
        assert!(ColourBasis::fit(&[], 0).is_none());
    }
}
