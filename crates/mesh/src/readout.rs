//! Reading a map at points between its pixel centres, and the adjoint: painting points onto the map.

use lookback_operator::{Error, LinearOperator, Real, Result, Space};
use rayon::prelude::*;

use crate::Grid;

/// Corners of the square of pixels around a point.
const CORNERS: usize = 4;

/// Bilinear (cloud-in-cell) interpolation of two-dimensional maps at fixed points. Each block of the domain is a map on
/// the grid; each becomes a block of values at the points. Pixel `(i, j)` has its centre at `((j + 1/2) dx, (i + 1/2) dy)`;
/// the map is periodic.
///
/// The adjoint gathers, for every pixel, from the points around it, in a fixed order. Memory: 32 bytes a point for
/// each direction, whatever the number of maps. Cost: `8` operations per point and map.
pub struct Readout<T: Real> {
    domain: Space,
    codomain: Space,
    pixels: usize,
    points: usize,
    corners: Vec<[(u32, T); CORNERS]>,
    /// For pixel `p`, the entries `start[p] .. start[p + 1]` of `around` touch it.
    start: Vec<u32>,
    around: Vec<(u32, T)>,
}

impl<T: Real> Readout<T> {
    /// Reads the maps in `domain` (each with the shape of `grid`) at the points `(x, y)`, in the units of the grid,
    /// measured from the outer corner of pixel (0, 0). Output blocks keep their names.
    ///
    /// # Errors
    /// If the grid is not two-dimensional, a map has another shape, or a point lies outside of the box.
    pub fn new(grid: &Grid, domain: Space, points: &[(f64, f64)]) -> Result<Readout<T>> {
        let wrong = |message: String| Error::parameter("readout", message);
        let &[rows, columns] = grid.shape() else {
            return Err(wrong(format!("needs a two-dimensional grid, not {:?}", grid.shape())));
        };
        if let Some(block) = domain.blocks().iter().find(|block| block.shape != [rows, columns]) {
            return Err(wrong(format!("map {block} does not have the shape {rows} x {columns} of the grid")));
        }
        let (width, height) = (grid.lengths()[1], grid.lengths()[0]);
        let inside = |&(x, y): &(f64, f64)| (0.0..=width).contains(&x) && (0.0..=height).contains(&y);
        if let Some(index) = points.iter().position(|point| !inside(point)) {
            return Err(wrong(format!("point {index} at {:?} lies outside of the map", points[index])));
        }
        let corners: Vec<_> = points.iter().map(|&point| corners_of(grid, point)).collect();
        let (start, around) = transpose(rows * columns, &corners);
        let blocks = domain.blocks().iter().map(|block| {
            lookback_operator::Block::new(block.name.clone(), &[points.len()], block.unit.clone())
        });
        let codomain = Space::new(blocks.collect());
        Ok(Readout { domain, codomain, pixels: rows * columns, points: points.len(), corners, start, around })
    }
}

fn corners_of<T: Real>(grid: &Grid, (x, y): (f64, f64)) -> [(u32, T); CORNERS] {
    let (rows, columns) = (grid.shape()[0], grid.shape()[1]);
    let cell = |x: f64, length: f64, n: usize| {
        let u = x / length * n as f64 - 0.5;
        let left = u.floor();
        let wrap = |i: f64| (i as i64).rem_euclid(n as i64) as usize;
        (wrap(left), wrap(left + 1.0), u - left)
    };
    let (top, bottom, fy) = cell(y, grid.lengths()[0], rows);
    let (left, right, fx) = cell(x, grid.lengths()[1], columns);
    let corner = |i: usize, j: usize, weight: f64| ((i * columns + j) as u32, T::of(weight));
    [
        corner(top, left, (1.0 - fy) * (1.0 - fx)),
        corner(top, right, (1.0 - fy) * fx),
        corner(bottom, left, fy * (1.0 - fx)),
        corner(bottom, right, fy * fx),
    ]
}

/// Lists, for every pixel, the points that touch it, in the order of the points.
fn transpose<T: Real>(pixels: usize, corners: &[[(u32, T); CORNERS]]) -> (Vec<u32>, Vec<(u32, T)>) {
    let mut start = vec![0u32; pixels + 1];
    for &(pixel, _) in corners.iter().flatten() {
        start[pixel as usize + 1] += 1;
    }
    for pixel in 0..pixels {
        start[pixel + 1] += start[pixel];
    }
    let mut next = start.clone();
    let mut around = vec![(0, T::zero()); corners.len() * CORNERS];
    for (point, corners) in corners.iter().enumerate() {
        for &(pixel, weight) in corners {
            let place = &mut next[pixel as usize];
            around[*place as usize] = (point as u32, weight);
            *place += 1;
        }
    }
    (start, around)
}

impl<T: Real> LinearOperator<T> for Readout<T> {
    type Scratch = ();

    fn name(&self) -> String {
        format!("read at {} points", self.points)
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) {}

    fn forward(&self, maps: &[T], values: &mut [T], (): &mut ()) {
        for (map, values) in maps.chunks(self.pixels).zip(values.chunks_mut(self.points)) {
            values.par_iter_mut().zip(&self.corners).with_min_len(4096).for_each(|(value, corners)| {
                *value = corners.iter().map(|&(pixel, weight)| map[pixel as usize] * weight).sum();
            });
        }
    }

    fn adjoint(&self, values: &[T], maps: &mut [T], (): &mut ()) {
        for (map, values) in maps.chunks_mut(self.pixels).zip(values.chunks(self.points)) {
            map.par_iter_mut().enumerate().with_min_len(4096).for_each(|(pixel, out)| {
                let range = self.start[pixel] as usize..self.start[pixel + 1] as usize;
                *out =
                    self.around[range].iter().map(|&(point, weight)| values[point as usize] * weight).sum();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_map_is_read_exactly() {
        let grid = Grid::new(&[8, 10], &[4.0, 5.0]).expect("a grid");
        let map: Vec<f64> = (0..80)
            .map(|p| 1.0 + 0.3 * ((p % 10) as f64 + 0.5) * 0.5 - 0.2 * ((p / 10) as f64 + 0.5) * 0.5)
            .collect();
        let points = [(1.37, 2.2), (0.25, 0.25), (4.74, 3.7)];
        let readout =
            Readout::<f64>::new(&grid, Space::single("m", &[8, 10], ""), &points).expect("a readout");
        let mut values = [0.0; 3];
        readout.forward(&map, &mut values, &mut ());
        for (value, (x, y)) in values.iter().zip(points) {
            assert!((value - (1.0 + 0.3 * x - 0.2 * y)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_point_outside_is_refused() {
        let grid = Grid::new(&[4, 4], &[1.0, 1.0]).expect("a grid");
        let error = Readout::<f64>::new(&grid, Space::single("m", &[4, 4], ""), &[(0.5, 0.5), (1.5, 0.5)]);
        assert!(error.err().expect("refused").to_string().contains("point 1"));
    }
}
