//! From the mesh to particles, and the derivatives of that.

use lookback_operator::Real;
use rayon::prelude::*;

use crate::Cloud;
use crate::cloud::{Shape, for_window};
use crate::places::{Places, TOGETHER};

/// The mesh points around one particle, and its place among them.
struct Around<T> {
    points: [[usize; 3]; 3],
    place: [T; 3],
}

impl<T: Real> Around<T> {
    /// `sum w_x w_y w_z mesh` over the points.
    #[inline(always)]
    fn sum<S: Shape>(&self, cells: usize, mesh: &[T], w: [[T; 3]; 3]) -> T {
        let mut sum = T::zero();
        for i in 0..S::POINTS {
            for j in 0..S::POINTS {
                let line = (self.points[0][i] * cells + self.points[1][j]) * cells;
                let weight = w[0][i] * w[1][j];
                for k in 0..S::POINTS {
                    sum += weight * w[2][k] * mesh[line + self.points[2][k]];
                }
            }
        }
        sum
    }

    /// The same with the derivatives of the weights along each axis.
    #[inline(always)]
    fn slopes<S: Shape>(&self, cells: usize, mesh: &[T]) -> [T; 3] {
        let (w, slopes) = (self.place.map(S::weights), self.place.map(S::slopes));
        let mut sums = [T::zero(); 3];
        for i in 0..S::POINTS {
            for j in 0..S::POINTS {
                let line = (self.points[0][i] * cells + self.points[1][j]) * cells;
                let (mut sum, mut slope) = (T::zero(), T::zero());
                for k in 0..S::POINTS {
                    let value = mesh[line + self.points[2][k]];
                    sum += w[2][k] * value;
                    slope += slopes[2][k] * value;
                }
                sums[0] += slopes[0][i] * w[1][j] * sum;
                sums[1] += w[0][i] * slopes[1][j] * sum;
                sums[2] += w[0][i] * w[1][j] * slope;
            }
        }
        sums
    }
}

impl Cloud {
    /// `v(p) = sum_m W(x_p - m) mesh(m)`.
    pub fn read<T: Real>(&self, displacement: &[T], mesh: &[T], values: &mut [T]) {
        assert_eq!(values.len(), self.particles(), "one value for every particle");
        let x = self.components(displacement);
        for_window!(self, S => values.par_chunks_mut(self.side).enumerate().for_each_init(
            || Places::new(self),
            |places, (row, out)| self.at_row::<S, T>(row, x, places, |k, around| {
                out[k] = around.sum::<S>(self.cells, mesh, around.place.map(S::weights));
            }),
        ));
    }

    /// Adds `scale * c(p) * d/dx_p sum_m W(x_p - m) mesh(m)` to `gradient`, with `c = 1` if there is none: the transpose
    /// of [`paint_push`](Cloud::paint_push), and what [`read`](Cloud::read) gives to the positions.
    pub fn gradient<T: Real>(
        &self,
        displacement: &[T],
        mesh: &[T],
        cotangent: Option<&[T]>,
        scale: T,
        gradient: &mut [T],
    ) {
        let x = self.components(displacement);
        let scale = scale * T::of(self.inverse_spacing);
        let side = self.side;
        let [g0, g1, g2] = self.components_mut(gradient);
        let rows = g0.par_chunks_mut(side).zip(g1.par_chunks_mut(side)).zip(g2.par_chunks_mut(side));
        for_window!(self, S => rows.enumerate().for_each_init(
            || Places::new(self),
            |places, (row, ((g0, g1), g2))| self.at_row::<S, T>(row, x, places, |k, around| {
                let factor = cotangent.map_or(scale, |c| scale * c[row * side + k]);
                let slopes = around.slopes::<S>(self.cells, mesh);
                for (out, slope) in [&mut *g0, &mut *g1, &mut *g2].into_iter().zip(slopes) {
                    out[k] += factor * slope;
                }
            }),
        ));
    }

    /// Adds `sum_d dx_d(p) d/dx_d` of [`read`](Cloud::read) to `tangent`.
    pub fn read_push<T: Real>(&self, displacement: &[T], mesh: &[T], dx: &[T], tangent: &mut [T]) {
        let (x, dx) = (self.components(displacement), self.components(dx));
        let scale = T::of(self.inverse_spacing);
        for_window!(self, S => tangent.par_chunks_mut(self.side).enumerate().for_each_init(
            || Places::new(self),
            |places, (row, out)| self.at_row::<S, T>(row, x, places, |k, around| {
                for (dx, slope) in dx.iter().zip(around.slopes::<S>(self.cells, mesh)) {
                    out[k] += scale * dx[row * self.side + k] * slope;
                }
            }),
        ));
    }

    /// Visits the particles of a row of the lattice: `f(k, what is around it)`.
    #[inline(always)]
    fn at_row<S: Shape, T: Real>(
        &self,
        row: usize,
        x: [&[T]; 3],
        places: &mut Places<T>,
        mut f: impl FnMut(usize, Around<T>),
    ) {
        let start = row * self.side;
        let x = x.map(|x| &x[start..start + self.side]);
        for from in (0..self.side).step_by(TOGETHER) {
            places.find::<S>(self, row, from, x, false);
            for k in 0..TOGETHER.min(self.side - from) {
                let points = std::array::from_fn(|axis| {
                    std::array::from_fn(|step| places.points[axis][step][k] as usize)
                });
                let place = std::array::from_fn(|axis| places.fraction[axis][k]);
                f(from + k, Around { points, place });
            }
        }
    }
}
