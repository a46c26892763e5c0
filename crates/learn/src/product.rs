//! Products of matrices, on the kernels of `gemm`.

use lookback_operator::Real;

/// A matrix in a slice, by rows or by columns.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix whose rows lie one after the other.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Matrix<'a, T> {
        assert_eq!(data.len(), rows * columns, "a matrix of {rows} x {columns}");
        Matrix { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The entries as they lie in memory.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The transpose, without moving anything.
    pub fn transposed(self) -> Matrix<'a, T> {
        Matrix {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// On how many threads a product is computed. The result is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The caller is one of many tasks.
    One,
    /// The whole pool.
    All,
}

/// `out = a b`, or `out += a b`.
///
/// Cost: two operations for each of `rows x columns x inner`.
pub fn multiply<T: Real>(out: &mut [T], add: bool, a: Matrix<'_, T>, b: Matrix<'_, T>, threads: Threads) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(b.rows, k, "matrices of {m} x {k} and {} x {n}", b.rows);
    assert_eq!(out.len(), m * n, "a product of {m} x {n}");
    if m * n == 0 {
        return;
    }
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: the three slices hold what shapes and strides reach, which is asserted where a `Matrix` is made and above, and
    // `out` is borrowed for writing, so that it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn products_agree_with_sums() {
        let (m, k, n) = (13, 37, 21);
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let mut out = vec![1.0; m * n];
        multiply(&mut out, true, Matrix::new(&a, m, k), Matrix::new(&b, k, n), Threads::All);
        for i in 0..m {
            for j in 0..n {
                let sum: f64 = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum();
                assert!((f64::from(out[i * n + j]) - 1.0 - sum).abs() < 1e-5);
            }
        }
        let mut transposed = vec![0.0; m * m];
        multiply(
            &mut transposed,
            false,
            Matrix::new(&a, m, k),
            Matrix::new(&a, m, k).transposed(),
            Threads::One,
        );
        for i in 0..m {
            for j in 0..m {
                assert!((transposed[i * m + j] - transposed[j * m + i]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_product_does_not_depend_on_the_number_of_threads() {
        for (m, k, n) in [(128, 1024, 6272), (6272, 128, 1024), (128, 64, 1024), (100, 784, 3)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let mut out = vec![0.0; m * n];
                pool.install(|| {
                    multiply(&mut out, false, Matrix::new(&a, m, k), Matrix::new(&b, k, n), Threads::All);
                });
                out
            };
            let one = with(1);
            assert!(one == with(2) && one == with(5), "{m} x {k} x {n}");
        }
    }
}
