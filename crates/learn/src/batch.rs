//! Rows of numbers: one example a row, as networks take and give them.

use lookback_operator::Real;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// `rows x width` numbers, row after row. Images lie in a row as (height, width, channel), the channel fastest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Batch<T> {
    width: usize,
    data: Vec<T>,
}

impl<T: Real> Batch<T> {
    /// Rows of the given width.
    ///
    /// # Panics
    /// If the numbers do not fill whole rows.
    pub fn new(width: usize, data: Vec<T>) -> Batch<T> {
        assert!(width > 0 && data.len().is_multiple_of(width), "{} numbers in rows of {width}", data.len());
        Batch { width, data }
    }

    /// Rows of zeros.
    pub fn zeros(rows: usize, width: usize) -> Batch<T> {
        Batch { width, data: vec![T::zero(); rows * width] }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.width.max(1)
    }

    /// Numbers a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All numbers.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// All numbers, to be changed.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The numbers, without their shape.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.width..(row + 1) * self.width]
    }

    /// One row, to be changed.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.data[row * self.width..(row + 1) * self.width]
    }

    /// Columns `from..to` of every row.
    pub fn columns(&self, from: usize, to: usize) -> Batch<T> {
        let data = self.data.chunks_exact(self.width).flat_map(|row| &row[from..to]).copied().collect();
        Batch::new(to - from, data)
    }

    /// Rows with, after their numbers, those of a row of `other`: the one that `which` says.
    pub fn beside(&self, other: &Batch<T>, which: impl Fn(usize) -> usize) -> Batch<T> {
        let rows = (0..self.rows()).flat_map(|row| [self.row(row), other.row(which(row))]);
        Batch::new(self.width + other.width, rows.flatten().copied().collect())
    }

    /// Rows of the same width after those that are there.
    ///
    /// # Panics
    /// If the width is another.
    pub fn append(&mut self, other: &Batch<T>) {
        assert_eq!(self.width, other.width, "width of rows");
        self.data.extend_from_slice(&other.data);
    }

    /// The chosen rows, in this order.
    pub fn gather(&self, rows: impl IntoIterator<Item = usize>) -> Batch<T> {
        Batch::new(self.width, rows.into_iter().flat_map(|row| self.row(row)).copied().collect())
    }

    /// Changes every number by itself and the one at its place in another batch.
    pub fn zip_with(mut self, other: &Batch<T>, change: impl Fn(&mut T, T) + Sync) -> Batch<T> {
        debug_assert_eq!(self.data.len(), other.data.len());
        let part = |(a, b): (&mut [T], &[T])| a.iter_mut().zip(b).for_each(|(a, &b)| change(a, b));
        self.data.par_chunks_mut(CHUNK).zip(other.data.par_chunks(CHUNK)).for_each(part);
        self
    }

    /// Changes every number by itself.
    pub(crate) fn map(mut self, change: impl Fn(&mut T) + Sync) -> Batch<T> {
        self.data.par_chunks_mut(CHUNK).for_each(|part| part.iter_mut().for_each(&change));
        self
    }

    /// The same numbers in another precision.
    pub fn cast<U: Real>(&self) -> Batch<U> {
        Batch { width: self.width, data: self.data.iter().map(|x| U::of(x.f64())).collect() }
    }
}

/// Numbers a task.
const CHUNK: usize = 1 << 14;

/// Sums over the rows, column by column, in an order that does not depend on the number of threads.
pub(crate) fn column_sums<const N: usize>(
    width: usize,
    rows: usize,
    terms: impl Fn(usize, &mut [[f64; N]]) + Sync,
) -> Vec<[f64; N]> {
    const ROWS: usize = 256;
    let parts: Vec<Vec<[f64; N]>> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![[0.0; N]; width];
            (part * ROWS..((part + 1) * ROWS).min(rows)).for_each(|row| terms(row, &mut sums));
            sums
        })
        .collect();
    let mut all = vec![[0.0; N]; width];
    for part in parts {
        for (all, part) in all.iter_mut().zip(part) {
            all.iter_mut().zip(part).for_each(|(all, part)| *all += part);
        }
    }
    all
}

/// Rows that go through a network together where there are many.
const PART: usize = 256;

/// What a function of single rows makes of many, part by part: what lies between layers, and what they keep, stays small.
pub(crate) fn in_parts<T: Real>(x: Batch<T>, apply: impl Fn(Batch<T>) -> Batch<T>) -> Batch<T> {
    if x.rows() <= PART {
        return apply(x);
    }
    let done: Vec<Batch<T>> = parts(x).map(apply).collect();
    let width = done[0].width();
    Batch::new(width, done.into_iter().flat_map(Batch::into_data).collect())
}

/// The rows, so many at a time.
pub(crate) fn parts<T: Real>(x: Batch<T>) -> impl Iterator<Item = Batch<T>> {
    (0..x.rows()).step_by(PART).map(move |row| x.gather(row..(row + PART).min(x.rows())))
}
