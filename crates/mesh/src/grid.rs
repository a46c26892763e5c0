//! A periodic box of equal cells in one, two or three dimensions, and the wave numbers of its modes.

use lookback_operator::{Error, Result};

/// A periodic grid. Lengths are in any unit (radians on the sky, Mpc/h in a box); wave numbers are in its inverse.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    shape: Vec<usize>,
    lengths: Vec<f64>,
}

impl Grid {
    /// A grid of `shape` cells that spans `lengths` along each axis, in C order.
    ///
    /// # Errors
    /// If there are not one to three axes, an axis has fewer than two cells, or a length is not positive.
    pub fn new(shape: &[usize], lengths: &[f64]) -> Result<Grid> {
        let wrong = |message: String| Err(Error::parameter("grid", message));
        if shape.is_empty() || shape.len() > 3 || shape.len() != lengths.len() {
            return wrong(format!(
                "needs one to three axes with a length each, not {shape:?} and {lengths:?}"
            ));
        }
        if let Some(n) = shape.iter().find(|&&n| n < 2) {
            return wrong(format!("every axis needs at least 2 cells, not {n}"));
        }
        if let Some(length) = lengths.iter().find(|length| !(length.is_finite() && **length > 0.0)) {
            return wrong(format!("lengths must be positive and finite, not {length}"));
        }
        Ok(Grid { shape: shape.to_vec(), lengths: lengths.to_vec() })
    }

    /// A flat sky of `rows` x `columns` square pixels of side `pixel` \[rad\].
    ///
    /// # Errors
    /// As [`Grid::new`].
    pub fn sky(rows: usize, columns: usize, pixel: f64) -> Result<Grid> {
        Grid::new(&[rows, columns], &[rows as f64 * pixel, columns as f64 * pixel])
    }

    /// Cells along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Side lengths of the box.
    pub fn lengths(&self) -> &[f64] {
        &self.lengths
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never true: a grid has at least two cells.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Cells along the last axis.
    pub fn columns(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    /// Number of lines along the last axis.
    pub fn rows(&self) -> usize {
        self.len() / self.columns()
    }

    /// Complex numbers in a line of the half spectrum: `columns / 2 + 1`.
    pub fn half_columns(&self) -> usize {
        self.columns() / 2 + 1
    }

    /// Complex numbers in the half spectrum.
    pub fn half_len(&self) -> usize {
        self.rows() * self.half_columns()
    }

    /// Volume (area, length) of the box.
    pub fn volume(&self) -> f64 {
        self.lengths.iter().product()
    }

    /// Volume (area, length) of a cell.
    pub fn cell_volume(&self) -> f64 {
        self.volume() / self.len() as f64
    }

    /// Side lengths of a cell.
    pub fn spacing(&self) -> Vec<f64> {
        self.shape.iter().zip(&self.lengths).map(|(&n, length)| length / n as f64).collect()
    }

    /// Signed integer wave number of index `i` on an axis of `n` cells, in `-n/2 .. (n+1)/2`.
    pub fn signed(i: usize, n: usize) -> i32 {
        if 2 * i >= n { i as i32 - n as i32 } else { i as i32 }
    }

    /// Signed integer wave numbers of line `row` and column `column`, padded with zeros in front to three axes.
    pub fn integer_mode(&self, row: usize, column: usize) -> [i32; 3] {
        let mut mode = [0; 3];
        let mut rest = row;
        for axis in (0..self.shape.len() - 1).rev() {
            mode[3 - self.shape.len() + axis] = Grid::signed(rest % self.shape[axis], self.shape[axis]);
            rest /= self.shape[axis];
        }
        mode[2] = Grid::signed(column, self.columns());
        mode
    }

    /// Wave vector `2 pi n / L` of a mode, in the same order as [`integer_mode`](Grid::integer_mode).
    pub fn wave_vector(&self, row: usize, column: usize) -> [f64; 3] {
        let mode = self.integer_mode(row, column);
        let mut k = [0.0; 3];
        for (axis, length) in self.lengths.iter().enumerate() {
            let place = 3 - self.shape.len() + axis;
            k[place] = std::f64::consts::TAU * f64::from(mode[place]) / length;
        }
        k
    }

    /// `|k|` of every mode of the half spectrum.
    pub fn half_wave_numbers(&self) -> Vec<f64> {
        let columns = self.half_columns();
        (0..self.half_len())
            .map(|i| self.wave_vector(i / columns, i % columns).iter().map(|k| k * k).sum::<f64>().sqrt())
            .collect()
    }

    /// How often a column of the half spectrum stands for a mode of the full one: 1 or 2.
    pub fn multiplicity(&self, column: usize) -> usize {
        if column == 0 || 2 * column == self.columns() { 1 } else { 2 }
    }

    /// Index of the line with the opposite wave vector (without the last axis).
    pub fn mirror_row(&self, row: usize) -> usize {
        let mut mirrored = 0;
        let mut rest = row;
        let mut stride = 1;
        for &n in self.shape[..self.shape.len() - 1].iter().rev() {
            mirrored += stride * ((n - rest % n) % n);
            rest /= n;
            stride *= n;
        }
        mirrored
    }

    /// Smallest non-zero wave number.
    pub fn fundamental(&self) -> f64 {
        self.lengths.iter().map(|length| std::f64::consts::TAU / length).fold(f64::INFINITY, f64::min)
    }

    /// Largest wave number that every direction holds: the least Nyquist number of the axes.
    pub fn nyquist(&self) -> f64 {
        self.spacing().iter().map(|dx| std::f64::consts::PI / dx).fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_grids_are_refused_in_words() {
        for (shape, lengths) in
            [(&[4, 1][..], &[1.0, 1.0][..]), (&[4], &[-1.0]), (&[2; 4], &[1.0; 4]), (&[4], &[f64::NAN])]
        {
            assert!(Grid::new(shape, lengths).is_err(), "{shape:?} {lengths:?}");
        }
    }

    #[test]
    fn mirror_rows_hold_opposite_modes() {
        let grid = Grid::new(&[5, 4, 6], &[1.0; 3]).expect("a grid");
        for row in 0..grid.rows() {
            let (k, mirrored) = (grid.integer_mode(row, 0), grid.integer_mode(grid.mirror_row(row), 0));
            for (axis, n) in [5, 4].into_iter().enumerate() {
                assert_eq!((k[axis] + mirrored[axis]).rem_euclid(n), 0);
            }
        }
    }
}
